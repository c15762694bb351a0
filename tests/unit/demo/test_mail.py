# SPDX-License-Identifier: BSD-3-Clause
from __future__ import annotations

from pathlib import Path

from gearfast.demo import mail

JPEG = b"\xff\xd8 not really \xff\xd9"


def content(message_id: str = "<a@x>", title: str = "A photo") -> bytes:
    return mail.build(
        message_id=message_id, name="Ada", address="ada@x.example", title=title, thumbnail=JPEG
    ).as_bytes()


def test_a_stored_mail_comes_back_as_it_was_sent(tmp_path: Path) -> None:
    mail.Mailbox(tmp_path).store(content(title="Café, déjà vu"), ["ada@x.example"])
    (received,) = mail.received(tmp_path)
    assert received.message_id == "<a@x>"
    assert received.delivered_to == ("ada@x.example",)
    assert received.subject == "New photo: Café, déjà vu"
    assert received.thumbnail == JPEG


def test_the_same_message_id_is_kept_once(tmp_path: Path) -> None:
    mailbox = mail.Mailbox(tmp_path)
    assert mailbox.store(content(title="first"), ["a@x"]) is True
    assert mailbox.store(content(title="second"), ["a@x"]) is False
    assert [each.subject for each in mail.received(tmp_path)] == ["New photo: first"]
    assert mail.accepted_again(tmp_path) == 1


def test_another_mailbox_on_the_same_folder_remembers(tmp_path: Path) -> None:
    mail.Mailbox(tmp_path).store(content(), ["a@x"])
    assert mail.Mailbox(tmp_path).store(content(), ["a@x"]) is False


def test_message_ids_that_look_alike_are_different_mails(tmp_path: Path) -> None:
    mailbox = mail.Mailbox(tmp_path)
    for message_id in ("<a/b@x>", "<a?b@x>", "<../../a@x>", "<a/b@y>"):
        assert mailbox.store(content(message_id), ["a@x"])
    assert len(mail.received(tmp_path)) == 4
    assert {path.parent for path in tmp_path.rglob("*.eml")} == {tmp_path}


def test_a_mail_without_message_id_is_refused(tmp_path: Path) -> None:
    assert mail.Mailbox(tmp_path).store(b"Subject: x\r\n\r\ny\r\n", ["a@x"]) is None
    assert mail.received(tmp_path) == []


def test_a_mail_without_attachment_has_no_thumbnail(tmp_path: Path) -> None:
    mail.Mailbox(tmp_path).store(b"Message-ID: <a@x>\r\n\r\ny\r\n", ["a@x"])
    assert [each.thumbnail for each in mail.received(tmp_path)] == [None]
    assert mail.accepted_again(tmp_path / "nowhere") == 0

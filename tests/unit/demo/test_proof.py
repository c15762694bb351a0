# SPDX-License-Identifier: BSD-3-Clause
from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from gearfast.demo import mail, proof
from gearfast.demo.plan import FOLLOWERS, Round

Finished = tuple[Path, Round]


def test_nothing_is_missing_after_a_finished_round(finished: Finished) -> None:
    root, work = finished
    found = proof.look(root, work, root / "mails")
    assert found.problems == []
    assert (found.resized, found.thumbnails, found.mails) == (4, 2, 2 * len(FOLLOWERS))
    assert found.bytes == sum(
        path.stat().st_size for kind in ("resized", "thumbnails") for path in (root / kind).iterdir()
    )


def mail_file(root: Path, work: Round) -> Path:
    return mail.Mailbox(root / "mails").path(work.message_id(work.photos[0], FOLLOWERS[0]))


def remove(root: Path, work: Round) -> None:
    (root / work.resized(work.photos[0], 100)).unlink()


def cut(root: Path, work: Round) -> None:
    path = root / work.resized(work.photos[0], 100)
    path.write_bytes(path.read_bytes()[:-900])


def wrong_width(root: Path, work: Round) -> None:
    Image.new("RGB", (99, 99)).save(root / work.resized(work.photos[0], 100))


def wrong_format(root: Path, work: Round) -> None:
    Image.new("RGB", (100, 100)).save(root / work.resized(work.photos[0], 100), "PNG")


def swapped(root: Path, work: Round) -> None:
    one, two = (root / work.thumbnail(photo) for photo in work.photos)
    data = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(data)


def extra(root: Path, _work: Round) -> None:
    Image.new("RGB", (9, 9)).save(root / "resized" / "photo-77-100.jpg")


def no_mail(root: Path, work: Round) -> None:
    mail_file(root, work).unlink()


def twice(root: Path, work: Round) -> None:
    path = mail_file(root, work)
    path.with_name("copy.eml").write_bytes(path.read_bytes())


def stranger(root: Path, work: Round) -> None:
    path = mail_file(root, work)
    path.write_bytes(re.sub(rb"^Delivered-To: \S+", b"Delivered-To: eve@x", path.read_bytes()))


def bare(root: Path, work: Round) -> None:
    path = mail_file(root, work)
    head = f"Delivered-To: {FOLLOWERS[0].address}\r\nMessage-ID: {work.message_id(work.photos[0], FOLLOWERS[0])}"
    path.write_text(head + "\r\n\r\nno thumbnail\r\n")


def nobodys(root: Path, _work: Round) -> None:
    (root / "mails" / "x.eml").write_bytes(b"Message-ID: <spam@x>\r\n\r\n\r\n")


def wrong_thumbnail(root: Path, work: Round) -> None:
    path = mail_file(root, work)
    path.unlink()
    photo, follower = work.photos[0], FOLLOWERS[0]
    other = (root / work.thumbnail(work.photos[1])).read_bytes()
    message = mail.build(
        message_id=work.message_id(photo, follower), name="", address=follower.address, title="", thumbnail=other
    )
    mail.Mailbox(root / "mails").store(message.as_bytes(), [follower.address])


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (remove, "photo-01-100.jpg is missing"),
        (cut, "photo-01-100.jpg cannot be decoded"),
        (wrong_width, "photo-01-100.jpg is 99x99 pixels instead of 100x100"),
        (wrong_format, "is a PNG, not a JPEG"),
        (swapped, "photo-02.jpg does not show the photo"),
        (extra, "photo-77-100.jpg should not be there"),
        (no_mail, "was not delivered"),
        (twice, "was delivered 2 times"),
        (stranger, "went to eve@x instead of ada@gearfast.example"),
        (bare, "has no thumbnail attached"),
        (nobodys, "<spam@x> is in the mailbox, but nobody should have sent it"),
        (wrong_thumbnail, "its thumbnail is not the one of the photo"),
    ],
)
def test_each_harm_is_found(finished: Finished, harm: Callable[[Path, Round], None], words: str) -> None:
    root, work = finished
    harm(root, work)
    problems = proof.look(root, work, root / "mails").problems
    assert any(words in problem for problem in problems), problems


def test_an_empty_folder_misses_everything(finished: Finished, tmp_path: Path) -> None:
    _, work = finished
    for kind in ("resized", "thumbnails", "mails"):
        for path in (tmp_path / kind).iterdir():
            path.unlink()
    found = proof.look(tmp_path, work, tmp_path / "mails")
    assert len(found.problems) == sum(work.totals.values())
    assert (found.resized, found.thumbnails, found.mails) == (0, 0, 0)

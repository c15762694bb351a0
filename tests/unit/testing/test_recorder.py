# SPDX-License-Identifier: BSD-3-Clause
"""What a recorder reads off the bytes, and what its assertions say."""

from __future__ import annotations

import pytest

from gearfast import Client, Command, Priority, encode
from gearfast.testing import MemoryServer, Recorder, Submission


def complaint(recorder: Recorder | MemoryServer, *arguments: object, **wanted: object) -> str:
    with pytest.raises(AssertionError) as caught:
        recorder.assert_submitted(*arguments, **wanted)  # type: ignore[arg-type]
    return str(caught.value)


def test_what_is_asked_for(server: MemoryServer, client: Client) -> None:
    client.submit_background("mail", b"to ada", unique="ada", priority=Priority.HIGH)
    client.submit_background("mail", b"to bob", unique="bob")
    client.submit_background("later", at=2_000_000_000)
    (ada,) = server.assert_submitted("mail", b"to ada", unique="ada", priority=Priority.HIGH, background=True, times=1)
    assert (ada.handle, ada.outcome, ada.at) == ("H:memory:1", "pending", None)
    assert len(server.assert_submitted("mail")) == len(server.assert_submitted("mail", times=2)) == 2
    assert server.assert_submitted("mail", "to bob", unique=b"bob")[0].priority is Priority.NORMAL
    assert server.assert_submitted("mail", lambda workload: workload.endswith(b"bob"))[0].unique == b"bob"
    assert server.assert_submitted("later", at=2_000_000_000)[0].background
    assert server.assert_submitted("other", times=0) == []
    assert [each.function for each in server.recorder.of("mail")] == ["mail", "mail"]
    server.recorder.assert_not_submitted("other")


def test_nothing_at_all(server: MemoryServer, client: Client) -> None:
    server.assert_nothing_submitted()
    client.echo()
    client.status("H:memory:1")
    server.assert_nothing_submitted()
    assert complaint(server, "mail") == "no job was submitted with function='mail', nor any other"
    client.submit_background("mail", b"to ada", unique="ada")
    with pytest.raises(AssertionError, match=r"1 submitted, and none was to be:\n  'mail' b'to ada' unique=b'ada'"):
        server.assert_nothing_submitted()
    with pytest.raises(AssertionError, match="function 'mail' was submitted"):
        server.recorder.assert_not_submitted("mail")
    server.recorder.clear()
    server.assert_nothing_submitted()


def test_the_nearest_is_told_and_how_it_differs(server: MemoryServer, client: Client) -> None:
    client.submit_background("other", b"quite different", unique="x")
    client.submit_background("mail", b"to ada lovelace", unique="ada", priority=Priority.LOW)
    client.submit_background("mail", b"to bob", unique="bob")
    text = complaint(server, "mail", b"to ada", unique="ada", priority=Priority.HIGH)
    assert text.splitlines() == [
        "no job was submitted with function='mail', workload=b'to ada', unique=b'ada', priority=high",
        "submitted:",
        "  'other' b'quite different' unique=b'x' priority=normal background pending",
        "  'mail' b'to ada lovelace' unique=b'ada' priority=low background pending",
        "  'mail' b'to bob' unique=b'bob' priority=normal background pending",
        "the nearest:",
        "  'mail' b'to ada lovelace' unique=b'ada' priority=low background pending",
        "    workload: expected b'to ada', not b'to ada lovelace'",
        "    priority: expected high, not low",
    ]


def test_a_misspelt_function(server: MemoryServer, client: Client) -> None:
    client.submit_background("send_sms", b"a")
    client.submit_background("send_mail", b"b")
    assert "function: expected 'sendmail', not 'send_mail'" in complaint(server, "sendmail")


def test_the_wrong_number(server: MemoryServer, client: Client) -> None:
    client.submit_background("mail", b"one")
    assert complaint(server, "mail", times=2).startswith(
        "expected 2 submissions with function='mail', found 1; submitted:"
    )
    assert complaint(server, "mail", times=0).startswith("expected 0 submissions")


def test_long_ones_are_cut(server: MemoryServer, client: Client) -> None:
    for number in range(30):
        client.submit_background("f", b"%d" % number * 1000)
    text = complaint(server, "f", b"x" * 1000)
    assert "… and 10 more" in text and "… (1000 bytes)" in text
    assert len(text) < 6000


def test_a_predicate_has_a_name(server: MemoryServer, client: Client) -> None:
    def is_json(workload: bytes) -> bool:
        return workload.startswith(b"{")

    client.submit_background("f", b"[]")
    assert "workload: expected is_json, not b'[]'" in complaint(server, "f", is_json)


def test_results(server: MemoryServer, client: Client) -> None:
    client.submit_background("f", b"a")
    server.drain({"f": lambda job: job.workload * 2})
    (submission,) = server.submissions
    assert (submission.outcome, submission.result) == ("complete", b"aa")
    assert str(submission).endswith("background complete b'aa'")


KINDS = [
    (Command.SUBMIT_JOB, (), Priority.NORMAL, False),
    (Command.SUBMIT_JOB_BG, (), Priority.NORMAL, True),
    (Command.SUBMIT_JOB_HIGH, (), Priority.HIGH, False),
    (Command.SUBMIT_JOB_HIGH_BG, (), Priority.HIGH, True),
    (Command.SUBMIT_JOB_LOW, (), Priority.LOW, False),
    (Command.SUBMIT_JOB_LOW_BG, (), Priority.LOW, True),
    (Command.SUBMIT_JOB_EPOCH, (b"1900000000",), Priority.NORMAL, True),
    (Command.SUBMIT_JOB_SCHED, (b"", b"", b"", b"", b""), Priority.NORMAL, True),
    (Command.SUBMIT_REDUCE_JOB, (b"sum", b""), Priority.NORMAL, False),
    (Command.SUBMIT_REDUCE_JOB_BACKGROUND, (b"sum", b""), Priority.NORMAL, True),
]


@pytest.mark.parametrize(("command", "middle", "priority", "background"), KINDS)
@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_every_kind_in_pieces(
    command: Command, middle: tuple[bytes, ...], priority: Priority, background: bool, size: int
) -> None:
    recorder = Recorder()
    up = encode(Command.OPTION_REQ, b"exceptions") + encode(command, b"f", b"u", *middle, b"data")
    down = encode(Command.OPTION_RES, b"exceptions") + encode(Command.JOB_CREATED, b"H:1")
    for start in range(0, len(up), size):
        recorder.sent(1, up[start : start + size])
    for start in range(0, len(down), size):
        recorder.answered(1, down[start : start + size])
    recorder.sent(2, encode(Command.WORK_DATA, b"H:1", b"part") + encode(Command.WORK_COMPLETE, b"H:1", b"done"))
    recorder.sent(2, encode(Command.WORK_FAIL, b"H:1"))  # too late
    (found,) = recorder.submissions
    at = 1.9e9 if command == Command.SUBMIT_JOB_EPOCH else None
    reducer = "sum" if middle[:1] == (b"sum",) else ""
    assert found == Submission(
        "f", b"data", b"u", priority, background, at, reducer, "H:1", "complete", b"done", [b"part"]
    )


def test_what_is_refused() -> None:
    recorder = Recorder()
    recorder.sent(1, encode(Command.OPTION_REQ, b"nix") + encode(Command.SUBMIT_JOB, b"f", b"u", b""))
    recorder.answered(
        1, encode(Command.ERROR, b"UNKNOWN_OPTION", b"?") + encode(Command.ERROR, b"QUEUE_ERROR", b"full")
    )
    (found,) = recorder.submissions
    assert (found.outcome, found.result, found.handle) == ("refused", b"QUEUE_ERROR", "")


def test_what_is_no_gearman() -> None:
    recorder = Recorder()
    recorder.sent(1, encode(Command.SUBMIT_JOB, b"f", b"u", b"") + b"\0REQ\0\0\0\xff\0\0\0\0")
    recorder.sent(1, encode(Command.SUBMIT_JOB, b"g", b"u", b""))
    recorder.answered(2, b"\0RES\xff\xff\xff\xff")
    recorder.ended(1)
    recorder.ended(3)
    assert [each.function for each in recorder.submissions] == ["f"]

# SPDX-License-Identifier: BSD-3-Clause
"""Orders to cancel, reduce jobs, questions to several servers, results over the client's limit."""

from __future__ import annotations

from typing import Any

import pytest

from gearfast._codec import Decoder, Packet, encode
from gearfast.errors import (
    ConnectError,
    JobCancelled,
    JobFailed,
    ProtocolError,
    ResultTooLarge,
    ServerError,
    UsageError,
)
from gearfast.protocol import Command
from gearfast.session.calls import ClientCalls, check_window, make_delay
from gearfast.session.client import ClientSession
from gearfast.session.events import Data
from gearfast.session.requests import CancelRequest, EchoRequest, JobRequest, Timeout
from gearfast.types import Handle, JobStatus, Priority

LIMIT = 1000
HANDLE = b"H:host:1"


def calls(servers: str = "a,b,c", **options: Any) -> ClientCalls:
    settings = {"timeout": Timeout(), "exceptions": False, "id": None, "resubmit": "same", "prefix": b"p-"}
    return ClientCalls(servers, **{**settings, **options})


def job(name: str = "f") -> JobRequest:
    return calls().job(name, b"w", None, Priority.NORMAL, None, 0.0)


def session() -> ClientSession:
    """With room for a result of LIMIT bytes."""
    hub = calls("a", max_result=LIMIT).make_hub()
    hub.send(EchoRequest(b""), 0, 0.0)
    (link,) = hub.take_connects(0.0)
    hub.connected(link, 0.0)
    assert link.session is not None
    link.session.receive(encode(Command.ECHO_RES, b""))
    link.session.take_output()
    link.session.news.clear()
    return link.session


def created(handle: bytes = HANDLE) -> bytes:
    return encode(Command.JOB_CREATED, handle)


# Cancelling


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_the_answer_to_an_order_comes_in_its_turn(end: bytes) -> None:
    one = session()
    echo, there, gone, last = EchoRequest(b"x"), CancelRequest(HANDLE), CancelRequest(b"H:2"), EchoRequest(b"y")
    for request in (echo, there, gone, last):
        one.send(request)
    assert b"cancel job H:host:1\r\ncancel job H:2\r\n" in one.take_output()
    answer = encode(Command.ECHO_RES, b"x") + b"OK" + end + b"ERR UNKNOWN_JOB" + end + encode(Command.ECHO_RES, b"y")
    for byte in answer:
        one.receive(bytes([byte]))
    assert [request.result for request in (echo, there, gone, last)] == [b"x", True, False, b"y"]
    assert one.news == [echo, there, gone, last]


def test_an_order_that_is_refused() -> None:
    one = session()
    refused, after = CancelRequest(HANDLE), EchoRequest(b"x")
    one.send(refused)
    one.send(after)
    one.receive(b"ERR PERMISSION_DENIED This+connection+may+not+change+anything\r\n" + encode(Command.ECHO_RES, b"x"))
    assert isinstance(refused.error, ServerError)
    assert (refused.error.code, refused.error.text) == (
        "PERMISSION_DENIED",
        "This connection may not change anything",
    )
    assert after.result == b"x"


def test_an_order_that_nobody_waits_for_any_more() -> None:
    one = session()
    for answer in (b"OK\r\n", b"ERR UNKNOWN_JOB\r\n", b"ERR PERMISSION_DENIED no\r\n"):
        request = CancelRequest(HANDLE)
        one.send(request)
        request.abandoned = True
        one.receive(answer)
    assert one.news == [] and not one.busy


def test_text_that_answers_no_order_breaks_the_protocol() -> None:
    one = session()
    with pytest.raises(ProtocolError, match="text"):
        one.receive(b"OK\r\n")
    two = session()
    two.send(EchoRequest(b""))
    with pytest.raises(ProtocolError, match="text"):
        two.receive(b"OK\r\n")
    three = session()
    three.send(CancelRequest(HANDLE))
    with pytest.raises(ProtocolError, match="cancel job H:host:1"):
        three.receive(encode(Command.ECHO_RES, b""))


@pytest.mark.parametrize("cancelling", [True, False])
def test_the_failure_of_a_cancelled_job(cancelling: bool) -> None:
    one, mine = session(), job()
    one.send(mine)
    mine.cancelling = cancelling
    one.receive(created() + encode(Command.WORK_FAIL, HANDLE))
    assert type(mine.error) is (JobCancelled if cancelling else JobFailed)
    assert "'f'" in str(mine.error) and "H:host:1" in str(mine.error) and "a:4730" in str(mine.error)


@pytest.mark.parametrize("handle", ["", "H:1 H:2", "H:1\r\nshutdown", "H:ä", "H" * 64, "H:\0"])
def test_what_is_no_handle(handle: str) -> None:
    with pytest.raises(UsageError, match="no handle"):
        calls().cancel(handle)


def test_what_a_job_is_cancelled_by() -> None:
    with pytest.raises(UsageError, match="not by int"):
        calls().checked_future(5)


# Questions to several servers


def survey(handle: str, timeout: float | None = None) -> Any:
    return calls().ask_status(handle, None, timeout, 100.0)


def test_a_question_goes_round_until_one_server_knows() -> None:
    asked = survey("H:1")
    places = []
    for known in (False, True):
        request = asked.next(100.0)
        places.append(asked.index)
        assert request.reply_by == 130.0
        request.result, request.done = JobStatus(known, False, 0, 0), True
    assert asked.next(101.0) is None
    assert asked.result().known and len(set(places)) == 2


def test_a_handle_is_asked_for_at_its_own_server_alone() -> None:
    asked = survey(Handle("H:1", "b:4730"))
    request = asked.next(100.0)
    request.result = JobStatus(False, False, 0, 0)
    assert asked.index == 1 and asked.next(100.0) is None and not asked.result().known


def test_servers_that_do_not_answer_are_passed_over() -> None:
    asked = survey("H:1")
    asked.next(100.0).fail(ConnectError("refused"))
    asked.next(100.0).result = JobStatus(False, False, 0, 0)
    asked.next(100.0).fail(ConnectError("refused"))
    assert asked.next(100.0) is None and not asked.result().known
    asked = survey("H:1")
    while (request := asked.next(100.0)) is not None:
        request.fail(ConnectError("refused"))
    with pytest.raises(ConnectError):
        asked.result()


def test_the_time_limit_is_for_all_of_them() -> None:
    asked = survey("H:1", 10.0)
    request = asked.next(100.0)
    assert request.reply_by == 110.0
    request.fail(ConnectError("late"))
    request = asked.next(107.0)
    assert request.reply_by == 110.0
    request.fail(ConnectError("late"))
    assert asked.next(110.0) is None
    with pytest.raises(UsageError, match="timeout"):
        survey("H:1", 0.0)


# Reduce


@pytest.mark.parametrize("background", [False, True])
def test_a_job_with_a_reducer(background: bool) -> None:
    make = calls().background if background else calls().job
    made = make("split", b"w\0", "u", Priority.NORMAL, None, 0.0, "sum")
    command = Command.SUBMIT_REDUCE_JOB_BACKGROUND if background else Command.SUBMIT_REDUCE_JOB
    assert made.packet == encode(command, b"split", b"u", b"sum", b"", b"w\0")
    assert made.background is background
    for bad in ("", "x" * 65):
        with pytest.raises(UsageError, match="reducer"):
            make("split", b"", None, Priority.NORMAL, None, 0.0, bad)
    with pytest.raises(UsageError, match="normal priority"):
        make("split", b"", None, Priority.HIGH, None, 0.0, "sum")


def test_a_reducer_and_a_time_exclude_each_other() -> None:
    with pytest.raises(UsageError, match="no reducer"):
        calls().background("f", b"", None, Priority.NORMAL, None, 0.0, "sum", at=5.0)
    assert make_delay(None, 2.0, 100.0) == 102.0
    with pytest.raises(UsageError, match="not both"):
        make_delay(1.0, 2.0, 100.0)
    with pytest.raises(UsageError, match="window"):
        check_window(0)


# Results over the limit


def too_large(command: Command, size: int = 5 * LIMIT) -> bytes:
    return encode(command, HANDLE, b"x" * size)


@pytest.mark.parametrize("piece", [1, 7, 700, 10**6])
@pytest.mark.parametrize("command", [Command.WORK_COMPLETE, Command.WORK_EXCEPTION, Command.WORK_DATA])
def test_a_result_over_the_limit_fails_its_job_alone(command: Command, piece: int) -> None:
    one = session()
    large, before, after = job("large"), job(), job()
    for each in (large, before, after):
        one.send(each)
    stream = (
        created()
        + created(b"H:2")
        + encode(Command.WORK_COMPLETE, b"H:2", b"early")
        + too_large(command)
        + created(b"H:3")
        + encode(Command.WORK_COMPLETE, b"H:3", b"y" * LIMIT)
    )
    if command == Command.WORK_DATA:
        stream += encode(Command.WORK_COMPLETE, HANDLE, b"nobody waits for it")
    for start in range(0, len(stream), piece):
        one.receive(stream[start : start + piece])
    assert (before.result, after.result) == (b"early", b"y" * LIMIT)
    error = large.error
    assert isinstance(error, ResultTooLarge)
    assert (error.handle, error.function, error.size, error.limit) == ("H:host:1", "large", 5 * LIMIT, LIMIT)
    assert all(word in str(error) for word in ("'large'", "H:host:1", "a:4730", "5000", "max_result=1000"))
    assert one.news == [before, large, after] and not one.busy


def test_each_that_shares_the_job_gets_a_copy_that_is_too_large() -> None:
    one = session()
    two = [job(), job()]
    for each in two:
        one.send(each)
        each.events = None
    one.receive(created() + created() + encode(Command.WORK_DATA, HANDLE, b"d") * 2)
    one.receive(too_large(Command.WORK_COMPLETE) * 2)
    assert all(isinstance(each.error, ResultTooLarge) for each in two) and not one.busy


def test_a_part_that_is_too_large_does_not_mix_up_the_copies() -> None:
    from collections import deque

    one = session()
    two = [job(), job()]
    for each in two:
        each.events = deque()
        one.send(each)
    one.receive(created() * 2 + too_large(Command.WORK_DATA))
    one.receive(encode(Command.WORK_DATA, HANDLE, b"second"))
    assert isinstance(two[0].error, ResultTooLarge) and two[1].error is None
    assert list(two[1].events or ()) == [Data(b"second")]


def test_an_unknown_job_may_send_what_it_likes() -> None:
    one = session()
    echo = EchoRequest(b"x")
    one.send(echo)
    one.receive(too_large(Command.WORK_COMPLETE) + too_large(Command.WORK_WARNING) + encode(Command.ECHO_RES, b"x"))
    assert echo.result == b"x"


@pytest.mark.parametrize(
    "bad",
    [
        encode(Command.ECHO_RES, b"x" * 5 * LIMIT),
        encode(Command.STATUS_RES, HANDLE, b"1", b"1", b"0", b"0" * 5 * LIMIT),
        b"\0BAD" + b"x" * 60,
    ],
)
def test_other_large_packets_cannot_be_followed(bad: bytes) -> None:
    one = session()
    one.send(EchoRequest(b"x"))
    with pytest.raises(ProtocolError):
        one.receive(bad)


def test_the_limit_is_checked() -> None:
    for bad in (-1, 2**32):
        with pytest.raises(UsageError, match="max_result"):
            calls(max_result=bad)


def test_an_error_tells_how_much_was_there() -> None:
    decoder = Decoder()
    good = Packet(Command.NOOP, [], b"\0RES").encode()
    with pytest.raises(ProtocolError) as caught:
        decoder.receive(good + b"\0BAD" + b"x" * 20)
    assert (caught.value.offset, caught.value.left, len(caught.value.packets)) == (12, 24, 1)

# SPDX-License-Identifier: BSD-3-Clause
"""One connection of a client, byte for byte: what goes out, and whom what comes in is for."""

from __future__ import annotations

from collections import deque

import pytest

from gearfast._codec import Decoder, encode
from gearfast.errors import JobException, JobFailed, ProtocolError, QueueFull, ServerError
from gearfast.protocol import Command
from gearfast.session.client import ClientSession
from gearfast.session.events import Data, Status, Warning
from gearfast.session.requests import (
    EchoRequest,
    JobRequest,
    OptionRequest,
    StatusRequest,
    UniqueStatusRequest,
)
from gearfast.types import JobStatus


def job(unique: bytes = b"u", background: bool = False) -> JobRequest:
    command = Command.SUBMIT_JOB_BG if background else Command.SUBMIT_JOB
    return JobRequest(encode(command, b"f", unique, b"w"), "f", unique, background)


def session(**options: object) -> ClientSession:
    return ClientSession("server:1", exceptions=False, **options)  # type: ignore[arg-type]


def created(handle: bytes) -> bytes:
    return encode(Command.JOB_CREATED, handle)


def complete(handle: bytes, result: bytes) -> bytes:
    return encode(Command.WORK_COMPLETE, handle, result)


def test_a_job_from_submission_to_result() -> None:
    one = session()
    request = job()
    one.send(request)
    assert one.take_output() == encode(Command.SUBMIT_JOB, b"f", b"u", b"w")
    assert not one.has_output
    one.receive(created(b"H:1"))
    assert (request.handle, request.server, request.done, one.busy) == (b"H:1", "server:1", False, True)
    one.receive(complete(b"H:1", b"a\0b"))
    assert (request.done, request.error, request.result, one.busy) == (True, None, b"a\0b", False)
    assert one.news == [request]


def test_a_background_job_is_done_with_its_handle() -> None:
    one = session()
    request = job(background=True)
    one.send(request)
    one.receive(created(b"H:1"))
    assert request.done and request.error is None and not one.busy


def test_the_connection_begins_with_name_and_options() -> None:
    one = ClientSession("s", client_id=b"me")
    packets = Decoder().receive(one.take_output())
    assert [packet.name for packet in packets] == ["SET_CLIENT_ID", "OPTION_REQ"]  # type: ignore[union-attr]
    one.receive(encode(Command.OPTION_RES, b"exceptions"))
    assert one.exceptions is True


def test_a_server_without_exceptions_disturbs_nothing() -> None:
    one = ClientSession("s")
    request = job()
    one.send(request)
    one.receive(encode(Command.ERROR, b"UNKNOWN_OPTION", b"no") + created(b"H:1") + complete(b"H:1", b"r"))
    assert request.result == b"r" and not one.exceptions


def test_error_fails_the_request_in_hand_and_keeps_the_pairing() -> None:
    one = session()
    jobs = [job(b"1"), job(b"2"), job(b"3")]
    for request in jobs:
        one.send(request)
    one.receive(created(b"H:1") + encode(Command.ERROR, b"QUEUE_ERROR", b"Job queue is full") + created(b"H:3"))
    assert isinstance(jobs[1].error, QueueFull)
    assert [request.handle for request in jobs] == [b"H:1", b"", b"H:3"]
    one.receive(complete(b"H:3", b"three") + complete(b"H:1", b"one"))
    assert (jobs[0].result, jobs[2].result) == (b"one", b"three")


@pytest.mark.parametrize("cut", [1, 2, 3, 5, 7, 11, 12, 13, 17])
def test_every_packet_cut_anywhere(cut: int) -> None:
    one = session()
    request, echo, option = job(), EchoRequest(b"x"), OptionRequest(b"exceptions")
    status, unique = StatusRequest(b"H:9"), UniqueStatusRequest(b"u9")
    request.events = deque()
    for asked in (request, echo, option, status, unique):
        one.send(asked)
    stream = b"".join(
        [
            created(b"H:1"),
            encode(Command.NOOP),
            encode(Command.ECHO_RES, b"x"),
            encode(Command.OPTION_RES, b"exceptions"),
            encode(Command.WORK_DATA, b"H:1", b"d\0"),
            encode(Command.STATUS_RES, b"H:9", b"1", b"0", b"3", b"4"),
            encode(Command.WORK_WARNING, b"H:1", b"w"),
            encode(Command.WORK_STATUS, b"H:1", b"1", b"2"),
            encode(Command.STATUS_RES_UNIQUE, b"u9", b"1", b"1", b"5", b"6", b"7"),
            complete(b"H:1", b"result"),
        ]
    )
    for at in range(0, len(stream), cut):
        one.receive(stream[at : at + cut])
    assert echo.result == b"x"
    assert option.result is True
    assert status.result == JobStatus(True, False, 3, 4)
    assert unique.result == JobStatus(True, True, 5, 6, 7)
    assert list(request.events) == [Data(b"d\0"), Warning(b"w"), Status(1, 2)]
    assert (request.progress, request.result) == ((1, 2), b"result")


def test_progress_that_is_no_number_counts_as_zero() -> None:
    one = session()
    request = job()
    one.send(request)
    one.receive(created(b"H:1") + encode(Command.WORK_STATUS, b"H:1", b"abc", b""))
    assert request.progress == (0, 0)
    assert Status(1, 4).fraction == 0.25 and Status(1, 0).fraction == 0.0


@pytest.mark.parametrize("tail", [b"", b"\0"])
def test_fail_with_and_without_a_nul_behind_the_handle(tail: bytes) -> None:
    one = session()
    request = job()
    one.send(request)
    one.receive(created(b"H:1") + encode(Command.WORK_FAIL, b"H:1" + tail))
    assert isinstance(request.error, JobFailed)
    assert (request.error.handle, request.error.function) == ("H:1", "f")
    assert not one.busy


def test_a_nul_behind_the_handle_of_job_created_is_dropped() -> None:
    one = session()
    request = job()
    one.send(request)
    one.receive(created(b"H:1\0") + complete(b"H:1", b"r"))
    assert request.result == b"r"


def test_exception_ends_the_job_and_a_fail_behind_it_is_ignored() -> None:
    one = session()
    request = job()
    one.send(request)
    one.receive(created(b"H:1") + encode(Command.WORK_EXCEPTION, b"H:1", b"boom") + encode(Command.WORK_FAIL, b"H:1"))
    assert isinstance(request.error, JobException)
    assert request.error.data == b"boom" and "boom" in str(request.error)
    assert one.news == [request]


def test_unknown_handles_are_ignored() -> None:
    one = session()
    for command in (Command.WORK_COMPLETE, Command.WORK_DATA, Command.WORK_WARNING, Command.WORK_EXCEPTION):
        one.receive(encode(command, b"H:7", b"x"))
    one.receive(encode(Command.WORK_FAIL, b"H:7") + encode(Command.WORK_STATUS, b"H:7", b"1", b"2"))
    assert one.news == []


def test_requests_that_share_a_job_get_each_packet_once() -> None:
    one = session()
    first, second, third = job(), job(), job()
    for request in (first, second, third):
        request.events = deque()
    one.send(first)
    one.send(second)
    one.receive(created(b"H:1") + created(b"H:1"))
    one.receive(encode(Command.WORK_DATA, b"H:1", b"a") * 2)
    one.send(third)
    one.receive(created(b"H:1") + encode(Command.WORK_DATA, b"H:1", b"b") * 3)
    one.receive(encode(Command.WORK_STATUS, b"H:1", b"1", b"2") * 3 + complete(b"H:1", b"r"))
    assert [request.done for request in (first, second, third)] == [True, False, False]
    one.receive(complete(b"H:1", b"r"))
    one.receive(complete(b"H:1", b"r"))
    assert [request.result for request in (first, second, third)] == [b"r"] * 3
    assert list(first.events or ()) == list(second.events or ()) == [Data(b"a"), Data(b"b"), Status(1, 2)]
    assert list(third.events or ()) == [Data(b"b"), Status(1, 2)]
    assert not one.busy


def test_requests_that_share_a_job_fail_each_for_itself() -> None:
    one = session()
    jobs = [job(), job()]
    for request in jobs:
        one.send(request)
    one.receive(created(b"H:1") * 2 + encode(Command.WORK_FAIL, b"H:1\0") * 2)
    assert all(isinstance(request.error, JobFailed) for request in jobs)
    assert jobs[0].error is not jobs[1].error


def test_an_abandoned_request_takes_its_answer_in_silence() -> None:
    one = session()
    lost, kept = job(b"1"), job(b"2")
    one.send(lost)
    one.send(kept)
    lost.abandoned = lost.done = True
    one.receive(created(b"H:1") + created(b"H:2") + complete(b"H:1", b"one") + complete(b"H:2", b"two"))
    assert kept.result == b"two"
    assert lost.result == b""
    assert one.news == [kept]


def test_an_abandoned_request_that_is_refused_keeps_the_pairing() -> None:
    one = session()
    lost, kept = job(b"1"), job(b"2")
    one.send(lost)
    one.send(kept)
    lost.abandoned = lost.done = True
    one.receive(encode(Command.ERROR, b"QUEUE_ERROR", b"full") + created(b"H:2"))
    assert lost.error is None and kept.handle == b"H:2"


def test_an_error_that_nothing_asked_for_is_ignored() -> None:
    one = session()
    one.receive(encode(Command.ERROR, b"X", b"y"))
    assert one.news == []


def test_other_errors_keep_their_code() -> None:
    one = session()
    request = job()
    one.send(request)
    one.receive(encode(Command.ERROR, b"ARGUMENT_TOO_LARGE", b"Unique value too large"))
    assert type(request.error) is ServerError and request.error.code == "ARGUMENT_TOO_LARGE"


@pytest.mark.parametrize(
    "bad",
    [
        encode(Command.ECHO_RES, b"x"),  # a job's answer is due
        encode(Command.SUBMIT_JOB, b"f", b"", b""),
        encode(Command.NO_JOB),
        b"hello\n",
        b"\0XXX",
    ],
)
def test_a_server_out_of_line_cannot_be_followed(bad: bytes) -> None:
    one = session()
    request = job()
    one.send(request)
    with pytest.raises(ProtocolError):
        one.receive(bad)
    assert list(one.pending()) == [request]


def test_what_comes_before_a_bad_byte_counts() -> None:
    one = session()
    request = job()
    one.send(request)
    with pytest.raises(ProtocolError):
        one.receive(created(b"H:1") + complete(b"H:1", b"r") + b"\0BAD")
    assert request.result == b"r"


def test_an_answer_that_nothing_asked_for_is_out_of_line() -> None:
    with pytest.raises(ProtocolError, match="nothing was asked"):
        session().receive(created(b"H:1"))


def test_pending_tells_jobs_then_replies() -> None:
    one = session()
    jobs = [job(b"1"), job(b"1"), job(b"2")]
    for request in jobs:
        one.send(request)
    one.receive(created(b"H:1") * 2)
    assert list(one.pending()) == jobs
    one.forget(jobs[0])
    assert list(one.pending()) == jobs[1:]
    one.receive(complete(b"H:1", b"r"))
    assert jobs[1].result == b"r"

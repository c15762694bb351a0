# SPDX-License-Identifier: BSD-3-Clause
"""1.3: every ERROR, byte for byte, and what closes the connection instead."""

from __future__ import annotations

import pytest

from gearfast import protocol
from gearfast.protocol import Command

from .script import NOT_EXPECTED, NOT_FOUND, TOO_LARGE, Q, R, Wire, error, handle

# A complete body for each command: as many arguments as the table says.
BODIES = {spec.command: b"\0".join([b"1"] * len(spec.fields)) for spec in protocol.COMMANDS}
UNEXPECTED = [5, 6, 8, 10, 11, 17, 19, 20, 24, 27, 31, 40, 42]
UNKNOWN_JOB_TEXTS = {
    "WORK_DATA": b"Job does not exist on server",
    "WORK_WARNING": b"Job does not exist on server",
    "WORK_STATUS": b"Job given in work result not found",
    "WORK_COMPLETE": b"Job given in work result not found",
    "WORK_FAIL": b"Job given in work result not found",
    "WORK_EXCEPTION": b"An exception was received for a job that does not exist",
}


def result(name: str, job: bytes) -> bytes:
    """A worker's packet about a job."""
    more = {"WORK_FAIL": (), "WORK_STATUS": (b"1", b"2")}.get(name, (b"data",))
    return bytes(getattr(Q, name)(job, *more))


def test_bytes_of_an_error(wire: Wire) -> None:
    wanted = b"\0RES\0\0\0\x13\0\0\0\x24INVALID_COMMAND\0Command not expected"
    wire.peer("c").send(Q.NOOP()).expect(wanted)


@pytest.mark.parametrize("number", UNEXPECTED)
def test_command_not_expected(wire: Wire, number: int) -> None:
    c = wire.peer("c")
    c.send(Q.raw(number, BODIES[Command(number)])).expect(NOT_EXPECTED)
    c.send(Q.ECHO_REQ(b"usable")).expect(R.ECHO_RES(b"usable"))


@pytest.mark.parametrize("number", [c.value for c in Command])
def test_request_magic_expected(wire: Wire, number: int) -> None:
    c = wire.peer("c")
    c.send(R.raw(number, BODIES[Command(number)])).expect(error(b"INVALID_MAGIC", b"Request magic expected"))
    c.send(Q.ECHO_REQ(b"usable")).expect(R.ECHO_RES(b"usable"))
    assert c.table(b"show jobs") == []


@pytest.mark.parametrize("magic", [b"\0REQ", b"\0RES"])
@pytest.mark.parametrize("number", [0, 43, 44, 100, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
def test_number_that_does_not_exist_closes(wire: Wire, magic: bytes, number: int) -> None:
    c, other = wire.peer("c"), wire.peer("other")
    c.send(Q.SUBMIT_JOB_BG(b"f", b"", b"kept"), magic + number.to_bytes(4, "big") + bytes(4), Q.ECHO_REQ(b"no"))
    c.expect_closed(R.JOB_CREATED(handle(1)))
    assert other.status_of(b"f") == (1, 0, 0)


@pytest.mark.parametrize("magic", [b"\0req", b"\0REX", b"\0\0\0\0", b"\0RE\0", b"\0RQE", b"\0ESR"])
def test_other_magic_closes_and_what_came_before_is_answered(wire: Wire, magic: bytes) -> None:
    c = wire.peer("c")
    c.send(Q.ECHO_REQ(b"before"), magic + Q.GRAB_JOB()[4:], Q.ECHO_REQ(b"behind"))
    c.expect_closed(R.ECHO_RES(b"before"))


@pytest.mark.parametrize(
    "kind",
    ["SUBMIT_JOB", "SUBMIT_JOB_HIGH", "SUBMIT_JOB_LOW", "SUBMIT_JOB_BG", "SUBMIT_JOB_HIGH_BG", "SUBMIT_JOB_LOW_BG"],
)
def test_unique_over_64_bytes(wire: Wire, kind: str) -> None:
    c = wire.peer("c")
    c.send(getattr(Q, kind)(b"f", b"u" * 65, b"data")).expect(TOO_LARGE)
    assert c.table(b"show jobs") == []
    c.submit(b"f", b"data", b"u" * 64, kind)


def test_unique_over_64_bytes_at_a_time(wire: Wire) -> None:
    c = wire.peer("c")
    c.send(Q.SUBMIT_JOB_EPOCH(b"f", b"u" * 65, b"0", b"")).expect(TOO_LARGE)
    c.send(Q.SUBMIT_JOB_SCHED(b"f", b"u" * 65, b"1", b"1", b"1", b"1", b"1", b"")).expect(TOO_LARGE)


@pytest.mark.parametrize("kind", ["SUBMIT_REDUCE_JOB", "SUBMIT_REDUCE_JOB_BACKGROUND"])
def test_reducer_and_unique_over_64_bytes(wire: Wire, kind: str) -> None:
    c = wire.peer("c")
    c.send(getattr(Q, kind)(b"f", b"u", b"r" * 65, b"", b"data")).expect(TOO_LARGE)
    c.send(getattr(Q, kind)(b"f", b"u" * 65, b"r", b"", b"data")).expect(TOO_LARGE)
    assert c.table(b"show jobs") == []
    c.send(getattr(Q, kind)(b"f", b"u" * 64, b"r" * 64, b"a" * 8191, b"data")).expect(R.JOB_CREATED(handle(1)))


@pytest.mark.parametrize("size", [64, 65, 8192])
def test_work_fail_with_a_handle_too_long(wire: Wire, size: int) -> None:
    text = b"Error occurred due to GEARMAND_JOB_HANDLE_SIZE being too small from snprintf"
    wire.peer("w").send(Q.WORK_FAIL(b"h" * size)).expect(error(b"ARGUMENT_TOO_LARGE", text))


def test_work_fail_with_a_handle_of_63_bytes_is_only_unknown(wire: Wire) -> None:
    wire.peer("w").send(Q.WORK_FAIL(b"h" * 63)).expect(NOT_FOUND)


@pytest.mark.parametrize("name", UNKNOWN_JOB_TEXTS)
@pytest.mark.parametrize("job", [b"H:local:7", b"", b"nonsense", b"H:local:", b"H:local:1x", b"H:local:01"])
def test_result_for_an_unknown_job(wire: Wire, name: str, job: bytes) -> None:
    c, w = wire.peer("c"), wire.worker("w", b"f")
    c.submit(b"f", b"x")
    assert w.grab() == b"x"
    w.send(result(name, job)).expect(error(b"JOB_NOT_FOUND", UNKNOWN_JOB_TEXTS[name]))
    w.send(Q.WORK_COMPLETE(handle(1), b"y"))
    c.expect(R.WORK_COMPLETE(handle(1), b"y"))


@pytest.mark.parametrize("name", UNKNOWN_JOB_TEXTS)
def test_result_for_the_job_of_another_worker(wire: Wire, name: str) -> None:
    c, w, thief = wire.peer("c"), wire.worker("w", b"f"), wire.worker("thief", b"f")
    job = c.submit(b"f", b"x")
    wanted = error(b"JOB_NOT_FOUND", UNKNOWN_JOB_TEXTS[name])
    thief.send(result(name, job)).expect(wanted)  # still queued
    assert w.grab() == b"x"
    thief.send(result(name, job)).expect(wanted)  # another's
    c.expect_nothing().send(result(name, job)).expect(wanted)  # its own client's is no better
    w.send(Q.WORK_COMPLETE(job, b"y")).expect_nothing()
    c.expect(R.WORK_COMPLETE(job, b"y"))
    w.send(result(name, job)).expect(wanted)  # finished


@pytest.mark.parametrize("handle_text", [b"h" * 64, b"H:local:1" + b"0" * 60, b"h" * 8192])
def test_status_by_a_handle_too_long_is_unknown(wire: Wire, handle_text: bytes) -> None:
    c = wire.peer("c")
    c.submit(b"f")
    echoed = handle_text[: protocol.MAX_ARGUMENT]  # a NUL follows it in the answer
    c.send(Q.GET_STATUS(handle_text)).expect(R.STATUS_RES(echoed, b"0", b"0", b"0", b"0"))


@pytest.mark.parametrize("size", [64, 65, 8192])
def test_status_by_a_unique_too_long_is_unknown(wire: Wire, size: int) -> None:
    unique = b"u" * size
    wanted = R.STATUS_RES_UNIQUE(unique[: protocol.MAX_ARGUMENT], b"0", b"0", b"0", b"0", b"0")
    wire.peer("c").send(Q.GET_STATUS_UNIQUE(unique)).expect(wanted)


@pytest.mark.parametrize("time", [b"9223372036854775808", b"99999999999999999999999", b"1" * 8191])
def test_epoch_beyond_int64(wire: Wire, time: bytes) -> None:
    c = wire.peer("c")
    c.send(Q.SUBMIT_JOB_EPOCH(b"f", b"", time, b"data")).refused(b"INVALID_ARGUMENT")
    assert c.table(b"show jobs") == []


@pytest.mark.parametrize("timeout", [b"9223372036854775808", b"18446744073709551616", b"1" * 20, b"1" * 300])
def test_can_do_timeout_beyond_int64(wire: Wire, timeout: bytes) -> None:
    w = wire.peer("w")
    w.send(Q.CAN_DO_TIMEOUT(b"f", timeout)).refused(b"INVALID_ARGUMENT")
    assert w.status_of(b"f") in (None, (0, 0, 0))
    w.submit(b"f", b"x")
    w.send(Q.GRAB_JOB()).expect(R.NO_JOB())


def test_status_with_long_numbers_is_relayed(wire: Wire) -> None:
    c, w = wire.peer("c"), wire.worker("w", b"f")
    job = c.submit(b"f", b"x")
    assert w.grab() == b"x"
    for number in (b"1" * 12, b"9" * 40, b"0" * 100 + b"7"):
        w.send(Q.WORK_STATUS(job, number, number)).expect_nothing()
        c.expect(R.WORK_STATUS(job, number, number))
    assert c.known(job) == (b"1", b"1", b"7", b"7")
    w.send(Q.WORK_STATUS(job, b"9" * 40, b"9" * 40))
    c.take()
    assert set(c.known(job)[2:]) <= {b"4294967295", b"2147483647"}


@pytest.mark.parametrize("line", [b"status 1 2 3 4 5\n", b"a b c d e f\r\n", b"version  1  2 3  4 5 \n"])
def test_line_of_more_than_five_words_closes(wire: Wire, line: bytes) -> None:
    c = wire.peer("c")
    c.send(Q.ECHO_REQ(b"before"), line, Q.ECHO_REQ(b"behind"))
    c.expect_closed(R.ECHO_RES(b"before"))


@pytest.mark.parametrize("option", [b"", b"exception", b"exceptionss", b"x" * 63, b"exceptions" + b" " * 54, b"x" * 64])
def test_unknown_option(wire: Wire, option: bytes) -> None:
    text = b"Server does not recognize given option"
    wire.peer("c").send(Q.OPTION_REQ(option)).expect(error(b"UNKNOWN_OPTION", text))


def test_a_closed_connection_takes_nothing_more(wire: Wire) -> None:
    c, other = wire.peer("c"), wire.peer("other")
    c.send_raw(b"\0BAD" + bytes(8) + Q.SUBMIT_JOB_BG(b"f", b"", b"x"))
    c.expect_closed()
    assert other.table(b"show jobs") == []
    other.send(Q.ECHO_REQ(b"undisturbed")).expect(R.ECHO_RES(b"undisturbed"))

# SPDX-License-Identifier: BSD-3-Clause
"""2.4: what a worker says of its job, and what its clients get."""

from __future__ import annotations

import pytest

from .conftest import MakeWire
from .script import NOT_FOUND, Peer, Q, R, Wire, error


def running(wire: Wire, kind: str = "SUBMIT_JOB") -> tuple[Peer, Peer, bytes]:
    """A client, a worker, and the job between them."""
    c, w = wire.peer("c"), wire.worker("w", b"f")
    job = c.submit(b"f", b"x", b"u", kind)
    assert w.grab() == b"x"
    return c, w, job


@pytest.mark.parametrize("name", ["WORK_DATA", "WORK_WARNING"])
@pytest.mark.parametrize("data", [b"", b"data", b"\0", b"with\0nul\0"])
def test_pieces_go_through(wire: Wire, name: str, data: bytes) -> None:
    c, w, job = running(wire)
    w.send(getattr(Q, name)(job, data), getattr(Q, name)(job, data)).expect_nothing()
    c.expect(getattr(R, name)(job, data), getattr(R, name)(job, data))
    assert c.known(job) == (b"1", b"1", b"0", b"0")


@pytest.mark.parametrize("data", [b"", b"result", b"\0REQ\0"])
def test_complete(wire: Wire, data: bytes) -> None:
    c, w, job = running(wire)
    w.send(Q.WORK_COMPLETE(job, data)).expect_nothing()
    c.expect(R.WORK_COMPLETE(job, data))
    assert c.known(job)[0] == b"0"


@pytest.mark.parametrize("tail", [b"", b"\0", b"\0junk"])
def test_fail_goes_without_a_nul(wire: Wire, tail: bytes) -> None:
    c, w, job = running(wire)
    w.send(Q.WORK_FAIL(job + tail)).expect_nothing()
    c.expect(R.WORK_FAIL(job))
    assert c.known(job)[0] == b"0"
    assert wire.worker("w2", b"f").grab() is None, "WORK_FAIL is final"


@pytest.mark.parametrize(
    ("numerator", "denominator", "stored"),
    [
        (b"1", b"2", (b"1", b"2")),
        (b"0", b"0", (b"0", b"0")),
        (b"abc", b"", (b"0", b"0")),
        (b"-5", b"-1", (b"4294967291", b"4294967295")),
        (b"0.5", b"1e3", (b"0", b"1")),
        (b" 7", b"+8", (b"7", b"8")),
        (b"12abc", b"007", (b"12", b"7")),
        (b"2147483647", b"2147483648", (b"2147483647", b"2147483648")),
        (b"4294967295", b"3000000000", (b"4294967295", b"3000000000")),
    ],
)
def test_status_goes_as_sent_and_is_kept(
    wire: Wire, numerator: bytes, denominator: bytes, stored: tuple[bytes, bytes]
) -> None:
    c, w, job = running(wire)
    w.send(Q.WORK_STATUS(job, numerator, denominator)).expect_nothing()
    c.expect(R.WORK_STATUS(job, numerator, denominator))
    assert c.known(job) == (b"1", b"1", *stored)


def test_the_last_argument_of_a_status_may_hold_nuls(wire: Wire) -> None:
    c, w, job = running(wire)
    w.send(Q.WORK_STATUS(job, b"1", b"2\x003"))
    c.expect(R.WORK_STATUS(job, b"1", b"2\x003"))
    assert c.known(job) == (b"1", b"1", b"1", b"2")


class TestExceptions:
    def test_who_has_the_option_gets_it_others_a_fail(self, wire: Wire) -> None:
        plain, w, job = running(wire)
        fancy = wire.peer("fancy")
        fancy.send(Q.OPTION_REQ(b"exceptions")).expect(R.OPTION_RES(b"exceptions"))
        assert fancy.submit(b"f", b"", b"u") == job
        w.send(Q.WORK_EXCEPTION(job, b"it\0broke")).expect_nothing()
        plain.expect(R.WORK_FAIL(job))
        fancy.expect(R.WORK_EXCEPTION(job, b"it\0broke"))

    def test_the_option_counts_when_the_exception_comes(self, wire: Wire) -> None:
        c, w, job = running(wire)
        c.send(Q.OPTION_REQ(b"exceptions")).expect(R.OPTION_RES(b"exceptions"))
        w.send(Q.WORK_EXCEPTION(job, b""))
        c.expect(R.WORK_EXCEPTION(job, b""))

    def test_setting_of_the_server(self, make_wire: MakeWire) -> None:
        c, w, job = running(make_wire(exceptions=True))
        w.send(Q.WORK_EXCEPTION(job, b"why"))
        c.expect(R.WORK_EXCEPTION(job, b"why"))

    def test_the_job_ends_with_it(self, wire: Wire) -> None:
        c, w, job = running(wire)
        w.send(Q.WORK_EXCEPTION(job, b"why"), Q.WORK_FAIL(job)).expect(NOT_FOUND)
        c.expect(R.WORK_FAIL(job))
        assert c.known(job)[0] == b"0"
        assert c.status_of(b"f") == (0, 0, 1)


def test_all_waiting_clients_get_everything_and_only_they(wire: Wire) -> None:
    a, w, job = running(wire)
    b, bystander, late = wire.peer("b"), wire.peer("bystander"), wire.peer("late")
    bystander.submit(b"f", b"other", b"v")
    assert b.submit(b"f", b"", b"u") == job
    w.send(Q.WORK_DATA(job, b"1"))
    assert late.submit(b"f", b"", b"u") == job
    w.send(Q.WORK_WARNING(job, b"2"), Q.WORK_COMPLETE(job, b"3"))
    for peer in (a, b):
        peer.expect(R.WORK_DATA(job, b"1"), R.WORK_WARNING(job, b"2"), R.WORK_COMPLETE(job, b"3"))
    late.expect(R.WORK_WARNING(job, b"2"), R.WORK_COMPLETE(job, b"3"))
    bystander.expect_nothing()


@pytest.mark.parametrize("last", ["WORK_COMPLETE", "WORK_FAIL", "WORK_EXCEPTION"])
def test_background_job_is_accepted_and_dropped(wire: Wire, last: str) -> None:
    c, w, job = running(wire, "SUBMIT_JOB_BG")
    w.send(Q.WORK_DATA(job, b"1"), Q.WORK_WARNING(job, b"2"), Q.WORK_STATUS(job, b"3", b"4")).expect_nothing()
    assert c.known(job) == (b"1", b"1", b"3", b"4")
    w.send(getattr(Q, last)(*((job,) if last == "WORK_FAIL" else (job, b"r")))).expect_nothing()
    c.expect_nothing()
    assert c.known(job) == (b"0", b"0", b"0", b"0")


def test_foreground_client_of_a_background_job_gets_the_result(wire: Wire) -> None:
    c, w, job = running(wire, "SUBMIT_JOB_BG")
    late = wire.peer("late")
    assert late.submit(b"f", b"", b"u") == job
    w.send(Q.WORK_COMPLETE(job, b"r"))
    late.expect(R.WORK_COMPLETE(job, b"r"))
    c.expect_nothing()


def test_results_in_any_order(wire: Wire) -> None:
    c, w = wire.peer("c"), wire.worker("w", b"f")
    jobs = [c.submit(b"f", b"%d" % n) for n in range(10)]
    assert len(w.grab_all()) == 10
    for job in reversed(jobs):
        w.send(Q.WORK_COMPLETE(job, job))
    c.expect(*[R.WORK_COMPLETE(job, job) for job in reversed(jobs)])


def test_nothing_of_a_job_after_its_end(wire: Wire) -> None:
    c, w, job = running(wire)
    w.send(Q.WORK_COMPLETE(job, b""))
    c.expect(R.WORK_COMPLETE(job, b""))
    w.send(Q.WORK_DATA(job, b"d")).expect(error(b"JOB_NOT_FOUND", b"Job does not exist on server"))
    w.send(Q.WORK_STATUS(job, b"1", b"1")).expect(NOT_FOUND)
    c.expect_nothing()

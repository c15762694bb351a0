# SPDX-License-Identifier: BSD-3-Clause
"""3.3: CAN_DO_TIMEOUT. The timer belongs to the job."""

from __future__ import annotations

import pytest

from .conftest import MakeWire
from .script import NOT_FOUND, Peer, Q, R, Wire


def timed(wire: Wire, milliseconds: bytes = b"2000", name: str = "w") -> Peer:
    """A worker that can do f within that time."""
    return wire.peer(name).send(Q.CAN_DO_TIMEOUT(b"f", milliseconds)).expect_nothing()


def test_registers_like_can_do(wire: Wire) -> None:
    c, w = wire.peer("c"), timed(wire)
    job = c.submit(b"f", b"x")
    assert w.status_of(b"f") == (1, 0, 1)
    assert w.grab() == b"x"
    w.send(Q.WORK_COMPLETE(job, b"r"))
    c.expect(R.WORK_COMPLETE(job, b"r"))


def test_fires_and_queues_the_job_again(wire: Wire) -> None:
    c, w, other = wire.peer("c"), timed(wire), wire.worker("other", b"f")
    job = c.submit(b"f", b"x", b"u")
    assert w.grab() == b"x"
    w.send(Q.WORK_STATUS(job, b"1", b"2"))
    c.expect(R.WORK_STATUS(job, b"1", b"2"))
    wire.pass_time(1.98)
    assert other.grab() is None
    wire.pass_time(0.04)
    w.expect_nothing()
    assert c.known(job) == (b"1", b"0", b"0", b"0")
    assert c.table(b"show jobs") == [job + b"\t1\t0\t0"]
    text = f"Worker timeout reached on job, requeueing: {job.decode()} u"
    assert ("WARNING", text) in wire.dispatcher.take_notices()
    w.send(Q.WORK_COMPLETE(job, b"late")).expect(NOT_FOUND)
    assert other.grab() == b"x"
    other.send(Q.WORK_COMPLETE(job, b"r"))
    c.expect(R.WORK_COMPLETE(job, b"r"))


@pytest.mark.parametrize("unique", [b"", b"u" * 50, b"u" * 51, b"u" * 64])
def test_the_log_tells_handle_and_unique(make_wire: MakeWire, unique: bytes) -> None:
    wire = make_wire(handle_prefix=b"H:" + b"a-rather-long-name-of-a-machine", first_handle=10**15)
    c, w = wire.peer("c"), timed(wire)
    job = c.submit(b"f", b"x", unique)
    assert w.grab() == b"x"
    wire.pass_time(2.1)
    told = f"Worker timeout reached on job, requeueing: {job.decode()} {unique.decode()}"
    assert ("WARNING", told) in wire.dispatcher.take_notices()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [(b"1", 1.0), (b"500", 1.0), (b"999", 1.0), (b"1000", 1.0), (b"1500", 1.5), (b"3600000", 3600.0)],
)
def test_unit_is_the_millisecond_and_the_least_a_second(wire: Wire, text: bytes, seconds: float) -> None:
    c, w, sleeper = wire.peer("c"), timed(wire, text), wire.sleeper("sleeper", b"f")
    c.submit(b"f", b"x")
    sleeper.expect(R.NOOP())
    assert w.grab() == b"x"
    assert sleeper.grab() is None
    sleeper.sleep()
    assert wire.pass_to_deadline(seconds + 1) == pytest.approx(seconds, abs=0.02)
    sleeper.expect(R.NOOP())


@pytest.mark.parametrize("text", [b"0", b"-5", b"-1", b"abc", b""])
def test_no_time_out(wire: Wire, text: bytes) -> None:
    c, w = wire.peer("c"), timed(wire, text)
    job = c.submit(b"f", b"x")
    assert w.grab() == b"x"
    assert wire.pass_time(10**6) == -1
    w.send(Q.WORK_COMPLETE(job, b"r"))
    c.expect(R.WORK_COMPLETE(job, b"r"))


@pytest.mark.parametrize("text", [b"9223372036854775807", b"9223372036854775", b"-9223372036854775808"])
def test_longest_time_out(wire: Wire, text: bytes) -> None:
    c, w = wire.peer("c"), timed(wire, text)
    job = c.submit(b"f", b"x")
    assert w.grab() == b"x"
    wire.pass_time(10**8)
    w.send(Q.WORK_COMPLETE(job, b"r")).expect_nothing()
    c.expect(R.WORK_COMPLETE(job, b"r"))


def test_a_queued_job_has_no_timer(wire: Wire) -> None:
    c, w = wire.peer("c"), timed(wire)
    job = c.submit(b"f", b"x")
    assert wire.pass_time(100) == -1
    assert c.table(b"show jobs") == [job + b"\t0\t0\t0"]
    assert w.grab() == b"x"
    wire.pass_time(1.9)
    w.send(Q.WORK_COMPLETE(job, b"")).expect_nothing()
    c.expect(R.WORK_COMPLETE(job, b""))


@pytest.mark.parametrize("name", ["WORK_COMPLETE", "WORK_FAIL", "WORK_EXCEPTION"])
def test_the_end_of_the_job_stops_the_timer(wire: Wire, name: str) -> None:
    c, w = wire.peer("c"), timed(wire)
    job = c.submit(b"f", b"x")
    assert w.grab() == b"x"
    w.send(Q.WORK_FAIL(job) if name == "WORK_FAIL" else getattr(Q, name)(job, b"")).expect_nothing()
    c.take()
    assert wire.pass_time(10) == -1
    assert c.status_of(b"f") == (0, 0, 1)


def test_each_job_has_its_own_timer(wire: Wire) -> None:
    c, w, other = wire.peer("c"), timed(wire), wire.worker("other", b"f")
    jobs = [c.submit(b"f", b"%d" % n) for n in range(3)]
    for n in range(3):
        assert w.grab() == b"%d" % n
        wire.pass_time(0.5)
    w.send(Q.WORK_COMPLETE(jobs[1], b""))
    c.expect(R.WORK_COMPLETE(jobs[1], b""))
    wire.pass_time(0.6)  # 2.1 s after the first, 1.1 s after the last
    assert other.grab_all() == [b"0"]
    wire.pass_time(0.5)
    assert other.grab_all() == []
    wire.pass_time(0.5)
    assert other.grab_all() == [b"2"]
    assert c.status_of(b"f") == (2, 2, 2)


def test_pre_sleep_and_status_do_not_stop_it(wire: Wire) -> None:
    c, w = wire.peer("c"), timed(wire)
    job = c.submit(b"f", b"x")
    assert w.grab() == b"x"
    w.sleep()
    w.send(Q.WORK_STATUS(job, b"1", b"2"), Q.WORK_DATA(job, b"d"))
    c.expect(R.WORK_STATUS(job, b"1", b"2"), R.WORK_DATA(job, b"d"))
    wire.pass_time(2.1)
    w.expect(R.NOOP())  # it sleeps and could do it
    assert w.grab() == b"x"


@pytest.mark.parametrize("how", ["leave", "CANT_DO"])
def test_the_timer_goes_with_the_worker(wire: Wire, how: str) -> None:
    c, w, other = wire.peer("c"), timed(wire), wire.worker("other", b"f")
    job = c.submit(b"f", b"x")
    assert w.grab() == b"x"
    if how == "leave":
        w.leave()
    else:
        w.send(Q.CANT_DO(b"f"))
    assert other.grab() == b"x"
    assert wire.pass_time(10) == -1
    assert c.table(b"show jobs") == [job + b"\t1\t0\t0"]
    other.send(Q.WORK_COMPLETE(job, b""))
    c.expect(R.WORK_COMPLETE(job, b""))


def test_time_out_is_that_of_the_worker_who_grabs(wire: Wire) -> None:
    c, short, long = wire.peer("c"), timed(wire, b"1000", "short"), timed(wire, b"5000", "long")
    c.submit(b"f", b"1")
    c.submit(b"f", b"2")
    assert (short.grab(), long.grab()) == (b"1", b"2")
    wire.pass_time(1.1)
    assert wire.worker("other", b"f").grab_all() == [b"1"]


def test_registering_anew_changes_it_for_later_jobs(wire: Wire) -> None:
    c, w = wire.peer("c"), timed(wire, b"2000")
    w.send(Q.CAN_DO_TIMEOUT(b"f", b"7000"))
    c.submit(b"f", b"x")
    assert w.grab() == b"x"
    wire.pass_time(6.9)
    assert w.grab() is None
    wire.pass_time(0.2)
    assert w.grab() == b"x"
    w.send(Q.CAN_DO(b"f"))
    wire.pass_time(7.1)
    assert w.grab() == b"x"
    assert wire.pass_time(100) == -1


def test_late_packets_of_all_kinds_are_refused(wire: Wire) -> None:
    c, w = wire.peer("c"), timed(wire)
    job = c.submit(b"f", b"x")
    assert w.grab() == b"x"
    wire.pass_time(2.1)
    w.send(Q.WORK_STATUS(job, b"1", b"2")).expect(NOT_FOUND)
    w.send(Q.WORK_DATA(job, b"d")).refused(b"JOB_NOT_FOUND")
    c.expect_nothing()


def test_many_timers_fire_in_their_order(wire: Wire) -> None:
    c, sleeper = wire.peer("c"), wire.worker("sleeper", b"f")
    waits = [1700, 1000, 90_000, 1300, 4_000_000, 2500, 1001, 65_537]
    for n, wait in enumerate(waits):
        c.submit(b"f", b"%d" % n)
        assert timed(wire, b"%d" % wait, f"w{n}").grab() == b"%d" % n
    fired = []
    passed = 0.0
    for _ in waits:
        assert sleeper.grab() is None
        sleeper.sleep()
        passed += wire.pass_to_deadline(5000)
        sleeper.expect(R.NOOP())
        fired += sleeper.grab_all()
        assert passed * 1000 == pytest.approx(waits[int(fired[-1])], abs=20)
    assert fired == [b"%d" % waits.index(wait) for wait in sorted(waits)]


@pytest.mark.parametrize("jump", [-(10**9), -3600, 3600, 10**9])
def test_the_wall_clock_may_jump_meanwhile(wire: Wire, jump: int) -> None:
    c, w, other = wire.peer("c"), timed(wire), wire.worker("other", b"f")
    c.submit(b"f", b"x")
    assert w.grab() == b"x"
    wire.wall += jump * 10**9
    wire.tick()
    wire.pass_time(1.98)
    assert other.grab() is None
    wire.pass_time(0.04)
    assert other.grab() == b"x"

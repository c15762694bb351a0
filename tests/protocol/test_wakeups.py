# SPDX-License-Identifier: BSD-3-Clause
"""3.1 and 3.2: who is woken by NOOP, when, and how often."""

from __future__ import annotations

import pytest

from .conftest import MakeWire
from .script import Peer, Q, R, Wire

GRABS = ["GRAB_JOB", "GRAB_JOB_UNIQ", "GRAB_JOB_ALL"]


def woken(*peers: Peer) -> list[str]:
    """The names of those that got one NOOP; the others got nothing."""
    names = []
    for peer in peers:
        got = peer.take()
        assert got in (b"", R.NOOP()), f"{peer} got {got!r}"
        if got:
            names.append(peer.name)
    return names


@pytest.mark.parametrize("kind", ["SUBMIT_JOB", "SUBMIT_JOB_LOW", "SUBMIT_JOB_HIGH_BG"])
def test_a_queued_job_wakes_a_sleeper(wire: Wire, kind: str) -> None:
    c, w = wire.peer("c"), wire.sleeper("w", b"f")
    c.submit(b"f", b"x", kind=kind)
    w.expect(R.NOOP())
    assert w.grab() == b"x"


def test_who_is_not_asleep_is_not_woken(wire: Wire) -> None:
    c, fresh, grabbed = wire.peer("c"), wire.worker("fresh", b"f"), wire.sleeper("grabbed", b"f")
    assert grabbed.grab() is None
    c.submit(b"f", b"x")
    fresh.expect_nothing()
    grabbed.expect_nothing()


def test_only_who_can_do_it(wire: Wire) -> None:
    c, w, other = wire.peer("c"), wire.sleeper("w", b"f"), wire.sleeper("other", b"g")
    nothing = wire.sleeper("nothing")
    c.submit(b"f", b"x")
    assert woken(w, other, nothing) == ["w"]


def test_once_a_sleep(wire: Wire) -> None:
    c, w = wire.peer("c"), wire.sleeper("w", b"f", b"g")
    for name in (b"f", b"g", b"f", b"f"):
        c.submit(name, b"x")
    w.expect(R.NOOP())


@pytest.mark.parametrize("grab", GRABS)
def test_each_way_of_grabbing_ends_the_sleep(wire: Wire, grab: str) -> None:
    c, w = wire.peer("c"), wire.sleeper("w", b"f")
    w.send(getattr(Q, grab)()).expect(R.NO_JOB())
    c.submit(b"f", b"x")
    w.expect_nothing()


def test_other_packets_do_not_end_the_sleep(wire: Wire) -> None:
    c, w = wire.peer("c"), wire.worker("w", b"f")
    job = c.submit(b"f", b"x")
    assert w.grab() == b"x"
    w.sleep()
    w.send(Q.WORK_STATUS(job, b"1", b"2"), Q.WORK_COMPLETE(job, b""), Q.SET_CLIENT_ID(b"me"), Q.CAN_DO(b"g"))
    w.send(Q.ECHO_REQ(b"e")).expect(R.ECHO_RES(b"e"))
    c.take()
    c.submit(b"f", b"y")
    w.expect(R.NOOP())


def test_pre_sleep_with_a_job_is_answered_each_time(wire: Wire) -> None:
    c, w = wire.peer("c"), wire.worker("w", b"f")
    c.submit(b"f", b"x")
    w.send(Q.PRE_SLEEP()).expect(R.NOOP())
    w.send(Q.PRE_SLEEP()).expect(R.NOOP())
    c.submit(b"f", b"y")
    w.expect_nothing()
    assert w.grab_all() == [b"x", b"y"]


def test_pre_sleep_twice_without_a_job(wire: Wire) -> None:
    c, w = wire.peer("c"), wire.sleeper("w", b"f")
    w.sleep()
    c.submit(b"f", b"x")
    w.expect(R.NOOP())


def test_noop_answered_by_pre_sleep_does_not_sleep_for_ever(wire: Wire) -> None:
    c, w, quick = wire.peer("c"), wire.sleeper("w", b"f"), wire.worker("quick", b"f")
    c.submit(b"f", b"1")
    w.expect(R.NOOP())
    assert quick.grab() == b"1"
    w.sleep()
    c.submit(b"f", b"2")
    w.expect(R.NOOP())
    assert w.grab() == b"2"


def test_can_do_while_asleep_wakes_if_a_job_waits(wire: Wire) -> None:
    c, w = wire.peer("c"), wire.sleeper("w", b"f")
    c.submit(b"g", b"x")
    w.send(Q.CAN_DO(b"h")).expect_nothing()
    w.send(Q.CAN_DO(b"g")).expect(R.NOOP())
    assert w.grab() == b"x"


def test_can_do_timeout_while_asleep_wakes_too(wire: Wire) -> None:
    c, w = wire.peer("c"), wire.sleeper("w", b"f")
    c.submit(b"g", b"x")
    w.send(Q.CAN_DO_TIMEOUT(b"g", b"5000")).expect(R.NOOP())


def test_can_do_while_asleep_is_woken_by_the_next_job(wire: Wire) -> None:
    c, w = wire.peer("c"), wire.sleeper("w", b"f")
    w.send(Q.CAN_DO(b"g"))
    c.submit(b"g", b"x")
    w.expect(R.NOOP())


def test_cant_do_while_asleep(wire: Wire) -> None:
    c, w = wire.peer("c"), wire.sleeper("w", b"f", b"g")
    w.send(Q.CANT_DO(b"f"))
    c.submit(b"f", b"x")
    w.expect_nothing()
    c.submit(b"g", b"y")
    w.expect(R.NOOP())


def test_reset_while_asleep(wire: Wire) -> None:
    c, w = wire.peer("c"), wire.sleeper("w", b"f", b"g")
    w.send(Q.RESET_ABILITIES())
    c.submit(b"f", b"x")
    w.expect_nothing()
    w.send(Q.CAN_DO(b"f")).expect(R.NOOP())


def test_all_sleepers_by_default(make_wire: MakeWire) -> None:
    wire = make_wire()
    c, workers = wire.peer("c"), [wire.sleeper(f"w{n}", b"f") for n in range(5)]
    c.submit(b"f", b"1")
    assert len(woken(*workers)) == 5
    assert workers[3].grab() == b"1"
    workers[3].sleep()
    c.submit(b"f", b"2")
    assert woken(*workers) == ["w3"], "the others had theirs"


def test_one_a_job_round_the_ring(make_wire: MakeWire) -> None:
    wire = make_wire(wakeup=1)
    c, workers = wire.peer("c"), [wire.sleeper(f"w{n}", b"f") for n in range(3)]
    for wanted in (["w0"], ["w1"], ["w2"], []):
        c.submit(b"f", b"x")
        assert woken(*workers) == wanted


def test_two_a_job_round_the_ring(make_wire: MakeWire) -> None:
    wire = make_wire(wakeup=2)
    c, workers = wire.peer("c"), [wire.sleeper(f"w{n}", b"f") for n in range(3)]
    for wanted in (["w0", "w1"], ["w2"], []):
        c.submit(b"f", b"x")
        assert woken(*workers) == wanted


def test_the_ring_goes_on_where_it_stopped(make_wire: MakeWire) -> None:
    wire = make_wire(wakeup=1)
    c, workers = wire.peer("c"), [wire.sleeper(f"w{n}", b"f") for n in range(3)]
    for wanted in (0, 1, 2, 0, 1, 2, 0):
        c.submit(b"f", b"x")
        assert woken(*workers) == [f"w{wanted}"]
        assert workers[wanted].grab() == b"x"
        workers[wanted].sleep()


def test_the_ring_skips_who_is_awake(make_wire: MakeWire) -> None:
    wire = make_wire(wakeup=1)
    c, awake, asleep = wire.peer("c"), wire.worker("awake", b"f"), wire.sleeper("asleep", b"f")
    c.submit(b"f", b"x")
    assert woken(awake, asleep) == ["asleep"]


@pytest.mark.parametrize("how", ["leave", "CANT_DO", "RESET_ABILITIES"])
def test_a_job_is_not_forgotten_with_the_one_who_was_woken(make_wire: MakeWire, how: str) -> None:
    wire = make_wire(wakeup=1)
    c, w1, w2 = wire.peer("c"), wire.sleeper("w1", b"f"), wire.sleeper("w2", b"f")
    c.submit(b"f", b"x")
    assert woken(w1, w2) == ["w1"]
    if how == "leave":
        w1.leave()
    else:
        w1.send(Q.CANT_DO(b"f") if how == "CANT_DO" else Q.RESET_ABILITIES())
    w2.expect(R.NOOP())


@pytest.mark.parametrize("order", ["priority", "function", "function-rotate"])
def test_who_was_woken_for_one_job_may_take_others_too(make_wire: MakeWire, order: str) -> None:
    wire = make_wire(wakeup=1, order=order)
    c, b, a = wire.peer("c"), wire.sleeper("b", b"f"), wire.sleeper("a", b"f", b"g")
    c.submit(b"f", b"of f")
    c.submit(b"g", b"of g")
    assert woken(a, b) == ["a", "b"]
    assert sorted(a.grab_all()) == [b"of f", b"of g"]


def test_a_low_job_does_not_hide_a_high_one(make_wire: MakeWire) -> None:
    wire = make_wire(wakeup=1)
    c, a, b = wire.peer("c"), wire.sleeper("a", b"f"), wire.sleeper("b", b"f")
    c.submit(b"f", b"high", kind="SUBMIT_JOB_HIGH")
    c.submit(b"f", b"low", kind="SUBMIT_JOB_LOW")
    assert woken(a, b) == ["a", "b"]
    assert b.grab_all() == [b"high", b"low"]


def test_priority_holds_for_who_was_woken_for_a_low_job(make_wire: MakeWire) -> None:
    wire = make_wire(wakeup=1)
    c, b, a = wire.peer("c"), wire.sleeper("b", b"f"), wire.sleeper("a", b"f", b"g")
    c.submit(b"f", b"high", kind="SUBMIT_JOB_HIGH")
    c.submit(b"g", b"low", kind="SUBMIT_JOB_LOW")
    assert woken(a, b) == ["a", "b"]
    assert a.grab_all() == [b"high", b"low"]


@pytest.mark.parametrize("how", ["leave", "CANT_DO", "RESET_ABILITIES"])
def test_a_job_is_not_forgotten_with_one_who_took_another(make_wire: MakeWire, how: str) -> None:
    wire = make_wire(wakeup=1)
    c, a, b = wire.peer("c"), wire.sleeper("a", b"f", b"g"), wire.sleeper("b", b"f")
    c.submit(b"f", b"of f")
    c.submit(b"g", b"of g")
    assert woken(a, b) == ["a"]
    assert a.grab() == b"of g"
    if how == "leave":
        a.leave()
    else:
        a.send(Q.CANT_DO(b"f") if how == "CANT_DO" else Q.RESET_ABILITIES())
    b.expect(R.NOOP())
    assert b.grab() == b"of f"


def test_a_sleeper_in_many_functions_is_woken_once(make_wire: MakeWire) -> None:
    wire = make_wire(wakeup=1)
    names = [b"f%d" % n for n in range(20)]
    c, w = wire.peer("c"), wire.sleeper("w", *names)
    for name in names:
        c.submit(name, name)
    w.expect(R.NOOP())
    assert len(w.grab_all()) == 20


def test_two_functions_one_job_each_one_noop(wire: Wire) -> None:
    c, w = wire.peer("c"), wire.sleeper("w", b"f", b"g")
    c.submit(b"f", b"1")
    c.submit(b"g", b"2")
    w.expect(R.NOOP())
    assert sorted(w.grab_all()) == [b"1", b"2"]


class TestPeekAndTakeAgree:
    """3.2 and #232: a NOOP promises a job, and none waits behind a silence."""

    def test_future_job_does_not_hide_a_low_one(self, wire: Wire) -> None:
        c, w = wire.peer("c"), wire.worker("w", b"f")
        c.submit_at(b"f", wire.wall // 10**9 + 3600, b"later")
        c.submit(b"f", b"now", kind="SUBMIT_JOB_LOW")
        w.send(Q.PRE_SLEEP()).expect(R.NOOP())
        assert w.grab_all() == [b"now"]
        w.sleep()

    def test_future_job_alone_lets_sleep(self, wire: Wire) -> None:
        c, w = wire.peer("c"), wire.worker("w", b"f")
        c.submit_at(b"f", wire.wall // 10**9 + 3600, b"later")
        assert w.grab() is None
        w.sleep()

    def test_abandoned_job_alone_lets_sleep(self, wire: Wire) -> None:
        c, w = wire.peer("c"), wire.worker("w", b"f", b"g")
        for kind in ("SUBMIT_JOB_HIGH", "SUBMIT_JOB", "SUBMIT_JOB_LOW"):
            c.submit(b"f", b"x", kind=kind)
            c.submit(b"g", b"x", kind=kind)
        c.leave()
        w.sleep()
        assert w.grab() is None

    def test_cancelled_job_alone_lets_sleep(self, wire: Wire) -> None:
        c, w = wire.peer("c"), wire.worker("w", b"f")
        job = c.submit(b"f", b"x", kind="SUBMIT_JOB_BG")
        c.send(b"cancel job " + job + b"\n").expect(b"OK\r\n")
        w.sleep()

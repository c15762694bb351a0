# SPDX-License-Identifier: BSD-3-Clause
"""Policies: how many jobs of a function run at once, and how many are given out in a time."""

from __future__ import annotations

from typing import Any

import pytest

from gearfast.dispatch.policy import Policies

from .conftest import MakeWire
from .script import Peer, Q, R, Wire
from .test_all_yours import credited
from .test_leaving import LOSSES, lose

PROFILES: list[dict[str, Any]] = [{}, {"order": "function"}, {"order": "function-rotate", "wakeup": 1}]


def allowed(**keys: Any) -> Policies:
    """The policy of f."""
    return Policies.parse({"f": keys})


def end(worker: Peer, client: Peer, job: bytes) -> None:
    worker.send(Q.WORK_COMPLETE(job, b"r"))
    client.expect(R.WORK_COMPLETE(job, b"r"))


@pytest.mark.parametrize("profile", PROFILES)
class TestConcurrency:
    def test_no_more_run_at_once(self, make_wire: MakeWire, profile: dict[str, Any]) -> None:
        wire = make_wire(policies=allowed(concurrency=2), **profile)
        c, workers = wire.peer("c"), [wire.worker(f"w{n}", b"f") for n in range(3)]
        jobs = [c.submit(b"f", b"%d" % n) for n in range(4)]
        assert [w.grab() for w in workers] == [b"0", b"1", None]
        assert workers[0].grab() is None
        assert c.status_of(b"f") == (4, 2, 3)
        end(workers[0], c, jobs[0])
        assert [w.grab() for w in workers] == [b"2", None, None]
        end(workers[1], c, jobs[1])
        assert [w.grab() for w in workers[::-1]] == [b"3", None, None]

    def test_who_sleeps_is_woken_when_one_has_ended(self, make_wire: MakeWire, profile: dict[str, Any]) -> None:
        wire = make_wire(policies=allowed(concurrency=1), **profile)
        c, w = wire.peer("c"), wire.worker("w", b"f")
        first, second = c.submit(b"f", b"1"), c.submit(b"f", b"2")
        assert w.grab() == b"1"
        sleeper = wire.sleeper("sleeper", b"f")
        c.submit(b"f", b"3", kind="SUBMIT_JOB_HIGH")
        sleeper.expect_nothing()
        end(w, c, first)
        sleeper.expect(R.NOOP())
        assert sleeper.grab() == b"3"
        assert w.grab() is None
        w.sleep()
        sleeper.leave()
        w.expect(R.NOOP())
        assert w.grab() == b"3"
        assert c.known(second)[:2] == (b"1", b"0")

    def test_other_functions_are_served(self, make_wire: MakeWire, profile: dict[str, Any]) -> None:
        wire = make_wire(policies=allowed(concurrency=1), **profile)
        c, w = wire.peer("c"), wire.worker("w", b"g", b"f")
        c.submit(b"f", b"1", kind="SUBMIT_JOB_HIGH")
        c.submit(b"f", b"2", kind="SUBMIT_JOB_HIGH")
        c.submit(b"g", b"3", kind="SUBMIT_JOB_LOW")
        assert w.grab_all() == [b"1", b"3"]

    def test_held_grabs(self, make_wire: MakeWire, profile: dict[str, Any]) -> None:
        wire = make_wire(policies=allowed(concurrency=2), **profile)
        c, w = wire.peer("c"), credited(wire)
        w.send(*[Q.GRAB_JOB()] * 5).expect_nothing()
        jobs = [c.submit(b"f", b"%d" % n) for n in range(4)]
        w.expect(*(R.JOB_ASSIGN(jobs[n], b"f", b"%d" % n) for n in range(2)))
        w.send(Q.WORK_COMPLETE(jobs[1], b"r")).expect(R.JOB_ASSIGN(jobs[2], b"f", b"2"))
        w.send(Q.WORK_FAIL(jobs[0])).expect(R.JOB_ASSIGN(jobs[3], b"f", b"3"))
        c.expect(R.WORK_COMPLETE(jobs[1], b"r"), R.WORK_FAIL(jobs[0]))
        w.send(Q.WORK_COMPLETE(jobs[2], b"r"), Q.WORK_EXCEPTION(jobs[3], b"e")).expect_nothing()
        c.expect(R.WORK_COMPLETE(jobs[2], b"r"), R.WORK_FAIL(jobs[3]))
        job = c.submit(b"f", b"x")
        w.expect(R.JOB_ASSIGN(job, b"f", b"x"))

    @pytest.mark.parametrize("how", LOSSES)
    def test_a_loss_ends_it_too(self, make_wire: MakeWire, profile: dict[str, Any], how: str) -> None:
        wire = make_wire(policies=allowed(concurrency=1, tries=1), **profile)
        c, w, other = wire.peer("c"), wire.worker("w", b"f"), credited(wire, "other")
        first, second = c.submit(b"f", b"1"), c.submit(b"f", b"2")
        assert w.grab() == b"1"
        other.send(Q.GRAB_JOB()).expect_nothing()
        lose(w, how)
        c.expect(R.WORK_FAIL(first))
        other.expect(R.JOB_ASSIGN(second, b"f", b"2"))

    def test_a_time_out_ends_it_too(self, make_wire: MakeWire, profile: dict[str, Any]) -> None:
        wire = make_wire(policies=allowed(concurrency=1, timeout=1, backoff=60, jitter=False), **profile)
        c, w, sleeper = wire.peer("c"), wire.worker("w", b"f"), wire.worker("sleeper", b"f")
        c.submit(b"f", b"1")
        c.submit(b"f", b"2")
        assert w.grab() == b"1"
        sleeper.sleep()
        wire.pass_time(1)
        sleeper.expect(R.NOOP())
        assert sleeper.grab() == b"2"

    def test_a_job_that_nobody_wants_ends_with_its_worker(self, make_wire: MakeWire, profile: dict[str, Any]) -> None:
        wire = make_wire(policies=allowed(concurrency=1), **profile)
        gone, c, w, sleeper = wire.peer("gone"), wire.peer("c"), wire.worker("w", b"f"), wire.worker("s", b"f")
        gone.submit(b"f", b"1")
        c.submit(b"f", b"2")
        assert w.grab() == b"1"
        sleeper.sleep()
        gone.leave()
        sleeper.expect_nothing()
        w.leave()
        sleeper.expect(R.NOOP())
        assert sleeper.grab() == b"2"

    def test_changed_while_jobs_run(self, make_wire: MakeWire, profile: dict[str, Any]) -> None:
        wire = make_wire(policies=allowed(concurrency=3), **profile)
        c, w = wire.peer("c"), wire.worker("w", b"f")
        jobs = [c.submit(b"f", b"%d" % n) for n in range(7)]
        assert w.grab_all() == [b"0", b"1", b"2"]
        wire.dispatcher.policies = allowed(concurrency=1)
        end(w, c, jobs[0])
        end(w, c, jobs[1])
        assert w.grab() is None
        end(w, c, jobs[2])
        assert w.grab_all() == [b"3"]
        sleeper = wire.sleeper("sleeper", b"f")
        wire.dispatcher.policies = Policies()
        wire.tick()
        sleeper.expect(R.NOOP())
        assert sleeper.grab_all() == [b"4", b"5", b"6"]


class TestRate:
    def test_one_at_a_time(self, make_wire: MakeWire) -> None:
        wire = make_wire(policies=allowed(rate="4/s", burst=1))
        c, w = wire.peer("c"), wire.worker("w", b"f")
        for n in range(3):
            c.submit(b"f", b"%d" % n)
        assert w.grab() == b"0"
        assert w.grab() is None
        assert wire.tick() == 250_000_000
        w.sleep()
        wire.pass_time(0.249)
        w.expect_nothing()
        wire.pass_time(0.001)
        w.expect(R.NOOP())
        assert w.grab_all() == [b"1"]
        wire.pass_time(0.25)
        assert w.grab_all() == [b"2"]

    def test_a_burst_and_what_comes_after_it(self, make_wire: MakeWire) -> None:
        wire = make_wire(policies=allowed(rate="10/s", burst=3))
        c, w = wire.peer("c"), wire.worker("w", b"f")
        for n in range(20):
            c.submit(b"f", b"%d" % n)
        assert len(w.grab_all()) == 3
        wire.pass_time(0.1)
        assert len(w.grab_all()) == 1
        wire.pass_time(0.25)
        assert len(w.grab_all()) == 2
        wire.pass_time(0.05)
        assert len(w.grab_all()) == 1
        wire.pass_time(1000)
        assert len(w.grab_all()) == 3

    @pytest.mark.parametrize(("rate", "burst", "wait"), [("5/s", 5, 0.2), ("1/h", 1, 3600), ("90/m", 2, 2 / 3)])
    def test_the_default_burst_is_what_a_second_brings(
        self, make_wire: MakeWire, rate: str, burst: int, wait: float
    ) -> None:
        wire = make_wire(policies=allowed(rate=rate))
        c, w = wire.peer("c"), wire.worker("w", b"f")
        for n in range(10):
            c.submit(b"f", b"%d" % n)
        assert len(w.grab_all()) == burst
        assert wire.tick() == round(wait * 10**9)

    def test_held_grabs_are_answered_as_the_rate_allows(self, make_wire: MakeWire) -> None:
        wire = make_wire(policies=allowed(rate="2/s", burst=1))
        c, w = wire.peer("c"), credited(wire)
        w.send(*[Q.GRAB_JOB()] * 5).expect_nothing()
        jobs = [c.submit(b"f", b"%d" % n) for n in range(3)]
        w.expect(R.JOB_ASSIGN(jobs[0], b"f", b"0"))
        for n in (1, 2):
            assert wire.pass_to_deadline(1) == 0.5
            w.expect(R.JOB_ASSIGN(jobs[n], b"f", b"%d" % n))
        assert wire.tick() == 500_000_000, "the gate opens, for whom may come"
        wire.pass_time(0.5)
        assert wire.tick() == -1
        job = c.submit(b"f", b"x")
        w.expect(R.JOB_ASSIGN(job, b"f", b"x"))

    def test_a_try_more_counts(self, make_wire: MakeWire) -> None:
        wire = make_wire(policies=allowed(rate="1/s", burst=1))
        c, w = wire.peer("c"), wire.worker("w", b"f")
        c.submit(b"f", b"x")
        assert w.grab() == b"x"
        w.leave()
        w = wire.worker("w2", b"f")
        assert w.grab() is None
        wire.pass_time(1)
        assert w.grab() == b"x"

    def test_with_concurrency(self, make_wire: MakeWire) -> None:
        wire = make_wire(policies=allowed(rate="1/s", burst=2, concurrency=2))
        c, w = wire.peer("c"), wire.worker("w", b"f")
        jobs = [c.submit(b"f", b"%d" % n) for n in range(4)]
        assert len(w.grab_all()) == 2
        end(w, c, jobs[0])
        assert w.grab() is None, "the rate is used up"
        wire.pass_time(2)
        assert w.grab_all() == [b"2"], "two run"
        end(w, c, jobs[1])
        assert w.grab_all() == [b"3"]

    def test_changed_and_taken_away(self, make_wire: MakeWire) -> None:
        wire = make_wire(policies=allowed(rate="1/h", burst=1))
        c, w = wire.peer("c"), wire.worker("w", b"f")
        for n in range(5):
            c.submit(b"f", b"%d" % n)
        assert len(w.grab_all()) == 1
        wire.dispatcher.policies = allowed(rate="1/h", burst=1, timeout=1e6)
        wire.tick()
        assert w.grab() is None, "the same rate goes on as it was"
        w.sleep()
        wire.dispatcher.policies = allowed(rate="1/h", burst=2)
        wire.tick()
        w.expect(R.NOOP())
        assert len(w.grab_all()) == 2
        w.sleep()
        wire.dispatcher.policies = Policies()
        wire.tick()
        w.expect(R.NOOP())
        assert len(w.grab_all()) == 2

    def test_a_function_that_is_dropped_takes_its_gate_along(self, make_wire: MakeWire) -> None:
        wire = make_wire(policies=allowed(rate="1/h", burst=1))
        c, w = wire.peer("c"), wire.worker("w", b"f")
        job = c.submit(b"f", b"x")
        assert w.grab() == b"x"
        end(w, c, job)
        w.leave()
        c.send(b"drop function f\n").expect(b"OK\r\n")
        assert wire.tick() == -1


def test_many_functions_each_with_its_own_gate(make_wire: MakeWire) -> None:
    wire: Wire = make_wire(policies=Policies.parse({"f*": {"rate": "1/s", "burst": 1}}))
    names = [b"f%d" % n for n in range(20)]
    c, w = wire.peer("c"), wire.worker("w", *names)
    for name in names:
        c.submit(name, b"a")
        c.submit(name, b"b")
    assert w.grab_all() == [b"a"] * 20
    w.sleep()
    wire.pass_time(1)
    w.expect(R.NOOP())
    assert w.grab_all() == [b"b"] * 20

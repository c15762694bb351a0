# SPDX-License-Identifier: BSD-3-Clause
"""Policies: to which of several waiting workers a job goes, and that none is stranded with one that does not come."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest

from gearfast.dispatch.policy import Policies

from .conftest import MakeWire
from .script import START_WALL, Peer, Q, R, Wire
from .test_all_yours import credited

PROFILES: list[dict[str, Any]] = [{}, {"order": "function"}, {"order": "function-rotate", "wakeup": 2}]
KINDS = ("round-robin", "least-loaded")


def dispatched(how: str, pattern: str = "f", **more: Any) -> Policies:
    return Policies.parse({pattern: {"dispatch": how, **more}})


def woken(*workers: Peer) -> list[str]:
    """Who of these has had a NOOP, and nothing else."""
    return [worker.name for worker in workers if worker.take() == R.NOOP()]


def serve(worker: Peer) -> None:
    """Does the jobs that there are for it, and sleeps again."""
    while True:
        worker.send(Q.GRAB_JOB())
        if (seen := worker.seen()[0]).name == "NO_JOB":
            break
        worker.send(Q.WORK_COMPLETE(seen.args[0], b""))
    worker.sleep()


def credit(wire: Wire, name: str, *functions: bytes, grabs: int = 1) -> Peer:
    return credited(wire, name, *functions).send(*[Q.GRAB_JOB()] * grabs).expect_nothing()


def given(*workers: Peer) -> list[str]:
    """Who of these has got jobs, once for each."""
    return [worker.name for worker in workers for _ in worker.seen()]


def background(client: Peer, function: bytes = b"f") -> bytes:
    return client.submit(function, b"x", kind="SUBMIT_JOB_BG")


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("how", KINDS)
class TestWhoSleeps:
    def test_one_is_woken_for_a_job_and_all_in_turn(self, make_wire: MakeWire, how: str, profile: Any) -> None:
        wire = make_wire(policies=dispatched(how), **profile)
        c, workers = wire.peer("c"), [wire.sleeper(f"w{n}", b"f") for n in range(3)]
        for n in range(9):
            background(c)
            assert woken(*workers) == [f"w{n % 3}"]
            serve(workers[n % 3])

    def test_so_many_jobs_wake_so_many(self, make_wire: MakeWire, how: str, profile: Any) -> None:
        wire = make_wire(policies=dispatched(how), **profile)
        c, workers = wire.peer("c"), [wire.sleeper(f"w{n}", b"f") for n in range(3)]
        for wanted in (["w0"], ["w1"], ["w2"], []):
            background(c)
            assert woken(*workers) == wanted
        assert [w.grab() for w in workers] == [b"x"] * 3

    def test_who_asks_takes_what_waits_and_who_came_in_vain_is_next(
        self, make_wire: MakeWire, how: str, profile: Any
    ) -> None:
        wire = make_wire(policies=dispatched(how), **profile)
        c, workers = wire.peer("c"), [wire.sleeper(f"w{n}", b"f") for n in range(3)]
        awake = wire.worker("awake", b"f")
        background(c)
        assert woken(*workers) == ["w0"]
        assert awake.grab() == b"x"
        assert workers[0].grab() is None
        workers[0].sleep()
        for n in (0, 1, 2):
            background(c)
            assert woken(*workers) == [f"w{n}"]
            serve(workers[n])

    def test_who_comes_later_stands_behind(self, make_wire: MakeWire, how: str, profile: Any) -> None:
        wire = make_wire(policies=dispatched(how), **profile)
        c, w0, w1 = wire.peer("c"), wire.sleeper("w0", b"f"), wire.sleeper("w1", b"f")
        background(c)
        serve(w0.expect(R.NOOP()))
        late = wire.sleeper("late", b"f")
        for wanted in ("w1", "w0", "late"):
            background(c)
            assert woken(w0, w1, late) == [wanted]
            serve({"w0": w0, "w1": w1, "late": late}[wanted])

    def test_registered_while_it_sleeps(self, make_wire: MakeWire, how: str, profile: Any) -> None:
        wire = make_wire(policies=dispatched(how), **profile)
        c, first, w = wire.peer("c"), wire.sleeper("first", b"f"), wire.sleeper("w", b"g")
        w.send(Q.CAN_DO(b"f")).expect_nothing()
        for wanted in (["first"], ["w"], []):
            background(c)
            assert woken(first, w) == wanted

    def test_no_sleep_beside_a_job(self, make_wire: MakeWire, how: str, profile: Any) -> None:
        wire = make_wire(policies=dispatched(how), **profile)
        c, w0, w1 = wire.peer("c"), wire.sleeper("w0", b"f"), wire.worker("w1", b"f")
        background(c)
        assert woken(w0) == ["w0"]
        w1.send(Q.PRE_SLEEP()).expect(R.NOOP())
        assert w1.grab() == b"x"

    def test_left_asleep_for_one_and_woken_for_another_it_finds_both(
        self, make_wire: MakeWire, how: str, profile: Any
    ) -> None:
        wire = make_wire(policies=dispatched(how), **profile)
        c, w0, w1 = wire.peer("c"), wire.sleeper("w0", b"f"), wire.sleeper("w1", b"f", b"g")
        background(c)
        background(c, b"g")
        assert woken(w0, w1) == ["w0", "w1"]
        assert w1.grab_all() == [b"x", b"x"]
        assert w0.grab() is None

    def test_a_gate_that_opens_wakes_as_many_as_may_come(self, make_wire: MakeWire, how: str, profile: Any) -> None:
        wire = make_wire(policies=dispatched(how, concurrency=1, rate="1/s", burst=3), **profile)
        c, busy = wire.peer("c"), wire.worker("busy", b"f")
        job = background(c)
        assert busy.grab() == b"x"
        workers = [wire.sleeper(f"w{n}", b"f") for n in range(5)]
        for _ in range(5):
            background(c)
        assert woken(*workers) == []
        busy.send(Q.WORK_COMPLETE(job, b""))
        assert woken(*workers) == ["w0"]
        c.send(b"policy set f concurrency=0 rate=1/h burst=3\n").expect(b"OK\r\n")
        assert woken(*workers) == ["w1", "w2", "w3"]

    def test_drained_servers_wake_nobody(self, make_wire: MakeWire, how: str, profile: Any) -> None:
        wire = make_wire(policies=dispatched(how), **profile)
        c, w0, w1 = wire.peer("c"), wire.sleeper("w0", b"f"), wire.sleeper("w1", b"f")
        background(c)
        assert woken(w0, w1) == ["w0"]
        wire.dispatcher.drain()
        wire.pass_time(10)
        assert woken(w0, w1) == []
        assert w1.grab() is None
        w1.sleep()


@pytest.mark.parametrize("how", KINDS)
class TestNoJobIsStranded:
    def test_who_does_not_come_in_time(self, make_wire: MakeWire, how: str) -> None:
        wire = make_wire(policies=dispatched(how))
        c, workers = wire.peer("c"), [wire.sleeper(f"w{n}", b"f") for n in range(3)]
        background(c)
        assert woken(*workers) == ["w0"]
        assert wire.tick() == 250_000_000
        wire.pass_time(0.249)
        assert woken(*workers) == []
        wire.pass_time(0.001)
        assert woken(*workers) == ["w1"]
        serve(workers[1])
        wire.pass_time(0.25)
        assert wire.tick() == -1
        assert woken(*workers) == []

    def test_a_job_that_came_a_moment_ago_is_waited_for(self, make_wire: MakeWire, how: str) -> None:
        wire = make_wire(policies=dispatched(how))
        c, workers = wire.peer("c"), [wire.sleeper(f"w{n}", b"f") for n in range(3)]
        background(c)
        serve(workers[0].expect(R.NOOP()))
        wire.pass_time(0.2)
        background(c)
        assert woken(*workers) == ["w1"]
        assert wire.pass_time(0.05) == 200_000_000
        assert woken(*workers) == []
        wire.pass_time(0.2)
        assert woken(*workers) == ["w2"]

    def test_as_many_more_as_jobs_wait(self, make_wire: MakeWire, how: str) -> None:
        wire = make_wire(policies=dispatched(how))
        c, workers = wire.peer("c"), [wire.sleeper(f"w{n}", b"f") for n in range(5)]
        background(c)
        background(c)
        assert woken(*workers) == ["w0", "w1"]
        wire.pass_time(0.25)
        assert woken(*workers) == ["w2", "w3"]

    @pytest.mark.parametrize("leaving", ["leave", "CANT_DO", "RESET_ABILITIES"])
    def test_who_was_woken_leaves(self, make_wire: MakeWire, how: str, leaving: str) -> None:
        wire = make_wire(policies=dispatched(how))
        c, w0, w1 = wire.peer("c"), wire.sleeper("w0", b"f"), wire.sleeper("w1", b"f")
        background(c)
        w0.expect(R.NOOP())
        if leaving == "leave":
            w0.leave()
        else:
            w0.send(Q.CANT_DO(b"f") if leaving == "CANT_DO" else Q.RESET_ABILITIES())
        w1.expect(R.NOOP())

    def test_who_was_woken_takes_a_job_of_another_function(self, make_wire: MakeWire, how: str) -> None:
        wire = make_wire(policies=dispatched(how, "?"))
        c, both = wire.peer("c"), wire.sleeper("both", b"f", b"g")
        w0, w1 = wire.sleeper("w0", b"f"), wire.sleeper("w1", b"g")
        background(c)
        c.submit(b"g", b"y", kind="SUBMIT_JOB_HIGH_BG")
        assert woken(both, w0, w1) == ["both", "w1"]
        assert both.grab() == b"y"
        assert woken(both, w0, w1) == ["w0"]
        assert w0.grab() == b"x"
        assert w1.grab() is None

    def test_a_lost_job_wakes_another(self, make_wire: MakeWire, how: str) -> None:
        wire = make_wire(policies=dispatched(how))
        c, w0, w1 = wire.peer("c"), wire.sleeper("w0", b"f"), wire.sleeper("w1", b"f")
        background(c)
        w0.expect(R.NOOP())
        assert w0.grab() == b"x"
        w0.leave()
        w1.expect(R.NOOP())
        assert w1.grab() == b"x"

    @pytest.mark.parametrize("seed", range(12))
    def test_all_jobs_are_done_if_one_worker_answers(self, how: str, seed: int) -> None:
        """Anybody may fall silent, leave or take other jobs at any moment, but one who does all functions."""
        chance = random.Random(seed)
        settings = chance.choice(PROFILES)
        wire = Wire(policies=dispatched(how, "*", **chance.choice(({}, {"concurrency": 2}))), **settings)
        c, good = wire.peer("c"), wire.sleeper("good", b"f", b"g", b"h")
        others = [wire.sleeper(f"w{n}", *chance.sample((b"f", b"g", b"h"), chance.randint(1, 3))) for n in range(6)]
        for _ in range(60):
            for _ in range(chance.randint(0, 3)):
                background(c, chance.choice((b"f", b"g", b"h")))
            wire.pass_time(chance.choice((0, 0, 0.1, 0.3)))
            other = chance.choice(others)
            if not other.closed and other.take() and chance.random() < 0.5:
                serve(other)
            if chance.random() < 0.03:
                other.leave()
            if good.take():
                serve(good)
            wire.sound()
        for other in others:
            other.take()
        while wire.dispatcher.job_count > wire.dispatcher.running_count:
            wait = wire.tick()
            assert wait >= 0, "a job that nobody is woken for"
            wire.pass_time(wait / 10**9)
            if good.take():
                serve(good)
        wire.sound()


class TestHeldGrabs:
    @pytest.mark.parametrize("profile", PROFILES)
    def test_round_robin_is_by_function(self, make_wire: MakeWire, profile: Any) -> None:
        """Each worker does all functions, whose jobs alternate: with `any` one worker would have all of a function."""
        wire = make_wire(policies=dispatched("round-robin", "?"), **profile)
        c, workers = wire.peer("c"), [credit(wire, f"w{n}", b"f", b"g") for n in range(2)]
        had = Counter[tuple[str, bytes]]()
        for n in range(20):
            function = (b"f", b"g")[n % 2]
            background(c, function)
            (name,) = given(*workers)
            had[name, function] += 1
            next(w for w in workers if w.name == name).send(Q.GRAB_JOB()).expect_nothing()
        assert set(had.values()) == {5} and len(had) == 4

    @pytest.mark.parametrize("how", KINDS)
    def test_they_go_before_who_sleeps(self, make_wire: MakeWire, how: str) -> None:
        wire = make_wire(policies=dispatched(how))
        c, asleep, holds = wire.peer("c"), wire.sleeper("asleep", b"f"), credit(wire, "holds", b"f")
        background(c)
        background(c)
        assert given(holds) == ["holds"]
        assert woken(asleep) == ["asleep"]

    @pytest.mark.parametrize("how", KINDS)
    def test_many_functions(self, make_wire: MakeWire, how: str) -> None:
        names = [b"f%d" % n for n in range(40)]
        wire = make_wire(policies=dispatched(how, "f*"))
        c, workers = wire.peer("c"), [credit(wire, f"w{n}", *names, grabs=2) for n in range(2)]
        for name in names[:4]:
            background(c, name)
        assert Counter(given(*workers)) == {"w0": 2, "w1": 2}

    def test_least_loaded(self, make_wire: MakeWire) -> None:
        wire = make_wire(policies=dispatched("least-loaded"))
        c, a, b = wire.peer("c"), credit(wire, "a", b"f", b"g", grabs=9), credit(wire, "b", b"f", grabs=9)
        for _ in range(3):
            background(c, b"g")
        assert given(a, b) == ["a"] * 3
        jobs = [background(c) for _ in range(3)]
        assert given(a, b) == ["b"] * 3, "jobs of all functions count"
        background(c)
        assert given(a, b) == ["a"], "who has waited longest, among equals"
        b.send(Q.WORK_COMPLETE(jobs[0], b""), Q.WORK_FAIL(jobs[1]))
        background(c)
        background(c)
        assert given(a, b) == ["b"] * 2
        background(c)
        assert given(a, b) == ["b"]
        background(c)
        assert given(a, b) == ["a"]


class TestLeastLoaded:
    def test_who_sleeps_beside_running_jobs(self, make_wire: MakeWire) -> None:
        wire = make_wire(policies=dispatched("least-loaded"))
        c, a, b = wire.peer("c"), wire.worker("a", b"f", b"g"), wire.worker("b", b"f", b"g")
        jobs = [background(c, b"g") for _ in range(3)]
        assert [a.grab(), a.grab(), b.grab()] == [b"x"] * 3
        a.sleep()
        b.sleep()
        background(c)
        assert woken(a, b) == ["b"]
        assert b.grab() == b"x"
        b.sleep()
        a.send(Q.WORK_COMPLETE(jobs[0], b""))
        background(c)
        assert woken(a, b) == ["a"]

    def test_sixteen_are_looked_at(self, make_wire: MakeWire) -> None:
        """Those that have waited longest: more would make each job dear where thousands wait."""
        wire = make_wire(policies=dispatched("least-loaded"))
        c, workers = wire.peer("c"), [wire.worker(f"w{n}", b"f", b"g") for n in range(18)]
        for n, worker in enumerate(workers[:17]):
            for _ in range(1 if n in (13, 15) else 2):
                background(c, b"g")
                assert worker.grab() == b"x"
        for worker in reversed(workers):
            worker.sleep()
        for wanted in ("w13", "w15", "w17"):
            background(c)
            assert woken(*workers) == [wanted]


class TestChanges:
    def test_set_and_taken_away_while_workers_wait(self, make_wire: MakeWire) -> None:
        wire = make_wire()
        c, workers = wire.peer("c"), [wire.sleeper(f"w{n}", b"f") for n in range(4)]
        c.send(b"policy set f dispatch=round-robin\n").expect(b"OK\r\n")
        background(c)
        assert woken(*workers) == ["w0"]
        c.send(b"policy set f dispatch=least-loaded tries=3\n").expect(b"OK\r\n")
        assert "w0" not in woken(*workers)
        serve(workers[0])
        for worker in workers[1:]:
            serve(worker)
        c.send(b"policy set f dispatch=any\n").expect(b"OK\r\n")
        background(c)
        assert woken(*workers) == ["w0", "w1", "w2", "w3"]

    def test_held_grabs(self, make_wire: MakeWire) -> None:
        wire = make_wire()
        c, workers = wire.peer("c"), [credit(wire, f"w{n}", b"f", grabs=3) for n in range(2)]
        for line in (b"set f dispatch=round-robin", b"set f dispatch=least-loaded", b"unset f"):
            c.send(b"policy " + line + b"\n").expect(b"OK\r\n")
            background(c)
            background(c)
            assert Counter(given(*workers)) == {"w0": 1, "w1": 1}

    def test_a_function_that_is_dropped_takes_its_timer_along(self, make_wire: MakeWire) -> None:
        wire = make_wire(policies=dispatched("round-robin"))
        c, w = wire.peer("c"), wire.sleeper("w", b"f")
        background(c)
        serve(w.expect(R.NOOP()))
        w.leave()
        c.send(b"drop function f\n").expect(b"OK\r\n")
        assert wire.tick() == -1

    def test_jobs_for_later_wake_one_each(self, make_wire: MakeWire) -> None:
        wire = make_wire(policies=dispatched("round-robin"))
        c, workers = wire.peer("c"), [wire.sleeper(f"w{n}", b"f") for n in range(3)]
        c.submit_at(b"f", START_WALL + 5)
        c.submit_at(b"f", START_WALL + 5)
        wire.pass_time(5)
        assert woken(*workers) == ["w0", "w1"]

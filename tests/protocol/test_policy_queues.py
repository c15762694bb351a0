# SPDX-License-Identifier: BSD-3-Clause
"""Policies: the longest queue and what a full one does, and jobs that expire in their queue."""

from __future__ import annotations

from typing import Any

import pytest

from gearfast.dispatch.policy import Policies

from .conftest import MakeWire
from .script import QUEUE_FULL, START_WALL, Q, R, handle
from .test_journal import Durable, restored

KINDS = ["SUBMIT_JOB_HIGH", "SUBMIT_JOB", "SUBMIT_JOB_LOW"]


def allowed(**keys: Any) -> Policies:
    """The policy of f."""
    return Policies.parse({"f": keys})


class TestRefuse:
    def test_each_priority_has_its_limit(self, make_wire: MakeWire) -> None:
        wire = make_wire(policies=allowed(max_queue={"high": 1, "low": 3}))
        c = wire.peer("c")
        for kind, most in zip(KINDS, (1, 6, 3), strict=True):
            for _ in range(most):
                c.submit(b"f", b"x", kind=kind)
            if most != 6:
                c.send(getattr(Q, kind)(b"f", b"", b"x")).expect(QUEUE_FULL)
                c.send(getattr(Q, kind + "_BG")(b"f", b"", b"x")).expect(QUEUE_FULL)
        assert c.status_of(b"f") == (10, 0, 0)
        assert wire.dispatcher.metrics()["functions"]["f"]["refused"] == 4

    def test_running_jobs_do_not_count_and_delayed_ones_do(self, make_wire: MakeWire) -> None:
        wire = make_wire(policies=allowed(max_queue=1))
        c, w = wire.peer("c"), wire.worker("w", b"f")
        c.submit(b"f", b"x")
        assert w.grab() == b"x"
        c.submit_at(b"f", START_WALL + 60)
        c.send(Q.SUBMIT_JOB(b"f", b"", b"y")).expect(QUEUE_FULL)

    def test_what_coalesces_needs_no_room(self, make_wire: MakeWire) -> None:
        wire = make_wire(policies=allowed(max_queue=1))
        c = wire.peer("c")
        job = c.submit(b"f", b"x", b"u")
        assert c.submit(b"f", b"x", b"u") == job

    def test_a_lost_job_comes_back_to_a_full_queue(self, make_wire: MakeWire) -> None:
        wire = make_wire(policies=allowed(max_queue=1))
        c, w = wire.peer("c"), wire.worker("w", b"f")
        c.submit(b"f", b"1")
        assert w.grab() == b"1"
        c.submit(b"f", b"2")
        w.leave()
        assert c.status_of(b"f") == (2, 0, 0)
        c.expect_nothing()

    def test_maxqueue_holds_beside_it(self, make_wire: MakeWire) -> None:
        wire = make_wire(policies=allowed(max_queue=3))
        c = wire.peer("c")
        c.send(b"create function f\n", b"maxqueue f 2\n").expect(b"OK\r\n" * 2)
        c.submit(b"f")
        c.submit(b"f")
        c.send(Q.SUBMIT_JOB(b"f", b"", b"")).expect(QUEUE_FULL)
        c.send(b"maxqueue f\n").expect(b"OK\r\n")
        c.submit(b"f")
        c.send(Q.SUBMIT_JOB(b"f", b"", b"")).expect(QUEUE_FULL)


class TestDropOldest:
    def test_the_oldest_of_that_priority_fails(self, make_wire: MakeWire) -> None:
        wire = make_wire(policies=allowed(max_queue=2, full="drop-oldest"))
        c, other, w = wire.peer("c"), wire.peer("other"), wire.worker("w", b"f")
        low = c.submit(b"f", b"low", kind="SUBMIT_JOB_LOW")
        first = c.submit(b"f", b"1", b"u")
        c.submit(b"f", b"2")
        new = other.submit(b"f", b"3")
        c.expect(R.WORK_FAIL(first))
        notice = f"Dropped the oldest job of a full queue: {first.decode()} u"
        assert ("NOTICE", notice) in wire.dispatcher.take_notices()
        assert wire.dispatcher.metrics()["functions"]["f"]["dropped"] == 1
        assert c.known(first)[0] == b"0"
        assert w.grab_all() == [b"2", b"3", b"low"]
        assert (low, new) == (handle(1), handle(4))

    def test_who_submits_may_lose_its_own(self, make_wire: MakeWire) -> None:
        wire = make_wire(policies=allowed(max_queue=1, full="drop-oldest"))
        c = wire.peer("c")
        first = c.submit(b"f", b"1", b"u")
        c.send(Q.SUBMIT_JOB(b"f", b"v", b"2")).expect(R.WORK_FAIL(first), R.JOB_CREATED(handle(2)))
        assert c.submit(b"f", b"x", b"v") == handle(2)

    def test_one_that_nobody_wants_goes_first_and_silently(self, make_wire: MakeWire) -> None:
        wire = make_wire(policies=allowed(max_queue=2, full="drop-oldest"))
        gone, c, w = wire.peer("gone"), wire.peer("c"), wire.worker("w", b"f")
        gone.submit(b"f", b"0")
        c.submit(b"f", b"1")
        gone.leave()
        c.submit(b"f", b"2")
        assert not [text for _, text in wire.dispatcher.take_notices() if "Dropped" in text]
        assert w.grab_all() == [b"1", b"2"]

    def test_jobs_that_wait_for_their_time_stay(self, make_wire: MakeWire) -> None:
        wire = make_wire(policies=allowed(max_queue=1, full="drop-oldest"))
        c = wire.peer("c")
        c.submit_at(b"f", START_WALL + 60)
        c.send(Q.SUBMIT_JOB(b"f", b"", b"x")).expect(QUEUE_FULL)
        assert c.status_of(b"f") == (1, 0, 0)

    def test_a_new_limit_is_reached_step_by_step(self, make_wire: MakeWire) -> None:
        wire = make_wire()
        c, w = wire.peer("c"), wire.worker("w", b"f")
        for n in range(6):
            c.submit(b"f", b"%d" % n, kind="SUBMIT_JOB_BG")
        wire.dispatcher.policies = allowed(max_queue=3, full="drop-oldest")
        lengths = []
        for n in range(6, 11):
            c.submit(b"f", b"%d" % n, kind="SUBMIT_JOB_BG")
            lengths.append(sum(wire.dispatcher.functions()[0]["queued"]))
        assert lengths == [5, 4, 3, 3, 3]
        assert w.grab_all() == [b"8", b"9", b"10"]

    def test_other_reasons_to_refuse_drop_nothing(self, make_wire: MakeWire) -> None:
        wire = make_wire(policies=allowed(max_queue=1, full="drop-oldest"), max_queued=2000)
        c, w = wire.peer("c"), wire.worker("w", b"f")
        c.submit(b"f", b"x")
        c.send(Q.SUBMIT_JOB(b"f", b"", b"y" * 3000)).expect(QUEUE_FULL)
        assert w.grab_all() == [b"x"]

    def test_the_store_hears_of_it(self) -> None:
        wire = Durable(policies=allowed(max_queue=1, full="drop-oldest"))
        c = wire.peer("c").send(Q.SUBMIT_JOB_BG(b"f", b"", b"1"))
        first = wire.commit()
        c.expect(R.JOB_CREATED(handle(1))).send(Q.SUBMIT_JOB_BG(b"f", b"", b"2")).expect_nothing()
        second = wire.commit()
        c.expect(R.JOB_CREATED(handle(2)))
        assert restored(first, second, ended=second.ended).worker("w", b"f").grab_all() == [b"2"]
        wire.sound()


class TestExpire:
    def test_a_job_that_waits_too_long_fails(self, make_wire: MakeWire) -> None:
        wire = make_wire(policies=allowed(expire=10))
        c, other, w = wire.peer("c"), wire.peer("other"), wire.worker("w", b"f")
        first = c.submit(b"f", b"1", b"u")
        assert other.submit(b"f", b"1", b"u") == first
        wire.pass_time(4)
        second = c.submit(b"f", b"2")
        assert wire.tick() == 6 * 10**9
        wire.pass_time(5.9)
        c.expect_nothing()
        wire.pass_time(0.1)
        c.expect(R.WORK_FAIL(first))
        other.expect(R.WORK_FAIL(first))
        notice = f"Dropped job that was in its queue for too long: {first.decode()} u"
        assert ("NOTICE", notice) in wire.dispatcher.take_notices()
        assert wire.dispatcher.metrics()["functions"]["f"]["dropped"] == 1
        assert w.grab() == b"2"
        assert wire.tick() == -1, "who runs does not expire"
        wire.pass_time(100)
        w.send(Q.WORK_COMPLETE(second, b"r"))
        c.expect(R.WORK_COMPLETE(second, b"r"))

    def test_a_lost_job_waits_anew(self, make_wire: MakeWire) -> None:
        wire = make_wire(policies=allowed(expire=10))
        c, w = wire.peer("c"), wire.worker("w", b"f")
        job = c.submit(b"f", b"1")
        wire.pass_time(9)
        assert w.grab() == b"1"
        wire.pass_time(9)
        w.leave()
        assert wire.tick() == 10 * 10**9
        wire.pass_time(10)
        c.expect(R.WORK_FAIL(job))

    @pytest.mark.parametrize("backoff", [False, True])
    def test_a_job_of_a_later_time_waits_from_then(self, make_wire: MakeWire, backoff: bool) -> None:
        wire = make_wire(policies=allowed(expire=10, backoff=60, jitter=False))
        c, w = wire.peer("c"), wire.worker("w", b"f")
        if backoff:
            c.submit(b"f", b"1", kind="SUBMIT_JOB_BG")
            assert w.grab() == b"1"
            w.leave()
        else:
            c.submit_at(b"f", START_WALL + 60)
        wire.pass_time(60)
        assert c.status_of(b"f") is not None and wire.tick() == 10 * 10**9
        wire.pass_time(10)
        assert wire.dispatcher.job_count == 0

    @pytest.mark.parametrize("how", ["cancel", "leave"])
    def test_what_is_gone_before_its_time(self, make_wire: MakeWire, how: str) -> None:
        wire = make_wire(policies=allowed(expire=10))
        c, other = wire.peer("c"), wire.peer("other")
        job = c.submit(b"f", b"1")
        if how == "cancel":
            c.send(b"cancel job %s\n" % job).expect(R.WORK_FAIL(job), b"OK\r\n")
        else:
            c.leave()
        wire.dispatcher.take_notices()
        wire.pass_time(10)
        assert wire.dispatcher.take_notices() == []
        assert other.status_of(b"f") == (0, 0, 0)

    def test_given_and_taken_away_while_jobs_wait(self, make_wire: MakeWire) -> None:
        wire = make_wire()
        c, w = wire.peer("c"), wire.worker("w", b"f")
        first = c.submit(b"f", b"1", kind="SUBMIT_JOB_HIGH")
        wire.pass_time(5)
        c.submit(b"f", b"2", kind="SUBMIT_JOB_LOW")
        wire.dispatcher.policies = allowed(expire=8)
        wire.sound()
        assert wire.tick() == 3 * 10**9
        wire.dispatcher.policies = allowed(expire=4)
        wire.sound()
        wire.tick()
        c.expect(R.WORK_FAIL(first))
        wire.dispatcher.policies = Policies()
        wire.sound()
        assert wire.pass_time(100) == -1
        assert w.grab_all() == [b"2"]

    def test_very_many_at_once_take_several_ticks(self, make_wire: MakeWire) -> None:
        wire = make_wire(policies=allowed(expire=1))
        c = wire.peer("c")
        for _ in range(3):
            c.send_raw(Q.SUBMIT_JOB_BG(b"f", b"", b"x") * 5000)
            wire.tick()
        c.take()
        assert wire.dispatcher.job_count == 15_000
        assert wire.pass_time(1) == 0
        assert wire.dispatcher.job_count == 5_000
        assert wire.tick() == -1
        assert wire.dispatcher.job_count == 0

    def test_before_the_rate_lets_one_go(self, make_wire: MakeWire) -> None:
        wire = make_wire(policies=allowed(expire=1, rate="1/s", burst=1))
        c, w = wire.peer("c"), wire.worker("w", b"f")
        first, second = c.submit(b"f", b"1"), c.submit(b"f", b"2")
        assert w.grab() == b"1"
        w.sleep()
        wire.pass_time(1)
        w.expect_nothing()
        c.expect(R.WORK_FAIL(second))
        w.send(Q.WORK_COMPLETE(first, b"r"))
        c.expect(R.WORK_COMPLETE(first, b"r"))

    def test_restored_jobs_wait_anew_and_the_store_hears_of_their_end(self) -> None:
        wire = Durable()
        c = wire.peer("c").send(Q.SUBMIT_JOB_BG(b"f", b"", b"1"))
        first = wire.commit()
        c.expect(R.JOB_CREATED(handle(1)))
        again = restored(first, policies=allowed(expire=10))
        assert again.tick() == 10 * 10**9
        again.pass_time(10)
        assert again.dispatcher.job_count == 0
        batch = again.dispatcher.take_batch()
        assert batch is not None and batch.ended == first.records[8:16]
        again.sound()

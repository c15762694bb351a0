# SPDX-License-Identifier: BSD-3-Clause
"""Policies: time-outs, tries, backoff, further tries after WORK_FAIL. Clients and workers know nothing of it."""

from __future__ import annotations

from typing import Any

import pytest

from gearfast.dispatch.policy import Policies

from .conftest import MakeWire
from .script import NOT_FOUND, Q, R, Wire
from .test_journal import Durable, restored
from .test_leaving import LOSSES, lose


def allowed(**keys: Any) -> Policies:
    """The policy of f."""
    return Policies.parse({"f": keys})


@pytest.mark.parametrize("seconds", [0.05, 0.5, 3])
def test_time_out_of_a_worker_that_has_none(make_wire: MakeWire, seconds: float) -> None:
    wire = make_wire(policies=allowed(timeout=seconds))
    c, w, other = wire.peer("c"), wire.worker("w", b"f"), wire.worker("other", b"f")
    job = c.submit(b"f", b"x", b"u")
    assert w.grab() == b"x"
    assert wire.tick() == round(seconds * 10**9)
    wire.pass_time(seconds - 0.001)
    assert other.grab() is None
    wire.pass_time(0.001)
    text = f"Worker timeout reached on job, requeueing: {job.decode()} u"
    assert ("WARNING", text) in wire.dispatcher.take_notices()
    w.send(Q.WORK_COMPLETE(job, b"late")).expect(NOT_FOUND)
    assert other.grab() == b"x"
    other.send(Q.WORK_COMPLETE(job, b"r"))
    c.expect(R.WORK_COMPLETE(job, b"r"))


@pytest.mark.parametrize(("policy", "worker", "seconds"), [(30, b"2000", 2.0), (1.5, b"2000", 1.5), (0, b"2000", 2.0)])
def test_the_shorter_time_out_holds(make_wire: MakeWire, policy: float, worker: bytes, seconds: float) -> None:
    wire = make_wire(policies=allowed(timeout=policy))
    c, w = wire.peer("c"), wire.peer("w").send(Q.CAN_DO_TIMEOUT(b"f", worker))
    c.submit(b"f", b"x")
    assert w.grab() == b"x"
    assert wire.tick() == round(seconds * 10**9)


def test_other_functions_have_no_time_out(make_wire: MakeWire) -> None:
    wire = make_wire(policies=allowed(timeout=1))
    c, w = wire.peer("c"), wire.worker("w", b"g")
    c.submit(b"g", b"x")
    assert w.grab() == b"x"
    assert wire.tick() == -1


@pytest.mark.parametrize("how", LOSSES)
@pytest.mark.parametrize(("server", "policy", "losses"), [(5, 2, 2), (1, 3, 3), (-1, 1, 1), (2, None, 2)])
def test_tries_stand_in_for_job_retries(
    make_wire: MakeWire, how: str, server: int, policy: int | None, losses: int
) -> None:
    keys = {"timeout": 100} if policy is None else {"tries": policy}
    wire = make_wire(job_retries=server, policies=allowed(**keys))
    c = wire.peer("c")
    job = c.submit(b"f", b"x", b"u")
    for number in range(losses):
        assert c.table(b"show jobs") == [b"%s\t%d\t0\t0" % (job, number)]
        w = wire.worker("w", b"f")
        assert w.grab() == b"x"
        lose(w, how)
    c.expect(R.WORK_FAIL(job))
    notice = f"Dropped job due to max retry count: {job.decode()} u"
    assert ("NOTICE", notice) in wire.dispatcher.take_notices()


def test_tries_without_limit(make_wire: MakeWire) -> None:
    wire = make_wire(job_retries=1, policies=allowed(tries=-1))
    c = wire.peer("c")
    job = c.submit(b"f", b"x")
    for _ in range(50):
        w = wire.worker("w", b"f")
        assert w.grab() == b"x"
        w.leave()
    assert c.table(b"show jobs") == [job + b"\t50\t0\t0"]


class TestBackoff:
    def test_fixed(self, make_wire: MakeWire) -> None:
        wire = make_wire(policies=allowed(backoff=2, backoff_kind="fixed"))
        c = wire.peer("c")
        job = c.submit(b"f", b"x")
        for _ in range(4):
            w = wire.worker("w", b"f")
            assert w.grab() == b"x"
            w.leave()
            assert wire.tick() == 2 * 10**9
            wire.pass_time(2)
        c.expect_nothing()
        w = wire.worker("w", b"f")
        assert w.grab() == b"x"
        w.send(Q.WORK_COMPLETE(job, b"r"))
        c.expect(R.WORK_COMPLETE(job, b"r"))

    def test_exponential_up_to_its_limit(self, make_wire: MakeWire) -> None:
        wire = make_wire(policies=allowed(backoff=0.5, backoff_max=3, jitter=False))
        wire.peer("c").submit(b"f", b"x")
        waits = []
        for _ in range(5):
            w = wire.worker("w", b"f")
            assert w.grab() == b"x"
            w.leave()
            waits.append(wire.tick() / 10**9)
            wire.pass_time(waits[-1])
        assert waits == [0.5, 1, 2, 3, 3]

    def test_no_limit_of_the_wait_does_not_overflow(self, make_wire: MakeWire) -> None:
        wire = make_wire(policies=allowed(backoff=1e6, backoff_max=0, jitter=False, tries=-1))
        wire.peer("c").submit(b"f", b"x")
        waits = []
        for _ in range(12):
            w = wire.worker("w", b"f")
            assert w.grab() == b"x"
            w.leave()
            waits.append(wire.tick())
            wire.pass_time(waits[-1] / 10**9)
        assert waits == [min(10**15 * 2**number, 10**18) for number in range(12)]

    @pytest.mark.parametrize("kind", ["exponential", "fixed"])
    def test_jitter(self, make_wire: MakeWire, kind: str) -> None:
        waits = {}
        for seed in (1, 1, 2):
            wire = make_wire(policies=allowed(backoff=8, backoff_max=8, backoff_kind=kind, jitter=True), seed=seed)
            wire.peer("c").submit(b"f", b"x")
            found = []
            for _ in range(40):
                w = wire.worker("w", b"f")
                assert w.grab() == b"x"
                w.leave()
                found.append(wire.tick())
                wire.pass_time(found[-1] / 10**9)
            assert waits.setdefault(seed, found) == found, "the same seed, other numbers"
            assert all(4 * 10**9 <= wait <= 8 * 10**9 for wait in found)
            assert len(set(found)) > 30 and min(found) < 5 * 10**9 and max(found) > 7 * 10**9
        assert waits[1] != waits[2]

    def test_exponential_has_jitter_and_fixed_has_none(self) -> None:
        policies = Policies.parse({"a": {"backoff": 1}, "b": {"backoff": 1, "backoff_kind": "fixed"}})
        found = [policies.resolve(name) for name in "ab"]
        assert [policy and policy.has_jitter for policy in found] == [True, False]

    @pytest.mark.parametrize("how", LOSSES)
    def test_meanwhile_it_is_queued_for_all_but_workers(self, make_wire: MakeWire, how: str) -> None:
        wire = make_wire(policies=allowed(backoff=5, jitter=False))
        c, w, sleeper = wire.peer("c"), wire.worker("w", b"f"), wire.worker("sleeper", b"f")
        job = c.submit(b"f", b"x", b"u", "SUBMIT_JOB_HIGH")
        assert w.grab() == b"x"
        w.send(Q.WORK_STATUS(job, b"1", b"2"))
        c.expect(R.WORK_STATUS(job, b"1", b"2"))
        sleeper.sleep()
        lose(w, how)
        sleeper.expect_nothing()
        c.expect_nothing()
        assert c.known(job) == (b"1", b"0", b"0", b"0")
        total, running, _ = c.status_of(b"f") or (0, 0, 0)
        assert (total, running) == (1, 0)
        assert [row.split(b"\t")[:4] for row in c.table(b"prioritystatus")] == [[b"f", b"1", b"0", b"0"]]
        assert c.table(b"show jobs") == [job + b"\t1\t0\t0"]
        assert c.submit(b"f", b"y", b"u") == job, "it coalesces as a queued one"
        wire.pass_time(4.9)
        sleeper.expect_nothing()
        wire.pass_time(0.1)
        sleeper.expect(R.NOOP())
        assert sleeper.grab() == b"x"
        sleeper.send(Q.WORK_COMPLETE(job, b"r"))
        c.expect(R.WORK_COMPLETE(job, b"r"), R.WORK_COMPLETE(job, b"r"))

    def test_a_time_out_backs_off_too(self, make_wire: MakeWire) -> None:
        wire = make_wire(policies=allowed(timeout=1, backoff=2, jitter=False))
        c, w = wire.peer("c"), wire.worker("w", b"f")
        c.submit(b"f", b"x")
        assert w.grab() == b"x"
        wire.pass_time(1)
        assert w.grab() is None
        wire.pass_time(2)
        assert w.grab() == b"x"

    def test_cancelled_at_once(self, make_wire: MakeWire) -> None:
        wire = make_wire(policies=allowed(backoff=5))
        c, w = wire.peer("c"), wire.worker("w", b"f")
        job = c.submit(b"f", b"x", b"u")
        assert w.grab() == b"x"
        w.leave()
        c.send(b"cancel job %s\n" % job).expect(R.WORK_FAIL(job), b"OK\r\n")
        assert c.status_of(b"f") == (0, 0, 0)
        assert wire.tick() == -1

    def test_gone_with_the_last_client(self, make_wire: MakeWire) -> None:
        wire = make_wire(policies=allowed(backoff=5))
        c, other, w = wire.peer("c"), wire.peer("other"), wire.worker("w", b"f")
        c.submit(b"f", b"x", b"u")
        assert w.grab() == b"x"
        w.leave()
        c.leave()
        assert other.status_of(b"f") == (0, 0, 0)
        assert wire.tick() == -1
        other.submit(b"f", b"y", b"u")
        assert wire.worker("w2", b"f").grab() == b"y"

    def test_a_server_with_a_job_that_waits_for_its_next_try_is_not_idle(self, make_wire: MakeWire) -> None:
        wire = make_wire(policies=allowed(backoff=5, jitter=False))
        c, w = wire.peer("c"), wire.worker("w", b"f")
        c.submit_at(b"f", 2_000_000_000)
        assert wire.dispatcher.idle
        c.submit(b"f", b"x", kind="SUBMIT_JOB_BG")
        assert w.grab() == b"x"
        w.leave()
        assert not wire.dispatcher.idle
        wire.pass_time(5)
        w = wire.worker("w", b"f")
        assert w.grab() == b"x"
        assert not wire.dispatcher.idle


def test_a_wait_that_has_begun_goes_on(make_wire: MakeWire) -> None:
    """As it was drawn by the policy of then; the time-out of a job that runs stays too."""
    wire = make_wire(policies=allowed(backoff=10, backoff_kind="fixed", timeout=5))
    client, worker = wire.peer("c"), wire.worker("w", b"f")
    client.submit(b"f", b"x")
    assert worker.grab() == b"x"
    client.send(b"policy set f backoff=1 timeout=60\n").expect(b"OK\r\n")
    assert wire.tick() == 5 * 10**9
    worker.leave()
    client.send(b"policy set f backoff=100\n").expect(b"OK\r\n")
    assert wire.tick() == 10**9
    client.send(b"policy unset f\n").expect(b"OK\r\n")
    assert wire.tick() == 10**9
    wire.pass_time(1)
    assert wire.worker("x", b"f").grab() == b"x"


class TestRetryOnFail:
    @pytest.mark.parametrize("name", ["WORK_FAIL", "WORK_EXCEPTION"])
    def test_waiters_hear_nothing_until_the_end(self, make_wire: MakeWire, name: str) -> None:
        wire = make_wire(policies=allowed(retry_on_fail=True, tries=3))
        c, other, w = wire.peer("c"), wire.peer("other"), wire.worker("w", b"f")
        job = c.submit(b"f", b"x", b"u")
        other.send(Q.OPTION_REQ(b"exceptions")).expect(R.OPTION_RES(b"exceptions"))
        other.submit(b"f", b"x", b"u")
        end = Q.WORK_FAIL(job) if name == "WORK_FAIL" else Q.WORK_EXCEPTION(job, b"why")
        for _ in range(2):
            assert w.grab() == b"x"
            w.send(end)
            c.expect_nothing()
            other.expect_nothing()
        assert w.grab() == b"x"
        assert c.table(b"show jobs") == [job + b"\t2\t0\t0"]
        w.send(end)
        c.expect(R.WORK_FAIL(job))
        other.expect(R.WORK_FAIL(job) if name == "WORK_FAIL" else R.WORK_EXCEPTION(job, b"why"))
        assert w.grab() is None
        counts = wire.dispatcher.metrics()["functions"]["f"]
        assert (counts["requeued"], counts["failed"] + counts["exceptions"], counts["dropped"]) == (2, 1, 0)

    def test_success_after_a_failure(self, make_wire: MakeWire) -> None:
        wire = make_wire(policies=allowed(retry_on_fail=True, backoff=1, jitter=False))
        c, w = wire.peer("c"), wire.worker("w", b"f")
        job = c.submit(b"f", b"x")
        assert w.grab() == b"x"
        w.send(Q.WORK_DATA(job, b"d"), Q.WORK_FAIL(job))
        c.expect(R.WORK_DATA(job, b"d"))
        assert w.grab() is None
        wire.pass_time(1)
        assert w.grab() == b"x"
        w.send(Q.WORK_COMPLETE(job, b"r"))
        c.expect(R.WORK_COMPLETE(job, b"r"))

    def test_a_fail_behind_an_exception_is_of_no_job(self, make_wire: MakeWire) -> None:
        wire = make_wire(policies=allowed(retry_on_fail=True))
        c, w = wire.peer("c"), wire.worker("w", b"f")
        job = c.submit(b"f", b"x")
        assert w.grab() == b"x"
        w.send(Q.WORK_EXCEPTION(job, b"why"), Q.WORK_FAIL(job)).expect(NOT_FOUND)
        assert w.grab() == b"x"
        assert c.table(b"show jobs") == [job + b"\t1\t0\t0"]

    def test_losses_and_failures_count_together(self, make_wire: MakeWire) -> None:
        wire = make_wire(policies=allowed(retry_on_fail=True, tries=2))
        c, w = wire.peer("c"), wire.worker("w", b"f")
        job = c.submit(b"f", b"x")
        assert w.grab() == b"x"
        w.leave()
        w = wire.worker("w", b"f")
        assert w.grab() == b"x"
        w.send(Q.WORK_FAIL(job))
        c.expect(R.WORK_FAIL(job))

    def test_of_a_job_that_nobody_wants_it_is_the_end(self, make_wire: MakeWire) -> None:
        wire = make_wire(policies=allowed(retry_on_fail=True))
        c, w = wire.peer("c"), wire.worker("w", b"f")
        job = c.submit(b"f", b"x")
        assert w.grab() == b"x"
        c.leave()
        w.send(Q.WORK_FAIL(job)).expect_nothing()
        assert w.status_of(b"f") == (0, 0, 1)

    def test_without_it_the_first_failure_is_the_end(self, make_wire: MakeWire) -> None:
        wire = make_wire(policies=allowed(tries=3, backoff=1))
        c, w = wire.peer("c"), wire.worker("w", b"f")
        job = c.submit(b"f", b"x")
        assert w.grab() == b"x"
        w.send(Q.WORK_FAIL(job))
        c.expect(R.WORK_FAIL(job))

    def test_a_held_grab_gets_it_again(self, make_wire: MakeWire) -> None:
        wire = make_wire(policies=allowed(retry_on_fail=True))
        c, w = wire.peer("c"), wire.worker("w", b"f")
        w.send(Q.OPTION_REQ(b"all_yours"), Q.GRAB_JOB(), Q.GRAB_JOB()).expect(R.OPTION_RES(b"all_yours"))
        job = c.submit(b"f", b"x")
        w.expect(R.JOB_ASSIGN(job, b"f", b"x")).send(Q.WORK_FAIL(job)).expect(R.JOB_ASSIGN(job, b"f", b"x"))
        w.send(Q.WORK_COMPLETE(job, b"r"))
        c.expect(R.WORK_COMPLETE(job, b"r"))


class TestDurable:
    def wire(self, **keys: Any) -> Durable:
        return Durable(policies=allowed(**keys))

    def run(self, wire: Wire, job: bytes) -> None:
        w = wire.worker("w", b"f")
        assert w.grab() == b"x"
        w.send(Q.WORK_FAIL(job)).expect_nothing()
        w.leave()

    def test_tries_go_to_the_store(self) -> None:
        wire = self.wire(retry_on_fail=True, backoff=3, jitter=False)
        c = wire.peer("c").send(Q.SUBMIT_JOB_BG(b"f", b"u", b"x"))
        first = wire.commit()
        job = c.one("JOB_CREATED")[0]
        self.run(wire, job)
        change = wire.commit()
        assert [tries for _, tries in change.changes] == [1]
        again = restored(first)
        again.dispatcher.add_losses(change.changes)
        again.sound()
        assert again.peer("c").table(b"show jobs") == [job + b"\t1\t0\t1"]
        assert again.worker("w", b"f").grab() == b"x", "after a restart it waits no more"
        wire.sound()

    def test_losses_of_a_job_that_waits(self) -> None:
        """A job of a later time that comes back with losses counts as one that waits for its next try."""
        wire = self.wire(backoff=3)
        wire.peer("c").send(Q.SUBMIT_JOB_EPOCH(b"f", b"u", b"2000000000", b"x")).take()
        first = wire.commit()
        again = restored(first)
        again.dispatcher.add_losses([(1, 2), (1, 1)])
        again.sound()
        assert not again.dispatcher.idle
        again.peer("c").send(b"cancel job H:local:1\n").expect(b"OK\r\n")
        again.sound()
        assert again.dispatcher.idle

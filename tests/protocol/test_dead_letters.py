# SPDX-License-Identifier: BSD-3-Clause
"""Dead letters: which jobs become some, what is told of them, and how they are queued again or dropped."""

from __future__ import annotations

from typing import Any

import pytest

from gearfast.dispatch import Batch, survivors
from gearfast.dispatch.policy import Policies

from .conftest import MakeWire
from .script import QUEUE_FULL, START_WALL, Peer, Q, R, Wire, handle
from .test_journal import Durable, numbers


def kept(**keys: Any) -> Policies:
    """The policy of f, which keeps ten."""
    return Policies.parse({"f": {"keep_failed": 10, **keys}})


def letters(wire: Wire) -> list[tuple[int, int, str]]:
    """Number, tries and reason of each."""
    return [(letter["number"], letter["tries"], letter["reason"]) for letter in wire.dispatcher.dead_letters()]


def fail(worker: Peer, job: bytes) -> None:
    worker.send(Q.GRAB_JOB())
    assert worker.one("JOB_ASSIGN")[0] == job
    worker.send(Q.WORK_FAIL(job)).expect_nothing()


class TestWhichJobs:
    def test_one_that_its_worker_fails(self, make_wire: MakeWire) -> None:
        wire = make_wire(policies=kept())
        c, w = wire.peer("c"), wire.worker("w", b"f")
        job = c.submit(b"f", b"load", b"u")
        fail(w, job)
        c.expect(R.WORK_FAIL(job))
        assert letters(wire) == [(1, 1, "failed")]
        assert c.known(job)[0] == b"0"
        assert c.status_of(b"f") == (0, 0, 1)
        assert c.table(b"show jobs") == []
        assert wire.dispatcher.idle and wire.dispatcher.job_count == 0
        assert c.submit(b"f", b"", b"u") == handle(2), "its unique is free"

    def test_the_last_exception_is_kept_though_nobody_asked_for_it(self, make_wire: MakeWire) -> None:
        wire = make_wire(policies=kept(retry_on_fail=True, tries=3))
        c, w = wire.peer("c"), wire.worker("w", b"f")
        job = c.submit(b"f", b"load", kind="SUBMIT_JOB_HIGH")
        for said in (b"first", b"second\0part"):
            assert w.grab() == b"load"
            w.send(Q.WORK_EXCEPTION(job, said)).expect_nothing()
        assert letters(wire) == []
        fail(w, job)
        c.expect(R.WORK_FAIL(job))
        (letter,) = wire.dispatcher.dead_letters()
        assert letter == {
            "number": 1,
            "handle": job.decode(),
            "function": "f",
            "unique": b"",
            "tries": 3,
            "reason": "failed",
            "time": float(START_WALL),
            "priority": "high",
            "workload": b"load",
            "exception": b"second\0part",
        }

    def test_no_more_than_64_kib_of_an_exception(self, make_wire: MakeWire) -> None:
        wire = make_wire(policies=kept())
        c, w = wire.peer("c"), wire.worker("w", b"f")
        job = c.submit(b"f", b"x")
        assert w.grab() == b"x"
        w.send(Q.WORK_EXCEPTION(job, b"e" * 65535 + b"ab")).expect_nothing()
        c.expect(R.WORK_FAIL(job))
        assert wire.dispatcher.dead_letters()[0]["exception"] == b"e" * 65535 + b"a"

    def test_an_exception_of_a_job_that_ends_well_goes(self, make_wire: MakeWire) -> None:
        wire = make_wire(policies=kept(retry_on_fail=True))
        c, w = wire.peer("c"), wire.worker("w", b"f")
        job = c.submit(b"f", b"x")
        assert w.grab() == b"x"
        w.send(Q.WORK_EXCEPTION(job, b"e" * 1000)).expect_nothing()
        assert w.grab() == b"x"
        w.send(Q.WORK_COMPLETE(job, b"")).expect_nothing()
        c.expect(R.WORK_COMPLETE(job, b""))
        assert wire.dispatcher.metrics()["server"]["queued_bytes"] == 0

    def test_lost_too_often(self, make_wire: MakeWire) -> None:
        wire = make_wire(policies=kept(tries=2))
        c = wire.peer("c")
        job = c.submit(b"f", b"x", kind="SUBMIT_JOB_BG")
        for _ in range(2):
            w = wire.worker("w", b"f")
            assert w.grab() == b"x"
            w.leave()
        assert letters(wire) == [(1, 2, "lost")]
        assert c.known(job)[0] == b"0"

    def test_a_time_out(self, make_wire: MakeWire) -> None:
        wire = make_wire(policies=kept(tries=1, timeout=2))
        c, w = wire.peer("c"), wire.worker("w", b"f")
        job = c.submit(b"f", b"x")
        assert w.grab() == b"x"
        wire.pass_time(3)
        c.expect(R.WORK_FAIL(job))
        assert letters(wire) == [(1, 1, "timeout")]
        assert wire.dispatcher.dead_letters()[0]["time"] == START_WALL + 3

    def test_expired_and_dropped_as_the_oldest(self, make_wire: MakeWire) -> None:
        wire = make_wire(policies=kept(expire=2, max_queue=1, full="drop-oldest"))
        c = wire.peer("c")
        first = c.submit(b"f", b"1")
        c.send(Q.SUBMIT_JOB(b"f", b"", b"2")).expect(R.WORK_FAIL(first), R.JOB_CREATED(handle(2)))
        wire.pass_time(3)
        c.expect(R.WORK_FAIL(handle(2)))
        assert letters(wire) == [(1, 0, "full"), (2, 0, "expired")]

    def test_not_those_that_nobody_wants_or_are_cancelled(self, make_wire: MakeWire) -> None:
        wire = make_wire(policies=kept(tries=1, expire=2))
        gone, c, w = wire.peer("gone"), wire.peer("c"), wire.worker("w", b"f")
        gone.submit(b"f", b"1")
        gone.submit(b"f", b"2")
        assert w.grab() == b"1"
        gone.leave()
        w.send(Q.WORK_FAIL(handle(1))).expect_nothing()
        job = c.submit(b"f", b"3")
        c.send(b"cancel job " + job + b"\n").expect(R.WORK_FAIL(job), b"OK\r\n")
        wire.pass_time(3)
        assert letters(wire) == []

    def test_only_of_functions_that_keep_some(self, make_wire: MakeWire) -> None:
        wire = make_wire(policies=Policies.parse({"f": {"tries": 1}}))
        c, w = wire.peer("c"), wire.worker("w", b"f")
        job = c.submit(b"f", b"1")
        fail(w, job)
        c.expect(R.WORK_FAIL(job))
        assert letters(wire) == []


class TestLimits:
    def test_the_oldest_goes(self, make_wire: MakeWire) -> None:
        wire = make_wire(policies=kept(keep_failed=2))
        c, w = wire.peer("c"), wire.worker("w", b"f")
        for _ in range(4):
            fail(w, c.submit(b"f", b"x", kind="SUBMIT_JOB_BG"))
        assert [number for number, _, _ in letters(wire)] == [3, 4]
        wire.dispatcher.policies = kept(keep_failed=1)
        assert len(letters(wire)) == 2, "a lower limit takes none away before there is a new one"
        fail(w, c.submit(b"f", b"x", kind="SUBMIT_JOB_BG"))
        assert [number for number, _, _ in letters(wire)] == [5]
        wire.dispatcher.policies = Policies()
        assert len(letters(wire)) == 1

    def test_kept_for_a_time(self, make_wire: MakeWire) -> None:
        wire = make_wire(policies=kept(keep_failed_for=60))
        c, w = wire.peer("c"), wire.worker("w", b"f")
        fail(w, c.submit(b"f", b"1", kind="SUBMIT_JOB_BG"))
        assert wire.pass_time(20) == 40 * 10**9
        fail(w, c.submit(b"f", b"2", kind="SUBMIT_JOB_BG"))
        wire.pass_time(40)
        assert [number for number, _, _ in letters(wire)] == [2]
        wire.dispatcher.policies = kept()
        wire.pass_time(1000)
        assert [number for number, _, _ in letters(wire)] == [2]
        wire.dispatcher.policies = kept(keep_failed_for=60)
        wire.tick()
        assert letters(wire) == []

    def test_they_count_for_the_ceiling(self, make_wire: MakeWire) -> None:
        wire = make_wire(policies=kept(), max_queued=5000)
        c, w = wire.peer("c"), wire.worker("w", b"f")
        fail(w, c.submit(b"f", b"x" * 3000, kind="SUBMIT_JOB_BG"))
        c.send(Q.SUBMIT_JOB(b"f", b"", b"x" * 3000)).expect(QUEUE_FULL)
        c.send(b"dead drop *\n").expect(b"OK 1\r\n")
        c.submit(b"f", b"x" * 3000)

    def test_a_dropped_function_takes_them_along(self, make_wire: MakeWire) -> None:
        wire = make_wire(policies=kept())
        c, w = wire.peer("c"), wire.worker("w", b"f")
        fail(w, c.submit(b"f", b"x" * 100_000, kind="SUBMIT_JOB_BG"))
        w.leave()
        c.send(b"drop function f\n").expect(b"OK\r\n")
        assert letters(wire) == []

    def test_metrics(self, make_wire: MakeWire) -> None:
        wire = make_wire(policies=kept())
        c, w = wire.peer("c"), wire.worker("w", b"f")
        fail(w, c.submit(b"f", b"x", kind="SUBMIT_JOB_BG"))
        metrics = wire.dispatcher.metrics()
        assert (metrics["functions"]["f"]["dead"], metrics["server"]["dead"]) == (1, 1)

    def test_a_gate_opens(self, make_wire: MakeWire) -> None:
        wire = make_wire(policies=kept(concurrency=1))
        c, w, sleeper = wire.peer("c"), wire.worker("w", b"f"), wire.worker("s", b"f")
        first = c.submit(b"f", b"1", kind="SUBMIT_JOB_BG")
        c.submit(b"f", b"2", kind="SUBMIT_JOB_BG")
        assert w.grab() == b"1"
        sleeper.sleep()
        w.send(Q.WORK_FAIL(first)).expect_nothing()
        sleeper.expect(R.NOOP())


class TestLines:
    def test_list_and_show(self, make_wire: MakeWire) -> None:
        wire = make_wire(policies=Policies.parse({"*": {"keep_failed": 5}}))
        c, w = wire.peer("c"), wire.worker("w", b"f", b"g h")
        one = c.submit(b"f", b"a\tb%\xff", b"u 1", kind="SUBMIT_JOB_LOW_BG")
        assert w.grab() == b"a\tb%\xff"
        w.send(Q.WORK_EXCEPTION(one, b"Error: no\n")).expect_nothing()
        two = c.submit(b"g h", b"", kind="SUBMIT_JOB_BG")
        fail(w, two)
        lines = [
            one + b"\tf\tu%201\t1\tfailed\t1767225600.000\n",
            two + b"\tg%20h\t\t1\tfailed\t1767225600.000\n",
        ]
        c.send(b"dead\n").expect(*lines, b".\n")
        c.send(b"DEAD f\n").expect(lines[0], b".\n")
        c.send(b"dead nothing\n").expect(b".\n")
        c.send(b"dead show " + one + b"\n").expect(
            b"handle\t" + one + b"\nfunction\tf\nunique\tu%201\npriority\tlow\ntries\t1\nreason\tfailed\n"
            b"time\t1767225600.000\nworkload\ta%09b%25\xff\nexception\tError:%20no%0A\n.\n"
        )
        c.send(b"dead show " + two + b"\n")
        assert b"exception" not in c.take()

    def test_requeue_begins_anew(self, make_wire: MakeWire) -> None:
        wire = make_wire(policies=kept(tries=1))
        c, w = wire.peer("c"), wire.worker("w", b"f")
        job = c.submit(b"f", b"x", b"u")
        w.send(Q.GRAB_JOB())
        w.one("JOB_ASSIGN")
        w.leave()
        c.expect(R.WORK_FAIL(job))
        c.send(b"dead requeue " + job + b"\n").expect(b"OK 1\r\n")
        assert letters(wire) == []
        assert c.table(b"show jobs") == [job + b"\t0\t0\t1"]
        assert c.submit(b"f", b"y", b"u") == job, "its unique is taken again"
        w = wire.worker("w2", b"f")
        assert w.grab() == b"x"
        w.send(Q.WORK_COMPLETE(job, b"r")).expect_nothing()
        c.expect(R.WORK_COMPLETE(job, b"r"))

    def test_requeue_wakes(self, make_wire: MakeWire) -> None:
        wire = make_wire(policies=kept())
        c, w = wire.peer("c"), wire.worker("w", b"f")
        fail(w, c.submit(b"f", b"x", kind="SUBMIT_JOB_BG"))
        w.sleep()
        c.send(b"dead requeue f\n").expect(b"OK 1\r\n")
        w.expect(R.NOOP())
        assert w.grab() == b"x"

    def test_all_of_a_function_or_of_all(self, make_wire: MakeWire) -> None:
        wire = make_wire(policies=Policies.parse({"*": {"keep_failed": 9}}))
        c, w = wire.peer("c"), wire.worker("w", b"f", b"g")
        for name in (b"f", b"f", b"g"):
            fail(w, c.submit(name, name, kind="SUBMIT_JOB_BG"))
        c.send(b"dead requeue f\n").expect(b"OK 2\r\n")
        c.send(b"dead requeue f\n").expect(b"OK 0\r\n")
        c.send(b"dead requeue *\n").expect(b"OK 1\r\n")
        assert sorted(w.grab_all()) == [b"f", b"f", b"g"]
        w.leave()
        c.send(b"dead drop *\n").expect(b"OK 0\r\n")

    @pytest.mark.parametrize("unique", [b"u", b"-"])
    def test_a_job_with_its_unique_is_in_the_way(self, make_wire: MakeWire, unique: bytes) -> None:
        wire = make_wire(policies=kept())
        c, w = wire.peer("c"), wire.worker("w", b"f")
        job = c.submit(b"f", b"x", unique, kind="SUBMIT_JOB_BG")
        fail(w, job)
        c.submit(b"f", b"x", unique, kind="SUBMIT_JOB_BG")
        c.send(b"dead requeue " + job + b"\n").expect(b"ERR NOT_QUEUED A+job+with+its+unique+is+queued+or+running\r\n")
        c.send(b"dead requeue *\n").expect(b"OK 0\r\n")
        assert letters(wire) == [(1, 1, "failed")]
        assert w.grab_all() == [b"x"]

    def test_drop(self, make_wire: MakeWire) -> None:
        wire = make_wire(policies=kept())
        c, w = wire.peer("c"), wire.worker("w", b"f")
        jobs = [c.submit(b"f", b"x", kind="SUBMIT_JOB_BG") for _ in range(3)]
        for job in jobs:
            fail(w, job)
        c.send(b"dead drop " + jobs[1] + b"\n").expect(b"OK 1\r\n")
        assert [number for number, _, _ in letters(wire)] == [1, 3]
        c.send(b"dead drop " + jobs[1] + b"\n").expect(b"ERR UNKNOWN_JOB\r\n")
        c.send(b"dead drop f\n").expect(b"OK 2\r\n")
        c.send(b"dead show " + jobs[0] + b"\n").expect(b"ERR UNKNOWN_JOB\r\n")
        assert wire.dispatcher.metrics()["server"]["queued_bytes"] == 0

    def test_who_may_not_change_things_may_look(self, make_wire: MakeWire) -> None:
        wire = make_wire(admin_writes=False, policies=kept())
        c, w = wire.peer("c"), wire.worker("w", b"f")
        fail(w, c.submit(b"f", b"x", kind="SUBMIT_JOB_BG"))
        for verb in (b"requeue", b"drop"):
            c.send(b"dead %s *\n" % verb).expect(b"ERR PERMISSION_DENIED This+connection+may+not+change+anything\r\n")
        assert len(c.table(b"dead")) == 1
        c.send(b"dead show " + handle(1) + b"\n")
        assert c.take().startswith(b"handle\t")

    def test_other_words(self, make_wire: MakeWire) -> None:
        c = make_wire().peer("c")
        for line in (b"dead show a b", b"dead revive a", b"dead requeue a b"):
            c.send(line + b"\n")
            assert c.take().startswith(b"ERR INVALID_ARGUMENTS dead,+dead+FUNCTION,")


class Disk:
    """What a store holds after some batches: the live records."""

    def __init__(self) -> None:
        self.batches: list[tuple[Batch, set[int]]] = []

    def write(self, batch: Batch) -> Batch:
        for _, ended in self.batches:
            ended |= set(numbers(batch.replaced))
        self.batches.append((batch, set()))
        for _, ended in self.batches:
            ended |= set(numbers(batch.ended))
        return batch

    def records(self) -> bytes:
        def packed(ended: set[int]) -> bytes:
            return b"".join(number.to_bytes(8, "little") for number in sorted(ended))

        return b"".join(survivors(batch.records, packed(ended))[0] for batch, ended in self.batches)

    def server(self, **settings: Any) -> Durable:
        """A new one with what is here."""
        wire = Durable(first_handle=1000, **settings)
        wire.dispatcher.restore(self.records())
        wire.sound()
        return wire


@pytest.fixture
def disk() -> Disk:
    return Disk()


class TestDurable:
    @pytest.fixture
    def wire(self) -> Durable:
        return Durable(policies=kept(tries=2, retry_on_fail=True))

    def dead(self, wire: Durable, disk: Disk, *, between: bool) -> None:
        """One durable job that fails twice; `between`: its first record is in the store by then."""
        c, w = wire.peer("c"), wire.worker("w", b"f")
        c.send(Q.SUBMIT_JOB_HIGH_BG(b"f", b"u", b"load"))
        if between:
            disk.write(wire.commit())
        assert w.grab() == b"load"
        w.send(Q.WORK_EXCEPTION(handle(1), b"why")).expect_nothing()
        fail(w, handle(1))
        if not between:
            disk.write(wire.commit())
        c.expect(R.JOB_CREATED(handle(1)))
        w.leave()

    @pytest.mark.parametrize("between", [True, False])
    def test_a_dead_letter_comes_back_as_it_was(self, wire: Durable, disk: Disk, between: bool) -> None:
        self.dead(wire, disk, between=between)
        if between:
            disk.write(wire.commit())
        again = disk.server()
        assert again.dispatcher.dead_letters() == wire.dispatcher.dead_letters() != []
        assert again.dispatcher.jobs() == []
        wire.sound()

    @pytest.mark.parametrize("between", [True, False])
    def test_requeued_it_comes_back_as_a_job(self, wire: Durable, disk: Disk, between: bool) -> None:
        self.dead(wire, disk, between=True)
        if between:
            disk.write(wire.commit())
        wire.peer("a").send(b"dead requeue *\n").expect(b"OK 1\r\n")
        wire.sound()
        disk.write(wire.commit())
        again = disk.server()
        assert again.dispatcher.dead_letters() == []
        (job,) = again.dispatcher.jobs()
        assert (job["number"], job["workload"], job["retries"], job["priority"]) == (1, b"load", 0, "high")

    def test_dead_queued_and_dead_again_in_one_batch(self, wire: Durable, disk: Disk) -> None:
        self.dead(wire, disk, between=True)
        wire.peer("a").send(b"dead requeue *\n").expect(b"OK 1\r\n")
        w = wire.worker("w", b"f")
        fail(w, handle(1))
        fail(w, handle(1))
        batch = disk.write(wire.commit())
        assert (batch.late, numbers(batch.replaced)) == ((1,), [1])
        assert [letter["tries"] for letter in disk.server().dispatcher.dead_letters()] == [2]

    def test_dropped_it_does_not_come_back(self, wire: Durable, disk: Disk) -> None:
        self.dead(wire, disk, between=True)
        disk.write(wire.commit())
        wire.peer("a").send(b"dead drop *\n").expect(b"OK 1\r\n")
        disk.write(wire.commit())
        assert disk.server().dispatcher.dead_letters() == []

    @pytest.mark.parametrize("verb", [b"requeue", b"drop", None])
    def test_a_batch_that_is_not_stored_is_told_again(self, wire: Durable, disk: Disk, verb: bytes | None) -> None:
        self.dead(wire, disk, between=True)
        batch = wire.batch()
        if verb:
            wire.peer("a").send(b"dead %s *\n" % verb).expect(b"OK 1\r\n")
        wire.settle(False)
        wire.sound()
        assert batch.late == (1,)
        disk.write(wire.commit())
        again = disk.server().dispatcher
        assert (len(again.jobs()), len(again.dead_letters())) == {b"requeue": (1, 0), b"drop": (0, 0), None: (0, 1)}[
            verb
        ]

    def test_a_requeued_job_of_a_batch_that_is_not_stored_stays(self, wire: Durable, disk: Disk) -> None:
        self.dead(wire, disk, between=True)
        disk.write(wire.commit())
        wire.peer("a").send(b"dead requeue *\n").expect(b"OK 1\r\n")
        wire.batch()
        wire.settle(False)
        assert [job["number"] for job in wire.dispatcher.jobs()] == [1]
        disk.write(wire.commit())
        assert [job["number"] for job in disk.server().dispatcher.jobs()] == [1]

    def test_a_foreground_job_becomes_durable_when_it_is_requeued(self, wire: Durable, disk: Disk) -> None:
        c, w = wire.peer("c"), wire.worker("w", b"f")
        job = c.submit(b"f", b"x")
        fail(w, job)
        fail(w, job)
        c.expect(R.WORK_FAIL(job))
        assert not wire.dispatcher.batch_waits
        c.send(b"dead requeue *\n").expect(b"OK 1\r\n")
        disk.write(wire.commit())
        assert [each["number"] for each in disk.server().dispatcher.jobs()] == [1]

    def test_the_command_waits_for_all_of_them(self, wire: Durable, disk: Disk) -> None:
        self.dead(wire, disk, between=True)
        disk.write(wire.commit())
        again = Durable(first_handle=1000)
        again.dispatcher.restoring = True
        a = again.peer("a").send(b"version\n", b"dead requeue *\n", b"version\n").expect(b"OK 9.8.7\n")
        again.dispatcher.restore(disk.records())
        a.expect_nothing()
        again.dispatcher.restoring = False
        again.tick()
        a.expect(b"OK 1\r\n", b"OK 9.8.7\n")

    def test_what_a_dead_letter_cannot_be(self, wire: Durable, disk: Disk) -> None:
        self.dead(wire, disk, between=False)
        records = bytearray(disk.records())
        fill = records[4]
        records[len(records) - fill - 1] = 99  # its reason
        with pytest.raises(ValueError, match="not whole"):
            Durable().dispatcher.restore(bytes(records))

# SPDX-License-Identifier: BSD-3-Clause
"""Results of background jobs: which are kept, how long, and what `gearfast.result` answers."""

from __future__ import annotations

from typing import Any

import pytest

from gearfast.dispatch.policy import Policies

from .conftest import MakeWire
from .script import QUEUE_FULL, START_WALL, Peer, Q, R, Wire, error, handle
from .test_dead_letters import Disk
from .test_journal import Durable, numbers

ASK = b"gearfast.result"
NOW = b"gearfast.result.now"
UNKNOWN = b"gearfast.result: UNKNOWN_JOB No job, result or dead letter is known by that"


def kept(**keys: Any) -> Policies:
    """The policy of f, which keeps ten."""
    return Policies.parse({"f": {"keep_results": 10, **keys}})


def ask(question: bytes, function: bytes = ASK) -> bytes:
    """A question without a unique of its own."""
    return Q.SUBMIT_JOB(function, b"", question)


def unknown(number: int) -> bytes:
    """The answer, which has a new handle."""
    return R.JOB_CREATED(handle(number)) + R.WORK_WARNING(handle(number), UNKNOWN) + R.WORK_FAIL(handle(number))


def failed(job: bytes, why: bytes = b"") -> bytes:
    """The answer about a job that failed."""
    warning = R.WORK_WARNING(job, b"gearfast.result: " + why) if why else b""
    return R.JOB_CREATED(job) + warning + R.WORK_FAIL(job)


def done(job: bytes, result: bytes) -> bytes:
    """The answer about a job that was done."""
    return R.JOB_CREATED(job) + R.WORK_COMPLETE(job, result)


def outcomes(wire: Wire) -> list[tuple[int, str, bytes | None]]:
    """Number, outcome and data of each."""
    return [(result["number"], result["outcome"], result["data"]) for result in wire.dispatcher.results()]


def begin(c: Peer, w: Peer, unique: bytes = b"", function: bytes = b"f") -> bytes:
    """A background job that the worker has; its handle."""
    job = c.submit(function, b"load", unique, kind="SUBMIT_JOB_BG")
    assert w.grab() == b"load"
    return job


def finish(c: Peer, w: Peer, result: bytes, unique: bytes = b"", function: bytes = b"f") -> bytes:
    """A background job that was done; its handle."""
    job = begin(c, w, unique, function)
    w.send(Q.WORK_COMPLETE(job, result)).expect_nothing()
    return job


class TestAnswers:
    def test_by_handle_by_function_and_unique_and_by_unique(self, make_wire: MakeWire) -> None:
        wire = make_wire(policies=kept())
        c, w = wire.peer("c"), wire.worker("w", b"f")
        job = finish(c, w, b"re\0sult", b"u")
        for question in (job, b"f\0u", b"u"):
            c.send(ask(question)).expect(done(job, b"re\0sult"))
        w.send(ask(job)).expect(done(job, b"re\0sult"))
        assert c.status_of(b"f") == (0, 0, 1)
        assert c.status_of(ASK) is None
        c.send(ask(b"u", NOW)).expect(done(job, b"re\0sult"))

    @pytest.mark.parametrize("kind", ["SUBMIT_JOB_HIGH", "SUBMIT_JOB", "SUBMIT_JOB_LOW"])
    def test_any_foreground_submission_asks(self, make_wire: MakeWire, kind: str) -> None:
        wire = make_wire(policies=kept())
        c, w = wire.peer("c"), wire.worker("w", b"f")
        job = finish(c, w, b"r")
        c.send(getattr(Q, kind)(ASK, b"some-unique", job)).expect(done(job, b"r"))

    def test_progress_is_kept(self, make_wire: MakeWire) -> None:
        wire = make_wire(policies=kept())
        c, w = wire.peer("c"), wire.worker("w", b"f")
        job = begin(c, w)
        w.send(Q.WORK_STATUS(job, b"3", b"4"), Q.WORK_DATA(job, b"a part"), Q.WORK_COMPLETE(job, b"r"))
        w.expect_nothing()
        c.send(ask(job)).expect(R.JOB_CREATED(job), R.WORK_STATUS(job, b"3", b"4"), R.WORK_COMPLETE(job, b"r"))

    def test_failures(self, make_wire: MakeWire) -> None:
        wire = make_wire(policies=kept())
        c, e, w = wire.peer("c"), wire.peer("e"), wire.worker("w", b"f")
        e.send(Q.OPTION_REQ(b"exceptions")).expect(R.OPTION_RES(b"exceptions"))
        plain, thrown = begin(c, w), begin(c, w)
        w.send(Q.WORK_FAIL(plain), Q.WORK_EXCEPTION(thrown, b"Error: no")).expect_nothing()
        assert outcomes(wire) == [(1, "failed", None), (2, "failed", b"Error: no")]
        for peer in (c, e):
            peer.send(ask(plain)).expect(failed(plain))
        c.send(ask(thrown)).expect(failed(thrown))
        e.send(ask(thrown)).expect(R.JOB_CREATED(thrown), R.WORK_EXCEPTION(thrown, b"Error: no"))

    def test_ends_without_a_worker(self, make_wire: MakeWire) -> None:
        wire = make_wire(policies=kept(tries=1, timeout=2, expire=5, max_queue=1, full="drop-oldest"))
        c, w, x = wire.peer("c"), wire.worker("w", b"f"), wire.worker("x", b"f")
        lost, timed_out = begin(c, x), begin(c, w)
        x.leave()
        wire.pass_time(3)
        full, expired = (c.submit(b"f", b"", kind="SUBMIT_JOB_BG") for _ in range(2))
        wire.pass_time(6)
        cancelled = c.submit(b"f", b"", kind="SUBMIT_JOB_BG")
        c.send(b"cancel job " + cancelled + b"\n").expect(b"OK\r\n")
        names = ["lost", "timeout", "full", "expired", "cancelled"]
        assert [outcome for _, outcome, _ in outcomes(wire)] == names
        for job, name in zip([lost, timed_out, full, expired, cancelled], names, strict=True):
            c.send(ask(job))
            seen = c.seen()
            assert [s.name for s in seen] == ["JOB_CREATED", "WORK_WARNING", "WORK_FAIL"]
            assert seen[1].args[1].startswith(b"gearfast.result: " + name.upper().encode() + b" The job") or (
                name in ("timeout", "expired")
            )

    def test_unknown(self, make_wire: MakeWire) -> None:
        wire = make_wire(policies=kept())
        c, w = wire.peer("c"), wire.worker("w", b"f")
        questions = [b"", b"-", b"f\0", b"f\0-", b"f\0u", b"nothing\0u", b"u", b"H:local:77", b"H:other:1", b"x" * 9000]
        for number, question in enumerate(questions, 1):
            c.send(ask(question)).expect(unknown(number))
        assert begin(c, w) == handle(len(questions) + 1), "an answer's handle is nobody else's"

    def test_of_jobs_by_their_workload_only_the_handle_asks(self, make_wire: MakeWire) -> None:
        wire = make_wire(policies=kept())
        c, w = wire.peer("c"), wire.worker("w", b"f")
        job = finish(c, w, b"r", b"-")
        c.send(ask(job)).expect(done(job, b"r"))
        c.send(ask(b"-")).expect(unknown(2))

    def test_the_newest_with_a_unique(self, make_wire: MakeWire) -> None:
        wire = make_wire(policies=Policies.parse({"*": {"keep_results": 5}}))
        c, w = wire.peer("c"), wire.worker("w", b"f", b"g")
        finish(c, w, b"1", b"u")
        second = finish(c, w, b"2", b"u")
        third = finish(c, w, b"3", b"u", b"g")
        c.send(ask(b"f\0u")).expect(done(second, b"2"))
        c.send(ask(b"u")).expect(done(third, b"3"))
        queued = c.submit(b"f", b"", b"u", kind="SUBMIT_JOB_BG")
        c.send(ask(b"u")).expect(R.JOB_CREATED(queued))
        assert w.grab() == b""
        w.send(Q.WORK_COMPLETE(queued, b"4")).expect_nothing()
        c.expect(R.WORK_COMPLETE(queued, b"4"))

    def test_a_dead_letter_is_the_result_of_its_job(self, make_wire: MakeWire) -> None:
        wire = make_wire(policies=kept(keep_failed=5), exceptions=True)
        c, w = wire.peer("c"), wire.worker("w", b"f")
        first = begin(c, w, b"u")
        w.send(Q.WORK_EXCEPTION(first, b"no")).expect_nothing()
        second = begin(c, w, b"v")
        w.leave()
        wire.dispatcher.policies = kept(keep_failed=5, tries=1)
        w = wire.worker("w2", b"f")
        assert w.grab() == b"load"
        w.leave()
        assert (outcomes(wire), len(wire.dispatcher.dead_letters())) == ([], 2)
        for question in (first, b"f\0u", b"u"):
            c.send(ask(question)).expect(R.JOB_CREATED(first), R.WORK_EXCEPTION(first, b"no"))
        c.send(ask(b"v"))
        assert [s.name for s in c.seen()] == ["JOB_CREATED", "WORK_WARNING", "WORK_FAIL"]
        c.send(b"dead requeue " + second + b"\n").expect(b"OK 1\r\n")
        c.send(ask(b"v")).expect(R.JOB_CREATED(second))

    def test_the_newest_is_the_one_that_was_submitted_last(self, make_wire: MakeWire) -> None:
        wire = make_wire(policies=kept(keep_failed=5))
        c, w = wire.peer("c"), wire.worker("w", b"f")
        first = begin(c, w, b"u")
        w.send(Q.WORK_FAIL(first)).expect_nothing()
        second = begin(c, w, b"u")
        w.send(Q.WORK_FAIL(second)).expect_nothing()
        c.send(b"dead requeue " + first + b"\n").expect(b"OK 1\r\n")
        assert w.grab() == b"load"
        w.send(Q.WORK_FAIL(first)).expect_nothing()
        c.send(ask(b"f\0u")).expect(failed(second))
        c.send(b"dead drop " + second + b"\n").expect(b"OK 1\r\n")
        c.send(ask(b"f\0u")).expect(failed(first))

    @pytest.mark.parametrize("size", [100, 40_000, 3_000_000])
    def test_large_ones(self, make_wire: MakeWire, size: int) -> None:
        wire = Wire(policies=kept())
        c, w = wire.peer("c"), wire.worker("w", b"f")
        result = bytes(range(250)) * (size // 250)
        job = finish(c, w, result)
        wire.sound()
        for _ in range(2):
            c.send(ask(job)).expect(done(job, result))
        wire.sound()
        c.send(b"results drop *\n").expect(b"OK 1\r\n")
        wire.sound()
        assert wire.dispatcher.metrics()["server"]["queued_bytes"] == 0


class TestWaiting:
    def test_several_wait_and_see_what_comes(self, make_wire: MakeWire) -> None:
        wire = make_wire()
        c, d, w = wire.peer("c"), wire.peer("d"), wire.worker("w", b"f")
        job = c.submit(b"f", b"load", b"u", kind="SUBMIT_JOB_BG")
        c.send(ask(job)).expect(R.JOB_CREATED(job))
        assert w.grab() == b"load"
        w.send(Q.WORK_STATUS(job, b"1", b"2")).expect_nothing()
        c.expect(R.WORK_STATUS(job, b"1", b"2"))
        d.send(ask(b"f\0u")).expect(R.JOB_CREATED(job), R.WORK_STATUS(job, b"1", b"2"))
        w.send(Q.WORK_DATA(job, b"part"), Q.WORK_COMPLETE(job, b"r")).expect_nothing()
        for peer in (c, d):
            peer.expect(R.WORK_DATA(job, b"part"), R.WORK_COMPLETE(job, b"r"))
        c.send(ask(job)).expect(unknown(2))

    def test_who_leaves_waits_no_more_and_the_job_stays(self, make_wire: MakeWire) -> None:
        wire = make_wire(policies=kept())
        c, d, w = wire.peer("c"), wire.peer("d"), wire.worker("w", b"f")
        job = c.submit(b"f", b"load", kind="SUBMIT_JOB_BG")
        d.send(ask(job)).expect(R.JOB_CREATED(job))
        d.leave()
        assert wire.dispatcher.metrics()["server"]["waiting_requests"] == 0
        assert w.grab() == b"load"
        w.send(Q.WORK_COMPLETE(job, b"r")).expect_nothing()
        c.send(ask(job)).expect(done(job, b"r"))

    def test_for_a_job_that_waits_for_its_time(self, make_wire: MakeWire) -> None:
        wire = make_wire()
        c, w = wire.peer("c"), wire.worker("w", b"f")
        job = c.submit_at(b"f", START_WALL + 60, b"load")
        c.send(ask(job)).expect(R.JOB_CREATED(job))
        wire.pass_time(61)
        assert w.grab() == b"load"
        w.send(Q.WORK_FAIL(job)).expect_nothing()
        c.expect(R.WORK_FAIL(job))

    def test_cancelled_while_somebody_waits(self, make_wire: MakeWire) -> None:
        wire = make_wire(policies=kept())
        c, w = wire.peer("c"), wire.worker("w", b"f")
        job = begin(c, w)
        c.send(ask(job)).expect(R.JOB_CREATED(job))
        c.send(b"cancel job " + job + b"\n").expect(R.WORK_FAIL(job), b"OK\r\n")
        c.send(ask(job)).expect(failed(job, b"CANCELLED The job was cancelled"))
        w.send(Q.WORK_COMPLETE(job, b"late")).expect_nothing()
        assert outcomes(wire) == [(1, "cancelled", None)]

    def test_not_of_a_foreground_job_that_nobody_wants(self, make_wire: MakeWire) -> None:
        wire = make_wire(policies=kept())
        c, d, w = wire.peer("c"), wire.peer("d"), wire.worker("w", b"f")
        job = c.submit(b"f", b"x")
        assert w.grab() == b"x"
        c.leave()
        d.send(ask(job)).expect(unknown(2))
        w.send(Q.WORK_COMPLETE(job, b"r")).expect_nothing()
        assert outcomes(wire) == []

    def test_without_waiting(self, make_wire: MakeWire) -> None:
        wire = make_wire()
        c, w = wire.peer("c"), wire.worker("w", b"f")
        job = c.submit(b"f", b"load", kind="SUBMIT_JOB_BG")
        c.send(ask(job, NOW)).expect(failed(job, b"NOT_ENDED The job is queued"))
        assert w.grab() == b"load"
        w.send(Q.WORK_STATUS(job, b"5", b"9")).expect_nothing()
        warning = R.WORK_WARNING(job, b"gearfast.result: NOT_ENDED The job runs")
        c.send(ask(job, NOW)).expect(R.JOB_CREATED(job), R.WORK_STATUS(job, b"5", b"9"), warning, R.WORK_FAIL(job))
        assert wire.dispatcher.metrics()["server"]["waiting_requests"] == 0
        c.send(ask(b"u", NOW)).expect(unknown(2))

    def test_no_more_wait_than_have_room(self, make_wire: MakeWire) -> None:
        wire = make_wire(max_queued=1000)
        c = wire.peer("c")
        job = c.submit(b"f", b"load", kind="SUBMIT_JOB_BG")
        for _ in range(30_000):
            c.send_raw(ask(job))
            if c.unread.endswith(QUEUE_FULL):
                break
        assert c.take().endswith(QUEUE_FULL)


class TestTheFunction:
    def test_a_job_whose_time_never_comes_has_its_handle(self, wire: Wire) -> None:
        c = wire.peer("c").send(Q.SUBMIT_JOB_EPOCH(b"f", b"", b"999999999999999999", b"load"))
        c.expect(R.JOB_CREATED(handle(1)))
        c.send(ask(handle(1), NOW)).expect(failed(handle(1), b"NOT_ENDED The job is queued"))

    @pytest.mark.parametrize("name", [ASK, NOW])
    def test_no_worker_gets_it(self, make_wire: MakeWire, name: bytes) -> None:
        wire = make_wire()
        c, w = wire.peer("c"), wire.peer("w")
        w.send(Q.CAN_DO(name), Q.CAN_DO_TIMEOUT(name, b"1"), Q.CAN_DO(b"f")).expect_nothing()
        texts = [text for _, text in wire.dispatcher.take_notices()]
        assert texts == ["a worker registers a function that the server answers itself: it gets no jobs of it"] * 2
        w.send(Q.CANT_DO(name)).expect_nothing()
        c.send(ask(b"u", name)).expect(unknown(1))
        assert w.grab() is None
        assert c.status_of(name) is None
        c.send(b"create function " + name + b"\n").expect(b"ERR UNKNOWN_ERROR\r\n")

    def test_names_like_it_are_anybodys(self, make_wire: MakeWire) -> None:
        wire = make_wire()
        c = wire.peer("c")
        for name in (b"gearfast.resul", b"gearfast.results", b"Gearfast.result", b"gearfast.result.new", b"a" * 15):
            w = wire.worker("w", name)
            c.submit(name, name)
            assert w.grab() == name

    def test_only_in_the_foreground(self, make_wire: MakeWire) -> None:
        refused = error(b"INVALID_ARGUMENT", b"The server answers this function itself, in the foreground only")
        c = make_wire().peer("c")
        for packet in (
            Q.SUBMIT_JOB_BG(ASK, b"", b"u"),
            Q.SUBMIT_JOB_HIGH_BG(ASK, b"", b"u"),
            Q.SUBMIT_JOB_LOW_BG(NOW, b"u", b"u"),
            Q.SUBMIT_JOB_EPOCH(ASK, b"", b"0", b"u"),
            Q.SUBMIT_JOB_SCHED(ASK, b"", b"*", b"*", b"*", b"*", b"*", b"u"),
            Q.SUBMIT_REDUCE_JOB(ASK, b"", b"r", b"", b"u"),
        ):
            c.send(packet).expect(refused)

    def test_a_client_may_ask_whether_there_is_such_a_function(self, make_wire: MakeWire) -> None:
        c = make_wire().peer("c")
        c.send(Q.OPTION_REQ(b"results")).expect(R.OPTION_RES(b"results"))


class TestLimits:
    def test_only_of_functions_that_keep_some_and_of_background_jobs(self, make_wire: MakeWire) -> None:
        wire = make_wire(policies=kept())
        c, w = wire.peer("c"), wire.worker("w", b"f", b"g")
        finish(c, w, b"r", function=b"g")
        job = c.submit(b"f", b"x", b"u")
        assert w.grab() == b"x"
        w.send(Q.WORK_COMPLETE(job, b"r")).expect_nothing()
        c.expect(R.WORK_COMPLETE(job, b"r"))
        assert outcomes(wire) == []
        job = c.submit(b"f", b"x", b"u")
        assert c.submit(b"f", b"x", b"u", kind="SUBMIT_JOB_BG") == job
        assert w.grab() == b"x"
        w.send(Q.WORK_COMPLETE(job, b"both")).expect_nothing()
        c.expect(R.WORK_COMPLETE(job, b"both"))
        assert outcomes(wire) == [(3, "done", b"both")]

    def test_the_oldest_goes(self, make_wire: MakeWire) -> None:
        wire = make_wire(policies=kept(keep_results=2))
        c, w = wire.peer("c"), wire.worker("w", b"f")
        for _ in range(4):
            finish(c, w, b"r", b"u")
        assert [number for number, _, _ in outcomes(wire)] == [3, 4]
        wire.dispatcher.policies = kept(keep_results=1)
        assert len(outcomes(wire)) == 2
        finish(c, w, b"r")
        assert [number for number, _, _ in outcomes(wire)] == [5]

    def test_kept_for_a_time(self, make_wire: MakeWire) -> None:
        wire = make_wire(policies=kept(keep_results_for=60))
        c, w = wire.peer("c"), wire.worker("w", b"f")
        finish(c, w, b"1")
        assert wire.pass_time(20) == 40 * 10**9
        finish(c, w, b"2")
        wire.pass_time(40)
        assert [number for number, _, _ in outcomes(wire)] == [2]
        wire.dispatcher.policies = kept()
        wire.pass_time(1000)
        assert [number for number, _, _ in outcomes(wire)] == [2]
        wire.dispatcher.policies = kept(keep_results_for=60)
        wire.tick()
        assert outcomes(wire) == []

    def test_too_large_ones_are_noted_with_their_size(self, make_wire: MakeWire) -> None:
        wire = make_wire(policies=kept(keep_results_size=5), exceptions=True)
        c, w = wire.peer("c"), wire.worker("w", b"f")
        fits, large = finish(c, w, b"12345"), finish(c, w, b"123456")
        thrown = begin(c, w)
        w.send(Q.WORK_EXCEPTION(thrown, b"x" * 9)).expect_nothing()
        c.send(ask(fits)).expect(done(fits, b"12345"))
        c.send(ask(large)).expect(failed(large, b"TOO_LARGE 6 bytes were not kept"))
        c.send(ask(thrown)).expect(failed(thrown, b"FAILED Its exception of 9 bytes was not kept"))

    def test_they_count_for_the_ceiling(self, make_wire: MakeWire) -> None:
        wire = make_wire(policies=kept(), max_queued=5000)
        c, w = wire.peer("c"), wire.worker("w", b"f")
        finish(c, w, b"r" * 3000)
        c.send(Q.SUBMIT_JOB(b"f", b"", b"x" * 3000)).expect(QUEUE_FULL)
        job = finish(c, w, b"r" * 3000)
        c.send(ask(job)).expect(failed(job, b"TOO_LARGE 3000 bytes were not kept"))
        c.send(b"results drop *\n").expect(b"OK 2\r\n")
        c.submit(b"f", b"x" * 3000)

    def test_a_dropped_function_takes_them_along(self, make_wire: MakeWire) -> None:
        wire = make_wire(policies=kept())
        c, w = wire.peer("c"), wire.worker("w", b"f")
        finish(c, w, b"r" * 100_000)
        w.leave()
        c.send(b"drop function f\n").expect(b"OK\r\n")
        assert outcomes(wire) == []

    def test_metrics(self, make_wire: MakeWire) -> None:
        wire = make_wire(policies=kept())
        c, w = wire.peer("c"), wire.worker("w", b"f")
        finish(c, w, b"r")
        metrics = wire.dispatcher.metrics()
        assert (metrics["functions"]["f"]["results"], metrics["server"]["results"]) == (1, 1)


class TestLines:
    def test_list_and_show(self, make_wire: MakeWire) -> None:
        wire = make_wire(policies=Policies.parse({"*": {"keep_results": 5, "keep_results_size": 9}}))
        c, w = wire.peer("c"), wire.worker("w", b"f", b"g h")
        one = begin(c, w, b"u 1")
        w.send(Q.WORK_STATUS(one, b"1", b"3"), Q.WORK_COMPLETE(one, b"a\tb%")).expect_nothing()
        two = finish(c, w, b"0123456789", function=b"g h")
        three = begin(c, w)
        w.send(Q.WORK_EXCEPTION(three, b"no\n")).expect_nothing()
        first = one + b"\tf\tu%201\tdone\t4\t1767225600.000\n"
        rest = [three + b"\tf\t\tfailed\t3\t1767225600.000\n", two + b"\tg%20h\t\tdone\t10\t1767225600.000\n"]
        c.send(b"results\n").expect(first, *rest, b".\n")
        c.send(b"RESULTS f\n").expect(first, rest[0], b".\n")
        c.send(b"results nothing\n").expect(b".\n")
        c.send(b"results show " + one + b"\n").expect(
            b"handle\t" + one + b"\nfunction\tf\nunique\tu%201\noutcome\tdone\nsize\t4\nnumerator\t1\ndenominator\t3\n"
            b"time\t1767225600.000\nresult\ta%09b%25\n.\n"
        )
        c.send(b"results show " + two + b"\n")
        assert b"result\t" not in c.take()
        c.send(b"results show " + three + b"\n")
        assert c.take().endswith(b"\nexception\tno%0A\n.\n")

    def test_drop(self, make_wire: MakeWire) -> None:
        wire = make_wire(policies=kept())
        c, w = wire.peer("c"), wire.worker("w", b"f")
        jobs = [finish(c, w, b"r") for _ in range(3)]
        c.send(b"results drop " + jobs[1] + b"\n").expect(b"OK 1\r\n")
        assert [number for number, _, _ in outcomes(wire)] == [1, 3]
        c.send(b"results drop " + jobs[1] + b"\n").expect(b"ERR UNKNOWN_JOB\r\n")
        c.send(b"results show " + jobs[1] + b"\n").expect(b"ERR UNKNOWN_JOB\r\n")
        c.send(b"results drop f\n").expect(b"OK 2\r\n")
        assert wire.dispatcher.metrics()["server"]["queued_bytes"] == 0

    def test_who_may_not_change_things_may_look(self, make_wire: MakeWire) -> None:
        wire = make_wire(admin_writes=False, policies=kept())
        c, w = wire.peer("c"), wire.worker("w", b"f")
        finish(c, w, b"r")
        c.send(b"results drop *\n").expect(b"ERR PERMISSION_DENIED This+connection+may+not+change+anything\r\n")
        assert len(c.table(b"results")) == 1

    def test_other_words(self, make_wire: MakeWire) -> None:
        c = make_wire().peer("c")
        for line in (b"results show a b", b"results requeue a"):
            c.send(line + b"\n")
            assert c.take().startswith(b"ERR INVALID_ARGUMENTS results,+results+FUNCTION,")


@pytest.fixture
def disk() -> Disk:
    return Disk()


class TestDurable:
    @pytest.fixture
    def wire(self) -> Durable:
        return Durable(policies=kept(keep_results_for=60))

    def end(self, wire: Durable, disk: Disk, *, between: bool, result: bytes = b"res\0ult") -> bytes:
        """One durable job that is done; `between`: its first record is in the store by then. Its handle."""
        c, w = wire.peer("c"), wire.worker("w", b"f")
        c.send(Q.SUBMIT_JOB_HIGH_BG(b"f", b"u", b"load"))
        if between:
            disk.write(wire.commit())
        assert w.grab() == b"load"
        w.send(Q.WORK_STATUS(handle(1), b"1", b"2"), Q.WORK_COMPLETE(handle(1), result)).expect_nothing()
        w.send(Q.ECHO_REQ(b"fence")).expect_nothing()
        disk.write(wire.commit())
        w.expect(R.ECHO_RES(b"fence"))
        c.expect(R.JOB_CREATED(handle(1)))
        w.leave()
        wire.sound()
        return handle(1)

    @pytest.mark.parametrize("size", [0, 7, 100_000])
    @pytest.mark.parametrize("between", [True, False])
    def test_it_comes_back_as_it_was(self, wire: Durable, disk: Disk, between: bool, size: int) -> None:
        job = self.end(wire, disk, between=between, result=b"r" * size)
        again = disk.server(policies=kept(keep_results_for=60))
        assert again.dispatcher.results() == wire.dispatcher.results() != []
        assert again.dispatcher.jobs() == []
        c = again.peer("c")
        for question in (job, b"u", b"f\0u"):
            c.send(ask(question)).expect(
                R.JOB_CREATED(job), R.WORK_STATUS(job, b"1", b"2"), R.WORK_COMPLETE(job, b"r" * size)
            )
        again.pass_time(61)
        assert again.dispatcher.results() == []
        assert numbers(again.commit().ended) == [1]

    def test_failures_and_what_was_too_large_come_back(self, disk: Disk) -> None:
        wire = Durable(policies=kept(keep_results_size=5))
        c, w = wire.peer("c"), wire.worker("w", b"f")
        c.send(*(Q.SUBMIT_JOB_BG(b"f", b"", b"x") for _ in range(5)))
        disk.write(wire.commit())
        c.take()
        for _ in range(4):
            w.grab()
        w.send(Q.WORK_FAIL(handle(1)), Q.WORK_EXCEPTION(handle(2), b"no"), Q.WORK_EXCEPTION(handle(3), b""))
        w.send(Q.WORK_COMPLETE(handle(4), b"too large")).expect_nothing()
        c.send(b"cancel job " + handle(5) + b"\n").expect(b"OK\r\n")
        disk.write(wire.commit())
        assert outcomes(wire) == [
            (1, "failed", None), (2, "failed", b"no"), (3, "failed", b""), (4, "done", None), (5, "cancelled", None)
        ]  # fmt: skip
        again = disk.server()
        assert again.dispatcher.results() == wire.dispatcher.results()
        assert again.dispatcher.jobs() == []

    @pytest.mark.parametrize("together", [True, False])
    def test_dropped_it_does_not_come_back(self, wire: Durable, disk: Disk, together: bool) -> None:
        c, w = wire.peer("c"), wire.worker("w", b"f")
        c.send(Q.SUBMIT_JOB_BG(b"f", b"", b"load"))
        disk.write(wire.commit())
        c.take()
        assert w.grab() == b"load"
        w.send(Q.WORK_COMPLETE(handle(1), b"r")).expect_nothing()
        if not together:
            disk.write(wire.commit())
        c.send(b"results drop *\n").expect(b"OK 1\r\n")
        disk.write(wire.commit())
        again = disk.server().dispatcher
        assert (again.results(), again.jobs()) == ([], [])

    @pytest.mark.parametrize("drop", [True, False])
    def test_a_batch_that_is_not_stored_is_told_again(self, wire: Durable, disk: Disk, drop: bool) -> None:
        c, w = wire.peer("c"), wire.worker("w", b"f")
        c.send(Q.SUBMIT_JOB_BG(b"f", b"", b"load"))
        disk.write(wire.commit())
        c.take()
        assert w.grab() == b"load"
        w.send(Q.WORK_COMPLETE(handle(1), b"r"), Q.ECHO_REQ(b"")).expect_nothing()
        assert wire.batch().late == (1,)
        if drop:
            c.send(b"results drop *\n").expect(b"OK 1\r\n")
        wire.settle(False)
        wire.sound()
        w.expect_nothing()
        disk.write(wire.commit())
        w.expect(R.ECHO_RES(b""))
        again = disk.server()
        assert (len(again.dispatcher.results()), again.dispatcher.jobs()) == (0 if drop else 1, [])

    def test_who_asks_while_jobs_come_back_waits_for_what_may_still_come(self, wire: Durable, disk: Disk) -> None:
        job = self.end(wire, disk, between=True)
        again = Durable(first_handle=1000, policies=kept())
        again.dispatcher.restoring = True
        c, d, e = again.peer("c"), again.peer("d"), again.peer("e")
        c.send(ask(job)).expect_nothing()
        d.send(ask(b"u", NOW)).expect_nothing()
        again.dispatcher.restore(disk.records())
        e.send(ask(job))
        assert [s.name for s in e.seen()] == ["JOB_CREATED", "WORK_STATUS", "WORK_COMPLETE"]
        again.peer("f").send(ask(b"f\0u")).expect_nothing()
        again.dispatcher.restoring = False
        again.tick()
        for peer in (c, d):
            assert [s.name for s in peer.seen()] == ["JOB_CREATED", "WORK_STATUS", "WORK_COMPLETE"]

    def test_a_job_that_ends_in_the_batch_that_brought_it_has_one_record(self, wire: Durable, disk: Disk) -> None:
        self.end(wire, disk, between=False)
        (batch, _), *others = disk.batches
        assert not others
        assert (batch.late, numbers(batch.replaced)) == ((1,), [])

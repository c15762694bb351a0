# SPDX-License-Identifier: BSD-3-Clause
"""Durable jobs: what clients are told when, what a batch holds, and what happens when it is not stored."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest

from gearfast.dispatch import Batch, Dispatcher

from .script import PREFIX, START_MONOTONIC, START_WALL, Q, R, Wire, error, handle

NOT_STORED = error(b"QUEUE_ERROR", b"The job could not be stored")


def numbers(data: bytes) -> list[int]:
    return [number for (number,) in struct.iter_unpack("<Q", data)]


class Durable(Wire):
    """A wire whose background jobs are durable. It feeds whole: an ECHO behind a submission would wait with it."""

    def __init__(self, *, relaxed: bool = False, **settings: object) -> None:
        super().__init__("whole", **settings)
        self.dispatcher.open_journal(relaxed=relaxed)

    def batch(self) -> Batch:
        batch = self.dispatcher.take_batch()
        assert batch is not None
        return batch

    def settle(self, stored: bool = True) -> None:
        self.dispatcher.settle(stored)
        self.tick()

    def commit(self) -> Batch:
        batch = self.batch()
        self.settle()
        return batch


@pytest.fixture
def durable() -> Iterator[Durable]:
    wire = Durable()
    yield wire
    wire.silent()
    wire.sound()


def submit(function: bytes, unique: bytes = b"", data: bytes = b"") -> bytes:
    return Q.SUBMIT_JOB_BG(function, unique, data)


def restored(*batches: Batch, ended: bytes = b"", **settings: object) -> Wire:
    """A new server with the jobs of these batches."""
    wire = Wire(first_handle=1_000_000, **settings)
    wire.dispatcher.open_journal(first_batch=batches[-1].number + 1)
    wire.dispatcher.restore(b"".join(batch.records for batch in batches), ended)
    wire.sound()
    return wire


# Replies


def test_job_created_waits_for_the_commit(durable: Durable) -> None:
    c = durable.peer("c").send(submit(b"f")).expect_nothing()
    assert durable.dispatcher.batch_waits
    batch = durable.batch()
    c.expect_nothing()
    assert (batch.number, batch.first, batch.last, batch.jobs) == (1, 1, 1, 1)
    durable.settle()
    c.expect(R.JOB_CREATED(handle(1)))
    assert not durable.dispatcher.batch_waits


def test_later_replies_keep_their_order(durable: Durable) -> None:
    c = durable.peer("c")
    c.send(Q.ECHO_REQ(b"1"), submit(b"f"), Q.ECHO_REQ(b"2"), Q.SUBMIT_JOB(b"f", b"", b"x"), Q.ECHO_REQ(b"3"))
    c.expect(R.ECHO_RES(b"1"))
    durable.batch()
    c.send(submit(b"f"), Q.ECHO_REQ(b"4")).expect_nothing()
    durable.settle()
    created = (R.JOB_CREATED(handle(1)), R.ECHO_RES(b"2"), R.JOB_CREATED(handle(2)), R.ECHO_RES(b"3"))
    c.expect(*created)
    assert durable.commit().number == 2
    c.expect(R.JOB_CREATED(handle(3)), R.ECHO_RES(b"4"))


def test_other_connections_do_not_wait(durable: Durable) -> None:
    c, d = durable.peer("c"), durable.peer("d")
    c.send(submit(b"f"))
    d.send(Q.SUBMIT_JOB(b"f", b"", b"x")).expect(R.JOB_CREATED(handle(2)))
    durable.commit()
    c.expect(R.JOB_CREATED(handle(1)))


def test_a_foreground_job_is_not_durable(durable: Durable) -> None:
    durable.peer("c").submit(b"f")
    assert not durable.dispatcher.batch_waits


def test_relaxed_tells_before_the_commit() -> None:
    wire = Durable(relaxed=True)
    wire.peer("c").send(submit(b"f")).expect(R.JOB_CREATED(handle(1)))
    assert wire.commit().jobs == 1
    wire.silent()
    wire.sound()


def test_relaxed_keeps_what_it_has_acknowledged_until_it_is_stored() -> None:
    """Of jobs whose batch was given up: queued, running, waiting for their time, and ended meanwhile."""
    wire = Durable(relaxed=True)
    c, w = wire.peer("c"), wire.worker("w", b"f")
    for n in range(3):
        c.send(submit(b"f", data=b"%d" % n)).expect(R.JOB_CREATED(handle(n + 1)))
    due = START_WALL + 60
    c.send(Q.SUBMIT_JOB_EPOCH(b"f", b"", b"%d" % due, b"later")).expect(R.JOB_CREATED(handle(4)))
    wire.batch()
    w.send(Q.GRAB_JOB()).expect(R.JOB_ASSIGN(handle(1), b"f", b"0"))
    w.send(Q.WORK_COMPLETE(handle(1), b""))
    w.send(Q.GRAB_JOB()).expect(R.JOB_ASSIGN(handle(2), b"f", b"1"))
    wire.settle(False)
    wire.silent()
    batch = wire.batch()
    assert sorted([*batch.late, batch.first]) == [2, 3, 4]
    wire.settle(False)
    w.leave()
    again = restored(wire.commit())
    for each in (wire, again):
        assert [(job["number"], job["due"]) for job in each.dispatcher.jobs()] == [(2, 0), (3, 0), (4, due)]
        assert sorted(each.worker("v", b"f").grab_all()) == [b"1", b"2"]
        each.sound()


def test_a_job_may_be_given_out_before_its_commit(durable: Durable) -> None:
    w = durable.worker("w", b"f")
    c = durable.peer("c").send(submit(b"f", data=b"x"))
    w.send(Q.GRAB_JOB()).expect(R.JOB_ASSIGN(handle(1), b"f", b"x"))
    durable.commit()
    c.expect(R.JOB_CREATED(handle(1)))


def test_a_connection_that_leaves_before_the_commit(durable: Durable) -> None:
    durable.peer("c").send(submit(b"f")).leave()
    assert durable.commit().jobs == 1
    assert durable.dispatcher.job_count == 1


def test_a_connection_that_ends_gets_its_reply_first(durable: Durable) -> None:
    c = durable.peer("c").send(submit(b"f"))
    assert durable.dispatcher.receive(c.id, b"\0BAD12345678") is False
    durable.tick()
    assert not c.closed
    durable.commit()
    c.expect_closed(R.JOB_CREATED(handle(1)))


def test_large_results_behind_a_reply_that_waits(durable: Durable) -> None:
    w = durable.worker("w", b"f")
    c = durable.peer("c")
    large = bytes(300_000)
    c.submit(b"f")
    w.grab()
    c.send(submit(b"g"))
    w.send(Q.WORK_DATA(handle(1), large), Q.WORK_COMPLETE(handle(1), large))
    c.expect_nothing()
    durable.commit()
    c.expect(R.JOB_CREATED(handle(2)), R.WORK_DATA(handle(1), large), R.WORK_COMPLETE(handle(1), large))


# What a batch holds


def test_a_job_that_ends_while_it_gathers_is_never_stored(durable: Durable) -> None:
    w = durable.worker("w", b"f")
    c = durable.peer("c").send(submit(b"f", data=b"1"), submit(b"f", data=b"2"), submit(b"f", data=b"3"))
    w.send(Q.GRAB_JOB()).take()
    w.send(Q.GRAB_JOB()).take()
    w.send(Q.WORK_COMPLETE(handle(2), b""))
    batch = durable.commit()
    assert (batch.first, batch.last, batch.jobs, batch.ended) == (1, 3, 2, b"")
    assert len(batch.records) == 2 * 40
    c.expect(*(R.JOB_CREATED(handle(n)) for n in (1, 2, 3)))
    w.send(Q.WORK_COMPLETE(handle(1), b""))
    batch = durable.commit()
    assert (batch.records, numbers(batch.ended)) == (b"", [1])


def test_nothing_to_store_but_a_reply(durable: Durable) -> None:
    """The job has ended before its batch was taken: there is only somebody who waits for it."""
    w = durable.worker("w", b"f")
    c = durable.peer("c").send(submit(b"f"))
    w.send(Q.GRAB_JOB(), Q.WORK_COMPLETE(handle(1), b"")).take()
    batch = durable.batch()
    assert batch.is_empty
    durable.settle()
    c.expect(R.JOB_CREATED(handle(1)))
    assert not durable.dispatcher.batch_waits


def test_an_end_while_its_batch_is_committed(durable: Durable) -> None:
    w = durable.worker("w", b"f")
    c = durable.peer("c").send(submit(b"f"))
    durable.batch()
    w.send(Q.GRAB_JOB(), Q.WORK_COMPLETE(handle(1), b"")).take()
    durable.settle()
    c.expect(R.JOB_CREATED(handle(1)))
    assert numbers(durable.commit().ended) == [1]


@pytest.mark.parametrize("end", ["WORK_FAIL", "cancel", "drop function"])
def test_every_end_is_told(durable: Durable, end: str) -> None:
    c = durable.peer("c", admin=True).send(submit(b"f"))
    durable.commit()
    c.take()
    if end == "WORK_FAIL":
        durable.worker("w", b"f").send(Q.GRAB_JOB(), Q.WORK_FAIL(handle(1))).take()
    else:
        words = b"cancel job " + handle(1) if end == "cancel" else b"drop function f"
        assert c.send(words + b"\n").take().startswith(b"OK")
    assert numbers(durable.commit().ended) == [1]


def test_losses_are_told(durable: Durable) -> None:
    durable.peer("c").send(submit(b"f")).leave()
    first = durable.commit()
    for _ in range(2):
        w = durable.worker("w", b"f")
        w.grab()
        w.leave()
    batch = durable.commit()
    assert batch.changes[-1] == (1, 2)
    again = restored(first)
    again.dispatcher.add_losses(batch.changes[-1:])
    assert again.dispatcher.jobs()[0]["retries"] == 2


def test_a_loss_while_it_gathers_goes_with_the_job(durable: Durable) -> None:
    durable.peer("c").send(submit(b"f")).leave()
    w = durable.worker("w", b"f")
    w.grab()
    w.leave()
    batch = durable.commit()
    assert batch.changes == ()
    assert restored(batch).dispatcher.jobs()[0]["retries"] == 1


def test_too_many_losses_end_a_durable_job() -> None:
    wire = Durable(job_retries=1)
    wire.peer("c").send(submit(b"f")).leave()
    wire.commit()
    w = wire.worker("w", b"f")
    w.grab()
    w.leave()
    assert numbers(wire.commit().ended) == [1]


# Coalescing


def test_joining_a_job_that_is_not_stored_yet_waits_too(durable: Durable) -> None:
    c, d = durable.peer("c"), durable.peer("d")
    c.send(submit(b"f", b"u"))
    durable.batch()
    d.send(submit(b"f", b"u")).expect_nothing()
    durable.settle()
    for peer in (c, d):
        peer.expect(R.JOB_CREATED(handle(1)))
    d.send(submit(b"f", b"u")).expect(R.JOB_CREATED(handle(1)))


def test_a_foreground_job_becomes_durable_when_it_is_joined(durable: Durable) -> None:
    c, d = durable.peer("c"), durable.peer("d")
    c.submit(b"f", b"x", b"u")
    c.submit(b"f", b"y", b"v")
    d.send(submit(b"f", b"u", b"x"), submit(b"f", b"w")).expect_nothing()
    batch = durable.commit()
    assert (batch.first, batch.last, batch.jobs, batch.late) == (3, 3, 1, (1,))
    d.expect(R.JOB_CREATED(handle(1)), R.JOB_CREATED(handle(3)))
    assert [job["workload"] for job in restored(batch).dispatcher.jobs()] == [b"x", b""]


# Fences


def test_echo_waits_for_the_commit_of_earlier_completions(durable: Durable) -> None:
    w = durable.worker("w", b"f")
    durable.peer("c").send(submit(b"f")).leave()
    durable.commit()
    w.grab()
    w.send(Q.ECHO_REQ(b"before")).expect(R.ECHO_RES(b"before"))
    w.send(Q.WORK_COMPLETE(handle(1), b""), Q.ECHO_REQ(b"after"), Q.GRAB_JOB()).expect_nothing()
    durable.commit()
    w.expect(R.ECHO_RES(b"after"), R.NO_JOB())
    w.send(Q.ECHO_REQ(b"later")).expect(R.ECHO_RES(b"later"))


def test_status_waits_for_the_commit_of_earlier_completions(durable: Durable) -> None:
    w = durable.worker("w", b"f")
    durable.peer("c").send(submit(b"f")).leave()
    durable.commit()
    w.grab()
    w.send(Q.WORK_COMPLETE(handle(1), b""))
    durable.batch()
    w.send(Q.GET_STATUS(handle(1))).expect_nothing()
    durable.settle()
    w.expect(R.STATUS_RES(handle(1), b"0", b"0", b"0", b"0"))


def test_assignments_do_not_wait_for_completions(durable: Durable) -> None:
    w = durable.worker("w", b"f")
    durable.peer("c").send(submit(b"f"), submit(b"f", data=b"2")).leave()
    durable.commit()
    w.grab()
    w.send(Q.WORK_COMPLETE(handle(1), b""), Q.GRAB_JOB()).expect(R.JOB_ASSIGN(handle(2), b"f", b"2"))
    assert numbers(durable.commit().ended) == [1]


# A store that fails


def test_what_is_not_stored_is_refused(durable: Durable) -> None:
    c, w = durable.peer("c"), durable.worker("w", b"f")
    large = bytes(300_000)
    c.submit(b"f", b"1")
    w.grab()
    c.send(Q.ECHO_REQ(b"1"), submit(b"f"), Q.ECHO_REQ(b"2"), submit(b"g")).expect(R.ECHO_RES(b"1"))
    w.send(Q.WORK_COMPLETE(handle(1), large))
    durable.batch()
    c.send(submit(b"h"), Q.ECHO_REQ(b"3"))
    durable.settle(stored=False)
    c.expect(NOT_STORED, R.ECHO_RES(b"2"), NOT_STORED, R.WORK_COMPLETE(handle(1), large))
    assert [job["function"] for job in durable.dispatcher.jobs()] == ["h"]
    durable.commit()
    c.expect(R.JOB_CREATED(handle(4)), R.ECHO_RES(b"3"))


@pytest.mark.parametrize("asked_again", [False, True])
def test_who_asked_about_an_end_that_is_not_stored_waits_on(durable: Durable, asked_again: bool) -> None:
    c, w = durable.peer("c").send(submit(b"f", data=b"x")), durable.worker("w", b"f")
    durable.commit()
    c.expect(R.JOB_CREATED(handle(1)))
    w.grab()
    w.send(Q.WORK_COMPLETE(handle(1), b""), Q.ECHO_REQ(b"stored?"))
    durable.batch()
    if asked_again:
        c.send(submit(b"g"))
        w.send(Q.GET_STATUS(handle(1)), submit(b"h"), Q.ECHO_REQ(b"more"))
    durable.settle(stored=False)
    w.expect()
    assert numbers(durable.batch().ended) == [1]
    w.expect()
    durable.settle()
    expected = [R.ECHO_RES(b"stored?")]
    if asked_again:
        expected += [R.STATUS_RES(handle(1), b"0", b"0", b"0", b"0"), R.JOB_CREATED(handle(3)), R.ECHO_RES(b"more")]
    w.expect(*expected)
    if asked_again:
        c.expect(R.JOB_CREATED(handle(2)))


def test_a_job_that_runs_when_it_turns_out_not_to_be_stored_runs_out(durable: Durable) -> None:
    c, w = durable.peer("c").send(submit(b"f", data=b"x")), durable.worker("w", b"f")
    assert w.grab() == b"x"
    durable.batch()
    durable.settle(stored=False)
    c.expect(NOT_STORED)
    w.send(Q.WORK_COMPLETE(handle(1), b""), Q.ECHO_REQ(b"")).expect(R.ECHO_RES(b""))
    assert not durable.dispatcher.batch_waits


def test_a_job_that_has_ended_when_it_turns_out_not_to_be_stored(durable: Durable) -> None:
    c, w = durable.peer("c").send(submit(b"f")), durable.worker("w", b"f")
    durable.batch()
    w.grab()
    w.send(Q.WORK_COMPLETE(handle(1), b""))
    durable.settle(stored=False)
    c.expect(R.JOB_CREATED(handle(1)))
    assert not durable.dispatcher.batch_waits, "the store never had it"


def test_ends_are_told_again(durable: Durable) -> None:
    c, w = durable.peer("c").send(submit(b"f"), submit(b"f")), durable.worker("w", b"f")
    durable.commit()
    c.take()
    w.grab()
    w.send(Q.WORK_COMPLETE(handle(1), b""), Q.ECHO_REQ(b""))
    w.expect_nothing()
    durable.batch()
    w.send(Q.GRAB_JOB(), Q.WORK_COMPLETE(handle(2), b""))
    durable.settle(stored=False)
    w.take()
    w.send(Q.ECHO_REQ(b"all")).expect_nothing()
    assert numbers(durable.commit().ended) == [1, 2]
    w.expect(R.ECHO_RES(b"all"))


def test_who_waits_for_a_job_that_is_not_stored_keeps_it(durable: Durable) -> None:
    c, d, w = durable.peer("c"), durable.peer("d"), durable.worker("w", b"f")
    c.submit(b"f", b"", b"u")
    d.send(submit(b"f", b"u"))
    durable.batch()
    durable.settle(stored=False)
    d.expect(NOT_STORED)
    w.grab()
    w.send(Q.WORK_COMPLETE(handle(1), b"r"))
    c.expect(R.WORK_COMPLETE(handle(1), b"r"))


def test_a_store_that_is_away_takes_no_jobs(durable: Durable) -> None:
    c = durable.peer("c").send(submit(b"f", b"u"))
    durable.commit()
    c.take()
    durable.dispatcher.refusing = True
    c.send(submit(b"f")).expect(NOT_STORED)
    c.send(submit(b"new")).expect(NOT_STORED)
    c.send(submit(b"f", b"u")).expect(R.JOB_CREATED(handle(1)))
    c.submit(b"f")
    assert c.table(b"status") == [b"f\t2\t0\t0"]
    durable.dispatcher.refusing = False
    c.send(submit(b"f"))
    durable.commit()
    c.expect(R.JOB_CREATED(handle(3)))


# Coming back


def test_jobs_come_back_as_they_were(durable: Durable) -> None:
    c = durable.peer("c")
    c.send(
        submit(b"f", b"u1", b"1"),
        Q.SUBMIT_JOB_HIGH_BG(b"f", b"", b"2"),
        Q.SUBMIT_JOB_LOW_BG(b"f", b"-", b"3"),
        Q.SUBMIT_JOB_EPOCH(b"g", b"", b"%d" % (START_WALL + 60), b"4"),
        Q.SUBMIT_REDUCE_JOB_BACKGROUND(b"f", b"", b"r", b"0", b"5"),
        submit(b"f", b"", bytes(100_000)),
    )
    batch = durable.commit()
    c.take()
    again = restored(batch)
    kept = ("number", "function", "unique", "workload", "priority", "background", "retries", "due", "handle")
    before, after = ([{key: job[key] for key in kept} for job in wire.dispatcher.jobs()] for wire in (durable, again))
    assert before == after
    assert len(after) == 6
    w = again.worker("w", b"f", b"g")
    assert w.grab_all() == [b"2", b"1", b"5", bytes(100_000), b"3"]
    again.pass_time(61)
    assert w.grab() == b"4"
    w.take()
    again.sound()


def test_jobs_that_became_durable_later_come_back_at_their_place(durable: Durable) -> None:
    """Foreground jobs that were joined: they are stored behind younger ones, and were before them in the queue."""
    joined = {2: b"u2", 5: b"u5", 8: b"u8"}
    c = durable.peer("c")
    for n in range(10):
        c.send(Q.SUBMIT_JOB(b"f", joined[n], b"%d" % n) if n in joined else submit(b"f", data=b"%d" % n))
    first = durable.commit()
    c.send(*(submit(b"f", unique) for unique in joined.values()))
    second = durable.commit()
    c.take()
    assert len(second.late) == len(joined)
    again = restored(first, second)
    assert again.worker("w", b"f").grab_all() == [b"%d" % n for n in range(10)]
    again.sound()


def test_jobs_that_have_ended_do_not_come_back(durable: Durable) -> None:
    durable.peer("c").send(*(submit(b"f", data=b"%d" % n) for n in range(6))).leave()
    again = restored(durable.commit(), ended=struct.pack("<3Q", 2, 5, 99))
    assert again.worker("w", b"f").grab_all() == [b"0", b"2", b"3", b"5"]


def test_jobs_go_before_those_that_came_since() -> None:
    first = Durable()
    first.peer("c").send(*(submit(b"f", data=b"old %d" % n) for n in range(5))).leave()
    batch = first.commit()
    size = len(batch.records) // 5
    wire = Wire(first_handle=1_000_000)
    c, w = wire.peer("c"), wire.worker("w", b"f")
    for n in range(3):
        c.submit(b"f", b"new %d" % n)
    wire.dispatcher.restore(batch.records[: 2 * size])
    assert w.grab() == b"old 0"
    wire.dispatcher.restore(batch.records[2 * size : 4 * size])
    assert [w.grab() for _ in range(3)] == [b"old 1", b"old 2", b"old 3"]
    wire.dispatcher.restore(batch.records[4 * size :])
    assert w.grab_all() == [b"old 4", b"new 0", b"new 1", b"new 2"]
    wire.sound()


def test_a_restored_job_wakes_a_worker() -> None:
    first = Durable()
    first.peer("c").send(submit(b"f")).leave()
    wire = Wire(first_handle=1_000_000)
    w = wire.sleeper("w", b"f")
    wire.dispatcher.restore(first.commit().records)
    wire.tick()
    w.expect(R.NOOP())


def test_what_may_be_in_the_store_waits_for_it() -> None:
    first = Durable()
    first.peer("c").send(submit(b"f", b"u", b"x"), submit(b"f", b"-", b"same")).leave()
    batch = first.commit()
    wire = Wire(first_handle=1_000_000)
    wire.dispatcher.restoring = True
    c, d, e = wire.peer("c"), wire.peer("d"), wire.peer("e")
    c.send(Q.ECHO_REQ(b"1"), Q.SUBMIT_JOB(b"f", b"u", b"x"), Q.ECHO_REQ(b"2")).expect(R.ECHO_RES(b"1"))
    assert wire.dispatcher.waits(c.id)
    d.send(Q.GET_STATUS(handle(1)), Q.GET_STATUS_UNIQUE(b"nobody's")).expect_nothing()
    e.send(Q.SUBMIT_JOB(b"f", b"-", b"same")).expect_nothing()
    free = wire.peer("free")
    assert free.submit(b"f") == handle(1_000_000)
    wire.dispatcher.restore(batch.records)
    wire.dispatcher.restoring = False
    wire.tick()
    c.expect(R.JOB_CREATED(handle(1)), R.ECHO_RES(b"2"))
    d.expect(
        R.STATUS_RES(handle(1), b"1", b"0", b"0", b"0"),
        R.STATUS_RES_UNIQUE(b"nobody's", b"0", b"0", b"0", b"0", b"0"),
    )
    e.expect(R.JOB_CREATED(handle(2)))
    wire.sound()


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        (b"status\n", b"f\t2\t0\t0\n.\n"),
        (b"prioritystatus\n", b"f\t0\t2\t0\t0\n.\n"),
        (b"SHOW JOBS\n", b"H:local:1\t0\t0\t1\nH:local:2\t0\t0\t1\n.\n"),
        (b"show unique jobs\n", b"u\n\n.\n"),
        (b"cancel job H:local:1\n", b"OK\r\n"),
        (b"drop function f\n", b"OK\r\n"),
    ],
)
def test_a_text_command_that_tells_of_jobs_waits_for_those_in_the_store(line: bytes, answer: bytes) -> None:
    first = Durable()
    first.peer("c").send(submit(b"f", b"u"), submit(b"f")).leave()
    batch = first.commit()
    wire = Wire(first_handle=1_000_000)
    wire.dispatcher.restoring = True
    a = wire.peer("a")
    a.send(b"verbose\n", line).expect(b"OK ERROR\n")
    wire.dispatcher.restore(batch.records)
    a.expect_nothing()
    wire.dispatcher.restoring = False
    wire.tick()
    a.expect(answer)
    wire.sound()


@pytest.mark.parametrize("cut", [1, 8, 31, 39])
def test_a_record_that_is_not_whole(durable: Durable, cut: int) -> None:
    durable.peer("c").send(submit(b"f"), submit(b"f", data=b"2")).leave()
    records = durable.commit().records
    server = Dispatcher(handle_prefix=PREFIX)
    server.tick(START_MONOTONIC, START_WALL * 10**9)
    with pytest.raises(ValueError, match=rf"not whole, at byte {len(records) // 2}"):
        server.restore(records[:-cut])
    assert server.job_count == 1


def test_bytes_that_are_no_records() -> None:
    server = Dispatcher(handle_prefix=PREFIX)
    for data in (b"\0" * 40, b"\xff" * 40, b"x" * 4096):
        with pytest.raises(ValueError, match="not whole"):
            server.restore(data)
    assert server.restore(b"") == (0, 0)


def test_the_journal_opens_once() -> None:
    server = Dispatcher()
    assert server.take_batch() is None
    assert server.restore(b"") == (0, 0)
    with pytest.raises(ValueError, match="first_batch"):
        server.open_journal(first_batch=0)
    server.open_journal()
    with pytest.raises(ValueError, match="open already"):
        server.open_journal()


def test_who_joined_a_job_that_is_not_stored_is_refused_too(durable: Durable) -> None:
    """Though its reply waits for the batch behind, which is stored."""
    c, d = durable.peer("c"), durable.peer("d")
    c.send(submit(b"f", b"u"))
    durable.batch()
    d.send(submit(b"f", b"other"), submit(b"f", b"u"), submit(b"f", b"third"))
    durable.settle(False)
    c.expect(NOT_STORED)
    durable.commit()
    d.expect(R.JOB_CREATED(handle(2)), NOT_STORED, R.JOB_CREATED(handle(3)))

# SPDX-License-Identifier: BSD-3-Clause
"""Durable jobs that are a server's for a time only: what is given out when the lease is over, and when it is lost."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .script import START_MONOTONIC, Peer, Q, R, Wire, handle
from .test_absent import Far, taken
from .test_journal import NOT_STORED, Durable, submit
from .test_results import ask, done, kept, unknown

SECOND = 10**9
COUNT = 400
NOT_FOUND = R.ERROR(b"JOB_NOT_FOUND", b"Job given in work result not found")


class Leased(Durable):
    """A durable wire with a lease of ten seconds."""

    def __init__(self, **settings: object) -> None:
        super().__init__(**settings)
        self.renew(10)

    def renew(self, seconds: int) -> None:
        self.dispatcher.lease_until = self.monotonic + seconds * SECOND
        self.tick()

    def lose(self) -> None:
        """Another server has its jobs."""
        self.dispatcher.lose_lease(next_number=1000, next_batch=500)
        self.tick()


@pytest.fixture
def wire() -> Iterator[Leased]:
    leased = Leased()
    yield leased
    leased.silent()
    leased.sound()


def test_no_durable_job_is_given_out_once_the_lease_is_over(wire: Leased) -> None:
    client, worker = wire.peer("c").send(submit(b"f", b"", b"1")), wire.worker("w", b"f")
    wire.commit()
    client.expect(R.JOB_CREATED(handle(1)))
    wire.pass_time(9.9)
    assert not wire.dispatcher.lapsed
    wire.pass_time(0.1)
    assert wire.dispatcher.lapsed
    worker.send(Q.GRAB_JOB()).expect(R.NO_JOB())
    worker.send(Q.PRE_SLEEP()).expect_nothing()
    wire.renew(10)
    assert not wire.dispatcher.lapsed
    worker.expect(R.NOOP())
    worker.send(Q.GRAB_JOB()).expect(R.JOB_ASSIGN(handle(1), b"f", b"1"))


def test_a_held_grab_waits_for_the_lease(wire: Leased) -> None:
    worker = wire.worker("w", b"f").send(Q.OPTION_REQ(b"all_yours"), Q.GRAB_JOB()).expect(R.OPTION_RES(b"all_yours"))
    wire.pass_time(10)
    wire.peer("c").send(submit(b"f")).expect(NOT_STORED)
    wire.renew(10)
    client = wire.peer("d").send(submit(b"f", b"", b"x"))
    worker.expect(R.JOB_ASSIGN(handle(1), b"f", b"x"))
    wire.commit()
    client.expect(R.JOB_CREATED(handle(1)))


def test_durable_jobs_are_refused_while_it_is_over(wire: Leased) -> None:
    wire.pass_time(10)
    client = wire.peer("c").send(submit(b"f", b"u")).expect(NOT_STORED)
    client.send(Q.SUBMIT_JOB(b"f", b"u", b"")).expect(R.JOB_CREATED(handle(1)))
    wire.peer("d").send(submit(b"f", b"u")).expect(NOT_STORED)


def test_nobody_joins_a_durable_job_while_it_is_over(wire: Leased) -> None:
    """Another server may have done it before it was asked for again."""
    first, second = wire.peer("c").send(submit(b"f", b"u")), wire.peer("d")
    wire.commit()
    first.expect(R.JOB_CREATED(handle(1)))
    second.send(submit(b"f", b"u")).expect(R.JOB_CREATED(handle(1)))
    wire.pass_time(10)
    first.send(submit(b"f", b"u")).expect(NOT_STORED)
    wire.renew(10)
    second.send(submit(b"f", b"u")).expect(R.JOB_CREATED(handle(1)))


def test_other_jobs_go_on_in_their_order(wire: Leased) -> None:
    """Those that were queued behind durable ones too."""
    client = wire.peer("c")
    durable = wire.peer("d")
    for n in range(3):
        durable.send(submit(b"f", b"", b"durable %d" % n))
        client.send(Q.SUBMIT_JOB(b"f", b"", b"%d" % n)).expect(R.JOB_CREATED(handle(2 * n + 2)))
    wire.commit()
    durable.expect(*[R.JOB_CREATED(handle(n)) for n in (1, 3, 5)])
    wire.pass_time(10)
    client.send(Q.SUBMIT_JOB(b"f", b"", b"3")).expect(R.JOB_CREATED(handle(7)))
    worker = wire.worker("w", b"f")
    worker.send(Q.GRAB_JOB()).expect(R.JOB_ASSIGN(handle(2), b"f", b"0"))
    client.send(Q.SUBMIT_JOB(b"f", b"", b"4")).expect(R.JOB_CREATED(handle(8)))
    for n, number in ((1, 4), (2, 6), (3, 7), (4, 8)):
        worker.send(Q.GRAB_JOB()).expect(R.JOB_ASSIGN(handle(number), b"f", b"%d" % n))
    worker.send(Q.GRAB_JOB(), Q.PRE_SLEEP()).expect(R.NO_JOB())
    client.send(Q.SUBMIT_JOB(b"f", b"", b"5")).expect(R.JOB_CREATED(handle(9)))
    worker.expect(R.NOOP())
    worker.send(Q.GRAB_JOB()).expect(R.JOB_ASSIGN(handle(9), b"f", b"5"))
    wire.renew(10)
    for n, number in ((0, 1), (1, 3), (2, 5)):
        worker.send(Q.GRAB_JOB()).expect(R.JOB_ASSIGN(handle(number), b"f", b"durable %d" % n))
    worker.send(*[Q.WORK_FAIL(handle(number)) for number in (2, 4, 6, 7, 8, 9)])
    client.expect(*[R.WORK_FAIL(handle(number)) for number in (2, 4, 6, 7, 8, 9)])


def test_jobs_that_are_lost_while_it_is_over(wire: Leased) -> None:
    client, durable = wire.peer("c"), wire.peer("d").send(submit(b"f", b"", b"durable"))
    client.send(Q.SUBMIT_JOB(b"f", b"", b"foreground"))
    wire.commit()
    client.expect(R.JOB_CREATED(handle(2)))
    durable.expect(R.JOB_CREATED(handle(1)))
    worker = wire.worker("w", b"f").send(Q.GRAB_JOB(), Q.GRAB_JOB())
    worker.expect(R.JOB_ASSIGN(handle(1), b"f", b"durable"), R.JOB_ASSIGN(handle(2), b"f", b"foreground"))
    wire.pass_time(10)
    worker.leave()
    other = wire.worker("x", b"f").send(Q.GRAB_JOB(), Q.GRAB_JOB())
    other.expect(R.JOB_ASSIGN(handle(2), b"f", b"foreground"), R.NO_JOB())
    wire.renew(10)
    other.send(Q.GRAB_JOB()).expect(R.JOB_ASSIGN(handle(1), b"f", b"durable"))
    other.send(Q.WORK_COMPLETE(handle(2), b""))
    client.expect(R.WORK_COMPLETE(handle(2), b""))


def test_other_jobs_go_on_when_the_last_of_them_has_left_the_queue_without_its_turn() -> None:
    """Here as it was lost once too often; a job that comes after it still goes before those that are durable."""
    wire = Leased(job_retries=1)
    client, durable = wire.peer("c"), wire.peer("d")
    client.send(Q.SUBMIT_JOB(b"f", b"", b"lost")).expect(R.JOB_CREATED(handle(1)))
    worker = wire.worker("w", b"f").send(Q.GRAB_JOB()).expect(R.JOB_ASSIGN(handle(1), b"f", b"lost"))
    client.send(Q.SUBMIT_JOB(b"f", b"", b"2")).expect(R.JOB_CREATED(handle(2)))
    durable.send(submit(b"f", b"", b"durable"))
    wire.commit()
    durable.expect(R.JOB_CREATED(handle(3)))
    wire.pass_time(10)
    worker.leave()
    client.expect(R.WORK_FAIL(handle(1)))
    client.send(Q.SUBMIT_JOB(b"f", b"", b"4")).expect(R.JOB_CREATED(handle(4)))
    wire.sound()
    assert wire.worker("x", b"f").grab_all() == [b"2", b"4"]
    wire.silent()


def test_a_job_that_is_not_durable_any_more_goes_on(wire: Leased) -> None:
    """Its batch was given up; who waits for it has it done all the same, before durable jobs."""
    durable = wire.peer("d").send(submit(b"f", b"", b"durable"))
    wire.commit()
    durable.expect(R.JOB_CREATED(handle(1)))
    client = wire.peer("c").send(Q.SUBMIT_JOB(b"f", b"u", b"both")).expect(R.JOB_CREATED(handle(2)))
    durable.send(submit(b"f", b"u"))
    wire.batch()
    wire.pass_time(10)
    worker = wire.worker("w", b"f").send(Q.GRAB_JOB(), Q.PRE_SLEEP()).expect(R.NO_JOB())
    wire.settle(False)
    durable.expect(NOT_STORED)
    worker.expect(R.NOOP())
    worker.send(Q.GRAB_JOB()).expect(R.JOB_ASSIGN(handle(2), b"f", b"both"))
    worker.send(Q.WORK_COMPLETE(handle(2), b"r"))
    client.expect(R.WORK_COMPLETE(handle(2), b"r"))


def test_ends_are_told_once_it_is_renewed(wire: Leased) -> None:
    client, worker = wire.peer("c").send(submit(b"f")), wire.worker("w", b"f").send(Q.GRAB_JOB())
    worker.expect(R.JOB_ASSIGN(handle(1), b"f", b""))
    wire.commit()
    client.expect(R.JOB_CREATED(handle(1)))
    wire.pass_time(10)
    worker.send(Q.WORK_COMPLETE(handle(1), b""), Q.ECHO_REQ(b"stored?")).expect_nothing()
    wire.renew(10)
    wire.commit()
    worker.expect(R.ECHO_RES(b"stored?"))


def test_jobs_that_come_back_while_it_is_over(wire: Leased) -> None:
    wire.peer("c").send(submit(b"f", b"", b"1"))
    batch = wire.commit()
    other = Leased(first_handle=100)
    worker = other.worker("w", b"f")
    other.pass_time(10)
    other.peer("d").send(Q.SUBMIT_JOB(b"f", b"", b"2")).expect(R.JOB_CREATED(handle(100)))
    other.dispatcher.restore(batch.records)
    worker.send(Q.GRAB_JOB(), Q.GRAB_JOB()).expect(R.JOB_ASSIGN(handle(100), b"f", b"2"), R.NO_JOB())
    other.renew(10)
    worker.send(Q.GRAB_JOB()).expect(R.JOB_ASSIGN(handle(1), b"f", b"1"))
    other.sound()
    wire.everyone[0].expect(R.JOB_CREATED(handle(1)))


# The lease is lost


def test_durable_jobs_leave(wire: Leased) -> None:
    """Queued, delayed and running ones, and dead letters; jobs that are not durable stay."""
    client, other = wire.peer("c"), wire.peer("d")
    client.send(submit(b"f", b"", b"1"), submit(b"f", b"", b"2"))
    client.send(Q.SUBMIT_JOB_EPOCH(b"f", b"", b"4000000000", b"3"))
    other.send(Q.SUBMIT_JOB(b"f", b"", b"foreground")).expect(R.JOB_CREATED(handle(4)))
    wire.commit()
    client.expect(*[R.JOB_CREATED(handle(n)) for n in (1, 2, 3)])
    worker = wire.worker("w", b"f").send(Q.GRAB_JOB()).expect(R.JOB_ASSIGN(handle(1), b"f", b"1"))
    wire.pass_time(10)
    wire.lose()
    assert wire.dispatcher.durable_count == 0
    client.send(Q.GET_STATUS(handle(2))).expect(R.STATUS_RES(handle(2), b"0", b"0", b"0", b"0"))
    wire.renew(10)
    worker.send(Q.GRAB_JOB()).expect(R.JOB_ASSIGN(handle(4), b"f", b"foreground"))
    worker.send(Q.WORK_COMPLETE(handle(1), b"late")).expect_nothing()
    worker.send(Q.WORK_COMPLETE(handle(4), b"done")).expect_nothing()
    other.expect(R.WORK_COMPLETE(handle(4), b"done"))
    assert wire.dispatcher.job_count == 0
    assert not wire.dispatcher.batch_waits
    client.send(submit(b"f", b"", b"5"))
    batch = wire.commit()
    assert (batch.number, batch.first) == (500, 1000)
    client.expect(R.JOB_CREATED(handle(1000)))


def test_who_waits_for_one_is_told_that_it_failed(wire: Leased) -> None:
    client, waiting = wire.peer("c").send(submit(b"f", b"u")), wire.peer("d")
    waiting.send(Q.SUBMIT_JOB(b"f", b"u", b"")).expect(R.JOB_CREATED(handle(1)))
    wire.commit()
    client.expect(R.JOB_CREATED(handle(1)))
    wire.lose()
    waiting.expect(R.WORK_FAIL(handle(1)))
    assert wire.dispatcher.job_count == 0


def test_what_gathers_is_refused(wire: Leased) -> None:
    client = wire.peer("c").send(submit(b"f", b"", b"1"))
    wire.batch()
    client.send(submit(b"f", b"", b"2"))
    wire.settle()
    client.expect(R.JOB_CREATED(handle(1)))
    wire.lose()
    client.expect(NOT_STORED)
    assert wire.dispatcher.job_count == 0


def test_a_worker_that_asks_whether_an_end_is_stored_is_never_told_so(wire: Leased) -> None:
    """It may have asked before, it may ask later, and its job may still have run: then its connection ends."""
    client = wire.peer("c").send(*[submit(b"f", b"", b"%d" % n) for n in range(3)])
    wire.commit()
    client.expect(*[R.JOB_CREATED(handle(n)) for n in (1, 2, 3)])
    workers = [wire.worker(f"w{n}", b"f").send(Q.GRAB_JOB()) for n in range(3)]
    for n, worker in enumerate(workers):
        worker.expect(R.JOB_ASSIGN(handle(n + 1), b"f", b"%d" % n))
    asked, ended, runs = workers
    asked.send(Q.WORK_COMPLETE(handle(1), b""), Q.ECHO_REQ(b"stored?")).expect_nothing()
    ended.send(Q.WORK_COMPLETE(handle(2), b""))
    wire.lose()
    asked.expect_closed()
    ended.send(Q.ECHO_REQ(b"stored?")).expect_closed()
    runs.send(Q.WORK_COMPLETE(handle(3), b""))
    runs.send(Q.GRAB_JOB()).expect(R.NO_JOB())
    runs.send(Q.GET_STATUS(handle(3))).expect_closed()


def test_nor_after_another_job_whose_result_is_kept() -> None:
    wire = Leased(policies=kept())
    client, worker = wire.peer("c").send(submit(b"f")), wire.worker("w", b"f").send(Q.GRAB_JOB())
    wire.commit()
    client.expect(R.JOB_CREATED(handle(1)))
    worker.expect(R.JOB_ASSIGN(handle(1), b"f", b""))
    wire.lose()
    client.send(submit(b"f"))
    wire.commit()
    client.expect(R.JOB_CREATED(handle(1000)))
    worker.send(Q.WORK_COMPLETE(handle(1), b"never stored"), Q.GRAB_JOB())
    worker.expect(R.JOB_ASSIGN(handle(1000), b"f", b""))
    worker.send(Q.WORK_COMPLETE(handle(1000), b""))
    worker.send(Q.ECHO_REQ(b"stored?")).expect_closed()
    wire.sound()


def test_it_takes_a_batch_that_is_settled(wire: Leased) -> None:
    client = wire.peer("c").send(submit(b"f"))
    wire.batch()
    with pytest.raises(ValueError, match="not settled"):
        wire.lose()
    wire.settle(False)
    client.expect(NOT_STORED)
    wire.lose()


def test_without_a_lease_nothing_ends() -> None:
    wire = Wire("whole")
    wire.dispatcher.lease_until = START_MONOTONIC
    wire.pass_time(1)
    assert wire.dispatcher.lease_until == 0
    assert not wire.dispatcher.lapsed


def test_the_servers_that_share_a_store(wire: Leased) -> None:
    peer = wire.peer("a")
    peer.send(b"cluster\n").expect(b".\n")
    wire.dispatcher.on_cluster = lambda: b"1\there\n"
    peer.send(b"cluster\n").expect(b"1\there\n.\n")


# With results kept, and with queues larger than memory


def test_results_leave_too() -> None:
    """And none is kept of a job that another server goes on with."""
    wire = Leased(policies=kept())
    client, worker = wire.peer("c").send(submit(b"f"), submit(b"f", b"", b"2")), wire.worker("w", b"f")
    worker.send(Q.GRAB_JOB()).expect(R.JOB_ASSIGN(handle(1), b"f", b""))
    worker.send(Q.WORK_COMPLETE(handle(1), b"result"))
    worker.send(Q.GRAB_JOB()).expect(R.JOB_ASSIGN(handle(2), b"f", b"2"))
    wire.commit()
    client.expect(R.JOB_CREATED(handle(1)), R.JOB_CREATED(handle(2)))
    client.send(ask(handle(1))).expect(done(handle(1), b"result"))
    wire.lose()
    client.send(ask(handle(1))).expect(unknown(1000))
    worker.send(Q.WORK_COMPLETE(handle(2), b"late")).expect_nothing()
    client.send(ask(handle(2))).expect(unknown(1001))
    wire.sound()


def test_other_jobs_go_on_where_workloads_are_absent() -> None:
    far = Far()
    far.submit(COUNT)
    assert far.absent()
    far.dispatcher.lease_until = far.monotonic + SECOND
    client = far.peer("c").send(Q.SUBMIT_JOB(b"f", b"", b"foreground"))
    created = client.one("JOB_CREATED")[0]
    far.pass_time(1)
    assert far.dispatcher.lapsed
    worker = far.worker("w", b"f").send(Q.GRAB_JOB(), Q.GRAB_JOB())
    worker.expect(R.JOB_ASSIGN(created, b"f", b"foreground"), R.NO_JOB())
    far.sound()
    far.dispatcher.lease_until = far.monotonic + SECOND
    far.sound()
    assert taken(far, name="x") == list(range(COUNT))


def test_a_sleeping_worker_is_woken_for_what_is_behind_an_absent_job() -> None:
    far = Far()
    far.submit(COUNT)
    worker = far.worker("w", b"f")
    while worker.send(Q.GRAB_JOB()).seen()[0].name == "JOB_ASSIGN":
        pass
    worker.sleep()
    client = far.peer("c").send(Q.SUBMIT_JOB(b"f", b"", b"foreground"))
    created = client.one("JOB_CREATED")[0]
    worker.expect_nothing()
    far.dispatcher.lease_until = far.monotonic + SECOND
    far.pass_time(1)
    worker.expect(R.NOOP())
    worker.send(Q.GRAB_JOB()).expect(R.JOB_ASSIGN(created, b"f", b"foreground"))
    far.sound()


def test_absent_jobs_leave() -> None:
    far = Far()
    far.submit(COUNT)
    wanted = far.ask()
    assert far.absent()
    far.dispatcher.lose_lease(next_number=10**6, next_batch=10**6)
    assert far.dispatcher.durable_count == far.dispatcher.job_count == 0
    far.supply(wanted)
    far.sound()


# What was given out and waits behind a reply that waits for a commit


def gives_and_waits(wire: Leased) -> tuple[Peer, Peer]:
    """A client that is a worker, too: it is given a job of the store behind a JOB_CREATED that waits. And another."""
    other = wire.peer("c").send(submit(b"f", b"", b"1"))
    wire.commit()
    other.expect(R.JOB_CREATED(handle(1)))
    both = wire.worker("w", b"f").send(submit(b"g", b"", b"2"), Q.GRAB_JOB()).expect_nothing()
    wire.batch()
    wire.pass_time(10)
    return both, other


def test_what_waited_to_be_sent_is_not_given_out_once_the_lease_is_over(wire: Leased) -> None:
    """The batch is given up while another server may have the job: the connection ends without it."""
    both, _ = gives_and_waits(wire)
    wire.settle(False)
    both.expect_closed()
    wire.renew(10)
    worker = wire.worker("x", b"f").send(Q.GRAB_JOB())
    worker.expect(R.JOB_ASSIGN(handle(1), b"f", b"1"))


def test_what_waited_to_be_sent_is_not_given_out_once_the_lease_is_lost(wire: Leased) -> None:
    """Also what waits for the batch that gathers."""
    other = wire.peer("c").send(submit(b"f", b"", b"1"))
    wire.commit()
    other.expect(R.JOB_CREATED(handle(1)))
    both = wire.worker("w", b"f").send(submit(b"g", b"", b"2"), Q.GRAB_JOB()).expect_nothing()
    wire.pass_time(10)
    wire.lose()
    both.expect_closed()


def test_a_job_that_has_ended_while_it_waited_is_not_given_out(wire: Leased) -> None:
    other = wire.peer("c").send(submit(b"f", b"", b"1"))
    wire.commit()
    other.expect(R.JOB_CREATED(handle(1)))
    both = wire.worker("w", b"f").send(submit(b"g", b"", b"2"), Q.GRAB_JOB()).expect_nothing()
    wire.batch()
    both.send(Q.WORK_COMPLETE(handle(1), b"")).expect_nothing()
    assert [job["handle"] for job in wire.dispatcher.jobs()] == [handle(2).decode()]
    wire.pass_time(10)
    wire.settle(False)
    both.expect_closed()


def test_what_waited_is_not_given_out_by_one_that_stood_still_since_it_was_stored(wire: Leased) -> None:
    """The commit renewed the lease, and that is over by now."""
    both, _ = gives_and_waits(wire)
    wire.settle(True)
    both.expect_closed()


def test_what_waited_is_sent_once_the_batch_is_stored(wire: Leased) -> None:
    both, _ = gives_and_waits(wire)
    wire.renew(10)
    wire.settle(True)
    both.expect(R.JOB_CREATED(handle(2)), R.JOB_ASSIGN(handle(1), b"f", b"1"))


def test_a_job_of_the_batch_that_waited_runs_out(wire: Leased) -> None:
    """While this server has its lease the job is nobody else's, whether the store has it or not."""
    both = wire.worker("w", b"f").send(submit(b"f", b"", b"1"), Q.GRAB_JOB()).expect_nothing()
    wire.batch()
    wire.settle(False)
    both.expect(NOT_STORED, R.JOB_ASSIGN(handle(1), b"f", b"1"))
    both.send(Q.WORK_COMPLETE(handle(1), b"")).expect_nothing()


def test_a_job_of_the_batch_that_waited_is_not_given_out_once_the_lease_is_over(wire: Leased) -> None:
    """The store may have it although no answer came, and then another server may have done it."""
    both = wire.worker("w", b"f").send(submit(b"f", b"", b"1"), Q.GRAB_JOB()).expect_nothing()
    wire.batch()
    wire.pass_time(10)
    wire.settle(False)
    both.expect_closed()
    assert wire.dispatcher.jobs() == []


def test_a_job_of_a_batch_that_is_given_up_is_not_tried_again(wire: Leased) -> None:
    """It runs out with the worker that has it; of the next one nobody knows whether another server has it."""
    client, worker = wire.peer("c").send(submit(b"f", b"", b"1")), wire.worker("w", b"f").send(Q.GRAB_JOB())
    worker.expect(R.JOB_ASSIGN(handle(1), b"f", b"1"))
    wire.batch()
    wire.settle(False)
    client.expect(NOT_STORED)
    worker.leave()
    assert wire.dispatcher.jobs() == []

# SPDX-License-Identifier: BSD-3-Clause
"""Uniques over several servers: what waits for a claim, what becomes of a job that loses it, and whose a status is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gearfast.dispatch.policy import Policies

from .script import START_WALL, Q, R, Wire, handle
from .test_journal import NOT_STORED, Durable, submit

OTHER = 4_000_000
"""The number of another server's job."""


class Claiming(Durable):
    """A durable wire whose store other servers have too."""

    def __init__(self, *, relaxed: bool = False, **settings: object) -> None:
        Wire.__init__(self, "whole", **settings)
        self.dispatcher.open_journal(relaxed=relaxed, claims=True)

    def decide(self, taken: dict[int, int] | None = None, known: tuple[bytes, ...] = ()) -> None:
        """The batch that was taken is stored but for what others have."""
        self.dispatcher.settle(True, taken, known)
        self.tick()


@pytest.fixture(params=[False, True], ids=["strict", "relaxed"])
def wire(request: pytest.FixtureRequest) -> Iterator[Claiming]:
    claiming = Claiming(relaxed=request.param)
    yield claiming
    claiming.silent()
    claiming.sound()


def unknown(unique: bytes) -> bytes:
    return R.STATUS_RES_UNIQUE(unique, b"0", b"0", b"0", b"0", b"0")


def known(unique: bytes) -> bytes:
    return R.STATUS_RES_UNIQUE(unique, b"1", b"0", b"0", b"0", b"0")


def test_a_job_waits_for_its_claim(wire: Claiming) -> None:
    worker = wire.worker("w", b"f")
    client = wire.peer("c").send(submit(b"f", b"u", b"1")).expect_nothing()
    worker.send(Q.GRAB_JOB()).expect(R.NO_JOB())
    batch = wire.batch()
    assert batch.claims == ((1, b"f", b"u"),)
    worker.send(Q.GRAB_JOB()).expect(R.NO_JOB())
    worker.send(Q.PRE_SLEEP()).expect_nothing()
    wire.decide()
    client.expect(R.JOB_CREATED(handle(1)))
    worker.expect(R.NOOP())
    worker.send(Q.GRAB_JOB()).expect(R.JOB_ASSIGN(handle(1), b"f", b"1"))
    worker.send(Q.WORK_COMPLETE(handle(1), b""))
    batch = wire.batch()
    assert batch.freed == ((1, b"f", b"u"),)
    assert not batch.claims
    wire.decide()


def test_who_is_second_gets_the_first_one_s_handle(wire: Claiming) -> None:
    """Whoever joined the job too, before the batch was taken."""
    one = wire.peer("c").send(submit(b"f", b"u"), submit(b"f", b"v"))
    other = wire.peer("d").send(submit(b"f", b"u"))
    wire.batch()
    late = wire.peer("e").send(submit(b"f", b"w")).expect_nothing()
    wire.decide({1: OTHER})
    one.expect(R.JOB_CREATED(handle(OTHER)), R.JOB_CREATED(handle(2)))
    other.expect(R.JOB_CREATED(handle(OTHER)))
    assert [job["number"] for job in wire.dispatcher.jobs()] == [2, 3]
    batch = wire.batch()
    assert (batch.claims, batch.ended, batch.freed) == (((3, b"f", b"w"),), b"", ())
    wire.decide()
    late.expect(R.JOB_CREATED(handle(3)))


def test_who_asks_while_a_claim_is_being_decided_claims_anew(wire: Claiming) -> None:
    """The store may have answered before that, and the job that has the unique instead may have ended since."""
    early = wire.peer("c").send(submit(b"f", b"u", b"1"))
    wire.batch()
    late = [wire.peer(name).send(submit(b"f", b"u", b"2")) for name in "de"]
    wire.decide({1: OTHER})
    early.expect(R.JOB_CREATED(handle(OTHER)))
    assert wire.batch().claims == ((2, b"f", b"u"),)
    wire.decide()
    for each in late:
        each.expect(R.JOB_CREATED(handle(2)))
    wire.worker("w", b"f").send(Q.GRAB_JOB()).expect(R.JOB_ASSIGN(handle(2), b"f", b"2"))


def test_who_asks_while_a_claim_is_being_decided_may_get_the_job_that_has_won(wire: Claiming) -> None:
    early = wire.peer("c").send(submit(b"f", b"u", b"1"))
    wire.batch()
    late = wire.peer("d").send(submit(b"f", b"u", b"2"))
    wire.decide()
    early.expect(R.JOB_CREATED(handle(1)))
    wire.batch()
    latest = wire.peer("e").send(submit(b"f", b"u", b"3"))  # joins the one that is decided
    wire.decide({2: 1})
    late.expect(R.JOB_CREATED(handle(1)))
    if wire.dispatcher.batch_waits:
        wire.commit()
    latest.expect(R.JOB_CREATED(handle(1)))
    assert [job["number"] for job in wire.dispatcher.jobs()] == [1]
    wire.worker("w", b"f").send(Q.GRAB_JOB()).expect(R.JOB_ASSIGN(handle(1), b"f", b"1"))


def test_a_job_that_somebody_waits_for_and_a_claim_that_comes_later(wire: Claiming) -> None:
    early = wire.peer("c").send(submit(b"f", b"u", b"1"))
    wire.batch()
    wire.peer("d").send(Q.SUBMIT_JOB(b"f", b"u", b"1")).expect(R.JOB_CREATED(handle(1)))
    late = wire.peer("e").send(submit(b"f", b"u", b"2"))
    wire.decide({1: OTHER})
    early.expect(R.JOB_CREATED(handle(OTHER)))
    wire.batch()
    wire.decide()
    late.expect(R.JOB_CREATED(handle(2)))
    assert [job["number"] for job in wire.dispatcher.jobs()] == [1, 2]


def test_a_unique_that_is_taken_may_be_asked_for_again(wire: Claiming) -> None:
    client = wire.peer("c").send(submit(b"f", b"u"))
    wire.batch()
    wire.decide({1: OTHER})
    client.expect(R.JOB_CREATED(handle(OTHER)))
    client.send(submit(b"f", b"u"))
    assert wire.batch().claims == ((2, b"f", b"u"),)
    wire.decide()
    client.expect(R.JOB_CREATED(handle(2)))
    client.send(submit(b"f", b"u"))
    if wire.dispatcher.batch_waits:
        wire.commit()
    client.expect(R.JOB_CREATED(handle(2)))


def test_who_waits_for_a_job_whose_unique_is_taken_keeps_it(wire: Claiming) -> None:
    client = wire.peer("c").send(submit(b"f", b"u", b"1"))
    waiting = wire.peer("d").send(Q.SUBMIT_JOB(b"f", b"u", b"1")).expect(R.JOB_CREATED(handle(1)))
    wire.batch()
    wire.decide({1: OTHER})
    client.expect(R.JOB_CREATED(handle(OTHER)))
    assert wire.dispatcher.durable_count == 0
    worker = wire.worker("w", b"f").send(Q.GRAB_JOB()).expect(R.JOB_ASSIGN(handle(1), b"f", b"1"))
    worker.send(Q.WORK_COMPLETE(handle(1), b"done"))
    waiting.expect(R.WORK_COMPLETE(handle(1), b"done"))
    assert wire.dispatcher.take_batch() is None


def test_who_waits_for_a_job_whose_unique_is_taken_hears_of_its_end(wire: Claiming) -> None:
    """Its JOB_CREATED was held back behind others, of its own background submission too: they name the same job."""
    client = wire.peer("c").send(submit(b"f", b"u", b"1"), Q.SUBMIT_JOB(b"f", b"u", b"1"))
    asks = wire.peer("d").send(submit(b"f", b"v"), Q.SUBMIT_JOB(b"gearfast.result", b"", b"u"))
    waits = wire.peer("e").send(submit(b"f", b"w"), Q.SUBMIT_JOB(b"f", b"x", b""))
    wire.batch()
    wire.decide({1: OTHER, 3: OTHER + 1})
    client.expect(R.JOB_CREATED(handle(1)), R.JOB_CREATED(handle(1)))
    asks.expect(R.JOB_CREATED(handle(2)), R.JOB_CREATED(handle(1)))
    waits.expect(R.JOB_CREATED(handle(OTHER + 1)), R.JOB_CREATED(handle(4)))
    worker = wire.worker("w", b"f")
    assert sorted(worker.grab_all()) == [b"", b"", b"1"]
    worker.send(Q.WORK_COMPLETE(handle(1), b"done"), Q.WORK_COMPLETE(handle(4), b"four"))
    client.expect(R.WORK_COMPLETE(handle(1), b"done"))
    asks.expect(R.WORK_COMPLETE(handle(1), b"done"))
    waits.expect(R.WORK_COMPLETE(handle(4), b"four"))


def test_a_question_that_does_not_wait_for_the_claim(wire: Claiming) -> None:
    """All of its answer has one handle, that of no job: whose the job's will be is not known yet."""
    client = wire.peer("c").send(submit(b"f", b"u"), Q.SUBMIT_JOB(b"gearfast.result.now", b"", b"u"))
    wire.batch()
    wire.decide({1: OTHER})
    warning = b"gearfast.result: NOT_ENDED The job is queued"
    client.expect(
        R.JOB_CREATED(handle(OTHER)),
        *(R.JOB_CREATED(handle(2)), R.WORK_WARNING(handle(2), warning), R.WORK_FAIL(handle(2))),
    )


def test_a_job_that_ends_before_its_claim_is_decided(wire: Claiming) -> None:
    """What is told of its end is not told of a job that the store does not have, and its unique is free."""
    client, admin = wire.peer("c").send(submit(b"f", b"u"), submit(b"f", b"v")), wire.peer("a")
    wire.batch()
    admin.send(b"cancel job " + handle(1) + b"\n", b"cancel job " + handle(2) + b"\n")
    admin.take()
    wire.decide({1: OTHER})
    client.expect(R.JOB_CREATED(handle(OTHER)), R.JOB_CREATED(handle(2)))
    batch = wire.batch()
    assert batch.ended == (2).to_bytes(8, "little")
    assert (2, b"f", b"v") in batch.freed
    wire.decide()
    assert wire.dispatcher.jobs() == []


def test_a_job_that_waits_for_its_time_claims_too(wire: Claiming) -> None:
    seconds = START_WALL + 60
    client = wire.peer("c").send(Q.SUBMIT_JOB_EPOCH(b"f", b"u", b"%d" % seconds, b"1"))
    assert wire.batch().claims == ((1, b"f", b"u"),)
    wire.decide()
    client.expect(R.JOB_CREATED(handle(1)))
    worker = wire.worker("w", b"f").send(Q.GRAB_JOB()).expect(R.NO_JOB())
    wire.pass_time(61)
    worker.send(Q.GRAB_JOB()).expect(R.JOB_ASSIGN(handle(1), b"f", b"1"))


def test_a_time_that_comes_before_the_claim(wire: Claiming) -> None:
    seconds = START_WALL + 60
    client = wire.peer("c").send(Q.SUBMIT_JOB_EPOCH(b"f", b"u", b"%d" % seconds, b"1"))
    wire.batch()
    wire.pass_time(61)
    worker = wire.worker("w", b"f").send(Q.GRAB_JOB()).expect(R.NO_JOB())
    wire.decide()
    client.expect(R.JOB_CREATED(handle(1)))
    worker.send(Q.GRAB_JOB()).expect(R.JOB_ASSIGN(handle(1), b"f", b"1"))


def test_jobs_that_claim_nothing_go_on_at_once(wire: Claiming) -> None:
    """Those without a unique, or whose workload is their unique; foreground jobs."""
    client = wire.peer("c").send(submit(b"f", b"", b"1"), submit(b"f", b"-", b"2"))
    wire.peer("d").send(Q.SUBMIT_JOB(b"f", b"u", b"3")).expect(R.JOB_CREATED(handle(3)))
    worker = wire.worker("w", b"f")
    for n in (1, 2, 3):
        worker.send(Q.GRAB_JOB()).expect(R.JOB_ASSIGN(handle(n), b"f", b"%d" % n))
    batch = wire.batch()
    assert (batch.claims, batch.freed) == ((), ())
    wire.decide()
    client.expect(R.JOB_CREATED(handle(1)), R.JOB_CREATED(handle(2)))


def test_a_batch_that_is_not_stored(wire: Claiming) -> None:
    """Its claims are none. Claims that end are told with the next one."""
    client = wire.peer("c").send(submit(b"f", b"u"))
    wire.commit()
    client.expect(R.JOB_CREATED(handle(1)))
    wire.worker("w", b"f").send(Q.GRAB_JOB(), Q.WORK_COMPLETE(handle(1), b"")).expect(
        R.JOB_ASSIGN(handle(1), b"f", b"")
    )
    client.send(submit(b"f", b"v"))
    waiting = wire.peer("d").send(Q.SUBMIT_JOB(b"f", b"v", b"")).expect(R.JOB_CREATED(handle(2)))
    assert wire.batch().freed == ((1, b"f", b"u"),)
    wire.settle(False)
    client.expect(NOT_STORED)
    batch = wire.batch()
    assert batch.freed == ((1, b"f", b"u"),)
    assert batch.claims == ()
    wire.decide()
    worker = wire.worker("x", b"f").send(Q.GRAB_JOB()).expect(R.JOB_ASSIGN(handle(2), b"f", b""))
    worker.send(Q.WORK_FAIL(handle(2)))
    waiting.expect(R.WORK_FAIL(handle(2)))


def test_claims_come_back_with_their_jobs(wire: Claiming) -> None:
    client = wire.peer("c").send(submit(b"f", b"u", b"1"))
    records = wire.commit().records
    client.expect(R.JOB_CREATED(handle(1)))
    again = Claiming(first_handle=1000)
    assert again.dispatcher.restore(records) == (1, 0)
    assert again.dispatcher.take_batch() is None
    again.worker("w", b"f").send(Q.GRAB_JOB(), Q.WORK_FAIL(handle(1))).expect(R.JOB_ASSIGN(handle(1), b"f", b"1"))
    assert again.batch().freed == ((1, b"f", b"u"),)
    again.decide()
    again.sound()


def test_a_dead_letter_claims_nothing() -> None:
    wire = Claiming(policies=Policies.parse({"f": {"keep_failed": 10}}))
    client = wire.peer("c").send(submit(b"f", b"u"))
    wire.commit()
    client.expect(R.JOB_CREATED(handle(1)))
    wire.worker("w", b"f").send(Q.GRAB_JOB(), Q.WORK_FAIL(handle(1))).expect(R.JOB_ASSIGN(handle(1), b"f", b""))
    batch = wire.batch()
    assert len(wire.dispatcher.dead_letters()) == 1
    assert batch.freed == ((1, b"f", b"u"),)
    assert batch.claims == ()
    wire.decide()
    wire.sound()


def test_a_status_asks_the_store(wire: Claiming) -> None:
    """In its turn among the replies."""
    client = wire.peer("c").send(
        Q.GET_STATUS_UNIQUE(b"u"), Q.ECHO_REQ(b"1"), Q.GET_STATUS_UNIQUE(b"v"), Q.ECHO_REQ(b"2")
    )
    client.expect_nothing()
    other = wire.peer("d").send(Q.ECHO_REQ(b"3")).expect(R.ECHO_RES(b"3"))
    batch = wire.batch()
    assert batch.asked == (b"u", b"v")
    assert not batch.is_empty
    assert batch.only_asks
    other.send(Q.GET_STATUS_UNIQUE(b"u")).expect_nothing()
    wire.decide(known=(b"u",))
    client.expect(known(b"u"), R.ECHO_RES(b"1"), unknown(b"v"), R.ECHO_RES(b"2"))
    assert wire.batch().asked == (b"u",)
    wire.decide()
    other.expect(known(b"u"))


def test_a_status_of_what_is_here_asks_nobody(wire: Claiming) -> None:
    client = wire.peer("c")
    wire.peer("d").send(Q.SUBMIT_JOB(b"f", b"u", b"")).expect(R.JOB_CREATED(handle(1)))
    client.send(Q.GET_STATUS_UNIQUE(b"u")).expect(R.STATUS_RES_UNIQUE(b"u", b"1", b"0", b"0", b"0", b"1"))
    client.send(Q.GET_STATUS_UNIQUE(b"-"), Q.GET_STATUS_UNIQUE(b"")).expect(unknown(b"-"), unknown(b""))
    client.send(Q.GET_STATUS_UNIQUE(b"u" * 65)).expect(unknown(b"u" * 65))
    wire.dispatcher.refusing = True
    client.send(Q.GET_STATUS_UNIQUE(b"v")).expect(unknown(b"v"))
    assert wire.dispatcher.take_batch() is None


def test_a_status_while_the_store_is_away(wire: Claiming) -> None:
    client = wire.peer("c").send(Q.GET_STATUS_UNIQUE(b"u"), Q.ECHO_REQ(b"1")).expect_nothing()
    wire.batch()
    wire.settle(False)
    client.expect(unknown(b"u"), R.ECHO_RES(b"1"))


def test_a_lease_that_is_lost(wire: Claiming) -> None:
    client = wire.peer("c").send(submit(b"f", b"u"), Q.GET_STATUS_UNIQUE(b"v"))
    wire.batch()
    late = wire.peer("d").send(Q.GET_STATUS_UNIQUE(b"w"))
    wire.dispatcher.settle(False)
    wire.dispatcher.lose_lease(next_number=100, next_batch=100)
    wire.tick()
    client.expect(NOT_STORED, unknown(b"v"))
    late.expect(unknown(b"w"))
    assert wire.dispatcher.jobs() == []


def test_without_others_nothing_is_claimed_or_asked() -> None:
    wire = Durable()
    client = wire.peer("c").send(submit(b"f", b"u"))
    worker = wire.worker("w", b"f").send(Q.GRAB_JOB()).expect(R.JOB_ASSIGN(handle(1), b"f", b""))
    worker.send(Q.WORK_FAIL(handle(1)))
    client.send(Q.GET_STATUS_UNIQUE(b"v"))
    batch = wire.dispatcher.take_batch()
    assert batch is not None
    assert (batch.claims, batch.freed, batch.asked) == ((), (), ())
    wire.settle()
    client.expect(R.JOB_CREATED(handle(1)), unknown(b"v"))


def test_a_job_whose_result_is_kept() -> None:
    """Cancelled in its queue, done, and cancelled before another server's job turned out to have its unique."""
    wire = Claiming(policies=Policies.parse({"f": {"keep_results": 10}}))
    client, admin = wire.peer("c").send(submit(b"f", b"u"), submit(b"f", b"v")), wire.peer("a")
    wire.commit()
    client.expect(R.JOB_CREATED(handle(1)), R.JOB_CREATED(handle(2)))
    admin.send(b"cancel job " + handle(1) + b"\n").take()
    worker = wire.worker("w", b"f").send(Q.GRAB_JOB(), Q.WORK_COMPLETE(handle(2), b"done"))
    worker.expect(R.JOB_ASSIGN(handle(2), b"f", b""))
    assert wire.batch().freed == ((1, b"f", b"u"), (2, b"f", b"v"))
    wire.decide()
    client.send(submit(b"f", b"u"), submit(b"f", b"w"))
    wire.batch()
    admin.send(b"cancel job " + handle(3) + b"\n").take()
    wire.decide({3: OTHER})
    client.expect(R.JOB_CREATED(handle(OTHER)), R.JOB_CREATED(handle(4)))
    batch = wire.batch()
    assert (batch.replaced, batch.late) == (b"", (3,)), "the store has no job in place of which the result comes"
    wire.decide()
    assert sorted(result["number"] for result in wire.dispatcher.results()) == [1, 2, 3]
    wire.sound()

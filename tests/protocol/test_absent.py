# SPDX-License-Identifier: BSD-3-Clause
"""Queues that are larger than memory: which workloads leave it, when they are asked for, and what happens meanwhile."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

import pytest

from gearfast.dispatch import Batch, Dispatcher, chosen
from gearfast.dispatch.policy import Policies

from .script import Peer, Q, R, Wire, handle
from .test_journal import Durable, numbers

SIZE = 1000
CEILING = 64_000
"""Of jobs of SIZE bytes half a ceiling is 26, and 4 are near."""
MANY = 200


def packed(found: Iterable[int]) -> bytes:
    return b"".join(struct.pack("<Q", number) for number in sorted(found))


class Far(Durable):
    """A durable wire with a ceiling, and what its store has."""

    def __init__(self, memory: int = CEILING, **settings: object) -> None:
        Wire.__init__(self, "whole", **settings)
        self.dispatcher.open_journal(memory=memory)
        self.records = b""

    def commit(self) -> Batch:
        batch = super().commit()
        self.records += batch.records
        return batch

    def submit(self, count: int, function: bytes = b"f", unique: bytes = b"", size: int = SIZE) -> None:
        """Jobs whose workloads begin with their places."""
        client = self.peer(f"c{self.dispatcher.next_number}")
        first = self.dispatcher.next_number
        for place in range(count):
            client.send(Q.SUBMIT_JOB_BG(function, unique and unique + b"%d" % place, data(place, size)))
        self.commit()
        client.expect(*(R.JOB_CREATED(handle(first + place)) for place in range(count)))
        client.leave()
        self.sound()

    def absent(self) -> list[int]:
        return [job["number"] for job in self.dispatcher.jobs() if job["workload"] is None]

    def ask(self) -> list[int]:
        return numbers(self.dispatcher.take_wanted() or b"")

    def supply(self, wanted: Iterable[int]) -> None:
        """The last record of each, as a store has it."""
        found, missing = chosen(self.records, packed(wanted))
        assert not missing
        self.dispatcher.supply(found)
        self.dispatcher.supply_end()
        self.tick()
        self.sound()

    def bring(self) -> int:
        """All that is wanted, until nothing is; returns how many there were."""
        count = 0
        while wanted := self.ask():
            count += len(wanted)
            self.supply(wanted)
        return count


def data(place: int, size: int = SIZE) -> bytes:
    return b"%d" % place + bytes(size - len(b"%d" % place))


@pytest.fixture
def far() -> Iterator[Far]:
    wire = Far()
    yield wire
    wire.silent()
    wire.sound()


def restart(old: Far, ended: Iterable[int] = (), **settings: object) -> Far:
    """A new server with the jobs of the old one's store."""
    wire = Far(first_handle=1_000_000, **settings)
    wire.records = old.records
    wire.dispatcher.restore(wire.records, packed(ended))
    wire.sound()
    return wire


def taken(far: Far, function: bytes = b"f", name: str = "w") -> list[int]:
    """Places of all jobs that a worker gets, in the order in which it gets them; what is absent is brought."""
    worker = far.worker(name, function)
    found = []
    while True:
        packets = worker.send(Q.GRAB_JOB()).seen()
        if packets[0].name == "NO_JOB":
            if not far.bring():
                worker.leave()
                return found
            continue
        job, _, workload = packets[0].args
        found.append(int(workload.rstrip(b"\0")))
        worker.send(Q.WORK_COMPLETE(job, b""))
        far.sound()


# Leaving and coming back


def test_far_workloads_leave_memory_once_they_are_stored(far: Far) -> None:
    client = far.peer("c")
    client.send(*(Q.SUBMIT_JOB_BG(b"f", b"", data(n)) for n in range(MANY)))
    assert far.absent() == []
    assert len(far.commit().records) > MANY * SIZE
    client.take()
    metrics = far.dispatcher.metrics()["server"]
    absent = far.absent()
    assert metrics["absent"] == far.dispatcher.absent_count == len(absent)
    assert metrics["absent_bytes"] == len(absent) * SIZE
    assert metrics["queued_bytes"] < CEILING
    assert absent and min(absent) > 4, "those near the head stay"


def test_a_queue_below_half_the_ceiling_stays(far: Far) -> None:
    far.submit(20)
    assert far.absent() == []
    assert far.ask() == []


def test_without_a_ceiling_nothing_leaves() -> None:
    wire = Far(memory=0)
    wire.submit(MANY)
    assert wire.absent() == []
    assert not wire.dispatcher.wanted_waits
    assert wire.dispatcher.take_wanted() is None


def test_small_workloads_and_those_that_are_uniques_stay(far: Far) -> None:
    far.submit(MANY, size=63)
    assert far.absent() == []
    client = far.peer("c").send(*(Q.SUBMIT_JOB_BG(b"g", b"-", data(n)) for n in range(MANY)))
    far.commit()
    client.take()
    assert far.absent() == []
    client.send(Q.SUBMIT_JOB_BG(b"g", b"-", data(150)))
    client.expect(R.JOB_CREATED(handle(MANY + 151)))


def test_foreground_jobs_stay(far: Far) -> None:
    client = far.peer("c").send(*(Q.SUBMIT_JOB(b"f", b"", data(n)) for n in range(MANY)))
    client.take()
    far.submit(1)
    assert far.absent() == [MANY + 1], "the one that is durable, and far"


@pytest.mark.parametrize("size", [SIZE, 40_000])
def test_all_jobs_come_in_order(size: int) -> None:
    """Those of 40,000 bytes are held by reference."""
    far = Far(memory=CEILING * size // SIZE)
    far.submit(MANY, size=size)
    assert len(far.absent()) > MANY // 2
    assert taken(far) == list(range(MANY))
    assert far.dispatcher.metrics()["server"]["fetched"] > MANY // 2
    assert far.dispatcher.job_count == far.dispatcher.absent_count == 0


def test_what_a_job_takes_without_its_workload(far: Far) -> None:
    """80 bytes of record, and its unique with 8 for the link in their table."""
    far.submit(MANY, unique=b"a unique")
    jobs = far.dispatcher.jobs()
    records = sum(80 + 8 + len(job["unique"]) for job in jobs)
    present = sum(job["workload"] is not None for job in jobs)
    assert 0 < present < MANY // 2
    assert far.dispatcher.metrics()["server"]["queued_bytes"] == records + present * SIZE


def test_jobs_that_come_while_others_are_absent_keep_their_turn(far: Far) -> None:
    worker = far.worker("w", b"f")
    far.submit(100)
    assert far.absent()
    far.submit(100)
    worker.leave()
    assert taken(far) == [*range(100), *range(100)]


def test_priorities_keep_their_order(far: Far) -> None:
    client = far.peer("c")
    for place in range(60):
        client.send(Q.SUBMIT_JOB_LOW_BG(b"f", b"", data(200 + place)))
        client.send(Q.SUBMIT_JOB_BG(b"f", b"", data(100 + place)))
        client.send(Q.SUBMIT_JOB_HIGH_BG(b"f", b"", data(place)))
    far.commit()
    client.take()
    far.sound()
    assert len(far.absent()) > 60
    assert taken(far) == [*range(60), *range(100, 160), *range(200, 260)]


def drain_to_an_absent_head(far: Far, worker: Peer) -> list[int]:
    """The worker takes jobs until the next one is absent."""
    found = []
    while (packet := worker.send(Q.GRAB_JOB()).seen()[0]).name == "JOB_ASSIGN":
        worker.send(Q.WORK_COMPLETE(packet.args[0], b""))
        found.append(int(packet.args[2].rstrip(b"\0")))
    assert packet.name == "NO_JOB"
    assert min(far.absent()) == min(job["number"] for job in far.dispatcher.jobs())
    return found


def test_a_sleeping_worker_is_woken_when_the_head_is_back(far: Far) -> None:
    far.submit(MANY)
    worker = far.worker("w", b"f")
    before = drain_to_an_absent_head(far, worker)
    worker.send(Q.PRE_SLEEP()).expect_nothing()
    far.sound()
    wanted = far.ask()
    worker.expect_nothing()
    far.supply(wanted)
    worker.expect(R.NOOP())
    worker.send(Q.GRAB_JOB()).expect(R.JOB_ASSIGN(handle(wanted[0]), b"f", data(len(before))))


def test_a_held_grab_is_answered_when_the_head_is_back(far: Far) -> None:
    far.submit(MANY)
    worker = far.worker("w", b"f")
    before = drain_to_an_absent_head(far, worker)
    worker.send(Q.OPTION_REQ(b"all_yours")).take()
    worker.send(Q.GRAB_JOB()).expect_nothing()
    far.sound()
    wanted = far.ask()
    far.supply(wanted)
    worker.expect(R.JOB_ASSIGN(handle(wanted[0]), b"f", data(len(before))))


def test_other_functions_go_on_meanwhile(far: Far) -> None:
    far.submit(MANY)
    worker = far.worker("w", b"f", b"g")
    drain_to_an_absent_head(far, worker)
    far.peer("c").submit(b"g", b"x")
    assert worker.send(Q.GRAB_JOB()).seen()[0].args[1] == b"g"


def test_workloads_are_asked_for_before_the_head_is_reached(far: Far) -> None:
    far.submit(MANY)
    worker = far.worker("w", b"f")
    far.bring()
    for _ in range(100):
        name = worker.send(Q.GRAB_JOB()).seen()[0].name
        assert name == "JOB_ASSIGN"
        far.bring()


def test_one_request_at_a_time(far: Far) -> None:
    far.submit(MANY)
    drain_to_an_absent_head(far, far.worker("w", b"f"))
    wanted = far.ask()
    assert wanted
    assert not far.dispatcher.wanted_waits
    assert far.ask() == []
    far.supply(wanted)
    assert far.dispatcher.wanted_waits


def test_what_is_supplied_late_is_let_be(far: Far) -> None:
    far.submit(MANY)
    worker = far.worker("w", b"f")
    drain_to_an_absent_head(far, worker)
    wanted = far.ask()
    far.peer("a").send(*(b"cancel job %s\n" % handle(number) for number in wanted)).take()
    far.sound()
    far.supply(wanted)
    worker.leave()
    assert not {place + 1 for place in taken(far, name="v")} & set(wanted)


# What else befalls absent jobs


def test_a_foreground_request_joins_an_absent_job(far: Far) -> None:
    far.submit(MANY, unique=b"u")
    place = far.absent()[-1] - 1
    waiting = far.peer("d").send(Q.SUBMIT_JOB(b"f", b"u%d" % place, b"other"))
    waiting.expect(R.JOB_CREATED(handle(place + 1)))
    far.sound()
    assert taken(far) == list(range(MANY))
    waiting.expect(R.WORK_COMPLETE(handle(place + 1), b""))


def test_its_status_and_its_cancelling(far: Far) -> None:
    far.submit(MANY)
    number = far.absent()[-1]
    client = far.peer("d")
    client.send(Q.GET_STATUS(handle(number))).expect(R.STATUS_RES(handle(number), b"1", b"0", b"0", b"0"))
    client.send(b"cancel job %s\n" % handle(number)).take()
    far.sound()
    far.commit()
    assert taken(far) == [place for place in range(MANY) if place + 1 != number]


def test_a_lost_job_is_present(far: Far) -> None:
    far.submit(MANY)
    worker = far.worker("w", b"f")
    worker.send(Q.GRAB_JOB()).take()
    worker.leave()
    far.sound()
    assert taken(far, name="v") == [*range(1, MANY), 0]


def test_dropping_the_function(far: Far) -> None:
    far.submit(MANY)
    far.peer("a").send(b"drop function f\n").take()
    far.sound()
    assert far.dispatcher.job_count == far.dispatcher.absent_count == 0
    assert len(numbers(far.commit().ended)) == MANY


def test_jobs_that_wait_for_their_time_are_far(far: Far) -> None:
    client = far.peer("c")
    for place in range(MANY):
        client.send(Q.SUBMIT_JOB_EPOCH(b"f", b"", b"%d" % (far.wall // 10**9 + 10), data(place)))
    far.commit()
    client.take()
    far.sound()
    assert len(far.absent()) > MANY - 40
    assert far.ask() == []
    far.pass_time(11.0)
    far.sound()
    assert taken(far) == list(range(MANY))


def test_a_dead_letter_is_stored_once_its_workload_is_back() -> None:
    far = Far(policies=Policies.parse({"f": {"expire": 5, "keep_failed": 1000}}))
    far.submit(MANY)
    absent = far.absent()
    far.pass_time(6.0)
    far.sound()
    assert far.dispatcher.job_count == 0
    assert {letter["number"] for letter in far.dispatcher.dead_letters() if letter["workload"] is None} == set(absent)
    far.commit()
    far.bring()
    assert sorted(int(each["workload"].rstrip(b"\0")) for each in far.dispatcher.dead_letters()) == list(range(MANY))
    assert sorted(far.commit().late) == absent


def test_a_dead_letter_that_is_queued_again_at_once() -> None:
    far = Far(policies=Policies.parse({"f": {"expire": 5, "keep_failed": 1000}}))
    far.submit(MANY)
    far.pass_time(6.0)
    assert any(letter["workload"] is None for letter in far.dispatcher.dead_letters())
    admin = far.peer("a").send(b"dead requeue *\n")
    admin.take()
    far.sound()
    far.commit()
    assert sorted(taken(far)) == list(range(MANY))


# Back from the store


def test_what_comes_back_beyond_the_ceiling_is_absent_at_once(far: Far) -> None:
    far.submit(MANY, unique=b"u")
    again = restart(far)
    assert len(again.absent()) > MANY // 2
    assert again.dispatcher.metrics()["server"]["queued_bytes"] < CEILING
    client = again.peer("d").send(Q.SUBMIT_JOB(b"f", b"u%d" % (again.absent()[-1] - 1), b"joined"))
    client.expect(R.JOB_CREATED(handle(again.absent()[-1])))
    assert taken(again) == list(range(MANY))
    client.take()


def test_it_comes_before_what_was_submitted_since(far: Far) -> None:
    far.submit(MANY)
    again = Far(first_handle=1_000_000)
    again.submit(50)
    again.records += far.records
    again.dispatcher.restore(far.records)
    again.sound()
    assert taken(again) == [*range(MANY), *range(50)]


# Records that cannot be read


def test_a_job_without_a_record_is_dropped_and_the_queue_goes_on(far: Far) -> None:
    far.submit(MANY)
    worker = far.worker("w", b"f")
    before = len(drain_to_an_absent_head(far, worker))
    worker.leave()
    wanted = far.ask()
    far.dispatcher.take_notices()
    far.dispatcher.supply_end(packed(wanted[:1]))
    far.sound()
    (text,) = (text for _, text in far.dispatcher.take_notices())
    assert text.startswith("Dropped a job whose record in the store cannot be read: " + handle(wanted[0]).decode())
    assert taken(far, name="v") == list(range(before + 1, MANY))


def test_a_record_of_another_size_is_none(far: Far) -> None:
    far.submit(MANY)
    drain_to_an_absent_head(far, far.worker("w", b"f"))
    wanted = far.ask()
    other = Far(memory=0, first_handle=wanted[0])
    other.submit(1, size=SIZE - 8)
    far.dispatcher.supply(other.records)
    far.dispatcher.supply_end()
    far.sound()
    assert wanted[0] not in {job["number"] for job in far.dispatcher.jobs()}


def test_bytes_that_are_no_record(far: Far) -> None:
    far.submit(MANY)
    drain_to_an_absent_head(far, far.worker("w", b"f"))
    wanted = far.ask()
    with pytest.raises(ValueError, match="not whole"):
        far.dispatcher.supply(b"no record, and aligned so")
    far.supply(wanted)


def test_a_failed_batch_has_no_absent_jobs(far: Far) -> None:
    far.submit(MANY)
    before = far.absent()
    client = far.peer("c").send(*(Q.SUBMIT_JOB_BG(b"f", b"", data(n)) for n in range(50)))
    far.batch()
    far.settle(False)
    client.take()
    far.sound()
    assert far.dispatcher.job_count == MANY
    assert set(far.absent()) >= set(before)


def test_memory_must_not_be_negative() -> None:
    with pytest.raises(ValueError, match="memory must be 0 or more"):
        Dispatcher().open_journal(memory=-1)

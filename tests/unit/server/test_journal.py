# SPDX-License-Identifier: BSD-3-Clause
"""The journal's thread beside a store that finds damage or is away, and with records that were written anew."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest

from gearfast._codec import encode
from gearfast.dispatch import Batch, Dispatcher
from gearfast.dispatch._check import check
from gearfast.dispatch.policy import Policies
from gearfast.protocol import Command
from gearfast.server import come_back, journal
from gearfast.server.journal import Journal
from gearfast.store.base import Contents, SectionDamaged, SectionInfo, StoreError, Write
from gearfast.store.sqlite import SqliteStore

JOBS = 300
KEEP = Policies.parse({"f": {"keep_failed": 1000}})
LIMIT = 30.0


class Faulty(SqliteStore):
    """Sections in `rotten` cannot be read; while it is `away` nothing can be done.

    If it `lies` too, writes are done, and said to have failed. `unreadable`: so many reads fail. `rot`: what
    a section that cannot be read has in it.
    """

    rotten: frozenset[int] = frozenset()
    away = False
    lies = False
    unreadable = 0
    rot = b""

    def open(self) -> Contents:
        if self.away:
            raise StoreError("the disk is away")
        return super().open()

    def write(self, write: Write) -> None:
        if self.lies or not self.away:
            super().write(write)
        if self.away:
            raise StoreError("the disk is away")

    def read(self, sections: Iterable[int]) -> list[bytes]:
        ids = list(sections)
        if self.unreadable:
            self.unreadable -= 1
            raise StoreError("the disk is away")
        for id in ids:
            if id in self.rotten:
                raise SectionDamaged(f"section {id} is damaged", id)
        parts = super().read(ids)
        for id, part in zip(ids, parts, strict=True):
            if self.rot and self.rot in part:
                raise SectionDamaged(f"section {id} is damaged", id)
        return parts


def sections_in(path: Path) -> list[SectionInfo]:
    """What the store has."""
    store = SqliteStore(path)
    try:
        return store.open().sections
    finally:
        store.close()


class Machine:
    """A dispatcher and its journal; `run` does what the journal's thread posts, until there is nothing more to come."""

    def __init__(self, path: Path, rotten: Iterable[int] = (), store: type[Faulty] = Faulty) -> None:
        self.store = store(path)
        self.store.rotten = frozenset(rotten)
        self.calls: SimpleQueue[tuple[Callable[..., object], tuple[Any, ...]]] = SimpleQueue()
        self.journal = Journal(self.store, patience=0.01)
        self.dispatcher = Dispatcher(handle_prefix=b"H", first_handle=self.journal.first_number, policies=KEEP)
        self.dispatcher.tick(1, 1)
        self.journal.start(self.dispatcher, lambda call, *values: self.calls.put((call, values)))
        self.peer = self.dispatcher.connect()

    def run(self, done: Callable[[], bool]) -> None:
        while not done():
            self.step()

    def step(self) -> None:
        """The next thing that the journal's thread posts."""
        call, values = self.calls.get(timeout=LIMIT)
        call(*values)

    def commit(self) -> None:
        self.journal.take()
        self.run(lambda: self.journal.is_idle)

    def back(self) -> None:
        """Until all jobs of the store are here."""
        self.run(lambda: not self.dispatcher.restoring)

    def say(self, line: bytes) -> bytes:
        self.dispatcher.take_output(self.peer)
        self.dispatcher.receive(self.peer, line)
        self.commit()
        return self.dispatcher.take_output(self.peer)

    def fail(self, *places: int) -> None:
        """Of the jobs in their queue these become dead letters, in one batch; the others are lost to their worker."""
        worker = self.dispatcher.connect()
        numbers = [job["number"] for job in self.dispatcher.jobs()]
        self.dispatcher.receive(worker, encode(Command.CAN_DO, b"f") + encode(Command.GRAB_JOB) * len(numbers))
        for place in places:
            self.dispatcher.receive(worker, encode(Command.WORK_FAIL, b"H:%d" % numbers[place]))
        self.dispatcher.disconnect(worker)
        self.commit()

    def close(self) -> tuple[list[bytes], list[bytes]]:
        """The workloads of its jobs and of its dead letters."""
        self.commit()
        self.journal.close()
        check(self.dispatcher)
        return workloads(self.dispatcher.jobs()), workloads(self.dispatcher.dead_letters())

    def submit(self, count: int) -> None:
        """Jobs, each in a batch of its own."""
        for n in range(count):
            self.dispatcher.receive(self.peer, encode(Command.SUBMIT_JOB_BG, b"f", b"", b"%d" % n))
            self.commit()


def workloads(jobs: list[dict[str, Any]]) -> list[bytes]:
    return sorted((job["workload"] for job in jobs), key=int)


def test_a_section_that_is_damaged_is_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Those around it are joined all the same, and its job, which is in memory, is there."""
    caplog.set_level(logging.ERROR, "gearfast")
    machine = Machine(tmp_path / "jobs.db", rotten=[5])
    machine.submit(JOBS)
    machine.journal.close()
    assert machine.dispatcher.job_count == JOBS
    assert [record.getMessage() for record in caplog.records] == ["section 5 is damaged: 1 jobs stay there"]
    sections = sections_in(tmp_path / "jobs.db")
    assert 5 in [info.id for info in sections]
    assert len(sections) < JOBS // 2
    assert sum(info.count for info in sections) == JOBS


def test_the_others_come_back(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    machine = Machine(tmp_path / "jobs.db")
    machine.submit(10)
    machine.journal.close()
    caplog.set_level(logging.ERROR, "gearfast")
    again = Machine(tmp_path / "jobs.db", rotten=[3, 7])
    again.run(lambda: not again.dispatcher.restoring)
    again.journal.close()
    assert [job["workload"] for job in again.dispatcher.jobs()] == [b"%d" % n for n in range(10) if n not in (2, 6)]
    assert [record.getMessage() for record in caplog.records] == [
        "section 3 is damaged: 1 jobs stay there",
        "section 7 is damaged: 1 jobs stay there",
    ]
    assert len(sections_in(tmp_path / "jobs.db")) == 10


def test_a_section_that_cannot_be_is_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What the file says of it is spoilt, not its records: a count that was 1 and is 0, say."""
    path = tmp_path / "jobs.db"
    jobs = some_jobs(path, 5)
    with sqlite3.connect(path) as db:
        db.execute("UPDATE section SET count = 0 WHERE id = 3")
    db.close()
    caplog.set_level(logging.ERROR, "gearfast")
    again = Machine(path)
    again.back()
    again.submit(JOBS)
    assert again.dispatcher.job_count == JOBS + 4
    again.journal.close()
    assert [job["workload"] for job in again.dispatcher.jobs()][:4] == [*jobs[:2], *jobs[3:]]
    assert [record.getMessage() for record in caplog.records] == ["section 3 is damaged: its jobs stay there"]
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT count(*) FROM section WHERE id = 3").fetchone() == (1,)
    db.close()


def test_submissions_do_not_wait_for_a_store_that_is_away_behind_the_end_of_a_job(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "jobs.db")
    machine.submit(1)
    server, worker = machine.dispatcher, machine.peer
    server.receive(worker, encode(Command.CAN_DO, b"f") + encode(Command.GRAB_JOB))
    (job,) = server.jobs()
    machine.store.away = True
    server.receive(worker, encode(Command.WORK_COMPLETE, b"H:%d" % job["number"], b""))
    assert server.job_count == 0
    machine.journal.take()
    client = server.connect()
    server.receive(client, encode(Command.SUBMIT_JOB_BG, b"f", b"", b"in vain"))
    machine.run(lambda: bool(server.refusing and server.job_count == 0))
    refusal = encode(Command.ERROR, b"QUEUE_ERROR", b"The job could not be stored")
    assert server.take_output(client) == refusal
    server.receive(client, encode(Command.SUBMIT_JOB_BG, b"f", b"", b"at once"))
    assert server.take_output(client) == refusal
    machine.store.away = False
    machine.run(lambda: not server.refusing and machine.journal.is_idle)
    machine.journal.close()
    assert sections_in(tmp_path / "jobs.db") == []


def test_jobs_that_were_refused_do_not_come_back(tmp_path: Path) -> None:
    """The write that failed had been done: whoever was told that it was not must not find it done some day."""
    machine = Machine(tmp_path / "jobs.db")
    machine.submit(1)
    machine.store.away = machine.store.lies = True
    machine.dispatcher.receive(machine.peer, encode(Command.SUBMIT_JOB_BG, b"f", b"", b"refused"))
    machine.journal.take()
    machine.run(lambda: bool(machine.dispatcher.refusing))
    machine.store.close()
    assert len(sections_in(tmp_path / "jobs.db")) == 2
    machine.store.away = machine.store.lies = False
    machine.run(lambda: not machine.dispatcher.refusing)
    machine.journal.close()
    assert [info.count for info in sections_in(tmp_path / "jobs.db")] == [1]


def notes_in(path: Path) -> dict[str, bytes]:
    store = SqliteStore(path)
    try:
        return store.open().notes
    finally:
        store.close()


def test_notes_are_kept(tmp_path: Path) -> None:
    """Alone, and with jobs."""
    path = tmp_path / "jobs.db"
    machine = Machine(path)
    machine.journal.note("a", b"1")
    machine.journal.note("b", b"1")
    machine.commit()
    machine.journal.note("a", b"2")
    machine.submit(1)
    machine.journal.note("b", None)
    machine.journal.note("c", b"3")
    machine.commit()
    assert machine.journal.notes == {"a": b"2", "c": b"3"}
    machine.journal.close()
    again = Machine(path)
    assert again.journal.notes == {"a": b"2", "c": b"3"}
    again.journal.close()


def test_a_note_and_the_jobs_before_it_are_one_write(tmp_path: Path) -> None:
    writes: list[Write] = []

    class Watched(Faulty):
        def write(self, write: Write) -> None:
            writes.append(write)
            super().write(write)

    machine = Machine(tmp_path / "jobs.db", store=Watched)
    machine.dispatcher.receive(machine.peer, encode(Command.SUBMIT_JOB_BG, b"f", b"", b"first"))
    machine.journal.take()
    machine.dispatcher.receive(machine.peer, encode(Command.SUBMIT_JOB_BG, b"f", b"", b"second"))
    machine.journal.note("fired", b"1")
    machine.run(lambda: machine.journal.is_idle)
    machine.journal.close()
    assert [(len(write.add), write.notes) for write in writes if write.add or write.notes] == [
        (1, {}),
        (1, {"fired": b"1"}),
    ]


def test_notes_wait_for_a_store_that_is_away(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    machine = Machine(path)
    machine.store.away = True
    machine.journal.note("a", b"1")
    machine.journal.take()
    machine.run(lambda: bool(machine.dispatcher.refusing))
    machine.store.away = False
    machine.run(lambda: not machine.dispatcher.refusing)
    assert machine.dispatcher.job_count == 0
    machine.journal.close()
    assert notes_in(path) == {"a": b"1"}


def test_notes_of_a_batch_that_is_given_up_go_with_the_next(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    machine = Machine(path)
    machine.store.away = True
    machine.dispatcher.receive(machine.peer, encode(Command.SUBMIT_JOB_BG, b"f", b"", b"in vain"))
    machine.journal.note("a", b"1")
    machine.journal.take()
    machine.run(lambda: bool(machine.dispatcher.refusing))
    machine.store.away = False
    machine.run(lambda: not machine.dispatcher.refusing)
    machine.journal.close()
    assert notes_in(path) == {"a": b"1"}
    assert sections_in(path) == []


@pytest.mark.parametrize("lies", [False, True], ids=["not stored", "stored, but reported as not"])
def test_a_note_that_is_bound_is_lost_with_its_jobs(tmp_path: Path, lies: bool) -> None:
    """What was kept before is kept again, also if the batch after it had said otherwise; others go with that."""
    path = tmp_path / "jobs.db"
    machine = Machine(path)
    told: list[tuple[str, bytes | None]] = []
    machine.journal.on_lost = lambda key, value: told.append((key, value))
    machine.journal.note("fired", b"1")
    machine.commit()
    machine.store.away, machine.store.lies = True, lies
    machine.dispatcher.receive(machine.peer, encode(Command.SUBMIT_JOB_BG, b"f", b"", b"in vain"))
    machine.journal.note("fired", b"2", bound=True)
    machine.journal.note("new", b"2", bound=True)
    machine.journal.note("other", b"2")
    machine.journal.take()
    machine.journal.note("fired", b"3", bound=True)
    machine.run(lambda: machine.dispatcher.refusing and machine.journal.is_idle)
    assert sorted(told)[:2] == [("fired", b"1"), ("new", None)]
    assert machine.journal.notes == {"fired": b"1", "other": b"2"}
    machine.store.away = machine.store.lies = False
    machine.run(lambda: not machine.dispatcher.refusing)
    machine.journal.close()
    assert notes_in(path) == {"fired": b"1", "other": b"2"}
    assert sections_in(path) == []


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store is tried again soon, and jobs come back one section at a time."""
    monkeypatch.setattr(journal, "PAUSES", (0.01,))
    monkeypatch.setattr(journal, "CHUNK", 1)
    monkeypatch.setattr(come_back, "PAUSE", 0.01)


def some_jobs(path: Path, count: int) -> list[bytes]:
    machine = Machine(path)
    machine.submit(count)
    return machine.close()[0]


@pytest.mark.usefixtures("hasty")
def test_jobs_come_back_from_a_store_that_could_not_be_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """None is left there for another start, and until all are here nothing is said about those that are not."""
    path = tmp_path / "jobs.db"
    jobs = some_jobs(path, 10)

    class Unreadable(Faulty):
        unreadable = 2

    again = Machine(path, store=Unreadable)
    again.back()
    assert again.close() == (jobs, [])
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == [
        "Jobs of the store cannot be read yet: the disk is away"
    ]


@pytest.mark.usefixtures("hasty")
def test_jobs_come_back_though_the_store_takes_nothing_for_a_while(tmp_path: Path) -> None:
    """A batch is given up while they do, though the store itself can be opened."""
    path = tmp_path / "jobs.db"
    jobs = some_jobs(path, 10)

    class Full(Faulty):
        full = True

        def write(self, write: Write) -> None:
            if self.full and write.add:
                raise StoreError("the disk is full")
            super().write(write)

    again = Machine(path, store=Full)
    again.dispatcher.receive(again.peer, encode(Command.SUBMIT_JOB_BG, b"f", b"", b"in vain"))
    again.journal.take()
    again.run(lambda: bool(again.dispatcher.refusing))
    again.back()
    assert again.close() == (jobs, [])


@pytest.mark.usefixtures("hasty")
def test_jobs_come_back_though_the_store_is_away_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    jobs = some_jobs(path, 10)
    again = Machine(path)
    again.run(lambda: again.dispatcher.job_count == 3)
    again.store.unreadable, again.store.away = 1, True
    again.calls.put((setattr, (again.store, "away", False)))
    again.back()
    assert again.close() == (jobs, [])


@pytest.mark.usefixtures("hasty")
def test_what_has_ended_does_not_come_back_though_a_batch_is_given_up_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    machine = Machine(path)
    machine.submit(20)
    server = machine.dispatcher
    server.receive(machine.peer, encode(Command.CAN_DO, b"f") + encode(Command.GRAB_JOB) * 20)
    for job in server.jobs()[::2]:
        server.receive(machine.peer, encode(Command.WORK_COMPLETE, b"H:%d" % job["number"], b""))
        machine.commit()
    machine.journal.close()
    again = Machine(path)
    again.run(lambda: again.dispatcher.job_count == 3)
    again.store.away = True
    again.dispatcher.receive(again.peer, encode(Command.SUBMIT_JOB_BG, b"f", b"", b"in vain"))
    again.journal.take()
    again.run(lambda: bool(again.dispatcher.refusing))
    again.store.away = False
    again.back()
    again.run(lambda: not again.dispatcher.refusing)
    assert again.close() == (names(*range(1, 20, 2)), [])


@pytest.mark.usefixtures("hasty")
def test_what_cannot_be_read_for_good_holds_nobody_up(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A sector is gone, say: the sections on it are left alone, those around them come back."""
    path = tmp_path / "jobs.db"
    jobs = some_jobs(path, 10)

    class Sector(Faulty):
        def read(self, sections: Iterable[int]) -> list[bytes]:
            ids = list(sections)
            if {4, 5} & set(ids):
                raise StoreError("input/output error")
            return super().read(ids)

    again = Machine(path, store=Sector)
    again.back()
    assert again.close() == ([*jobs[:3], *jobs[5:]], [])
    assert [record.getMessage() for record in caplog.records if "stay there" in record.getMessage()] == [
        f"input/output error (section {id}): 1 jobs stay there" for id in (4, 5)
    ]
    assert len(sections_in(path)) == 10


def test_without_memory_a_batch_is_refused(tmp_path: Path) -> None:
    """For its copy, in the server's thread: what is bound to it is lost too, and the server goes on."""
    path = tmp_path / "jobs.db"
    machine = Machine(path)
    machine.back()
    server = machine.dispatcher
    told: list[tuple[str, bytes | None]] = []
    machine.journal.on_lost = lambda key, value: told.append((key, value))

    class Short:
        """A dispatcher without memory for a copy of its batch."""

        def __getattr__(self, name: str) -> object:
            return getattr(server, name)

        def take_batch(self) -> Batch | None:
            assert server.take_batch() is not None
            raise MemoryError

    server.receive(machine.peer, encode(Command.SUBMIT_JOB_BG, b"f", b"", b"in vain"))
    machine.journal.note("fired", b"1", bound=True)
    machine.journal.note("other", b"1")
    machine.journal._dispatcher = Short()  # type: ignore[assignment]
    machine.journal.take()
    machine.journal._dispatcher = server
    machine.run(lambda: bool(told) and not server.committing)
    assert server.take_output(machine.peer) == encode(Command.ERROR, b"QUEUE_ERROR", b"The job could not be stored")
    assert told == [("fired", None)]
    machine.submit(1)
    assert machine.close() == (names(0), [])
    assert notes_in(path) == {"other": b"1"}


def test_a_store_without_memory_for_a_batch_has_failed(tmp_path: Path) -> None:
    class Short(Faulty):
        failures = 1

        def write(self, write: Write) -> None:
            if self.failures and write.add:
                self.failures -= 1
                raise MemoryError
            super().write(write)

    path = tmp_path / "jobs.db"
    machine = Machine(path, store=Short)
    machine.submit(2)
    assert machine.close() == (names(0, 1), [])


def test_losses_of_a_job_that_ends_while_the_store_fails_are_forgotten(tmp_path: Path) -> None:
    """The store is told once it is there again, not only by the write that failed."""

    class Once(Faulty):
        failures = 0

        def write(self, write: Write) -> None:
            if self.failures:
                self.failures -= 1
                raise StoreError("the disk is away")
            super().write(write)

    path = tmp_path / "jobs.db"
    machine = Machine(path, store=Once)
    machine.back()
    machine.submit(2)
    machine.fail()
    worker = machine.dispatcher.connect()
    machine.dispatcher.receive(worker, encode(Command.CAN_DO, b"f") + encode(Command.GRAB_JOB))
    (number,) = (job["number"] for job in machine.dispatcher.jobs() if job["running"])
    assert isinstance(machine.store, Once)
    machine.store.failures = 1
    machine.dispatcher.receive(worker, encode(Command.WORK_COMPLETE, b"H:%d" % number, b""))
    machine.commit()
    (left,) = machine.dispatcher.jobs()
    machine.journal.close()
    store = SqliteStore(path)
    assert store.open().losses == {left["number"]: 1}
    store.close()


def test_ends_that_are_told_twice_count_once(tmp_path: Path) -> None:
    """The write that failed had been done: its ends, which go with the next one again, take no other job along."""
    path = tmp_path / "jobs.db"
    machine = Machine(path)
    server = machine.dispatcher
    server.receive(machine.peer, b"".join(encode(Command.SUBMIT_JOB_BG, b"f", b"", b"%d" % n) for n in range(3)))
    machine.commit()
    worker = server.connect()
    server.receive(worker, encode(Command.CAN_DO, b"f") + encode(Command.GRAB_JOB) * 2)
    first, second = (b"H:%d" % job["number"] for job in server.jobs() if job["running"])
    machine.store.away = machine.store.lies = True
    server.receive(worker, encode(Command.WORK_COMPLETE, first, b""))
    machine.journal.take()
    machine.run(lambda: bool(server.refusing))
    machine.store.away = machine.store.lies = False
    machine.run(lambda: not server.refusing and machine.journal.is_idle)
    server.receive(worker, encode(Command.WORK_COMPLETE, second, b""))
    assert machine.close() == (names(2), [])
    again = Machine(path)
    again.back()
    assert again.close() == (names(2), [])


@pytest.mark.parametrize("dropped", [False, True], ids=["it stays", "it goes meanwhile"])
def test_what_a_refused_batch_tells_of_earlier_jobs_stays(tmp_path: Path, dropped: bool) -> None:
    """A dead letter in it is that of a job that was acknowledged: it does not go with the jobs that were refused."""
    path = tmp_path / "jobs.db"
    machine = Machine(path)
    server = machine.dispatcher
    server.receive(machine.peer, encode(Command.SUBMIT_JOB_BG, b"f", b"", b"0") * 2)
    machine.commit()
    worker = server.connect()
    server.receive(worker, encode(Command.CAN_DO, b"f") + encode(Command.GRAB_JOB))
    (number,) = (job["number"] for job in server.jobs() if job["running"])
    machine.store.away = machine.store.lies = True
    server.receive(worker, encode(Command.WORK_FAIL, b"H:%d" % number))
    server.receive(machine.peer, encode(Command.SUBMIT_JOB_BG, b"f", b"", b"1"))
    machine.journal.take()
    machine.run(lambda: bool(server.refusing))
    if dropped:
        server.receive(machine.peer, b"dead drop *\n")
    machine.store.away = machine.store.lies = False
    machine.run(lambda: not server.refusing and machine.journal.is_idle)
    dead = [] if dropped else names(0)
    assert machine.close() == (names(0), dead)
    again = Machine(path)
    again.back()
    assert again.close() == (names(0), dead)


def names(*numbers: int) -> list[bytes]:
    return [b"%d" % number for number in numbers]


def test_a_dead_letter_beside_jobs_of_its_first_section(tmp_path: Path) -> None:
    """Its section is the only one of late jobs alone, and is read with the one in which it has ended."""
    path = tmp_path / "jobs.db"
    machine = Machine(path)
    machine.dispatcher.receive(
        machine.peer, b"".join(encode(Command.SUBMIT_JOB_BG, b"f", b"", b"%d" % n) for n in range(4))
    )
    machine.commit()
    machine.fail(1)
    machine.submit(0)
    assert machine.close() == (names(0, 2, 3), names(1))
    again = Machine(path)
    again.back()
    assert again.say(b"dead requeue *\n") == b"OK 1\r\n"
    again.fail(0)
    assert again.close() == (names(1, 2, 3), names(0))
    third = Machine(path)
    third.back()
    assert third.say(b"dead drop *\n") == b"OK 1\r\n"
    assert third.close() == (names(1, 2, 3), [])
    last = Machine(path)
    last.back()
    assert last.close() == (names(1, 2, 3), [])


def test_sections_with_dead_letters_are_joined(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    machine = Machine(path)
    machine.submit(JOBS)
    for place in range(0, 40, 2):
        machine.fail(place)
    jobs, dead = machine.close()
    assert (len(jobs), len(dead)) == (JOBS - 20, 20)
    assert len(sections_in(path)) < JOBS // 2
    again = Machine(path)
    again.back()
    assert again.say(b"dead requeue *\n") == b"OK 20\r\n"
    again.submit(100)
    again.fail(3, 299)
    found = again.close()
    assert (len(found[0]), len(found[1])) == (JOBS + 98, 2)
    last = Machine(path)
    last.back()
    assert last.close() == found


def test_a_dead_letter_of_a_section_that_is_damaged_later(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is dropped, and nothing is noted where its job was before: the jobs there stay."""
    path = tmp_path / "jobs.db"
    machine = Machine(path, rotten=[2])
    machine.dispatcher.receive(machine.peer, encode(Command.SUBMIT_JOB_BG, b"f", b"", b"0") * 2)
    machine.commit()
    machine.fail(0)
    machine.submit(JOBS)
    assert "section 2 is damaged: 1 jobs stay there" in caplog.text
    assert machine.say(b"dead drop *\n") == b"OK 1\r\n"
    machine.close()
    again = Machine(path, rotten=[2])
    again.back()
    assert len(again.close()[0]) == JOBS + 1

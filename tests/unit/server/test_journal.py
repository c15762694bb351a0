# SPDX-License-Identifier: BSD-3-Clause
"""The journal's thread beside a store that finds damage, or is away."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest

from gearfast._codec import encode
from gearfast.dispatch import Dispatcher
from gearfast.protocol import Command
from gearfast.server.journal import Journal
from gearfast.store.base import Contents, SectionDamaged, StoreError, Write
from gearfast.store.sqlite import SqliteStore

JOBS = 300
LIMIT = 30.0


class Faulty(SqliteStore):
    """Sections in `rotten` cannot be read; while it is `away` nothing can be done.

    If it `lies` too, writes are done, and said to have failed.
    """

    rotten: frozenset[int] = frozenset()
    away = False
    lies = False

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
        for id in ids:
            if id in self.rotten:
                raise SectionDamaged(f"section {id} is damaged", id)
        return super().read(ids)


class Machine:
    """A dispatcher and its journal; `run` does what the journal's thread posts, until there is nothing more to come."""

    def __init__(self, path: Path, rotten: Iterable[int] = ()) -> None:
        self.store = Faulty(path)
        self.store.rotten = frozenset(rotten)
        self.calls: SimpleQueue[tuple[Callable[..., object], tuple[Any, ...]]] = SimpleQueue()
        self.journal = Journal(self.store, patience=0.01)
        self.dispatcher = Dispatcher(first_handle=self.journal.first_number)
        self.dispatcher.tick(1, 1)
        self.journal.start(self.dispatcher, lambda call, *values: self.calls.put((call, values)))
        self.peer = self.dispatcher.connect()

    def run(self, done: Callable[[], bool]) -> None:
        while not done():
            call, values = self.calls.get(timeout=LIMIT)
            call(*values)

    def submit(self, count: int) -> None:
        """Jobs, each in a batch of its own."""
        for n in range(count):
            self.dispatcher.receive(self.peer, encode(Command.SUBMIT_JOB_BG, b"f", b"", b"%d" % n))
            self.journal.take()
            self.run(lambda: self.journal.is_idle)


def test_a_section_that_is_damaged_is_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Those around it are joined all the same, and its job, which is in memory, is there."""
    caplog.set_level(logging.ERROR, "gearfast")
    machine = Machine(tmp_path / "jobs.db", rotten=[5])
    machine.submit(JOBS)
    machine.journal.close()
    assert machine.dispatcher.job_count == JOBS
    assert [record.getMessage() for record in caplog.records] == ["section 5 is damaged: 1 jobs stay there"]
    sections = SqliteStore(tmp_path / "jobs.db").open().sections
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
    assert len(SqliteStore(tmp_path / "jobs.db").open().sections) == 10


def test_submissions_do_not_wait_for_a_store_that_is_away_behind_the_end_of_a_job(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "jobs.db")
    machine.submit(1)
    server, worker = machine.dispatcher, machine.peer
    server.receive(worker, encode(Command.CAN_DO, b"f") + encode(Command.GRAB_JOB))
    (job,) = server.jobs()
    machine.store.away = True
    server.receive(worker, encode(Command.WORK_COMPLETE, b"%s:%d" % (b"H:local", job["number"]), b""))
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
    assert SqliteStore(tmp_path / "jobs.db").open().sections == []


def test_jobs_that_were_refused_do_not_come_back(tmp_path: Path) -> None:
    """The write that failed had been done: whoever was told that it was not must not find it done some day."""
    machine = Machine(tmp_path / "jobs.db")
    machine.submit(1)
    machine.store.away = machine.store.lies = True
    machine.dispatcher.receive(machine.peer, encode(Command.SUBMIT_JOB_BG, b"f", b"", b"refused"))
    machine.journal.take()
    machine.run(lambda: bool(machine.dispatcher.refusing))
    store = SqliteStore(tmp_path / "jobs.db")
    machine.store.close()
    assert len(store.open().sections) == 2
    store.close()
    machine.store.away = machine.store.lies = False
    machine.run(lambda: not machine.dispatcher.refusing)
    machine.journal.close()
    assert [info.count for info in SqliteStore(tmp_path / "jobs.db").open().sections] == [1]

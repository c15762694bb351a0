# SPDX-License-Identifier: BSD-3-Clause
"""The power of a server's machine goes, at many moments of one run under load; what a client was told is there.

One server with a store works for clients and a worker while everything that it does to its disk is noted. Then, for
each of many moments, the disk is made as it may have been had the power gone just then, and a new server is started
on it: every job that was acknowledged and not yet begun is there, none of which the end was stored is, and each has
the workload that it was given.
"""

from __future__ import annotations

import random
import shutil
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import gearfast
from gearfast.protocol import Command

from ..server_tools import ServerProcess, Wire, eventually, take_all, wait_for_restore
from .disk import Kind, Note, build_recorder, cut, read_notes

SEED = 1
JOBS = 400
MOMENTS = 30
FUNCTION = b"kept"


@dataclass
class History:
    """When clients and the worker learnt what, by workload: seconds of `time.monotonic()`."""

    sent: dict[bytes, float] = field(default_factory=dict)
    acknowledged: dict[bytes, float] = field(default_factory=dict)
    begun: dict[bytes, float] = field(default_factory=dict)
    end_stored: dict[bytes, float] = field(default_factory=dict)

    def must_be_there(self, moment: float) -> set[bytes]:
        """Acknowledged, and no worker had it yet."""
        never = float("inf")
        return {job for job, when in self.acknowledged.items() if when < moment < self.begun.get(job, never)}

    def may_be_there(self, moment: float) -> set[bytes]:
        """Sent, and the worker had not been told that its end is stored."""
        never = float("inf")
        return {job for job, when in self.sent.items() if when < moment < self.end_stored.get(job, never)}


def workloads(rng: random.Random) -> list[bytes]:
    """Of many sizes, so that the write-ahead log is full now and then and goes into the file."""
    return [b"%d " % n + rng.randbytes(rng.choice((0, 20, 20, 900, 9_000, 60_000))) for n in range(JOBS)]


def submit(address: tuple[str, int], jobs: list[bytes], history: History, rng: random.Random) -> None:
    with Wire(address) as wire:
        while jobs:
            burst = [jobs.pop(0) for _ in range(min(len(jobs), rng.choice((1, 1, 3, 8))))]
            for job in burst:
                history.sent[job] = time.monotonic()
                wire.send(Command.SUBMIT_JOB_BG, FUNCTION, b"", job)
            for job in burst:
                wire.packet(Command.JOB_CREATED)
                history.acknowledged[job] = time.monotonic()


def work(address: tuple[str, int], history: History, stop: threading.Event) -> None:
    """Does jobs, a bit more slowly than they come."""
    with Wire(address) as wire:
        wire.send(Command.CAN_DO, FUNCTION)
        while not stop.is_set():
            wire.send(Command.GRAB_JOB)
            asked = time.monotonic()
            got = wire.get()
            if isinstance(got, bytes) or got.command != Command.JOB_ASSIGN:
                stop.wait(0.002)
                continue
            handle, _, job = got.args
            history.begun[job] = asked
            wire.send(Command.WORK_COMPLETE, handle, b"")
            wire.send(Command.ECHO_REQ, b"")
            wire.packet(Command.ECHO_RES)
            history.end_stored[job] = time.monotonic()


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory, require: Any) -> tuple[History, list[Note]]:
    """One run: what was told to whom when, and what was done to the disk when."""
    folder = tmp_path_factory.mktemp("power")
    disk = folder / "disk"
    disk.mkdir()
    library = build_recorder(folder, require.program("gcc", "gcc"))
    environ = {"LD_PRELOAD": str(library), "POWER_FOLDER": str(disk), "POWER_LOG": str(folder / "notes")}
    history, stop, rng = History(), threading.Event(), random.Random(SEED)
    jobs = workloads(rng)
    with ServerProcess("--store", str(disk / "jobs.db"), environ=environ) as server:
        worker = threading.Thread(target=work, args=(server.address, history, stop))
        clients = [
            threading.Thread(target=submit, args=(server.address, jobs[n::2], history, random.Random(n)))
            for n in range(2)
        ]
        for thread in (worker, *clients):
            thread.start()
        for thread in clients:
            thread.join()
        eventually(lambda: len(history.end_stored) > JOBS // 2, "half of the jobs are done")
        stop.set()
        worker.join()
        server.signal("SIGKILL")
        server.wait()
    assert len(history.acknowledged) == JOBS
    return history, read_notes(folder / "notes")


def there(folder: Path) -> Counter[bytes]:
    """The jobs that a server finds."""
    with gearfast.Server(store=str(folder / "jobs.db")) as server, Wire((server.host, server.port)) as wire:
        wait_for_restore(wire)
        return Counter(take_all(wire, FUNCTION, finish=False))


def test_the_notes_are_whole(recording: tuple[History, list[Note]]) -> None:
    """The recorder saw what SQLite did: else cutting the disk would prove nothing."""
    history, notes = recording
    kinds = Counter((note.kind, note.path.name) for note in notes)
    assert kinds[Kind.CREATE, "jobs.db"] == kinds[Kind.CREATE, "jobs.db-wal"] == 1
    assert kinds[Kind.SYNC, "jobs.db-wal"] > 50
    assert kinds[Kind.SYNC, "jobs.db"] > 1
    assert kinds[Kind.WRITE, "jobs.db"] > 50
    waiting = [len(history.must_be_there(note.time)) for note in notes]
    assert sum(waiting) > 20 * len(notes)


@pytest.mark.parametrize("nth", range(MOMENTS))
def test_what_was_promised_is_there(recording: tuple[History, list[Note]], tmp_path: Path, nth: int) -> None:
    history, notes = recording
    rng = random.Random(SEED * 1000 + nth)
    first = next(n for n, note in enumerate(notes) if note.time > min(history.sent.values()))
    end = rng.randrange(first, len(notes))
    # Those who watch note what they learn a little after it is so: what was learnt before the next note counts.
    moment = notes[end].time
    cut(notes[:end], tmp_path, rng)
    found = there(tmp_path)
    assert max(found.values(), default=1) == 1
    assert history.must_be_there(moment) - found.keys() == set()
    assert found.keys() - history.may_be_there(moment) == set()


def test_without_syncs_jobs_are_lost(recording: tuple[History, list[Note]], tmp_path: Path) -> None:
    """The proof can fail: on a disk that keeps nothing of what it is given, it does."""
    history, notes = recording
    unsynced = [note for note in notes if note.kind is not Kind.SYNC]
    moment = notes[-1].time
    for nth in range(8):
        folder = tmp_path / str(nth)
        folder.mkdir()
        cut(unsynced, folder, random.Random(nth))
        try:
            found = there(folder)
        except gearfast.UsageError:  # not even a database
            break
        if history.must_be_there(moment) - found.keys():
            break
        shutil.rmtree(folder)
    else:
        pytest.fail("nothing was lost")

# SPDX-License-Identifier: BSD-3-Clause
"""A store whose file the disk has spoilt: nothing wrong is served, what is whole is, and the log names the rest."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from gearfast.protocol import Command

from .server_tools import DRIVERS, LIMIT, ServerProcess, Wire, take_all, wait_for_restore

FRAME = 24 + 4096
"""Bytes of a page in the write-ahead log, with its head."""
HEAD = 32
"""Of the log."""


def submit(wire: Wire, *workloads: bytes) -> None:
    """Background jobs, each in a batch of its own."""
    for workload in workloads:
        wire.send(Command.SUBMIT_JOB_BG, b"f", b"", workload)
        wire.packet(Command.JOB_CREATED)


def do_all(wire: Wire) -> list[bytes]:
    """Workloads of all jobs that came back, done."""
    wait_for_restore(wire)
    return take_all(wire, b"f", finish=True)


def end_of(log: Path) -> int:
    """Where the last page that was written ends; behind it are zeros."""
    written = len(log.read_bytes().rstrip(b"\0"))
    return HEAD + -(-(written - HEAD) // FRAME) * FRAME


def spoil(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 0xFF
    path.write_bytes(data)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "jobs.db"


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_damaged_job_is_not_served_and_stays(store: Path, driver: str) -> None:
    flags = ("--driver", driver, "--store", str(store))
    with ServerProcess(*flags) as server, server.connect() as client:
        submit(client, b"one" * 500, b"spoilt" * 500, b"three" * 500)
        server.signal("SIGTERM")
        assert server.wait() == 0
    spoil(store, store.read_bytes().index(b"spoilt") + 700)
    for _ in range(2):
        with ServerProcess(*flags) as server, server.connect() as wire:
            server.wait_line(r"section \d+ is damaged: 1 jobs stay there")
            assert do_all(wire) == [b"one" * 500, b"three" * 500]
            submit(wire, b"one" * 500, b"three" * 500)
            server.signal("SIGTERM")
            assert server.wait() == 0
    assert b"spoilt" in store.read_bytes()


@pytest.mark.parametrize("where", [FRAME - 100, FRAME - 10, 1])
def test_the_last_page_of_the_log_is_damaged(store: Path, where: int) -> None:
    """SQLite finds it by its checksum: the last commit is gone, those before it are there."""
    jobs = [b"%d" % n for n in range(20)]
    with ServerProcess("--store", str(store)) as server, server.connect() as client:
        submit(client, *jobs)
        server.signal("SIGKILL")
        server.wait()
    log = store.with_name("jobs.db-wal")
    spoil(log, end_of(log) - where)
    with ServerProcess("--store", str(store)) as server, server.connect() as wire:
        assert do_all(wire) == jobs[:-1]
        submit(wire, b"next")
        assert do_all(wire) == [b"next"]


def test_the_log_ends_in_the_middle_of_a_page(store: Path) -> None:
    jobs = [b"%d" % n for n in range(20)]
    with ServerProcess("--store", str(store)) as server, server.connect() as client:
        submit(client, *jobs)
        server.signal("SIGKILL")
        server.wait()
    log = store.with_name("jobs.db-wal")
    log.write_bytes(log.read_bytes()[: end_of(log) - FRAME // 2])
    with ServerProcess("--store", str(store)) as server, server.connect() as wire:
        assert do_all(wire) == jobs[:-1]


@pytest.mark.parametrize("what", ["head", "table"])
def test_a_file_that_sqlite_cannot_read_is_refused_and_left_as_it_is(store: Path, what: str) -> None:
    with ServerProcess("--store", str(store)) as server, server.connect() as client:
        submit(client, *(b"%d" % n + bytes(300) for n in range(100)))
        server.signal("SIGTERM")
        server.wait()
    if what == "head":
        spoil(store, 3)
    else:
        # All pages but the first: whatever the tables' roots are, they are none.
        data = store.read_bytes()
        store.write_bytes(data[:4096] + bytes([0xEE]) * (len(data) - 4096))
    before = store.read_bytes()
    command = [sys.executable, "-m", "gearfast", "server", "--port", "0", "--store", str(store)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT)
    assert done.returncode == 2
    assert "jobs.db: " in done.stderr
    assert ("not a database" if what == "head" else "malformed") in done.stderr
    assert "Traceback" not in done.stderr
    assert store.read_bytes() == before

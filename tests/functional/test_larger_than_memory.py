# SPDX-License-Identifier: BSD-3-Clause
"""`gearfast server --store --store-memory`: a queue that is larger than memory, killed in the middle, done in order."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import gearfast
from gearfast.bench.ceiling import Watch
from gearfast.protocol import Command

from .server_tools import DRIVERS, ServerProcess, Wire, wait_for_restore

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")

CEILING = 8 << 20
SIZE = 1024
IN_FLIGHT = 500
UNTAKEN = 2_000
"""Jobs that a worker leaves to the other server."""
MARGIN = 24 << 20
"""Bytes that a server may take for other things than queued jobs: what is under way, SQLite's, the allocator's."""


def submit(wire: Wire, first: int, end: int) -> None:
    for begin in range(first, end, IN_FLIGHT):
        for n in range(begin, min(begin + IN_FLIGHT, end)):
            wire.send(Command.SUBMIT_JOB_BG, b"f", b"u%d" % n, b"%d" % n + bytes(SIZE))
        for _ in range(begin, min(begin + IN_FLIGHT, end)):
            wire.packet(Command.JOB_CREATED)


def do(wire: Wire, count: int) -> list[int]:
    """Places of the next jobs, done, in the order in which a worker gets them."""
    wire.can_do(b"f")
    found = []
    for _ in range(count):
        handle, workload = wire.grab()
        wire.complete(handle)
        found.append(int(workload.rstrip(b"\0")))
    wire.echo()  # answered once their ends are stored
    return found


@pytest.mark.parametrize(("driver", "count"), list(zip(DRIVERS, (100_000, 20_000), strict=False)))
def test_killed_in_the_middle_and_done_in_order(driver: str, count: int, tmp_path: Path) -> None:
    flags = ("--driver", driver, "--store", str(tmp_path / "jobs.db"), "--store-memory", "8M")
    with ServerProcess(*flags) as server, server.connect() as wire:
        watch = Watch(server.process)
        before = watch.look()
        submit(wire, 0, count)
        assert do(wire, UNTAKEN) == list(range(UNTAKEN))
        grown = watch.end() - before
        assert grown < CEILING + MARGIN, f"{grown >> 20} MiB more for jobs of {count * SIZE >> 20} MiB"
        assert "stay in the store" in server.log
        server.signal("SIGKILL")
        server.wait()
    with ServerProcess(*flags) as server, server.connect() as wire:
        watch = Watch(server.process)
        wait_for_restore(wire)
        assert do(wire, count - UNTAKEN) == list(range(UNTAKEN, count))
        grown = watch.end() - before
        assert grown < CEILING + MARGIN, f"{grown >> 20} MiB more for jobs of {count * SIZE >> 20} MiB"
        assert wire.lines("status") == [b"f\t0\t0\t1"]


def test_an_embedded_server(tmp_path: Path) -> None:
    """Its jobs tell which workloads are in the store alone by having none."""
    with (
        gearfast.Server(store=str(tmp_path / "jobs.db"), store_memory=100_000) as server,
        gearfast.Client(server.url) as client,
    ):
        for n in range(300):
            client.submit("f", b"%03d" % n + bytes(SIZE), background=True)
        workloads = [job.workload for job in server.jobs()]
        assert workloads.count(b"") > 200
        done: list[int] = []
        worker = gearfast.Worker(server.url)

        def note(job: gearfast.Job) -> bytes:
            done.append(int(job.data[:3]))
            if len(done) == len(workloads):
                worker.stop()
            return b""

        worker.register("f", note)
        worker.run()
        assert done == list(range(300))

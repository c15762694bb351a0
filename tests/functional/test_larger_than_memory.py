# SPDX-License-Identifier: BSD-3-Clause
"""`gearfast server --store --store-memory`: a queue that is larger than memory, killed in the middle, done in order."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import gearfast
from gearfast._codec import encode
from gearfast.bench.ceiling import SIZE, Watch, do, submit
from gearfast.bench.durable import Link
from gearfast.protocol import Command

from .server_tools import DRIVERS, ServerProcess, eventually, wait_for_restore

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")

CEILING = 8 << 20
IN_FLIGHT = 500
FIRST = 2_000
"""Jobs that are done before the server is killed."""
MARGIN = 24 << 20
"""Bytes that a server may take for other things than queued jobs: what is under way, SQLite's, the allocator's."""


@contextlib.contextmanager
def linked(server: ServerProcess) -> Iterator[Link]:
    host, port = server.address
    link = Link(f"{host}:{port}")
    with contextlib.closing(link.sock):
        yield link


@pytest.mark.parametrize(("driver", "count"), list(zip(DRIVERS, (100_000, 20_000), strict=False)))
def test_killed_in_the_middle_and_done_in_order(driver: str, count: int, tmp_path: Path) -> None:
    """A worker has done some, and has some more, when the server is killed."""
    flags = ("--driver", driver, "--store", str(tmp_path / "jobs.db"), "--store-memory", "8M")
    with ServerProcess(*flags) as server:
        watch = Watch(server.process)
        before = watch.look()
        with linked(server) as link:
            submit(link, 0, count, IN_FLIGHT)
            do(link, 0, FIRST)
            link.sock.sendall(encode(Command.ECHO_REQ, b""))
            while link.read().command != Command.ECHO_RES:  # answered once their ends are stored
                pass
        grown = watch.end() - before
        assert grown < CEILING + MARGIN, f"{grown >> 20} MiB more for jobs of {count * SIZE >> 20} MiB"
        assert "stay in the store" in server.log
        server.signal("SIGKILL")
        server.wait()
    with ServerProcess(*flags) as server, server.connect() as wire:
        watch = Watch(server.process)
        with linked(server) as link:
            do(link, FIRST, count)
            link.sock.sendall(encode(Command.ECHO_REQ, b""))
            while link.read().command != Command.ECHO_RES:
                pass
        grown = watch.end() - before
        assert grown < CEILING + MARGIN, f"{grown >> 20} MiB more for jobs of {count * SIZE >> 20} MiB"
        wait_for_restore(wire)
        eventually(lambda: wire.lines("status") == [b"durable\t0\t0\t0"], "all jobs are done")


def test_an_embedded_server(tmp_path: Path) -> None:
    """Its jobs tell which workloads are in the store alone by having none."""
    with (
        gearfast.Server(store=str(tmp_path / "jobs.db"), store_memory=100_000) as server,
        gearfast.Client(server.url) as client,
    ):
        for n in range(300):
            client.submit_background("f", b"%03d" % n + bytes(SIZE))
        workloads = [job.workload for job in server.jobs()]
        assert workloads.count(b"") > 200
        done: list[int] = []
        worker = gearfast.Worker(server.url)

        def note(job: gearfast.Job) -> bytes:
            done.append(int(job.workload[:3]))
            if len(done) == len(workloads):
                worker.stop()
            return b""

        worker.register("f", note)
        worker.run()
        assert done == list(range(300))

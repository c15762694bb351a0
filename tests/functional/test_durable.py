# SPDX-License-Identifier: BSD-3-Clause
"""`gearfast server --store`: background jobs outlive the server, whatever ends it; a store that fails loses none."""

from __future__ import annotations

import asyncio
import resource
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import gearfast
from gearfast.protocol import Command
from gearfast.server.config import ConfigError
from tests.chaos.kills import run_kills

from .server_tools import DRIVERS, LIMIT, ServerProcess, Wire, eventually, take_all

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")

Start = Callable[..., ServerProcess]


@pytest.fixture(params=DRIVERS)
def start(request: pytest.FixtureRequest, tmp_path: Path) -> Start:
    """Starts server processes with the driver of this run on one store; use them as context managers."""

    def new(*flags: str, **more: object) -> ServerProcess:
        flags = ("--driver", request.param, "--store", str(tmp_path / "jobs.db"), *flags)
        return ServerProcess(*flags, **more)  # type: ignore[arg-type]

    return new


def submit(wire: Wire, count: int, function: bytes = b"f", size: int = 0, first: int = 0) -> list[bytes]:
    """Handles of background jobs whose workloads are their places, all in flight at once."""
    for n in range(first, first + count):
        wire.send(Command.SUBMIT_JOB_BG, function, b"", b"%d" % n + bytes(size))
    return [wire.packet(Command.JOB_CREATED).args[0] for _ in range(count)]


def total(wire: Wire, function: bytes = b"f") -> int:
    """Jobs of a function that are here."""
    rows = [line.split(b"\t") for line in wire.lines("status")]
    return sum(int(row[1]) for row in rows if row[0] == function)


def do_all(wire: Wire, count: int, function: bytes = b"f") -> list[bytes]:
    """Workloads of all jobs of a function, once so many are back, done in their order; the store knows of it."""
    eventually(lambda: total(wire, function) >= count, f"{count} jobs are back")
    done = [workload.rstrip(b"\0") for workload in take_all(wire, function, finish=True)]
    wire.send(Command.ECHO_REQ, b"")
    wire.packet(Command.ECHO_RES)
    return done


def places(first: int, end: int) -> list[bytes]:
    return [b"%d" % n for n in range(first, end)]


@pytest.mark.parametrize("signal", ["SIGKILL", "SIGTERM"])
def test_jobs_outlive_the_server(start: Start, signal: str) -> None:
    with start() as server, server.connect() as client:
        handles = submit(client, 300, size=700)
        server.signal(signal)
        server.wait()
        assert "lost" not in server.log
    with start() as server, server.connect() as wire:
        wire.send(Command.GET_STATUS, handles[7])
        assert wire.packet(Command.STATUS_RES).args[:3] == (handles[7], b"1", b"0")
        assert do_all(wire, 300) == places(0, 300)
        new = submit(wire, 3, b"g")
        assert not set(new) & set(handles)
        server.signal("SIGKILL")
        server.wait()
    with start() as server, server.connect() as wire:
        assert len(do_all(wire, 3, b"g")) == 3
        assert total(wire) == 0


def test_a_foreground_job_is_lost_and_counted(start: Start) -> None:
    with start() as server, server.connect() as client:
        client.send(Command.SUBMIT_JOB, b"f", b"", b"x")
        client.packet(Command.JOB_CREATED)
        submit(client, 2)
        server.signal("SIGTERM")
        assert server.wait() == 0
        assert "1 jobs were in memory only and are lost" in server.log


def test_a_job_that_ran_when_the_server_died_is_done_again(start: Start) -> None:
    with start() as server, server.connect() as client, server.connect() as worker:
        submit(client, 1)
        worker.send(Command.CAN_DO, b"f")
        worker.send(Command.GRAB_JOB)
        worker.packet(Command.JOB_ASSIGN)
        server.signal("SIGKILL")
        server.wait()
    with start() as server, server.connect() as wire:
        assert do_all(wire, 1) == [b"0"]


def test_relaxed_acknowledges_at_once(start: Start) -> None:
    with start("--durability", "relaxed") as server, server.connect() as client:
        submit(client, 50)
        server.signal("SIGTERM")
        assert server.wait() == 0
    with start() as server, server.connect() as wire:
        assert do_all(wire, 50) == places(0, 50)


def half_a_year_away() -> tuple[bytes, bytes]:
    """A day and month, as SUBMIT_JOB_SCHED has them, that are half a year away."""
    later = datetime.now(UTC) + timedelta(days=182)
    return b"%d" % min(later.day, 28), b"%d" % later.month


def test_delayed_jobs_and_uniques_outlive_it(start: Start) -> None:
    with start() as server, server.connect() as client:
        client.send(Command.SUBMIT_JOB_BG, b"f", b"u", b"x")
        client.send(Command.SUBMIT_JOB_EPOCH, b"f", b"", b"4102444800", b"in 2100")
        handle = client.packet(Command.JOB_CREATED).args[0]
        client.packet(Command.JOB_CREATED)
        client.send(Command.SUBMIT_JOB_SCHED, b"f", b"", b"0", b"0", *half_a_year_away(), b"*", b"in half a year")
        client.packet(Command.JOB_CREATED)
        server.signal("SIGKILL")
        server.wait()
    with start() as server, server.connect() as client:
        client.send(Command.SUBMIT_JOB_BG, b"f", b"u", b"x")
        assert client.packet(Command.JOB_CREATED).args[0] == handle
        assert client.lines("status") == [b"f\t3\t0\t0"]
        assert do_all(client, 3) == [b"x"]


def test_a_large_job_and_a_result_behind_its_reply(start: Start) -> None:
    large = bytes(range(256)) * 8192
    with start() as server, server.connect() as client:
        client.send(Command.SUBMIT_JOB_BG, b"f", b"", large)
        client.packet(Command.JOB_CREATED)
        server.signal("SIGKILL")
        server.wait()
    with start() as server, server.connect() as worker:
        assert eventually(lambda: total(worker) == 1)
        worker.send(Command.CAN_DO, b"f")
        worker.send(Command.GRAB_JOB)
        assert worker.packet(Command.JOB_ASSIGN).args[2] == large


def test_a_full_store_refuses_jobs_until_there_is_room(start: Start) -> None:
    """The file may not grow any more: what is acknowledged is kept, the rest is refused, and all else goes on."""
    with start("--store-patience", "0.2") as server, server.connect() as client:
        submit(client, 10)
        kept = 10
        pid = server.process.pid
        hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)[1]
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (1, hard))
        client.send(Command.SUBMIT_JOB_BG, b"f", b"", b"refused")
        refusal = client.packet(Command.ERROR)
        assert refusal.args == (b"QUEUE_ERROR", b"The job could not be stored")
        client.send(Command.SUBMIT_JOB, b"other", b"", b"in the foreground")
        client.packet(Command.JOB_CREATED)
        server.wait_line("The store stays away, durable jobs are refused")
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))

        def accepted() -> bool:
            client.send(Command.SUBMIT_JOB_BG, b"f", b"", b"%d" % kept)
            got = client.get()
            return not isinstance(got, bytes) and got.command == Command.JOB_CREATED

        eventually(accepted)
        server.wait_line("The store is back")
        server.signal("SIGKILL")
        server.wait()
    with start() as server, server.connect() as wire:
        assert do_all(wire, kept + 1) == places(0, kept + 1)


def test_a_store_in_use_is_refused(start: Start, tmp_path: Path) -> None:
    with start() as server, server.connect() as client:
        submit(client, 1)
        command = [sys.executable, "-m", "gearfast", "server", "--port", "0", "--store", str(tmp_path / "jobs.db")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT)
        assert done.returncode == 2
        assert "store: " in done.stderr
        assert "locked" in done.stderr
        submit(client, 1)


@pytest.mark.parametrize("seed", [1, 2])
def test_kills(tmp_path: Path, seed: int) -> None:
    ledger, about = run_kills(tmp_path, 5, seed, str(tmp_path / "jobs.db"))
    assert not ledger.faults, "\n".join([about, *ledger.faults])
    assert len(ledger.acknowledged) > 50
    assert ledger.reported


def test_embedded_in_a_thread(tmp_path: Path) -> None:
    store = str(tmp_path / "jobs.db")
    with gearfast.Server(store=store) as server, gearfast.Client(server.url) as client:
        for n in range(20):
            client.submit_background("f", b"%d" % n)
    with gearfast.Server(store=store) as server, Wire((server.host, server.port)) as wire:
        assert do_all(wire, 20) == places(0, 20)


@pytest.mark.parametrize("driver", DRIVERS)
def test_embedded_in_a_loop(tmp_path: Path, driver: str) -> None:
    store = str(tmp_path / "jobs.db")

    async def run() -> int:
        async with (
            gearfast.Server(store=store, driver=driver) as server,
            gearfast.AsyncClient(server.url) as client,
        ):
            before = len(server.jobs())
            await asyncio.gather(*(client.submit_background("f", b"x") for _ in range(20)))
            return before

    assert asyncio.run(run()) == 0
    with gearfast.Server(store=store) as server, Wire((server.host, server.port)) as wire:
        assert len(do_all(wire, 20)) == 20


def test_a_store_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"store: .*no/jobs\.db: unable to open"):
        gearfast.Server(store=str(tmp_path / "no" / "jobs.db")).start()

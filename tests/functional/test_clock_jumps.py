# SPDX-License-Identifier: BSD-3-Clause
"""The wall clock is set while a server runs: what is due by it comes at once, and no time-out notices."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gearfast.protocol import Command

from .preloaded import CLOCK, Clock, build
from .server_tools import DRIVERS, ServerProcess, Wire, eventually

HOUR = 3600

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux (a preloaded clock)")


PROGRAM = """
import asyncio, sys, gearfast

async def main():
    async with gearfast.Server() as server:
        print(server.port, flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def library(require: Callable[[object, str], None], tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = require.program("gcc", "gcc")  # type: ignore[attr-defined]
    return build(compiler, CLOCK, tmp_path_factory.mktemp("clock"))


@pytest.fixture
def clock(library: Path, tmp_path: Path) -> Clock:
    return Clock(library, tmp_path / "offset")


def submit_later(client: Wire, function: bytes, seconds: int) -> bytes:
    due = int(time.time()) + seconds
    client.send(Command.SUBMIT_JOB_EPOCH, function, b"", b"%d" % due, b"later")
    return client.packet(Command.JOB_CREATED).args[0]


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_job_that_is_due_after_a_jump_comes_at_once(driver: str, clock: Clock) -> None:
    """Also when the server sleeps until the hour at which it would have been due."""
    flags = ("--driver", driver)
    with (
        ServerProcess(*flags, environ=clock.environ) as server,
        server.connect() as client,
        server.connect() as worker,
    ):
        worker.can_do(b"f")
        handle = submit_later(client, b"f", 10 * HOUR)
        worker.send(Command.PRE_SLEEP)
        worker.echo()
        clock.jump(11 * HOUR)
        worker.packet(Command.NOOP)
        assert worker.grab() == (handle, b"later")


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_jump_back_puts_off_only_what_is_due_by_that_clock(driver: str, clock: Clock) -> None:
    flags = ("--driver", driver)
    with (
        ServerProcess(*flags, environ=clock.environ) as server,
        server.connect() as client,
        server.connect() as slow,
        server.connect() as quick,
    ):
        submit_later(client, b"later", HOUR)
        slow.send(Command.CAN_DO_TIMEOUT, b"f", b"1000")
        slow.echo()
        handle = client.submit(b"f")
        assert slow.grab()[0] == handle
        clock.jump(-10 * HOUR)
        quick.can_do(b"f")
        assert quick.grab()[0] == handle  # the time-out of a second has passed
        quick.can_do(b"later")
        quick.send(Command.GRAB_JOB)
        quick.packet(Command.NO_JOB)
        clock.jump(2 * HOUR)
        assert quick.grab()[1] == b"later"


@pytest.mark.parametrize("jump", [-10 * HOUR, 10 * HOUR])
def test_time_outs_do_not_notice(jump: int, clock: Clock) -> None:
    with ServerProcess(environ=clock.environ) as server, server.connect() as client, server.connect() as worker:
        worker.send(Command.CAN_DO_TIMEOUT, b"f", b"3600000")
        worker.echo()
        handle = client.submit(b"f")
        assert worker.grab()[0] == handle
        clock.jump(jump)
        client.echo()
        worker.complete(handle, b"done")
        assert client.result(handle) == b"done"


def test_a_server_in_another_loop_looks_at_the_clock_too(clock: Clock) -> None:
    """Its program runs with the clock that jumps; this test only tells it when."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        env=os.environ | clock.environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    address = ("127.0.0.1", int(process.stdout.readline()))
    with process, Wire(address) as client, Wire(address) as worker:
        worker.can_do(b"f")
        handle = submit_later(client, b"f", 10 * HOUR)
        worker.send(Command.PRE_SLEEP)
        worker.echo()
        clock.jump(11 * HOUR)
        worker.packet(Command.NOOP)
        assert worker.grab() == (handle, b"later")
        process.communicate("")


@pytest.mark.parametrize("driver", DRIVERS)
def test_schedules_follow_the_clock(driver: str, clock: Clock) -> None:
    """A jump forward misses times, for which there is one run; by one back of many hours the clock had been wrong."""
    with (
        ServerProcess("--driver", driver, environ=clock.environ) as server,
        server.connect() as admin,
        server.connect() as worker,
    ):
        worker.can_do(b"f")
        assert admin.line("schedule add s function=f every=1h") == b"OK"
        clock.jump(11 * HOUR)
        handle, _ = worker.grab()
        worker.complete(handle)
        ahead = float(admin.lines("schedule")[0].split(b"\t")[3])
        assert ahead - time.time() > 10 * HOUR
        clock.jump(0)
        eventually(lambda: float(admin.lines("schedule")[0].split(b"\t")[3]) - time.time() <= HOUR)
        worker.send(Command.GRAB_JOB)
        worker.packet(Command.NO_JOB)

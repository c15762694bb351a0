# SPDX-License-Identifier: BSD-3-Clause
"""The asyncio client and worker on uvloop: the same calls, the same outcomes."""

from __future__ import annotations

import asyncio
import importlib
import socket
from collections.abc import Coroutine, Iterator
from typing import Any, Protocol

import pytest

from gearfast import AsyncClient, AsyncJob, AsyncWorker, ConnectError, Data, JobFailed, Server, Status, Timeout

from .servers import PATIENCE

LARGE = 5_000_000


class Run(Protocol):
    """`uvloop.run`."""

    def __call__(self, main: Coroutine[Any, Any, None]) -> None: ...


@pytest.fixture
def run(require: Any) -> Run:
    """Runs a coroutine on uvloop."""
    require.module("uvloop", "uvloop")
    found: Run = importlib.import_module("uvloop").run
    return found


@pytest.fixture
def server() -> Iterator[Server]:
    """A job server in a thread."""
    with Server() as one:
        yield one


async def reverse(job: AsyncJob) -> bytes:
    if job.workload == b"bad":
        job.send_status(1, 2)
        job.send_data(b"part")
        job.fail()
    await asyncio.sleep(0)
    return job.workload[::-1]


def test_jobs_of_all_kinds(run: Run, server: Server) -> None:
    async def main() -> None:
        assert type(asyncio.get_running_loop()).__module__.startswith("uvloop")
        worker = AsyncWorker(server.url, concurrency=16)
        worker.register("reverse", reverse)
        working = asyncio.create_task(worker.run())
        async with AsyncClient(server.url, timeout=PATIENCE) as client:
            assert await asyncio.gather(*(client.run("reverse", b"%d" % n) for n in range(200))) == [
                (b"%d" % n)[::-1] for n in range(200)
            ]
            large = bytes(range(250)) * (LARGE // 250)  # more than a socket's buffers hold
            assert await client.run("reverse", large) == large[::-1]
            assert [one async for one in client.map("reverse", [b"ab", b"cd"])] == [b"ba", b"dc"]
            future = client.submit("reverse", b"bad")
            assert [event async for event in future.events(PATIENCE)] == [Status(1, 2), Data(b"part")]
            with pytest.raises(JobFailed):
                await future
            assert (await client.status(await client.submit_background("nobody"))).known
        worker.stop()
        await asyncio.wait_for(working, PATIENCE)

    run(main())


def test_a_server_that_goes_and_one_that_never_was(run: Run) -> None:
    async def main() -> None:
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            async with AsyncClient(f"127.0.0.1:{closed.getsockname()[1]}", timeout=PATIENCE) as client:
                with pytest.raises(ConnectError, match="refused"):
                    await client.run("f")
        limits = Timeout(connect=PATIENCE, reconnect=0.2)
        server = Server().start()
        async with AsyncClient(server.url, timeout=limits) as client:
            future = client.submit("nobody", unique="one")
            await client.echo()  # answers come in the order of the requests
            assert future.handle
            await asyncio.to_thread(server.stop)
            with pytest.raises(ConnectionError):
                await asyncio.wait_for(future, PATIENCE)

    run(main())

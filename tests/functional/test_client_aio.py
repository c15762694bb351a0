# SPDX-License-Identifier: BSD-3-Clause
"""The asyncio client and worker against both job servers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import AsyncIterator

import pytest

from gearfast.aio.client import AsyncClient
from gearfast.aio.worker import AsyncJob, AsyncWorker
from gearfast.errors import (
    ConnectError,
    ConnectionLost,
    Fail,
    JobException,
    JobFailed,
    JobTimeout,
    UsageError,
)
from gearfast.session.events import Data, Status, Warning
from gearfast.types import JobStatus, Priority

from . import gearmand
from .gearmand import StartServer
from .servers import PATIENCE, ServerProcess

server_kind, start_server, job_server = gearmand.server_kind, gearmand.start_server, gearmand.job_server

pytestmark = pytest.mark.asyncio


@contextlib.asynccontextmanager
async def working(*workers: AsyncWorker) -> AsyncIterator[None]:
    """Workers at work; at the end they are stopped and have to leave in time."""
    tasks = [asyncio.create_task(worker.run()) for worker in workers]
    try:
        yield
    finally:
        for worker in workers:
            worker.stop()
        await asyncio.wait_for(asyncio.gather(*tasks), PATIENCE)


async def reverse(job: AsyncJob) -> bytes:
    return bytes(job.workload)[::-1]


async def eventually(look: object) -> None:
    """Waits until `look()` is true; other tasks go on meanwhile."""
    deadline = time.monotonic() + PATIENCE
    while not look():  # type: ignore[operator]
        assert time.monotonic() < deadline
        await asyncio.sleep(0.002)


async def test_run(job_server: ServerProcess) -> None:
    worker = AsyncWorker(job_server.address, id="aw-1")
    worker.register("reverse", reverse)
    async with working(worker), AsyncClient(job_server.address) as client:
        assert await client.run("reverse", b"abc") == b"cba"
        assert await client.run("reverse", bytearray(b"ab"), unique="u", priority=Priority.HIGH) == b"ba"
        assert await client.run("reverse", memoryview(b"xy"), priority=Priority.LOW, timeout=PATIENCE) == b"yx"
        assert await client.echo(b"hello") == b"hello"
        assert "aw-1" in job_server.admin("workers")
        data = os.urandom(5_000_000)
        assert await client.run("reverse", data) == data[::-1]


async def test_many_tasks_share_one_connection(job_server: ServerProcess) -> None:
    worker = AsyncWorker(job_server.address, concurrency=16)
    worker.register("reverse", reverse)
    async with working(worker), AsyncClient(job_server.address, id="the-client") as client:
        work = [b"%d" % n for n in range(1000)]
        assert await asyncio.gather(*(client.run("reverse", data) for data in work)) == [d[::-1] for d in work]
        assert [r async for r in client.map("reverse", work, window=20)] == [d[::-1] for d in work]
        assert job_server.admin("workers").count("the-client") == 1


async def test_coroutines_and_plain_callables(job_server: ServerProcess) -> None:
    both = threading.Barrier(2)
    worker = AsyncWorker(job_server.address, concurrency=4)

    @worker.function("plain")
    def plain(job: AsyncJob) -> str:
        job.send_data(b"from a thread")
        both.wait(PATIENCE)
        return threading.current_thread().name

    @worker.function("coroutine")
    async def coroutine(job: AsyncJob) -> None:
        await asyncio.sleep(0)

    async with working(worker), AsyncClient(job_server.address) as client:
        first, second = client.submit("plain"), client.submit("plain")
        assert await client.run("coroutine") == b""
        assert threading.current_thread().name.encode() not in {await first, await second}
        assert [event async for event in first.events()] == [Data(b"from a thread")]


async def test_failures(job_server: ServerProcess) -> None:
    worker = AsyncWorker(job_server.address, concurrency=2)

    @worker.function("fails")
    async def fails(job: AsyncJob) -> None:
        raise Fail("why")

    @worker.function("raises")
    async def raises(job: AsyncJob) -> None:
        raise ValueError("bad")

    @worker.function("cancels")
    async def cancels(job: AsyncJob) -> None:
        raise asyncio.CancelledError

    async with working(worker), AsyncClient(job_server.address) as client:
        with pytest.raises(JobFailed) as caught:
            await client.run("fails")
        assert type(caught.value) is JobFailed
        with pytest.raises(JobException, match="ValueError: bad"):
            await client.run("raises")
        with pytest.raises(JobException, match="cancelled"):
            await client.run("cancels")
        future = client.submit("fails")
        assert [event async for event in future.events()] == [Warning(b"why")]
        assert isinstance(future.exception(), JobFailed)


async def test_events_and_status(job_server: ServerProcess) -> None:
    go_on = asyncio.Event()
    worker = AsyncWorker(job_server.address)

    @worker.function("steps")
    async def steps(job: AsyncJob) -> str:
        job.send_status(1, 2)
        job.send_data("a")
        await go_on.wait()
        job.send_warning(b"w")
        return "done"

    async with working(worker), AsyncClient(job_server.address) as client:
        future = client.submit("steps", unique="u")
        events = future.events(PATIENCE)
        assert [await anext(events), await anext(events)] == [Status(1, 2), Data(b"a")]
        assert (future.progress, future.handle.server) == ((1, 2), job_server.address)
        assert await client.status(future.handle) == JobStatus(True, True, 1, 2)
        assert await client.status(unique="u") == JobStatus(True, True, 1, 2, 1)
        with pytest.raises(JobTimeout):
            await anext(future.events(0.01))
        go_on.set()
        assert [event async for event in events] == [Warning(b"w")]
        assert await future == b"done"


async def test_background_jobs(job_server: ServerProcess) -> None:
    done: list[bytes] = []

    async def note(job: AsyncJob) -> None:
        done.append(job.workload)

    async with AsyncClient(job_server.address) as client:
        handle = await client.submit_background("later", b"1")
        assert await client.status(handle) == JobStatus(True, False, 0, 0)
        await client.submit_background("later", b"2", delay=3600)
        await client.submit_background("later", b"3", priority=Priority.HIGH)
        worker = AsyncWorker(job_server.address)
        worker.register("later", note)
        async with working(worker):
            await eventually(lambda: len(done) == 2)
        assert done == [b"3", b"1"]


async def test_time_outs_and_cancellation_leave_the_connection_usable(job_server: ServerProcess) -> None:
    go_on = asyncio.Event()
    worker = AsyncWorker(job_server.address, concurrency=8)

    @worker.function("slow")
    async def slow(job: AsyncJob) -> bytes:
        await go_on.wait()
        return job.workload

    async with working(worker), AsyncClient(job_server.address) as client:
        with pytest.raises(JobTimeout):
            await client.run("slow", timeout=0.03)
        task = asyncio.create_task(client.run("slow"))
        future = client.submit("slow")
        await eventually(lambda: future.handle)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert future.cancel() and future.cancelled()
        assert [event async for event in future.events()] == []
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await client.run("slow")
        last = client.submit("slow", b"last")
        go_on.set()
        assert await last == b"last"
        assert await client.run("slow", b"more") == b"more"


async def test_map_can_be_left(job_server: ServerProcess) -> None:
    worker = AsyncWorker(job_server.address, concurrency=2)
    worker.register("reverse", reverse)
    async with working(worker), AsyncClient(job_server.address) as client:
        results = client.map("reverse", [b"ab"] * 100, window=10)
        assert await anext(results) == b"ba"
        await results.aclose()  # type: ignore[attr-defined]
        assert await client.run("reverse", b"cd") == b"dc"
        with pytest.raises(UsageError):
            client.map("reverse", [], window=0)


async def test_jobs_go_on_at_another_server(start_server: StartServer) -> None:
    servers = [start_server(), start_server()]
    addresses = [server.address for server in servers]
    go_on = asyncio.Event()
    worker = AsyncWorker(addresses, concurrency=3)

    @worker.function("photo")
    async def photo(job: AsyncJob) -> bytes:
        await go_on.wait()
        return bytes(job.workload[::-1])

    async with working(worker), AsyncClient(addresses, resubmit="any") as client:
        futures = {b"%d" % n: client.submit("photo", b"%d" % n) for n in range(200)}
        await eventually(lambda: all(future.handle for future in futures.values()))
        assert len({future.handle.server for future in futures.values()}) == 2
        servers[0].kill()
        go_on.set()
        async with asyncio.timeout(PATIENCE):
            for name, future in futures.items():
                assert await future == name[::-1]
            assert await client.run("photo", b"after") == b"retfa"


async def test_a_lost_server(start_server: StartServer) -> None:
    server = start_server()
    async with AsyncClient(server.address, resubmit="never") as client:
        future = client.submit("nobody")
        await eventually(lambda: future.handle)
        server.kill()
        with pytest.raises(ConnectionLost) as caught:
            await asyncio.wait_for(future, PATIENCE)
        assert caught.value.handle == future.handle
        for call in (client.run("f"), client.echo(), client.submit_background("f")):
            with pytest.raises(ConnectError, match="refused"):
                await call


async def test_a_closed_client(job_server: ServerProcess) -> None:
    client = AsyncClient(job_server.address)
    future = client.submit("nobody")
    await eventually(lambda: future.handle)
    await client.close()
    await client.close()
    assert isinstance(future.exception(), ConnectionLost)
    with pytest.raises(UsageError, match="closed"):
        await client.echo()


async def test_stop_from_another_thread(job_server: ServerProcess) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()
    worker = AsyncWorker(job_server.address)

    @worker.function("slow")
    async def slow(job: AsyncJob) -> bytes:
        begun.set()
        await go_on.wait()
        return b"done"

    task = asyncio.create_task(worker.run())
    async with AsyncClient(job_server.address) as client:
        future = client.submit("slow")
        await begun.wait()
        await asyncio.get_running_loop().run_in_executor(None, worker.stop)
        go_on.set()
        assert await future == b"done"
        await asyncio.wait_for(task, PATIENCE)
        async with working(worker):  # it can run again
            assert await client.run("slow") == b"done"


async def test_a_cancelled_worker_gives_its_jobs_back(job_server: ServerProcess) -> None:
    begun = asyncio.Event()
    worker, heir = AsyncWorker(job_server.address), AsyncWorker(job_server.address)

    @worker.function("slow")
    async def slow(job: AsyncJob) -> None:
        begun.set()
        await asyncio.Event().wait()

    async def inherit(job: AsyncJob) -> str:
        return "heir"

    heir.register("slow", inherit)
    async with AsyncClient(job_server.address) as client:
        task = asyncio.create_task(worker.run())
        future = client.submit("slow")
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with working(heir):
            assert await future == b"heir"


async def test_several_servers_and_functions_that_come_and_go(start_server: StartServer) -> None:
    servers = [start_server(), start_server()]
    worker = AsyncWorker([server.address for server in servers])
    with pytest.raises(UsageError, match="no function"):
        await worker.run()
    worker.register("first", reverse)
    async with working(worker):
        for server in servers:
            async with AsyncClient(server.address) as client:
                assert await client.run("first", b"ab") == b"ba"
        with pytest.raises(UsageError, match="already"):
            await worker.run()
        worker.register("second", reverse)
        async with AsyncClient(servers[0].address) as client:
            assert await client.run("second", b"cd") == b"dc"
        worker.unregister("first")
        with pytest.raises(UsageError, match="not registered"):
            worker.unregister("first")
        async with AsyncClient(servers[1].address) as client:
            assert await client.run("second", b"ef") == b"fe"

# SPDX-License-Identifier: BSD-3-Clause
"""The job server in memory, with the asyncio client and worker."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable

import pytest

from gearfast import (
    AsyncAdminClient,
    AsyncClient,
    AsyncJob,
    AsyncWorker,
    Client,
    ConnectError,
    ConnectionLost,
    DeadlineExceeded,
    JobException,
)
from gearfast.testing import MemoryServer, WorkerThread
from gearfast.testing.loops import close_client

pytestmark = pytest.mark.asyncio


async def until(done: Callable[[], bool]) -> None:
    """Let the loop go on until `done()`."""
    while not done():  # noqa: ASYNC110  (nobody tells)
        await asyncio.sleep(0)


async def reverse(job: AsyncJob) -> bytes:
    await asyncio.sleep(0)
    return bytes(job.workload)[::-1]


async def submitted(server: MemoryServer, count: int = 1) -> None:
    await until(lambda: len(server.submissions) >= count)


async def test_a_client_and_drain(server: MemoryServer) -> None:
    async with AsyncClient(server.url) as client:
        futures = [client.submit("reverse", b"%d1" % number) for number in range(20)]
        await submitted(server, 20)
        assert await server.drain_async({"reverse": reverse}) == 20
        assert await asyncio.gather(*futures) == [(str(number) + "1")[::-1].encode() for number in range(20)]


async def test_a_worker_that_is_a_task(server: MemoryServer) -> None:
    worker = AsyncWorker(server.url, concurrency=5)
    worker.register("reverse", reverse)
    worker.register("plain", lambda job: threading.current_thread().name)
    task = asyncio.create_task(worker.run())
    async with AsyncClient(server.url) as client:
        assert await client.run("reverse", b"abc", timeout=30) == b"cba"
        assert await client.run("plain", timeout=30) != threading.current_thread().name.encode()
        results = [each async for each in client.map("reverse", [b"%d2" % number for number in range(50)])]
        assert results == [(str(number) + "2")[::-1].encode() for number in range(50)]
    worker.stop()
    await task
    assert server.connections() == []


async def test_a_worker_runs_until_it_is_idle(server: MemoryServer) -> None:
    worker = AsyncWorker(server.url)
    worker.register("reverse", reverse)
    async with AsyncClient(server.url) as client:
        for _ in range(2):
            await client.submit_background("reverse", b"abc")
            await client.submit_background("reverse", b"abc")
            await server.run_worker_async(worker)
            assert server.jobs() == []


async def test_drain_raises_what_jobs_raise(server: MemoryServer) -> None:
    async def explode(job: AsyncJob) -> bytes:
        raise ValueError("bad")

    def explode_too(job: AsyncJob) -> bytes:
        raise KeyError("worse")

    async with AsyncClient(server.url) as client:
        for number, callable in enumerate((explode, explode_too)):
            future = client.submit("explode")
            await submitted(server, number + 1)
            with pytest.raises((ValueError, KeyError)):
                await server.drain_async({"explode": callable})
            with pytest.raises(JobException):
                await future


async def test_across_threads(server: MemoryServer) -> None:
    """A blocking client in a thread, an asyncio worker in another one's loop, an asyncio client in this loop."""
    with WorkerThread({"reverse": reverse}, server), Client(server.url) as blocking:
        async with AsyncClient(server.url) as client:
            assert await client.run("reverse", b"abc", timeout=30) == b"cba"
            assert await asyncio.to_thread(blocking.run, "reverse", b"xyz", timeout=30) == b"zyx"


async def test_jobs_do_not_run_in_the_context_of_who_submits(server: MemoryServer) -> None:
    colour = contextvars.ContextVar("colour", default="none")

    async def look(job: AsyncJob) -> str:
        return colour.get()

    worker = AsyncWorker(server.url)
    worker.register("look", look)
    task = asyncio.create_task(worker.run())
    async with AsyncClient(server.url) as client:
        colour.set("red")
        assert await client.run("look", timeout=30) == b"none"
    worker.stop()
    await task


async def test_the_admin_client(server: MemoryServer) -> None:
    async with AsyncAdminClient(server.url) as admin:
        assert await admin.status() == []
        assert [each.fd for each in await admin.workers()] == [1]


async def test_nobody_there(server: MemoryServer) -> None:
    async with AsyncClient("memory://nobody") as client:
        with pytest.raises(ConnectError, match="no server in memory"):
            await client.echo()
    client = AsyncClient(server.url, resubmit="never")
    future = client.submit("f")
    await submitted(server)
    server.stop()
    with pytest.raises(ConnectionLost):
        await future
    await client.close()


async def test_what_is_written_after_the_end(server: MemoryServer) -> None:
    lost: list[str] = []
    stream = server.open_async_stream(lambda data: None, lost.append)
    server.disconnect_all()
    stream.write(b"version\n")
    await until(lambda: bool(lost))
    assert len(lost) == 1
    stream.write(b"version\n")
    stream.close()
    assert stream.unsent_bytes == 0


async def test_closing_in_the_loop_is_not_needed(server: MemoryServer) -> None:
    """As the fixture does it: outside the loop, whether that is closed or only at rest."""

    def use() -> None:
        for is_closed in (False, True):
            client = AsyncClient(server.url)
            close_client(client)  # never used
            client = AsyncClient(server.url)
            loop = asyncio.new_event_loop()
            loop.run_until_complete(client.echo())
            assert len(server.connections()) == 1
            if is_closed:
                loop.close()
            close_client(client)
            assert server.connections() == []
            loop.close()

    await asyncio.to_thread(use)


async def test_waiting_for_what_others_submit(server: MemoryServer) -> None:
    with pytest.raises(DeadlineExceeded, match="0 of 1"):
        await server.wait_submitted_async("f", timeout=0.01)
    with Client(server.url) as blocking:
        call = asyncio.create_task(asyncio.to_thread(blocking.submit_background, "f"))
        assert [each.function for each in await server.wait_submitted_async("f")] == ["f"]
        await call
        assert len(await server.wait_submitted_async("f", 1, None)) == 1


async def test_inline(server: MemoryServer) -> None:
    with MemoryServer(mode="inline", functions={"reverse": reverse, "plain": lambda job: b"plain"}) as inline:
        async with AsyncClient(inline.url) as client:
            assert await client.run("reverse", b"abc", timeout=30) == b"cba"
            assert await client.run("plain", timeout=30) == b"plain"
            await client.submit_background("reverse", b"xyz")
            assert inline.submissions[-1].result == b"zyx"
            with pytest.raises(JobException, match="nothing does the jobs of function 'nix'"):
                await client.run("nix", timeout=30)

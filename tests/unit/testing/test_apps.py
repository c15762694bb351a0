# SPDX-License-Identifier: BSD-3-Clause
"""What tests a program's tasks: each tool takes the program's App, and arguments go through its serializer."""

from __future__ import annotations

import asyncio
import threading

import pytest

from gearfast import App, AsyncClient, AsyncWorker, Client, JobException, SerializeError, UsageError, Worker
from gearfast.testing import MemoryServer, WorkerThread

app = App(prefix="shop.")
async_app = App()


@app.task(timeout=30)
def invoice(number: int, paid: bool = False) -> list[object]:
    return [number, paid]


@app.task
def broken() -> None:
    raise ValueError("broken")


@async_app.task
async def ask(what: str) -> str:
    await asyncio.sleep(0)
    return what.upper()


@async_app.task
def plain(what: str) -> str:
    return threading.current_thread().name


def test_what_was_submitted_and_drained(server: MemoryServer, client: Client) -> None:
    invoice.submit_background(client, 17, paid=True)
    (submission,) = server.assert_submitted("shop.invoice", invoice.workload(17, paid=True))
    with pytest.raises(AssertionError):
        server.assert_submitted("shop.invoice", invoice.workload(18))
    assert server.drain(app) == 1
    assert invoice.decode(submission.result) == [17, True]


def test_what_a_task_raises_comes_out_of_drain(server: MemoryServer, client: Client) -> None:
    broken.submit_background(client)
    with pytest.raises(ValueError, match="broken"):
        server.drain(app)
    client.submit_background("shop.invoice", b"no JSON")
    with pytest.raises(SerializeError):
        server.drain(app)


def test_arguments_that_would_not_travel(server: MemoryServer) -> None:
    """They fail in the test as they would elsewhere; tuples come back as lists."""
    with MemoryServer(mode="inline", functions=app) as inline, Client(inline.url) as client:
        with pytest.raises(SerializeError):
            invoice.run(client, {1, 2})  # type: ignore[call-overload]
        assert invoice.run(client, (1, 2)) == [[1, 2], False]  # type: ignore[call-overload]
        with pytest.raises(JobException, match="ValueError: broken"):
            broken.run(client)
    server.assert_nothing_submitted()


@pytest.mark.parametrize("concurrency", [1, 3])
def test_a_worker_in_a_thread(server: MemoryServer, client: Client, concurrency: int) -> None:
    with WorkerThread(app, server, concurrency=concurrency) as thread:
        assert isinstance(thread.worker, Worker)
        assert invoice.run(client, 1) == [1, False]


def test_an_async_one_for_coroutine_functions(server: MemoryServer, client: Client) -> None:
    with WorkerThread(async_app, server) as thread:
        assert isinstance(thread.worker, AsyncWorker)
        assert ask.run(client, "x") == "X"
        assert plain.run(client, "x").startswith("gearfast-worker")
    with pytest.raises(UsageError, match="need a server"):
        WorkerThread(app)


def test_coroutine_functions_are_drained_in_a_loop(server: MemoryServer) -> None:
    async def main() -> None:
        async with AsyncClient(server.url) as client:
            future = ask.submit(client, "x")
            await server.wait_submitted_async("ask")
            assert await server.drain_async(async_app) == 1
            assert await future == "X"

    with pytest.raises(UsageError, match="function 'ask' is a coroutine function; use drain_async"):
        server.drain(async_app)
    asyncio.run(main())

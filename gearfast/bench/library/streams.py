# SPDX-License-Identifier: BSD-3-Clause
"""gearfast's asyncio client and worker as a program uses them, and aiogear's client.

Its worker takes no workload but UTF-8, which those of the load generator are not.

Clients are made as `make(address, function)`, which returns what does so many jobs; workers never return.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from gearfast.bench.library.bare_streams import tasks
from gearfast.bench.library.wire import PAYLOAD

__all__ = ["aiogear", "aiogear_tasks", "held_worker", "run", "run_tasks", "worker"]

HELD = 16


def _client(number: int, address: str, function: str) -> Callable[[int], None]:
    from gearfast import AsyncClient

    loop = asyncio.new_event_loop()

    async def make() -> AsyncClient:
        return AsyncClient(address)

    client = loop.run_until_complete(make())
    once = partial(client.run, function, PAYLOAD)
    return lambda count: loop.run_until_complete(tasks(once, count, number))


run = partial(_client, 1)
run_tasks = partial(_client, 64)


def _serve(address: str, function: str, **settings: Any) -> None:
    from gearfast import AsyncJob, AsyncWorker

    async def noop(job: AsyncJob) -> bytes:
        return job.workload

    async def serve() -> None:
        worker = AsyncWorker(address, **settings)
        worker.register(function, noop)
        await worker.run()

    asyncio.run(serve())


def worker(address: str, function: str) -> None:
    """`AsyncWorker` as it comes: one job at a time, a coroutine function."""
    _serve(address, function)


def held_worker(address: str, function: str) -> None:
    """`AsyncWorker` that holds 16 jobs, all of them under way."""
    _serve(address, function, concurrency=HELD)


def _aiogear(number: int, address: str, function: str) -> Callable[[int], None]:
    """aiogear gives results to those who wait in the order of their submission."""
    library = importlib.import_module("aiogear")
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    host, _, port = address.rpartition(":")

    async def connect() -> Any:
        return (await loop.create_connection(lambda: library.Client(loop=loop), host, int(port)))[1]

    client = loop.run_until_complete(connect())

    async def once() -> None:
        created = await client.submit_job(function, PAYLOAD)
        await client.wait_job(created.handle)

    call: Callable[[], Awaitable[object]] = once
    return lambda count: loop.run_until_complete(tasks(call, count, number))


aiogear = partial(_aiogear, 1)
aiogear_tasks = partial(_aiogear, 64)

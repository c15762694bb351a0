# SPDX-License-Identifier: BSD-3-Clause
"""taskiq with a broker of taskiq-redis: streams with acknowledgements, or a list without.

The producer is a coroutine on a loop of its own, which lives as long as the process.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from functools import cache
from typing import Any

from taskiq_redis import ListQueueBroker, RedisAsyncResultBackend, RedisStreamBroker

from gearfast.bench.queues import job

__all__ = ["broker", "enqueue", "enqueue_list", "list_broker", "run", "run_list"]

broker = RedisStreamBroker(url=job.redis_url())
list_broker = ListQueueBroker(url=job.redis_url())
if job.keeps_results():
    for one in (broker, list_broker):
        one.with_result_backend(RedisAsyncResultBackend(redis_url=job.redis_url()))


async def noop(payload: dict[str, Any]) -> int:
    return job.noop(payload)


tasks = {False: broker.task(task_name="noop")(noop), True: list_broker.task(task_name="noop")(noop)}


@cache
def _started(lists: bool) -> tuple[asyncio.AbstractEventLoop, Any]:
    loop = asyncio.new_event_loop()
    loop.run_until_complete((list_broker if lists else broker).startup())
    return loop, tasks[lists]


def _submit(lists: bool, payloads: Iterable[dict[str, Any]]) -> None:
    loop, task = _started(lists)

    async def submit() -> None:
        for payload in payloads:
            await task.kiq(payload)

    loop.run_until_complete(submit())


def _wait(lists: bool, payload: dict[str, Any]) -> Any:
    loop, task = _started(lists)

    async def submit() -> Any:
        sent = await task.kiq(payload)
        return (await sent.wait_result(timeout=60)).return_value

    return loop.run_until_complete(submit())


def enqueue(payloads: Iterable[dict[str, Any]]) -> None:
    """Submits a job for each payload."""
    _submit(False, payloads)


def enqueue_list(payloads: Iterable[dict[str, Any]]) -> None:
    """The same to the list broker."""
    _submit(True, payloads)


def run(payload: dict[str, Any]) -> Any:
    """Runs one job and waits for its result, looking for it at the distance that is the library's default."""
    return _wait(False, payload)


def run_list(payload: dict[str, Any]) -> Any:
    """The same at the list broker."""
    return _wait(True, payload)

# SPDX-License-Identifier: BSD-3-Clause
"""Coroutines, with the asyncio client and callables of both kinds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from shop.quotes import best_price

from gearfast import AsyncClient, AsyncJob, Fail
from gearfast.testing import FakeClock, MemoryServer, WorkerThread


async def cheap(job: AsyncJob) -> bytes:
    """A supplier."""
    await asyncio.sleep(0)
    return b"995"


def dear(job: AsyncJob) -> bytes:
    """Another one."""
    return b"1295"


def sold_out(job: AsyncJob) -> bytes:
    """One that has nothing."""
    raise Fail(f"no {job.workload.decode()} left")


@pytest.mark.asyncio
async def test_the_best_price(gearfast_async_client: AsyncClient, gearfast_worker: Callable[..., WorkerThread]) -> None:
    gearfast_worker({"price/a": dear, "price/b": cheap, "price/c": sold_out})
    assert await best_price(gearfast_async_client, "lamp", ["a", "b", "c"]) == 995
    assert await best_price(gearfast_async_client, "lamp", ["c"]) is None


@pytest.mark.asyncio
async def test_a_supplier_that_does_not_answer(
    gearfast_async_client: AsyncClient, gearfast_memory_server: MemoryServer, gearfast_clock: FakeClock
) -> None:
    asking = asyncio.create_task(best_price(gearfast_async_client, "lamp", ["a", "b"]))
    await gearfast_memory_server.wait_submitted_async("price/b")
    await gearfast_memory_server.drain_async({"price/a": dear})
    gearfast_clock.advance(5)
    assert await asking == 1295

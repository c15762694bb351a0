# SPDX-License-Identifier: BSD-3-Clause
"""Programs that a type checker has to accept, with the types that it has to find. Never run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from typing import assert_type

import gearfast
from gearfast import (
    AdminClient,
    AsyncClient,
    AsyncJob,
    AsyncJobFuture,
    AsyncWorker,
    Backoff,
    Client,
    ConnectError,
    GearfastError,
    Handle,
    Job,
    JobFailed,
    JobFuture,
    JobStatus,
    Priority,
    Retry,
    Server,
    Timeout,
    Worker,
    as_completed,
)
from gearfast.compat import aiogear, gear, gearman
from gearfast.session.events import Event
from gearfast.testing import FakeClock, MemoryServer, Recorder


def client() -> None:
    with Client("gearman://q1,q2:4730", timeout=Timeout(connect=2, reply=5), retry=Retry(3)) as c:
        assert_type(c.run("f"), bytes)
        assert_type(c.run("f", bytearray(b"x"), unique="u", priority=Priority.HIGH, timeout=3), bytes)
        future = c.submit("f", memoryview(b"x"), unique=b"u", retry=Retry(2, backoff=Backoff(1), on=JobFailed))
        assert_type(future, JobFuture)
        assert_type(future.result(timeout=1), bytes)
        assert_type(future.progress, tuple[int, int])
        assert_type(future.submissions, int)
        assert_type(future.status(), JobStatus)
        assert_type(future.events(), Iterator[Event])
        assert_type(future.handle, Handle)
        handle = c.submit_background("f", b"x", delay=60)
        assert_type(handle, Handle)
        assert_type(c.submit_background("f", at=datetime(2030, 1, 1, tzinfo=UTC)), Handle)
        assert_type(c.status(handle), JobStatus)
        assert_type(c.cancel(future), bool)
        assert_type(c.map("f", [b"1", b"2"]), Iterator[bytes])
        assert_type(c.map("f", (b"x" for _ in range(3)), return_exceptions=True), Iterator[bytes | GearfastError])
        assert_type(c.map_background("f", [b"1"]), Iterator[Handle])
        assert_type(c.echo(), bytes)
        for done in as_completed([future], timeout=60):
            assert_type(done, JobFuture)


async def async_client() -> None:
    async with AsyncClient(["q1", "q2:4730"]) as c:
        assert_type(await c.run("f", b"x"), bytes)
        future = c.submit("f", b"x")
        assert_type(future, AsyncJobFuture)
        assert_type(await future, bytes)
        assert_type(await c.submit_background("f", b"x"), Handle)
        assert_type(c.map("f", [b"1"]), AsyncIterator[bytes])
        assert_type(await c.status(future.handle), JobStatus)


def worker() -> None:
    w = Worker("gearman://q1", concurrency=8, prefetch=2, id="w", timeout=None)

    @w.function("plain", timeout=30, concurrency=2)
    def plain(job: Job) -> bytes:
        assert_type(job.workload, bytes)
        assert_type(job.handle, str)
        job.send_status(1, 3)
        job.send_data(b"x")
        job.send_warning(b"x")
        job.check()
        return job.workload

    decorated: Callable[[Job], bytes] = plain
    print(decorated)

    @w.function("text")
    def text(job: Job) -> str:
        return "text"

    @w.function("nothing", process=True)
    def nothing(job: Job) -> None:
        return None

    @w.function("untyped")
    def untyped(job):  # type: ignore[no-untyped-def]
        return b""

    w.register("later", plain)
    w.add({"table": plain})
    w.run()


async def async_worker() -> None:
    w = AsyncWorker()

    @w.function("coroutine")
    async def coroutine(job: AsyncJob) -> bytes:
        job.send_status(1, 3)
        return job.workload

    @w.function("plain")
    def plain(job: AsyncJob) -> str | None:
        return None

    await w.run()


def others() -> None:
    with Server(unix="/tmp/socket", job_retries=3) as server:
        assert_type(server.url, str)
        assert_type(server.port, int)
    with AdminClient(server.url) as admin:
        for row in admin.status():
            assert_type(row.total, int)
    clock = FakeClock()
    with MemoryServer(clock=clock) as memory:
        assert_type(memory.url, str)
        assert_type(Recorder, type[Recorder])
    try:
        gearfast.Client().run("f")
    except ConnectError as error:
        assert_type(error, ConnectError)


def old_libraries() -> None:
    gearman.GearmanClient(["localhost"]).submit_job("f", "x")
    gear.Client().addServer("localhost")
    assert aiogear

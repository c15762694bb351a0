# SPDX-License-Identifier: BSD-3-Clause
"""Programs that a type checker has to accept, with the types that it has to find. Never run."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from typing import Any, assert_type

import gearfast
from gearfast import (
    AdminClient,
    App,
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
    SerializeError,
    Server,
    Task,
    Timeout,
    Worker,
    as_completed,
)
from gearfast.compat import aiogear, gear, gearman
from gearfast.session.events import Event
from gearfast.testing import FakeClock, MemoryServer, Recorder, WorkerThread


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
        assert_type(c.result(handle, timeout=3), bytes)
        assert_type(c.result(b"u", function="f"), bytes)
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
        assert_type(await c.result(future.handle), bytes)


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


app = App(prefix="shop.")


@app.task("resize", timeout=30, retries=3, backoff=Backoff(2, max=300), priority=Priority.LOW)
def resize(path: str, width: int = 320) -> str:
    return path


@app.task
def count(job: Job, text: str) -> int:
    job.send_status(1, 2)
    return len(text)


@app.task
async def fetch(url: str, *, tries: int = 1) -> dict[str, int]:
    return {url: tries}


@app.task("render")
async def render(job: AsyncJob, *pages: int) -> list[str]:
    return [str(page) for page in pages]


@app.task
def either(job: Job | AsyncJob, text: str) -> int:
    return len(text)


@app.task(unique=lambda value, **_: str(value), serializer=json)
def anything(value: object, width: int = 1) -> str:
    return ""


@app.task
def untyped(value):  # type: ignore[no-untyped-def]
    return value


@app.task
def dynamic(value: Any, width: int) -> str:
    return ""


@app.task(serializer="raw", unique=b"nightly")
def nothing() -> None: ...


def tasks(c: Client, job: Job) -> None:
    assert_type(resize("a.png", width=64), str)
    assert_type(resize.run(c, "a.png"), str)
    assert_type(resize.run(c, path="a.png", width=64), str)
    assert_type(resize.submit(c, "a.png", 64), JobFuture[str])
    assert_type(resize.submit(c, "a.png").result(timeout=1), str)
    assert_type(resize.submit(c, "a.png").events(), Iterator[Event])
    assert_type(resize.submit_background(c, "a.png", width=64), Handle)
    assert_type(resize.options(unique="p/17", delay=3).submit_background(c, "a.png"), Handle)
    assert_type(resize.result(c, "H:1"), str)
    assert_type(resize.result(c, unique="p/17", timeout=3), str)
    assert_type(resize.options(timeout=3, retry=Retry(2)).run(c, "a.png", width=3), str)
    assert_type(resize.map(c, ["a.png"], width=64), Iterator[str])
    assert_type(resize.map(c, (name for name in "abc"), 64), Iterator[str])
    assert_type(resize.options(window=5, ordered=False).map(c, ["a.png"]), Iterator[str])
    assert_type(resize.options(return_exceptions=True).map(c, ["a.png"]), Iterator[str | GearfastError])
    assert_type(resize.workload("a.png", 3), bytes)
    assert_type(resize.decode(b""), str)
    assert_type(count(job, "text"), int)
    assert_type(count.run(c, "text"), int)
    assert_type(count.map(c, ["text"]), Iterator[int])
    assert_type(fetch.run(c, "url", tries=2), dict[str, int])
    assert_type(render.run(c, 1, 2, 3), list[str])
    assert_type(either.run(c, "text"), int)
    assert_type(anything.run(c, {}, width=3), str)
    dynamic.run(c, {}, 3)
    assert_type(nothing.submit(c), JobFuture[None])
    untyped.run(c, value=3)
    for done in as_completed([resize.submit(c, "a.png")]):
        assert_type(done.result(), str)
    some_task: Task[..., object] = resize
    c.cancel(resize.submit(c, "a.png"))
    try:
        resize.run(c, "a.png")
    except SerializeError as error:
        assert_type(error.argument, str)
    Worker().add(app)
    print(some_task.name, app.tasks["resize"])


async def async_tasks(c: AsyncClient, job: AsyncJob) -> None:
    assert_type(await fetch("url"), dict[str, int])
    assert_type(await render(job, 1), list[str])
    assert_type(await resize.run(c, "a.png", width=64), str)
    assert_type(resize.submit(c, "a.png"), AsyncJobFuture[str])
    assert_type(await resize.submit(c, "a.png"), str)
    assert_type(await resize.submit_background(c, "a.png"), Handle)
    assert_type(await resize.result(c, "H:1"), str)
    assert_type(await resize.options(unique="u").submit_background(c, "a.png"), Handle)
    assert_type(resize.map(c, ["a.png"], width=64), AsyncIterator[str])
    assert_type(
        await asyncio.gather(resize.submit(c, "a.png"), count.submit(c, "text")),
        tuple[str, int],
    )
    assert_type(await asyncio.wait_for(resize.submit(c, "a.png"), 3), str)


def hooks() -> None:
    @app.before
    def before(job: Job) -> None: ...

    @app.on_failure
    async def failed(job: AsyncJob, error: Exception) -> None: ...

    decorated: Callable[[Job], None] = before
    print(decorated)
    assert_type(App(serializer=json, allow_pickle=True), App)
    MemoryServer(mode="inline", functions=app).drain(app)
    WorkerThread(app, "h:4730")


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

# SPDX-License-Identifier: BSD-3-Clause
"""Streams of jobs, futures, reduce jobs, retries and cancelled jobs, blocking and asyncio, against both job servers."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from gearfast import (
    AdminClient,
    AsyncClient,
    Backoff,
    Client,
    ConnectError,
    Data,
    DeadlineExceeded,
    Fail,
    GearfastError,
    Handle,
    Job,
    JobCancelled,
    JobFailed,
    JobTimeout,
    QueueFull,
    Retry,
    Server,
    UsageError,
    Worker,
    as_completed,
    async_as_completed,
)
from gearfast.types import JobStatus

from .gearmand import reverse, working
from .servers import PATIENCE, START, ServerProcess, wait_until

asyncio_test = pytest.mark.asyncio
NUMBERS = [b"%d" % n for n in range(300)]
SOON = Backoff(0.001, factor=1)


class Functions:
    """What the worker of this module does."""

    def __init__(self) -> None:
        self.release = threading.Event()
        self.tries: Counter[bytes] = Counter()

    def register(self, worker: Worker) -> None:
        for function in (reverse, self.picky, self.third, self.slow, self.parts, self.split, self.add):
            worker.register(function.__name__, function)

    def picky(self, job: Job) -> bytes:
        if job.workload == b"3":
            raise Fail("not that one")
        return job.workload

    def third(self, job: Job) -> bytes:
        """Does not fail the third time."""
        self.tries[job.workload] += 1
        if self.tries[job.workload] < 3:
            raise Fail
        return b"%d" % self.tries[job.workload]

    def slow(self, job: Job) -> bytes:
        if job.workload == b"wait":
            assert self.release.wait(PATIENCE)
        return job.workload

    def parts(self, job: Job) -> None:
        for part in (b"a", b"b", b"c"):
            job.send_data(part)
            job.send_status(1, 3)

    def split(self, job: Job) -> bytes:
        return job.reducer + b":" + job.workload

    def add(self, job: Job) -> bytes:
        return b"%d" % sum(map(int, job.workload.split()))


@pytest.fixture(scope="module", params=["gearmand", "gearfast"])
def place(request: pytest.FixtureRequest, require: Any) -> Iterator[tuple[ServerProcess, Functions]]:
    """A job server of each kind with a worker of all functions."""
    if request.param == "gearmand":
        require.program("gearmand", "gearman-job-server")
    server = START[request.param]()
    try:
        worker = Worker(server.address, concurrency=4)
        functions = Functions()
        functions.register(worker)
        with working(worker):
            yield server, functions
    finally:
        server.stop()


@pytest.fixture
def server(place: tuple[ServerProcess, Functions]) -> ServerProcess:
    return place[0]


@pytest.fixture
def functions(place: tuple[ServerProcess, Functions]) -> Iterator[Functions]:
    functions = place[1]
    functions.release.clear()
    functions.tries.clear()
    yield functions
    functions.release.set()


@pytest.fixture
def client(server: ServerProcess) -> Iterator[Client]:
    with Client(server.address, timeout=PATIENCE) as client:
        yield client


# Streams


def test_results_as_they_come(client: Client, functions: Functions) -> None:
    results = client.map("slow", [b"wait", b"1", b"2"], ordered=False)
    assert {next(results), next(results)} == {b"1", b"2"}
    functions.release.set()
    assert list(results) == [b"wait"]
    assert sorted(client.map("reverse", iter(NUMBERS), window=7, ordered=False)) == sorted(n[::-1] for n in NUMBERS)


@asyncio_test
async def test_results_as_they_come_async(server: ServerProcess, functions: Functions) -> None:
    async with AsyncClient(server.address, timeout=PATIENCE) as client:
        results = client.map("slow", [b"wait", b"1", b"2"], ordered=False)
        assert {await anext(results), await anext(results)} == {b"1", b"2"}
        functions.release.set()
        assert [result async for result in results] == [b"wait"]
        found = [result async for result in client.map("reverse", iter(NUMBERS), window=7, ordered=False)]
        assert sorted(found) == sorted(n[::-1] for n in NUMBERS)


@pytest.mark.parametrize("ordered", [True, False])
def test_failures_in_their_places(client: Client, functions: Functions, ordered: bool) -> None:
    results: list[Any] = list(
        client.map("picky", iter(NUMBERS[:20]), window=3, return_exceptions=True, ordered=ordered)
    )
    failures = [result for result in results if isinstance(result, GearfastError)]
    assert len(results) == 20 and len(failures) == 1 and isinstance(failures[0], JobFailed)
    if ordered:
        assert results[3] is failures[0] and results[4:] == NUMBERS[4:20]
    with pytest.raises(JobFailed):
        list(client.map("picky", NUMBERS, ordered=ordered))
    assert client.run("reverse", b"ab") == b"ba"


@asyncio_test
@pytest.mark.parametrize("ordered", [True, False])
async def test_failures_in_their_places_async(server: ServerProcess, functions: Functions, ordered: bool) -> None:
    async with AsyncClient(server.address, timeout=PATIENCE) as client:
        stream = client.map("picky", iter(NUMBERS[:20]), window=3, return_exceptions=True, ordered=ordered)
        results = [result async for result in stream]
        failures = [result for result in results if isinstance(result, GearfastError)]
        assert len(results) == 20 and len(failures) == 1 and isinstance(failures[0], JobFailed)
        if ordered:
            assert results[3] is failures[0] and results[4:] == NUMBERS[4:20]
        with pytest.raises(JobFailed):
            async for _ in client.map("picky", NUMBERS, ordered=ordered):
                pass
        assert await client.run("reverse", b"ab") == b"ba"


async def slowly(items: list[bytes]) -> AsyncIterator[bytes]:
    for item in items:
        await asyncio.sleep(0)
        yield item


@asyncio_test
async def test_workloads_that_come_asynchronously(server: ServerProcess, functions: Functions) -> None:
    async with AsyncClient(server.address, timeout=PATIENCE) as client:
        assert [result async for result in client.map("reverse", slowly(NUMBERS), window=5)] == [
            n[::-1] for n in NUMBERS
        ]
        gate: asyncio.Queue[bytes] = asyncio.Queue()

        async def gated() -> AsyncIterator[bytes]:
            while (item := await gate.get()) != b"end":
                yield item

        results = client.map("reverse", gated())
        gate.put_nowait(b"ab")
        assert await anext(results) == b"ba", "a result does not wait for the next workload"
        gate.put_nowait(b"cd")
        gate.put_nowait(b"end")
        assert [result async for result in results] == [b"dc"]

        async def broken() -> AsyncIterator[bytes]:
            yield b"1"
            raise LookupError

        with pytest.raises(LookupError):
            async for _ in client.map("reverse", broken()):
                pass
        left = client.map("reverse", gated())
        task = asyncio.ensure_future(anext(left))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await client.run("reverse", b"ab") == b"ba"


def test_each_job_of_a_stream_may_have_a_unique(client: Client, functions: Functions) -> None:
    made = []

    def unique(workload: bytes) -> str:
        made.append(workload)
        return f"photo/{workload.decode()}"

    assert list(client.map("reverse", NUMBERS[:9], unique=unique)) == [n[::-1] for n in NUMBERS[:9]]
    assert made == NUMBERS[:9]
    with pytest.raises(UsageError, match="window"):
        client.map("reverse", [], window=0)
    with pytest.raises(UsageError, match="NoneType"):
        list(client.map("reverse", [b"1", None]))  # type: ignore[list-item]


def test_background_jobs_of_a_stream(client: Client, server: ServerProcess) -> None:
    queue = f"queue-{server.kind}"
    handles = list(client.map_background(queue, iter(NUMBERS), window=10, unique=lambda data: b"u" + data))
    assert len(set(handles)) == len(NUMBERS)
    assert all(isinstance(handle, Handle) and handle.server == server.address for handle in handles)
    assert client.status(unique="u7") == JobStatus(True, False, 0, 0)
    worker = Worker(server.address)
    got: list[bytes] = []
    worker.register(queue, lambda job: got.append(job.workload))
    with working(worker):
        wait_until(lambda: len(got) == len(NUMBERS), "all are done")
    assert got == NUMBERS
    (later,) = client.map_background(queue, [b"x"], delay=3600)
    assert client.status(later).known
    with pytest.raises(UsageError):
        client.map_background(queue, [b"x"], delay=1, at=1)


@asyncio_test
async def test_background_jobs_of_a_stream_async(server: ServerProcess) -> None:
    queue = f"async-queue-{server.kind}"
    async with AsyncClient(server.address, timeout=PATIENCE) as client:
        handles = [handle async for handle in client.map_background(queue, slowly(NUMBERS), window=10)]
        assert len(set(handles)) == len(NUMBERS)
        assert all(status.known for status in await asyncio.gather(*map(client.status, handles)))
        assert [await client.cancel(handle) for handle in handles[:3]] == [True] * 3


def test_what_of_a_stream_the_server_does_not_take() -> None:
    with Server() as server, AdminClient(server.url) as admin, Client(server.url, timeout=PATIENCE) as client:
        client.submit_background("few")
        admin.maxqueue("few", 3)
        results: list[Any] = list(client.map_background("few", NUMBERS[:6], return_exceptions=True))
        assert [isinstance(result, Handle) for result in results] == [True, True, False, False, False, False]
        with pytest.raises(QueueFull):
            list(client.map_background("few", NUMBERS[:6]))


# Futures


def test_futures_as_they_end(client: Client, functions: Functions) -> None:
    slow = client.submit("slow", b"wait")
    others = [client.submit("picky", data) for data in NUMBERS[2:5]]
    ended = as_completed([slow, *others], timeout=PATIENCE)
    assert {next(ended) for _ in others} == set(others)
    functions.release.set()
    assert list(ended) == [slow] and slow.result() == b"wait"
    assert list(as_completed([])) == []


def test_futures_of_a_stream_without_end(client: Client, functions: Functions) -> None:
    submitted = 0

    def submit() -> Iterator[Any]:
        nonlocal submitted
        for number in itertools.count():
            submitted += 1
            yield client.submit("reverse", b"%d" % number)

    for count, future in enumerate(as_completed(submit(), window=5), 1):
        assert future.result() and submitted <= count + 5
        if count == 100:
            break
    late = client.submit("slow", b"wait")
    with pytest.raises(DeadlineExceeded, match="1 jobs"):
        list(as_completed([late], timeout=0.01))
    with pytest.raises(UsageError, match="window"):
        as_completed([], window=0)
    assert late.cancel() and list(as_completed([late, late])) == [late]


@asyncio_test
async def test_futures_as_they_end_async(server: ServerProcess, functions: Functions) -> None:
    async with AsyncClient(server.address, timeout=PATIENCE) as client:
        slow = client.submit("slow", b"wait")
        others = [client.submit("picky", data) for data in NUMBERS[2:5]]
        ended = async_as_completed([slow, *others])
        assert {await anext(ended) for _ in others} == set(others)
        functions.release.set()
        assert [future async for future in ended] == [slow] and await slow == b"wait"
        endless = (client.submit("reverse", b"%d" % number) for number in itertools.count())
        seen = 0
        stream = async_as_completed(endless, window=5)
        async for future in stream:
            assert await future
            if (seen := seen + 1) == 100:
                break
        await stream.aclose()  # type: ignore[attr-defined]

        async def submit() -> AsyncIterator[Any]:
            for data in NUMBERS[:9]:
                await asyncio.sleep(0)
                yield client.submit("reverse", data)

        results = [future.result() async for future in async_as_completed(submit())]
        assert sorted(results) == sorted(n[::-1] for n in NUMBERS[:9])
        functions.release.clear()
        late = client.submit("slow", b"wait")
        with pytest.raises(DeadlineExceeded, match="1 jobs"):
            async for _ in async_as_completed([late], timeout=0.01):
                pass


def test_a_future_tells_how_far_it_is(client: Client, functions: Functions, server: ServerProcess) -> None:
    future = client.submit("slow", b"wait")
    assert not future.wait(0.01)
    wait_until(lambda: future.handle and future.status().running, "it runs")
    for call in (future.result, future.exception):
        with pytest.raises(JobTimeout, match=r"'slow'.*no result from") as caught:
            call(0.01)
        assert caught.value.handle == future.handle and server.address in str(caught.value)
    called = threading.Event()
    future.add_done_callback(lambda _: called.set())
    functions.release.set()
    assert future.wait(PATIENCE) and future.result() == b"wait" and called.wait(PATIENCE)
    assert not future.status().known
    assert list(client.submit("parts").data(PATIENCE)) == [b"a", b"b", b"c"]
    parts = client.submit("parts")
    parts.result(PATIENCE)
    assert [event for event in parts.events() if isinstance(event, Data)] == [Data(b"a"), Data(b"b"), Data(b"c")]
    gone = client.submit("nobody")
    assert gone.cancel() and gone.wait(0)


@asyncio_test
async def test_a_future_tells_how_far_it_is_async(server: ServerProcess, functions: Functions) -> None:
    async with AsyncClient(server.address, timeout=PATIENCE) as client:
        future = client.submit("slow", b"wait")
        assert not (await future.status()).known
        deadline = time.monotonic() + PATIENCE
        while not (await future.status()).running:
            assert time.monotonic() < deadline
        assert not await future.wait(0.01)
        functions.release.set()
        assert await future.wait(PATIENCE) and await future == b"wait"
        assert not (await future.status()).known
        assert [part async for part in client.submit("parts").data(PATIENCE)] == [b"a", b"b", b"c"]


# Reduce


def test_reduce(client: Client, functions: Functions) -> None:
    assert client.run("split", b"1 2", reducer="add") == b"add:1 2"
    assert client.submit("split", b"3", reducer="add").result(PATIENCE) == b"add:3"
    assert client.submit_background("split", b"4", reducer="add").startswith("H:")


@asyncio_test
async def test_reduce_async(server: ServerProcess, functions: Functions) -> None:
    async with AsyncClient(server.address, timeout=PATIENCE) as client:
        assert await client.run("split", b"1 2", reducer="add") == b"add:1 2"
        assert await client.submit("split", b"3", reducer="add") == b"add:3"
        assert (await client.submit_background("split", b"4", reducer="add")).startswith("H:")


# Retries


def test_jobs_that_failed_are_tried_again(client: Client, functions: Functions) -> None:
    retry = Retry(3, backoff=SOON, on=JobFailed)
    assert client.run("third", b"run", retry=retry) == b"3"
    assert client.submit("third", b"submit", retry=retry).result(PATIENCE) == b"3"
    assert list(client.map("third", NUMBERS[:30], retry=retry)) == [b"3"] * 30
    assert list(client.map("third", NUMBERS[30:60], retry=retry, ordered=False)) == [b"3"] * 30
    with pytest.raises(JobFailed):
        client.run("third", b"too often", retry=Retry(2, backoff=SOON, on=JobFailed))
    with pytest.raises(JobFailed):
        client.run("third", b"others", retry=Retry(3, backoff=SOON, on=ConnectError))
    begun = time.monotonic()
    with pytest.raises(JobFailed):
        client.run("third", b"late", timeout=0.5, retry=Retry(9, backoff=Backoff(60), on=JobFailed))
    assert time.monotonic() - begun < PATIENCE / 2


@asyncio_test
async def test_jobs_that_failed_are_tried_again_async(server: ServerProcess, functions: Functions) -> None:
    retry = Retry(3, backoff=SOON, on=JobFailed)
    async with AsyncClient(server.address, timeout=PATIENCE, retry=retry) as client:
        assert await client.run("third", b"run") == b"3"
        assert await client.submit("third", b"submit") == b"3"
        assert [result async for result in client.map("third", NUMBERS[:30], ordered=False)] == [b"3"] * 30
        with pytest.raises(JobFailed):
            await client.run("third", b"too often", retry=Retry(2, backoff=SOON, on=JobFailed))
        assert await client.run("reverse", b"ab") == b"ba"


# Cancelling


def test_a_queued_job_is_cancelled(client: Client, server: ServerProcess) -> None:
    future = client.submit("nobody", b"x")
    assert client.cancel(future)
    with pytest.raises(JobCancelled, match="nobody") as caught:
        future.result(PATIENCE)
    assert caught.value.handle == future.handle
    assert not future.status().known or server.kind == "gearmand"
    handle = client.submit_background("nobody", b"x")
    assert client.cancel(handle)
    assert not client.cancel("H:nowhere:1")
    for bad in ("", "H:1 H:2"):
        with pytest.raises(UsageError, match="no handle"):
            client.cancel(bad)
    with pytest.raises(UsageError, match="not by int"):
        client.cancel(5)  # type: ignore[arg-type]


def test_a_running_job_is_cancelled(client: Client, functions: Functions, server: ServerProcess) -> None:
    future = client.submit("slow", b"wait")
    other = Client(server.address, timeout=PATIENCE)
    with other:
        joined = other.submit("slow", b"wait", unique=future.unique)
        wait_until(lambda: joined.handle and future.status().running, "it runs")
        assert client.cancel(future, timeout=PATIENCE)
        assert isinstance(future.exception(PATIENCE), JobCancelled)
        assert type(joined.exception(PATIENCE)) is JobFailed, "it was somebody else who cancelled it"
    if server.kind == "gearfast":
        assert not client.status(future.handle).known, "which is how its worker learns of it"
        assert not client.cancel(future.handle)
    functions.release.set()
    assert client.run("reverse", b"ab") == b"ba"
    done = client.submit("reverse", b"ab")
    assert done.result(PATIENCE) == b"ba" and not client.cancel(done)


@asyncio_test
async def test_jobs_are_cancelled_async(server: ServerProcess, functions: Functions) -> None:
    async with AsyncClient(server.address, timeout=PATIENCE) as client:
        queued, running = client.submit("nobody"), client.submit("slow", b"wait")
        assert await client.cancel(queued)
        with pytest.raises(JobCancelled):
            await queued
        deadline = time.monotonic() + PATIENCE
        while not (await running.status()).running:
            assert time.monotonic() < deadline
        assert await client.cancel(running)
        with pytest.raises(JobCancelled):
            await running
        functions.release.set()
        assert not await client.cancel("H:nowhere:1")
        with pytest.raises(UsageError, match="not by int"):
            await client.cancel(5)  # type: ignore[arg-type]
        assert await client.run("reverse", b"ab") == b"ba"
        assert not await client.cancel(Handle("H:nowhere:1", server.address), timeout=PATIENCE)

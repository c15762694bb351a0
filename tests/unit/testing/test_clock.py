# SPDX-License-Identifier: BSD-3-Clause
"""Time that passes when a test says so."""

from __future__ import annotations

import ast
import asyncio
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import gearfast.aio.client
import gearfast.sync.client
import gearfast.sync.stream
from gearfast import (
    AsyncClient,
    AsyncJob,
    Client,
    DeadlineExceeded,
    Job,
    JobTimeout,
    Server,
    Timeout,
    UsageError,
    Worker,
)
from gearfast.testing import FakeClock, MemoryServer, WorkerThread

from .test_memory_aio import until

START = datetime(2030, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
def clock() -> Iterator[FakeClock]:
    with FakeClock(START) as clock:
        yield clock


@pytest.fixture
def server(clock: FakeClock) -> Iterator[MemoryServer]:
    with MemoryServer(clock=clock) as server:
        yield server


async def ten_minutes() -> None:
    await asyncio.sleep(600)


def test_it_stands_still(clock: FakeClock) -> None:
    before = clock.monotonic()
    assert clock.now == START
    clock.advance(0)
    assert (clock.time(), clock.monotonic()) == (START.timestamp(), before)
    clock.advance(90)
    assert clock.now == START + timedelta(seconds=90)
    assert clock.monotonic() == pytest.approx(before + 90)
    clock.move_to(START + timedelta(days=1))
    assert clock.now == START + timedelta(days=1)
    with pytest.raises(UsageError):
        clock.move_to(START)
    with pytest.raises(UsageError):
        clock.advance(float("inf"))


def test_times_need_a_zone() -> None:
    with pytest.raises(UsageError, match="time zone"):
        FakeClock(datetime(2030, 1, 1))


def test_a_job_at_a_time(clock: FakeClock, server: MemoryServer, client: Client) -> None:
    at = START + timedelta(hours=1)
    client.submit_background("f", b"at", at=at)
    client.submit_background("f", b"delay", delay=60)
    seen: list[tuple[bytes, datetime]] = []

    def note(job: Job) -> None:
        seen.append((job.workload, clock.now))

    assert server.drain({"f": note}) == 0
    clock.advance(61)
    assert server.drain({"f": note}) == 1
    clock.move_to(at)
    assert server.drain({"f": note}) == 1
    assert seen == [(b"delay", START + timedelta(seconds=61)), (b"at", at)]
    server.assert_submitted("f", b"at", at=at.timestamp())


def test_a_worker_beside_the_test_gets_what_falls_due(clock: FakeClock, server: MemoryServer, client: Client) -> None:
    seen: list[bytes] = []
    with WorkerThread({"f": lambda job: seen.append(job.workload)}, server):
        for minutes in (3, 1, 2):
            client.submit_background("f", b"%d" % minutes, delay=60 * minutes)
        for minutes in (1, 2, 3):
            clock.advance(60)
            server.wait_idle(30)
            assert seen == [b"1", b"2", b"3"][:minutes]


def test_a_client_that_waits_for_its_time_out(clock: FakeClock, server: MemoryServer, client: Client) -> None:
    future = client.submit("f", timeout=30)
    server.wait_submitted("f")
    clock.advance(29)
    assert not future.done()
    clock.advance(2)
    with pytest.raises(JobTimeout):
        future.result(30)


def test_a_blocking_call_in_a_thread(clock: FakeClock, server: MemoryServer, client: Client) -> None:
    caught: list[Exception] = []

    def call() -> None:
        try:
            client.run("f", timeout=3600)
        except JobTimeout as error:
            caught.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    server.wait_submitted("f")
    clock.advance(3601)
    thread.join(30)
    assert len(caught) == 1


def test_a_workers_time_out(clock: FakeClock, server: MemoryServer, client: Client) -> None:
    """The job of a worker that hangs is given to another one."""
    begun, release = threading.Event(), threading.Event()

    def hang(job: Job) -> str:
        begun.set()
        release.wait(30)
        return "late"

    worker = Worker(server.url)
    worker.register("f", hang, timeout=60)
    with WorkerThread(worker):
        client.submit_background("f")
        assert begun.wait(30)
        clock.advance(61)
        assert [job.running for job in server.jobs()] == [False]
        assert server.drain({"f": lambda job: b"in time"}) == 1
        release.set()
    assert server.metrics()["functions"]["f"]["timeouts"] == 1


def test_a_server_that_is_away(clock: FakeClock) -> None:
    """A worker's pause between two attempts passes too."""
    done = threading.Event()
    worker = Worker("memory://away")
    worker.register("f", lambda job: done.set())
    with WorkerThread(worker), MemoryServer("away", clock=clock) as server, Client(server.url) as client:
        client.submit_background("f")
        clock.advance(60)
        assert done.wait(30)
        server.wait_idle(30)
        worker.stop()


def test_one_thread_sees_a_time_out() -> None:
    began = time.monotonic()
    with FakeClock(START, auto=True) as clock, MemoryServer(clock=clock) as server, Client(server.url) as client:
        with pytest.raises(JobTimeout):
            client.run("f", timeout=3600)
        assert clock.now == START + timedelta(hours=1)
        assert time.monotonic() - began < 600


def test_the_clock_stops_at_what_comes_before() -> None:
    seen: list[datetime] = []
    with FakeClock(START, auto=True) as clock, MemoryServer(clock=clock) as server, Client(server.url) as client:
        with WorkerThread({"f": lambda job: seen.append(clock.now)}, server):
            while not any(connection.functions for connection in server.connections()):
                time.sleep(0.001)
            client.submit_background("f", delay=100)
            client.submit_background("f", delay=200)
            with pytest.raises(JobTimeout):
                client.run("never", timeout=1000)
        assert seen == [START + timedelta(seconds=100), START + timedelta(seconds=200)]
        assert clock.now == START + timedelta(seconds=1000)


def test_real_sockets_follow_it() -> None:
    with Server() as server, FakeClock() as clock, Client(server.url) as client:
        future = client.submit("f", timeout=3600)
        while not server.jobs():
            time.sleep(0.001)
        clock.advance(3601)
        with pytest.raises(JobTimeout):
            future.result(30)


def test_a_call_that_is_answered_late(clock: FakeClock) -> None:
    with Client("memory://silent", timeout=Timeout(reply=10)) as client, MemoryServer("silent", clock=clock) as server:
        assert client.echo(b"1") == b"1"
        future = client.submit("f", timeout=20)
        server.wait_submitted("f")
        clock.advance(11)  # it has its handle: only the result is awaited
        assert not future.done()
        clock.advance(10)
        with pytest.raises(DeadlineExceeded):
            future.result(30)


def test_one_at_a_time(clock: FakeClock) -> None:
    with pytest.raises(UsageError, match="one at a time"), FakeClock():
        pass


def test_all_is_given_back() -> None:
    limit = gearfast.sync.stream.LONGEST_WAIT
    with FakeClock() as clock:
        assert gearfast.sync.client.monotonic() == clock.monotonic()
        assert gearfast.sync.client.time.time() == clock.time()
        assert gearfast.sync.client.time.sleep is time.sleep
        assert gearfast.aio.client.monotonic() == clock.monotonic()
    clock.uninstall()
    assert gearfast.sync.client.monotonic is time.monotonic
    assert gearfast.sync.client.time is time
    assert limit == gearfast.sync.stream.LONGEST_WAIT


@pytest.mark.parametrize("part", ["sync", "aio"])
def test_every_module_with_a_clock_is_reached(part: str) -> None:
    """The fake clock replaces names that stand for `monotonic`, `time.time` or `time`; no module may hide another."""
    root = Path(gearfast.__file__).parent
    for path in (root / part).glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module == "time":
                assert {alias.name for alias in node.names} <= {"monotonic", "time"}, path
            if isinstance(node, ast.Attribute) and ast.unparse(node).startswith("time."):
                assert node.attr in ("time", "monotonic", "sleep"), path  # who sleeps does so in real time


@pytest.mark.asyncio
async def test_an_asyncio_client(clock: FakeClock, server: MemoryServer) -> None:
    async with AsyncClient(server.url) as client:
        future = client.submit("f", timeout=3600)
        await until(lambda: bool(server.submissions))
        clock.advance(3599)
        await asyncio.sleep(0)
        assert not future.done()
        clock.advance(2)
        with pytest.raises(JobTimeout):
            await future


@pytest.mark.asyncio
async def test_the_loop_of_an_asyncio_worker(clock: FakeClock, server: MemoryServer) -> None:
    """What a callable sleeps passes too."""
    asleep = asyncio.Event()

    async def nap(job: AsyncJob) -> bytes:
        asleep.set()
        await ten_minutes()
        return b"rested"

    async with AsyncClient(server.url) as client:
        future = client.submit("nap")
        await until(lambda: bool(server.submissions))
        drained = asyncio.create_task(server.drain_async({"nap": nap}))
        await asleep.wait()
        await asyncio.sleep(0)
        clock.advance(601)
        assert await future == b"rested"
        assert await drained == 1
    assert clock.now == START + timedelta(seconds=601)


def test_loops_that_keep_their_time(clock: FakeClock) -> None:
    class Stubborn:
        __slots__ = ("__weakref__",)

        def time(self) -> float:
            return 0.0

    with pytest.raises(UsageError, match="Stubborn"):
        clock.adopt(Stubborn())  # type: ignore[arg-type]

# SPDX-License-Identifier: BSD-3-Clause
"""The asyncio client and worker when connections, servers and callables fail."""

from __future__ import annotations

import asyncio
import contextlib
import math
import ssl
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from gearfast import AsyncClient, AsyncWorker, Packet, Server
from gearfast.aio.stream import ProtocolStream
from gearfast.aio.worker import AsyncJob
from gearfast.errors import (
    ConnectError,
    ConnectionLost,
    DeadlineExceeded,
    JobException,
    JobFailed,
    JobTimeout,
)
from gearfast.protocol import Command
from gearfast.session.requests import Timeout

from .fault_proxy import DOWN, UP, BlackHole, Connection, End, FaultProxy, ScriptedPeer, reset
from .servers import PATIENCE
from .test_adversity import LATE, SUBMIT, complete, created, dribbling, leaves_nothing, silent

__all__ = ["leaves_nothing"]

pytestmark = pytest.mark.asyncio


async def eventually(look: Callable[[], object]) -> None:
    """Wait until `look()` is true; other tasks go on meanwhile."""
    deadline = time.monotonic() + PATIENCE
    while not look():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.002)


async def reverse(job: AsyncJob) -> bytes:
    return job.workload[::-1]


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


@contextlib.asynccontextmanager
async def reversing(**settings: Any) -> AsyncIterator[Server]:
    """A server with a worker of `reverse`."""
    with Server(**settings) as server:
        worker = AsyncWorker(server.url)
        worker.register("reverse", reverse)
        async with working(worker):
            yield server


@pytest.mark.parametrize("end", ["close", "reset", "half-close"])
@pytest.mark.parametrize("direction", [UP, DOWN])
async def test_a_connection_may_end_at_any_byte(direction: int, end: End) -> None:
    async with reversing() as server:
        with FaultProxy(server.port) as proxy:
            for count in range(0, 90 if direction == DOWN else SUBMIT + 1, 6):
                proxy.break_after(direction, count, end)
                async with AsyncClient(proxy.address, exceptions=False, timeout=PATIENCE) as client:
                    assert await client.run("reverse", b"abc", unique=f"u-{count:03}") == b"cba", count
                    assert await client.run("reverse", b"next", unique=f"v-{count:03}") == b"txen", count


async def test_results_that_came_before_the_end_are_not_lost() -> None:
    ended = threading.Event()

    def script(connection: Connection) -> None:
        if ended.is_set():
            connection.read("SUBMIT_JOB")
            connection.send(created(b"H:late"))
            return
        handles = [b"H:%d" % n for n in range(4)]
        for handle in handles:
            connection.read("SUBMIT_JOB")
            connection.send(created(handle))
        connection.send(*[complete(handle, handle) for handle in handles])
        reset(connection.socket)
        ended.set()

    with ScriptedPeer(script) as peer:
        async with AsyncClient(peer.address, resubmit="never", exceptions=False) as client:
            futures = [client.submit("f") for _ in range(3)]
            await eventually(lambda: futures[-1].handle)
            futures.append(client.submit("f"))
            await asyncio.sleep(0)  # it is sent
            assert ended.wait(PATIENCE)  # the loop stands still: nothing has been read
            late = client.submit("f")
            assert await asyncio.gather(*futures) == [b"H:0", b"H:1", b"H:2", b"H:3"]
            with pytest.raises((ConnectionLost, ConnectError)):
                await late


async def in_time(call: Callable[[], Any], error: type[BaseException], seconds: float) -> None:
    begun = time.monotonic()
    with pytest.raises(error):
        await call()
    assert seconds / 2 < time.monotonic() - begun <= seconds + LATE


@pytest.mark.parametrize("script", [silent, dribbling])
async def test_deadlines_hold_whatever_the_server_does(script: Callable[[Connection], None]) -> None:
    with ScriptedPeer(script) as peer:
        async with AsyncClient(peer.address, exceptions=False) as client:
            await in_time(lambda: client.run("f", timeout=0.2), JobTimeout, 0.2)
            await in_time(lambda: client.submit("f", timeout=0.2), JobTimeout, 0.2)
    with ScriptedPeer(silent) as peer:
        async with AsyncClient(peer.address, timeout=0.2) as client:
            await in_time(client.echo, DeadlineExceeded, 0.2)
            await in_time(lambda: client.submit_background("f"), DeadlineExceeded, 0.2)


async def test_deadlines_hold_while_a_connection_is_made() -> None:
    with BlackHole() as hole:
        client = AsyncClient(hole.address, timeout=Timeout(connect=0.6))
        patient = client.submit("f")
        await in_time(lambda: client.run("f", timeout=0.2), JobTimeout, 0.2)
        assert not patient.done()
        with pytest.raises(ConnectError):
            await patient
        given_up = client.submit("f")
        await asyncio.sleep(0)
        await client.close()  # waits for what it cancels: no socket is left
        with pytest.raises(ConnectionLost):
            await given_up


async def test_time_limits_without_end() -> None:
    async with reversing() as server, AsyncClient(server.url, timeout=math.inf) as client:
        assert await client.run("reverse", b"ab", timeout=1e10) == b"ba"


async def test_what_is_done_is_not_kept() -> None:
    """Time limits of finished jobs do not keep their results until the time is up."""
    async with reversing() as server, AsyncClient(server.url) as client:
        for _ in range(2000):
            await client.run("reverse", b"ab")
        assert client._pump is not None
        assert len(client._pump.hub.heap) < 600


async def test_workloads_are_not_kept() -> None:
    """256 of some megabytes would be gigabytes."""
    async with reversing() as server, AsyncClient(server.url) as client:
        for number in range(20):
            await client.submit_background("reverse", b"ab", unique=b"%d" % number)
            await client.run("reverse", b"ab")
        await asyncio.gather(*(client.run("reverse", b"%d" % number) for number in range(200)))
        assert client._pump is not None
        assert not client._pump.hub.heap


async def test_cancellation_at_every_await() -> None:
    """A task is cancelled after each number of turns of the loop; the client and its connection stay good."""
    async with reversing() as server, AsyncClient(server.url) as client:
        for turns in range(25):
            for start in (
                lambda: client.run("reverse", b"ab"),
                client.echo,
                lambda: client.submit_background("reverse", b"ab"),
                lambda: anext(aiter(client.map("reverse", [b"ab", b"cd"]))),
            ):
                task: asyncio.Future[Any] = asyncio.ensure_future(start())
                for _ in range(turns):
                    await asyncio.sleep(0)
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
            assert await client.run("reverse", b"xyz", timeout=PATIENCE) == b"zyx"
        await asyncio.to_thread(server.wait_idle, PATIENCE)


async def test_no_callable_stops_the_worker() -> None:
    class Unspeakable(Exception):
        def __str__(self) -> str:
            raise ValueError("no text")

    def unspeakable(job: AsyncJob) -> bytes:
        raise Unspeakable

    async def unspeakable_later(job: AsyncJob) -> bytes:
        raise Unspeakable

    def exhausted(job: AsyncJob) -> bytes:
        return next(iter(()))  # a StopIteration, which a future cannot carry

    async def cancels_itself(job: AsyncJob) -> bytes:
        raise asyncio.CancelledError

    def released(job: AsyncJob) -> memoryview:
        with memoryview(b"abc") as view:
            return view

    with Server() as server:
        worker = AsyncWorker(server.url)
        worker.register("reverse", reverse)
        odd = (unspeakable, unspeakable_later, exhausted, cancels_itself, released)
        for callable in odd:
            worker.register(callable.__name__, callable)
        async with working(worker), AsyncClient(server.url) as client:
            for callable in odd:
                with pytest.raises(JobFailed) as failed:
                    await client.run(callable.__name__, timeout=PATIENCE)
                assert isinstance(failed.value, JobException)
                assert await client.run("reverse", b"ab", timeout=PATIENCE) == b"ba"


async def test_stop_sends_the_last_results_whole() -> None:
    with Server() as server, FaultProxy(server.port) as proxy:
        worker = AsyncWorker(proxy.address, concurrency=2)

        @worker.function("big")
        async def big(job: AsyncJob) -> bytes:
            worker.stop()
            await eventually(lambda: worker._crew.leaving)
            return bytes(20_000_000)

        async with AsyncClient(server.url) as client:
            future = client.submit("big")
            await asyncio.wait_for(worker.run(), PATIENCE)
            assert len(await asyncio.wait_for(future, PATIENCE)) == 20_000_000


async def test_a_server_that_does_not_answer_a_grab_holds_up_nobody_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gearfast.session.crew.GRAB_SECONDS", 0.2)
    monkeypatch.setattr("gearfast.session.crew.LEAVE_SECONDS", 0.2)
    with ScriptedPeer(silent) as peer, Server() as server:
        worker = AsyncWorker([peer.address, server.url])
        worker.register("reverse", reverse)
        async with working(worker), AsyncClient(server.url) as client:
            assert await client.run("reverse", b"ab", timeout=PATIENCE) == b"ba"


async def test_stop_while_nothing_can_be_connected() -> None:
    with BlackHole() as hole:
        worker = AsyncWorker(hole.address, timeout=None)
        worker.register("reverse", reverse)
        task = asyncio.create_task(worker.run())
        await eventually(lambda: worker._connecting)
        worker.stop()
        await asyncio.wait_for(task, LATE)
        assert not worker._connecting


async def test_a_unix_socket_beside_tls_servers_needs_no_tls() -> None:
    """The context is for the others; the blocking client does the same."""
    with tempfile.TemporaryDirectory() as folder:
        async with reversing(unix=f"{folder}/s") as server:
            assert server.port
            async with AsyncClient(f"unix://{folder}/s", ssl=ssl.create_default_context()) as client:
                assert await client.run("reverse", b"ab", timeout=PATIENCE) == b"ba"


async def test_a_connection_that_is_lost_before_anybody_listens_is_reported() -> None:
    """A TLS server that refuses a certificate does so when the handshake is over already for the client."""
    lost = asyncio.get_running_loop().create_future()
    stream = ProtocolStream()
    stream.connection_lost(ConnectionResetError(104, "reset"))
    stream.start(lambda data: None, lost.set_result)
    assert "reset" in await asyncio.wait_for(lost, PATIENCE)


class CoarseLoop(asyncio.SelectorEventLoop):
    """A loop with a clock of its own, in whole milliseconds and another epoch, as uvloop's."""

    def time(self) -> float:
        return math.floor(super().time() * 1000) / 1000 - 1000.0


def coarse() -> bytes:
    """What a client on such a loop gets."""

    async def use(server: Server, hole: BlackHole) -> bytes:
        worker = AsyncWorker(server.url)
        worker.register("reverse", reverse)
        async with working(worker), AsyncClient(server.url) as client:
            result = await asyncio.wait_for(client.run("reverse", b"ab"), PATIENCE)
        async with AsyncClient(hole.address) as client:
            await in_time(lambda: client.run("f", timeout=0.2), JobTimeout, 0.2)
        return result

    with Server() as server, BlackHole() as hole, asyncio.Runner(loop_factory=CoarseLoop) as runner:
        return runner.run(use(server, hole))


async def test_a_loop_with_another_clock() -> None:
    assert await asyncio.to_thread(coarse) == b"ba"


async def test_a_server_that_answers_out_of_order_is_left() -> None:
    def script(connection: Connection) -> None:
        connection.read("SUBMIT_JOB")
        connection.send(Packet(Command.ECHO_RES, [b"?"]), created(b"H:1"), complete(b"H:1", b"wrong"))
        connection.wait_for_end()

    with ScriptedPeer(script) as peer:
        async with AsyncClient(peer.address, exceptions=False) as client:
            with pytest.raises(ConnectionLost, match="ECHO_RES came"):
                await client.run("f", timeout=PATIENCE)

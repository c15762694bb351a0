# SPDX-License-Identifier: BSD-3-Clause
"""The asyncio front ends with a scripted job server on the same loop, over both kinds of stream."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from gearfast._codec import Decoder, Packet, encode
from gearfast.aio.client import AsyncClient
from gearfast.aio.worker import AsyncJob, AsyncWorker
from gearfast.errors import DeadlineExceeded, SubmitUncertain, UsageError
from gearfast.protocol import Command
from gearfast.session.requests import Timeout

pytestmark = pytest.mark.asyncio


class Peer:
    """The server's end of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.reads = 0
        self._decoder = Decoder()
        self._packets: list[Any] = []

    async def take(self, *names: str) -> list[Packet]:
        """The next packets, which must have these names."""
        while len(self._packets) < len(names):
            data = await self.reader.read(1 << 20)
            assert data, f"the other side hung up, {names} awaited"
            self.reads += 1
            self._packets += self._decoder.receive(data)
        found, self._packets = self._packets[: len(names)], self._packets[len(names) :]
        assert [packet.name for packet in found] == list(names)
        return found

    async def greet(self) -> None:
        """A worker's greeting, answered as gearmand does, which does not hold grabs."""
        await self.take("OPTION_REQ", "CAN_DO", "GRAB_JOB_ALL")
        self.send(encode(Command.ERROR, b"UNKNOWN_OPTION", b"Server does not recognize given option"))

    def send(self, *packets: bytes) -> None:
        self.writer.write(b"".join(packets))


Script = Callable[[Peer], Awaitable[None]]


@contextlib.asynccontextmanager
async def scripted(*scripts: Script) -> AsyncIterator[str]:
    """The address of a server that plays one script for each connection."""
    left = list(scripts)
    failures: list[BaseException] = []
    done = asyncio.Semaphore(0)

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(20):
                await left.pop(0)(Peer(reader, writer))
        except BaseException as error:  # noqa: BLE001
            failures.append(error)
        finally:
            writer.close()
            done.release()

    server = await asyncio.start_server(play, "127.0.0.1", 0)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        for _ in scripts:
            async with asyncio.timeout(20):
                await done.acquire()
    assert failures == [] and left == []


@pytest.fixture(params=["reader", "protocol"], autouse=True)
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The protocol kind is what a loop without `add_reader` gets, as Windows' Proactor loop."""
    if request.param == "protocol":

        def without(*_: Any) -> None:
            raise NotImplementedError

        monkeypatch.setattr(asyncio.SelectorEventLoop, "add_reader", without)


def created(handle: bytes) -> bytes:
    return encode(Command.JOB_CREATED, handle)


def complete(handle: bytes, result: bytes = b"r") -> bytes:
    return encode(Command.WORK_COMPLETE, handle, result)


async def test_what_one_turn_of_the_loop_sends_goes_out_in_one_piece() -> None:
    async def script(peer: Peer) -> None:
        await peer.take("SUBMIT_JOB")
        peer.send(created(b"H:0"), complete(b"H:0"))
        peer.reads = 0
        jobs = await peer.take(*["SUBMIT_JOB"] * 64)
        assert peer.reads <= 2  # the first is sent at once, for the sake of a task that is alone
        peer.send(*(created(b"H:%d" % n) for n in range(1, 65)))
        peer.send(*(complete(b"H:%d" % (n + 1), job.args[2]) for n, job in enumerate(jobs)))

    async with scripted(script) as address, AsyncClient(address, exceptions=False) as client:
        await client.run("f")
        work = [b"%d" % n for n in range(64)]
        assert await asyncio.gather(*(client.run("f", data) for data in work)) == work


async def test_output_that_does_not_fit_follows() -> None:
    big = bytes(8_000_000)

    async def script(peer: Peer) -> None:
        jobs = await peer.take("SUBMIT_JOB", "SUBMIT_JOB", "SUBMIT_JOB")
        assert [len(job.args[2]) for job in jobs] == [8_000_000, 3, 8_000_000]
        peer.send(*(created(b"H:%d" % n) + complete(b"H:%d" % n) for n in range(3)))

    async with scripted(script) as address, AsyncClient(address, exceptions=False) as client:
        results = await asyncio.gather(client.run("f", big), client.run("f", b"abc"), client.run("f", big))
        assert results == [b"r"] * 3


async def test_a_lost_connection_is_made_again() -> None:
    async def lose(peer: Peer) -> None:
        await peer.take("SUBMIT_JOB", "SUBMIT_JOB")
        peer.send(created(b"H:1"))

    async def answer(peer: Peer) -> None:
        await peer.take("SUBMIT_JOB", "SUBMIT_JOB")
        peer.send(created(b"H:1"), complete(b"H:1", b"1"), created(b"H:2"), complete(b"H:2", b"2"))

    async with scripted(lose, answer) as address, AsyncClient(address, exceptions=False, resubmit="same") as client:
        assert await asyncio.gather(client.run("f"), client.run("f")) == [b"1", b"2"]


async def test_garbage_is_not_tried_again() -> None:
    async def script(peer: Peer) -> None:
        await peer.take("SUBMIT_JOB")
        peer.send(b"HTTP/1.0 400\r\n")

    async with scripted(script) as address, AsyncClient(address, exceptions=False) as client:
        with pytest.raises(SubmitUncertain):
            await client.run("f")


async def test_a_silent_server() -> None:
    async def script(peer: Peer) -> None:
        await peer.take("SUBMIT_JOB", "ECHO_REQ")
        assert await peer.reader.read() == b""

    timeout = Timeout(reply=0.3)
    async with scripted(script) as address, AsyncClient(address, exceptions=False, timeout=timeout) as client:
        with pytest.raises(DeadlineExceeded):
            await client.run("f")
        with pytest.raises(DeadlineExceeded, match="ECHO_REQ"):
            await client.echo()


async def test_worker_joins_result_and_next_grab() -> None:
    ready = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.greet()
        for number in range(3):
            peer.reads = 0
            peer.send(encode(Command.JOB_ASSIGN_UNIQ, b"H:%d" % number, b"f", b"", b"w"))
            await peer.take("WORK_COMPLETE", "GRAB_JOB_ALL")
            assert peer.reads == 1
        peer.send(encode(Command.NO_JOB))
        await peer.take("PRE_SLEEP")
        ready.set()
        assert await peer.reader.read() == b""

    async with scripted(script) as address:
        worker = AsyncWorker(address)

        @worker.function("f")
        async def work(job: AsyncJob) -> bytes:
            return job.workload

        task = asyncio.create_task(worker.run())
        await asyncio.wait_for(ready.wait(), 20)
        worker.stop()
        await asyncio.wait_for(task, 20)


async def test_a_callable_that_leaves() -> None:
    class Leave(BaseException):
        pass

    async def script(peer: Peer) -> None:
        await peer.greet()
        peer.send(encode(Command.JOB_ASSIGN_UNIQ, b"H:1", b"f", b"", b"w"))
        assert await peer.reader.read() == b""  # the job goes back by the end of the connection

    async with scripted(script) as address:
        worker = AsyncWorker(address)

        @worker.function("f")
        async def work(job: AsyncJob) -> bytes:
            raise Leave

        with pytest.raises(Leave):
            await asyncio.wait_for(worker.run(), 20)


async def test_submitting_needs_the_clients_own_loop() -> None:
    async def script(peer: Peer) -> None:
        await peer.take("ECHO_REQ")
        peer.send(encode(Command.ECHO_RES, b"x"))

    async with scripted(script) as address, AsyncClient(address, exceptions=False) as client:
        assert await client.echo(b"x") == b"x"

        def elsewhere() -> None:
            with pytest.raises(UsageError, match="another loop"):
                asyncio.run(client.echo())

        await asyncio.get_running_loop().run_in_executor(None, elsewhere)

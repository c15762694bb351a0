# SPDX-License-Identifier: BSD-3-Clause
"""Bare asyncio protocols: a future for each job, results found by their handles, and no more.

`Plain` writes each submission to its transport; `Joined` writes all of a turn of the loop at its end, in one piece.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from gearfast.bench.library.wire import HEAD, submission
from gearfast.protocol import Command

__all__ = ["Joined", "Plain", "tasks"]


class Plain(asyncio.Protocol):
    """`transport.write` for each job, a future for each job."""

    def __init__(self, packet: bytes) -> None:
        self.packet = packet
        self.loop = asyncio.get_running_loop()
        self.rest = b""
        self.created: deque[asyncio.Future[bytes]] = deque()
        self.running: dict[bytes, asyncio.Future[bytes]] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        for future in (*self.created, *self.running.values()):
            future.set_exception(exc or ConnectionResetError("the server has gone"))

    def data_received(self, data: bytes) -> None:
        if self.rest:
            data = self.rest + data
        at, size = 0, len(data)
        while size - at >= HEAD.size:
            _, command, length = HEAD.unpack_from(data, at)
            begin = at + HEAD.size
            end = begin + length
            if end > size:
                break
            if command == Command.JOB_CREATED:
                self.running[data[begin:end]] = self.created.popleft()
            else:
                handle, _, result = data[begin:end].partition(b"\0")
                self.running.pop(handle).set_result(result)
            at = end
        self.rest = data[at:]

    def run(self) -> Awaitable[bytes]:
        """Submits a job; its result."""
        self.transport.write(self.packet)
        return self.future()

    def future(self) -> asyncio.Future[bytes]:
        """The future of the next job."""
        future = self.loop.create_future()
        self.created.append(future)
        return future


class Joined(Plain):
    """The submissions of one turn of the loop go out in one write."""

    waiting = 0

    def run(self) -> Awaitable[bytes]:
        """Submits a job; its result."""
        if not self.waiting:
            self.loop.call_soon(self.flush)
        self.waiting += 1
        return self.future()

    def flush(self) -> None:
        """Writes what has been submitted since the last time."""
        count, self.waiting = self.waiting, 0
        self.transport.write(self.packet * count)


async def tasks(run: Callable[[], Awaitable[object]], count: int, number: int) -> None:
    """Runs `count` jobs in `number` tasks, each of which runs its share one after the other; 1: in no task of its own.

    `run` submits a job and waits for it.
    """

    async def share() -> None:
        for _ in range(count // number):
            await run()

    if number == 1:
        await share()
    else:
        await asyncio.gather(*(share() for _ in range(number)))


def _client(kind: type[Plain], number: int) -> Callable[[str, str], Callable[[int], None]]:
    def make(address: str, function: str) -> Callable[[int], None]:
        loop = asyncio.new_event_loop()
        host, _, port = address.rpartition(":")
        packet = submission(function)

        async def connect() -> Plain:
            return (await loop.create_connection(lambda: kind(packet), host, int(port)))[1]

        run = loop.run_until_complete(connect()).run
        return lambda count: loop.run_until_complete(tasks(run, count, number))

    return make


plain = _client(Plain, 1)
plain_tasks = _client(Plain, 64)
joined = _client(Joined, 1)
joined_tasks = _client(Joined, 64)

# SPDX-License-Identifier: BSD-3-Clause
"""A proxy that does to connections what networks do: cuts, delays, splits, stalls and duplicates them.

Argument: a setup as in `link.py`; each connection goes to one of its routes, and TLS passes as the bytes that it is.
Its own port is its first line of output. While it is told to drain, it passes everything on, and ends the connections
that cannot become sound again.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket

from .link import Orders, Route, pick, read_setup

FATES = (("plain", 4), ("cut", 4), ("split", 3), ("delay", 3), ("stall", 1), ("duplicate", 1), ("half", 1))
CHUNK = 65536


def write_all(writers: list[asyncio.StreamWriter], data: bytes) -> None:
    for writer in writers:
        if not writer.is_closing():
            writer.write(data)


class Pipe:
    """One accepted connection and its fate."""

    def __init__(self, proxy: Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.proxy = proxy
        self.reader = reader
        self.writer = writer
        self.choices = random.Random(proxy.choices.random())
        self.route = self.choices.choice(proxy.routes)
        self.fate = "plain" if proxy.calm else pick(self.choices, FATES)
        self.left = int(10 ** self.choices.uniform(1, 5.5)) if self.fate in ("cut", "half") else -1
        self.writers = [writer]

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self.route.kind == "unix":
            return await asyncio.open_unix_connection(self.route.host)
        return await asyncio.open_connection(self.route.host, self.route.port)

    async def run(self) -> None:
        try:
            up_reader, up = await self.connect()
        except OSError:
            self.end()
            return
        self.writers.append(up)
        targets = [up]
        tasks = [self.pass_on(up_reader, [self.writer])]
        if self.fate == "duplicate":
            with contextlib.suppress(OSError):
                shadow_reader, shadow = await self.connect()
                self.writers.append(shadow)
                targets.append(shadow)
                tasks.append(self.swallow(shadow_reader))
        tasks.append(self.pass_on(self.reader, targets))
        running = [asyncio.ensure_future(task) for task in tasks]
        limit = self.choices.uniform(0.5, 4) if self.fate in ("duplicate", "half") else None
        try:
            await asyncio.wait(running, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
            if self.fate == "half" and not self.proxy.calm:
                # One direction has ended; the other one goes on for a while.
                await asyncio.wait(running, timeout=self.choices.uniform(0, 2))
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            self.end()

    def end(self) -> None:
        for writer in self.writers:
            if self.choices.random() < 0.5:
                sock = writer.get_extra_info("socket")
                with contextlib.suppress(OSError, AttributeError):
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
            writer.transport.abort()

    async def swallow(self, reader: asyncio.StreamReader) -> None:
        while await reader.read(CHUNK):
            pass

    async def pass_on(self, reader: asyncio.StreamReader, writers: list[asyncio.StreamWriter]) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK):
                if not self.proxy.calm:
                    data = await self.spoil(data, writers)
                    if not data:
                        break
                write_all(writers, data)
                for writer in writers:
                    await writer.drain()
            if self.fate == "half":
                for writer in writers:
                    writer.write_eof()

    async def spoil(self, data: bytes, writers: list[asyncio.StreamWriter]) -> bytes:
        """What is to be sent of `data`; nothing ends this direction."""
        if self.left >= 0:
            data = data[: self.left]
            self.left -= len(data)
            if not self.left:
                write_all(writers, data)
                return b""
        elif self.fate == "delay":
            await asyncio.sleep(self.choices.uniform(0, 0.05))
        elif self.fate == "stall" and self.choices.random() < 0.02:
            await asyncio.sleep(self.choices.uniform(0, 3))
        elif self.fate == "split" and len(data) < 2000:
            at = 0
            while len(data) - at > 7:
                size = self.choices.randint(1, 40)
                write_all(writers, data[at : at + size])
                at += size
                await asyncio.sleep(0)
            data = data[at:]
        return data


class Proxy:
    def __init__(self, choices: random.Random, routes: list[Route]) -> None:
        self.choices = choices
        self.routes = routes
        self.calm = False
        self.pipes: dict[asyncio.Task[None], Pipe] = {}

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        pipe = self.pipes[task] = Pipe(self, reader, writer)
        try:
            await pipe.run()
        finally:
            del self.pipes[task]

    def become_calm(self) -> None:
        self.calm = True
        for pipe in list(self.pipes.values()):
            if pipe.fate in ("duplicate", "half", "stall"):
                pipe.end()


async def serve() -> None:
    setup, choices, _ = read_setup()
    proxy = Proxy(choices, setup.routes)
    server = await asyncio.start_server(proxy.accept, "127.0.0.1", 0, limit=CHUNK)
    print(server.sockets[0].getsockname()[1], flush=True)
    orders = Orders()
    while (order := orders.look()) != "q":
        if order == "d" and not proxy.calm:
            proxy.become_calm()
        elif order == "g":
            proxy.calm = False
        await asyncio.sleep(0.05)
    server.close()
    left = dict(proxy.pipes)
    for pipe in left.values():
        pipe.end()
    if left:
        await asyncio.wait(left, timeout=5)


if __name__ == "__main__":
    asyncio.run(serve())

# SPDX-License-Identifier: BSD-3-Clause
"""`aiogear.admin`: the text protocol."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections import deque
from typing import Any

from gearfast.compat.aiogear.mixin import to_bytes, to_text

logger = logging.getLogger(__name__.removeprefix("gearfast.compat."))

_WORKER = re.compile(r"(?P<fd>\d+) (?P<ip>\S+) (?P<name>.*?) ?: ?(?P<functions>.*)")


class Admin(asyncio.Protocol):
    """A protocol for `loop.create_connection`. Calls may overlap; answers come in the order of the calls.

    A lost connection makes everything that waits raise ConnectionError.
    """

    def __init__(self, loop: Any = None) -> None:
        if loop is None:
            with contextlib.suppress(RuntimeError):  # made outside of the loop that will connect it
                loop = asyncio.get_running_loop()
        self.loop = loop
        self.transport: Any = None
        self.waiters: deque[tuple[asyncio.Future[Any], bytes]] = deque()
        self.buffer = b""
        self.linesep = b"\n"
        self.structure_sep = b"\n.\n"
        self.telnet_sep = b"\r\n"

    def connection_made(self, transport: Any) -> None:
        """asyncio's: the connection is there."""
        self.transport = transport
        self.buffer = b""
        if self.loop is None:
            self.loop = asyncio.get_running_loop()

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio's: the connection is gone."""
        self.transport = None
        while self.waiters:
            future, _ = self.waiters.popleft()
            if not future.done():
                future.set_exception(ConnectionError("the connection to the job server is lost"))
                future.exception()  # nobody need look at it

    def data_received(self, data: bytes) -> None:
        """Takes bytes of the job server: answers for those who wait, in their order."""
        self.buffer += data
        while self.buffer:
            if not self.waiters:
                logger.warning("Unexpected msg %s", self.buffer)
                self.buffer = b""
                return
            future, eol = self.waiters[0]
            end, following = self._end_of_answer(eol)
            if end < 0:
                return
            text = to_text(self.buffer[:end]).removesuffix("\r")
            self.buffer = self.buffer[following:]
            self.waiters.popleft()
            if not future.done():
                future.set_result(text)

    def _end_of_answer(self, eol: bytes) -> tuple[int, int]:
        """Where the answer at the head of the buffer ends and the next one begins; (-1, -1) if more has to come."""
        line = self.buffer.find(b"\n")
        if line < 0:
            return -1, -1
        first = self.buffer[:line]
        if eol != self.structure_sep or (first.startswith(b"ERR ") and b"\t" not in first):
            return line, line + 1  # a server says OK or ERR in one line, with CR or without
        if first in (b".", b".\r"):
            return 0, line + 1  # an empty list
        for dot in (b"\n.\n", b"\n.\r\n"):
            if (end := self.buffer.find(dot)) >= 0:
                return end, end + len(dot)
        return -1, -1

    async def _list(self, command: bytes) -> list[str]:
        answer = await self.send_and_wait_resp(command, self.structure_sep)
        if answer.startswith("ERR ") and "\t" not in answer:
            raise RuntimeError(answer)
        return [line.removesuffix("\r") for line in answer.split("\n") if line]

    async def workers(self) -> list[dict[str, Any]]:
        """All connections: dicts fd (int), ip_address, name, functions (list of str)."""
        found = []
        for line in await self._list(b"workers"):
            parts = _WORKER.fullmatch(line)
            if parts is None:
                logger.warning("Malformed worker line %s", line)
                continue
            found.append(
                {
                    "fd": int(parts["fd"]),
                    "ip_address": parts["ip"],
                    "name": parts["name"],
                    "functions": parts["functions"].split(),
                }
            )
        return found

    async def status(self) -> list[dict[str, Any]]:
        """All functions: dicts function, total, running, available_workers (int)."""
        found = []
        for line in await self._list(b"status"):
            function, total, running, available = line.rsplit("\t", 3)
            found.append(
                {
                    "function": function,
                    "total": int(total),
                    "running": int(running),
                    "available_workers": int(available),
                }
            )
        return found

    async def maxqueue(self, function: Any, size: Any = None) -> str:
        """Limits the queue of a function: a number, or three by priority; None for no limit. Returns `OK`.

        Raises RuntimeError for any other size.
        """
        try:
            sizes = [] if size is None else [int(one) for one in size] if _is_sequence(size) else [int(size)]
        except (TypeError, ValueError):
            sizes = [0, 0]
        if len(sizes) == 2 or len(sizes) > 3 or (_is_sequence(size) and len(sizes) != 3):
            raise RuntimeError(f"Unsupported size parameter {size}, it must be either int or list of 3 values")
        words = [b"maxqueue", to_bytes(function), *(str(one).encode() for one in sizes)]
        return str(await self.send_and_wait_resp(b" ".join(words), self.telnet_sep))

    async def shutdown(self, graceful: bool = False) -> str:
        """Asks the server to end. Returns its answer; recent servers refuse in it."""
        command = b"shutdown graceful" if graceful else b"shutdown"
        return str(await self.send_and_wait_resp(command, self.telnet_sep))

    async def version(self) -> str:
        """`OK` and the version."""
        return str(await self.send_and_wait_resp(b"version", self.linesep))

    async def verbose(self) -> str:
        """`OK` and the level of the log."""
        return str(await self.send_and_wait_resp(b"verbose", self.linesep))

    def send_and_wait_resp(self, cmd: bytes, expected_eol: bytes) -> asyncio.Future[Any]:
        """Sends a line; a future of the answer without its end. `expected_eol`: `structure_sep` for a list."""
        future: asyncio.Future[Any] = (self.loop or asyncio.get_running_loop()).create_future()
        if self.transport is None:
            future.set_exception(ConnectionError("not connected to a job server"))
            return future
        self.transport.write(cmd + self.linesep)
        self.waiters.append((future, expected_eol))
        return future

    def disconnect(self) -> None:
        """Closes the connection."""
        if self.transport is not None:
            self.transport.close()

    close = disconnect


def _is_sequence(size: Any) -> bool:
    return isinstance(size, list | tuple)

# SPDX-License-Identifier: BSD-3-Clause
"""The asyncio side of a connection in memory; apart, so that blocking programs do without asyncio."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from gearfast.aio.stream import ReaderStream
from gearfast.frontend.sockets import reason_of

if TYPE_CHECKING:
    from gearfast.testing.memory import MemoryServer

__all__ = ["AsyncMemoryStream"]


class AsyncMemoryStream(ReaderStream):
    """A client's or worker's end, as the asyncio front end wants it. All that it sends is taken at once."""

    def __init__(
        self,
        server: MemoryServer,
        loop: asyncio.AbstractEventLoop,
        on_data: Callable[[bytes], None],
        on_lost: Callable[[str], None],
    ) -> None:
        self._server = server
        self._loop = loop
        self._on_data = on_data
        self._on_lost = on_lost
        self._closed = False
        self._scheduled = False
        self._refused = 0
        self._pid = os.getpid()
        self._task: asyncio.Task[None] | None = None
        # What comes is taken in as by a socket: not in the context of who sent it.
        self._context = contextvars.copy_context()
        self._connection = server.open(self._notify)

    def write(self, data: bytes) -> None:
        if self._closed:
            return
        try:
            self._server.send(self._connection, data)
        except OSError as error:
            self._refused += len(data)
            self._loop.call_soon(self._lose, reason_of(error))

    @property
    def unsent_bytes(self) -> int:
        return 0

    @property
    def refused_bytes(self) -> int:
        return self._refused

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._server.hang_up(self._connection)

    def forked(self) -> None:
        if os.getpid() == self._pid:  # it is only the loop that is gone
            self.close()
        self._closed = True

    def _notify(self) -> None:
        """Something came, in any thread. The server's lock is held."""
        if not self._scheduled and not self._closed:
            self._scheduled = True
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._deliver, context=self._context)

    def _deliver(self) -> None:
        self._scheduled = False
        if self._closed or self._task is not None:
            return
        if self._server.has_inline_jobs:
            self._task = self._loop.create_task(self._after_jobs())
        else:
            self._read()

    async def _after_jobs(self) -> None:
        """The answers are given out once the jobs are done."""
        try:
            await self._server.run_inline_async()
        finally:
            self._task = None
        if not self._closed:
            self._read()

    def _read(self) -> None:
        with self._server.lock:
            data, ended = self._connection.take(), self._connection.ended
        if data:
            self._on_data(data)
        if ended:
            self._lose("closed by the server")

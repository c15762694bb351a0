# SPDX-License-Identifier: BSD-3-Clause
"""The asyncio client."""

from __future__ import annotations

import asyncio
import logging
import os
import time
import weakref
from collections import deque
from collections.abc import AsyncIterator, Iterable
from datetime import datetime
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING

from gearfast._sockets import new_prefix
from gearfast.aio.stream import Pump
from gearfast.errors import GearfastError, JobTimeout, UsageError
from gearfast.session.calls import ClientCalls
from gearfast.session.events import Event
from gearfast.session.hub import Link, Resubmit
from gearfast.session.requests import EchoRequest, JobRequest, Request, Timeout
from gearfast.session.routing import Servers
from gearfast.types import Handle, JobStatus, Priority

if TYPE_CHECKING:
    from ssl import SSLContext

__all__ = ["AsyncClient", "AsyncJobFuture"]

logging.getLogger("gearfast.client").addHandler(logging.NullHandler())

_clients: weakref.WeakSet[AsyncClient] = weakref.WeakSet()


class AsyncJobFuture(asyncio.Future[bytes]):
    """The result of a submitted job, to come. Also an `asyncio.Future`: await it.

    `cancel` gives up waiting; a job that nobody waits for any more is dropped by the server if it is still queued when
    the client's connection ends.
    """

    def __init__(self, job: JobRequest, pump: Pump) -> None:
        super().__init__(loop=pump.loop)
        self._job = job
        self._pump = pump
        self._changed: asyncio.Event | None = None

    @property
    def function(self) -> str:
        """The function's name."""
        return self._job.function

    @property
    def unique(self) -> bytes:
        """The job's unique, made by the client if none was given."""
        return self._job.unique

    @property
    def handle(self) -> Handle:
        """The job's handle; empty until the server has given it one."""
        return Handle(self._job.handle_text, self._job.server)

    @property
    def progress(self) -> tuple[int, int]:
        """Numerator and denominator of the last status, (0, 0) before."""
        return self._job.progress

    async def events(self, timeout: float | None = None) -> AsyncIterator[Event]:  # noqa: ASYNC109
        """Yield Data, Warning and Status as they come, from the first on, and end with the job, however it ends.

        Each event is given out once. `timeout`: seconds to wait for the next one; then JobTimeout is raised.
        """
        changed = self._changed = self._changed or asyncio.Event()
        events = self._job.events
        assert events is not None
        while True:
            while events:
                yield events.popleft()
            if self._job.done:
                return
            changed.clear()
            try:
                async with asyncio.timeout(timeout):
                    await changed.wait()
            except TimeoutError:
                raise JobTimeout(f"{self._job.what}: no event in time", handle=self._job.handle_text) from None

    def cancel(self, msg: object = None) -> bool:
        """Stop waiting. Returns False if the job is done already."""
        if not super().cancel():
            return False
        self._pump.abandon(self._job)
        if self._changed is not None:
            self._changed.set()
        return True

    def settle(self) -> None:
        """Something happened to the job; the pump calls this."""
        if self._changed is not None:
            self._changed.set()
        job = self._job
        if job.done and not self.done():
            if job.error is not None:
                self.set_exception(job.error)
            else:
                self.set_result(job.result)


class AsyncClient:
    """Submits jobs to Gearman job servers and waits for their results.

    Arguments as for `Client`. One connection to a server carries all tasks' jobs at once; what they send in one turn of
    the loop goes out in one piece. Cancelling a task that waits leaves the connection usable. A client belongs to the
    loop that first uses it; once that is closed, another one may. Nothing is connected before the first call.
    """

    def __init__(
        self,
        servers: Servers = "gearman://127.0.0.1:4730",
        *,
        timeout: float | Timeout | None = Timeout(),  # noqa: B008
        ssl: SSLContext | None = None,
        exceptions: bool = True,
        id: str | None = None,
        resubmit: Resubmit = "same",
    ) -> None:
        self._calls = ClientCalls(
            servers, timeout=timeout, exceptions=exceptions, id=id, resubmit=resubmit, prefix=new_prefix()
        )
        self._context = ssl
        self._closed = False
        self._pump: Pump | None = None
        _clients.add(self)

    async def run(
        self,
        function: str,
        workload: bytes | bytearray | memoryview = b"",
        *,
        unique: str | bytes | None = None,
        priority: Priority = Priority.NORMAL,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> bytes:
        """Submit a job and return its result.

        `timeout`: seconds for the whole call. Raises as `Client.run`. After a time-out or a cancellation the job itself
        goes on.
        """
        now = monotonic()
        job = self._calls.job(function, workload, unique, priority, timeout, now)
        pump = self._get_pump()
        await self._finish(pump, job, pump.hub.submit(job, now))
        return job.result

    def submit(
        self,
        function: str,
        workload: bytes | bytearray | memoryview = b"",
        *,
        unique: str | bytes | None = None,
        priority: Priority = Priority.NORMAL,
        timeout: float | None = None,
    ) -> AsyncJobFuture:
        """Submit a job and return its future at once.

        Needs a running loop.
        `timeout`: seconds until the future fails with JobTimeout. Raises UsageError; all else comes by the future.
        """
        now = monotonic()
        job = self._calls.job(function, workload, unique, priority, timeout, now)
        pump = self._get_pump()
        future = AsyncJobFuture(job, pump)
        job.events = deque()
        job.waiter = future
        pump.sent(job, pump.hub.submit(job, now))
        return future

    async def submit_background(
        self,
        function: str,
        workload: bytes | bytearray | memoryview = b"",
        *,
        unique: str | bytes | None = None,
        priority: Priority = Priority.NORMAL,
        at: float | datetime | None = None,
        delay: float | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> Handle:
        """Hand a job to the server and return its handle once the server has taken it. Its result is not kept.

        Arguments and errors as for `Client.submit_background`.
        """
        if delay is not None:
            if at is not None:
                raise UsageError("either at or delay, not both")
            at = time.time() + delay
        now = monotonic()
        job = self._calls.background(function, workload, unique, priority, at, timeout, now)
        pump = self._get_pump()
        await self._finish(pump, job, pump.hub.submit(job, now))
        return Handle(job.handle_text, job.server)

    def map(
        self,
        function: str,
        workloads: Iterable[bytes | bytearray | memoryview],
        *,
        window: int = 64,
        priority: Priority = Priority.NORMAL,
        timeout: float | None = None,
    ) -> AsyncIterator[bytes]:
        """Run one job for each workload and yield the results in order, at most `window` jobs being under way.

        Arguments and errors as for `Client.map`.
        """
        if window < 1:
            raise UsageError(f"window is at least 1, not {window}")
        return self._map(function, workloads, window, priority, timeout)

    async def status(self, handle: str | None = None, *, unique: str | bytes | None = None) -> JobStatus:
        """What the server knows of a job, by its handle or by its unique.

        Arguments and errors as for `Client.status`.
        """
        error: GearfastError | None = None
        status: JobStatus | None = None
        for index in self._calls.places(handle, monotonic()):
            request = self._calls.status(handle, unique)
            await self._ask(request, index)
            if request.error is not None:
                error = request.error
                continue
            status = request.result
            if request.result.known:
                break
        if status is None:
            assert error is not None
            raise error
        return status

    async def echo(self, data: bytes | bytearray | memoryview = b"gearfast") -> bytes:
        """Send data to a server (the first that is not away) and return what comes back: a test of the connection.

        Raises ConnectError, ConnectionLost, DeadlineExceeded.
        """
        request = EchoRequest(data)
        await self._ask(request, self._calls.places(None, monotonic())[0])
        if request.error is not None:
            raise request.error
        return request.result

    async def close(self) -> None:
        """Close all connections. Futures that are not done fail with ConnectionLost. May be called twice."""
        self._closed = True
        pump, self._pump = self._pump, None
        if pump is not None:
            pump.close()
            await pump.wait_closed()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    # Inside

    def _get_pump(self) -> Pump:
        pump = self._pump
        if pump is not None and pump.loop is asyncio.get_running_loop():
            return pump
        if self._closed:
            raise UsageError("the client was closed")
        if pump is not None and not pump.loop.is_closed():
            raise UsageError("the client belongs to another loop, which is still open")
        if pump is not None:
            pump.forked()  # its loop cannot close the sockets any more
        self._pump = Pump(self._calls.make_hub(), context=self._context)
        return self._pump

    async def _wait(self, pump: Pump, request: Request, link: Link) -> None:
        """Wait until a request, which was just given to the hub, is done."""
        waiter = request.waiter = pump.loop.create_future()
        pump.sent(request, link)
        try:
            await waiter
        except asyncio.CancelledError:
            pump.abandon(request)
            raise

    async def _finish(self, pump: Pump, job: JobRequest, link: Link) -> None:
        await self._wait(pump, job, link)
        if job.error is not None:
            raise job.error

    async def _ask(self, request: Request, index: int) -> None:
        """Send a request to one server and wait until it is done."""
        now = monotonic()
        self._calls.limit(request, None, now)
        pump = self._get_pump()
        await self._wait(pump, request, pump.hub.send(request, index, now))

    async def _map(
        self,
        function: str,
        workloads: Iterable[bytes | bytearray | memoryview],
        window: int,
        priority: Priority,
        timeout: float | None,  # noqa: ASYNC109
    ) -> AsyncIterator[bytes]:
        pump = self._get_pump()
        waiting: deque[JobRequest] = deque()
        source = iter(workloads)
        more = True
        try:
            while True:
                while more and len(waiting) < window:
                    for workload in source:
                        now = monotonic()
                        job = self._calls.job(function, workload, None, priority, timeout, now)
                        job.waiter = pump.loop.create_future()
                        pump.sent(job, pump.hub.submit(job, now))
                        waiting.append(job)
                        break
                    else:
                        more = False
                if not waiting:
                    break
                if not waiting[0].done:
                    await waiting[0].waiter
                while waiting and waiting[0].done:
                    job = waiting.popleft()
                    if job.error is not None:
                        raise job.error
                    yield job.result
        finally:
            for job in waiting:
                pump.abandon(job)

    def _forked(self) -> None:
        """In a forked child: the loop and the connections are the parent's."""
        self._calls.restart(new_prefix())
        pump, self._pump = self._pump, None
        if pump is not None:
            pump.forked()


def _after_fork() -> None:
    for client in list(_clients):
        client._forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)

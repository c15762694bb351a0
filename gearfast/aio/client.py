# SPDX-License-Identifier: BSD-3-Clause
"""The asyncio client."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Iterable
from contextlib import aclosing
from datetime import datetime
from functools import partial
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from gearfast.aio.fork import watch
from gearfast.aio.future import NOTHING, Arrivals, AsyncJobFuture, Source
from gearfast.aio.stream import Pump
from gearfast.errors import GearfastError, UsageError
from gearfast.frontend.sockets import FORKED, new_prefix
from gearfast.protocol import MAX_PACKET, MAX_WORKLOAD
from gearfast.session.calls import ClientCalls, check_window, make_delay
from gearfast.session.hub import Resubmit
from gearfast.session.requests import EchoRequest, JobRequest, Request, Timeout
from gearfast.session.retry import Backoff, Retry
from gearfast.session.routing import AWAY, Servers
from gearfast.types import Handle, JobStatus, Priority

if TYPE_CHECKING:
    from ssl import SSLContext

__all__ = ["AsyncClient"]

W = TypeVar("W", bound="bytes | bytearray | memoryview")
T = TypeVar("T")


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
        resubmit: Resubmit = "unique",
        retry: Retry | None = None,
        backoff: Backoff = AWAY,
        max_result: int = MAX_PACKET,
        max_workload: int = MAX_WORKLOAD,
    ) -> None:
        self._calls = ClientCalls(
            servers,
            timeout=timeout,
            exceptions=exceptions,
            id=id,
            resubmit=resubmit,
            prefix=new_prefix(),
            retry=retry,
            backoff=backoff,
            max_result=max_result,
            max_workload=max_workload,
        )
        self._context = ssl
        self._closed = False
        self._pump: Pump | None = None
        watch(self)

    async def run(
        self,
        function: str,
        workload: bytes | bytearray | memoryview = b"",
        *,
        unique: str | bytes | None = None,
        priority: Priority = Priority.NORMAL,
        timeout: float | None = None,  # noqa: ASYNC109
        reducer: str | None = None,
        retry: Retry | None = None,
    ) -> bytes:
        """Submit a job and return its result.

        Arguments and errors as for `Client.run`. After a time-out or a cancellation the job itself goes on.
        """
        now = monotonic()
        job = self._calls.job(function, workload, unique, priority, timeout, now, reducer, retry)
        # As `_finish`, without a coroutine more: in many tasks at once that is a tenth of a job's cost.
        pump = self._get_pump()
        waiter = job.waiter = pump.loop.create_future()
        pump.start(job, now)
        try:
            await waiter
        except asyncio.CancelledError:
            pump.abandon(job)
            raise
        if job.error is not None:
            raise job.error
        return job.result

    def submit(
        self,
        function: str,
        workload: bytes | bytearray | memoryview = b"",
        *,
        unique: str | bytes | None = None,
        priority: Priority = Priority.NORMAL,
        timeout: float | None = None,
        reducer: str | None = None,
        retry: Retry | None = None,
    ) -> AsyncJobFuture:
        """Submit a job and return its future at once.

        Needs a running loop. Arguments as for `run`.
        `timeout`: seconds until the future fails with JobTimeout. Raises UsageError; all else comes by the future.
        """
        now = monotonic()
        return self._follow(self._calls.job(function, workload, unique, priority, timeout, now, reducer, retry), now)

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
        reducer: str | None = None,
        retry: Retry | None = None,
    ) -> Handle:
        """Hand a job to the server and return its handle once the server has taken it; `result` may fetch its result.

        Arguments and errors as for `Client.submit_background`.
        """
        if delay is not None:
            at = make_delay(at, delay, time.time())
        now = monotonic()
        job = self._calls.background(function, workload, unique, priority, timeout, now, reducer, retry, at)
        await self._finish(job, now)
        return job.to_handle()

    @overload
    def map(
        self,
        function: str,
        workloads: Iterable[W] | AsyncIterable[W],
        *,
        window: int = ...,
        ordered: bool = ...,
        return_exceptions: Literal[False] = ...,
        unique: Callable[[W], str | bytes] | None = ...,
        priority: Priority = ...,
        timeout: float | None = ...,
        retry: Retry | None = ...,
    ) -> AsyncIterator[bytes]: ...

    @overload
    def map(
        self,
        function: str,
        workloads: Iterable[W] | AsyncIterable[W],
        *,
        window: int = ...,
        ordered: bool = ...,
        return_exceptions: bool,
        unique: Callable[[W], str | bytes] | None = ...,
        priority: Priority = ...,
        timeout: float | None = ...,
        retry: Retry | None = ...,
    ) -> AsyncIterator[bytes | GearfastError]: ...

    def map(
        self,
        function: str,
        workloads: Iterable[W] | AsyncIterable[W],
        *,
        window: int = 64,
        ordered: bool = True,
        return_exceptions: bool = False,
        unique: Callable[[W], str | bytes] | None = None,
        priority: Priority = Priority.NORMAL,
        timeout: float | None = None,
        retry: Retry | None = None,
    ) -> AsyncIterator[bytes | GearfastError]:
        """Run one job for each workload and yield the results in order, at most `window` jobs being under way.

        `workloads` may be asynchronous. Arguments and errors as for `Client.map`.
        """
        check_window(window)
        jobs = self._flow(self._calls.job, function, workloads, window, ordered, unique, priority, timeout, retry)
        return _results(jobs, return_exceptions)

    @overload
    def map_background(
        self,
        function: str,
        workloads: Iterable[W] | AsyncIterable[W],
        *,
        window: int = ...,
        return_exceptions: Literal[False] = ...,
        unique: Callable[[W], str | bytes] | None = ...,
        priority: Priority = ...,
        at: float | datetime | None = ...,
        delay: float | None = ...,
        timeout: float | None = ...,
        retry: Retry | None = ...,
    ) -> AsyncIterator[Handle]: ...

    @overload
    def map_background(
        self,
        function: str,
        workloads: Iterable[W] | AsyncIterable[W],
        *,
        window: int = ...,
        return_exceptions: bool,
        unique: Callable[[W], str | bytes] | None = ...,
        priority: Priority = ...,
        at: float | datetime | None = ...,
        delay: float | None = ...,
        timeout: float | None = ...,
        retry: Retry | None = ...,
    ) -> AsyncIterator[Handle | GearfastError]: ...

    def map_background(
        self,
        function: str,
        workloads: Iterable[W] | AsyncIterable[W],
        *,
        window: int = 64,
        return_exceptions: bool = False,
        unique: Callable[[W], str | bytes] | None = None,
        priority: Priority = Priority.NORMAL,
        at: float | datetime | None = None,
        delay: float | None = None,
        timeout: float | None = None,
        retry: Retry | None = None,
    ) -> AsyncIterator[Handle | GearfastError]:
        """Hand one job for each workload to the servers and yield the handles in order, `window` at most unanswered.

        `workloads` may be asynchronous. Arguments and errors as for `Client.map_background`.
        """
        check_window(window)
        if delay is not None:
            at = make_delay(at, delay, time.time())
        make = self._calls.background if at is None else partial(self._calls.background, at=at)
        jobs = self._flow(make, function, workloads, window, True, unique, priority, timeout, retry)
        return _handles(jobs, return_exceptions)

    async def status(
        self,
        handle: str | None = None,
        *,
        unique: str | bytes | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> JobStatus:
        """What the server knows of a job, by its handle or by its unique.

        Arguments and errors as for `Client.status`.
        """
        begun = monotonic()
        survey = self._calls.ask_status(handle, unique, timeout, begun)
        while (request := survey.next(monotonic())) is not None:
            await self._ask(request, survey.index)
        return survey.result()

    async def result(
        self,
        job: str | bytes,
        *,
        function: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> bytes:
        """The result of a job that somebody has submitted, by its handle or its unique; waits for its end.

        Arguments and errors as for `Client.result`.
        """
        fetch = self._calls.fetch(job, function, timeout, monotonic())
        while (request := fetch.next(monotonic())) is not None:
            await self._ask(request, fetch.index)
        return fetch.result()

    async def cancel(self, job: str | AsyncJobFuture[Any], *, timeout: float | None = None) -> bool:  # noqa: ASYNC109
        """Take a job from its server, queued or running, by its handle or its future. Returns whether it was there.

        Arguments and errors as for `Client.cancel`.
        """
        begun = monotonic()
        if isinstance(job, str):
            handle, future = job, None
        else:
            future = self._calls.checked_future(job)
            handle = await future._await_handle(self._calls.patience(timeout))
            if not handle:
                return False
        survey = self._calls.ask_cancel(handle, timeout, begun)
        cancelled = False
        if future is not None:
            future._job.cancelling = True  # before the server can tell
        try:
            while (request := survey.next(monotonic())) is not None:
                await self._ask(request, survey.index)
            cancelled = survey.result()
        finally:
            if future is not None:
                future._job.cancelling = cancelled
        return cancelled

    async def echo(
        self,
        data: bytes | bytearray | memoryview = b"gearfast",
        *,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> bytes:
        """Send data to a server (the first that is not away) and return what comes back: a test of the connection.

        Arguments and errors as for `Client.echo`.
        """
        now = monotonic()
        request = EchoRequest(data)
        self._calls.limit(request, timeout, now)
        await self._ask(request, self._calls.places(None, now)[0])
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

    def _submit(
        self,
        decode: Callable[[bytes], T],
        function: str,
        workload: bytes | bytearray | memoryview,
        *,
        unique: str | bytes | None = None,
        priority: Priority = Priority.NORMAL,
        timeout: float | None = None,
        retry: Retry | None = None,
    ) -> AsyncJobFuture[T]:
        """As `submit`, for a task: `decode` makes the future's result of the job's, and may raise a GearfastError."""
        now = monotonic()
        job = self._calls.job(function, workload, unique, priority, timeout, now, None, retry)
        return self._follow(job, now, decode)

    def _follow(self, job: JobRequest, now: float, decode: Callable[[bytes], T] | None = None) -> AsyncJobFuture[T]:
        pump = self._get_pump()
        future = AsyncJobFuture(job, pump, self, decode)
        job.events = deque()
        job.waiter = future
        pump.start(job, now)
        return future

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

    async def _finish(self, job: JobRequest, now: float) -> None:
        """Submit a job and wait until it is done."""
        pump = self._get_pump()
        waiter = job.waiter = pump.loop.create_future()
        pump.start(job, now)
        try:
            await waiter
        except asyncio.CancelledError:
            pump.abandon(job)
            raise
        if job.error is not None:
            raise job.error

    async def _ask(self, request: Request, index: int) -> None:
        """Send a request to one server and wait until it is done."""
        pump = self._get_pump()
        waiter = request.waiter = pump.loop.create_future()
        pump.sent(request, pump.hub.send(request, index, monotonic()))
        try:
            await waiter
        except asyncio.CancelledError:
            pump.abandon(request)
            raise

    async def _flow(
        self,
        make: Callable[..., JobRequest],
        function: str,
        workloads: Iterable[W] | AsyncIterable[W],
        window: int,
        ordered: bool,
        unique: Callable[[W], str | bytes] | None,
        priority: Priority,
        timeout: float | None,  # noqa: ASYNC109
        retry: Retry | None,
    ) -> AsyncGenerator[JobRequest, None]:
        """Submit a job for each workload, `window` at once, and yield those that are done, in order or as they end."""
        pump = self._get_pump()
        arrivals = Arrivals(pump.loop, ordered)
        waiting = arrivals.waiting
        jobs: set[JobRequest] = set()  # until they are given out
        source = Source(workloads, arrivals.wake)
        try:
            while True:
                while not source.ended and len(jobs) < window and (workload := source.take()) is not NOTHING:
                    now = monotonic()
                    key = None if unique is None else unique(workload)
                    job = make(function, workload, key, priority, timeout, now, None, retry)
                    job.waiter = arrivals
                    pump.start(job, now)
                    jobs.add(job)
                    if ordered:
                        waiting.append(job)
                if source.ended and not jobs:
                    break
                if not arrivals.ready:
                    await arrivals.wait()
                while arrivals.ready:
                    job = waiting.popleft()
                    jobs.remove(job)
                    yield job
        finally:
            source.close()
            for job in jobs:
                pump.abandon(job)

    def _fork_loop(self) -> asyncio.AbstractEventLoop | None:
        return None if self._pump is None else self._pump.loop

    def _after_fork(self) -> None:
        """In a forked child: the connections are the parent's, and so is what is awaited."""
        self._calls.restart(new_prefix())
        pump, self._pump = self._pump, None
        if pump is not None:
            pump.forked()
            if not pump.loop.is_closed():
                pump.fail(FORKED)


async def _results(
    jobs: AsyncGenerator[JobRequest, None], return_exceptions: bool
) -> AsyncIterator[bytes | GearfastError]:
    async with aclosing(jobs):
        async for job in jobs:
            if job.error is None:
                yield job.result
            elif return_exceptions:
                yield job.error
            else:
                raise job.error


async def _handles(
    jobs: AsyncGenerator[JobRequest, None], return_exceptions: bool
) -> AsyncIterator[Handle | GearfastError]:
    async with aclosing(jobs):
        async for job in jobs:
            if job.error is None:
                yield job.to_handle()
            elif return_exceptions:
                yield job.error
            else:
                raise job.error

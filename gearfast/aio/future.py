# SPDX-License-Identifier: BSD-3-Clause
"""Futures of submitted jobs, and what streams of jobs are waited for by."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final, Generic

from gearfast.aio.stream import Pump
from gearfast.errors import DeadlineExceeded, GearfastError
from gearfast.session.calls import check_window
from gearfast.session.events import Data, Event
from gearfast.session.requests import JobRequest, Request, late
from gearfast.types import Handle, JobStatus

if TYPE_CHECKING:
    from typing_extensions import (
        TypeVar,
    )  # for checkers, which all have it: a default makes AsyncJobFuture that of bytes

    from gearfast.aio.client import AsyncClient

    T = TypeVar("T", default=bytes)
else:
    from typing import TypeVar

    T = TypeVar("T")

__all__ = ["NOTHING", "Arrivals", "AsyncJobFuture", "Source", "async_as_completed"]

NOTHING: Final = object()
F = TypeVar("F", bound="asyncio.Future[Any]")


class AsyncJobFuture(asyncio.Future[T]):
    """The result of a submitted job, to come. Also an `asyncio.Future`: await it.

    Its result is bytes, or, if a task was submitted, what the task's serializer makes of them: `AsyncJobFuture[str]`.
    `cancel` gives up waiting; a job that nobody waits for any more is dropped by the server if it is still queued when
    the client's connection ends. `AsyncClient.cancel` takes it from the server.
    """

    def __init__(
        self, job: JobRequest, pump: Pump, client: AsyncClient, decode: Callable[[bytes], T] | None = None
    ) -> None:
        super().__init__(loop=pump.loop)
        self._decode = decode
        self._job = job
        self._pump = pump
        self._client = client
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
        return self._job.to_handle()

    @property
    def progress(self) -> tuple[int, int]:
        """Numerator and denominator of the last status, (0, 0) before."""
        return self._job.progress

    @property
    def submissions(self) -> int:
        """How often the job went out: 1, more if it was sent again after a lost connection or by a Retry, 0 not yet."""
        return self._job.earlier + self._job.submissions

    async def wait(self, timeout: float | None = None) -> bool:  # noqa: ASYNC109
        """Wait for the job's end, however it ends, for up to `timeout` seconds. Returns whether it has ended."""
        done, _ = await asyncio.wait((self,), timeout=timeout)
        return bool(done)

    async def status(self) -> JobStatus:
        """Ask the server how far the job is; before it has a handle, and after its end, it is not known.

        Raises as `Client.status`.
        """
        if not self._job.handle:
            await asyncio.sleep(0)  # who asks in a loop must let the handle come
            return JobStatus(False, False, 0, 0)
        return await self._client.status(self.handle)

    async def events(self, timeout: float | None = None) -> AsyncIterator[Event]:  # noqa: ASYNC109
        """Yield Data, Warning and Status as they come, from the first on, and end with the job, however it ends.

        Each event is given out once. `timeout`: seconds to wait for the next one; then JobTimeout is raised.
        """
        events = self._job.events
        assert events is not None
        while True:
            await self._await(lambda: bool(events), timeout, "no event")
            try:
                event = events.popleft()
            except IndexError:
                return
            yield event

    async def data(self, timeout: float | None = None) -> AsyncIterator[bytes]:  # noqa: ASYNC109
        """Yield the parts of the result (WORK_DATA) as they come; warnings and status between them are dropped.

        `timeout`: as for `events`.
        """
        async for event in self.events(timeout):
            if isinstance(event, Data):
                yield event.data

    def cancel(self, msg: object = None) -> bool:
        """Stop waiting. Returns False if the job is done already."""
        if not super().cancel():
            return False
        self._pump.abandon(self._job)
        if self._changed is not None:
            self._changed.set()
        return True

    def settle(self, request: Request) -> None:
        """Something happened to the job; the pump calls this."""
        if self._changed is not None:
            self._changed.set()
        if request.done and not self.done():
            if request.error is not None:
                self.set_exception(request.error)
            elif self._decode is None:
                self.set_result(request.result)
            else:
                try:
                    self.set_result(self._decode(request.result))
                except GearfastError as error:
                    self.set_exception(error)

    async def _await_handle(self, timeout: float | None) -> Handle:  # noqa: ASYNC109
        """The handle, as soon as the server has given it; empty if the job ended without one. Raises JobTimeout."""
        await self._await(lambda: bool(self._job.handle), timeout, "no handle")
        return self.handle

    async def _await(self, look: Callable[[], bool], timeout: float | None, what: str) -> None:  # noqa: ASYNC109
        """Wait until `look` finds something or the job is done. Raises JobTimeout."""
        changed = self._changed = self._changed or asyncio.Event()
        try:
            async with asyncio.timeout(timeout):
                while not look() and not self._job.done:
                    changed.clear()
                    await changed.wait()
        except TimeoutError:
            raise late(self._job, what) from None


class Arrivals:
    """What all jobs of one stream tell that they are done; whoever gives them out waits for it.

    `waiting`: the jobs in order, or, without an order, those that are done.
    """

    __slots__ = ("_loop", "_ordered", "_woken", "waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop, ordered: bool) -> None:
        self._loop = loop
        self._ordered = ordered
        self._woken: asyncio.Future[None] | None = None
        self.waiting: deque[JobRequest] = deque()

    @property
    def ready(self) -> bool:
        """A job may be given out."""
        return bool(self.waiting) and self.waiting[0].done

    def settle(self, request: Request) -> None:
        """Something happened to a job; the pump calls this."""
        if request.done and isinstance(request, JobRequest):
            if not self._ordered:
                self.waiting.append(request)
            if self.waiting[0].done:
                self.wake()

    def wake(self, _: object = None) -> None:
        """End the wait."""
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)

    async def wait(self) -> None:
        """Wait until there may be something new."""
        self._woken = self._loop.create_future()
        try:
            await self._woken
        finally:
            self._woken = None


class Source(Generic[T]):
    """Takes from any iterable, asynchronous or not, one at a time. `wake` is called when there may be more."""

    def __init__(self, items: Iterable[T] | AsyncIterable[T], wake: Callable[[object], None]) -> None:
        self.ended = False
        self._plain: Iterator[T] | None = None
        self._slow: AsyncIterator[T] | None = None
        self._next: asyncio.Task[object] | None = None
        self._wake = wake
        if isinstance(items, AsyncIterable):
            self._slow = aiter(items)
        else:
            self._plain = iter(items)

    def take(self) -> Any:
        """The next item, or NOTHING: there is none yet, or it has `ended`. Raises what the iterable does."""
        if self._plain is not None:
            item: object = next(self._plain, NOTHING)
        else:
            if self._next is None:
                self._next = asyncio.create_task(self._fetch())
                self._next.add_done_callback(self._wake)
            if not self._next.done():
                return NOTHING
            task, self._next = self._next, None
            item = task.result()
        self.ended = item is NOTHING
        return item

    def close(self) -> None:
        """Take no more."""
        task, self._next = self._next, None
        if task is not None and not task.cancel() and not task.cancelled():
            task.exception()  # which nobody will ask for any more

    async def _fetch(self) -> object:
        assert self._slow is not None
        return await anext(self._slow, NOTHING)


async def async_as_completed(
    futures: Iterable[F] | AsyncIterable[F],
    *,
    window: int | None = None,
    timeout: float | None = None,  # noqa: ASYNC109
) -> AsyncIterator[F]:
    """Yield futures as they end, however they end, those that have ended first.

    Arguments and errors as for `as_completed`; `futures` may be asynchronous.
    """
    if window is not None:
        check_window(window)
    loop = asyncio.get_running_loop()
    deadline = None if timeout is None else loop.time() + timeout
    arrivals = Arrivals(loop, False)
    ended: deque[F] = deque()
    taken: set[F] = set()

    def end(future: F) -> None:
        if future in taken:
            ended.append(future)
            arrivals.wake()

    source = Source(futures, arrivals.wake)
    try:
        while True:
            while not source.ended and (window is None or len(taken) < window):
                future = source.take()
                if future is NOTHING:
                    break
                if future not in taken:
                    taken.add(future)
                    future.add_done_callback(end)
            if source.ended and not taken:
                return
            if not ended:
                try:
                    async with asyncio.timeout_at(deadline):
                        await arrivals.wait()
                except TimeoutError:
                    raise DeadlineExceeded(f"{len(taken)} jobs have not ended in time") from None
            while ended:
                future = ended.popleft()
                taken.remove(future)
                yield future
    finally:
        source.close()
        for future in taken:
            future.remove_done_callback(end)

# SPDX-License-Identifier: BSD-3-Clause
"""Futures of submitted jobs, and the thread that completes them."""

from __future__ import annotations

import random
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, Future, InvalidStateError
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Any

from gearfast.errors import DeadlineExceeded, GearfastError, JobTimeout, UsageError
from gearfast.session.calls import ClientCalls, check_window
from gearfast.session.events import Data, Event
from gearfast.session.requests import JobRequest, Request, late
from gearfast.sync.pump import Pump
from gearfast.sync.stream import READ, WakePipe
from gearfast.types import Handle, JobStatus

if TYPE_CHECKING:
    from ssl import SSLContext

    from typing_extensions import TypeVar  # for checkers, which all bring it: a default means bytes

    from gearfast.sync.client import Client

    T = TypeVar("T", default=bytes)
else:
    from typing import TypeVar

    T = TypeVar("T")

__all__ = ["JobFuture", "Submitter", "as_completed"]

F = TypeVar("F", bound="Future[Any]")


class JobFuture(Future[T]):
    """The result of a submitted job, to come. Also a `concurrent.futures.Future`.

    Its result is bytes, or, if a task was submitted, what the task's serializer makes of them: `JobFuture[str]`.
    `cancel` gives up waiting; a job that nobody waits for any more is dropped by the server if it is still queued when
    the client's connection ends. `Client.cancel` takes it from the server. A callback of `add_done_callback` runs in
    the client's thread, so it must not wait for another job of the client.
    """

    def __init__(
        self, job: JobRequest, submitter: Submitter, client: Client, decode: Callable[[bytes], T] | None = None
    ) -> None:
        super().__init__()
        self._decode = decode
        self._job = job
        self._submitter = submitter
        self._client = client
        self._changed: threading.Condition | None = None
        self._cancelling = False

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

    def result(self, timeout: float | None = None) -> T:
        """The job's result, waiting for it for up to `timeout` seconds.

        Raises as `Client.run`; JobTimeout if it is not there in time, and CancelledError after `cancel`; a task's
        future also SerializeError.
        """
        try:
            return super().result(timeout)
        except TimeoutError:
            if self.done():  # at the last moment, or this is the job's own error
                return super().result(0)
            raise self._late("no result") from None

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """The job's error, None if it has a result, waiting for up to `timeout` seconds. Raises as `result`."""
        try:
            return super().exception(timeout)
        except TimeoutError:
            if self.done():
                return super().exception(0)
            raise self._late("no result") from None

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the job's end, however it ends, for up to `timeout` seconds. Returns whether it has ended."""
        try:
            super().exception(timeout)
        except CancelledError:
            return True
        except TimeoutError:
            return False
        return True

    def status(self) -> JobStatus:
        """Ask the server how far the job is; before it has a handle, and after its end, it is not known.

        Raises as `Client.status`.
        """
        handle = self.handle
        return self._client.status(handle) if handle else JobStatus(False, False, 0, 0)

    def events(self, timeout: float | None = None) -> Iterator[Event]:
        """Yield Data, Warning and Status as they come, from the first on, and end with the job, however it ends.

        Each event is given out once. `timeout`: seconds to wait for the next one; then JobTimeout is raised.
        """
        events = self._job.events
        assert events is not None
        while True:
            if not self._await(lambda: bool(events), timeout):
                raise self._late("no event")
            try:
                event = events.popleft()
            except IndexError:
                return
            yield event

    def data(self, timeout: float | None = None) -> Iterator[bytes]:
        """Yield the parts of the result (WORK_DATA) as they come; warnings and status between them are dropped.

        `timeout`: as for `events`.
        """
        for event in self.events(timeout):
            if isinstance(event, Data):
                yield event.data

    def cancel(self) -> bool:
        """Stop waiting. Returns False if the job is done already."""
        if not super().cancel():
            return False
        with self._submitter.lock:
            first, self._cancelling = not self._cancelling, True
            self._submitter.abandon(self._job)
            if self._changed is not None:
                self._changed.notify_all()
        if first:
            self.set_running_or_notify_cancel()
        return True

    def _await_handle(self, timeout: float | None) -> Handle:
        """The handle, as soon as the server has given it; empty if the job ended without one. Raises JobTimeout."""
        if not self._await(lambda: bool(self._job.handle), timeout):
            raise self._late("no handle")
        return self.handle

    def _await(self, look: Callable[[], bool], timeout: float | None) -> bool:
        """Wait until `look` finds something or the job is done. Returns whether that came in time."""
        with self._submitter.lock:
            changed = self._changed = self._changed or threading.Condition(self._submitter.lock)
            return changed.wait_for(lambda: look() or self._job.done, timeout)

    def _forked(self) -> None:
        """In a forked child: who waited, and whom it was to call back, are the parent's."""
        self._condition = threading.Condition()
        self._changed = None
        self._done_callbacks: list[Callable[[Future[T]], object]] = []

    def _late(self, what: str) -> JobTimeout:
        return late(self._job, what)


def as_completed(futures: Iterable[F], *, window: int | None = None, timeout: float | None = None) -> Iterator[F]:
    """Yield futures as they end, however they end, those that have ended first.

    `futures`: any iterable, such as a generator that submits. `window`: at most so many of them are taken from it that
    have not been given out yet; None: all of them, at once. `timeout`: seconds from the call to the last one; then
    DeadlineExceeded is raised. Raises UsageError for a window below 1.
    """
    if window is not None:
        check_window(window)
    return _as_completed(iter(futures), window, None if timeout is None else monotonic() + timeout)


def _as_completed(source: Iterator[F], window: int | None, deadline: float | None) -> Iterator[F]:
    from queue import Empty, SimpleQueue

    ended: SimpleQueue[F] = SimpleQueue()
    taken: set[F] = set()
    more = True
    while more or taken:
        while more and (window is None or len(taken) < window):
            # One at a time, and what has ended goes out first: the source may look at what it was given.
            future = next(source, None)
            if future is None:
                more = False
            elif future not in taken:
                taken.add(future)
                future.add_done_callback(ended.put)  # type: ignore[arg-type]
            if window is not None and not ended.empty():
                break
        if taken:
            try:
                future = ended.get(timeout=None if deadline is None else max(0.0, deadline - monotonic()))
            except Empty:
                raise DeadlineExceeded(f"{len(taken)} jobs have not ended in time") from None
            taken.remove(future)
            yield future


class Submitter:
    """A thread with connections of its own that takes answers in while the callers do other things."""

    def __init__(self, calls: ClientCalls, context: SSLContext | None) -> None:
        self.lock = threading.Lock()
        self._hub = calls.make_hub()
        self._pump = Pump(self._hub, context=context, lock=self.lock)
        self._pipe = WakePipe()
        self._pump.poller.watch(self._pipe.fileno(), READ)
        self._closing = False
        self.ended = False
        self._thread = threading.Thread(target=self._run, name="gearfast-client", daemon=True)
        self._thread.start()

    def submit(self, job: JobRequest, client: Client, decode: Callable[[bytes], T] | None = None) -> JobFuture[T]:
        """Send a job, from the caller's thread if that does not block. `decode` makes the future's result of bytes."""
        future = JobFuture(job, self, client, decode)
        job.events = deque()
        job.waiter = future
        with self.lock:
            if self.ended:
                raise UsageError("the client was closed")
            link = self._hub.submit(job, monotonic())
            self._hub.watch(job)
            sent = link.session is not None and self._pump.flush_link(link) and link.session is not None
        limit = job.reply_by
        if not sent or self._hub.trials or (limit is not None and limit < self._pump.sleeps_until):
            self._pipe.wake()
        return future

    def abandon(self, job: JobRequest) -> None:
        """Nobody waits for the job any more. The lock is held."""
        self._hub.abandon(job)

    def close(self) -> None:
        """End the thread; futures that are not done fail."""
        self._closing = True
        self._pipe.wake()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def forked(self) -> None:
        """In a forked child, where the thread does not exist: what it was to tell is told, the rest is the parent's."""
        self.ended = True
        self.lock = threading.Lock()  # a thread that is not here may hold it, and those of the futures
        self._pump.forked()
        self._pipe.close()
        for request in self._hub.news:
            if request.waiter is not None:
                request.waiter._forked()
                _settle(request)

    def _run(self) -> None:
        try:
            while not self._closing:
                self._pump.step()
                self._pipe.drain()
                self._tell()
        finally:  # whatever ended it, nobody waits for ever
            with self.lock:
                self.ended = True
                self._pump.close()
            self._tell()
            self._pipe.close()

    def _tell(self) -> None:
        with self.lock:
            if self._hub.retries:
                self._hub.retry_failed(monotonic(), random.random())
            news, self._hub.news[:] = self._hub.news[:], []
            for request in news:
                waiter = request.waiter
                if waiter is not None and waiter._changed is not None:
                    waiter._changed.notify_all()
        for request in news:
            if request.waiter is not None and request.done:
                _settle(request)


def _settle(request: Request) -> None:
    future: JobFuture[Any] = request.waiter
    with suppress(InvalidStateError):  # it was cancelled
        if request.error is not None:
            future.set_exception(request.error)
        elif future._decode is None:
            future.set_result(request.result)
        else:
            try:
                value = future._decode(request.result)
            except GearfastError as error:
                future.set_exception(error)
            else:
                future.set_result(value)

# SPDX-License-Identifier: BSD-3-Clause
"""Futures of submitted jobs, and the thread that completes them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING

from gearfast.errors import JobTimeout, UsageError
from gearfast.session.calls import ClientCalls
from gearfast.session.events import Event
from gearfast.session.requests import JobRequest, Request
from gearfast.sync.stream import READ, Pump, WakePipe
from gearfast.types import Handle

if TYPE_CHECKING:
    from ssl import SSLContext

__all__ = ["JobFuture", "Submitter"]


class JobFuture(Future[bytes]):
    """The result of a submitted job, to come. Also a `concurrent.futures.Future`.

    `cancel` gives up waiting; a job that nobody waits for any more is dropped by the server if it is still queued when
    the client's connection ends.
    """

    def __init__(self, job: JobRequest, submitter: Submitter) -> None:
        super().__init__()
        self._job = job
        self._submitter = submitter
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
        return Handle(self._job.handle_text, self._job.server)

    @property
    def progress(self) -> tuple[int, int]:
        """Numerator and denominator of the last status, (0, 0) before."""
        return self._job.progress

    def events(self, timeout: float | None = None) -> Iterator[Event]:
        """Yield Data, Warning and Status as they come, from the first on, and end with the job, however it ends.

        Each event is given out once. `timeout`: seconds to wait for the next one; then JobTimeout is raised.
        """
        with self._submitter.lock:
            if self._changed is None:
                self._changed = threading.Condition(self._submitter.lock)
        changed, events = self._changed, self._job.events
        assert events is not None
        while True:
            with changed:
                if (
                    not events
                    and not self._job.done
                    and not changed.wait_for(lambda: events or self._job.done, timeout)
                ):
                    raise JobTimeout(f"{self._job.what}: no event in time", handle=self._job.handle_text)
                if not events:
                    return
                event = events.popleft()
            yield event

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

    def submit(self, job: JobRequest) -> JobFuture:
        """Send a job, from the caller's thread if that does not block."""
        future = JobFuture(job, self)
        job.events = deque()
        job.waiter = future
        with self.lock:
            if self.ended:
                raise UsageError("the client was closed")
            link = self._hub.submit(job, monotonic())
            self._hub.watch(job)
            sent = link.session is not None and self._pump.flush_link(link) and link.session is not None
        limit = job.reply_by
        if not sent or (limit is not None and limit < self._pump.sleeps_until):
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
        """In a forked child, where the thread does not exist."""
        self._pump.forked()
        self._pipe.close()

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
            news, self._hub.news[:] = self._hub.news[:], []
            for request in news:
                waiter = request.waiter
                if waiter is not None and waiter._changed is not None:
                    waiter._changed.notify_all()
        for request in news:
            if request.waiter is not None and request.done:
                _settle(request)


def _settle(request: Request) -> None:
    future: JobFuture = request.waiter
    with suppress(InvalidStateError):  # it was cancelled
        if request.error is not None:
            future.set_exception(request.error)
        else:
            future.set_result(request.result)

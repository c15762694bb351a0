# SPDX-License-Identifier: BSD-3-Clause
"""The blocking client."""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Iterable, Iterator
from datetime import datetime
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Final

from gearfast._sockets import new_prefix
from gearfast.errors import GearfastError, UsageError
from gearfast.session.calls import ClientCalls
from gearfast.session.hub import Resubmit
from gearfast.session.requests import EchoRequest, JobRequest, Request, Timeout
from gearfast.session.routing import Servers
from gearfast.sync.stream import Pump
from gearfast.types import Handle, JobStatus, Priority

if TYPE_CHECKING:
    from ssl import SSLContext

    from gearfast.sync.future import JobFuture, Submitter

__all__ = ["Client"]

logging.getLogger("gearfast.client").addHandler(logging.NullHandler())

IDLE: Final = 0.005
"""Seconds after whose rest a connection is looked at before it is used again: its server may have gone."""

_clients: weakref.WeakSet[Client] = weakref.WeakSet()


class Client:
    """Submits jobs to Gearman job servers and waits for their results.

    `servers`: `"gearman://h1:4730,h2"`, `"gearmans://h"` (TLS), `"unix:///path"`, `"h:4730"`, or several of those. With
    several, the job's unique decides which one gets it (rendezvous hashing), so that equal uniques meet; a server that
    is away is passed over.
    `timeout`: seconds for each call, or a `Timeout`; its defaults are 5 s to connect, 30 s for a reply, no limit for a
    result.
    `ssl`: context for TLS. `exceptions`: ask for the worker's exceptions. `id`: this client's name in lists of workers.
    `resubmit`: what happens to a job whose connection is lost: `"same"` sends it again, with the same unique, to the
    same server once it is back; `"any"` to any server; `"never"` raises SubmitUncertain or ConnectionLost.

    One client may be used by many threads; each call that waits has a connection of its own. After a fork the child
    makes new connections. Nothing is connected before the first call.
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
        self._all_pumps: weakref.WeakSet[Pump] = weakref.WeakSet()
        self._pumps = [self._make_pump()]
        self._submitter: Submitter | None = None
        self._lock = threading.Lock()
        _clients.add(self)

    def run(
        self,
        function: str,
        workload: bytes | bytearray | memoryview = b"",
        *,
        unique: str | bytes | None = None,
        priority: Priority = Priority.NORMAL,
        timeout: float | None = None,
    ) -> bytes:
        """Submit a job and return its result.

        `timeout`: seconds for the whole call. Raises JobFailed, JobException, JobTimeout, ServerError, ConnectError,
        ConnectionLost, SubmitUncertain, UsageError. After a time-out the job itself goes on.
        """
        now = monotonic()
        job = self._calls.job(function, workload, unique, priority, timeout, now)
        self._finish(job, now)
        return job.result

    def submit(
        self,
        function: str,
        workload: bytes | bytearray | memoryview = b"",
        *,
        unique: str | bytes | None = None,
        priority: Priority = Priority.NORMAL,
        timeout: float | None = None,
    ) -> JobFuture:
        """Submit a job and return its future at once.

        The first call starts a thread that reads the answers.
        `timeout`: seconds until the future fails with JobTimeout. Raises UsageError; all else comes by the future.
        """
        job = self._calls.job(function, workload, unique, priority, timeout, monotonic())
        submitter = self._submitter
        if submitter is None or submitter.ended:
            submitter = self._start_submitter()
        return submitter.submit(job)

    def submit_background(
        self,
        function: str,
        workload: bytes | bytearray | memoryview = b"",
        *,
        unique: str | bytes | None = None,
        priority: Priority = Priority.NORMAL,
        at: float | datetime | None = None,
        delay: float | None = None,
        timeout: float | None = None,
    ) -> Handle:
        """Hand a job to the server and return its handle once the server has taken it. Its result is not kept.

        `at`: seconds since 1970 or a datetime with a time zone, `delay`: seconds from now; the job is not run before.
        Raises ServerError (QueueFull), ConnectError, SubmitUncertain, DeadlineExceeded, UsageError.
        """
        if delay is not None:
            if at is not None:
                raise UsageError("either at or delay, not both")
            at = time.time() + delay
        now = monotonic()
        job = self._calls.background(function, workload, unique, priority, at, timeout, now)
        self._finish(job, now)
        return Handle(job.handle_text, job.server)

    def map(
        self,
        function: str,
        workloads: Iterable[bytes | bytearray | memoryview],
        *,
        window: int = 64,
        priority: Priority = Priority.NORMAL,
        timeout: float | None = None,
    ) -> Iterator[bytes]:
        """Run one job for each workload and yield the results in order, at most `window` jobs being under way.

        `timeout`: seconds for each job, from its submission. Raises as `run` at the place of the job that failed. What
        is under way when the iterator is closed is given up.
        """
        if window < 1:
            raise UsageError(f"window is at least 1, not {window}")
        return self._map(function, workloads, window, priority, timeout)

    def status(self, handle: str | None = None, *, unique: str | bytes | None = None) -> JobStatus:
        """What the server knows of a job, by its handle or by its unique.

        A Handle is looked up at its own server, plain text and uniques at each until one knows them.
        Raises ConnectError, ConnectionLost, DeadlineExceeded, UsageError.
        """
        error: GearfastError | None = None
        status: JobStatus | None = None
        for index in self._calls.places(handle, monotonic()):
            request = self._calls.status(handle, unique)
            self._ask(request, index)
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

    def echo(self, data: bytes | bytearray | memoryview = b"gearfast") -> bytes:
        """Send data to a server (the first that is not away) and return what comes back: a test of the connection.

        Raises ConnectError, ConnectionLost, DeadlineExceeded.
        """
        request = EchoRequest(data)
        self._ask(request, self._calls.places(None, monotonic())[0])
        if request.error is not None:
            raise request.error
        return request.result

    def close(self) -> None:
        """Close all connections. Futures that are not done fail with ConnectionLost. May be called twice."""
        self._closed = True
        submitter, self._submitter = self._submitter, None
        if submitter is not None:
            submitter.close()
        while self._pumps:
            self._pumps.pop().close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    # Inside

    def _make_pump(self) -> Pump:
        pump = Pump(self._calls.make_hub(), context=self._context)
        self._all_pumps.add(pump)
        return pump

    def _take_pump(self, now: float) -> Pump:
        """A pump for one call; most often the one that was used last, whose connection is up."""
        if self._closed:
            raise UsageError("the client was closed")
        try:
            pump = self._pumps.pop()
        except IndexError:
            return self._make_pump()
        if now - pump.idle_since > IDLE:
            pump.refresh()
        pump.idle_since = now
        return pump

    def _give_back(self, pump: Pump) -> None:
        self._pumps.append(pump)
        if self._closed:
            self.close()

    def _finish(self, job: JobRequest, now: float) -> None:
        """Submit a job and wait until it is done."""
        pump = self._take_pump(now)
        try:
            pump.run(job, now)
        except BaseException:  # as KeyboardInterrupt: nobody knows how far it got
            pump.close()
            raise
        self._give_back(pump)
        if job.error is not None:
            raise job.error

    def _ask(self, request: Request, index: int) -> None:
        """Send a request to one server and wait until it is done."""
        now = monotonic()
        self._calls.limit(request, None, now)
        pump = self._take_pump(now)
        try:
            pump.hub.send(request, index, now)
            pump.hub.watch(request)
            pump.drive(request)
        except BaseException:
            pump.close()
            raise
        self._give_back(pump)

    def _map(
        self,
        function: str,
        workloads: Iterable[bytes | bytearray | memoryview],
        window: int,
        priority: Priority,
        timeout: float | None,
    ) -> Iterator[bytes]:
        pump = self._take_pump(monotonic())
        hub = pump.hub
        # A list is taken from as fast as its jobs can be sent. Anything else may make one wait, or may look at results
        # first, so what it has given is sent, and what is done is given out, before it is asked for more.
        at_hand = isinstance(workloads, (list, tuple))
        waiting: deque[JobRequest] = deque()
        source = iter(workloads)
        try:
            more = True
            while True:
                while more and len(waiting) < window:
                    for workload in source:
                        now = monotonic()
                        job = self._calls.job(function, workload, None, priority, timeout, now)
                        hub.submit(job, now)
                        hub.watch(job)
                        waiting.append(job)
                        break
                    else:
                        more = False
                    if more and not at_hand:
                        pump.step(0.0)
                        hub.news.clear()
                        if waiting[0].done:
                            break
                if not waiting:
                    break
                pump.drive(waiting[0])
                while waiting and waiting[0].done:
                    job = waiting.popleft()
                    if job.error is not None:
                        raise job.error
                    yield job.result
        finally:
            # Jobs under way die with their connection; a pump that owes nothing to anybody is used again.
            if waiting:
                pump.close()
            else:
                self._give_back(pump)

    def _start_submitter(self) -> Submitter:
        from gearfast.sync.future import Submitter

        with self._lock:
            if self._closed:
                raise UsageError("the client was closed")
            if self._submitter is None or self._submitter.ended:
                self._submitter = Submitter(self._calls, self._context)
            return self._submitter

    def _forked(self) -> None:
        """In a forked child: the connections belong to the parent, so they are closed here without a word."""
        self._lock = threading.Lock()
        self._calls.restart(new_prefix())
        submitter, self._submitter = self._submitter, None
        if submitter is not None:
            submitter.forked()
        for pump in list(self._all_pumps):
            pump.forked()
        self._pumps = [self._make_pump()]


def _after_fork() -> None:
    for client in list(_clients):
        client._forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)

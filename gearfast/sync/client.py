# SPDX-License-Identifier: BSD-3-Clause
"""The blocking client."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from datetime import datetime
from functools import partial
from itertools import islice
from math import inf
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar, overload

from gearfast.errors import GearfastError, UsageError
from gearfast.frontend.sockets import new_prefix
from gearfast.protocol import MAX_PACKET, MAX_WORKLOAD
from gearfast.session.calls import ClientCalls, check_window, make_delay
from gearfast.session.hub import Resubmit
from gearfast.session.requests import EchoRequest, JobRequest, Request, Timeout
from gearfast.session.retry import Backoff, Retry
from gearfast.session.routing import AWAY, Servers
from gearfast.sync.pump import Pump
from gearfast.types import Handle, JobStatus, Priority

if TYPE_CHECKING:
    from ssl import SSLContext

    from gearfast.sync.future import JobFuture, Submitter

__all__ = ["Client"]

W = TypeVar("W", bound="bytes | bytearray | memoryview")
T = TypeVar("T")
LOOK: Final = 0.0001
"""Seconds between two looks for results while an iterator is asked for more."""
IDLE: Final = 0.005
"""Seconds after whose rest a connection is looked at before it is used again: its server may have gone."""

_clients: weakref.WeakSet[Client] = weakref.WeakSet()


class Client:
    """Submits jobs to Gearman job servers and waits for their results.

    `servers`: `"gearman://h1:4730,h2"`, `"gearmans://h"` (TLS), `"unix:///path"`, `"h:4730"`, or several of those. With
    several, the job's unique decides which one gets it (rendezvous hashing), so that equal uniques meet; a server that
    is away is passed over, and used again once it is back.
    `timeout`: seconds for each call, or a `Timeout`; its defaults are 5 s to connect, 30 s for a reply, no limit for a
    result.
    `ssl`: context for TLS. `exceptions`: ask for the worker's exceptions. `id`: this client's name in lists of workers.
    `resubmit`: what happens to a job whose connection is lost after it was sent, so that it may have run: `"same"`
    sends it again, with the same unique, to the same server once it is back; `"any"` to any server; `"never"` raises
    SubmitUncertain (there was no JOB_CREATED yet) or ConnectionLost; `"unique"`, the default, does as `"same"` for a
    job that was given a unique, and as `"never"` for one without. What was not sent yet always goes out again.
    `retry`: which failures make a job be submitted again; none by default. A call's own `retry` stands instead of it.
    `backoff`: how long a server that failed is left alone. `max_result`: bytes of the largest result (or part of one)
    that is taken, 256 MiB by default, up to 4 GiB; a job with a larger one raises ResultTooLarge. `max_workload`: bytes
    of the largest workload, what a packet of 256 MiB holds by default; a larger one raises UsageError and is not sent.
    It is for servers whose `--max-packet` is another.

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
        reducer: str | None = None,
        retry: Retry | None = None,
    ) -> bytes:
        """Submit a job and return its result.

        `timeout`: seconds for the whole call, retries included. `reducer`: name of the function that the worker shall
        give the parts of its work to (SUBMIT_REDUCE_JOB; normal priority only). Raises JobFailed, JobException,
        JobTimeout, ResultTooLarge, ServerError, ConnectError, ConnectionLost, SubmitUncertain, UsageError. After a
        time-out the job itself goes on.
        """
        now = monotonic()
        job = self._calls.job(function, workload, unique, priority, timeout, now, reducer, retry)
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
        reducer: str | None = None,
        retry: Retry | None = None,
    ) -> JobFuture:
        """Submit a job and return its future at once.

        The first call starts a thread that reads the answers. Arguments as for `run`.
        `timeout`: seconds until the future fails with JobTimeout. Raises UsageError; all else comes by the future.
        """
        job = self._calls.job(function, workload, unique, priority, timeout, monotonic(), reducer, retry)
        return self._follow(job)

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
        reducer: str | None = None,
        retry: Retry | None = None,
    ) -> Handle:
        """Hand a job to the server and return its handle once the server has taken it; `result` may fetch its result.

        `at`: seconds since 1970 or a datetime with a time zone, `delay`: seconds from now; the job is not run before.
        `timeout`: seconds for the whole call. `reducer`: as for `run`.
        Raises ServerError (QueueFull), ConnectError, SubmitUncertain, DeadlineExceeded, UsageError.
        """
        if delay is not None:
            at = make_delay(at, delay, time.time())
        now = monotonic()
        job = self._calls.background(function, workload, unique, priority, timeout, now, reducer, retry, at)
        self._finish(job, now)
        return job.to_handle()

    @overload
    def map(
        self,
        function: str,
        workloads: Iterable[W],
        *,
        window: int = ...,
        ordered: bool = ...,
        return_exceptions: Literal[False] = ...,
        unique: Callable[[W], str | bytes] | None = ...,
        priority: Priority = ...,
        timeout: float | None = ...,
        retry: Retry | None = ...,
    ) -> Iterator[bytes]: ...

    @overload
    def map(
        self,
        function: str,
        workloads: Iterable[W],
        *,
        window: int = ...,
        ordered: bool = ...,
        return_exceptions: bool,
        unique: Callable[[W], str | bytes] | None = ...,
        priority: Priority = ...,
        timeout: float | None = ...,
        retry: Retry | None = ...,
    ) -> Iterator[bytes | GearfastError]: ...

    def map(
        self,
        function: str,
        workloads: Iterable[W],
        *,
        window: int = 64,
        ordered: bool = True,
        return_exceptions: bool = False,
        unique: Callable[[W], str | bytes] | None = None,
        priority: Priority = Priority.NORMAL,
        timeout: float | None = None,
        retry: Retry | None = None,
    ) -> Iterator[bytes | GearfastError]:
        """Run one job for each workload and yield the results in order, at most `window` jobs being under way.

        `workloads`: of any length, also endless; no more are taken than fit in the window. `ordered` False: results as
        they come. `return_exceptions`: yield the exception of a job that failed in its place, instead of raising it and
        giving up the rest. `unique`: makes a job's unique of its workload. `timeout`: seconds for each job, from its
        submission. Raises as `run` at the place of the job that failed. What is under way when the iterator is closed
        is given up.
        """
        check_window(window)
        jobs = self._flow(self._calls.job, function, workloads, window, ordered, unique, priority, timeout, retry)
        return _results(jobs, return_exceptions)

    @overload
    def map_background(
        self,
        function: str,
        workloads: Iterable[W],
        *,
        window: int = ...,
        return_exceptions: Literal[False] = ...,
        unique: Callable[[W], str | bytes] | None = ...,
        priority: Priority = ...,
        at: float | datetime | None = ...,
        delay: float | None = ...,
        timeout: float | None = ...,
        retry: Retry | None = ...,
    ) -> Iterator[Handle]: ...

    @overload
    def map_background(
        self,
        function: str,
        workloads: Iterable[W],
        *,
        window: int = ...,
        return_exceptions: bool,
        unique: Callable[[W], str | bytes] | None = ...,
        priority: Priority = ...,
        at: float | datetime | None = ...,
        delay: float | None = ...,
        timeout: float | None = ...,
        retry: Retry | None = ...,
    ) -> Iterator[Handle | GearfastError]: ...

    def map_background(
        self,
        function: str,
        workloads: Iterable[W],
        *,
        window: int = 64,
        return_exceptions: bool = False,
        unique: Callable[[W], str | bytes] | None = None,
        priority: Priority = Priority.NORMAL,
        at: float | datetime | None = None,
        delay: float | None = None,
        timeout: float | None = None,
        retry: Retry | None = None,
    ) -> Iterator[Handle | GearfastError]:
        """Hand one job for each workload to the servers and yield the handles in order, `window` at most unanswered.

        Nothing is submitted before the first handle is asked for. `at`, `delay`, counted from the call: as for
        `submit_background`, the others and what is raised as for `map`. A job whose handle was given out is with its
        server, whatever becomes of the iterator.
        """
        check_window(window)
        if delay is not None:
            at = make_delay(at, delay, time.time())
        make = self._calls.background if at is None else partial(self._calls.background, at=at)
        jobs = self._flow(make, function, workloads, window, True, unique, priority, timeout, retry)
        return _handles(jobs, return_exceptions)

    def status(
        self, handle: str | None = None, *, unique: str | bytes | None = None, timeout: float | None = None
    ) -> JobStatus:
        """What the server knows of a job, by its handle or by its unique.

        A Handle is looked up at its own server, plain text and uniques at each until one knows them. `timeout`: seconds
        for the whole call. Raises ConnectError, ConnectionLost, DeadlineExceeded, UsageError.
        """
        begun = monotonic()
        survey = self._calls.ask_status(handle, unique, timeout, begun)
        while (request := survey.next(monotonic())) is not None:
            self._ask(request, survey.index)
        return survey.result()

    def result(self, job: str | bytes, *, function: str | None = None, timeout: float | None = None) -> bytes:
        """The result of a job that somebody has submitted, by its handle or its unique; waits for its end.

        The server keeps results of background jobs where the function's policy says so (`keep_results`); of jobs that
        are queued or run it has them in any case. `function`: whose unique it is; without it, that of any function. A
        Handle is asked for at its own server, all else at each until one knows it. `timeout`: seconds for the whole
        call; None: the client's for a job. Raises JobFailed, JobException and JobTimeout as `run`; JobNotFound if no
        server knows it (any more); UnknownOption if none answers such questions, as gearmand; ResultTooLarge,
        ConnectError, ConnectionLost, DeadlineExceeded, ServerError, UsageError.
        """
        fetch = self._calls.fetch(job, function, timeout, monotonic())
        while (request := fetch.next(monotonic())) is not None:
            self._ask(request, fetch.index)
        return fetch.result()

    def cancel(self, job: str | JobFuture[Any], *, timeout: float | None = None) -> bool:
        """Take a job from its server, queued or running, by its handle or its future. Returns whether it was there.

        Who waits for it gets JobCancelled if it is this client, else JobFailed. A job that runs goes on until its
        worker asks for its status or ends it; its result is thrown away. A Handle is looked for at its own server,
        plain text at each. `timeout`: seconds for the whole call. Raises ConnectError, ConnectionLost,
        DeadlineExceeded, UsageError; ServerError where the server allows nobody to change anything.
        """
        begun = monotonic()
        if isinstance(job, str):
            handle, future = job, None
        else:
            future = self._calls.checked_future(job)
            handle = future._await_handle(self._calls.patience(timeout))
            if not handle:
                return False
        survey = self._calls.ask_cancel(handle, timeout, begun)
        cancelled = False
        if future is not None:
            future._job.cancelling = True  # before the server can tell
        try:
            while (request := survey.next(monotonic())) is not None:
                self._ask(request, survey.index)
            cancelled = survey.result()
        finally:
            if future is not None:
                future._job.cancelling = cancelled
        return cancelled

    def echo(self, data: bytes | bytearray | memoryview = b"gearfast", *, timeout: float | None = None) -> bytes:
        """Send data to a server (the first that is not away) and return what comes back: a test of the connection.

        `timeout`: seconds for the whole call. Raises ConnectError, ConnectionLost, DeadlineExceeded.
        """
        now = monotonic()
        request = EchoRequest(data)
        self._calls.limit(request, timeout, now)
        self._ask(request, self._calls.places(None, now)[0])
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
    ) -> JobFuture[T]:
        """As `submit`, for a task: `decode` makes the future's result of the job's, and may raise a GearfastError."""
        return self._follow(
            self._calls.job(function, workload, unique, priority, timeout, monotonic(), None, retry), decode
        )

    def _follow(self, job: JobRequest, decode: Callable[[bytes], T] | None = None) -> JobFuture[T]:
        submitter = self._submitter
        if submitter is None or submitter.ended:
            submitter = self._start_submitter()
        return submitter.submit(job, self, decode)

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
        if pump.is_parents:
            return
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
        pump = self._take_pump(now)
        try:
            pump.hub.send(request, index, now)
            pump.hub.watch(request)
            pump.drive(request)
        except BaseException:
            pump.close()
            raise
        self._give_back(pump)

    def _flow(
        self,
        make: Callable[..., JobRequest],
        function: str,
        workloads: Iterable[W],
        window: int,
        ordered: bool,
        unique: Callable[[W], str | bytes] | None,
        priority: Priority,
        timeout: float | None,
        retry: Retry | None,
    ) -> Generator[list[JobRequest], None, None]:
        """Submit a job for each workload, `window` at once, and yield what is done, in order or as it ends."""
        pump = self._take_pump(monotonic())
        hub = pump.hub
        # A list is taken from as fast as its jobs can be sent. Anything else may make one wait, or may look at results
        # first, so what it has given is sent, and what is done is given out, before it is asked for more.
        at_hand = isinstance(workloads, (list, tuple))
        waiting: deque[JobRequest] = deque()  # in order; else those that are done and still to be given out
        under_way = 0
        source = iter(workloads)
        more = True
        looked_at = 0.0
        key = None
        try:
            while True:
                while more and under_way < window:
                    now = monotonic()
                    for workload in islice(source, window - under_way if at_hand else 1):
                        if unique is not None:
                            key = unique(workload)
                        job = make(function, workload, key, priority, timeout, now, None, retry)
                        hub.start(job, now)
                        under_way += 1
                        if ordered:
                            waiting.append(job)
                        if not at_hand:
                            break
                    else:
                        more = under_way == window
                    if more and not at_hand:
                        looked_at = _send(pump, waiting, ordered, now, looked_at)
                        if waiting and waiting[0].done:
                            break
                if not under_way:
                    break
                while not waiting or not waiting[0].done:
                    _step(pump, waiting, ordered, inf)
                done = []
                while waiting and waiting[0].done:
                    done.append(waiting.popleft())
                under_way -= len(done)
                yield done
        finally:
            # Jobs under way die with their connection; a pump that owes nothing to anybody is used again.
            if under_way:
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


def _step(pump: Pump, waiting: deque[JobRequest], ordered: bool, longest: float) -> None:
    """One round of a stream of jobs; those that are done wait to be given out."""
    pump.step(longest)
    news = pump.hub.news
    if not ordered:
        waiting.extend(request for request in news if type(request) is JobRequest)
    news.clear()


def _send(pump: Pump, waiting: deque[JobRequest], ordered: bool, now: float, looked_at: float) -> float:
    """Send what there is, and see what is done if the last look was a while ago. Returns when that was."""
    if now - looked_at < LOOK and not any(link.waiting for link in pump.hub.links):
        pump.flush()
        return looked_at
    _step(pump, waiting, ordered, 0.0)
    return now


def _results(jobs: Generator[list[JobRequest], None, None], return_exceptions: bool) -> Iterator[bytes | GearfastError]:
    with closing(jobs):
        for done in jobs:
            for job in done:
                if job.error is None:
                    yield job.result
                elif return_exceptions:
                    yield job.error
                else:
                    raise job.error


def _handles(
    jobs: Generator[list[JobRequest], None, None], return_exceptions: bool
) -> Iterator[Handle | GearfastError]:
    with closing(jobs):
        for done in jobs:
            for job in done:
                if job.error is None:
                    yield job.to_handle()
                elif return_exceptions:
                    yield job.error
                else:
                    raise job.error


def _after_fork() -> None:
    for client in list(_clients):
        client._forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)

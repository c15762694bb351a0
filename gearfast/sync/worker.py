# SPDX-License-Identifier: BSD-3-Clause
"""The blocking worker."""

from __future__ import annotations

import logging
import os
import random
import signal
import threading
import weakref
from collections.abc import Callable
from functools import partial
from math import inf
from queue import SimpleQueue
from time import monotonic
from typing import TYPE_CHECKING, TypeVar

from gearfast._sockets import reason_of
from gearfast.errors import Fail, ProtocolError, UsageError
from gearfast.session.calls import make_id
from gearfast.session.crew import Crew, CrewLink, check_function_name
from gearfast.session.results import describe, milliseconds, text_of, to_bytes
from gearfast.session.routing import Servers, parse_servers
from gearfast.session.worker import Assignment
from gearfast.sync.stream import READ, WRITE, Dialer, Stream, WakePipe, make_poller

if TYPE_CHECKING:
    from ssl import SSLContext

__all__ = ["Job", "Worker"]

log = logging.getLogger("gearfast.worker")
log.addHandler(logging.NullHandler())

_workers: weakref.WeakSet[Worker] = weakref.WeakSet()

Result = bytes | bytearray | memoryview | str | None
F = TypeVar("F", bound="Callable[[Job], Result]")


class Job:
    """A job in a worker's hands. `workload`, `unique` and `reducer` are bytes, `handle` and `function` text."""

    __slots__ = ("_assignment", "_worker", "function", "handle", "unique", "workload")

    def __init__(self, worker: Worker, assignment: Assignment) -> None:
        self._worker = worker
        self._assignment = assignment
        self.handle = assignment.handle.decode("utf-8", "replace")
        self.function = assignment.function.decode("utf-8", "replace")
        self.unique = assignment.unique
        self.workload = assignment.workload

    @property
    def reducer(self) -> bytes:
        """The reducer's function name of a reduce job, else empty."""
        return self._assignment.reducer

    @property
    def lost(self) -> bool:
        """The connection that the job came over is gone: its result will reach nobody, another worker gets the job."""
        return self._assignment.lost

    def send_status(self, numerator: int, denominator: int) -> None:
        """Tell how far the job is: `numerator` of `denominator`."""
        self._worker._tell(self._assignment, "status", int(numerator), int(denominator))

    def send_data(self, data: bytes | bytearray | memoryview | str) -> None:
        """Send a part of the result. Raises TypeError."""
        self._worker._tell(self._assignment, "data", to_bytes(data, "data"))

    def send_warning(self, data: bytes | bytearray | memoryview | str) -> None:
        """Send a warning. Raises TypeError."""
        self._worker._tell(self._assignment, "warning", to_bytes(data, "a warning"))


class Worker:
    """Does the jobs of its functions for one or several Gearman job servers.

    `servers`: as for `Client`; all of them are served, in turn. `concurrency`: jobs at a time; with more than one, each
    runs in a thread of its own. `id`: the worker's name in lists of workers. `ssl`: context for TLS.
    `timeout`: seconds for a connection to be made. A server that is away is tried again and again, after 0.1 s to 30 s.
    """

    def __init__(
        self,
        servers: Servers = "gearman://127.0.0.1:4730",
        *,
        concurrency: int = 1,
        id: str | None = None,
        ssl: SSLContext | None = None,
        timeout: float | None = 5.0,
    ) -> None:
        self._make_crew = partial(Crew, parse_servers(servers), concurrency=concurrency, worker_id=make_id(id))
        self._crew = self._make_crew()
        self._timeout = timeout
        self._callables: dict[bytes, Callable[[Job], Result]] = {}
        self._lock = threading.Lock()
        self._poller = make_poller()
        self._dialer: Dialer[CrewLink] = Dialer(self._poller, ssl)
        self._links: dict[int, CrewLink] = {}
        self._pipe: WakePipe | None = None
        self._hears_signals = False
        self._queue: SimpleQueue[Assignment | None] | None = None
        self._threads: list[threading.Thread] = []
        self._stopping = False
        self._interrupt: BaseException | None = None
        self._forked = False
        _workers.add(self)

    def function(self, name: str, *, timeout: float | None = None) -> Callable[[F], F]:
        """Decorator: the callable does the jobs of function `name`. As `register`."""

        def decorate(callable: F) -> F:
            self.register(name, callable, timeout=timeout)
            return callable

        return decorate

    def register(self, name: str, callable: Callable[[Job], Result], *, timeout: float | None = None) -> None:
        """Let `callable` do the jobs of function `name`; also while the worker runs.

        It gets a `Job` and returns bytes, text (sent as UTF-8) or None (nothing). `Fail` raised by it ends the job with
        WORK_FAIL, its text going out as a warning first; any other exception ends it with WORK_EXCEPTION. SystemExit
        and KeyboardInterrupt leave `run`, and the job goes back to the queue.
        `timeout`: seconds after which the server gives the job to somebody else. Raises UsageError.
        """
        key = check_function_name(name)
        allowed = milliseconds(timeout)
        with self._lock:
            self._callables[key] = callable
            self._crew.register(key, allowed)
        self._wake()

    def unregister(self, name: str) -> None:
        """Do no more jobs of function `name`. The server gives those that are being done to somebody else.

        Raises UsageError if the function is not registered.
        """
        key = check_function_name(name)
        with self._lock:
            if key not in self._callables:
                raise UsageError(f"function {name!r} is not registered")
            del self._callables[key]
            self._crew.unregister(key)
        self._wake()

    def run(self) -> None:
        """Do jobs until `stop` is called; jobs in hand are finished first.

        A server that is away does not end it. Raises UsageError if there is no function or the worker runs already.
        """
        if not self._callables:
            raise UsageError("the worker has no function; register one first")
        if self._pipe is not None:
            raise UsageError("the worker runs already")
        self._start()
        crew = self._crew
        try:
            while not self._has_left(crew) and self._interrupt is None and not self._forked:
                self._round()
        except BaseException as error:  # noqa: BLE001
            self._interrupt = error  # nobody waits for the threads then
        finally:
            self._finish()
        if self._interrupt is not None:
            interrupt, self._interrupt = self._interrupt, None
            raise interrupt

    def stop(self) -> None:
        """Let `run` return once the jobs in hand are finished. From any thread or signal handler; never blocks.

        Before `run`, it lets the next `run` return at once.
        """
        self._stopping = True
        self._wake()

    # Inside

    def _has_left(self, crew: Crew) -> bool:
        if not crew.leaving:
            return False
        with self._lock:
            unsent = sum(link.io.unsent_bytes for link in crew.links if link.io is not None)
            return crew.has_left(monotonic(), unsent)

    def _wake(self) -> None:
        pipe = self._pipe
        if pipe is not None:
            pipe.wake()

    def _start(self) -> None:
        self._pipe = WakePipe()
        self._poller.watch(self._pipe.fileno(), READ)
        self._hears_signals = self._pipe.hear_signals()
        if self._crew.concurrency > 1:
            queue: SimpleQueue[Assignment | None] = SimpleQueue()
            self._queue = queue
            for number in range(self._crew.concurrency):
                name = f"gearfast-worker-{number}"
                thread = threading.Thread(target=self._serve, args=(self._crew, queue), name=name, daemon=True)
                self._threads.append(thread)
                thread.start()

    def _finish(self) -> None:
        """Close everything; after a failure jobs in hand go back to their servers with it."""
        self._dialer.close(forked=self._forked)
        for link in self._crew.links:
            self._drop(link, "the worker has left")
        if self._queue is not None:
            for _ in self._threads:
                self._queue.put(None)
            if self._interrupt is None and not self._forked:
                for thread in self._threads:
                    thread.join()
        self._threads.clear()
        self._queue = None
        pipe, self._pipe = self._pipe, None
        if pipe is not None:
            if self._hears_signals:
                signal.set_wakeup_fd(-1)
            self._poller.forget(pipe.fileno())
            pipe.close()
        self._stopping = False
        # The next run begins with a new crew: callables that still run in threads belong to the old one.
        self._crew = self._make_crew(abilities=self._crew.abilities)

    def _round(self) -> None:
        """Connect, send, wait for something to happen, and deal with it."""
        crew = self._crew
        with self._lock:
            now = monotonic()
            if self._stopping:
                crew.leave(now)
            due = crew.take_connects(now)
        for link in due:
            self._connected(link, self._dialer.start(link, link.address, self._timeout))
        with self._lock:
            self._flush(crew)
            deadline = crew.tick(monotonic())
        if self._has_left(crew):
            return
        with self._lock:
            buffered = any(link.io is not None and link.io.has_buffered for link in crew.links)
        until = min(self._dialer.wake_at, inf if deadline is None else deadline)
        seconds = None if until == inf else max(0.0, until - monotonic())
        ready = self._poller.wait(0.0 if buffered else seconds)
        for link, outcome in self._dialer.take(ready):
            self._connected(link, outcome)
        with self._lock:
            for fd, events in ready:
                self._take(fd, events)
            for link in crew.take_stalled(monotonic()):
                self._lost(link, "no answer to GRAB_JOB in time")
            if buffered:
                self._take_buffered()
            assigned = crew.ready[:]
            crew.ready.clear()
        if self._queue is not None:
            for assignment in assigned:
                self._queue.put(assignment)
        else:
            for assignment in assigned:
                self._work(crew, assignment)

    def _serve(self, crew: Crew, queue: SimpleQueue[Assignment | None]) -> None:
        """A thread of a worker that does several jobs at a time."""
        while True:
            assignment = queue.get()
            if assignment is None:
                return
            self._work(crew, assignment)
            if self._forked:  # this is the only thread of a forked child
                return

    def _work(self, crew: Crew, assignment: Assignment) -> None:
        """Do one job and report it; the report goes out at once, together with the next grab."""
        callable = self._callables.get(assignment.function)
        try:
            if callable is None:
                raise LookupError(f"function {assignment.function!r} is not registered any more")
            result = callable(Job(self, assignment))
            if self._forked:
                return
            if type(result) is not bytes:
                result = to_bytes(result, f"the result of function {assignment.function.decode('utf-8', 'replace')!r}")
        except Exception as error:  # noqa: BLE001
            self._failed(crew, assignment, error)
        except BaseException as error:  # noqa: BLE001  # SystemExit, KeyboardInterrupt
            self._interrupt = error
            self._wake()
        else:
            try:
                with self._lock:
                    crew.complete(assignment, result)
                    self._flush(crew)
                    if crew.leaving:
                        self._wake()
            except (ValueError, BufferError) as error:  # a memoryview that was released, or too much for a packet
                self._failed(crew, assignment, error)

    def _failed(self, crew: Crew, assignment: Assignment, error: Exception) -> None:
        facts = {
            "function": assignment.function.decode("utf-8", "replace"),
            "handle": assignment.handle.decode("utf-8", "replace"),
            "server": assignment.session.server,
        }
        if isinstance(error, Fail):
            log.info("job failed: %s", text_of(error), extra=facts)
        else:
            log.error("job raised an exception", exc_info=error, extra=facts)
        with self._lock:
            if isinstance(error, Fail):
                if text_of(error) and not assignment.lost:
                    assignment.session.warning(assignment, text_of(error).encode("utf-8", "replace"))
                crew.fail(assignment)
            else:
                crew.exception(assignment, describe(error))
            self._flush(crew)
            if crew.leaving:
                self._wake()

    def _tell(self, assignment: Assignment, what: str, *values: object) -> None:
        """Send something of a running job. What comes after its end, or after its connection, is dropped."""
        with self._lock:
            if not assignment.lost and not assignment.over:
                getattr(assignment.session, what)(assignment, *values)
                self._flush(self._crew)

    # Connections; the lock is held but for `_connected`

    def _connected(self, link: CrewLink, stream: Stream | OSError | None) -> None:
        if stream is None:
            return
        if isinstance(stream, OSError):
            now = monotonic()
            with self._lock:
                again = self._crew.failed(link, now, random.random(), reason_of(stream))
            facts = {"server": link.label, "retry_in_s": round(again - now, 3)}
            log.warning("cannot connect to %s: %s", link.label, reason_of(stream), extra=facts)
            return
        with self._lock:
            link.io = stream
            self._links[stream.fileno()] = link
            stream.events = READ
            self._poller.watch(stream.fileno(), READ)
            self._crew.connected(link, monotonic())
        log.info("connected to %s", link.label, extra={"server": link.label})

    def _drop(self, link: CrewLink, reason: str) -> float:
        stream, link.io = link.io, None
        if stream is not None:
            self._links.pop(stream.fileno(), None)
            self._poller.forget(stream.fileno())
            stream.close()
        return self._crew.lost(link, monotonic(), random.random(), reason)

    def _lost(self, link: CrewLink, reason: str) -> None:
        now = monotonic()
        again = self._drop(link, reason)
        facts = {"server": link.label, "retry_in_s": round(again - now, 3)}
        log.warning("connection to %s lost: %s", link.label, reason, extra=facts)
        self._wake()

    def _flush(self, crew: Crew) -> None:
        for link in crew.links:
            session = link.session
            if session is not None and (session.has_output or link.io.unsent):
                stream: Stream = link.io
                try:
                    events = READ if stream.flush(session.take_output()) else READ | WRITE
                except OSError as error:
                    self._lost(link, reason_of(error))
                    continue
                if events != stream.events:
                    stream.events = events
                    self._poller.watch(stream.fileno(), events)
                    self._wake()

    def _take(self, fd: int, events: int) -> None:
        link = self._links.get(fd)
        if link is None:
            if self._pipe is not None:
                self._pipe.drain()
            return
        if events & READ:
            self._read(link)

    def _take_buffered(self) -> None:
        for link in self._crew.links:
            if link.io is not None and link.io.has_buffered:
                self._read(link)

    def _read(self, link: CrewLink) -> None:
        try:
            data = link.io.try_recv()
            if data is None:
                return
            if not data:
                self._lost(link, "closed by the server")
                return
            self._crew.receive(link, data, monotonic())
        except (OSError, ProtocolError) as error:
            self._lost(link, reason_of(error))
            return
        session = link.session
        if session is not None and session.refusals:
            for code, text in session.refusals:
                log.warning("%s refused: %r %r", link.label, code, text, extra={"server": link.label})
            session.refusals.clear()

    def _after_fork(self) -> None:
        """In a forked child: the connections belong to the parent; `run` returns there."""
        self._forked = self._pipe is not None
        self._lock = threading.Lock()
        for link in self._crew.links:
            if link.io is not None:
                link.io.close()


def _after_fork() -> None:
    for worker in list(_workers):
        worker._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)

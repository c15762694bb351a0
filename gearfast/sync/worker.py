# SPDX-License-Identifier: BSD-3-Clause
"""The blocking worker."""

from __future__ import annotations

import inspect
import os
import signal
import threading
import weakref
from collections.abc import Callable
from functools import partial
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, TypeVar

from gearfast.errors import ProtocolError, ResultTooLarge, UsageError
from gearfast.frontend import worker_log as report
from gearfast.frontend.hooks import Hooks
from gearfast.frontend.sockets import reason_of
from gearfast.frontend.stop_signals import hear
from gearfast.frontend.threads import Threads
from gearfast.protocol import MAX_RESULT
from gearfast.session._worker import Assignment, WorkerSession
from gearfast.session.crew import Crew
from gearfast.session.functions import Function, check_function_name, collect, make_function
from gearfast.session.job import BaseJob, Place, current
from gearfast.session.results import to_bytes
from gearfast.session.routing import Servers, make_id, parse_servers
from gearfast.sync.attendant import Attendant
from gearfast.sync.stream import DONTWAIT, READ, READ_SIZE, PlainStream, WakePipe
from gearfast.sync.worker_lines import Lines

if TYPE_CHECKING:
    from ssl import SSLContext

    from gearfast.frontend.children import Children

__all__ = ["Job", "Worker"]

_workers: weakref.WeakSet[Worker] = weakref.WeakSet()

Result = bytes | bytearray | memoryview | str | None
H = TypeVar("H", bound="Callable[..., object]")
F = TypeVar("F", bound="Callable[[Job], Result]")

QUICK_SECONDS = 0.02
"""The short way of waiting, one read that blocks, gives up after this time; so long may another thread wait for it."""
UNSENDABLE = (ResultTooLarge, ValueError, BufferError)
"""What ends a job whose result is too large, or a memoryview that was released."""
LINGER_SECONDS = 0.001
"""Results of prefetched jobs may wait so long for the next one, to go out together."""


class Job(BaseJob):
    """A job in a worker's hands. `workload`, `unique` and `reducer` are bytes, `handle` and `function` text."""

    __slots__ = ()


class Worker:
    """Does the jobs of its functions for one or several Gearman job servers.

    `servers`: as for `Client`; all of them are served, in turn. `concurrency`: jobs at a time; with more than one, each
    runs in a thread of its own, else in the thread that calls `run`. `prefetch`: further jobs that may be held, so that
    the next one is there when one ends; they are kept from other workers meanwhile, so it is for short jobs. It counts
    for nothing while a function has a `timeout`, since that counts from the moment at which a job was given.
    `processes`: child processes for the functions that are registered with `process=True`; by default `concurrency`.
    `tracebacks`: WORK_EXCEPTION carries Python's traceback behind the exception's class and text. `id`: the worker's
    name in lists of workers. `ssl`: context for TLS. `timeout`: seconds for a connection to be made. A server that is
    away is tried again and again, after 0.1 s to 30 s. `max_result`: bytes of the largest result, part of one or text
    that is sent; a job with a larger one ends with WORK_EXCEPTION (ResultTooLarge). A server that takes smaller packets
    than 256 MiB would cut the connection, and give the job to the next worker. Raises UsageError.
    """

    def __init__(
        self,
        servers: Servers = "gearman://127.0.0.1:4730",
        *,
        concurrency: int = 1,
        prefetch: int = 0,
        processes: int | None = None,
        tracebacks: bool = False,
        id: str | None = None,
        ssl: SSLContext | None = None,
        timeout: float | None = 5.0,
        max_result: int = MAX_RESULT,
    ) -> None:
        if processes is not None and processes < 1:
            raise UsageError(f"processes is at least 1, not {processes}")
        self._make_crew = partial(
            Crew,
            parse_servers(servers),
            concurrency=concurrency,
            prefetch=prefetch,
            worker_id=make_id(id),
            max_result=max_result,
        )
        self._crew = self._make_crew()
        self._processes = concurrency if processes is None else processes
        self._tracebacks = tracebacks
        self._functions: dict[str, Function] = {}
        self._callables: dict[bytes, Callable[[Job], Result]] = {}
        self._children: Children | None = None
        self._lines = Lines(ssl, timeout, self._wake)
        self._lock = self._lines.lock
        self._pipe: WakePipe | None = None
        self._hears_signals = False
        self._threads: Threads | None = None
        self._attendant: Attendant | None = None
        self._place = Place()
        self._flush_by = 0.0
        self._stopping = False
        self._stop_by: float | None = None
        self._paused = False
        self._changed = False
        self._interrupt: BaseException | None = None
        self._forked = False
        self._hooks = Hooks()
        _workers.add(self)

    # Functions

    def function(
        self, name: str, *, timeout: float | None = None, concurrency: int | None = None, process: bool = False
    ) -> Callable[[F], F]:
        """Decorator: the callable does the jobs of function `name`. As `register`."""

        def decorate(callable: F) -> F:
            self.register(name, callable, timeout=timeout, concurrency=concurrency, process=process)
            return callable

        return decorate

    def register(
        self,
        name: str,
        callable: Callable[[Job], Result],
        *,
        timeout: float | None = None,
        concurrency: int | None = None,
        process: bool = False,
    ) -> None:
        """Let `callable` do the jobs of function `name`; also while the worker runs.

        It gets a `Job` and returns bytes, text (sent as UTF-8) or None (nothing). `Fail` raised by it ends the job with
        WORK_FAIL, its text going out as a warning first; `Cancelled` ends it with WORK_FAIL; any other exception,
        MemoryError too, ends it with WORK_EXCEPTION. SystemExit and KeyboardInterrupt leave `run`, and the job goes
        back to the queue.

        `timeout`: seconds, at least 1, after which the server gives the job to somebody else; the callable sees
        `job.deadline`. One that goes on for a second more is logged; its slot stays taken.
        `concurrency`: jobs of this function at a time; one at its limit is not asked for, others are. Such a function
        has a connection of its own to each server, which is why jobs of equal priority do not take turns with others.
        `process`: it runs in a child process, which imports the callable by its name; one that overruns its `timeout`
        by a second is killed, and one that dies ends its job with WORK_EXCEPTION. Raises UsageError, for a coroutine
        function too.
        """
        key = check_function_name(name)
        one = make_function(callable, timeout, concurrency, process)
        if inspect.iscoroutinefunction(callable):
            raise UsageError(f"function {name!r} needs an event loop, and a Worker has none: use an AsyncWorker")
        work = self._in_child(one, name) if process else callable
        with self._lock:
            self._functions[name] = one
            self._callables[key] = work
            self._crew.announce(key, one, self._processes)
        self._wake()

    def add(self, source: object) -> None:
        """Register the tasks of an App, the functions of a table, or an object's methods marked by `gearfast.function`.

        A table maps names to callables, or to `gearfast.Function` for settings. An object may also have a method
        `__gearfast_functions__` that returns a table. A class is called without arguments. Raises UsageError.
        """
        for name, one in collect(source).items():
            self.register(name, one.callable, timeout=one.timeout, concurrency=one.concurrency, process=one.process)

    def unregister(self, name: str) -> None:
        """Do no more jobs of function `name`. The server gives those that are being done to somebody else.

        Raises UsageError if the function is not registered.
        """
        key = check_function_name(name)
        with self._lock:
            if name not in self._functions:
                raise UsageError(f"function {name!r} is not registered")
            del self._functions[name]
            del self._callables[key]
            self._crew.unregister(key)
        self._wake()

    # Hooks

    def before_job(self, hook: H) -> H:
        """Call `hook` with each job before its callable; also a decorator.

        It runs where the callable runs, in the worker's own process. What it raises ends the job as if
        the callable had raised it, and the callable is not called.
        """
        self._hooks.before.append(hook)
        return hook

    def after_job(self, hook: H) -> H:
        """Call `hook` with each job once its callable is over, however it ended; also a decorator.

        The server is told of the job's end behind it. What it raises is logged.
        """
        self._hooks.after.append(hook)
        return hook

    def on_failure(self, hook: H) -> H:
        """Call `hook` with each job that ends badly and its exception; also a decorator.

        That is what the callable or a hook before it raised, Fail and Cancelled too, or what is wrong with its result.
        The server is told behind it. What it raises is logged.
        """
        self._hooks.failure.append(hook)
        return hook

    # Running

    def run(self, *, signals: bool = True) -> None:
        """Do jobs until `stop` is called; jobs in hand are finished first.

        `signals`: in the main thread SIGTERM calls `stop` while `run` runs, unless the program has set a handler for
        it; a second one has its usual effect.
        A server that is away does not end it. Raises UsageError if there is no function or the worker runs already.
        """
        if not self._functions:
            raise UsageError("the worker has no function; register one first")
        if self._pipe is not None:
            raise UsageError("the worker runs already")
        if self._children is not None:
            from gearfast.frontend.children import check_not_a_child

            check_not_a_child()
        self._start()
        crew = self._crew
        place = current.set(self._place) if self._threads is None else None
        unhear = hear(self.stop, signals)
        try:
            while not self._has_left(crew) and self._goes_on():
                self._round()
                if self._threads is None:
                    self._serve_quickly(crew)
        except BaseException as error:  # noqa: BLE001
            self._interrupt = error  # nobody waits for the threads then
        finally:
            try:
                self._finish()
            finally:
                unhear()
            if place is not None:
                current.reset(place)
        if self._interrupt is not None:
            interrupt, self._interrupt = self._interrupt, None
            raise interrupt

    def stop(self, limit: float | None = None) -> None:
        """Let `run` return once the jobs in hand are finished. From any thread or signal handler; never blocks.

        `limit`: after so many seconds jobs that are still being done are given back to their servers, and `run` returns
        (child processes are killed, threads left to themselves; a callable in the thread of `run` itself cannot be
        left, but its job is given back). Before `run`, it lets the next `run` return at once.
        """
        if limit is not None:
            by = monotonic() + limit
            self._stop_by = by if self._stop_by is None else min(by, self._stop_by)
        self._stopping = self._changed = True
        attendant = self._attendant
        if attendant is not None:
            attendant.rouse(begin=limit is not None)
        self._wake()

    def pause(self) -> None:
        """Take no more jobs until `resume`. From any thread or signal handler; never blocks.

        Jobs in hand are finished, and one that a server was about to give is still done. The functions stay registered.
        """
        self._paused = self._changed = True
        self._wake()

    def resume(self) -> None:
        """Take jobs again after `pause`. From any thread or signal handler; never blocks."""
        self._paused = False
        self._changed = True
        self._wake()

    # Inside

    def _in_child(self, one: Function, name: str) -> Callable[[Job], Result]:
        from gearfast.frontend.children import Children, pickled

        if self._children is None:
            self._children = Children(self._processes)
        children, task = self._children, pickled(one.callable, name)
        return lambda job: children.run(task, job)

    def _goes_on(self) -> bool:
        return self._interrupt is None and not self._forked

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
        self._lines.poller.watch(self._pipe.fileno(), READ)
        self._hears_signals = self._pipe.hear_signals()
        self._changed = True
        if self._crew.concurrency > 1:
            self._threads = Threads(self._crew.concurrency, "gearfast-worker")
        else:
            self._attendant = Attendant(self._attend)

    def _finish(self) -> None:
        """Close everything; after a failure, or at the limit, jobs in hand go back to their servers with it."""
        gave_up = self._crew.gave_up(monotonic())
        if self._attendant is not None:
            self._attendant.close()
            self._attendant = None
        self._lines.close(self._crew, "the worker has left", forked=self._forked)
        if self._children is not None and not self._forked:
            self._children.close()
        threads, self._threads = self._threads, None
        if threads is not None and not self._forked:
            threads.close(None if self._interrupt is None and not gave_up else 0.0)
        pipe, self._pipe = self._pipe, None
        if pipe is not None:
            if self._hears_signals:
                signal.set_wakeup_fd(-1)
            self._lines.poller.forget(pipe.fileno())
            pipe.close()
        self._stopping = False
        self._stop_by = None
        # The next run begins with a new crew: callables that still run in threads belong to the old one.
        self._crew = self._make_crew()
        for name, one in self._functions.items():
            self._crew.announce(name.encode(), one, self._processes)

    def _apply(self, crew: Crew) -> None:
        """Let the crew know of `stop`, `pause` and `resume`. The lock is held."""
        self._changed = False
        if self._stopping:
            now = monotonic()
            crew.leave(now, None if self._stop_by is None else self._stop_by - now)
        if self._paused:
            crew.pause()
        else:
            crew.resume()

    def _round(self) -> None:
        """Connect, send, wait for something to happen, and deal with it."""
        crew = self._crew
        with self._lock:
            now = monotonic()
            if self._changed:
                self._apply(crew)
            due = crew.take_connects(now)
            for link in crew.take_retired():
                self._lines.drop(crew, link, "no function needs it any more")
        for link in due:
            self._lines.dial(crew, link)
        with self._lock:
            deadline = crew.tick(monotonic())
            self._lines.flush(crew)
            self._report_overdue(crew)
        if self._has_left(crew):
            return
        with self._lock:
            buffered = any(link.io is not None and link.io.has_buffered for link in crew.links)
        until = min(self._lines.wake_at, inf if deadline is None else deadline)
        seconds = None if until == inf else max(0.0, until - monotonic())
        ready = self._lines.poller.wait(0.0 if buffered or self._changed else seconds)
        self._lines.take_dialled(crew, ready)
        with self._lock:
            for fd, events in ready:
                if not self._lines.take(crew, fd, events) and self._pipe is not None:
                    self._pipe.drain()
            for link in crew.take_stalled(monotonic()):
                self._lines.lost(crew, link, "no answer to GRAB_JOB in time")
            if buffered:
                self._lines.take_buffered(crew)
        self._do_ready(crew)

    def _serve_quickly(self, crew: Crew) -> None:
        """The short way for one server over a plain connection: one read that blocks, one send.

        Everything else (connecting, more to send than goes out, other threads' wishes, sleep) goes on in `_round`.
        """
        session = crew.quick_session()
        if session is None or crew.leaving or not self._goes_on():
            return
        stream: PlainStream = crew.links[0].io
        if not stream.is_plain:
            return
        if stream.patience != QUICK_SECONDS:
            stream.set_patience(QUICK_SECONDS)
        recv, lock, ready, slots = stream.sock.recv, self._lock, crew.ready, crew.slots
        try:
            while not self._changed and not stream.unsent and slots.only is session:
                data = recv(READ_SIZE)
                with lock:
                    if not data or slots.only is not session:
                        self._lines.received(crew, crew.links[0], data)
                        return
                    if session.receive(data, monotonic()):
                        session.sleep()
                        session.slept_at = monotonic()
                    if session.refusals:
                        report.refused(crew.links[0])
                    if not ready:
                        self._lines.flush(crew)
                        continue
                if len(ready) > 1:
                    self._do_ready(crew)
                else:
                    self._do_one(crew, session, stream, ready.pop())
                if self._forked or self._interrupt is not None:
                    return
        except BlockingIOError:
            pass
        except (OSError, ProtocolError) as error:
            with lock:
                if slots.only is session:
                    self._lines.lost(crew, crew.links[0], reason_of(error))
        finally:
            self._place.job = None

    def _do_one(self, crew: Crew, session: WorkerSession, stream: PlainStream, assignment: Assignment) -> None:
        """The only job at hand; its result and the next grab go out in one send."""
        result = self._result(crew, assignment)
        if result is None:
            return
        try:
            with self._lock:
                if self._changed or crew.unsure or crew.ready or stream.unsent or crew.slots.only is not session:
                    if self._changed:
                        self._apply(crew)
                    crew.complete(assignment, result)
                    self._lines.flush(crew)
                    return
                out = session.answer(assignment, result)
                try:
                    sent = stream.sock.send(out, DONTWAIT)
                except (BlockingIOError, InterruptedError):
                    sent = 0
                if sent != len(out):
                    stream.unsent.append(memoryview(out)[sent:])
                    self._lines.flush(crew)
        except UNSENDABLE as error:
            self._failed(crew, assignment, error)
        except OSError as error:
            with self._lock:
                if crew.slots.only is session:
                    self._lines.lost(crew, crew.links[0], reason_of(error))

    def _do_ready(self, crew: Crew) -> None:
        """Do the jobs that came in, or have them done."""
        ready = crew.ready
        threads = self._threads
        if threads is not None:
            with self._lock:
                assigned = ready[:]
                ready.clear()
            for assignment in assigned:
                threads.submit(partial(self._do_in_thread, crew, assignment))
            return
        if len(ready) > 1 or crew.timed:
            self._flush_by = monotonic() + LINGER_SECONDS
            if self._attendant is not None:
                self._attendant.rouse()
        while ready and self._interrupt is None and not self._forked:
            try:
                assignment = ready.pop(0)
            except IndexError:  # lost by a thread of the callable's own
                break
            self._work(crew, assignment)
        self._place.job = None

    def _do_in_thread(self, crew: Crew, assignment: Assignment) -> bool:
        if assignment.lost:  # it waited for a thread
            with self._lock:
                crew.forget(assignment)
                self._lines.flush(crew)
        else:
            self._work(crew, assignment)
            current.set(None)
        return self._forked  # this is the only thread of a forked child

    def _work(self, crew: Crew, assignment: Assignment) -> None:
        """Do one job and report it; the report goes out together with the next grab."""
        result = self._result(crew, assignment)
        if result is None:
            return
        try:
            with self._lock:
                if self._changed:
                    self._apply(crew)
                crew.complete(assignment, result)
                if not crew.ready or self._threads is not None:
                    self._lines.flush(crew)
                    if crew.leaving:
                        self._wake()
                else:
                    self._linger(crew)
        except UNSENDABLE as error:
            self._failed(crew, assignment, error)

    def _result(self, crew: Crew, assignment: Assignment) -> bytes | bytearray | memoryview | None:
        """Call the job's callable. None: that went wrong, and was reported."""
        try:
            callable = self._callables.get(assignment.function)
            if callable is None:
                raise LookupError(f"function {assignment.function!r} is not registered any more")
            job = Job(self, assignment)
            if self._threads is None:
                self._place.job = job
            else:
                current.set(Place(job))
            hooks = self._hooks
            result = hooks.call(callable, job) if hooks.before or hooks.after else callable(job)
            if self._forked:
                return None
            if result.__class__ is bytes:
                return result
            return to_bytes(result, f"the result of function {job.function!r}")
        except Exception as error:  # noqa: BLE001
            if not self._forked:
                self._failed(crew, assignment, error)
        except BaseException as error:  # noqa: BLE001  # SystemExit, KeyboardInterrupt
            if not self._forked:
                report.interrupted(assignment, error)
            self._interrupt = error
            self._wake()
        return None

    def _linger(self, crew: Crew) -> None:
        """A job has ended and the next one is there: their results may go out together. The lock is held."""
        now = monotonic()
        if now >= self._flush_by:
            self._lines.flush(crew)
            self._flush_by = now + LINGER_SECONDS

    def _attend(self) -> float | None:
        """In the attendant's thread: see to what cannot wait while a callable keeps the worker's own thread busy.

        Returns the seconds until it should be called again; None: when it is roused.
        """
        with self._lock:
            crew = self._crew
            self._lines.flush(crew)
            self._report_overdue(crew)
            now = monotonic()
            if crew.leaving or self._stop_by is not None:
                if self._changed:
                    self._apply(crew)
                if crew.gave_up(now):
                    for link in crew.links:
                        self._lines.drop(crew, link, "the worker leaves without the job")
                    if self._children is not None:
                        threading.Thread(target=self._children.close, daemon=True).start()
                    return None
            waits = [at - now for at in crew.timed.values()]
            if self._stop_by is not None:
                waits.append(self._stop_by - now)
            if crew.ready:
                waits.append(LINGER_SECONDS)
            return max(0.0, min(waits)) if waits else None

    def _report_overdue(self, crew: Crew) -> None:
        for assignment in crew.take_overdue(monotonic()):
            report.overdue(assignment)

    def _failed(self, crew: Crew, assignment: Assignment, error: Exception) -> None:
        report.failed(assignment, error)
        if self._hooks.failure:
            self._hooks.failed(Job(self, assignment), error)
        with self._lock:
            if self._changed:
                self._apply(crew)
            crew.end_badly(assignment, error, tracebacks=self._tracebacks)
            self._lines.flush(crew)
            if crew.leaving:
                self._wake()

    def _tell(self, assignment: Assignment, what: str, *values: object) -> None:
        """Send something of a running job. What comes after its end, or after its connection, is dropped."""
        with self._lock:
            if not assignment.lost and not assignment.over:
                getattr(assignment.session, what)(assignment, *values)
                self._lines.flush(self._crew)

    def _look(self, assignment: Assignment) -> None:
        """Somebody wants to know whether a job is cancelled."""
        crew = self._crew
        if self._threads is not None:
            if assignment not in crew.unsure:
                with self._lock:
                    crew.watch(assignment)
                self._wake()
            return
        # The worker's own thread is busy with this very job, so nobody else asks, or reads the answer.
        with self._lock:
            crew.watch(assignment)
            asked = crew.ask(monotonic())
            self._lines.flush(crew)
            link = next((link for link in crew.links if link.session is assignment.session), None)
        if asked and link is not None:
            self._lines.await_answer(crew, link, assignment)

    def _after_fork(self) -> None:
        """In a forked child: the connections belong to the parent; `run` returns there."""
        self._forked = self._pipe is not None
        self._attendant = None
        if self._children is not None:
            self._children.forked()
        self._lines.forked(self._crew)
        self._lock = self._lines.lock


def _after_fork() -> None:
    for worker in list(_workers):
        worker._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)

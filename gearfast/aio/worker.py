# SPDX-License-Identifier: BSD-3-Clause
"""The asyncio worker."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import signal
from collections.abc import Awaitable, Callable
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar

from gearfast.aio.fork import is_running_here, watch
from gearfast.aio.stream import connect
from gearfast.errors import ProtocolError, ResultTooLarge, UsageError
from gearfast.frontend import worker_log as report
from gearfast.frontend.hooks import Hooks
from gearfast.frontend.sockets import jitter, reason_of
from gearfast.frontend.stop_signals import hear, would_cancel
from gearfast.frontend.threads import Threads
from gearfast.protocol import MAX_RESULT
from gearfast.session._worker import Assignment
from gearfast.session.crew import Crew, CrewLink
from gearfast.session.functions import Function, check_function_name, collect, make_function
from gearfast.session.job import BaseJob, Place, current
from gearfast.session.results import to_bytes
from gearfast.session.routing import Servers, make_id, parse_servers

if TYPE_CHECKING:
    from ssl import SSLContext

    from gearfast.frontend.children import Children

__all__ = ["AsyncJob", "AsyncWorker"]

DRAIN_SECONDS = 0.01
"""A leaving worker looks so often whether the last results are out."""

Result = bytes | bytearray | memoryview | str | None
H = TypeVar("H", bound="Callable[..., object]")
F = TypeVar("F", bound="Callable[[AsyncJob], Awaitable[Result] | Result]")


class AsyncJob(BaseJob):
    """A job in a worker's hands. `workload`, `unique` and `reducer` are bytes, `handle` and `function` text."""

    __slots__ = ()


Work = Callable[[AsyncJob], Awaitable[Result] | Result]


class AsyncWorker:
    """Does the jobs of its functions for one or several Gearman job servers.

    Arguments as for `Worker`. A coroutine function's job is a task of the loop; another callable's runs in a thread.
    `concurrency`: jobs at a time, of both kinds together.
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
        self._context = ssl
        self._timeout = timeout
        self._functions: dict[str, Function] = {}
        self._callables: dict[bytes, tuple[Work, bool]] = {}
        self._children: Children | None = None
        self._threads: Threads | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: dict[Assignment, asyncio.Task[None]] = {}
        self._connecting: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._left: asyncio.Future[None] | None = None
        self._flushing = False
        self._stopping = False
        self._stop_by: float | None = None
        self._paused = False
        self._forked = False
        self._forked_by: Assignment | None = None
        self._hooks = Hooks()
        watch(self)

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
        callable: Work,
        *,
        timeout: float | None = None,
        concurrency: int | None = None,
        process: bool = False,
    ) -> None:
        """Let `callable` do the jobs of function `name`; also while the worker runs.

        A coroutine function, or a plain callable, which runs in a thread; else as `Worker.register`. A coroutine that
        overruns its `timeout` by a second is cancelled, and its job ends with WORK_EXCEPTION.
        """
        key = check_function_name(name)
        one = make_function(callable, timeout, concurrency, process)
        is_coroutine = inspect.iscoroutinefunction(callable)
        if process and is_coroutine:
            raise UsageError(f"function {name!r} cannot run in a child process: it is a coroutine function")
        self._functions[name] = one
        self._callables[key] = (self._in_child(one, name), False) if process else (callable, is_coroutine)
        self._crew.announce(key, one, self._processes)
        self._turn_soon()

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
        if name not in self._functions:
            raise UsageError(f"function {name!r} is not registered")
        del self._functions[name]
        del self._callables[key]
        self._crew.unregister(key)
        self._turn_soon()

    # Hooks

    def before_job(self, hook: H) -> H:
        """Call `hook` with each job before its callable; also a decorator.

        A coroutine function or a plain callable, which runs in the loop. What it raises ends the
        job as if the callable had raised it, and the callable is not called.
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

    async def run(self, *, signals: bool = True) -> None:
        """Do jobs until `stop` is called; jobs in hand are finished first.

        `signals`: as for `Worker.run`, if the task that calls it is the one that asyncio.run runs, or the loop's only
        one; else stopping the worker would not end the program.
        A server that is away does not end it. Raises UsageError if there is no function or the worker runs already. If
        the task is cancelled, so are the jobs in hand, and their servers give them to somebody else.
        """
        if not self._functions:
            raise UsageError("the worker has no function; register one first")
        if self._loop is not None:
            raise UsageError("the worker runs already")
        if self._children is not None:
            from gearfast.frontend.children import check_not_a_child

            check_not_a_child()
        self._loop = loop = asyncio.get_running_loop()
        self._left = self._loop.create_future()
        self._threads = Threads(self._crew.concurrency, "gearfast-worker")
        task = asyncio.current_task()
        is_main = len(asyncio.all_tasks()) == 1 or would_cancel(signal.getsignal(signal.SIGINT), task)
        unhear = hear(self.stop, signals and is_main)
        try:
            self._turn()
            await self._left
        finally:
            try:
                self._finish()
                if self._children is not None and not self._forked:
                    await loop.run_in_executor(None, self._children.close)
                if self._connecting:
                    await asyncio.wait(self._connecting)
            finally:
                unhear()

    def stop(self, limit: float | None = None) -> None:
        """Let `run` return once the jobs in hand are finished. From any thread or signal handler; never blocks.

        `limit`: after so many seconds jobs that are still being done are given back to their servers, and `run` returns
        (tasks are cancelled, child processes killed, threads left to themselves). Before `run`, it lets the next `run`
        return at once.
        """
        if limit is not None:
            by = monotonic() + limit
            self._stop_by = by if self._stop_by is None else min(by, self._stop_by)
        self._stopping = True
        self._turn_soon()

    def pause(self) -> None:
        """Take no more jobs until `resume`. From any thread or signal handler; never blocks.

        Jobs in hand are finished, and one that a server was about to give is still done. The functions stay registered.
        """
        self._paused = True
        self._turn_soon()

    def resume(self) -> None:
        """Take jobs again after `pause`. From any thread or signal handler; never blocks."""
        self._paused = False
        self._turn_soon()

    # Inside

    def _in_child(self, one: Function, name: str) -> Work:
        from gearfast.frontend.children import Children, pickled

        if self._children is None:
            self._children = Children(self._processes)
        children, task = self._children, pickled(one.callable, name)
        return lambda job: children.run(task, job)

    def _turn_soon(self) -> None:
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._turn)

    def _turn(self) -> None:
        """Connect what is due, send, set the timer, see whether the worker has left."""
        loop, left = self._loop, self._left
        if loop is None or left is None or self._forked:
            return
        crew = self._crew
        now = monotonic()
        for link in crew.take_stalled(now):
            self._lost(link, "no answer to GRAB_JOB in time")
        for link in crew.take_retired():
            self._drop(link, "no function needs it any more")
        if self._stopping:
            crew.leave(now, None if self._stop_by is None else self._stop_by - now)
        if self._paused:
            crew.pause()
        else:
            crew.resume()
        for assignment in crew.take_overdue(now):
            self._overdue(assignment)
        for link in crew.take_connects(now):
            task = loop.create_task(self._connect(link))
            self._connecting.add(task)
            task.add_done_callback(self._connecting.discard)
        deadline = crew.tick(now)
        self._flush()
        unsent = sum(link.io.unsent_bytes for link in crew.links if link.io is not None) if crew.leaving else 0
        if crew.has_left(now, unsent) and not left.done():
            left.set_result(None)
        if unsent:  # nothing tells when all is out
            deadline = now + DRAIN_SECONDS
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if deadline is None else loop.call_later(max(0.0, deadline - now), self._turn)

    def _finish(self) -> None:
        self._loop = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for task in (*self._tasks.values(), *self._connecting):
            task.cancel()
        self._tasks.clear()
        for link in [*self._crew.links, *self._crew.take_retired()]:
            self._drop(link, "the worker has left")
        if self._threads is not None:
            self._threads.close()
            self._threads = None
        self._stopping = False
        self._stop_by = None
        # The next run begins with a new crew: callables that still run in threads belong to the old one.
        self._crew = self._make_crew()
        for name, one in self._functions.items():
            self._crew.announce(name.encode(), one, self._processes)

    def _begin(self, crew: Crew) -> None:
        """Begin the jobs that came in, as far as the worker may do them at the same time."""
        ready, tasks, loop = crew.ready, self._tasks, self._loop
        assert loop is not None
        room = crew.concurrency - len(tasks)
        for assignment in ready[:room] if room > 0 else ():
            tasks[assignment] = loop.create_task(self._work(crew, assignment))
        del ready[: max(0, room)]

    async def _work(self, crew: Crew, assignment: Assignment) -> None:
        """Do one job and report it."""
        try:
            found = self._callables.get(assignment.function)
            if found is None:
                raise LookupError(f"function {assignment.function!r} is not registered any more")
            callable, is_coroutine = found
            job = AsyncJob(self, assignment)
            current.set(Place(job))
            begin = partial(callable, job) if is_coroutine else partial(self._in_thread, callable, job)
            hooks = self._hooks
            result = await (hooks.call_async(begin, job) if hooks.before or hooks.after else begin())  # type: ignore[arg-type, misc]
            if result.__class__ is not bytes:
                result = to_bytes(result, f"the result of function {job.function!r}")
        except Exception as error:  # noqa: BLE001
            if not self._forked:
                await self._failed(crew, assignment, error)
        except asyncio.CancelledError:
            if self._loop is not None and not self._forked:  # not the whole worker is cancelled
                await self._failed(crew, assignment, self._why_cancelled(assignment))
            raise
        except BaseException as error:  # noqa: BLE001  # SystemExit, KeyboardInterrupt
            if not self._forked:
                report.interrupted(assignment, error)
            if self._left is not None and not self._left.done():
                self._left.set_exception(error)
        else:
            try:
                if not self._forked:
                    crew.complete(assignment, result)
                    self._flush_soon()
            except (ResultTooLarge, ValueError, BufferError) as error:  # or a memoryview that was released
                await self._failed(crew, assignment, error)
        finally:
            if self._forked:
                if assignment is self._forked_by:
                    self._leave_forked()
            elif crew is self._crew:
                self._tasks.pop(assignment, None)
                if crew.ready:
                    self._begin(crew)

    async def _in_thread(self, callable: Work, job: AsyncJob) -> Result:
        loop, threads = self._loop, self._threads
        assert loop is not None and threads is not None
        future: asyncio.Future[tuple[Any, BaseException | None]] = loop.create_future()

        def done(outcome: tuple[Any, BaseException | None]) -> None:
            if not future.done():
                future.set_result(outcome)

        def call() -> bool:
            current.set(Place(job))
            outcome = _outcome(callable, job)
            current.set(None)
            if self._forked:  # this is the only thread of a forked child, which ends with it
                return True
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(done, outcome)
            return False

        threads.submit(call)
        result, error = await future
        if error is not None:
            raise error
        if inspect.isawaitable(result):
            result = await result
        return result  # type: ignore[no-any-return]

    def _overdue(self, assignment: Assignment) -> None:
        task = self._tasks.get(assignment)
        _, is_coroutine = self._callables.get(assignment.function, (None, False))
        report.overdue(assignment, stopped=is_coroutine)
        if task is not None and is_coroutine:
            task.cancel()

    def _why_cancelled(self, assignment: Assignment) -> Exception:
        if assignment.deadline is not None and monotonic() >= assignment.deadline:
            return TimeoutError("it was still running after its time-out; it was cancelled")
        return RuntimeError("the job was cancelled")

    async def _failed(self, crew: Crew, assignment: Assignment, error: Exception) -> None:
        report.failed(assignment, error)
        if self._hooks.failure:
            await self._hooks.failed_async(AsyncJob(self, assignment), error)
        crew.end_badly(assignment, error, tracebacks=self._tracebacks)
        self._flush_soon()

    def _tell(self, assignment: Assignment, what: str, *values: object) -> None:
        """Send something of a running job. What comes after its end, or after its connection, is dropped."""
        loop = self._loop
        if loop is None or self._forked:
            return
        if _running_loop() is not loop:  # from a plain callable's thread
            loop.call_soon_threadsafe(partial(self._tell, assignment, what, *values))
        elif not assignment.lost and not assignment.over:
            getattr(assignment.session, what)(assignment, *values)
            self._flush_soon()

    def _look(self, assignment: Assignment) -> None:
        """Somebody wants to know whether a job is cancelled."""
        loop = self._loop
        if loop is None or self._forked or assignment in self._crew.unsure:
            return
        if _running_loop() is not loop:
            loop.call_soon_threadsafe(self._look, assignment)
        else:
            self._crew.watch(assignment)
            self._turn_soon()

    # Forks

    def _fork_loop(self) -> asyncio.AbstractEventLoop | None:
        return self._loop

    def _after_fork(self) -> None:
        """In a forked child: the connections and the jobs are the parent's; `run` returns there.

        If it is the loop's thread that has forked, then when the job's task that did it has ended; the other jobs'
        tasks are cancelled. A callable in a thread is alone in the child, and takes the process with it.
        """
        if self._children is not None:
            self._children.forked()
        loop = self._loop
        if loop is None:
            return
        self._forked = True
        self._threads = None
        for link in self._crew.links:
            if link.io is not None:
                link.io.forked()
        if not is_running_here(loop):
            return
        if self._timer is not None:
            self._timer.cancel()
        here = asyncio.current_task(loop)
        self._forked_by = next((assignment for assignment, task in self._tasks.items() if task is here), None)
        for task in (*self._tasks.values(), *self._connecting):
            if task is not here:
                task.cancel()
        if self._forked_by is None:
            self._leave_forked()

    def _leave_forked(self) -> None:
        if self._left is not None and not self._left.done():
            self._left.set_result(None)

    # Connections

    def _flush_soon(self) -> None:
        """Join what is sent in this turn of the loop."""
        if not self._flushing and self._loop is not None:
            self._flushing = True
            self._loop.call_soon(self._flush_now)

    def _flush_now(self) -> None:
        self._flushing = False
        if self._stopping:
            self._turn()
        else:
            self._flush()

    def _flush(self) -> None:
        if self._forked:
            return
        for link in self._crew.links:
            session = link.session
            if session is not None and session.has_output:
                link.io.write(session.take_output())

    async def _connect(self, link: CrewLink) -> None:
        assert self._loop is not None
        on_data = partial(self._received, link)
        on_lost = partial(self._lost, link)
        try:
            stream = await connect(link.address, self._timeout, self._context, on_data, on_lost)
        except OSError as error:
            now = monotonic()
            again = self._crew.failed(link, now, jitter(), reason_of(error))
            report.cannot_connect(link, reason_of(error), again - now)
        else:
            link.io = stream
            self._crew.connected(link, monotonic())
            report.connected(link)
        self._turn()

    def _drop(self, link: CrewLink, reason: str) -> float:
        stream, link.io = link.io, None
        if stream is not None:
            stream.close()
        return self._crew.lost(link, monotonic(), jitter(), reason)

    def _lost(self, link: CrewLink, reason: str) -> None:
        now = monotonic()
        again = self._drop(link, reason)
        report.connection_lost(link, reason, again - now)
        self._turn()

    def _received(self, link: CrewLink, data: bytes) -> None:
        crew = self._crew
        try:
            crew.receive(link, data, monotonic())
        except ProtocolError as error:
            self._lost(link, str(error))
            return
        session = link.session
        if session is None:
            return
        if session.refusals:
            report.refused(link)
        if crew.ready:
            self._begin(crew)
        if self._stopping or session.asleep or crew.timed:
            self._turn()
        else:
            self._flush_soon()


def _outcome(callable: Callable[[AsyncJob], Any], job: AsyncJob) -> tuple[Any, BaseException | None]:
    """Call it, in a thread. What it raises is given back: a future cannot carry a StopIteration."""
    try:
        return callable(job), None
    except BaseException as error:  # noqa: BLE001
        return None, error


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None

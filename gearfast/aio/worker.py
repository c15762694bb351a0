# SPDX-License-Identifier: BSD-3-Clause
"""The asyncio worker."""

from __future__ import annotations

import asyncio
import inspect
import logging
import random
from collections.abc import Awaitable, Callable
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar

from gearfast._sockets import reason_of
from gearfast.aio.stream import connect
from gearfast.errors import Fail, ProtocolError, UsageError
from gearfast.session.calls import make_id
from gearfast.session.crew import Crew, CrewLink, check_function_name
from gearfast.session.results import describe, milliseconds, text_of, to_bytes
from gearfast.session.routing import Servers, parse_servers
from gearfast.session._worker import Assignment

if TYPE_CHECKING:
    from ssl import SSLContext

__all__ = ["AsyncJob", "AsyncWorker"]

log = logging.getLogger("gearfast.worker")
log.addHandler(logging.NullHandler())

DRAIN_SECONDS = 0.01
"""A leaving worker looks so often whether the last results are out."""

Result = bytes | bytearray | memoryview | str | None
F = TypeVar("F", bound="Callable[[AsyncJob], Awaitable[Result] | Result]")


class AsyncJob:
    """A job in a worker's hands. `workload`, `unique` and `reducer` are bytes, `handle` and `function` text."""

    __slots__ = ("_assignment", "_worker", "function", "handle", "unique", "workload")

    def __init__(self, worker: AsyncWorker, assignment: Assignment) -> None:
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


class AsyncWorker:
    """Does the jobs of its functions for one or several Gearman job servers.

    Arguments as for `Worker`. Each job is a task of the loop; a callable that is no coroutine function runs in a thread
    of the loop's executor. `concurrency`: jobs at a time.
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
        self._context = ssl
        self._timeout = timeout
        self._callables: dict[bytes, Callable[[AsyncJob], Awaitable[Result] | Result]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._connecting: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._left: asyncio.Future[None] | None = None
        self._flushing = False
        self._stopping = False

    def function(self, name: str, *, timeout: float | None = None) -> Callable[[F], F]:
        """Decorator: the callable does the jobs of function `name`. As `register`."""

        def decorate(callable: F) -> F:
            self.register(name, callable, timeout=timeout)
            return callable

        return decorate

    def register(
        self, name: str, callable: Callable[[AsyncJob], Awaitable[Result] | Result], *, timeout: float | None = None
    ) -> None:
        """Let `callable` do the jobs of function `name`; also while the worker runs.

        A coroutine function or a plain callable; else as `Worker.register`.
        """
        key = check_function_name(name)
        allowed = milliseconds(timeout)
        self._callables[key] = callable
        self._crew.register(key, allowed)
        self._flush_soon()

    def unregister(self, name: str) -> None:
        """Do no more jobs of function `name`. The server gives those that are being done to somebody else.

        Raises UsageError if the function is not registered.
        """
        key = check_function_name(name)
        if key not in self._callables:
            raise UsageError(f"function {name!r} is not registered")
        del self._callables[key]
        self._crew.unregister(key)
        self._flush_soon()

    async def run(self) -> None:
        """Do jobs until `stop` is called; jobs in hand are finished first.

        A server that is away does not end it. Raises UsageError if there is no function or the worker runs already. If
        the task is cancelled, so are the jobs in hand, and their servers give them to somebody else.
        """
        if not self._callables:
            raise UsageError("the worker has no function; register one first")
        if self._loop is not None:
            raise UsageError("the worker runs already")
        self._loop = asyncio.get_running_loop()
        self._left = self._loop.create_future()
        try:
            self._turn()
            await self._left
        finally:
            self._finish()
            if self._connecting:
                await asyncio.wait(self._connecting)

    def stop(self) -> None:
        """Let `run` return once the jobs in hand are finished. From any thread or signal handler; never blocks.

        Before `run`, it lets the next `run` return at once.
        """
        self._stopping = True
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._turn)

    # Inside

    def _turn(self) -> None:
        """Connect what is due, send, set the timer, see whether the worker has left."""
        loop, left = self._loop, self._left
        if loop is None or left is None:
            return
        crew = self._crew
        now = monotonic()
        for link in crew.take_stalled(now):
            self._lost(link, "no answer to GRAB_JOB in time")
        if self._stopping:
            crew.leave(now)
        for link in crew.take_connects(now):
            task = loop.create_task(self._connect(link))
            self._connecting.add(task)
            task.add_done_callback(self._connecting.discard)
        self._flush()
        deadline = crew.tick(now)
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
        for task in (*self._tasks, *self._connecting):
            task.cancel()
        self._tasks.clear()
        for link in self._crew.links:
            self._drop(link, "the worker has left")
        self._stopping = False
        # The next run begins with a new crew: callables that still run in threads belong to the old one.
        self._crew = self._make_crew(abilities=self._crew.abilities)

    def _start_task(self, coroutine: Awaitable[None]) -> None:
        assert self._loop is not None
        task: asyncio.Task[None] = self._loop.create_task(coroutine)  # type: ignore[arg-type]
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _work(self, crew: Crew, assignment: Assignment) -> None:
        """Do one job and report it."""
        callable = self._callables.get(assignment.function)
        try:
            if callable is None:
                raise LookupError(f"function {assignment.function!r} is not registered any more")
            job = AsyncJob(self, assignment)
            if inspect.iscoroutinefunction(callable):
                result = await callable(job)
            else:
                result, error = await asyncio.get_running_loop().run_in_executor(None, _outcome, callable, job)
                if error is not None:
                    raise error
                if inspect.isawaitable(result):
                    result = await result
            if type(result) is not bytes:
                result = to_bytes(result, f"the result of function {assignment.function.decode('utf-8', 'replace')!r}")
        except Exception as error:  # noqa: BLE001
            self._failed(crew, assignment, error)
        except asyncio.CancelledError:
            if self._loop is not None:  # not the whole worker is cancelled: the callable cancelled itself
                self._failed(crew, assignment, RuntimeError("the job was cancelled"))
            raise
        except BaseException as error:  # noqa: BLE001  # SystemExit, KeyboardInterrupt
            if self._left is not None and not self._left.done():
                self._left.set_exception(error)
        else:
            try:
                crew.complete(assignment, result)
                self._flush_soon()
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
            if text_of(error) and not assignment.lost:
                assignment.session.warning(assignment, text_of(error).encode("utf-8", "replace"))
            crew.fail(assignment)
        else:
            log.error("job raised an exception", exc_info=error, extra=facts)
            crew.exception(assignment, describe(error))
        self._flush_soon()

    def _tell(self, assignment: Assignment, what: str, *values: object) -> None:
        """Send something of a running job. What comes after its end, or after its connection, is dropped."""
        loop = self._loop
        if loop is None:
            return
        if _running_loop() is not loop:  # from a plain callable's thread
            loop.call_soon_threadsafe(partial(self._tell, assignment, what, *values))
        elif not assignment.lost and not assignment.over:
            getattr(assignment.session, what)(assignment, *values)
            self._flush_soon()

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
            again = self._crew.failed(link, now, random.random(), reason_of(error))
            facts = {"server": link.label, "retry_in_s": round(again - now, 3)}
            log.warning("cannot connect to %s: %s", link.label, reason_of(error), extra=facts)
        else:
            link.io = stream
            self._crew.connected(link, monotonic())
            log.info("connected to %s", link.label, extra={"server": link.label})
        self._turn()

    def _drop(self, link: CrewLink, reason: str) -> float:
        stream, link.io = link.io, None
        if stream is not None:
            stream.close()
        return self._crew.lost(link, monotonic(), random.random(), reason)

    def _lost(self, link: CrewLink, reason: str) -> None:
        now = monotonic()
        again = self._drop(link, reason)
        facts = {"server": link.label, "retry_in_s": round(again - now, 3)}
        log.warning("connection to %s lost: %s", link.label, reason, extra=facts)
        self._turn()

    def _received(self, link: CrewLink, data: bytes) -> None:
        crew = self._crew
        try:
            crew.receive(link, data, monotonic())
        except ProtocolError as error:
            self._lost(link, str(error))
            return
        session = link.session
        if session is not None and session.refusals:
            for code, text in session.refusals:
                log.warning("%s refused: %r %r", link.label, code, text, extra={"server": link.label})
            session.refusals.clear()
        if crew.ready:
            assigned = crew.ready[:]
            crew.ready.clear()
            for assignment in assigned:
                self._start_task(self._work(crew, assignment))
        if self._stopping or (session is not None and session.asleep):
            self._turn()
        else:
            self._flush_soon()


def _outcome(callable: Callable[[AsyncJob], Any], job: AsyncJob) -> tuple[Any, Exception | None]:
    """Call it, in a thread. What it raises is given back: a future cannot carry a StopIteration."""
    try:
        return callable(job), None
    except Exception as error:  # noqa: BLE001
        return None, error


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None

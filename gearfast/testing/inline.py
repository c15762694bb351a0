# SPDX-License-Identifier: BSD-3-Clause
"""Doing the jobs of a server in memory where they are submitted, or where a test says so."""

from __future__ import annotations

import contextlib
import inspect
import os
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from gearfast.errors import Fail, UsageError
from gearfast.session.functions import HasFunctions, collect
from gearfast.testing import waits

if TYPE_CHECKING:
    from gearfast.testing.memory import MemoryServer

__all__ = ["Functions", "Inline"]

Callables = Mapping[str, Callable[..., Any]]
Functions = Callables | HasFunctions
"""Callables by name, or an App."""

_running: ContextVar[frozenset[str]] = ContextVar("gearfast_running", default=frozenset())
"""Servers of which a worker runs here and its callable is not at work: its own waits must not start another one."""


class Tally:
    """What happened in one drain."""

    def __init__(self) -> None:
        self.done = 0
        self.errors: list[Exception] = []

    def raise_errors(self) -> None:
        """Raise what the callables raised."""
        if len(self.errors) == 1:
            raise self.errors[0]
        if self.errors:
            raise ExceptionGroup("jobs raised exceptions", self.errors)


class Inline:
    """The callables of a server, and the workers that run them for as long as there are jobs."""

    def __init__(self, server: MemoryServer, functions: Functions | None) -> None:
        self._server = server
        self._pid = os.getpid()
        self.functions = {} if functions is None else _callables(functions)

    def drain(self, functions: Functions | None, raise_errors: bool) -> int:
        """As `MemoryServer.drain`."""
        from gearfast.sync.worker import Worker

        tally = Tally()
        worker = Worker(self._server.url)
        for name, callable in self._table(functions).items():
            if inspect.iscoroutinefunction(callable):
                raise UsageError(f"function {name!r} is a coroutine function; use drain_async, or an AsyncClient")
            worker.register(name, self._counted(callable, tally))
        with self._flag(True):
            self._server.run_worker(worker)
        if raise_errors:
            tally.raise_errors()
        return tally.done

    async def drain_async(self, functions: Functions | None, raise_errors: bool) -> int:
        """As `MemoryServer.drain_async`."""
        from gearfast.aio.worker import AsyncWorker

        tally = Tally()
        worker = AsyncWorker(self._server.url)
        for name, callable in self._table(functions).items():
            is_async = inspect.iscoroutinefunction(callable)
            worker.register(name, (self._counted_async if is_async else self._counted)(callable, tally))
        with self._flag(True):
            await self._server.run_worker_async(worker)
        if raise_errors:
            tally.raise_errors()
        return tally.done

    def _table(self, functions: Functions | None) -> Callables:
        table = self.functions if functions is None else _callables(functions)
        if not table:
            raise UsageError("there is no function to do jobs with; give them to drain or to the server")
        return table

    @contextlib.contextmanager
    def _counting(self, tally: Tally) -> Iterator[None]:
        tally.done += 1
        try:
            with self._flag(False):
                yield
        except Fail:
            raise
        except Exception as error:
            tally.errors.append(error)
            raise

    def _counted(self, callable: Callable[..., Any], tally: Tally) -> Callable[..., Any]:
        def run(job: Any) -> Any:
            with self._counting(tally):
                return callable(job)

        return run

    def _counted_async(self, callable: Callable[..., Any], tally: Tally) -> Callable[..., Any]:
        async def run(job: Any) -> Any:
            with self._counting(tally):
                return await callable(job)

        return run

    @contextlib.contextmanager
    def _flag(self, value: bool) -> Iterator[None]:
        mine = {self._server.name}
        token = _running.set(_running.get() | mine if value else _running.get() - mine)
        try:
            yield
        finally:
            _running.reset(token)

    # Inline

    def due(self) -> Callables:
        """The callables of jobs that are to be done now; one that complains for a client that would wait for ever."""
        with self._server.lock:
            waiting = [job for job in self._server.jobs() if not job.running and not job.due]
            served = {name for each in self._server.connections() for name in each.functions}
        found = {job.function: self.functions[job.function] for job in waiting if job.function in self.functions}
        for job in waiting:
            if job.function not in found and job.function not in served and not job.background:
                found[job.function] = _missing(self._server.name, job.function)
        return found

    def before_wait(self) -> None:
        """A blocking client or worker of this process is about to wait, in this thread."""
        if self._server.name not in _running.get() and self._pid == os.getpid():
            while functions := self.due():
                self.drain(functions, False)

    def wait(self, seconds: float, plain: waits.Wait) -> waits.Ready | None:
        """Waiting is left to others."""
        return None

    async def run_async(self) -> None:
        """The same in a loop."""
        while functions := self.due():
            await self.drain_async(functions, False)


def _callables(functions: Functions) -> dict[str, Callable[..., Any]]:
    if isinstance(functions, Mapping):
        return dict(functions)
    return {name: one.callable for name, one in collect(functions).items()}


def _missing(server: str, name: str) -> Callable[[Any], bytes]:
    def complain(job: Any) -> bytes:
        raise UsageError(f"nothing does the jobs of function {name!r} at the inline server {server!r}")

    return complain

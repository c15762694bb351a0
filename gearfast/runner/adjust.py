# SPDX-License-Identifier: BSD-3-Clause
"""What a command line says goes over what a program says: servers, threads, names, a choice of functions.

It is put round `Worker` and `AsyncWorker` before the program is imported, so that a worker which is made at import
connects to the right servers too. Only their public constructor and `register` are touched.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from gearfast.aio.worker import AsyncWorker
from gearfast.errors import UsageError
from gearfast.sync.worker import Worker

__all__ = ["Adjustments"]


class Adjustments:
    """Arguments that every worker of this process gets, and what it does with them.

    `options`: arguments of the constructor, by name; `defaults`: those for a call that leaves them out.
    `only`: functions that are wanted, empty for all.
    `after_job`: called after each job, in whatever thread did it.
    `names`: functions that were registered; `servers`: those of the worker that was made last.
    """

    def __init__(
        self,
        options: dict[str, Any],
        defaults: dict[str, Any],
        only: frozenset[str] = frozenset(),
        after_job: Callable[[], None] | None = None,
    ) -> None:
        self.options = options
        self.defaults = defaults
        self.only = only
        self.after_job = after_job
        self.names: set[str] = set()
        self.left_out: set[str] = set()
        self.servers: Any = None
        self.context: Any = None

    def install(self) -> None:
        """Let all workers that are made from now on be adjusted. There is no way back: it is for a process's start."""
        for kind in (Worker, AsyncWorker):
            self._wrap_constructor(kind)
            self._wrap_register(kind)

    def check(self) -> None:
        """Raises UsageError if a wanted function was never registered."""
        missing = sorted(self.only - self.names)
        if missing:
            there = ", ".join(sorted(self.names | self.left_out)) or "none at all"
            raise UsageError(f"the worker has no function {', '.join(missing)}; it has {there}")

    def _wrap_constructor(self, kind: Any) -> None:
        plain = kind.__init__
        signature = inspect.signature(plain)

        @functools.wraps(plain)
        def construct(worker: Any, *args: Any, **options: Any) -> None:
            bound = signature.bind(worker, *args, **options)
            bound.arguments.update(self.defaults | bound.arguments | self.options)
            bound.apply_defaults()
            self.servers = bound.arguments["servers"]
            self.context = bound.arguments["ssl"]
            plain(*bound.args, **bound.kwargs)

        kind.__init__ = construct

    def _wrap_register(self, kind: Any) -> None:
        plain = kind.register

        @functools.wraps(plain)
        def register(worker: Any, name: str, callable: Any, **options: Any) -> Any:
            if self.only and name not in self.only:
                self.left_out.add(name)
                return None
            self.names.add(name)
            # What goes to a child process of the worker has to be picklable as it is: those jobs are not counted.
            counted = callable if options.get("process") else self._counted(callable)
            return plain(worker, name, counted, **options)

        kind.register = register

    def _counted(self, callable: Any) -> Any:
        after_job = self.after_job
        if after_job is None:
            return callable
        if inspect.iscoroutinefunction(callable):

            @functools.wraps(callable)
            async def work(job: Any) -> Any:
                try:
                    return await callable(job)
                finally:
                    after_job()

            return work

        @functools.wraps(callable)
        def do(job: Any) -> Any:
            try:
                return callable(job)
            finally:
                # A coroutine that a plain callable returns has not begun: its job counts as done all the same.
                after_job()

        return do

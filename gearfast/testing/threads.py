# SPDX-License-Identifier: BSD-3-Clause
"""A worker beside the test, in a thread of its own."""

from __future__ import annotations

import asyncio
import inspect
import threading
from types import TracebackType
from typing import Final, Protocol, Self

from gearfast.aio.worker import AsyncWorker
from gearfast.errors import UsageError
from gearfast.session.functions import collect
from gearfast.sync.worker import Worker
from gearfast.testing.inline import Functions

__all__ = ["HasJobs", "WorkerThread"]

PATIENCE: Final = 30.0
"""Seconds that a worker may take to finish what it has in hand."""


class HasJobs(Protocol):
    """A `Server` or `MemoryServer`."""

    @property
    def url(self) -> str:
        """Where clients and workers reach it."""

    def wait_idle(self, timeout: float | None = None) -> None:
        """Wait until no job is queued or running. Raises DeadlineExceeded."""


class WorkerThread:
    """Runs a worker in a thread, from `start` to `stop` or inside `with`.

    `worker`: a `Worker`, an `AsyncWorker`, or an App or callables by name, for which one is made at `server` (an
    AsyncWorker if there is a coroutine function among them). `concurrency`: of the one that is made.
    `server`: a `Server`, a `MemoryServer` or a URL; `finish` needs one of the former.
    """

    def __init__(
        self,
        worker: Worker | AsyncWorker | Functions,
        server: HasJobs | str | None = None,
        *,
        concurrency: int = 1,
    ) -> None:
        self._server = None if isinstance(server, str) else server
        if not isinstance(worker, Worker | AsyncWorker):
            if server is None:
                raise UsageError("callables need a server to do jobs for")
            worker = _make_worker(worker, server if isinstance(server, str) else server.url, concurrency)
        self.worker: Worker | AsyncWorker = worker
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def start(self) -> Self:
        """Start the thread. Starting a running one does nothing."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="gearfast-worker-thread", daemon=True)
            self._thread.start()
        return self

    def finish(self, timeout: float | None = PATIENCE) -> None:
        """Wait until the server has no job any more that is queued or running, then stop. Raises DeadlineExceeded."""
        if self._server is None:
            raise UsageError("a WorkerThread that was given no server cannot know when its jobs are done")
        try:
            self._server.wait_idle(timeout)
        finally:
            self.stop()

    def stop(self, timeout: float = PATIENCE) -> None:
        """Let the worker finish what it has in hand, and wait for it. Stopping a stopped one does nothing.

        Raises what its `run` has raised, and TimeoutError if it takes longer than `timeout` seconds.
        """
        thread = self._thread
        if thread is None:
            return
        if thread.is_alive():
            self.worker.stop()
        thread.join(timeout)
        if thread.is_alive():
            raise TimeoutError(f"the worker did not finish within {timeout:g} seconds")
        self._thread = None
        error, self._error = self._error, None
        if error is not None:
            raise error

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _run(self) -> None:
        try:
            if isinstance(self.worker, AsyncWorker):
                asyncio.run(self.worker.run())
            else:
                self.worker.run()
        except BaseException as error:  # noqa: BLE001  (`stop` raises it)
            self._error = error


def _make_worker(functions: Functions, url: str, concurrency: int) -> Worker | AsyncWorker:
    is_async = any(inspect.iscoroutinefunction(one.callable) for one in collect(functions).values())
    worker = (AsyncWorker if is_async else Worker)(url, concurrency=concurrency)
    worker.add(functions)
    return worker

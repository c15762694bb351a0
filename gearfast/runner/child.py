# SPDX-License-Identifier: BSD-3-Clause
"""One process of a Python worker, below a supervisor or alone.

Below a supervisor it has a socket to it, whose number stands in the environment. It writes a word a line:

    ready    the worker is loaded and begins
    again    the process is about to leave, and another one shall take its place
    done     the process is about to leave, and no other one is needed

The supervisor writes nothing: the end of the socket tells that it is gone, and then the process leaves too.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import socket
import threading
from typing import TYPE_CHECKING

from gearfast.aio.worker import AsyncWorker
from gearfast.errors import ConnectError
from gearfast.frontend.stop_signals import TOGETHER_SECONDS, take_over
from gearfast.runner.adjust import Adjustments
from gearfast.runner.limits import has_queued_jobs, resident_bytes
from gearfast.runner.load import load
from gearfast.runner.settings import VARIABLE

if TYPE_CHECKING:
    from collections.abc import Callable

    from gearfast.runner.settings import Settings
    from gearfast.sync.worker import Worker

__all__ = ["WorkerProcess", "on_stop_signals"]

log = logging.getLogger("gearfast.worker")

MEMORY_SECONDS = 1.0
"""So often a process looks at its memory."""
BURST_SECONDS = 0.2
"""So often a worker that leaves when nothing is queued asks for that."""


class WorkerProcess:
    """Loads a worker and runs it until a signal, a limit, or the end of the supervisor."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        number = os.environ.pop(VARIABLE, None)  # programs that a job starts are none of ours
        self._parent = None if number is None else socket.socket(fileno=int(number))
        self._worker: Worker | AsyncWorker | None = None
        self._jobs = 0
        self._lock = threading.Lock()
        self._said: str | None = None
        self._error: ConnectError | None = None
        self._adjustments = Adjustments(
            settings.options, settings.defaults, settings.only, self._count if settings.max_jobs is not None else None
        )

    def load(self) -> None:
        """Import the program. Raises UsageError, or what the program raises."""
        self._adjustments.install()
        try:
            self._worker = load(self._settings.target, self._settings.folder)
            self._adjustments.check()
        except BaseException:
            if self._parent is not None:
                self._parent.close()
            raise

    def run(self) -> None:
        """Work until it is time to leave. Raises ConnectError if it should empty a queue and no server is there."""
        worker = self._worker
        assert worker is not None
        # A supervisor's second signal is meant as one, however soon it comes.
        on_stop_signals(self._signalled, together=TOGETHER_SECONDS if self._parent is None else 0.0)
        settings = self._settings
        if self._parent is not None or settings.max_memory is not None or settings.burst:
            threading.Thread(target=self._watch, name="gearfast-runner", daemon=True).start()
        self._tell("ready")
        if isinstance(worker, AsyncWorker):
            import asyncio

            asyncio.run(worker.run())
        else:
            worker.run()
        self._tell(self._said or "done")
        if self._error is not None:
            raise self._error

    # Inside

    def _signalled(self, number: int) -> None:
        # If the supervisor did not send it, it starts another process.
        self._leave("again")

    def _leave(self, word: str) -> None:
        with self._lock:
            self._said = self._said or word
        if self._worker is not None:
            self._worker.stop()

    def _tell(self, word: str) -> None:
        if self._parent is not None:
            with contextlib.suppress(OSError):
                self._parent.sendall(word.encode() + b"\n")

    def _count(self) -> None:
        with self._lock:
            self._jobs += 1
            enough = self._jobs == self._settings.max_jobs
        if enough:
            log.info("%d jobs are done; the process leaves", self._jobs)
            self._leave("again")

    def _watch(self) -> None:
        """A thread: the supervisor's end, memory, an empty queue."""
        settings = self._settings
        pause = BURST_SECONDS if settings.burst else MEMORY_SECONDS if settings.max_memory is not None else None
        while True:
            if settings.burst and self._is_idle():
                self._leave("done")
                return
            if settings.max_memory is not None and (held := resident_bytes()) > settings.max_memory:
                log.info("%d MiB of memory are held; the process leaves", held >> 20)
                self._leave("again")
                return
            if self._parent is None:
                threading.Event().wait(pause)
            elif select.select([self._parent], [], [], pause)[0]:
                log.warning("the supervisor is gone; the process leaves")
                self._leave("done")
                return

    def _is_idle(self) -> bool:
        made = self._adjustments
        try:
            return not has_queued_jobs(made.servers, made.names, made.context)
        except ConnectError as error:
            self._error = error
            return True


def on_stop_signals(
    stop: Callable[[int], None], at_once: Callable[[], None] = lambda: None, together: float = TOGETHER_SECONDS
) -> None:
    """SIGTERM and SIGINT call `stop` with their number; the second one calls `at_once` and ends the process.

    Its jobs go back to the queue then, as its connections end. `together`: seconds in which the same signal again is
    not a second one.
    """

    def end(number: int) -> None:
        at_once()
        os._exit(128 + number)

    take_over([signal.SIGTERM, signal.SIGINT], stop, end, together)

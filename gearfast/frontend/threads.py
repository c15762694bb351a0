# SPDX-License-Identifier: BSD-3-Clause
"""Threads of a worker: started as they are needed, and never waited for by the interpreter's end.

An executor of the standard library is joined at exit, so a callable that never returns would keep the process for ever.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from time import monotonic

__all__ = ["Threads"]


class Threads:
    """At most `most` daemon threads that make calls. A call that returns True ends its thread."""

    def __init__(self, most: int, name: str) -> None:
        self._most = most
        self._name = name
        self._queue: SimpleQueue[Callable[[], bool | None] | None] = SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._threads: list[threading.Thread] = []

    def submit(self, call: Callable[[], bool | None]) -> None:
        """Make the call in a thread, as soon as one is free. It may raise nothing."""
        if not self._idle.acquire(blocking=False) and len(self._threads) < self._most:
            name = f"{self._name}-{len(self._threads)}"
            thread = threading.Thread(target=self._serve, name=name, daemon=True)
            self._threads.append(thread)
            thread.start()
        self._queue.put(call)

    def close(self, wait: float | None = 0.0) -> None:
        """Let the threads end once they are free, and wait for that for so many seconds; None: as long as it takes."""
        threads, self._threads = self._threads, []
        for _ in threads:
            self._queue.put(None)
        until = None if wait is None else monotonic() + wait
        for thread in threads:
            thread.join(None if until is None else max(0.0, until - monotonic()))

    def _serve(self) -> None:
        while True:
            call = self._queue.get()
            if call is None or call():
                return
            self._idle.release()
            del call  # a job's data must not live until the next one

# SPDX-License-Identifier: BSD-3-Clause
"""A thread beside a worker that does its jobs in its own thread: it sees to what must not wait for a callable's end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue

__all__ = ["Attendant"]

SHORT = 0.005
"""Waits up to so many seconds are plain sleeps, which cost less and cannot be cut short."""
BUSY_SECONDS = 0.05
"""After it was roused it looks every SLICE seconds for so long."""
SLICE = 0.001


class Attendant:
    """Calls `look` when it is roused, and again after the seconds that it returned. None: when it is roused.

    The thread begins when it is roused first: a worker that never needs it has one thread, and its callables may fork.
    """

    def __init__(self, look: Callable[[], float | None]) -> None:
        self._look = look
        # Its `put` may be interrupted by a signal handler that calls it too.
        self._calls: SimpleQueue[bool] = SimpleQueue()
        self._busy_until = 0.0
        self._awake = False
        self._closed = False
        self._begun = False
        self._first = threading.Lock()

    def rouse(self, begin: bool = True) -> None:
        """Have it look soon, and often for a while. Never blocks; cheap if it is awake already.

        `begin` False: only if its thread has begun.
        """
        if not self._begun:
            if not begin or self._closed:
                return
            if self._first.acquire(blocking=False):  # and never given back
                self._begun = self._awake = True
                threading.Thread(target=self._serve, name="gearfast-attendant", daemon=True).start()
        self._busy_until = time.monotonic() + BUSY_SECONDS
        if not self._awake:
            self._awake = True
            self._calls.put(True)

    def close(self) -> None:
        """Let the thread end."""
        self._closed = True
        self._calls.put(True)

    def _serve(self) -> None:
        while not self._closed:
            delay = self._look()
            if time.monotonic() < self._busy_until:
                delay = SLICE
            if delay is not None and delay <= SHORT:
                time.sleep(delay)
                continue
            self._awake = False
            if time.monotonic() < self._busy_until:
                continue  # roused just now, when it seemed awake
            try:
                self._calls.get(timeout=delay)
            except Empty:
                continue
            self._awake = True

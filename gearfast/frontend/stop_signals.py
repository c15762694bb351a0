# SPDX-License-Identifier: BSD-3-Clause
"""Signals that end a process that works: the first lets it finish its jobs, a second one does not."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["TOGETHER_SECONDS", "hear", "take_over"]

log = logging.getLogger("gearfast.worker")

TOGETHER_SECONDS: Final = 0.5
"""The same signal within this time is the same wish: timeout(1) signals its child, and then the child's group."""


def take_over(
    numbers: list[int],
    first: Callable[[int], None],
    second: Callable[[int], None],
    together: float = TOGETHER_SECONDS,
) -> None:
    """Let signals call `first` with their number, and from the second one on `second`, which is logged.

    `together`: seconds in which the same signal again is not a second one. In a forked child a signal has its usual
    effect. Main thread only.
    """
    pid = os.getpid()
    before = {number: signal.getsignal(number) for number in numbers}
    seen: list[tuple[int, float]] = []

    def take(number: int, frame: object) -> None:
        if os.getpid() != pid:  # a child that a job has forked
            _as_usual(number, before[number])
        elif not seen:
            seen.append((number, monotonic()))
            _tell("%s: jobs in hand are finished", number)
            first(number)
        elif number != seen[0][0] or monotonic() - seen[0][1] >= together:
            _tell("%s, the second signal: jobs in hand are given up", number)
            second(number)

    for number in numbers:
        signal.signal(number, take)


def hear(stop: Callable[[], None], wanted: bool) -> Callable[[], None]:
    """Let SIGTERM call `stop` if nobody else handles it; a second one has its usual effect.

    Returns what puts the old handler back. Does nothing outside the main thread, and unless `wanted`. SIGINT stays
    Python's: who presses Ctrl-C does not want to wait.
    """
    heard = (
        wanted
        and threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    )

    def restore() -> None:
        if heard:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    if heard:
        take_over([signal.SIGTERM], lambda number: stop(), lambda number: _as_usual(number, signal.SIG_DFL))
    return restore


def would_cancel(handler: object, task: object) -> bool:
    """Whether a handler is the one with which asyncio.run cancels its main task, and that is `task`."""
    return task is not None and getattr(handler, "keywords", {}).get("main_task") is task


def _as_usual(number: int, handler: Any) -> None:
    signal.signal(number, handler)
    signal.raise_signal(number)


def _tell(text: str, number: int) -> None:
    # The signal may have come in the middle of a write to the very stream that the log goes to.
    with contextlib.suppress(RuntimeError):
        log.info(text, signal.Signals(number).name)

# SPDX-License-Identifier: BSD-3-Clause
"""Who may act when a blocking client or worker is about to wait: in-memory servers and fake clocks.

The wait of `gearfast.sync` is replaced only while somebody is registered here, so that programs pay nothing for it. It
is called outside all locks, in the thread that would wait: so jobs can be done there.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

from gearfast.sync.stream import Poller, PollPoller

__all__ = ["Ready", "Waiter", "enter", "leave"]

Ready = list[tuple[int, int]]
Wait = Callable[[float | None], Ready]


class Waiter(Protocol):
    """Somebody who may act before a wait, or in its place."""

    def before_wait(self) -> None:
        """Do what there is to do; what is then ready ends the wait at once."""

    def wait(self, seconds: float, plain: Wait) -> Ready | None:
        """Wait in place of `plain`, or None to leave it to others. `seconds` is above 0 and finite."""


_lock = threading.Lock()
_waiters: list[Waiter] = []
_plain = {kind: kind.wait for kind in (Poller, PollPoller)}
NAME = "wait"


def enter(waiter: Waiter) -> None:
    """Register one."""
    with _lock:
        if not _waiters:
            for kind, plain in _plain.items():
                setattr(kind, NAME, _replacement(plain))
        _waiters.append(waiter)


def leave(waiter: Waiter) -> None:
    """Forget one."""
    with _lock:
        _waiters.remove(waiter)
        if not _waiters:
            for kind, plain in _plain.items():
                setattr(kind, NAME, plain)


def _replacement(plain: Callable[..., Ready]) -> Callable[[Poller, float | None], Ready]:
    def wait(self: Poller, seconds: float | None) -> Ready:
        if seconds is not None and seconds <= 0:
            return plain(self, seconds)
        for waiter in _waiters[:]:
            waiter.before_wait()
        if seconds is not None:
            for waiter in _waiters[:]:
                ready = waiter.wait(seconds, lambda limit: plain(self, limit))
                if ready is not None:
                    return ready
        return plain(self, seconds)

    return wait

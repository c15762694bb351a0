# SPDX-License-Identifier: BSD-3-Clause
"""Time that passes when a test says so."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import pkgutil
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from datetime import UTC, datetime
from math import ceil, inf
from types import ModuleType, TracebackType
from typing import Any, Final, Protocol, Self

import gearfast.aio
import gearfast.sync
from gearfast.errors import UsageError
from gearfast.sync import stream
from gearfast.testing import waits

__all__ = ["FakeClock"]

LOOK: Final = 0.02
"""Seconds of real time after which one who waits looks at the clock again, if nothing tells him that it has moved."""
PAUSE: Final = 0.002
REAL: Final = ("gearfast.server", "gearfast.testing", "gearfast.bench", "gearfast.demo", "gearfast.cli")
"""Parts that go on with real time."""

_active: list[FakeClock] = []


class Follower(Protocol):
    """Somebody with time limits of his own: an in-memory server."""

    def due(self) -> int:
        """Nanoseconds of the clock until something is to be done, -1 if nothing is."""

    def time_moved(self) -> None:
        """Do what is due, and wake all who wait."""

    def is_busy(self) -> bool:
        """Whether somebody will do something by himself: a job runs, or bytes were not read yet."""


class FakeClock:
    """The time of all clients, workers and `MemoryServer`s with this clock; it stands still until `advance`.

    `start`: what `time()` gives at first, as seconds since 1970 or a datetime with a time zone; now if left out.
    `auto`: when a blocking client or worker waits, in the thread that made the clock, for something that only time can
    bring (no job runs, no bytes are under way), the clock goes on by itself to what comes next. So one thread can see a
    time-out without sleeping.

    It holds from `install` to `uninstall`, or inside `with`. Clients and workers of servers behind sockets follow it
    too, within a second; those servers have real time. Of asyncio loops it takes those over in which a client or worker
    has connected to a MemoryServer with this clock; `asyncio.sleep` and time-outs then follow it as well. `time.sleep`
    does not. Clients that are used before and after should have nothing under way at its end: time goes back then.
    """

    def __init__(self, start: float | datetime | None = None, *, auto: bool = False) -> None:
        if isinstance(start, datetime):
            if start.tzinfo is None:
                raise UsageError(f"start={start!r} has no time zone; use datetime.now(timezone.utc) or astimezone()")
            start = start.timestamp()
        self.auto = auto
        self._wall = time.time_ns() if start is None else round(start * 1e9)
        self._monotonic = time.monotonic_ns()
        self._passed = 0
        self._owner = threading.get_ident()
        self._lock = threading.RLock()
        self._followers: weakref.WeakSet[Any] = weakref.WeakSet()
        self._loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, float] = weakref.WeakKeyDictionary()
        self._replaced: list[tuple[ModuleType, str, object]] = []

    def time(self) -> float:
        """Seconds since 1970."""
        return self.time_ns() / 1e9

    def time_ns(self) -> int:
        """The same in nanoseconds."""
        return self._wall + self._passed

    def monotonic(self) -> float:
        """Seconds of a clock that nobody sets."""
        return self.monotonic_ns() / 1e9

    def monotonic_ns(self) -> int:
        """The same in nanoseconds."""
        return self._monotonic + self._passed

    @property
    def now(self) -> datetime:
        """`time()` as a datetime in UTC."""
        return datetime.fromtimestamp(self.time(), UTC)

    def advance(self, seconds: float) -> None:
        """Let time pass. Servers do what falls due in its order; who waits takes notice. Raises UsageError."""
        if not 0 <= seconds < inf:
            raise UsageError(f"a clock can be advanced by 0 or more seconds, not {seconds!r}")
        self._advance(round(seconds * 1e9))

    def _advance(self, nanoseconds: int) -> None:
        with self._lock:
            end = self._passed + nanoseconds
            while (step := self._due()) is not None and self._passed + step < end:
                self._passed += step
                self._tell()
            self._passed = end
            self._tell()

    def move_to(self, when: float | datetime) -> None:
        """Advance to a time of day: seconds since 1970 or a datetime with a time zone. Raises UsageError."""
        self.advance((when.timestamp() if isinstance(when, datetime) else when) - self.time())

    @property
    def is_installed(self) -> bool:
        """Whether it is the time of gearfast in this process."""
        return self in _active

    def install(self) -> None:
        """Make it the time of gearfast in this process. Raises UsageError if there is another one."""
        if _active:
            raise UsageError("a fake clock is installed already; a process has one at a time")
        _active.append(self)
        self._monotonic = time.monotonic_ns() - self._passed  # nobody's time goes back
        for module, name, value in _uses_of_time():
            self._replaced.append((module, name, value))
            fakes = {"monotonic": self.monotonic, "time": self.time}
            setattr(module, name, _Time(self) if value is time else fakes[getattr(value, "__name__", "")])
        self._replaced.append((stream, "LONGEST_WAIT", stream.LONGEST_WAIT))
        stream.LONGEST_WAIT = LOOK  # type: ignore[misc]
        waits.enter(self)

    def uninstall(self) -> None:
        """Give everybody the real time back. Nothing happens if it is not installed."""
        if self not in _active:
            return
        waits.leave(self)
        while self._replaced:
            module, name, value = self._replaced.pop()
            setattr(module, name, value)
        for loop in list(self._loops):
            loop.__dict__.pop("time", None)
            _wake(loop)
        self._loops.clear()
        _active.remove(self)

    def __enter__(self) -> Self:
        self.install()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.uninstall()

    # What servers in memory tell

    def follow(self, follower: Follower) -> None:
        """`follower` has this time from now on."""
        self._followers.add(follower)

    def unfollow(self, follower: Follower) -> None:
        """It has not any more."""
        self._followers.discard(follower)

    def adopt(self, loop: asyncio.AbstractEventLoop) -> None:
        """Give an event loop this time; timers that it has keep what they have left. Raises UsageError."""
        with self._lock:
            if self not in _active or loop in self._loops:
                return
            ahead = loop.time() - self.monotonic()
            try:
                loop.time = lambda: self.monotonic() + ahead  # type: ignore[method-assign]
            except AttributeError:
                raise UsageError(
                    f"a fake clock cannot be given to a {type(loop).__name__}; use asyncio's own"
                ) from None
            self._loops[loop] = ahead

    def _due(self) -> int | None:
        """Nanoseconds until a server has something to do; at least 1, so that time goes on."""
        found = [due for follower in list(self._followers) if (due := follower.due()) >= 0]
        return max(1, min(found)) if found else None

    def _tell(self) -> None:
        for follower in list(self._followers):
            follower.time_moved()
        for loop in list(self._loops):
            _wake(loop)

    # What `waits` asks

    def before_wait(self) -> None:
        """Nothing is done before a wait."""

    def wait(self, seconds: float, plain: waits.Wait) -> waits.Ready | None:
        """Go on to what comes next, if that is for this thread to do."""
        if not self.auto or threading.get_ident() != self._owner:
            return None
        still = 0
        while still < 2:
            ready = plain(PAUSE)
            if ready:
                return ready
            busy = any(follower.is_busy() for follower in list(self._followers))
            still = 0 if busy else still + 1
        limit = max(1, ceil(seconds * 1e9))  # floats may be a little short of the time that is waited for
        due = self._due()
        self._advance(limit if due is None else min(limit, due))
        return plain(0.0)


class _Time:
    """Stands for the module `time` in a module that has imported it whole."""

    def __init__(self, clock: FakeClock) -> None:
        self.monotonic = clock.monotonic
        self.time = clock.time

    def __getattr__(self, name: str) -> object:
        return getattr(time, name)


def _uses_of_time() -> Iterator[tuple[ModuleType, str, object]]:
    """Where the front ends, and what is built on them, have a clock. Both are loaded whole, so that none is missed."""
    for package in (gearfast.sync, gearfast.aio):
        for found in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            importlib.import_module(found.name)
    for name, module in list(sys.modules.items()):
        if name.startswith("gearfast.") and not name.startswith(REAL):
            for attribute, value in list(vars(module).items()):
                if value is time.monotonic or value is time.time or value is time:
                    yield module, attribute, value


def _wake(loop: asyncio.AbstractEventLoop) -> None:
    with contextlib.suppress(RuntimeError):  # it is closed
        loop.call_soon_threadsafe(_nothing)


def _nothing() -> None:
    """For a loop that only has to look at the time."""

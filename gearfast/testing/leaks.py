# SPDX-License-Identifier: BSD-3-Clause
"""What a test has left behind: connections, threads, jobs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import Final, Protocol

from gearfast.errors import UsageError
from gearfast.server.embedded import ConnectionInfo
from gearfast.types import JobInfo

__all__ = ["KINDS", "Leaks"]

KINDS: Final = ("connections", "threads", "jobs")
"""What is looked for unless something else is said."""
ALL: Final = (*KINDS, "queued")
THREADS: Final = ("gearfast-client", "gearfast-worker")
"""What names of threads of clients and workers begin with."""
PATIENCE: Final = 2.0
"""Seconds that a closed connection may take to be gone from its server too."""
PAUSE: Final = 0.005


class Watched(Protocol):
    """A `Server` or `MemoryServer`."""

    def connections(self) -> list[ConnectionInfo]:
        """All connections."""

    def jobs(self) -> list[JobInfo]:
        """All jobs."""


class Leaks:
    """Compares the end of a test with its beginning, which is when this is made.

    `server`: whose connections and jobs are looked at. `kinds`: "connections" that are open; "threads" of clients and
    workers; "jobs" that somebody waits for or that a worker has; "queued": all other jobs as well.
    """

    def __init__(self, server: Watched, kinds: Iterable[str] = KINDS) -> None:
        self.kinds = tuple(kinds)
        unknown = set(self.kinds) - set(ALL)
        if unknown:
            raise UsageError(f"kinds of leaks are {', '.join(ALL)}, not {', '.join(sorted(unknown))}")
        self._server = server
        self._before = set(threading.enumerate())

    def find(self) -> list[str]:
        """What is left now, in words. A server learns of closed connections a moment later; that is waited for."""
        found = self._look()
        deadline = time.monotonic() + PATIENCE
        while found and time.monotonic() < deadline:
            time.sleep(PAUSE)
            found = self._look()
        return found

    def check(self) -> None:
        """Raises AssertionError if something is left."""
        __tracebackhide__ = True
        found = self.find()
        if found:
            raise AssertionError("the test has left behind:\n" + "\n".join(f"  {each}" for each in found))

    def _look(self) -> list[str]:
        looks: dict[str, Callable[[], list[str]]] = {
            "connections": self._connections,
            "threads": self._threads,
            "jobs": self._jobs,
            "queued": self._queued,
        }
        return [each for kind in self.kinds for each in looks[kind]()]

    def _connections(self) -> list[str]:
        found = []
        for each in self._server.connections():
            does = f"of a worker for {', '.join(each.functions)}" if each.functions else "of a client"
            named = "" if each.id == "-" else f" ({each.id})"
            found.append(f"a connection {does}{named}, which was not closed")
        return found

    def _threads(self) -> list[str]:
        alive = [thread for thread in threading.enumerate() if thread not in self._before]
        return [f"a thread, {each.name}" for each in alive if each.name.startswith(THREADS)]

    def _jobs(self) -> list[str]:
        return [_job(each) for each in self._server.jobs() if _is_awaited(each)]

    def _queued(self) -> list[str]:
        return [_job(each) for each in self._server.jobs() if not _is_awaited(each)]


def _is_awaited(job: JobInfo) -> bool:
    return job.running or job.clients > 0


def _job(job: JobInfo) -> str:
    state = "a worker has" if job.running else "a client waits for" if job.clients else "is queued"
    if job.running or job.clients:
        return f"a job that {state}: {job.handle} of function {job.function!r}"
    return f"a job that {state}: {job.handle} of function {job.function!r}, workload {job.workload[:80]!r}"

# SPDX-License-Identifier: BSD-3-Clause
"""What is measured, as data: the programs, which of them are measured together, what they are compared with, bars."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gearfast.bench.traffic import Traffic

__all__ = ["GROUPS", "PROGRAMS", "Group", "Program", "Ratio"]


@dataclass(frozen=True, slots=True)
class Program:
    """One program, which is measured in a process of its own."""

    name: str
    title: str
    call: str
    """MODULE:NAME of this package."""
    package: str = ""
    """The package that it needs, as `pip install` wants it; empty: gearfast alone."""
    at_most: float | None = None
    """The bar on its CPU for a job in µs."""
    batch: int = 500
    """Jobs that a client does between two looks at the clock."""

    @property
    def figure(self) -> str:
        """The name of the figure of its CPU for a job."""
        return f"library-{self.name}-us"


@dataclass(frozen=True, slots=True)
class Ratio:
    """The CPU of a program against that of another one, or of the best of several, in the same rounds."""

    name: str
    title: str
    program: str
    against: tuple[str, ...]
    at_most: float

    @property
    def figure(self) -> str:
        """Its name as a figure."""
        return f"library-{self.name}"


@dataclass(frozen=True, slots=True)
class Group:
    """Programs that are measured interleaved, and the traffic of the other end."""

    name: str
    title: str
    programs: tuple[Program, ...]
    traffic: Traffic
    """With workers, it serves clients; with clients, each worker gets some of its own."""
    ratios: tuple[Ratio, ...] = ()

    @property
    def side(self) -> str:
        """What is measured: "client" or "worker"."""
        return "client" if self.traffic.workers else "worker"


_GEAR: Final = "gear>=0.16"
_PYGEARMAN: Final = "pygearman>=0.2.6"
_AIOGEAR: Final = "aiogear>=0.2.6"
_ONE: Final = Traffic(clients=0)
_MANY: Final = Traffic(clients=0, grabs=64)
_FLOW: Final = 64 * 50
_ON_ANY_MACHINE: Final = 8.3
"""The bar of 2.5 µs where the bare socket, 64 in flight, takes 0.3: what it means on a machine of another speed."""

GROUPS: Final = (
    Group(
        "run",
        "client, one job at a time",
        (
            Program("run", "`Client.run`", "blocking:run"),
            Program("run-bare", "bare socket: poll with a deadline, recv both answers", "bare:run"),
            Program("run-pygearman", "pygearman", "blocking:pygearman_run", _PYGEARMAN),
            Program("run-gear", "gear", "blocking:gear_run", _GEAR),
        ),
        _ONE,
        (
            Ratio("run", "`Client.run`, one at a time, against a bare socket", "run", ("run-bare",), 1.5),
            Ratio("run-peer", "the same against the best other library", "run", ("run-pygearman", "run-gear"), 0.5),
        ),
    ),
    Group(
        "map",
        "client, 64 jobs in flight",
        (
            Program("map", "`Client.map` of a list, window 64, in order", "blocking:mapped", at_most=2.5, batch=_FLOW),
            Program("map-iterator", "the same of an iterator", "blocking:mapped_iterator", batch=_FLOW),
            Program("map-bare", "bare socket, 64 in flight", "bare:window", batch=_FLOW),
            Program("background", "`Client.map_background` of a list, window 64", "blocking:background",
                    at_most=2.5, batch=_FLOW),
            Program("background-bare", "bare socket, 64 background submissions in flight", "bare:background",
                    batch=_FLOW),
        ),
        _MANY,
        (
            Ratio("map", "`Client.map` of a list against the bare socket", "map", ("map-bare",), _ON_ANY_MACHINE),
            Ratio("background", "`Client.map_background` of a list against the same", "background", ("map-bare",),
                  _ON_ANY_MACHINE),
        ),
    ),
    Group(
        "async-run",
        "asyncio client, one job at a time",
        (
            Program("async-run", "`AsyncClient.run`", "streams:run"),
            Program("async-run-joined", "bare protocol with joined writes", "bare_streams:joined"),
            Program("async-run-plain", "bare protocol, a write a job", "bare_streams:plain"),
            Program("async-run-aiogear", "aiogear", "streams:aiogear", _AIOGEAR),
        ),
        _ONE,
        (
            Ratio("async-run", "`AsyncClient.run`, one at a time, against a bare protocol with joined writes",
                  "async-run", ("async-run-joined",), 1.5),
            Ratio("async-run-plain", "the same against a bare protocol", "async-run", ("async-run-plain",), 0.7),
        ),
    ),
    Group(
        "async-64",
        "asyncio client, 64 tasks",
        (
            Program("async-64", "`AsyncClient.run`", "streams:run_tasks", batch=_FLOW),
            Program("async-64-joined", "bare protocol with joined writes", "bare_streams:joined_tasks", batch=_FLOW),
            Program("async-64-plain", "bare protocol, a write a job", "bare_streams:plain_tasks", batch=_FLOW),
            Program("async-64-aiogear", "aiogear", "streams:aiogear_tasks", _AIOGEAR, batch=_FLOW),
        ),
        _MANY,
        (
            Ratio("async-64", "`AsyncClient.run` in 64 tasks against a bare protocol with joined writes", "async-64",
                  ("async-64-joined",), 1.5),
            Ratio("async-64-plain", "the same against a bare protocol", "async-64", ("async-64-plain",), 0.7),
        ),
    ),
    Group(
        "worker",
        "worker, one job at a time",
        (
            Program("worker", "`Worker`", "blocking:worker"),
            Program("worker-bare", "bare socket, the same packets (`all_yours`)", "bare:worker"),
            Program("worker-sleeping", "bare socket with PRE_SLEEP, NOOP and NO_JOB", "bare:worker_that_sleeps"),
            Program("worker-async", "`AsyncWorker`", "streams:worker"),
            Program("worker-pygearman", "pygearman", "blocking:pygearman_worker", _PYGEARMAN),
            Program("worker-gear", "gear", "blocking:gear_worker", _GEAR),
        ),
        Traffic(workers=0),
        (
            Ratio("worker", "`Worker`, one at a time, against a bare socket with the same packets", "worker",
                  ("worker-bare",), 1.5),
            Ratio("worker-sleep", "the same against a bare socket with PRE_SLEEP, NOOP and NO_JOB", "worker",
                  ("worker-sleeping",), 1.5),
        ),
    ),
    Group(
        "held",
        "worker that holds 16 jobs, clients with 256 in flight",
        (
            Program("held", "`Worker(prefetch=15)`", "blocking:held_worker", at_most=3.0),
            Program("held-async", "`AsyncWorker(concurrency=16)`", "streams:held_worker", at_most=10.0),
        ),
        Traffic(clients=4, workers=0, window=64),
    ),
)  # fmt: skip
"""All groups."""
PROGRAMS: Final = {program.name: program for group in GROUPS for program in group.programs}
"""All programs by name."""

# SPDX-License-Identifier: BSD-3-Clause
"""Values that users see: priorities, handles, and the typed answers of a job server."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

__all__ = [
    "ClusterServer",
    "DeadLetter",
    "FunctionStatus",
    "Handle",
    "JobInfo",
    "JobStatus",
    "KeptResult",
    "PolicyInfo",
    "Priority",
    "PriorityStatus",
    "WorkerInfo",
]


class Priority(Enum):
    """Priority of a job. A worker gets high before normal before low, over all its functions."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


class Handle(str):
    """A job's handle as the server gave it in JOB_CREATED. `server`: the address of that server."""

    __slots__ = ("server",)

    server: str

    def __new__(cls, value: str, server: str = "") -> Handle:
        self = super().__new__(cls, value)
        self.server = server
        return self

    def __reduce__(self) -> tuple[type[Handle], tuple[str, str]]:
        return Handle, (str(self), self.server)


class JobStatus(NamedTuple):
    """STATUS_RES or STATUS_RES_UNIQUE. `clients` is 0 for the former, which does not tell it."""

    known: bool
    """The server has the job, queued or running."""
    running: bool
    """A worker has it."""
    numerator: int
    """What the worker said last in WORK_STATUS; 0 before."""
    denominator: int
    clients: int = 0
    """How many clients wait for its result."""

    @property
    def fraction(self) -> float:
        """`numerator / denominator`, or 0.0 if there is no denominator."""
        return self.numerator / self.denominator if self.denominator else 0.0


class FunctionStatus(NamedTuple):
    """A line of the admin command `status`."""

    function: str
    total: int
    """Jobs queued and running."""
    running: int
    workers: int
    """Connections that registered the function."""


class PriorityStatus(NamedTuple):
    """A line of the admin command `prioritystatus`: queued jobs by priority."""

    function: str
    high: int
    normal: int
    low: int
    workers: int


class DeadLetter(NamedTuple):
    """A line of the admin command `dead`, or what `dead show` tells: a job that failed for good and was kept.

    The list tells all down to `time`; the rest keeps its default there.
    """

    handle: str
    function: str
    unique: bytes
    tries: int
    """How often it was given to a worker."""
    reason: str
    """lost (with its worker), timeout, failed (by its worker), expired (in its queue) or full (its queue was)."""
    time: float
    """When it failed, seconds since 1970."""
    priority: Priority = Priority.NORMAL
    workload: bytes = b""
    exception: bytes | None = None
    """The last one that a worker sent for it, 64 KiB of it at most; None: there was none."""


class KeptResult(NamedTuple):
    """A line of the admin command `results`, or what `results show` tells: what a background job left.

    The list tells all down to `time`; the rest keeps its default there.
    """

    handle: str
    function: str
    unique: bytes
    outcome: str
    """done, failed (by its worker), lost (with it), timeout, expired (in its queue), full (its queue was), cancelled"""
    size: int
    """Bytes of what its worker sent at last, kept or not."""
    time: float
    """When it ended, seconds since 1970."""
    numerator: int = 0
    """The last progress that its worker told; 0 of 0 if it told none."""
    denominator: int = 0
    data: bytes | None = None
    """Its result or, if it failed, its exception; None: there was none, or it was too large to be kept."""


class PolicyInfo(NamedTuple):
    """A line of the admin command `policy`: what functions are allowed."""

    pattern: str
    """A function's name, or with `*` and `?` those of several."""
    settings: dict[str, str]
    """Keys and values as the text protocol has them, such as `timeout` and `30`."""


class ScheduleInfo(NamedTuple):
    """A line of the admin command `schedule`: a job that is submitted again and again. Times are seconds since 1970."""

    name: str
    function: str
    workload: bytes
    cron: str | None
    """When, as a cron expression; None: `every` says it."""
    timezone: str
    """Of the cron expression."""
    every: str | None
    """When, as the time between two runs, such as `30s` or `1h30m`."""
    priority: Priority
    unique: str
    overlap: bool
    """A run is queued though the one before has not ended."""
    catch_up: str
    """What becomes of times that were missed: one, all or none."""
    paused: bool
    source: str
    """file: the server's configuration; command: it was added on the running server."""
    next: float | None
    """When it is due; None: it is paused, or never will be."""
    last: float | None
    """The time of its last run; None: there was none."""
    problem: str = ""
    """Why the server cannot use it; all else but its name is unknown then."""


class ClusterServer(NamedTuple):
    """A line of the admin command `cluster`: one of the job servers that share a store."""

    id: int
    """Rises with each server that starts; the lowest one leads."""
    host: str
    pid: int
    addresses: str
    """Where it listens, with commas between them."""
    jobs: int
    """Durable jobs that were its own when it last said so."""
    lease: float
    """Seconds until others may take its jobs over; below 0: they are about to."""
    lag: float
    """Seconds since it last wrote to the store or renewed its lease."""


class WorkerInfo(NamedTuple):
    """A line of the admin command `workers`: one connection. gearmand has `fd` -1 for one that it is about to close."""

    fd: int
    address: str
    id: str
    functions: tuple[str, ...]


class JobInfo(NamedTuple):
    """A line of the admin command `show jobs`, or a job of an embedded server.

    `show jobs` tells `handle`, `retries`, `ignored`, `background`; the rest keeps its default there.
    """

    handle: str
    retries: int
    """How often it was lost with its worker."""
    ignored: bool
    """Nobody wants its result any more."""
    background: bool
    function: str = ""
    unique: bytes = b""
    workload: bytes = b""
    """Empty, too, while the store alone has it (setting `store_memory`)."""
    priority: Priority = Priority.NORMAL
    running: bool = False
    clients: int = 0
    due: float = 0.0
    """Seconds since 1970 at which it may run; 0.0: at once."""

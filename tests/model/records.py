# SPDX-License-Identifier: BSD-3-Clause
"""What the model knows: jobs, functions and peers, as plain lists and dicts; and `Wrong`, which ends a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .policies import Allowed


class Wrong(Exception):
    """The dispatcher did something else than the model; the text says what."""


class Open(Exception):
    """What the rules leave open cannot be seen, so the run ends here, neither right nor wrong."""


@dataclass(eq=False, slots=True)
class Job:
    """A job that somebody wants, or that a worker still runs. Times are in ns; 0 is none."""

    number: int
    handle: bytes
    function: Function
    unique: bytes
    reducer: bytes
    data: bytes
    priority: int
    background: bool
    due: int = 0
    waiting: list[Peer] = field(default_factory=list)  # an entry for each request
    worker: Peer | None = None
    deadline: int = 0
    since: int = 0  # in its queue, or at its worker
    retries: int = 0
    cancelled: bool = False
    displaced: bool = False  # it did not come into its queue by the order of submission
    numerator: int = 0
    denominator: int = 0

    @property
    def wanted(self) -> bool:
        return not self.cancelled and (self.background or bool(self.waiting))


@dataclass(eq=False, slots=True)
class Function:
    """`queues` holds what is wanted and runnable. `ghosts` is what nobody wants any more: it may still be counted."""

    name: bytes
    queues: tuple[list[Job], list[Job], list[Job]] = field(default_factory=lambda: ([], [], []))
    delayed: dict[Job, None] = field(default_factory=dict)
    ghosts: dict[Job, None] = field(default_factory=dict)
    running: int = 0
    able: dict[Peer, None] = field(default_factory=dict)
    limits: list[int] = field(default_factory=lambda: [0, 0, 0])
    uniques: dict[tuple[bool, bytes], Job] = field(default_factory=dict)  # (by its data, key)
    allowed: Allowed | None = None
    credit: list[int] = field(default_factory=lambda: [0, 0, 0])  # by priority, where it has weights
    ahead: int = 0  # up to when its rate is used up
    opens: int = 0  # when it may give out a job again, 0 now
    counts: Counter[str] = field(default_factory=Counter)  # as Dispatcher.metrics() names them; and times in ns

    @property
    def ready(self) -> bool:
        return self.filled and self.open

    def first_queue(self, queues: Sequence[list[Job]] = ()) -> list[Job]:
        """Where its next job lies, of its own queues or of these; one of them has a job."""
        queues = queues or self.queues
        if not self.allowed or not self.allowed.weights:
            return next(queue for queue in queues if queue)
        due = [at + weight for at, weight in zip(self.credit, self.allowed.weights, strict=True)]
        return queues[max((priority for priority in range(3) if queues[priority]), key=lambda one: (due[one], -one))]

    @property
    def filled(self) -> bool:
        return bool(self.queues[0] or self.queues[1] or self.queues[2])

    @property
    def open(self) -> bool:
        """Its policy lets it give out a job now."""
        return not self.opens and not (self.allowed and 0 < self.allowed.concurrency <= self.running)

    @property
    def live(self) -> int:
        return sum(map(len, self.queues)) + len(self.delayed) + self.running


@dataclass(eq=False, slots=True)
class Peer:
    """A connection. `seen` is what it got in this phase, of which `at` bytes are accounted for."""

    name: int
    admin: bool | None = None
    partial: bytes = b""
    client_id: bytes = b"-"
    able: dict[Function, int] = field(default_factory=dict)  # time-outs in ms, in the order of registration
    turns: list[Function] = field(default_factory=list)  # in the order in which they are looked through
    asleep: bool = False
    woken: bool = False
    exceptions: bool = False
    all_yours: bool = False
    held: list[int] = field(default_factory=list)  # commands of the GRABs that wait, oldest first
    last_form: int = 0  # of the last GRAB that was held; of all beyond the 32nd only that is kept
    rank: dict[Function, int] = field(default_factory=dict)  # since when it stands in line for a function
    rank_open: bool = False  # so many functions that its place in line is left open
    running: dict[Job, None] = field(default_factory=dict)  # first grabbed first
    waits: list[Job] = field(default_factory=list)  # an entry for each request
    closing: bool = False
    cut_off: bool = False  # it was sent more than it may leave unread
    full: bool = False  # its frames wait until it takes its output
    paused: bool = False  # its frames wait for the next tick
    may_wait: bool = False  # perhaps it would, if it had a whole frame
    is_client: bool = False  # it has submitted
    is_worker: bool = False  # it has registered
    unsent: int = 0
    seen: bytes = b""
    at: int = 0
    hidden: bool = False  # it was cut off in this phase, so what it was sent is not seen

    def gets(self, packet: bytes) -> bool:
        """Whether this is what comes next of what it got."""
        return self.seen.startswith(packet, self.at)

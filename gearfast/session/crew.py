# SPDX-License-Identifier: BSD-3-Clause
"""A worker as a whole, without I/O: its servers, its slots, reconnecting, and leaving.

A slot holds a job or a grab that is under way, never both, so a worker never has more jobs than slots. Free slots go
round the servers that may have jobs; a server that answered NO_JOB is told PRE_SLEEP and left alone until its NOOP.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import Any, Final

from gearfast.errors import UsageError
from gearfast.protocol import MAX_ARGUMENT, MAX_PACKET
from gearfast.session.routing import Router, ServerAddress
from gearfast.session.worker import Ability, Assignment, WorkerSession

__all__ = ["Crew", "CrewLink"]

WANTED: Final = 0
CONNECTING: Final = 1
UP: Final = 2

RECHECK_SECONDS = 60.0
"""A sleeping worker asks again after this time. gearmand 1.1.20 does not wake anybody when an epoch job falls due."""

LEAVE_SECONDS = 5.0
"""A leaving worker waits so long, once its jobs are done, for answers to its grabs and for its results to go on."""

GRAB_SECONDS = 10.0
"""A server that leaves a grab unanswered for so long is hung up on if there are others: they could use the slot."""


class CrewLink:
    """A worker's connection to one server, there or not. `io` belongs to the front end."""

    __slots__ = ("address", "asked_at", "connect_at", "index", "io", "label", "proven", "session", "state")

    def __init__(self, index: int, address: ServerAddress) -> None:
        self.index = index
        self.address = address
        self.label = address.label
        self.session: WorkerSession | None = None
        self.state = WANTED
        self.connect_at = 0.0
        self.asked_at: float | None = None
        self.proven = False
        self.io: Any = None


class Crew:
    """All connections and slots of a worker. Times are seconds of one monotonic clock.

    The front end opens the connections of `take_connects`, reports `connected`, `failed`, `lost` and `receive`, runs
    the jobs of `ready` (and empties it), ends each by `complete`, `fail` or `exception`, and calls `tick` in time.
    """

    def __init__(
        self,
        servers: tuple[ServerAddress, ...],
        *,
        concurrency: int = 1,
        worker_id: bytes = b"",
        abilities: Mapping[bytes, Ability] | None = None,
        max_packet: int = MAX_PACKET,
    ) -> None:
        if concurrency < 1:
            raise UsageError(f"concurrency is at least 1, not {concurrency}")
        self.router = Router(servers)
        self.links = [CrewLink(index, address) for index, address in enumerate(servers)]
        self.concurrency = concurrency
        self.abilities = dict(abilities or {})
        self.ready: list[Assignment] = []
        self.in_hand = 0
        self.leaving = False
        self._worker_id = worker_id
        self._max_packet = max_packet
        self._next = 0
        self._leave_by = inf
        self._unsent = 0

    # Abilities

    def register(self, name: bytes, timeout: Ability = 0) -> None:
        """Announce a function to all servers, now and after each reconnect."""
        self.abilities[name] = timeout
        for link in self.links:
            if link.session is not None:
                link.session.can_do(name, timeout)
        self._balance()

    def unregister(self, name: bytes) -> None:
        """Take a function back."""
        del self.abilities[name]
        for link in self.links:
            if link.session is not None:
                link.session.cant_do(name)

    # What the front end reports

    def take_connects(self, now: float) -> list[CrewLink]:
        """Links to be connected now; answer each with `connected` or `failed`."""
        if self.leaving:
            return []
        due = [link for link in self.links if link.state == WANTED and link.connect_at <= now]
        for link in due:
            link.state = CONNECTING
        return due

    def connected(self, link: CrewLink, now: float) -> None:
        """The connection of `link` is made: abilities and the first grab go out."""
        link.state = UP
        link.proven = False
        link.asked_at = None
        link.session = WorkerSession(
            link.label,
            abilities=self.abilities,
            worker_id=self._worker_id,
            limit=self.concurrency,
            all_yours=len(self.links) == 1,
            max_packet=self._max_packet,
            ready=self.ready,
        )
        self._balance()

    def failed(self, link: CrewLink, now: float, jitter: float, reason: str) -> float:
        """The connection of `link` could not be made. Returns when it is tried again."""
        link.state = WANTED
        link.connect_at = self.router.down(link.index, now, jitter, reason)
        return link.connect_at

    def lost(self, link: CrewLink, now: float, jitter: float, reason: str) -> float:
        """The connection of `link` is gone; its server queues its jobs again. Returns when it is tried again."""
        session, link.session = link.session, None
        if session is not None:
            for job in session.jobs.values():
                job.lost = True
            if self.ready:
                # Not begun yet: nobody needs to do them.
                dropped = [job for job in self.ready if job.lost]
                self.ready[:] = [job for job in self.ready if not job.lost]
                self.in_hand -= len(dropped)
        when = self.failed(link, now, jitter, reason)
        self._balance()
        return when

    def receive(self, link: CrewLink, data: bytes, now: float) -> None:
        """Bytes came in over `link`. Raises ProtocolError; then call `lost`."""
        session = link.session
        if session is None:
            return
        link.asked_at = None
        if not link.proven:
            # Only a server that says something is up: one that hangs up at once must not be asked without a pause.
            link.proven = True
            self.router.up(link.index)
        before = len(self.ready)
        try:
            session.receive(data)
        finally:
            for job in self.ready[before:]:
                job.assigned_at = now
                self.in_hand += 1
        if session.dry and not session.grabs:
            session.sleep()
            session.slept_at = now
        self._balance()

    def tick(self, now: float) -> float | None:
        """Ask sleeping servers again once in a while. Returns the time of the next call that is needed."""
        times = []
        for link in self.links:
            session = link.session
            if session is None:
                if link.state == WANTED:
                    times.append(link.connect_at)
            elif session.asleep:
                if now >= session.slept_at + RECHECK_SECONDS and not self.leaving:
                    session.slept_at = now
                    session.wake()
                    self._balance()
                times.append(session.slept_at + RECHECK_SECONDS)
            elif session.grabs and len(self.links) > 1:
                if link.asked_at is None:
                    link.asked_at = now
                times.append(link.asked_at + GRAB_SECONDS)
        if self.leaving:
            if self.in_hand:
                return None
            if self._leave_by == inf:
                self._leave_by = now + LEAVE_SECONDS
            return self._leave_by
        return min(times) if times else None

    def take_stalled(self, now: float) -> list[CrewLink]:
        """Links whose servers do not answer; report them `lost`. To be asked for at the times that `tick` returns."""
        return [
            link
            for link in self.links
            if link.session is not None and link.asked_at is not None and now >= link.asked_at + GRAB_SECONDS
        ]

    # Jobs

    def complete(self, job: Assignment, result: bytes | bytearray | memoryview) -> None:
        """End a job with its result."""
        if not job.lost:
            job.session.complete(job, result)
        self.in_hand -= 1
        self._balance()

    def fail(self, job: Assignment) -> None:
        """End a job with WORK_FAIL."""
        if not job.lost:
            job.session.fail(job)
        self.in_hand -= 1
        self._balance()

    def exception(self, job: Assignment, data: bytes) -> None:
        """End a job with WORK_EXCEPTION."""
        if not job.lost:
            job.session.exception(job, data)
        self.in_hand -= 1
        self._balance()

    def leave(self, now: float) -> None:
        """Grab no more. What was grabbed already is still done."""
        if not self.leaving:
            self.leaving = True
            for link in self.links:
                if link.session is not None:
                    link.session.recall()

    def has_left(self, now: float, unsent: int = 0) -> bool:
        """Leaving, and nothing is in hand; nor under way, unless a server does not answer, or read, at all.

        `unsent`: bytes that the front end could not send yet.
        """
        if not self.leaving or self.in_hand:
            return False
        if not unsent and not any(link.session is not None and link.session.grabs for link in self.links):
            return True
        if unsent != self._unsent:
            self._unsent = unsent
            self._leave_by = now + LEAVE_SECONDS
        return now >= self._leave_by

    def _balance(self) -> None:
        """Give free slots to servers that may have jobs, in turn."""
        if self.leaving or not self.abilities:
            return
        links = self.links
        free = self.concurrency - self.in_hand
        if len(links) == 1:
            session = links[0].session
            if session is not None and not session.asleep and not session.dry:
                free -= session.grabs
                room = session.budget - session.grabs
                if room > 0 and free > 0:
                    session.grab(min(room, free))
            return
        self._balance_many(free)

    def _balance_many(self, free: int) -> None:
        links = self.links
        awake = []
        turn = 0
        for offset in range(len(links)):
            session = links[(self._next + offset) % len(links)].session
            if session is not None:
                free -= session.grabs
                if not session.asleep and not session.dry and session.grabs < session.budget:
                    awake.append((offset, session))
        for number, (offset, session) in enumerate(awake):
            if free <= 0:
                break
            share = -(-free // (len(awake) - number))
            count = min(share, session.budget - session.grabs)
            session.grab(count)
            free -= count
            turn = offset + 1
        self._next = (self._next + turn) % len(links)


def check_function_name(name: str) -> bytes:
    """A function's name as bytes. Raises UsageError for one that cannot be sent."""
    if not isinstance(name, str):
        raise UsageError(f"a function is named by text, not {type(name).__name__}")
    data = name.encode()
    if not data or len(data) > MAX_ARGUMENT or b"\0" in data:
        raise UsageError(f"a function's name has 1 to {MAX_ARGUMENT} bytes and no NUL: {name[:80]!r}")
    return data

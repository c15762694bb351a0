# SPDX-License-Identifier: BSD-3-Clause
"""A worker as a whole, without I/O: its servers, its slots, reconnecting, pausing and leaving.

A slot holds a job or a grab that is under way, never both, so a worker never has more jobs than slots. Free slots go
round the connections that may have jobs; a server that answered NO_JOB is told PRE_SLEEP and left alone until its NOOP.

A grab asks for any function of its connection, and taking an ability back would take its running jobs away too. So
functions with a limit of their own have connections of their own: a `Group` is what shares connections and a limit.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import Any, Final

from gearfast.errors import Cancelled, Fail, ResultTooLarge, UsageError
from gearfast.protocol import MAX_PACKET, MAX_RESULT
from gearfast.session._worker import Assignment, Desk, Slots, WorkerSession
from gearfast.session.functions import Function, check_function_name
from gearfast.session.results import check_max_result, check_size, describe, milliseconds, text_of
from gearfast.session.routing import Router, ServerAddress

__all__ = ["Crew", "CrewLink", "Group", "check_function_name"]

Ability = int
"""A function's time-out in milliseconds, 0 for none."""

WANTED: Final = 0
CONNECTING: Final = 1
UP: Final = 2

RECHECK_SECONDS = 60.0
"""A sleeping worker asks again after this time. gearmand 1.1.20 does not wake anybody when an epoch job falls due."""

LEAVE_SECONDS = 5.0
"""A leaving worker waits so long, once its jobs are done, for answers to its grabs and for its results to go on."""

GRAB_SECONDS = 10.0
"""A server that leaves a grab unanswered for so long is hung up on if there are others: they could use the slot."""

CHECK_SECONDS = 0.5
"""How often the server is asked whether it still knows a job, while the job's callable wants to know."""

MOST_SAID = 512
"""Bytes about a failure that are sent however small `max_result` is: room for the worker's own words."""

OVERDUE_SECONDS = 1.0
"""A job so far behind its deadline is overdue: by then its server has given it to somebody else."""


class Group:
    """Functions that share connections, and at most `limit` jobs at a time, whatever their servers."""

    __slots__ = ("abilities", "desk", "limit", "router")

    def __init__(self, servers: tuple[ServerAddress, ...], limit: float) -> None:
        self.abilities: dict[bytes, Ability] = {}
        self.limit = limit
        self.desk = Desk()
        self.router = Router(servers)


class CrewLink:
    """A worker's connection to one server for one group, there or not. `io` belongs to the front end."""

    __slots__ = ("address", "asked_at", "connect_at", "group", "index", "io", "label", "proven", "session", "state")

    def __init__(self, index: int, address: ServerAddress, group: Group) -> None:
        self.index = index
        self.address = address
        self.group = group
        self.label = address.label
        self.session: WorkerSession | None = None
        self.state = WANTED
        self.connect_at = 0.0
        self.asked_at: float | None = None
        self.proven = False
        self.io: Any = None


class Crew:
    """All connections and slots of a worker. Times are seconds of one monotonic clock.

    The front end opens the connections of `take_connects`, reports `connected`, `failed`, `lost` and `receive`, closes
    those of `take_retired`, runs the jobs of `ready` (and removes them), ends each by `complete`, `fail` or
    `exception`, and calls `tick` in time. `prefetch`: jobs that may be held beyond the slots, unless a function has a
    time-out. `max_result`: bytes of what is sent of a job at once.
    """

    def __init__(
        self,
        servers: tuple[ServerAddress, ...],
        *,
        concurrency: int = 1,
        prefetch: int = 0,
        worker_id: bytes = b"",
        abilities: Mapping[bytes, Ability] | None = None,
        max_packet: int = MAX_PACKET,
        max_result: int = MAX_RESULT,
    ) -> None:
        if concurrency < 1:
            raise UsageError(f"concurrency is at least 1, not {concurrency}")
        if prefetch < 0:
            raise UsageError(f"prefetch is at least 0, not {prefetch}")
        self.concurrency = concurrency
        self.prefetch = prefetch
        self.slots = Slots(concurrency + prefetch)
        self.slots.resting = True
        self.links: list[CrewLink] = []
        self.ready: list[Assignment] = []
        self.leaving = False
        self.paused = False
        self.unsure: dict[Assignment, float] = {}
        """Jobs whose callables want to know whether they are cancelled, and when the server was asked last."""
        self.timed: dict[Assignment, float] = {}
        """Jobs with a deadline, and when they are overdue."""
        self._servers = servers
        self._worker_id = worker_id
        self._max_packet = max_packet
        self._max_result = check_max_result(max_result)
        self._timeouts: dict[bytes, float] = {}
        self._homes: dict[bytes, Group] = {}
        self._groups: dict[object, Group] = {}
        self._retired: list[CrewLink] = []
        self._next = 0
        self._leave_by = inf
        self._leave_limit = inf
        self._unsent = 0
        self._group(None, inf)
        for name, timeout in (abilities or {}).items():
            self.register(name, timeout)

    @property
    def in_hand(self) -> int:
        """Jobs that were assigned and have not ended."""
        return self.slots.in_hand

    # Abilities

    @property
    def abilities(self) -> dict[bytes, Ability]:
        """All functions with their time-outs."""
        return {name: timeout for group in self._groups.values() for name, timeout in group.abilities.items()}

    def register(self, name: bytes, timeout: Ability = 0, *, limit: float = inf, pool: object = None) -> None:
        """Announce a function to all servers, now and after each reconnect.

        `limit`: its jobs at a time. Functions of one `pool` (anything hashable) share the limit; without a pool a
        function with a limit is alone.
        """
        key: object = pool if pool is not None else name if limit < self.concurrency else None
        home = self._homes.get(name)
        group = self._group(key, limit if key is not None else inf)
        if home is not None and home is not group:
            self.unregister(name)
        group.limit = limit if key is not None else inf
        group.abilities[name] = timeout
        self._homes[name] = group
        if timeout:
            self._timeouts[name] = max(1.0, timeout / 1000)  # no server takes less than a second
        else:
            self._timeouts.pop(name, None)
        self._arrange()
        for link in self.links:
            if link.session is not None and link.group is group:
                link.session.can_do(name, timeout)
        self._balance()

    def announce(self, name: bytes, function: Function, processes: int) -> None:
        """`register` with a function's own settings. `processes`: child processes, shared by those that run in them."""
        limit = inf if function.concurrency is None else function.concurrency
        pool = None
        if function.process and processes < self.concurrency:
            pool = "children" if limit >= processes else name
            limit = min(limit, processes)
        self.register(name, milliseconds(function.timeout), limit=limit, pool=pool)

    def unregister(self, name: bytes) -> None:
        """Take a function back."""
        group = self._homes.pop(name)
        del group.abilities[name]
        self._timeouts.pop(name, None)
        for link in self.links:
            if link.session is not None and link.group is group:
                link.session.cant_do(name)
        self._arrange()

    def _group(self, key: object, limit: float) -> Group:
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = Group(self._servers, limit)
            if key is None:
                self._connect_to(group)
        return group

    def _connect_to(self, group: Group) -> None:
        self.links.extend(CrewLink(index, address, group) for index, address in enumerate(self._servers))

    def _arrange(self) -> None:
        """Groups have connections as long as they have functions; those who are alone with their server use credits."""
        present = {id(link.group) for link in self.links}
        for key, group in list(self._groups.items()):
            if group.abilities and id(group) not in present:
                self._connect_to(group)
            elif not group.abilities and id(group) in present and len(self._homes):
                gone = [link for link in self.links if link.group is group]
                self.links = [link for link in self.links if link.group is not group]
                self._retired.extend(gone)
                if key is not None:
                    del self._groups[key]
        for link in self.links:
            if link.session is not None:
                link.session.set_limit(self._most(link.group))
                link.session.share(len(self.links) > 1)
        self._settle()

    @property
    def _capacity(self) -> int:
        return self.concurrency + (0 if self._timeouts else self.prefetch)

    def _most(self, group: Group) -> int:
        return int(min(self._capacity, group.limit))

    def _settle(self) -> None:
        """What the sessions do by themselves: nothing is grabbed at rest, and an only connection has all slots."""
        slots = self.slots
        slots.resting = self.leaving or self.paused or not self._homes
        alone = len(self.links) == 1
        slots.only = self.links[0].session if alone else None
        slots.most = self._most(self.links[0].group) if alone else self._capacity

    # What the front end reports

    def take_connects(self, now: float) -> list[CrewLink]:
        """Links to be connected now; answer each with `connected` or `failed`."""
        if self.leaving:
            return []
        due = [link for link in self.links if link.state == WANTED and link.connect_at <= now]
        for link in due:
            link.state = CONNECTING
        return due

    def take_retired(self) -> list[CrewLink]:
        """Links that no function needs any more; report those `lost` that have a connection."""
        retired, self._retired = self._retired, []
        return retired

    def connected(self, link: CrewLink, now: float) -> None:
        """The connection of `link` is made: abilities and the first grab go out."""
        link.state = UP
        link.proven = False
        link.asked_at = None
        link.session = WorkerSession(
            link.label,
            abilities=link.group.abilities,
            worker_id=self._worker_id,
            limit=self._most(link.group),
            all_yours=len(self.links) == 1,
            max_packet=self._max_packet,
            max_result=self._max_result,
            ready=self.ready,
            slots=self.slots,
            desk=link.group.desk,
        )
        link.session.shared = len(self.links) > 1
        if link not in self.links:
            self._retired.append(link)  # no longer wanted since it was begun
        self._settle()
        self._balance()

    def failed(self, link: CrewLink, now: float, jitter: float, reason: str) -> float:
        """The connection of `link` could not be made. Returns when it is tried again."""
        link.state = WANTED
        link.connect_at = link.group.router.down(link.index, now, jitter, reason)
        return link.connect_at

    def lost(self, link: CrewLink, now: float, jitter: float, reason: str) -> float:
        """The connection of `link` is gone; its server queues its jobs again. Returns when it is tried again."""
        session, link.session = link.session, None
        if session is not None:
            for job in session.jobs.values():
                job.lost = True
                self.timed.pop(job, None)
            session.jobs.clear()
            if self.ready:
                # Not begun yet: nobody needs to do them.
                dropped = [job for job in self.ready if job.lost]
                self.ready[:] = [job for job in self.ready if not job.lost]
                for job in dropped:
                    job.session.drop(job)
        when = self.failed(link, now, jitter, reason)
        self._settle()
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
            link.group.router.up(link.index)
        before = len(self.ready) if self._timeouts else 0
        try:
            if session.receive(data, now):
                session.sleep()
                session.slept_at = now
        finally:
            if self._timeouts:
                self._note_deadlines(before)
        if self.slots.only is None:
            self._balance()

    def quick_session(self) -> WorkerSession | None:
        """The session of the only connection, if nothing has to be noted of what comes in there but its jobs.

        Its `receive` may then be called instead of the crew's, for as long as this stays so.
        """
        only = self.slots.only
        return None if only is None or self._timeouts or not self.links[0].proven else only

    def _note_deadlines(self, before: int) -> None:
        for job in self.ready[before:]:
            timeout = self._timeouts.get(job.function)
            if timeout is not None:
                job.deadline = job.assigned_at + timeout
                self.timed[job] = job.deadline + OVERDUE_SECONDS

    def tick(self, now: float) -> float | None:
        """Ask sleeping servers again once in a while. Returns the time of the next call that is needed."""
        times = list(self.timed.values()) if self.timed else []
        for link in self.links:
            session = link.session
            if session is None:
                if link.state == WANTED and not self.leaving:
                    times.append(link.connect_at)
            elif session.asleep:
                if now >= session.slept_at + RECHECK_SECONDS and not self.leaving and not self.paused:
                    session.slept_at = now
                    session.wake()
                    self._balance()
                times.append(session.slept_at + RECHECK_SECONDS)
            elif session.grabs and len(self.links) > 1:
                if link.asked_at is None:
                    link.asked_at = now
                times.append(link.asked_at + GRAB_SECONDS)
        if self.unsure:
            self.ask(now)
            times.extend(asked_at + CHECK_SECONDS for asked_at in self.unsure.values())
        if self.leaving:
            if not self.slots.in_hand:
                if self._leave_by == inf:
                    self._leave_by = now + LEAVE_SECONDS
                times.append(self._leave_by)
            elif self._leave_limit < inf:
                times.append(self._leave_limit)
        return min(times) if times else None

    def take_stalled(self, now: float) -> list[CrewLink]:
        """Links whose servers do not answer; report them `lost`. To be asked for at the times that `tick` returns."""
        return [
            link
            for link in self.links
            if link.session is not None and link.asked_at is not None and now >= link.asked_at + GRAB_SECONDS
        ]

    def take_overdue(self, now: float) -> list[Assignment]:
        """Jobs that are still running though their servers have given them to somebody else; each once."""
        if not self.timed:
            return []
        overdue = [job for job, at in self.timed.items() if now >= at]
        for job in overdue:
            del self.timed[job]
        return overdue

    # Jobs

    def complete(self, job: Assignment, result: bytes | bytearray | memoryview) -> None:
        """End a job with its result. Raises ResultTooLarge, and ValueError or BufferError for what cannot be sent."""
        if not job.lost:
            job.session.complete(job, result)
            if self.slots.only is not None and not self.timed and not self.unsure:
                return
        else:
            job.session.drop(job)
        self._ended(job)

    def fail(self, job: Assignment) -> None:
        """End a job with WORK_FAIL."""
        if job.lost:
            job.session.drop(job)
        else:
            job.session.fail(job)
        self._ended(job)

    def exception(self, job: Assignment, data: bytes) -> None:
        """End a job with WORK_EXCEPTION."""
        if job.lost:
            job.session.drop(job)
        else:
            job.session.exception(job, data)
        self._ended(job)

    def end_badly(self, job: Assignment, error: Exception, *, tracebacks: bool = False) -> None:
        """End a job that raised, or whose result cannot be sent: `Fail` and `Cancelled` are WORK_FAIL."""
        if isinstance(error, (Fail, Cancelled)):
            text = text_of(error) if isinstance(error, Fail) else ""
            if text and not job.lost:
                job.session.warning(job, self._fitting(job, "a warning", text.encode("utf-8", "replace")))
            self.fail(job)
        else:
            self.exception(job, self._fitting(job, "an exception", describe(error, tracebacks=tracebacks)))

    def _fitting(self, job: Assignment, what: str, data: bytes) -> bytes:
        """What is said of a failure; in place of more than may be sent, how much that is."""
        try:
            if len(data) > MOST_SAID:
                check_size(job, what, data)
        except ResultTooLarge as error:
            return describe(error)
        return data

    def forget(self, job: Assignment) -> None:
        """A job that was not begun was lost: nobody needs it."""
        job.session.drop(job)
        self._ended(job)

    def _ended(self, job: Assignment) -> None:
        self.timed.pop(job, None)
        self.unsure.pop(job, None)
        self._balance()

    def watch(self, job: Assignment) -> None:
        """The job's callable wants to know whether it is cancelled: `tick` asks the server once in a while."""
        if not job.over:
            self.unsure.setdefault(job, job.assigned_at)

    def ask(self, now: float) -> bool:
        """Ask about the jobs that are `watch`ed and were not asked about lately. Returns whether there was any."""
        asked = False
        for job, asked_at in list(self.unsure.items()):
            if job.cancelled or job.lost or job.over:
                del self.unsure[job]
            elif now >= asked_at + CHECK_SECONDS:
                self.unsure[job] = now
                job.session.get_status(job)
                asked = True
        return asked

    # Pausing and leaving

    def pause(self) -> None:
        """Grab no more for a while. Jobs in hand, and those that servers give for earlier grabs, are done."""
        if not self.paused:
            self.paused = True
            self._settle()
            for link in self.links:
                if link.session is not None:
                    link.session.recall()

    def resume(self) -> None:
        """Grab again."""
        if self.paused:
            self.paused = False
            self._settle()
            for link in self.links:
                if link.session is not None:
                    link.session.wake()
            self._balance()

    def leave(self, now: float, limit: float | None = None) -> None:
        """Grab no more, for good. What was grabbed already is still done, for at most `limit` seconds."""
        if limit is not None:
            self._leave_limit = min(self._leave_limit, now + max(0.0, limit))
        if not self.leaving:
            self.leaving = True
            self._settle()
            for link in self.links:
                if link.session is not None:
                    link.session.recall()

    def gave_up(self, now: float) -> bool:
        """Leaving, and its limit is over though jobs are in hand."""
        return self.leaving and self.in_hand > 0 and now >= self._leave_limit

    def has_left(self, now: float, unsent: int = 0) -> bool:
        """Leaving, and nothing is in hand; nor under way, unless a server does not answer, or read, at all.

        `unsent`: bytes that the front end could not send yet.
        """
        if not self.leaving:
            return False
        if self.in_hand:
            return now >= self._leave_limit
        if not unsent and not any(link.session is not None and link.session.grabs for link in self.links):
            return True
        if unsent != self._unsent:
            self._unsent = unsent
            self._leave_by = now + LEAVE_SECONDS
        return now >= self._leave_by

    # Slots

    def _balance(self) -> None:
        """Give free slots to servers that may have jobs, in turn."""
        slots = self.slots
        if slots.only is not None:
            slots.only.balance()
        elif not slots.resting:
            self._balance_many(slots.most - slots.in_hand)

    def _balance_many(self, free: int) -> None:
        links = self.links
        awake = []
        turn = 0
        asked: dict[int, int] = {}
        for offset in range(len(links)):
            link = links[(self._next + offset) % len(links)]
            session = link.session
            if session is not None:
                free -= session.grabs
                asked[id(link.group)] = asked.get(id(link.group), 0) + session.grabs
                if not session.asleep and not session.dry and session.grabs < session.budget:
                    awake.append((offset, link.group, session))
        for number, (offset, group, session) in enumerate(awake):
            if free <= 0:
                break
            share = -(-free // (len(awake) - number))
            count = min(share, session.budget - session.grabs)
            if group.limit < inf:
                count = min(count, int(group.limit) - group.desk.in_hand - asked[id(group)])
                if count <= 0:
                    continue
            session.grab(count)
            asked[id(group)] += count
            free -= count
            turn = offset + 1
        self._next = (self._next + turn) % len(links)

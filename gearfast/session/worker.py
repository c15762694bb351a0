# SPDX-License-Identifier: BSD-3-Clause
"""One connection of a worker: abilities, grabs, jobs in hand, sleep.

Grabs are answered in order by JOB_ASSIGN* or NO_JOB. An ERROR never answers a grab (but for a server that does not know
its form): it tells that a result came too late, and must not disturb the count.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from gearfast._codec import Decoder, encode
from gearfast.errors import ProtocolError
from gearfast.protocol import MAX_PACKET, Command, ErrorCode

__all__ = ["Ability", "Assignment", "WorkerSession"]

PRE_SLEEP: Final = encode(Command.PRE_SLEEP)
ALL_YOURS: Final = b"all_yours"
"""Option by which a worker says that it serves this server alone. gearfast then holds a grab that it cannot answer and
answers it with the next job, instead of NO_JOB, PRE_SLEEP, NOOP and another grab; gearmand refuses the option."""
GRABS: Final = (encode(Command.GRAB_JOB_ALL), encode(Command.GRAB_JOB_UNIQ), encode(Command.GRAB_JOB))
"""Ways to ask for a job, the one that tells most first; the next one for a server that does not know it."""
WORK_COMPLETE: Final = int(Command.WORK_COMPLETE)

Ability = int
"""A function's time-out in milliseconds, 0 for none."""


class Assignment:
    """A job that a server gave to this worker, over `session`.

    `lost`: that connection is gone. `over`: its end was told. `cancelled`: the server does not know it any more.
    `deadline`: when its server gives it to somebody else, None for never; `assigned_at`: when it came; both by the
    clock of the one who feeds the crew.
    """

    __slots__ = (
        "assigned_at",
        "cancelled",
        "deadline",
        "function",
        "handle",
        "lost",
        "over",
        "reducer",
        "session",
        "unique",
        "workload",
    )

    def __init__(
        self, session: WorkerSession, handle: bytes, function: bytes, unique: bytes, reducer: bytes, workload: bytes
    ) -> None:
        self.session = session
        self.handle = handle
        self.function = function
        self.unique = unique
        self.reducer = reducer
        self.workload = workload
        self.lost = False
        self.over = False
        self.cancelled = False
        self.deadline: float | None = None
        self.assigned_at = 0.0


class WorkerSession:
    """The worker's half of one connection to `server` (an address, for messages).

    `abilities`: functions with their time-outs, announced at once. `ready`: list to which jobs are appended that were
    assigned; the caller empties it. `refusals`: code and text of each ERROR, for the log; the caller empties it.
    `all_yours`: ask for that option. `credits`: the server has agreed, so grabs wait there for the next jobs.
    `shared`: other connections want the same slots, so no grab may wait there. `desk`: what the connection belongs to.
    """

    __slots__ = (
        "_decoder",
        "_asked",
        "_form",
        "_out",
        "asleep",
        "budget",
        "credits",
        "desk",
        "dry",
        "grabs",
        "jobs",
        "limit",
        "ready",
        "recalled",
        "refusals",
        "server",
        "shared",
        "slept_at",
        "unanswered",
    )

    def __init__(
        self,
        server: str = "",
        *,
        abilities: Mapping[bytes, Ability] | None = None,
        worker_id: bytes = b"",
        limit: int = 1,
        all_yours: bool = False,
        max_packet: int = MAX_PACKET,
        ready: list[Assignment] | None = None,
        desk: Any = None,
    ) -> None:
        self.server = server
        self.desk = desk
        self.credits = False
        self.shared = False
        self.unanswered = 0
        self._asked = all_yours
        self.ready: list[Assignment] = [] if ready is None else ready
        self.refusals: list[tuple[bytes, bytes]] = []
        self.jobs: dict[bytes, Assignment] = {}
        self.grabs = 0
        self.limit = limit
        # How many grabs may be under way: one after each sleep, doubled with each job, so that a lone job in a quiet
        # time does not cost `limit` grabs.
        self.budget = 1
        self.dry = False
        # How many of the grabs were asked back: a NO_JOB to one of those says nothing about the queue.
        self.recalled = 0
        self.asleep = False
        self.slept_at = 0.0
        self._form = 0
        self._decoder = Decoder(max_packet)
        self._out: list[bytes] = []
        if worker_id:
            self._out.append(encode(Command.SET_CLIENT_ID, worker_id))
        if all_yours:
            self._out.append(encode(Command.OPTION_REQ, ALL_YOURS))
        for name, timeout in (abilities or {}).items():
            self.can_do(name, timeout)

    # Out

    def can_do(self, name: bytes, timeout: Ability = 0) -> None:
        """Announce a function. A sleeping worker is not woken for it by every server, so it should ask."""
        if timeout:
            self._out.append(encode(Command.CAN_DO_TIMEOUT, name, b"%d" % timeout))
        else:
            self._out.append(encode(Command.CAN_DO, name))
        if self.asleep:
            self.wake()

    def cant_do(self, name: bytes) -> None:
        """Take a function back. The server queues its running jobs again."""
        self._out.append(encode(Command.CANT_DO, name))

    def grab(self, count: int = 1) -> None:
        """Ask for jobs."""
        self._out.append(GRABS[self._form] if count == 1 else GRABS[self._form] * count)
        self.grabs += count
        self.asleep = False
        if self.shared and self.credits:
            self.sleep()  # the server answers at once what it would hold

    def sleep(self) -> None:
        """Tell the server that it must wake this worker before the next job."""
        self._out.append(PRE_SLEEP)
        self.recalled = self.grabs
        self.asleep = True
        self.dry = False

    def recall(self) -> None:
        """Ask for the grabs back that the server holds: it answers each with NO_JOB."""
        if self.credits and self.grabs and not self.asleep:
            self.sleep()

    def share(self, shared: bool) -> None:
        """Whether other connections want the same slots."""
        if shared and not self.shared:
            self.recall()
        elif self.shared and not shared:
            self.wake()
        self.shared = shared

    def wake(self) -> None:
        """Worth asking again."""
        self.asleep = False
        self.dry = False
        self.budget = self.limit if self.credits and not self.shared else 1

    def set_limit(self, limit: int) -> None:
        """How many grabs may be under way at most."""
        self.limit = limit
        if self.budget > limit or (self.credits and not self.shared):
            self.budget = limit

    def get_status(self, job: Assignment) -> None:
        """GET_STATUS of a job in hand. STATUS_RES tells whether the server still knows it."""
        self._out.append(encode(Command.GET_STATUS, job.handle))
        self.unanswered += 1

    def complete(self, job: Assignment, result: bytes | bytearray | memoryview) -> None:
        """WORK_COMPLETE: the job is over."""
        out = encode(WORK_COMPLETE, job.handle, result)
        self.jobs.pop(job.handle, None)
        job.over = True
        self._out.append(out)

    def fail(self, job: Assignment) -> None:
        """WORK_FAIL: the job is over."""
        self.jobs.pop(job.handle, None)
        job.over = True
        self._out.append(encode(Command.WORK_FAIL, job.handle))

    def exception(self, job: Assignment, data: bytes) -> None:
        """WORK_EXCEPTION: the job is over. The server tells clients that did not ask for exceptions WORK_FAIL."""
        self.jobs.pop(job.handle, None)
        job.over = True
        self._out.append(encode(Command.WORK_EXCEPTION, job.handle, data))

    def data(self, job: Assignment, data: bytes | bytearray | memoryview) -> None:
        """WORK_DATA: a part of the result."""
        self._out.append(encode(Command.WORK_DATA, job.handle, data))

    def warning(self, job: Assignment, data: bytes | bytearray | memoryview) -> None:
        """WORK_WARNING."""
        self._out.append(encode(Command.WORK_WARNING, job.handle, data))

    def status(self, job: Assignment, numerator: int, denominator: int) -> None:
        """WORK_STATUS: progress."""
        self._out.append(encode(Command.WORK_STATUS, job.handle, b"%d" % numerator, b"%d" % denominator))

    @property
    def has_output(self) -> bool:
        """There is something for `take_output`."""
        return bool(self._out)

    def take_output(self) -> bytes:
        """All bytes to be sent, once."""
        out = self._out
        data = out[0] if len(out) == 1 else b"".join(out)
        out.clear()
        return data

    # In

    def receive(self, data: bytes | bytearray | memoryview) -> None:
        """Take bytes from the server. Raises ProtocolError; what came before the bad byte has taken effect."""
        try:
            packets = self._decoder.receive(data)
        except ProtocolError as error:
            packets, error.packets = error.packets, []
            self._take(packets)
            raise
        self._take(packets)

    def _take(self, packets: list) -> None:  # type: ignore[type-arg]
        handlers = _HANDLERS
        for packet in packets:
            if packet.__class__ is bytes:
                raise ProtocolError(f"{self.server}: text {packet[:40]!r} where a packet was due", head=packet[:32])
            handler = handlers[packet.command]
            if handler is None:
                raise ProtocolError(f"{self.server}: {packet.name} is not for a worker")
            handler(self, packet.args)

    def _noop(self, args: tuple[bytes, ...]) -> None:
        """NOOP"""
        self.wake()

    def _no_job(self, args: tuple[bytes, ...]) -> None:
        """NO_JOB"""
        if self.grabs == 0:
            raise self._unasked("NO_JOB")
        self.grabs -= 1
        if self.recalled:
            self.recalled -= 1
        else:
            self.dry = True
            self.budget = 1

    def _job_assign(self, args: tuple[bytes, ...]) -> None:
        """JOB_ASSIGN handle function workload"""
        self._assigned(Assignment(self, args[0], args[1], b"", b"", args[2]))

    def _job_assign_uniq(self, args: tuple[bytes, ...]) -> None:
        """JOB_ASSIGN_UNIQ handle function unique workload"""
        self._assigned(Assignment(self, args[0], args[1], args[2], b"", args[3]))

    def _job_assign_all(self, args: tuple[bytes, ...]) -> None:
        """JOB_ASSIGN_ALL handle function unique reducer workload"""
        self._assigned(Assignment(self, args[0], args[1], args[2], args[3], args[4]))

    def _assigned(self, job: Assignment) -> None:
        if self.grabs == 0:
            raise self._unasked("JOB_ASSIGN")
        self.grabs -= 1
        if self.recalled:
            self.recalled -= 1
        self.dry = False
        if self.budget < self.limit:
            self.budget *= 2
        self.jobs[job.handle] = job
        self.ready.append(job)

    def _unasked(self, name: str) -> ProtocolError:
        return ProtocolError(f"{self.server}: {name} came, but nothing was asked")

    def _status_res(self, args: tuple[bytes, ...]) -> None:
        """STATUS_RES handle known running numerator denominator"""
        if self.unanswered == 0:
            raise self._unasked("STATUS_RES")
        self.unanswered -= 1
        job = self.jobs.get(args[0])  # None: it has ended since
        if job is not None and args[1] == b"0":
            job.cancelled = True

    def _error(self, args: tuple[bytes, ...]) -> None:
        """ERROR code text"""
        if self._asked and args[0] == ErrorCode.UNKNOWN_OPTION:
            self._asked = False
            return
        if args[0] == ErrorCode.INVALID_COMMAND and self.grabs and self._form + 1 < len(GRABS):
            self._form += 1
            self._out.append(GRABS[self._form] * self.grabs)
            return
        self.refusals.append((args[0], args[1]))

    def _option_res(self, args: tuple[bytes, ...]) -> None:
        """OPTION_RES option"""
        if self._asked and args[0] == ALL_YOURS:
            self._asked = False
            self.credits = True
            if self.shared:
                self.recall()
            else:
                self.budget = self.limit

    def _ignored(self, args: tuple[bytes, ...]) -> None:
        """ECHO_RES: nobody waits for it."""


_Handler = Callable[[WorkerSession, tuple[bytes, ...]], None]

_HANDLERS: list[_Handler | None] = [None] * 43
_HANDLERS[Command.NOOP] = WorkerSession._noop
_HANDLERS[Command.NO_JOB] = WorkerSession._no_job
_HANDLERS[Command.JOB_ASSIGN] = WorkerSession._job_assign
_HANDLERS[Command.JOB_ASSIGN_UNIQ] = WorkerSession._job_assign_uniq
_HANDLERS[Command.JOB_ASSIGN_ALL] = WorkerSession._job_assign_all
_HANDLERS[Command.STATUS_RES] = WorkerSession._status_res
_HANDLERS[Command.ERROR] = WorkerSession._error
_HANDLERS[Command.OPTION_RES] = WorkerSession._option_res
_HANDLERS[Command.ECHO_RES] = WorkerSession._ignored

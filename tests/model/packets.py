# SPDX-License-Identifier: BSD-3-Clause
"""What each packet asks for: one method a command, found by its name, and the exact answers."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from typing import Any, Final

from gearfast.protocol import MAGIC_RESPONSE, MAX_ARGUMENT, MAX_OPTION, Command

from .frames import Frame, response
from .policies import Policies
from .records import Job, Peer
from .rules import NS

INT64: Final = 2**63 - 1
UINT32: Final = 2**32 - 1
NUMBER: Final = re.compile(rb"[ \t-\r]*([+-]?[0-9]+)?")
ID_KEPT: Final = 127
RANGES: Final = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 6))
NO_SUCH_JOB: Final = b"Job given in work result not found"
BAD_SCHEDULE: Final = b"Schedule wants minute 0-59, hour 0-23, day 1-31, month 1-12, weekday 0-6, or * for any"
HANDLE_TOO_LARGE: Final = b"Error occurred due to GEARMAND_JOB_HANDLE_SIZE being too small from snprintf"


def number(text: bytes) -> int:
    """As C's strtoll reads it, but of any size."""
    found = NUMBER.match(text)
    # What has more digits than Python reads at once is beyond all limits anyway.
    return int((found[1] or b"0")[:400]) if found else 0


def unsigned(text: bytes) -> int:
    """A number of a status as it is kept: 32 bits; what is negative wraps, what is larger stays at the largest."""
    value = max(-INT64 - 1, min(number(text), INT64))
    return min(value, UINT32) if value > 0 else value & UINT32


def until_nul(text: bytes) -> bytes:
    return text.partition(b"\0")[0]


def in_float(value: int) -> int:
    """As it is kept in four bytes."""
    return int(struct.unpack("f", struct.pack("f", value))[0])


def calendar(*fields: Any) -> int:
    """What the explorer's dispatchers take for a calendar: the minute counts seconds from now."""
    minute, hour, day, month, _, after = fields
    if (day, month) == (30, 2):
        raise ValueError("no such date")
    return int(after) + 1 + (minute or 0) + 60 * (hour or 0)


class Packets(Policies):
    """The model as far as packets reach."""

    def __init__(self, settings: dict[str, Any]) -> None:
        super().__init__(settings)
        self.commands: dict[int, Callable[[Peer, Frame], None]] = {
            command: getattr(self, f"do_{command.name.lower()}", self.not_expected) for command in Command
        }
        for command in (Command.GRAB_JOB, Command.GRAB_JOB_UNIQ, Command.GRAB_JOB_ALL):
            self.commands[command] = lambda peer, frame: self.grab(peer, frame.command)
        for command, priority in ((Command.SUBMIT_JOB_HIGH, 0), (Command.SUBMIT_JOB, 1), (Command.SUBMIT_JOB_LOW, 2)):
            background = Command[f"{command.name}_BG"]
            self.commands[command] = self.submission(priority, background=False)
            self.commands[background] = self.submission(priority, background=True)

    def do_packet(self, peer: Peer, frame: Frame) -> None:
        self.packets[Command(frame.command).name] += 1
        if frame.magic == MAGIC_RESPONSE:
            self.meet("a response sent to the server")
            self.error(peer, b"INVALID_MAGIC", b"Request magic expected")
            return
        self.met[Command(frame.command).name] += 1
        self.commands[frame.command](peer, frame)

    def not_expected(self, peer: Peer, frame: Frame) -> None:
        self.error(peer, b"INVALID_COMMAND", b"Command not expected")

    # ---- client ---------------------------------------------------------------------------------------------------

    def submission(self, priority: int, background: bool) -> Callable[[Peer, Frame], None]:
        def do(peer: Peer, frame: Frame) -> None:
            function, unique, data = frame.args
            self.submit(peer, function, unique, data, priority, background)

        return do

    def do_submit_reduce_job(self, peer: Peer, frame: Frame, background: bool = False) -> None:
        function, unique, reducer, _, data = frame.args
        self.submit(peer, function, unique, data, background=background, reducer=reducer)

    def do_submit_reduce_job_background(self, peer: Peer, frame: Frame) -> None:
        self.do_submit_reduce_job(peer, frame, background=True)

    def do_submit_job_epoch(self, peer: Peer, frame: Frame) -> None:
        function, unique, when, data = frame.args
        if not -INT64 - 1 <= number(when) <= INT64:
            self.meet("a time beyond 64 bits")
            self.error(peer, b"INVALID_ARGUMENT", b"Time is beyond 64 bits")
            return
        self.submit_at(peer, function, unique, data, number(when))

    def do_submit_job_sched(self, peer: Peer, frame: Frame) -> None:
        function, unique, *fields, data = frame.args
        try:
            when = calendar(*map(self.field, fields, RANGES), self.wall / 1e9)
        except ValueError:
            self.meet("a schedule that never comes")
            self.error(peer, b"INVALID_ARGUMENT", BAD_SCHEDULE)
            return
        self.submit_at(peer, function, unique, data, when)

    @staticmethod
    def field(text: bytes, limits: tuple[int, int]) -> int | None:
        if text in (b"", b"*"):
            return None
        if not re.fullmatch(rb"[0-9]{1,100}", text) or not limits[0] <= int(text) <= limits[1]:
            raise ValueError(text)
        return int(text)

    def submit_at(self, peer: Peer, function: bytes, unique: bytes, data: bytes, seconds: int) -> None:
        due = min(seconds * NS, INT64) if seconds > self.wall // NS else 0
        self.submit(peer, function, unique, data, background=True, due=due)

    def do_get_status(self, peer: Peer, frame: Frame) -> None:
        handle = until_nul(frame.args[0])
        ghost = self.gone.get(handle)
        if ghost is not None and not ghost.cancelled and not peer.hidden:
            self.meet("status of a ghost")
            if peer.gets(self.status(Command.STATUS_RES, handle, ghost)):
                self.say(peer, self.status(Command.STATUS_RES, handle, ghost))
                return
            self.forget_ghost(ghost)
        job = self.jobs.get(handle)
        known = job if job is not None and not job.cancelled else None
        if job is not None:
            self.meet("status of a running job" if job.worker else "status of a queued job")
        self.say(peer, self.status(Command.STATUS_RES, handle, known))

    def do_get_status_unique(self, peer: Peer, frame: Frame) -> None:
        unique = until_nul(frame.args[0])
        found = [function.uniques.get((False, unique)) for function in self.functions.values()] if unique else []
        jobs = [job for job in found if job is not None]
        if len(jobs) > 1:
            self.meet("one unique in several functions")
        job = max(jobs, key=lambda job: job.number, default=None)
        waiting = b"%d" % (len(job.waiting) if job else 0)
        self.say(peer, self.status(Command.STATUS_RES_UNIQUE, unique, job, waiting))

    @staticmethod
    def status(command: int, key: bytes, job: Job | None, *more: bytes) -> bytes:
        key = key[:MAX_ARGUMENT]
        if job is None:
            return response(command, key, b"0", b"0", b"0", b"0", *more)
        running = b"1" if job.worker is not None else b"0"
        return response(command, key, b"1", running, b"%d" % job.numerator, b"%d" % job.denominator, *more)

    def do_echo_req(self, peer: Peer, frame: Frame) -> None:
        self.say(peer, response(Command.ECHO_RES, frame.args[0]))

    def do_option_req(self, peer: Peer, frame: Frame) -> None:
        option = until_nul(frame.args[0])
        if len(option) <= MAX_OPTION and option.lower() == b"exceptions":
            peer.exceptions = True
        elif option.lower() == b"all_yours":
            peer.all_yours = True
        else:
            self.meet("unknown option")
            self.error(peer, b"UNKNOWN_OPTION", b"Server does not recognize given option")
            return
        self.say(peer, response(Command.OPTION_RES, frame.args[0]))

    # ---- worker ---------------------------------------------------------------------------------------------------

    def do_can_do(self, peer: Peer, frame: Frame) -> None:
        self.register(peer, frame.args[0], 0)

    def do_can_do_timeout(self, peer: Peer, frame: Frame) -> None:
        function, text = frame.args
        if not -INT64 - 1 <= number(text) <= INT64:
            self.meet("a time-out beyond 64 bits")
            self.error(peer, b"INVALID_ARGUMENT", b"Time-out is beyond 64 bits")
            return
        self.register(peer, function, in_float(max(number(text), 1000)) if number(text) > 0 else 0)

    def do_cant_do(self, peer: Peer, frame: Frame) -> None:
        function = self.functions.get(frame.args[0])
        if function is not None and function in peer.able:
            self.meet("unregistered")
            self.unregister(peer, function)

    def do_reset_abilities(self, peer: Peer, frame: Frame) -> None:
        self.unregister_all(peer)

    def do_set_client_id(self, peer: Peer, frame: Frame) -> None:
        peer.client_id = until_nul(frame.args[0][:ID_KEPT])

    def do_pre_sleep(self, peer: Peer, frame: Frame) -> None:
        self.pre_sleep(peer)

    def own_job(self, peer: Peer, handle: bytes, text: bytes = NO_SUCH_JOB) -> Job | None:
        """The job of this handle if this worker has it; else an ERROR."""
        job = self.jobs.get(handle)
        if job is not None and job.worker is peer:
            if not job.wanted:
                self.meet("a word on a job that nobody wants")
            return job
        self.meet("a word on a job that is another's" if job else "a word on an unknown job")
        self.error(peer, b"JOB_NOT_FOUND", text)
        return None

    def do_work_data(self, peer: Peer, frame: Frame) -> None:
        job = self.own_job(peer, frame.args[0], b"Job does not exist on server")
        if job is not None:
            self.tell(job, response(frame.command, *frame.args))

    do_work_warning = do_work_data

    def do_work_status(self, peer: Peer, frame: Frame) -> None:
        job = self.own_job(peer, frame.args[0])
        if job is not None:
            job.numerator, job.denominator = unsigned(frame.args[1]), unsigned(frame.args[2])
            self.tell(job, response(frame.command, *frame.args))

    def do_work_complete(self, peer: Peer, frame: Frame) -> None:
        job = self.own_job(peer, frame.args[0])
        if job is not None:
            if len(frame.args[1]) > 1 << 15:
                self.meet("a large result")
            self.count(job.function, "completed")
            self.tell(job, response(frame.command, *frame.args))
            self.finish(job)

    def do_work_fail(self, peer: Peer, frame: Frame) -> None:
        handle = until_nul(frame.args[0])
        if len(handle) > 63:
            self.meet("a handle that is too large")
            self.error(peer, b"ARGUMENT_TOO_LARGE", HANDLE_TOO_LARGE)
            return
        job = self.own_job(peer, handle)
        if job is not None and not self.try_again(job):
            self.count(job.function, "failed")
            self.tell(job, response(Command.WORK_FAIL, handle))
            self.finish(job)

    def do_work_exception(self, peer: Peer, frame: Frame) -> None:
        job = self.own_job(peer, frame.args[0], b"An exception was received for a job that does not exist")
        if job is None or self.try_again(job):
            return
        self.count(job.function, "exceptions")
        for client in job.waiting:
            if self.exceptions or client.exceptions:
                self.say(client, response(Command.WORK_EXCEPTION, *frame.args))
            else:
                self.meet("an exception told as a failure")
                self.say(client, response(Command.WORK_FAIL, job.handle))
        self.finish(job)

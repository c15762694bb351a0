# SPDX-License-Identifier: BSD-3-Clause
"""The Gearman protocol as data: every command, the limits and the error codes.

`COMMANDS` is the only source of packet facts. The codec compiles its tables from it at import, the documentation's
page on the protocol is printed from it, and tools may read it. Nothing here does any work.

A packet is a header of `HEADER_SIZE` bytes (magic, command number, size of the body; both numbers u32, big endian)
and a body: the arguments, joined by single NULs. The last argument has no terminator. It is opaque data if the
command says so, and may then hold NULs; otherwise it is a plain argument that runs to the end of the body.
"""

from __future__ import annotations

from enum import Flag, IntEnum, auto
from typing import Final, NamedTuple

__all__ = [
    "COMMANDS",
    "DEFAULT_PORT",
    "HEADER_SIZE",
    "MAGIC_REQUEST",
    "MAGIC_RESPONSE",
    "MAX_ARGUMENT",
    "MAX_ARGUMENTS",
    "MAX_HANDLE",
    "MAX_LAST_ARGUMENT",
    "MAX_LINE",
    "MAX_OPTION",
    "MAX_PACKET",
    "MAX_RESULT",
    "MAX_UNIQUE",
    "MAX_WORKLOAD",
    "RESULT_FUNCTION",
    "RESULT_NOW_FUNCTION",
    "Command",
    "CommandSpec",
    "ErrorCode",
    "Sender",
]

MAGIC_REQUEST: Final = b"\0REQ"
"""First four bytes of a packet to the job server."""
MAGIC_RESPONSE: Final = b"\0RES"
"""First four bytes of a packet from the job server."""
HEADER_SIZE: Final = 12
"""Bytes of a packet before its body."""
DEFAULT_PORT: Final = 4730
"""TCP port registered for Gearman (service name `gearman`)."""

RESULT_FUNCTION: Final = "gearfast.result"
"""The function that gearfast's job server answers itself: what became of a job."""
RESULT_NOW_FUNCTION: Final = "gearfast.result.now"
"""The same without waiting for a job that has not ended."""

MAX_ARGUMENTS: Final = 8
"""Most arguments, data included, that any command has (SUBMIT_JOB_SCHED)."""
MAX_ARGUMENT: Final = 8191
"""Bytes of an argument that ends in a NUL, without the NUL (gearmand's receive buffer less one)."""
MAX_LAST_ARGUMENT: Final = 8192
"""Bytes of the last argument of a command without data."""
MAX_LINE: Final = 8191
"""Bytes of a text command without its newline."""
MAX_PACKET: Final = 256 * 1024 * 1024
"""Default limit for a whole packet in bytes. The protocol itself allows 4 GiB."""
MAX_UNIQUE: Final = 64
"""Bytes of a unique; a longer one is refused with ARGUMENT_TOO_LARGE."""
MAX_HANDLE: Final = 63
"""Bytes of a job handle. libgearman keeps handles in a buffer of 64 bytes with a NUL."""
MAX_OPTION: Final = 63
"""Bytes of an option name in OPTION_REQ."""
MAX_RESULT: Final = MAX_PACKET - HEADER_SIZE - MAX_HANDLE - 1
"""Bytes of a result, data, warning or exception in a packet of MAX_PACKET, whatever the job's handle."""
MAX_WORKLOAD: Final = MAX_PACKET - 32 * 1024
"""Bytes of a workload in a packet of MAX_PACKET, whatever the names before it (MAX_ARGUMENT limits those)."""


class Sender(Flag):
    """Who sends a command."""

    CLIENT = auto()
    WORKER = auto()
    SERVER = auto()


class Command(IntEnum):
    """Command numbers. There is no number above 42; 5 is unused."""

    CAN_DO = 1
    CANT_DO = 2
    RESET_ABILITIES = 3
    PRE_SLEEP = 4
    UNUSED = 5
    NOOP = 6
    SUBMIT_JOB = 7
    JOB_CREATED = 8
    GRAB_JOB = 9
    NO_JOB = 10
    JOB_ASSIGN = 11
    WORK_STATUS = 12
    WORK_COMPLETE = 13
    WORK_FAIL = 14
    GET_STATUS = 15
    ECHO_REQ = 16
    ECHO_RES = 17
    SUBMIT_JOB_BG = 18
    ERROR = 19
    STATUS_RES = 20
    SUBMIT_JOB_HIGH = 21
    SET_CLIENT_ID = 22
    CAN_DO_TIMEOUT = 23
    ALL_YOURS = 24
    WORK_EXCEPTION = 25
    OPTION_REQ = 26
    OPTION_RES = 27
    WORK_DATA = 28
    WORK_WARNING = 29
    GRAB_JOB_UNIQ = 30
    JOB_ASSIGN_UNIQ = 31
    SUBMIT_JOB_HIGH_BG = 32
    SUBMIT_JOB_LOW = 33
    SUBMIT_JOB_LOW_BG = 34
    SUBMIT_JOB_SCHED = 35
    SUBMIT_JOB_EPOCH = 36
    SUBMIT_REDUCE_JOB = 37
    SUBMIT_REDUCE_JOB_BACKGROUND = 38
    GRAB_JOB_ALL = 39
    JOB_ASSIGN_ALL = 40
    GET_STATUS_UNIQUE = 41
    STATUS_RES_UNIQUE = 42


class ErrorCode:
    """First argument of ERROR: gearmand's own error names without their `GEARMAN_` prefix."""

    INVALID_MAGIC: Final = b"INVALID_MAGIC"
    INVALID_COMMAND: Final = b"INVALID_COMMAND"
    INVALID_ARGUMENT: Final = b"INVALID_ARGUMENT"
    ARGUMENT_TOO_LARGE: Final = b"ARGUMENT_TOO_LARGE"
    QUEUE_ERROR: Final = b"QUEUE_ERROR"
    JOB_NOT_FOUND: Final = b"JOB_NOT_FOUND"
    UNKNOWN_OPTION: Final = b"UNKNOWN_OPTION"


class CommandSpec(NamedTuple):
    """One row of the table of commands."""

    command: Command
    """Its number and name."""
    arguments: tuple[str, ...]
    """Names of the arguments in the order of the wire, data not included."""
    data: str | None
    """Name of the opaque data behind the arguments, or None."""
    sender: Sender
    """Who sends it."""
    summary: str
    """What it does, in one line."""

    @property
    def magic(self) -> bytes:
        """The magic with which it is normally sent."""
        return MAGIC_RESPONSE if self.sender is Sender.SERVER else MAGIC_REQUEST

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the arguments, data included."""
        return self.arguments if self.data is None else (*self.arguments, self.data)


_C = Sender.CLIENT
_W = Sender.WORKER
_J = Sender.SERVER
_SUBMIT = ("function", "unique")
_SCHED = ("function", "unique", "minute", "hour", "day", "month", "weekday")
_REDUCE = ("function", "unique", "reducer", "aggregator")
_STATUS = ("known", "running", "numerator", "denominator")


def _row(command: Command, arguments: tuple[str, ...], data: str | None, sender: Sender, summary: str) -> CommandSpec:
    return CommandSpec(command, arguments, data, sender, summary)


COMMANDS: Final[tuple[CommandSpec, ...]] = (
    _row(Command.CAN_DO, ("function",), None, _W, "registers a function; no reply"),
    _row(Command.CANT_DO, ("function",), None, _W, "takes a registration back; its running jobs are queued again"),
    _row(Command.RESET_ABILITIES, (), None, _W, "takes all registrations back"),
    _row(Command.PRE_SLEEP, (), None, _W, "goes to sleep until a NOOP"),
    _row(Command.UNUSED, (), None, _C | _W, "unused; answered by ERROR"),
    _row(Command.NOOP, (), None, _J, "wakes a sleeping worker"),
    _row(Command.SUBMIT_JOB, _SUBMIT, "workload", _C, "submits a job and waits for its result"),
    _row(Command.JOB_CREATED, ("handle",), None, _J, "the job is queued under this handle"),
    _row(Command.GRAB_JOB, (), None, _W, "asks for a job"),
    _row(Command.NO_JOB, (), None, _J, "there is no job for this worker"),
    _row(Command.JOB_ASSIGN, ("handle", "function"), "workload", _J, "gives a job to a worker"),
    _row(Command.WORK_STATUS, ("handle", "numerator", "denominator"), None, _W | _J, "progress of a job"),
    _row(Command.WORK_COMPLETE, ("handle",), "result", _W | _J, "the job is done; this is its result"),
    _row(Command.WORK_FAIL, ("handle",), None, _W | _J, "the job failed"),
    _row(Command.GET_STATUS, ("handle",), None, _C, "asks for the status of a job by its handle"),
    _row(Command.ECHO_REQ, (), "data", _C | _W, "asks for the data to be sent back"),
    _row(Command.ECHO_RES, (), "data", _J, "the data of an ECHO_REQ"),
    _row(Command.SUBMIT_JOB_BG, _SUBMIT, "workload", _C, "submits a background job"),
    _row(Command.ERROR, ("code", "text"), None, _J, "a request was refused"),
    _row(Command.STATUS_RES, ("handle", *_STATUS), None, _J, "status of a job, asked for by its handle"),
    _row(Command.SUBMIT_JOB_HIGH, _SUBMIT, "workload", _C, "SUBMIT_JOB with high priority"),
    _row(Command.SET_CLIENT_ID, ("id",), None, _W, "names this connection in lists of workers"),
    _row(Command.CAN_DO_TIMEOUT, ("function", "timeout"), None, _W, "CAN_DO with a time-out in milliseconds"),
    _row(Command.ALL_YOURS, (), None, _W, "unused; answered by ERROR"),
    _row(Command.WORK_EXCEPTION, ("handle",), "exception", _W | _J, "the job failed with this exception"),
    _row(Command.OPTION_REQ, ("option",), None, _C | _W, "sets an option of this connection"),
    _row(Command.OPTION_RES, ("option",), None, _J, "the option is set"),
    _row(Command.WORK_DATA, ("handle",), "data", _W | _J, "a part of the result"),
    _row(Command.WORK_WARNING, ("handle",), "warning", _W | _J, "a warning of a running job"),
    _row(Command.GRAB_JOB_UNIQ, (), None, _W, "asks for a job with its unique"),
    _row(Command.JOB_ASSIGN_UNIQ, ("handle", "function", "unique"), "workload", _J, "gives a job with its unique"),
    _row(Command.SUBMIT_JOB_HIGH_BG, _SUBMIT, "workload", _C, "SUBMIT_JOB_BG with high priority"),
    _row(Command.SUBMIT_JOB_LOW, _SUBMIT, "workload", _C, "SUBMIT_JOB with low priority"),
    _row(Command.SUBMIT_JOB_LOW_BG, _SUBMIT, "workload", _C, "SUBMIT_JOB_BG with low priority"),
    _row(Command.SUBMIT_JOB_SCHED, _SCHED, "workload", _C, "submits a background job for the next match of a date"),
    _row(Command.SUBMIT_JOB_EPOCH, (*_SUBMIT, "time"), "workload", _C, "submits a background job for a time"),
    _row(Command.SUBMIT_REDUCE_JOB, _REDUCE, "workload", _C, "submits a job with a reducer"),
    _row(Command.SUBMIT_REDUCE_JOB_BACKGROUND, _REDUCE, "workload", _C, "the same in the background"),
    _row(Command.GRAB_JOB_ALL, (), None, _W, "asks for a job with its unique and reducer"),
    _row(Command.JOB_ASSIGN_ALL, ("handle", "function", "unique", "reducer"), "workload", _J, "gives a reduce job"),
    _row(Command.GET_STATUS_UNIQUE, ("unique",), None, _C, "asks for the status of a job by its unique"),
    _row(Command.STATUS_RES_UNIQUE, ("unique", *_STATUS, "clients"), None, _J, "status of a job, asked for by unique"),
)
"""All commands, `COMMANDS[n - 1]` being number n."""

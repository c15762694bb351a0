# SPDX-License-Identifier: BSD-3-Clause
"""What a client asks for: a job, a status, an echo, an option. Each knows its packet and takes its own answer.

A request is made once and handed to a session (or a hub of sessions), which fills it in. Who waits for it looks at
`done`, then at `error` and `result`.
"""

from __future__ import annotations

from typing import NamedTuple

from gearfast._codec import encode
from gearfast.errors import JobTimeout, UsageError
from gearfast.protocol import MAX_HANDLE, Command
from gearfast.session._client import JobRequest, Request, check_seconds
from gearfast.types import JobStatus, Priority

__all__ = [
    "CancelRequest",
    "EchoRequest",
    "JobRequest",
    "OptionRequest",
    "Request",
    "StatusRequest",
    "Timeout",
    "UniqueStatusRequest",
    "late",
    "make_timeout",
]

Buffer = bytes | bytearray | memoryview

FOREGROUND = {
    Priority.HIGH: int(Command.SUBMIT_JOB_HIGH),
    Priority.NORMAL: int(Command.SUBMIT_JOB),
    Priority.LOW: int(Command.SUBMIT_JOB_LOW),
}
BACKGROUND = {
    Priority.HIGH: int(Command.SUBMIT_JOB_HIGH_BG),
    Priority.NORMAL: int(Command.SUBMIT_JOB_BG),
    Priority.LOW: int(Command.SUBMIT_JOB_LOW_BG),
}
EPOCH = int(Command.SUBMIT_JOB_EPOCH)
REDUCE = int(Command.SUBMIT_REDUCE_JOB)
REDUCE_BACKGROUND = int(Command.SUBMIT_REDUCE_JOB_BACKGROUND)


class Timeout(NamedTuple):
    """How long a client waits, in seconds; None is without limit."""

    connect: float | None = 5.0
    """For one connection to be made, TLS included."""
    reply: float | None = 30.0
    """For the server's answer to a submission (JOB_CREATED), a status, an echo."""
    job: float | None = None
    """For the result of a job, from the call on. A call's own `timeout` stands instead of it."""
    reconnect: float = 10.0
    """For a server that was lost with this client's jobs to come back, before the jobs fail."""
    health: float | None = 30.0
    """Between two questions (ECHO_REQ) over a connection whether its server is still there. One that says nothing for
    as long again, or for `reply` if that is less, counts as lost. None: never asked."""


def make_timeout(value: float | Timeout | None) -> Timeout:
    """A plain number limits every wait: connecting, replies and results. None limits nothing but reconnecting.

    Raises UsageError for what is not above 0.
    """
    if isinstance(value, Timeout):
        for name, seconds in zip(value._fields, value, strict=True):
            if seconds is not None and not (name == "reconnect" and seconds == 0):
                check_seconds(seconds, f"{name} of a Timeout")
        return value
    if value is None:
        return Timeout(None, None, None, health=None)
    check_seconds(value, "a timeout")
    return Timeout(value, value, value, value)


class OptionRequest(Request):
    """OPTION_REQ. `result`: whether the server set the option."""

    __slots__ = ("option",)

    result: bool | None

    def __init__(self, option: bytes) -> None:
        super().__init__(encode(Command.OPTION_REQ, option))
        self.option = option


class EchoRequest(Request):
    """ECHO_REQ. `result`: the data that came back."""

    __slots__ = ()

    result: bytes

    def __init__(self, data: Buffer) -> None:
        super().__init__(encode(Command.ECHO_REQ, data))

    @property
    def what(self) -> str:
        return "ECHO_REQ"


class StatusRequest(Request):
    """GET_STATUS. `result`: the JobStatus of `handle`."""

    __slots__ = ("handle",)

    result: JobStatus | None

    def __init__(self, handle: bytes) -> None:
        super().__init__(encode(Command.GET_STATUS, handle))
        self.handle = handle

    @property
    def what(self) -> str:
        return f"GET_STATUS of {self.handle_text}"

    @property
    def handle_text(self) -> str:
        return self.handle.decode("utf-8", "replace")


class UniqueStatusRequest(Request):
    """GET_STATUS_UNIQUE. `result`: the JobStatus of the job with `unique`."""

    __slots__ = ("unique",)

    result: JobStatus | None

    def __init__(self, unique: bytes) -> None:
        super().__init__(encode(Command.GET_STATUS_UNIQUE, unique))
        self.unique = unique

    @property
    def what(self) -> str:
        return f"GET_STATUS_UNIQUE of {self.unique!r}"


class CancelRequest(Request):
    """The text command `cancel job`. `result`: whether the server had the job, queued or running."""

    __slots__ = ("handle",)

    result: bool | None

    def __init__(self, handle: bytes) -> None:
        if not handle or len(handle) > MAX_HANDLE or not handle.isascii() or not handle.decode().isprintable():
            raise UsageError(f"{handle[:80]!r} is no handle of a job")
        if b" " in handle:
            raise UsageError(f"{handle!r} is no handle of a job: it has a space")
        super().__init__(b"cancel job " + handle + b"\r\n")
        self.handle = handle

    @property
    def what(self) -> str:
        return f"cancel job {self.handle_text}"

    @property
    def handle_text(self) -> str:
        return self.handle.decode()


def late(job: JobRequest, what: str) -> JobTimeout:
    """The error of who waited for `what` (as "no result") of a job in vain."""
    server = job.link.label if job.link is not None else ""
    message = f"{job.what}: {what} from {server or 'any server'} in time"
    return JobTimeout(message, server=server, function=job.function, handle=job.handle_text)

# SPDX-License-Identifier: BSD-3-Clause
"""The exceptions of gearfast; the class tells whose fault it is.

GearfastError
├── UsageError (ValueError)         the caller's: an argument that cannot be sent or a wrong state
├── ProtocolError                   the peer's: bytes that are no Gearman
├── ConnectError (ConnectionError)  no server could be reached
├── ConnectionLost (ConnectionError) a connection went away while something waited on it
│   └── SubmitUncertain             … before the server said whether it took the job
├── ServerError                     the server refused a request; `code` and `text` are those of ERROR
│   ├── QueueFull                   … because the function's queue is full
│   ├── JobNotFound                 … because it does not know the job (any more)
│   └── UnknownOption               … because it does not know the option
├── DeadlineExceeded (TimeoutError) an answer did not come in time
│   └── JobTimeout                  … the result of a job
├── JobFailed                       the worker reported WORK_FAIL
│   ├── JobException                … WORK_EXCEPTION, with what the worker said of it
│   └── JobCancelled                the job was cancelled by this client
├── ResultTooLarge                  a job's result is over the client's limit, or the worker's
├── Fail                            raised by a worker's callable to report WORK_FAIL
└── Cancelled                       raised in a worker's callable by `job.check()`: nobody wants the result
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gearfast._codec import Packet

__all__ = [
    "Cancelled",
    "ConnectError",
    "ConnectionLost",
    "DeadlineExceeded",
    "Fail",
    "GearfastError",
    "JobCancelled",
    "JobException",
    "JobFailed",
    "JobNotFound",
    "JobTimeout",
    "ProtocolError",
    "QueueFull",
    "ResultTooLarge",
    "ServerError",
    "SubmitUncertain",
    "UnknownOption",
    "UsageError",
    "server_error",
]


class GearfastError(Exception):
    """Root of all exceptions that gearfast raises on purpose."""


class UsageError(GearfastError, ValueError):
    """The caller asked for what cannot be: a bad argument, or a call in the wrong state."""


class ProtocolError(GearfastError):
    """The peer sent bytes that are no Gearman. The connection cannot be used any more.

    `offset`: position of the first bad byte in the stream, counted from its start.
    `head`: up to 32 bytes from there.
    `left`: how many bytes were there from it on.
    `packets`: what was decoded from the same bytes before it.
    """

    def __init__(
        self, message: str, *, offset: int = 0, head: bytes = b"", left: int = 0, packets: Sequence[Packet | bytes] = ()
    ) -> None:
        super().__init__(message)
        self.offset = offset
        self.head = head
        self.left = left
        self.packets = list(packets)


class ConnectError(GearfastError, ConnectionError):
    """No job server could be reached. `servers` maps each address that was tried to the reason."""

    def __init__(self, message: str, servers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.servers = dict(servers or {})


class ConnectionLost(GearfastError, ConnectionError):
    """The connection to `server` (an address) was lost while an answer was awaited.

    `handle`: the job's handle if the server had given one, else the empty string.
    """

    def __init__(self, message: str, *, server: str = "", handle: str = "") -> None:
        super().__init__(message)
        self.server = server
        self.handle = handle


class SubmitUncertain(ConnectionLost):
    """The connection was lost between SUBMIT_JOB and JOB_CREATED: the job may or may not be queued."""


class ServerError(GearfastError):
    """The server answered ERROR. `code` and `text` are its two arguments."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code
        self.text = text


class QueueFull(ServerError):
    """QUEUE_ERROR `Job queue is full`: the function's limit of queued jobs is reached."""


class JobNotFound(ServerError):
    """JOB_NOT_FOUND: the job is unknown, finished, or not this connection's."""


class UnknownOption(ServerError):
    """UNKNOWN_OPTION: the server does not know the option of an OPTION_REQ."""


class DeadlineExceeded(GearfastError, TimeoutError):
    """An answer did not come before its deadline."""


class JobTimeout(DeadlineExceeded):
    """A job's result did not come before its deadline. The job itself may still run. `handle`: which."""

    def __init__(self, message: str, *, handle: str = "") -> None:
        super().__init__(message)
        self.handle = handle


class JobFailed(GearfastError):
    """The worker reported WORK_FAIL for the job `handle` of `function`."""

    def __init__(self, message: str, *, handle: str = "", function: str = "") -> None:
        super().__init__(message)
        self.handle = handle
        self.function = function


class JobException(JobFailed):
    """The worker reported WORK_EXCEPTION. `data`: the bytes that it sent."""

    def __init__(self, message: str, *, handle: str = "", function: str = "", data: bytes = b"") -> None:
        super().__init__(message, handle=handle, function=function)
        self.data = data


class JobCancelled(JobFailed):
    """The job was cancelled by this client's `cancel`, queued or running."""


class ResultTooLarge(GearfastError):
    """What the worker of the job `handle` of `function` sent has `size` bytes, over the client's `limit` (max_result).

    It was not kept, and the connection is still good. In a worker: what a callable returned or sent is over the
    worker's own `limit`, and was not sent.
    """

    def __init__(self, message: str, *, handle: str = "", function: str = "", size: int = 0, limit: int = 0) -> None:
        super().__init__(message)
        self.handle = handle
        self.function = function
        self.size = size
        self.limit = limit


class Fail(GearfastError):
    """Raise it in a worker's callable to end the job with WORK_FAIL instead of WORK_EXCEPTION."""


class Cancelled(GearfastError):
    """`job.check()` in a worker's callable: the job was cancelled, or its connection is lost."""


def server_error(code: bytes, text: bytes) -> ServerError:
    """The exception for an ERROR packet's two arguments."""
    name = code.decode("utf-8", "replace")
    words = text.decode("utf-8", "replace")
    if name == "QUEUE_ERROR" and "full" in words:
        return QueueFull(name, words)
    kind = {"JOB_NOT_FOUND": JobNotFound, "UNKNOWN_OPTION": UnknownOption}.get(name, ServerError)
    return kind(name, words)

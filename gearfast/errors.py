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
│   ├── JobNotFound                 … because it does not know the job (any more), nor its result
│   └── UnknownOption               … because it does not know the option
├── DeadlineExceeded (TimeoutError) an answer did not come in time
│   └── JobTimeout                  … the result of a job
├── JobFailed                       the worker reported WORK_FAIL
│   ├── JobException                … WORK_EXCEPTION, with what the worker said of it
│   └── JobCancelled                the job was cancelled by this client
├── ResultTooLarge                  a job's result is over the limit of the client, the worker, or what the server keeps
├── SerializeError                  a task's argument or result cannot be made bytes, or bytes cannot be made one
├── Fail                            raised by a worker's callable to report WORK_FAIL
└── Cancelled                       raised in a worker's callable by `job.check()`: nobody wants the result
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gearfast._codec import Packet

TRACEBACKS = ("Traceback (most recent call last):\n", "  + Exception Group Traceback (most recent call last):\n")
"""How Python begins a traceback."""

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
    "SerializeError",
    "ServerError",
    "SubmitUncertain",
    "UnknownOption",
    "UsageError",
    "server_error",
]


class GearfastError(Exception):
    """Root of all exceptions that gearfast raises on purpose.

    `server` (an address), `function` and `handle`: the job that it is about, each empty if it is not known.
    """

    server: str = ""
    function: str = ""
    handle: str = ""

    def _about(self, server: str, function: str, handle: str) -> None:
        self.server = server
        self.function = function
        self.handle = handle


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

    def __init__(self, message: str, servers: dict[str, str] | None = None, *, function: str = "") -> None:
        super().__init__(message)
        self.servers = dict(servers or {})
        self.function = function


class ConnectionLost(GearfastError, ConnectionError):
    """The connection to `server` (an address) was lost while an answer was awaited.

    `handle`: the job's handle if the server had given one, else the empty string.
    """

    def __init__(self, message: str, *, server: str = "", function: str = "", handle: str = "") -> None:
        super().__init__(message)
        self._about(server, function, handle)


class SubmitUncertain(ConnectionLost):
    """The connection was lost between SUBMIT_JOB and JOB_CREATED: the job may or may not be queued."""


class ServerError(GearfastError):
    """The server answered ERROR. `code` and `text` are its two arguments, `what` begins the message if it is given."""

    def __init__(
        self, code: str, text: str = "", *, what: str = "", server: str = "", function: str = "", handle: str = ""
    ) -> None:
        super().__init__(": ".join(filter(None, (what, code, text))))
        self.code = code
        self.text = text
        self._about(server, function, handle)


class QueueFull(ServerError):
    """QUEUE_ERROR `Job queue is full`: the function's limit of queued jobs is reached."""


class JobNotFound(ServerError):
    """JOB_NOT_FOUND: the job is unknown, finished, or not this connection's; for `result`: and there is none of it."""


class UnknownOption(ServerError):
    """UNKNOWN_OPTION: the server does not know the option of an OPTION_REQ; for `result`: it keeps no results."""


class DeadlineExceeded(GearfastError, TimeoutError):
    """An answer did not come before its deadline."""

    def __init__(self, message: str = "", *, server: str = "", function: str = "", handle: str = "") -> None:
        super().__init__(message)
        self._about(server, function, handle)


class JobTimeout(DeadlineExceeded):
    """A job's result did not come before its deadline. The job itself may still run. `handle`: which."""


class JobFailed(GearfastError):
    """The worker reported WORK_FAIL for the job `handle` of `function`."""

    def __init__(self, message: str, *, server: str = "", function: str = "", handle: str = "") -> None:
        super().__init__(message)
        self._about(server, function, handle)


class JobException(JobFailed):
    """The worker reported WORK_EXCEPTION. `data`: the bytes that it sent.

    A gearfast worker sends `CLASS: TEXT`, and behind that, if it is told to (`tracebacks=True`), Python's traceback:
    `remote_type` and `traceback` have them, each empty if `data` does not look so.
    """

    def __init__(
        self, message: str, *, server: str = "", function: str = "", handle: str = "", data: bytes = b""
    ) -> None:
        super().__init__(message, server=server, function=function, handle=handle)
        self.data = data

    @property
    def remote_type(self) -> str:
        """The name of the exception's class in the worker, as `ValueError`; empty if `data` does not begin so."""
        line = self._said[0].partition("\n")[0]
        name, colon, _ = line.partition(": ")
        return name if name.isidentifier() and (colon or name == self._said[0]) else ""

    @property
    def traceback(self) -> str:
        """Python's traceback in the worker, several lines; empty if the worker sent none."""
        return self._said[1]

    @property
    def _said(self) -> tuple[str, str]:
        """What the worker said before the traceback, and the traceback."""
        said = self.data.decode("utf-8", "replace")
        starts = [place for mark in TRACEBACKS if (place := said.find("\n\n" + mark)) >= 0]
        return (said[: min(starts)], said[min(starts) + 2 :]) if starts else (said, "")


class JobCancelled(JobFailed):
    """The job was cancelled by this client's `cancel`, queued or running."""


class ResultTooLarge(GearfastError):
    """What the worker of the job `handle` of `function` sent has `size` bytes, over the client's `limit` (max_result).

    It was not kept, and the connection is still good. From `result` with a `limit` of 0: the server has kept only that
    it had `size` bytes, for its policy's `keep_results_size` or want of room. In a worker: what a callable returned or
    sent is over the worker's own `limit`, and was not sent.
    """

    def __init__(
        self, message: str, *, server: str = "", function: str = "", handle: str = "", size: int = 0, limit: int = 0
    ) -> None:
        super().__init__(message)
        self._about(server, function, handle)
        self.size = size
        self.limit = limit


class SerializeError(GearfastError):
    """A serializer cannot do its work for the task `function`.

    In a client: an argument, named by `argument`, cannot be sent, so nothing was; or a result cannot be read. In a
    worker it ends the job with WORK_EXCEPTION: the workload cannot be read, or the result not be sent.
    """

    def __init__(
        self, message: str, *, server: str = "", function: str = "", handle: str = "", argument: str = ""
    ) -> None:
        super().__init__(message)
        self._about(server, function, handle)
        self.argument = argument


class Fail(GearfastError):
    """Raise it in a worker's callable to end the job with WORK_FAIL instead of WORK_EXCEPTION."""


class Cancelled(GearfastError):
    """`job.check()` in a worker's callable: the job was cancelled, or its connection is lost."""


def server_error(
    code: bytes, text: bytes, *, what: str = "", server: str = "", function: str = "", handle: str = ""
) -> ServerError:
    """The exception for an ERROR packet's two arguments. `what` and the rest: as for ServerError."""
    name = code.decode("utf-8", "replace")
    words = text.decode("utf-8", "replace")
    kind = {"JOB_NOT_FOUND": JobNotFound, "UNKNOWN_OPTION": UnknownOption}.get(name, ServerError)
    if name == "QUEUE_ERROR" and "full" in words:
        kind = QueueFull
    return kind(name, words, what=what, server=server, function=function, handle=handle)

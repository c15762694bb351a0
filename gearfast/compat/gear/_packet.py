# SPDX-License-Identifier: BSD-3-Clause
"""`Packet`, the tasks that wait for answers, and the requests of the text protocol."""

from __future__ import annotations

import _thread
import threading
from struct import Struct
from typing import TYPE_CHECKING, Any

from gearfast.compat.gear import constants
from gearfast.compat.gear._errors import InvalidDataError, UnknownJobError
from gearfast.protocol import COMMANDS

if TYPE_CHECKING:
    from gearfast.compat.gear._connection import ServerConnection

HEADER = Struct("!4sII")
BINARY = (bytes, bytearray)
# Names of the arguments that repr() shows, by packet type.
_SHOWN = {int(spec.command): spec.arguments[:2] for spec in COMMANDS}


def convert_to_bytes(data: Any) -> Any:
    """str as UTF-8; anything else as it is."""
    return data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data


class Packet:
    """A binary packet. `data` is its whole body; `connection` where it came from.

    Raises TypeError if magic (`code`) or data are not bytes or bytearray, InvalidDataError if the magic does not begin
    with a NUL. `ptype` may be any number of 32 bits: some programs have packet types of their own.
    """

    def __init__(self, code: Any, ptype: int, data: Any, connection: Any = None) -> None:
        if not isinstance(code, BINARY):
            raise TypeError(f"code must be bytes or bytearray, not {type(code).__name__}")
        if code[0:1] != b"\0":
            raise InvalidDataError(f"a packet begins with a NUL, not with {code!r}")
        if not isinstance(data, BINARY):
            raise TypeError(f"data must be bytes or bytearray, not {type(data).__name__}")
        self.code = code
        self.ptype = ptype
        self.data = data
        self.connection = connection

    def __repr__(self) -> str:
        name = constants.types.get(self.ptype, "UNKNOWN")
        return f"<gear.Packet 0x{id(self):x} type: {name}{self._formatExtraData()}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Packet):
            return False
        return self.code == other.code and self.ptype == other.ptype and self.data == other.data

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = None  # type: ignore[assignment]

    def _formatExtraData(self) -> str:
        names = _SHOWN.get(self.ptype, ())
        values = self.data.split(b"\0", len(names))
        return "".join(f" {name}: {bytes(value)!r}" for name, value in zip(names, values, strict=False))

    def toBinary(self) -> bytearray:
        """The packet as it goes over the wire."""
        binary = bytearray(HEADER.pack(self.code, self.ptype, len(self.data)))
        binary += self.data
        return binary

    def getArgument(self, index: int, last: bool = False) -> Any:
        """An argument as bytes; with `last`, all that is left from there on, NULs included.

        Raises IndexError if there are fewer, unless `last`: then it is empty.
        """
        if index < 0:
            return self.data.split(b"\0")[index]
        if not last:
            return self.data.split(b"\0", index + 1)[index]
        parts = self.data.split(b"\0", index)
        return parts[index] if index < len(parts) else b""

    def getJob(self) -> Any:
        """The job that the packet's handle names; raises UnknownJobError if its connection has none."""
        if (turn := self.__dict__.get("_turn")) is not None:
            return turn
        end = self.data.find(b"\0")
        handle = bytes(self.data if end < 0 else self.data[:end])
        job = self.connection.related_jobs.get(handle)
        if job is None:
            raise UnknownJobError(handle)
        # Jobs with one handle take turns, but not within one packet.
        sharing = getattr(self.connection, "sharing", None)
        return sharing.turn(self, handle) if sharing and handle in sharing else job


class Task:
    """An answer that somebody waits for. `failed`: the server refused, or is gone."""

    def __init__(self) -> None:
        # A plain lock, held until the task is done: an Event costs five times as much.
        self._lock = _thread.allocate_lock()
        self._lock.acquire()
        self._done = False
        self.failed = False

    def setComplete(self) -> None:
        """Wakes everybody who waits."""
        self._done = True
        try:  # noqa: SIM105  (half the price, twice a job)
            self._lock.release()
        except RuntimeError:
            pass  # it was done already

    def wait(self, timeout: float | None = None) -> bool:
        """Waits, seconds at most; whether the task is done."""
        if not self._done:
            seconds = -1 if timeout is None else min(max(timeout, 0), threading.TIMEOUT_MAX)
            if self._lock.acquire(timeout=seconds):
                self._done = True
                self.setComplete()  # for the next one who waits
        return self._done

    def fail(self) -> None:
        """Wakes everybody who waits: there will be no answer, or it was a refusal."""
        self.failed = True
        self.setComplete()


class SubmitJobTask(Task):
    """A submission on its way. `background`: nobody will wait for this job's result."""

    background = False

    def __init__(self, job: Any) -> None:
        super().__init__()
        self.job = job


class OptionReqTask(Task):
    """An OPTION_REQ on its way."""


class AdminRequest:
    """A text command and its answer; to be subclassed with a `command`.

    `response`: the answer as bytes with its end (`.` and line end, or line end). `arguments`: bytes, sent after it.
    """

    command: Any = None
    arguments: Any = ()
    response: Any = None
    _any_line = False  # whether a line of the answer may begin with ERR

    def __init__(self, *arguments: Any) -> None:
        if type(self) is AdminRequest:
            raise NotImplementedError("AdminRequest is to be subclassed")
        self.wait_event = threading.Event()
        self.arguments = arguments
        self._searched = 0

    def __repr__(self) -> str:
        return f"<gear.AdminRequest 0x{id(self):x} command: {self.command}>"

    def getCommand(self) -> bytes:
        """The line to send."""
        return b" ".join((self.command, *self.arguments)) + b"\n"

    def isComplete(self, data: Any) -> tuple[bool, Any]:
        """Looks for the end of a list in what arrived: (True, what lies behind it) or (False, None)."""
        end = -1
        for dot in (b".\n", b".\r\n"):
            if data.startswith(dot):
                end = len(dot)
            elif (found := data.find(b"\n" + dot, max(self._searched - 4, 0))) >= 0 and (end < 0 or found < end):
                end = found + 1 + len(dot)
        if end < 0 and data.startswith(b"ERR ") and not self._any_line:
            line = data.partition(b"\n")  # a refusal is one line, and no line of a list looks like it
            end = len(line[0]) + 1 if line[1] and b"\t" not in line[0] else -1
        if end >= 0:
            self.response = data[:end]
            return True, data[end:]
        self._searched = len(data)
        return False, None

    def setComplete(self) -> None:
        """Wakes everybody who waits."""
        self.wait_event.set()

    def waitForResponse(self, timeout: float | None = None) -> bool:
        """Waits, seconds at most; whether `setComplete` was called."""
        return self.wait_event.wait(timeout)


class _LineRequest(AdminRequest):
    def isComplete(self, data: Any) -> tuple[bool, Any]:
        end = data.find(b"\n") + 1
        if not end:
            return False, None
        self.response = data[:end]
        return True, data[end:]


class StatusAdminRequest(AdminRequest):
    """`status`: a line for each function."""

    command = b"status"

    def __init__(self) -> None:
        super().__init__()


class ShowJobsAdminRequest(AdminRequest):
    """`show jobs`: a line for each job."""

    command = b"show jobs"

    def __init__(self) -> None:
        super().__init__()


class ShowUniqueJobsAdminRequest(AdminRequest):
    """`show unique jobs`: a line for each unique."""

    command = b"show unique jobs"
    _any_line = True

    def __init__(self) -> None:
        super().__init__()


class WorkersAdminRequest(AdminRequest):
    """`workers`: a line for each connection."""

    command = b"workers"

    def __init__(self) -> None:
        super().__init__()


class VersionAdminRequest(_LineRequest):
    """`version`: one line."""

    command = b"version"

    def __init__(self) -> None:
        super().__init__()


class CancelJobAdminRequest(_LineRequest):
    """`cancel job HANDLE`: one line, `OK` or `ERR UNKNOWN_JOB`."""

    command = b"cancel job"

    def __init__(self, handle: Any) -> None:
        super().__init__(convert_to_bytes(handle))


class ServerAdminRequest(AdminRequest):
    """A text command as a `Server` gets it: `command` is the whole line, `connection` where it came from."""

    def __init__(self, connection: ServerConnection) -> None:
        super().__init__()
        self.connection = connection

    def isComplete(self, data: Any) -> tuple[bool, Any]:
        """Whether a whole line has arrived: (True, what lies behind it) or (False, None)."""
        line, newline, rest = data.partition(b"\n")
        if not newline:
            return False, None
        self.command = line.removesuffix(b"\r")
        return True, rest

# SPDX-License-Identifier: BSD-3-Clause
"""Jobs as clients, workers and the server see them: bytes by default, str in the classes named Text.

What is not UTF-8 passes through the str flavour as lone surrogates ("surrogateescape") and comes out as the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar, SupportsIndex

from gearfast.compat.gear import constants
from gearfast.compat.gear._packet import BINARY, Packet, convert_to_bytes

if TYPE_CHECKING:
    from gearfast.compat.gear._connection import Connection, ServerConnection


def _text(value: Any) -> Any:
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value


class FunctionRecord:
    """A function for `Worker.setFunctions`. `timeout`: milliseconds as int, str or bytes; None for none."""

    def __init__(self, name: Any, timeout: Any = None) -> None:
        self.name = name
        self.timeout = timeout

    def __repr__(self) -> str:
        return f"<gear.FunctionRecord 0x{id(self):x} name: {self.name} timeout: {self.timeout}>"


class BaseJob:
    """What all jobs have: `name` in str, `arguments` and `unique` in bytes.

    The binary_ twins of these attributes are bytes in all classes.
    """

    connection: Any

    def __init__(self, name: Any, arguments: Any, unique: Any = None, handle: Any = None) -> None:
        self._name = convert_to_bytes(name)
        self._validate_arguments(arguments)
        self._arguments = convert_to_bytes(arguments)
        self._unique = convert_to_bytes(unique)
        self.handle: Any = handle
        self.connection: Connection | None = None

    def _validate_arguments(self, arguments: Any) -> None:
        if not isinstance(arguments, BINARY):
            raise TypeError("arguments must be of type bytes or bytearray")

    @property
    def name(self) -> Any:
        return _text(self._name)

    @name.setter
    def name(self, value: Any) -> None:
        self._name = convert_to_bytes(value)

    @property
    def arguments(self) -> Any:
        return self._arguments

    @arguments.setter
    def arguments(self, value: Any) -> None:
        self._arguments = value

    @property
    def unique(self) -> Any:
        return self._unique

    @unique.setter
    def unique(self, value: Any) -> None:
        self._unique = value

    @property
    def binary_name(self) -> Any:
        return self._name

    @property
    def binary_arguments(self) -> Any:
        return self._arguments

    @property
    def binary_unique(self) -> Any:
        return self._unique

    def __repr__(self) -> str:
        return f"<gear.Job 0x{id(self):x} handle: {self.handle!r} name: {self.name} unique: {self.unique!r}>"


class Job(BaseJob):
    """A client's job. `Client`'s handlers fill it in as packets arrive.

    `data`: list of what WORK_DATA, WORK_WARNING and WORK_COMPLETE brought, empty ones left out. `numerator` and
    `denominator` are bytes as the worker sent them, `fraction_complete` a float or None. `failure` means something
    once `complete` is true. `known` and `running` are None until a STATUS_RES.
    """

    data_type: ClassVar[Any] = list

    def __init__(self, name: Any, arguments: Any, unique: Any = None) -> None:
        super().__init__(name, arguments, unique)
        self._data = self.data_type()
        self._exception: Any = None
        self.warning = False
        self.complete = False
        self.failure = False
        self.numerator: bytes | None = None
        self.denominator: bytes | None = None
        self.fraction_complete: float | None = None
        self.known: bool | None = None
        self.running: bool | None = None

    @property
    def data(self) -> Any:
        return self._data

    @data.setter
    def data(self, value: Any) -> None:
        if not isinstance(value, self.data_type):
            raise ValueError(f"data must be a {self.data_type.__name__}, not {type(value).__name__}")
        self._data = value

    @property
    def binary_data(self) -> Iterator[bytes]:
        """The elements of `data` as bytes."""
        return (convert_to_bytes(value) for value in self._data)

    @property
    def exception(self) -> Any:
        return self._exception

    @exception.setter
    def exception(self, value: Any) -> None:
        self._exception = value


class WorkerJob(BaseJob):
    """A job that `Worker.getJob` returned. Its send methods send at once, from any thread."""

    def __init__(self, handle: Any, name: Any, arguments: Any, unique: Any = None) -> None:
        super().__init__(name, arguments, unique, handle)

    def _send(self, ptype: int, data: bytes) -> None:
        self.connection.sendPacket(Packet(constants.REQ, ptype, data))

    def sendWorkData(self, data: Any = b"") -> None:
        """Sends a part of the result."""
        self._send(constants.WORK_DATA, b"%b\0%b" % (self.handle, data))

    def sendWorkWarning(self, data: Any = b"") -> None:
        """Sends a warning."""
        self._send(constants.WORK_WARNING, b"%b\0%b" % (self.handle, data))

    def sendWorkStatus(self, numerator: Any, denominator: Any) -> None:
        """Sends the progress; both may be of any type whose str() is the number."""
        self._send(constants.WORK_STATUS, b"%b\0%b\0%b" % (self.handle, _number(numerator), _number(denominator)))

    def sendWorkComplete(self, data: Any = b"") -> None:
        """Sends the last part of the result; the job is done."""
        self._send(constants.WORK_COMPLETE, b"%b\0%b" % (self.handle, data))

    def sendWorkFail(self) -> None:
        """Tells that the job failed."""
        self._send(constants.WORK_FAIL, self.handle or b"")

    def sendWorkException(self, data: Any = b"") -> None:
        """Tells that the job failed, and why."""
        self._send(constants.WORK_EXCEPTION, b"%b\0%b" % (self.handle, data))


def _number(value: Any) -> bytes:
    return bytes(value) if isinstance(value, BINARY) else str(value).encode()


class BaseBinaryJob:
    """Mixed in before another job class, it makes the name bytes."""

    _name: Any

    @property
    def name(self) -> Any:
        return self._name


class BinaryJob(BaseBinaryJob, Job):
    """A client's job with a name in bytes."""


class BinaryWorkerJob(BaseBinaryJob, WorkerJob):
    """A worker's job with a name in bytes."""


class TextJobArguments:
    """Mixed in before another job class, it makes the arguments str."""

    _arguments: Any

    def _validate_arguments(self, arguments: Any) -> None:
        pass

    @property
    def arguments(self) -> Any:
        return _text(self._arguments)

    @arguments.setter
    def arguments(self, value: Any) -> None:
        self._arguments = convert_to_bytes(value)


class TextJobUnique:
    """Mixed in before another job class, it makes the unique str."""

    _unique: Any

    @property
    def unique(self) -> Any:
        return _text(self._unique)

    @unique.setter
    def unique(self, value: Any) -> None:
        self._unique = convert_to_bytes(value)


class TextList(list[Any]):
    """A list that decodes the bytes that are put into it."""

    def append(self, x: Any) -> None:
        super().append(_text(x))

    def extend(self, iterable: Iterable[Any]) -> None:
        super().extend(map(_text, iterable))

    def insert(self, i: SupportsIndex, x: Any) -> None:
        super().insert(i, _text(x))


class TextJob(TextJobArguments, TextJobUnique, Job):
    """A client's job with arguments, unique, exception and elements of data in str."""

    data_type = TextList

    @property
    def exception(self) -> Any:
        return _text(self._exception)

    @exception.setter
    def exception(self, value: Any) -> None:
        self._exception = convert_to_bytes(value)


class TextWorkerJob(TextJobArguments, TextJobUnique, WorkerJob):
    """A worker's job with arguments and unique in str; it sends str and bytes."""

    def sendWorkData(self, data: Any = "") -> None:
        super().sendWorkData(convert_to_bytes(data))

    def sendWorkWarning(self, data: Any = "") -> None:
        super().sendWorkWarning(convert_to_bytes(data))

    def sendWorkComplete(self, data: Any = "") -> None:
        super().sendWorkComplete(convert_to_bytes(data))

    def sendWorkException(self, data: Any = "") -> None:
        super().sendWorkException(convert_to_bytes(data))


class ServerJob(BinaryJob):
    """A job in a `Server`: name, arguments and unique are bytes.

    `client_connection`: who waits for it, None for a background job. `worker_connection`: who runs it. Tests hang
    attributes of their own on it.
    """

    def __init__(
        self, handle: Any, name: Any, arguments: Any, client_connection: ServerConnection | None, unique: Any = None
    ) -> None:
        super().__init__(name, arguments, unique)
        self.handle = handle
        self.client_connection = client_connection
        self.worker_connection: ServerConnection | None = None
        del self.connection

# SPDX-License-Identifier: BSD-3-Clause
"""One task's calls and results as they travel. Whatever a serializer raises is a SerializeError here."""

from __future__ import annotations

from typing import Any

from gearfast.errors import SerializeError, UsageError
from gearfast.session.results import text_of
from gearfast.tasks.serializers import Raw, Serializer, name_of
from gearfast.tasks.signature import Parameters

__all__ = ["Wire"]

Arguments = tuple[list[Any], dict[str, Any]]
Bytes = bytes | bytearray | memoryview


class Wire:
    """Arguments to a workload and back, a value to a result and back. `name`: the function's, for messages.

    Raises UsageError for a serializer that the parameters do not suit.
    """

    __slots__ = ("_dumps", "_loads", "_sole", "_what", "name", "parameters")

    def __init__(self, name: str, serializer: Serializer, parameters: Parameters) -> None:
        self.name = name
        self.parameters = parameters
        self._dumps = serializer.dumps
        self._loads = serializer.loads
        self._what = name_of(serializer)
        self._sole = parameters.sole if isinstance(serializer, Raw) else None
        if isinstance(serializer, Raw) and self._sole is None:
            raise UsageError(f"task {name!r}: serializer 'raw' needs a callable that takes one argument, the workload")

    # What a client does

    def workload(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Bytes:
        """The workload of a call. Raises TypeError for arguments that do not fit, and SerializeError."""
        bound = self.parameters.bind(args, kwargs)
        if self._sole is not None:
            return self._bare(bound, self._sole)
        try:
            return self._bytes({"args": args, "kwargs": kwargs})
        except Exception as error:
            raise self._refused(bound, error) from error

    def result(self, data: bytes) -> Any:
        """The value of a result. Raises SerializeError."""
        try:
            return self._loads(data)
        except Exception as error:
            raise self._error(f"the result cannot be read as {self._what}: {_told(error)}") from error

    def _bare(self, bound: dict[str, Any], sole: str) -> Bytes:
        if list(bound) != [sole]:
            extra = next((name for name in bound if name != sole), sole)
            raise self._error(f"serializer 'raw' carries {sole!r} and nothing else", extra)
        try:
            return self._bytes(bound[sole])
        except Exception as error:
            raise self._refused(bound, error) from error

    def _refused(self, bound: dict[str, Any], error: Exception) -> SerializeError:
        """Whose fault it is: the first argument that cannot be sent alone."""
        for name, value in bound.items():
            try:
                self._bytes(value)
            except Exception as found:  # noqa: BLE001  # that is what is looked for
                return self._error(f"argument {name!r} cannot be sent as {self._what}: {_told(found)}", name)
        return self._error(f"the arguments cannot be sent as {self._what}: {_told(error)}")

    # What a worker does

    def arguments(self, data: bytes) -> Arguments:
        """The arguments that a workload carries. Raises SerializeError, and TypeError for those that do not fit."""
        args, kwargs = ([data], {}) if self._sole is not None else self._opened(data)
        self.parameters.bind(args, kwargs)
        return args, kwargs

    def to_result(self, value: Any) -> Bytes:
        """What a callable gave back, as a result. Raises SerializeError."""
        if value is None and self._sole is not None:
            return b""
        try:
            return self._bytes(value)
        except Exception as error:
            raise self._error(f"the result cannot be sent as {self._what}: {_told(error)}") from error

    def _opened(self, data: bytes) -> Arguments:
        if not data:
            return [], {}
        try:
            call = self._loads(data)
        except Exception as error:
            raise self._error(f"the workload cannot be read as {self._what}: {_told(error)}") from error
        if not isinstance(call, dict):
            raise self._error(f"the workload is no call with args and kwargs, but {type(call).__name__}")
        args, kwargs = call.get("args", []), call.get("kwargs", {})
        if not isinstance(args, (list, tuple)) or not isinstance(kwargs, dict):
            raise self._error("the workload is no call: args is a list and kwargs has names")
        if not all(isinstance(name, str) for name in kwargs):
            raise self._error("the workload is no call: kwargs has names that are no text")
        return list(args), kwargs

    def _bytes(self, value: Any) -> Bytes:
        data = self._dumps(value)
        if isinstance(data, str):
            return data.encode()
        if isinstance(data, (bytes, bytearray, memoryview)):
            return data
        raise TypeError(f"its dumps gave {type(data).__name__}, not bytes")

    def _error(self, text: str, argument: str = "") -> SerializeError:
        return SerializeError(f"function {self.name!r}: {text}", function=self.name, argument=argument)


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {text_of(error)}"

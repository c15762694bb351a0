# SPDX-License-Identifier: BSD-3-Clause
"""Values to bytes and back: the serializers that have a name, and any object with `dumps` and `loads`.

A call travels as `{"args": […], "kwargs": {…}}`, a result as the value alone. `raw` is the exception: one argument of
bytes is the workload, and bytes are the result.
"""

from __future__ import annotations

from typing import Any, Protocol, cast

from gearfast.errors import UsageError

__all__ = ["Json", "MessagePack", "Pickle", "Raw", "Serializer", "is_unsafe", "make_serializer", "name_of"]

UNSAFE = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "marshal"}
"""Modules whose `loads` lets the sender of bytes run code, or crash the process."""


class Serializer(Protocol):
    """What `App(serializer=…)` takes besides a name; the modules json and orjson are such, too.

    What either method raises becomes a SerializeError.
    """

    def dumps(self, value: Any, /) -> bytes | bytearray | memoryview | str:
        """A value as bytes; text goes out as UTF-8."""

    def loads(self, data: bytes, /) -> Any:
        """The value again."""


class Raw:
    """Bytes as they are."""

    name = "raw"

    def dumps(self, value: Any, /) -> bytes | bytearray | memoryview:
        """The same bytes. Raises TypeError for anything else."""
        if isinstance(value, (bytes, bytearray, memoryview)):
            return value
        raise TypeError(f"bytes are needed, not {type(value).__name__}")

    def loads(self, data: bytes, /) -> Any:
        """The same bytes."""
        return data


class Json:
    """JSON as RFC 8259 has it, in UTF-8: no NaN and no infinity. Tuples arrive as lists, all keys as text."""

    name = "json"

    def __init__(self) -> None:
        import json

        self._encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
        self._decode = json.JSONDecoder().decode

    def dumps(self, value: Any, /) -> bytes:
        """A value as bytes. Raises TypeError or ValueError."""
        return self._encode(value).encode()

    def loads(self, data: bytes, /) -> Any:
        """The value again. Raises ValueError."""
        return self._decode(str(data, "utf-8"))


class MessagePack:
    """MessagePack, by the package msgpack: bytes are a type of their own. Raises UsageError if it is not installed."""

    name = "msgpack"

    def __init__(self) -> None:
        import importlib

        try:
            msgpack = importlib.import_module("msgpack")  # by its name, so that no type checker looks for it either
        except ImportError:
            raise UsageError("serializer 'msgpack' needs msgpack: pip install 'gearfast[msgpack]'") from None
        self._pack = msgpack.packb
        self._unpack = msgpack.unpackb

    def dumps(self, value: Any, /) -> bytes:
        """A value as bytes. Raises TypeError, ValueError or OverflowError."""
        return cast("bytes", self._pack(value))

    def loads(self, data: bytes, /) -> Any:
        """The value again. Raises ValueError."""
        return self._unpack(data, strict_map_key=False)


class Pickle:
    """Python's pickle, which runs whatever code the sender of the bytes likes."""

    name = "pickle"

    def __init__(self) -> None:
        import pickle

        self._dumps = pickle.dumps
        self._loads = pickle.loads

    def dumps(self, value: Any, /) -> bytes:
        """A value as bytes. Raises what pickle does."""
        return self._dumps(value)

    def loads(self, data: bytes, /) -> Any:
        """The value again. Raises what pickle does."""
        return self._loads(data)


NAMED: dict[str, type[Raw | Json | MessagePack | Pickle]] = {
    kind.name: kind for kind in (Raw, Json, MessagePack, Pickle)
}


def make_serializer(serializer: str | Serializer) -> Serializer:
    """The serializer of that name, or the object itself. Raises UsageError."""
    if isinstance(serializer, str):
        kind = NAMED.get(serializer)
        if kind is None:
            raise UsageError(f"there is no serializer {serializer!r}; there are {', '.join(sorted(NAMED))}")
        return kind()
    if not (callable(getattr(serializer, "dumps", None)) and callable(getattr(serializer, "loads", None))):
        raise UsageError(
            f"a serializer is one of {', '.join(sorted(NAMED))}, or an object with dumps and loads, not {serializer!r}"
        )
    return serializer


def name_of(serializer: Serializer) -> str:
    """What it is called in messages."""
    name = getattr(serializer, "name", None) or getattr(serializer, "__name__", None)
    return name if isinstance(name, str) else type(serializer).__name__


def is_unsafe(serializer: Serializer) -> bool:
    """Whether its `loads` does what the sender of the bytes likes, as far as one can tell by its name."""
    return isinstance(serializer, Pickle) or getattr(serializer, "__name__", None) in UNSAFE

# SPDX-License-Identifier: BSD-3-Clause
"""What a worker's callable gave back, as bytes for the wire."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gearfast.errors import ResultTooLarge, UsageError
from gearfast.protocol import MAX_HANDLE

if TYPE_CHECKING:
    from gearfast.session._worker import Assignment

__all__ = [
    "RemoteError",
    "check_max_result",
    "check_size",
    "describe",
    "milliseconds",
    "text_of",
    "to_bytes",
    "traceback_of",
]

MOST: Final = 2**32 - 1 - MAX_HANDLE - 1
"""Bytes behind a handle in the largest packet that the protocol knows."""


def to_bytes(value: object, what: str) -> bytes | bytearray | memoryview:
    """Bytes as they are, text as UTF-8, None as nothing. Raises TypeError for anything else. `what` names the value."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return value
    if value is None:
        return b""
    if isinstance(value, str):
        return value.encode()
    raise TypeError(f"{what} must be bytes, str or None, not {type(value).__name__}")


def check_max_result(limit: int) -> int:
    """A worker's setting, if it can be one. Raises UsageError."""
    if not 0 <= limit <= MOST:
        raise UsageError(f"max_result is a number of bytes from 0 to {MOST}, not {limit!r}")
    return limit


def check_size(job: Assignment, what: str, data: bytes | bytearray | memoryview) -> None:
    """Raise ResultTooLarge if `data` is more than the worker may send of a job at once. `what` names it."""
    size, limit = memoryview(data).nbytes, job.session.max_result
    if size > limit:
        function, handle = job.function.decode("utf-8", "replace"), job.handle.decode("utf-8", "replace")
        text = f"job {handle} of function {function!r}: {size} bytes as {what} are more than max_result={limit}"
        raise ResultTooLarge(text, handle=handle, function=function, size=size, limit=limit)


class RemoteError(Exception):
    """What a callable raised in a child process. `data`: as `describe` tells it there."""

    def __init__(self, data: bytes, traceback: str) -> None:
        super().__init__(data.decode("utf-8", "replace"))
        self.data = data
        self.traceback = traceback


def describe(error: BaseException, *, tracebacks: bool = False) -> bytes:
    """An exception as WORK_EXCEPTION carries it: `CLASS: TEXT`, or `CLASS` if it has no text.

    With `tracebacks` an empty line and Python's traceback follow.
    """
    if isinstance(error, RemoteError):
        data = error.data
        trace = error.traceback
    else:
        text = text_of(error)
        name = type(error).__name__
        data = (f"{name}: {text}" if text else name).encode("utf-8", "replace")
        trace = traceback_of(error) if tracebacks else ""
    return data + b"\n\n" + trace.encode("utf-8", "replace") if tracebacks and trace else data


def traceback_of(error: BaseException) -> str:
    """Python's traceback of an exception, without the frames of the worker itself."""
    import traceback

    # The first frame is the worker's own; chained exceptions keep theirs.
    frames = error.__traceback__.tb_next if error.__traceback__ is not None else None
    return "".join(traceback.format_exception(type(error), error, frames))


def text_of(error: BaseException) -> str:
    """An exception's text; that of a class whose `__str__` fails is empty."""
    try:
        return str(error)
    except Exception:  # noqa: BLE001
        return ""


def milliseconds(timeout: float | None) -> int:
    """A function's time-out in seconds as CAN_DO_TIMEOUT wants it; 0 for none."""
    return 0 if timeout is None else max(1, round(timeout * 1000))

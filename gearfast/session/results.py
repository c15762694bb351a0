# SPDX-License-Identifier: BSD-3-Clause
"""What a worker's callable gave back, as bytes for the wire."""

from __future__ import annotations

from gearfast.errors import UsageError

__all__ = ["describe", "milliseconds", "text_of", "to_bytes"]


def to_bytes(value: object, what: str) -> bytes | bytearray | memoryview:
    """Bytes as they are, text as UTF-8, None as nothing. Raises TypeError for anything else. `what` names the value."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return value
    if value is None:
        return b""
    if isinstance(value, str):
        return value.encode()
    raise TypeError(f"{what} must be bytes, str or None, not {type(value).__name__}")


def describe(error: BaseException) -> bytes:
    """An exception as WORK_EXCEPTION carries it: its class's name and its text."""
    text = text_of(error)
    name = type(error).__name__
    return (f"{name}: {text}" if text else name).encode("utf-8", "replace")


def text_of(error: BaseException) -> str:
    """An exception's text; that of a class whose `__str__` fails is empty."""
    try:
        return str(error)
    except Exception:  # noqa: BLE001
        return ""


def milliseconds(timeout: float | None) -> int:
    """A function's time-out in seconds as CAN_DO_TIMEOUT wants it; 0 for none. Raises UsageError."""
    if timeout is None:
        return 0
    if timeout <= 0:
        raise UsageError(f"a function's timeout is a number of seconds above 0, not {timeout!r}")
    return max(1, round(timeout * 1000))

# SPDX-License-Identifier: BSD-3-Clause
"""One job of a gearmand's queue. All its SQL tables have the same five columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from gearfast.types import Priority

__all__ = ["PATIENCE", "QueueError", "Row", "Skipped", "to_row"]

PATIENCE: Final = 60.0
"""Seconds that a database may say nothing; what listens there may be no database at all."""

_NEVER: Final = 1 << 63
"""A time that no server takes."""
_PRIORITIES: Final = {0: Priority.HIGH, 1: Priority.NORMAL, 2: Priority.LOW}


class QueueError(Exception):
    """A queue cannot be read. The text names it, says why, and what would be right."""


@dataclass(frozen=True, slots=True)
class Row:
    """A background job. `unique`: empty if it has none; `at`: when it is due, in seconds since 1970, 0 for at once;
    `where`: how to find it in the queue."""

    function: str
    unique: bytes
    workload: bytes
    priority: Priority
    at: int
    where: str


@dataclass(frozen=True, slots=True)
class Skipped:
    """An entry that is no job, or not to be told which."""

    where: str
    why: str


def _bytes(value: Any) -> bytes:
    if value is None:
        return b""
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    return str(value).encode("utf-8", "surrogateescape")


def _whole(value: Any, default: int) -> int:
    try:
        return int(value)
    except (TypeError, ValueError):
        return default
    except OverflowError:  # SQLite makes an infinite number of a text of 400 digits
        return _NEVER if value > 0 else default


def to_row(unique: Any, function: Any, priority: Any, data: Any, when: Any) -> Row | Skipped:
    """From the columns of a table.

    gearmand writes NULL for an empty workload, and its own next start fails on it; older tables have NULL for the time.
    It keeps 63 bytes of a unique of 64, in MySQL with a NUL behind them. SUBMIT_JOB_EPOCH knows no priority.
    """
    key = _bytes(unique).rstrip(b"\0")
    name = _bytes(function)
    where = f"{name.decode('utf-8', 'replace')!r}, unique {key.decode('utf-8', 'replace')!r}"
    if not name:
        return Skipped(where, "it has no function")
    try:
        text = name.decode("utf-8")
    except UnicodeDecodeError:
        return Skipped(where, "the name of its function is not UTF-8")
    at = max(_whole(when, 0), 0)
    return Row(text, key, _bytes(data), _PRIORITIES.get(_whole(priority, 1), Priority.NORMAL), at, where)

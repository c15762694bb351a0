# SPDX-License-Identifier: BSD-3-Clause
"""Small parts that programs import: a stopwatch, the reading of addresses."""

from __future__ import annotations

import select as select_lib
import time
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from .constants import DEFAULT_GEARMAN_PORT

T = TypeVar("T")


class Stopwatch:
    """Counts down from `time_remaining` seconds; None never ends. The system's clock may jump meanwhile.

    `stop_time`: the end on that clock, `time.time()`, for those who compare with it.
    """

    def __init__(self, time_remaining: float | None) -> None:
        self.stop_time = None if time_remaining is None else time.time() + time_remaining
        self._end = None if time_remaining is None else time.monotonic() + time_remaining

    def get_time_remaining(self) -> float | None:
        """Seconds, never below 0.0; None if there is no end."""
        if self._end is None:
            return None
        return max(self._end - time.monotonic(), 0.0)

    def has_time_remaining(self, time_comparison: float | None = None) -> bool:
        """Whether the end is still to come; or was, at `time_comparison` on the system's clock."""
        if self.stop_time is None:
            return True
        if time_comparison is not None:
            return time_comparison < self.stop_time
        return self.get_time_remaining() != 0.0


def disambiguate_server_parameter(hostport_tuple: str | tuple[str, int | str]) -> tuple[str, int]:
    """Host and port of 'host', 'host:port', '[address]:port', a bare IPv6 address, or (host, port)."""
    if isinstance(hostport_tuple, tuple):
        host, port = hostport_tuple
        return host, int(port)
    if hostport_tuple.startswith("["):
        host, _, rest = hostport_tuple[1:].partition("]")
        return host, int(rest[1:] or DEFAULT_GEARMAN_PORT)
    if hostport_tuple.count(":") == 1:
        host, _, rest = hostport_tuple.partition(":")
        return host, int(rest)
    return hostport_tuple, DEFAULT_GEARMAN_PORT


def select(
    rlist: Iterable[Any], wlist: Iterable[Any], xlist: Iterable[Any], timeout: float | None = None
) -> tuple[list[Any], list[Any], list[Any]]:
    """`select.select`; None waits without end."""
    return select_lib.select(list(rlist), list(wlist), list(xlist), timeout)


def unlist(given_list: Sequence[T]) -> T | None:
    """The only item, or None if there is none. Raises ValueError if there are more."""
    if len(given_list) > 1:
        raise ValueError(len(given_list))
    return given_list[0] if given_list else None

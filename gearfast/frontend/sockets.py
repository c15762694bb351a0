# SPDX-License-Identifier: BSD-3-Clause
"""What the blocking and the asyncio front end share about sockets."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from collections.abc import Callable
from itertools import zip_longest
from typing import Final, TypeVar

__all__ = ["FORKED", "all_failed", "alternate", "head_start", "jitter", "new_prefix", "reason_of", "tune"]

T = TypeVar("T")
KEEPALIVE: Final = (("TCP_KEEPIDLE", 4), ("TCP_KEEPINTVL", 1), ("TCP_KEEPCNT", 5))
TCP_RTO_MAX_MS: Final = 44
"""Linux 6.15 and later, without a name in the socket module: the longest time between two retransmissions."""
HEAD_START: Final = 0.25
"""Seconds; RFC 8305, section 5, recommends them."""
RTO_MAX: Final = 1_000
USER_TIMEOUT: Final = 30_000
FORKED: Final = "the process was forked, and the connection is its parent's"
"""What is said in a forked child of what its parent was waiting for."""


def reason_of(error: BaseException) -> str:
    """What an OSError says, without its number."""
    if isinstance(error, TimeoutError):
        return "timed out"
    if isinstance(error, ConnectionError) and error.errno:
        return os.strerror(error.errno)  # asyncio puts words of its own there
    return str(getattr(error, "strerror", None) or error) or type(error).__name__


def alternate(found: list[T], family_of: Callable[[T], object]) -> list[T]:
    """Addresses of a name in the order in which they are tried: the system's, but families in turn.

    So a family that leads nowhere (IPv6 behind a router that drops it) costs the head start of one address, not of all
    its own (RFC 8305, section 4).
    """
    families: dict[object, list[T]] = {}
    for each in found:
        families.setdefault(family_of(each), []).append(each)
    return [each for turn in zip_longest(*families.values()) for each in turn if each is not None]


def head_start(seconds: float, others: int) -> float:
    """Seconds that an attempt to connect has for itself before the next address of the name is tried beside it.

    `seconds`: what is left for all; `others`: how many addresses are still to be tried. With little time it is so short
    that each of them comes to its turn.
    """
    return min(HEAD_START, max(0.0, seconds) / (others + 1))


def all_failed(failures: list[tuple[str, OSError]]) -> OSError:
    """One error for the addresses of a name, none of which could be connected to: each reason, and whose it was.

    `failures`: address and error, at least one; a single one's error is returned as it is.
    """
    if len(failures) == 1:
        return failures[0][1]
    reasons: dict[str, list[str]] = {}
    for where, error in failures:
        reasons.setdefault(reason_of(error), []).append(where)
    return OSError("; ".join(f"{reason} ({', '.join(whose)})" for reason, whose in reasons.items()))


def tune(sock: socket.socket) -> None:
    """Options of a TCP connection: no delay, and a server that the network does not reach any more is noticed.

    Within 9 seconds if nothing is on its way to it. Otherwise Linux gives up after about 16: with at most a second
    between retransmissions its 15 tries are soon over, while a server that only does not read answers them. An older
    kernel gets TCP_USER_TIMEOUT instead, which holds in both cases and must be longer: it cannot tell the two apart.
    """
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in KEEPALIVE:
        option = getattr(socket, name, None)
        if option is not None:
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.IPPROTO_TCP, option, value)
    if sys.platform != "linux":
        return
    try:
        sock.setsockopt(socket.IPPROTO_TCP, TCP_RTO_MAX_MS, RTO_MAX)
    except OSError:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT)


def new_prefix() -> bytes:
    """What the uniques of one client in one process begin with: 16 hexadecimal digits and a dash."""
    return os.urandom(8).hex().encode() + b"-"


def jitter() -> float:
    """A number from [0, 1). The module `random` would take half a megabyte for this."""
    return int.from_bytes(os.urandom(4), "big") / 2**32

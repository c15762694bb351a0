# SPDX-License-Identifier: BSD-3-Clause
"""What the blocking and the asyncio front end share about sockets."""

from __future__ import annotations

import contextlib
import os
import socket
from typing import Final

__all__ = ["new_prefix", "reason_of", "tune"]

KEEPALIVE: Final = (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3), ("TCP_USER_TIMEOUT", 60_000))


def reason_of(error: BaseException) -> str:
    """What an OSError says, without its number."""
    if isinstance(error, TimeoutError):
        return "timed out"
    if isinstance(error, ConnectionError) and error.errno:
        return os.strerror(error.errno)  # asyncio puts words of its own there
    return str(getattr(error, "strerror", None) or error) or type(error).__name__


def tune(sock: socket.socket) -> None:
    """Options of a TCP connection: no delay, and a dead peer is noticed within about a minute and a half."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in KEEPALIVE:
        option = getattr(socket, name, None)
        if option is not None:
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.IPPROTO_TCP, option, value)


def new_prefix() -> bytes:
    """What the uniques of one client in one process begin with: 16 hexadecimal digits and a dash."""
    return os.urandom(8).hex().encode() + b"-"

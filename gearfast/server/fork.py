# SPDX-License-Identifier: BSD-3-Clause
"""After a fork: gives up the descriptors of the parent's embedded server in the child.

As long as the child had them too, a client would not see its connection end, and the port would stay taken. They are
not closed one by one through their objects: that would take the parent's registrations out of the epoll that both
share. Instead each descriptor is replaced by /dev/null, which touches nothing but the child's table, and leaves the
Python objects with a number of their own that they may close whenever they like.
"""

from __future__ import annotations

import contextlib
import os
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterator, Sequence

    from gearfast.server.listen import Listener
    from gearfast.server.service import Service

__all__ = ["give_up"]


def give_up(listeners: Sequence[Listener], service: Service | None, loop: asyncio.AbstractEventLoop | None) -> None:
    """Replaces all descriptors of a server, and of its loop if it has one of its own, by /dev/null.

    Reads no state of the server's C structures: the fork may have met another thread in the middle of changing them.
    """
    found = {listener.sock.fileno() for listener in listeners}
    if service is not None:
        service.schedule_timer.stop()
    if service is not None and service.reactor is not None:
        found.update((service.reactor.fileno(), service.reactor.told))
        service.reactor.abandon()
    if loop is not None:
        found.update(_loop_descriptors(loop))
    found.update(_connections(listeners))
    found.discard(-1)
    null = os.open(os.devnull, os.O_RDWR)
    try:
        for number in found:
            os.dup2(null, number, inheritable=False)
    finally:
        os.close(null)


def _loop_descriptors(loop: asyncio.AbstractEventLoop) -> Iterator[int]:
    """The epoll or kqueue of the loop's selector and the two ends of the pair that wakes it."""
    selector = getattr(loop, "_selector", None)
    # selectors.EpollSelector keeps its epoll object in an attribute of the same name.
    parts = (
        selector,
        getattr(selector, "_selector", None),
        getattr(loop, "_ssock", None),
        getattr(loop, "_csock", None),
    )
    for part in parts:
        fileno = getattr(part, "fileno", None)
        if callable(fileno):
            with contextlib.suppress(ValueError, OSError):
                yield int(fileno())


def _connections(listeners: Sequence[Listener]) -> Iterator[int]:
    """Accepted sockets: those whose own address is that of a listener."""
    names: set[object] = {listener.path or (listener.host, listener.port) for listener in listeners}
    everywhere = {listener.port for listener in listeners if listener.host in ("0.0.0.0", "::")}
    for number in _open_descriptors():
        try:
            sock = socket.socket(fileno=number)
        except OSError:
            continue  # not a socket
        name: object = None
        with contextlib.suppress(OSError):
            name = sock.getsockname()
        is_stream = sock.type == socket.SOCK_STREAM
        sock.detach()
        if isinstance(name, tuple):
            name = name[:2]
            if name[1] in everywhere:
                name = ("0.0.0.0" if sock.family == socket.AF_INET else "::", name[1])
        if is_stream and name in names:
            yield number


def _open_descriptors() -> list[int]:
    for folder in ("/proc/self/fd", "/dev/fd"):
        with contextlib.suppress(OSError):
            return [int(name) for name in os.listdir(folder) if name.isdigit()]
    return []

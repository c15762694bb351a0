# SPDX-License-Identifier: BSD-3-Clause
"""Objects to poll connections with, shaped like `select.epoll`; used where a program overrides a polling method."""

from __future__ import annotations

import select
from collections.abc import Iterable
from typing import Any, Final, Protocol

from .errors import ConnectionError
from .util import select as select_connections

READ: Final = 0x01
WRITE: Final = 0x04
ERROR: Final = 0x08 | 0x10


class Poller(Protocol):
    """What a poller has to have."""

    def register(self, fd: Any, evmask: int, /) -> None: ...
    def unregister(self, fd: Any, /) -> None: ...
    def poll(self, timeout: float) -> Iterable[tuple[int, int]]: ...
    def close(self) -> None: ...


def get_connection_poller() -> Any:
    """An epoll object where there is epoll, else one with the same methods."""
    return select.epoll() if hasattr(select, "epoll") else _Select()


def _find_bad_connections(connections: Iterable[Any]) -> list[Any]:
    """Those that select refuses."""
    bad = []
    for connection in connections:
        try:
            select_connections([connection], [], [], timeout=0)
        except (OSError, ValueError, ConnectionError):
            bad.append(connection)
    return bad


class _Select:
    """Like `select.epoll`, by means of `select.select`."""

    def __init__(self) -> None:
        self.masks: dict[Any, int] = {}

    def close(self) -> None:
        """Nothing is open."""

    def register(self, fd: Any, evmask: int) -> None:
        if fd in self.masks:
            raise ValueError(f"Connection already registered: {fd!r}")
        self.masks[fd] = evmask

    def modify(self, fd: Any, evmask: int) -> None:
        self.unregister(fd)
        self.register(fd, evmask)

    def unregister(self, fd: Any) -> None:
        self.masks.pop(fd, None)

    def poll(self, timeout: float) -> list[tuple[int, int]]:
        """Pairs of descriptor and events; a negative `timeout` (seconds) waits without end."""
        limit = None if timeout < 0 else timeout
        while self.masks:
            wanted = {bit: [fd for fd, mask in self.masks.items() if mask & bit] for bit in (READ, WRITE)}
            try:
                readable, writable, _ = select_connections(wanted[READ], wanted[WRITE], [], limit)
            except (OSError, ValueError, ConnectionError):
                for bad in _find_bad_connections(list(self.masks)):
                    self.unregister(bad)
                continue
            events: dict[int, int] = {}
            for bit, found in ((READ, readable), (WRITE, writable)):
                for fd in found:
                    number = fd if isinstance(fd, int) else fd.fileno()
                    events[number] = events.get(number, 0) | bit
            return list(events.items())
        return []

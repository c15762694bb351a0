# SPDX-License-Identifier: BSD-3-Clause
"""Waiting for sockets: one of them, or many with a way to be woken. epoll or poll where there is one, else select."""

from __future__ import annotations

import contextlib
import select
import selectors
import socket
from typing import Any

READ = 1
WRITE = 4
BROKEN = 8 | 16  # error, hang-up: as epoll and poll number them


def wait_for(sock: Any, events: int, timeout: float | None = None) -> bool:
    """Waits until a socket can be read or written, or is broken; whether it is so within `timeout` seconds."""
    if hasattr(select, "poll"):
        poll = select.poll()
        poll.register(sock.fileno(), events)
        return bool(poll.poll(None if timeout is None else timeout * 1000))
    sides = ([sock] if events & READ else [], [sock] if events & WRITE else [], [sock])
    return any(select.select(*sides, timeout))


class _Selecting:
    """The few methods of `select.epoll` that are used, where there is none."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()

    def register(self, fd: int, events: int) -> None:
        self._selector.register(fd, _to_selector(events))

    def modify(self, fd: int, events: int) -> None:
        self._selector.modify(fd, _to_selector(events))

    def unregister(self, fd: int) -> None:
        self._selector.unregister(fd)

    def poll(self, timeout: float | None = None) -> list[tuple[int, int]]:
        return [
            (key.fd, (READ if ready & selectors.EVENT_READ else 0) | (WRITE if ready & selectors.EVENT_WRITE else 0))
            for key, ready in self._selector.select(timeout)
        ]

    def close(self) -> None:
        self._selector.close()


def _to_selector(events: int) -> int:
    return (selectors.EVENT_READ if events & READ else 0) | (selectors.EVENT_WRITE if events & WRITE else 0)


class Poller:
    """Sockets to wait for, and `wake`, which ends a wait from any thread."""

    def __init__(self) -> None:
        self._poll: Any = select.epoll() if hasattr(select, "epoll") else _Selecting()
        self._awaken, self._bell = socket.socketpair()
        for end in (self._awaken, self._bell):
            end.setblocking(False)
        self._fd = self._awaken.fileno()
        self._poll.register(self._fd, READ)

    def register(self, fd: int, events: int = READ) -> None:
        self._poll.register(fd, events)

    def modify(self, fd: int, events: int) -> None:
        self._poll.modify(fd, events)
        self.changed()

    def changed(self) -> None:
        """What is watched was changed by a thread that does not wait: epoll sees that, others when they wait again."""
        if isinstance(self._poll, _Selecting):
            self.wake()

    def unregister(self, fd: int) -> None:
        with contextlib.suppress(KeyError, ValueError, OSError):
            self._poll.unregister(fd)

    def poll(self, timeout: float | None = None) -> list[tuple[int, int]]:
        """(descriptor, events) of what is ready, after `timeout` seconds at most; (-1, 0) stands for a wake-up."""
        ready: list[tuple[int, int]] = self._poll.poll(timeout)
        for index, (fd, _) in enumerate(ready):
            if fd == self._fd:
                with contextlib.suppress(BlockingIOError):
                    while self._awaken.recv(4096):
                        pass
                ready[index] = (-1, 0)
        return ready

    def wake(self) -> None:
        """Ends the wait of another thread, or the next one."""
        with contextlib.suppress(OSError):  # enough wake-ups are waiting already, or it is closed
            self._bell.send(b"\0")

    def close(self) -> None:
        for thing in (self._poll, self._awaken, self._bell):
            thing.close()

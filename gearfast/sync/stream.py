# SPDX-License-Identifier: BSD-3-Clause
"""Blocking connections: how bytes go in and out, and how several are waited for. `dialer` makes them."""

from __future__ import annotations

import contextlib
import select
import signal
import socket
import struct
import sys
import threading
from collections import deque
from typing import Final

__all__ = ["READ", "WRITE", "PlainStream", "Poller", "Stream", "WakePipe", "make_poller", "wrap"]

READ: Final = 1
WRITE: Final = 2
READ_SIZE: Final = 65536
LONGEST_WAIT: Final = 3600.0
IS_PLAIN: Final = sys.platform == "linux"
DONTWAIT: Final = getattr(socket, "MSG_DONTWAIT", 0)


class Stream:
    """A connected socket, TLS or not, on any system. Never blocks: `try_recv` and `try_send` say so instead."""

    __slots__ = ("events", "sock", "unsent")

    is_plain = False

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.unsent: deque[memoryview] = deque()
        self.events = 0
        sock.setblocking(False)

    def fileno(self) -> int:
        """The descriptor to wait for."""
        return self.sock.fileno()

    @property
    def has_buffered(self) -> bool:
        """TLS holds decrypted bytes that waiting for the descriptor would not tell of."""
        pending = getattr(self.sock, "pending", None)
        return pending is not None and pending() > 0

    def try_recv(self) -> bytes | None:
        """Bytes; b"" at the end of the stream; None if there is nothing yet. Raises OSError."""
        try:
            return self.sock.recv(READ_SIZE)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError as error:
            if _wants_more(error):
                return None
            raise

    def try_send(self, data: bytes | memoryview) -> int:
        """How many bytes went out, maybe 0. Raises OSError."""
        try:
            return self.sock.send(data)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError as error:
            if _wants_more(error):
                return 0
            raise

    def flush(self, more: bytes = b"") -> bool:
        """Send what is left over, then `more`, as far as it goes. Returns whether all is out. Raises OSError."""
        unsent = self.unsent
        if not unsent:
            try:
                sent = self.try_send(more) if more else 0
            except OSError:
                unsent.append(memoryview(more))
                raise
            if sent == len(more):
                return True
            unsent.append(memoryview(more)[sent:])
        elif more:
            unsent.append(memoryview(more))
        while unsent:
            sent = self.try_send(unsent[0])
            if sent == 0:
                return False
            if sent == len(unsent[0]):
                unsent.popleft()
            else:
                unsent[0] = unsent[0][sent:]
        return True

    @property
    def unsent_bytes(self) -> int:
        """How much the system has not taken yet."""
        return sum(map(len, self.unsent))

    def close(self) -> None:
        """Close the socket, whatever is still to be sent."""
        with contextlib.suppress(OSError):
            self.sock.close()


class PlainStream(Stream):
    """A plain TCP or Unix socket on Linux.

    It stays in blocking mode, its receive time-out kept by the kernel, so that a blocking read is one system call; what
    must not block says so with a flag.
    """

    __slots__ = ("patience",)

    is_plain = True

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        sock.setblocking(True)
        self.patience = 0.0

    @property
    def has_buffered(self) -> bool:
        return False

    def set_patience(self, seconds: float) -> None:
        """Let a blocking read raise BlockingIOError after `seconds`."""
        whole = int(seconds)
        value = struct.pack("@ll", whole, max(1, int((seconds - whole) * 1e6)))
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, value)
        self.patience = seconds

    def try_recv(self) -> bytes | None:
        try:
            return self.sock.recv(READ_SIZE, DONTWAIT)
        except (BlockingIOError, InterruptedError):
            return None

    def try_send(self, data: bytes | memoryview) -> int:
        try:
            return self.sock.send(data, DONTWAIT)
        except (BlockingIOError, InterruptedError):
            return 0


def _wants_more(error: OSError) -> bool:
    return type(error).__name__ in ("SSLWantReadError", "SSLWantWriteError")


def wrap(sock: socket.socket) -> Stream:
    """The best stream for a connected socket without TLS."""
    return PlainStream(sock) if IS_PLAIN else Stream(sock)


class Poller:
    """Waits for several descriptors by `select.select`; the portable one."""

    def __init__(self) -> None:
        self._wanted: dict[int, int] = {}

    def watch(self, fd: int, events: int) -> None:
        """Wait for READ or WRITE (or both) of `fd` from now on."""
        self._wanted[fd] = events

    def forget(self, fd: int) -> None:
        """Do not wait for `fd` any more."""
        self._wanted.pop(fd, None)

    def wait(self, seconds: float | None) -> list[tuple[int, int]]:
        """Descriptors that are ready, each with READ or WRITE or both; an error counts as READ.

        May return early with none: the system cannot wait for any number of seconds.
        """
        if seconds is not None:
            seconds = min(seconds, LONGEST_WAIT)
        readers = [fd for fd, events in self._wanted.items() if events & READ]
        writers = [fd for fd, events in self._wanted.items() if events & WRITE]
        readable, writable, broken = select.select(readers, writers, readers + writers, seconds)
        ready: dict[int, int] = {}
        for fd in [*readable, *broken]:
            ready[fd] = READ
        for fd in writable:
            ready[fd] = ready.get(fd, 0) | WRITE
        return list(ready.items())


class PollPoller(Poller):
    """The same by `poll`."""

    def __init__(self) -> None:
        super().__init__()
        self._poll = select.poll()

    def watch(self, fd: int, events: int) -> None:
        mask = (select.POLLIN if events & READ else 0) | (select.POLLOUT if events & WRITE else 0)
        self._poll.register(fd, mask)

    def forget(self, fd: int) -> None:
        with contextlib.suppress(KeyError, ValueError):  # ValueError: closed after a fork
            self._poll.unregister(fd)

    def wait(self, seconds: float | None) -> list[tuple[int, int]]:
        ready = self._poll.poll(None if seconds is None else -int(-min(seconds, LONGEST_WAIT) * 1000 // 1))
        return [
            (fd, (WRITE if mask & select.POLLOUT else 0) | (READ if mask & ~select.POLLOUT else 0))
            for fd, mask in ready
        ]


def make_poller() -> Poller:
    """The best poller of this system."""
    return PollPoller() if hasattr(select, "poll") else Poller()


class WakePipe:
    """Ends a wait from another thread or a signal handler."""

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)

    def fileno(self) -> int:
        """The descriptor to wait for."""
        return self._reader.fileno()

    def wake(self) -> None:
        """End the wait. Never blocks; once is enough however often it is called."""
        with contextlib.suppress(OSError):
            self._writer.send(b"\0")

    def hear_signals(self) -> bool:
        """Let every signal end the wait: by itself one that comes just before the wait does not, and its handler waits.

        Returns whether that was possible: in the main thread only, and not if somebody else hears them already.
        """
        if threading.current_thread() is not threading.main_thread():
            return False
        try:
            other = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        except ValueError:  # not the main interpreter
            return False
        if other != -1:
            signal.set_wakeup_fd(other)
        return other == -1

    def drain(self) -> None:
        """Forget the calls of `wake` so far."""
        with contextlib.suppress(OSError):
            while self._reader.recv(4096):
                pass

    def close(self) -> None:
        """Close both ends."""
        self._reader.close()
        self._writer.close()

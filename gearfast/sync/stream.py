# SPDX-License-Identifier: BSD-3-Clause
"""Blocking connections: how one is made, how bytes go in and out, and how several are waited for."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import socket
import struct
import sys
import threading
from collections import deque
from collections.abc import Generator
from math import inf
from operator import itemgetter
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from gearfast.frontend.sockets import alternate, tune
from gearfast.session.routing import ServerAddress

if TYPE_CHECKING:
    from ssl import SSLContext

__all__ = ["Dialer", "PlainStream", "Poller", "Stream", "WakePipe", "connect", "make_poller"]

K = TypeVar("K")
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


class Connector:
    """A connection to a job server while it is made. Nothing blocks but the look-up of a host's name.

    `timeout`: seconds for all of it; of those that are left, each address of a name gets its share. `context`: TLS with
    it; for `gearmans://` without one, the system's defaults. A Unix socket needs no TLS.
    """

    def __init__(self, address: ServerAddress, timeout: float | None, context: SSLContext | None) -> None:
        self.events = WRITE
        self.give_up_at = inf
        self._address = address
        self._deadline = inf if timeout is None else monotonic() + timeout
        self._context = context
        self._sock: socket.socket | None = None
        self._steps = self._make()

    def fileno(self) -> int:
        """The descriptor to wait for; it may be another one after each `advance`."""
        return -1 if self._sock is None else self._sock.fileno()

    def advance(self) -> Stream | None:
        """Go on as far as it goes; again when `fileno` is ready for `events`, or at `give_up_at`. Raises OSError."""
        try:
            if monotonic() < self.give_up_at:
                self.events = next(self._steps)
            else:
                self.events = self._steps.throw(TimeoutError("timed out"))
        except StopIteration as end:
            stream: Stream = end.value
            return stream
        return None

    def close(self) -> None:
        """Give it up."""
        self._steps.close()
        if self._sock is not None:
            self._sock.close()

    def _make(self) -> Generator[int, None, Stream]:
        if self._address.memory:
            from gearfast.frontend import memory

            stream: Stream = memory.find(self._address.memory).open_stream()
            return stream
        places = _look_up(self._address)
        while places:
            family, where = places.pop(0)
            now = monotonic()
            self.give_up_at = now + (self._deadline - now) / (len(places) + 1)
            self._sock = sock = socket.socket(family, socket.SOCK_STREAM)
            try:
                sock.setblocking(False)
                code = sock.connect_ex(where)
                if code in (errno.EINPROGRESS, errno.EWOULDBLOCK) and not self._address.path:
                    yield WRITE
                    code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if code:
                    raise OSError(code, os.strerror(code))
                break
            except BaseException as error:
                sock.close()
                if not places or not isinstance(error, OSError):
                    raise
        try:
            if self._address.path:
                return _wrap(sock)
            tune(sock)
            if self._context is None and not self._address.tls:
                return _wrap(sock)
            self.give_up_at = self._deadline
            return Stream((yield from self._shake_hands(sock)))
        except BaseException:
            if self._sock is not None:  # the same descriptor, as TLS or not yet
                self._sock.close()
            raise

    def _shake_hands(self, sock: socket.socket) -> Generator[int, None, socket.socket]:
        import ssl

        context = self._context or ssl.create_default_context()
        try:
            secure = context.wrap_socket(sock, server_hostname=self._address.host, do_handshake_on_connect=False)
        except ValueError as error:
            raise OSError(str(error)) from error
        self._sock = secure
        while True:
            try:
                secure.do_handshake()
                return secure
            except ssl.SSLWantReadError:
                yield READ
            except ssl.SSLWantWriteError:
                yield WRITE


def _look_up(address: ServerAddress) -> list[tuple[int, Any]]:
    """Families and socket addresses of a server, at least one. Raises OSError."""
    if address.path:
        return [(socket.AF_UNIX, address.path)]
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except ValueError as error:  # UnicodeError, or a NUL
        raise OSError(f"{address.host[:80]!r} is no name of a host") from error
    return alternate([(family, where) for family, _, _, _, where in found], itemgetter(0))


def connect(address: ServerAddress, timeout: float | None, context: SSLContext | None) -> Stream:
    """Connect to a job server and wait for it. Arguments as for `Connector`. Raises OSError (TimeoutError included)."""
    connector = Connector(address, timeout, context)
    poller = make_poller()
    try:
        while (stream := connector.advance()) is None:
            fd = connector.fileno()
            poller.watch(fd, connector.events)
            poller.wait(max(0.0, connector.give_up_at - monotonic()))
            poller.forget(fd)
    except BaseException:
        connector.close()
        raise
    return stream


class Dialer(Generic[K]):
    """Connections that are being made, watched by the poller of the one who wants them. `K`: what tells them apart."""

    def __init__(self, poller: Poller, context: SSLContext | None) -> None:
        self._poller = poller
        self._context = context
        self._under_way: dict[int, tuple[K, Connector]] = {}

    def start(self, key: K, address: ServerAddress, timeout: float | None) -> Stream | OSError | None:
        """Begin; returns what became of it if that is known at once."""
        return self._advance(key, Connector(address, timeout, self._context))

    @property
    def wake_at(self) -> float:
        """When `take` is due even if nothing is ready."""
        return min((connector.give_up_at for _, connector in self._under_way.values()), default=inf)

    def take(self, ready: list[tuple[int, int]]) -> list[tuple[K, Stream | OSError]]:
        """What became of connections, of those at least that are ready or took too long."""
        if not self._under_way:
            return []
        now = monotonic()
        fds = {fd for fd, _ in ready if fd in self._under_way}
        fds.update(fd for fd, (_, connector) in self._under_way.items() if connector.give_up_at <= now)
        ended = []
        for fd in fds:
            key, connector = self._under_way.pop(fd)
            self._poller.forget(fd)
            outcome = self._advance(key, connector)
            if outcome is not None:
                ended.append((key, outcome))
        return ended

    def close(self, *, forked: bool = False) -> None:
        """Give up all of them. `forked`: the poller's other half is the parent's."""
        while self._under_way:
            fd, (_, connector) = self._under_way.popitem()
            if not forked:
                self._poller.forget(fd)
            connector.close()

    def _advance(self, key: K, connector: Connector) -> Stream | OSError | None:
        try:
            stream = connector.advance()
        except OSError as error:
            return error
        if stream is None:
            self._under_way[connector.fileno()] = (key, connector)
            self._poller.watch(connector.fileno(), connector.events)
        return stream


def _wrap(sock: socket.socket) -> Stream:
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

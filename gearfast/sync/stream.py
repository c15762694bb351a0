# SPDX-License-Identifier: BSD-3-Clause
"""Blocking connections: how one is made, how bytes go in and out, and how several are waited for.

`Pump` carries the bytes of one `ClientHub`; whoever calls it does the waiting, in his own thread.
"""

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
from contextlib import AbstractContextManager
from math import inf
from operator import itemgetter
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from gearfast.errors import ConnectionLost, ProtocolError
from gearfast.frontend.sockets import FORKED, alternate, jitter, reason_of, tune
from gearfast.session.routing import ServerAddress

if TYPE_CHECKING:  # a worker needs no client's half
    from ssl import SSLContext

    from gearfast.session.hub import ClientHub, Link
    from gearfast.session.requests import JobRequest, Request

__all__ = ["Dialer", "PlainStream", "Poller", "Pump", "Stream", "WakePipe", "connect", "make_poller"]

K = TypeVar("K")
READ: Final = 1
WRITE: Final = 2
READ_SIZE: Final = 65536
PATIENCE: Final = 1.0
"""Seconds after which the short way of waiting gives up and the long one, which can do everything, goes on."""
SLOW: Final = 0.005
"""Seconds that a job may take before its exact deadline counts."""
CATCH_UP: Final = 0.02
"""Seconds that may be spent on what came in time, before a deadline that has passed is acted on."""
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
            sent = self.try_send(more) if more else 0
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


class Pump:
    """Carries one hub's bytes over its connections. Not thread-safe but for what `lock` guards.

    `lock`: held while the hub is touched, never while waiting, connecting or telling waiters.
    """

    def __init__(
        self,
        hub: ClientHub,
        *,
        context: SSLContext | None = None,
        lock: AbstractContextManager[object] | None = None,
    ) -> None:
        self.hub = hub
        self.poller = make_poller()
        self.idle_since = 0.0
        self.is_parents = False
        self._dialer: Dialer[Link] = Dialer(self.poller, context)
        self._lock: AbstractContextManager[object] = lock or contextlib.nullcontext()
        self.sleeps_until = 0.0
        self._links: dict[int, Link] = {}

    def run(self, job: JobRequest, now: float) -> None:
        """Submit one job and wait until it is done, or overdue.

        This is the short way, for a connection that is up and a job that is quick: one send, and reads that block.
        Everything else (connecting, large workloads, slow jobs, losses, time-outs) goes on in `drive`.
        """
        hub = self.hub
        link = hub.submit(job, now)
        session = link.session
        if session is not None and link.io.is_plain and not hub.trials:
            stream: PlainStream = link.io
            limit = job.reply_by
            patience = PATIENCE if limit is None or limit - now > PATIENCE else limit - now
            if stream.patience != patience:
                stream.set_patience(patience)
            try:
                if stream.flush(session.take_output()):
                    recv = stream.sock.recv
                    while True:
                        data = recv(READ_SIZE)
                        if not data:
                            self.lost(link)
                            break
                        session.receive(data)
                        if job.done:
                            break
                        if monotonic() - now > SLOW:
                            break
            except BlockingIOError:
                pass
            except (OSError, ProtocolError) as error:
                self.lost(link, error)
        if job.error is not None:
            self._retry()
        hub.news.clear()
        if not job.done:
            hub.watch(job)
            self.drive(job)

    def drive(self, request: Request) -> None:
        """Wait until a request is done; overdue ones end by the hub's clock."""
        while not request.done:
            self.step()
            self.hub.news.clear()

    def refresh(self) -> None:
        """Take in what happened while nobody was looking: the server may have closed the connection."""
        self._take(self.poller.wait(0.0))
        self._tick(monotonic())
        self.hub.news.clear()

    def step(self, longest: float = inf) -> None:
        """One round: connect, send, wait (at most `longest` seconds) for the next thing to happen, take it in."""
        hub = self.hub
        if self.is_parents:  # an iterator of the parent's goes on in the child
            raise ConnectionLost(FORKED)
        with self._lock:
            now = monotonic()
            if hub.is_overdue(now):
                self._catch_up(now)
            due = hub.take_connects(now)
        for link in due:
            self._connected(link, self._dialer.start(link, link.address, hub.patience(link, now)))
        with self._lock:
            self._tick(monotonic())
            self.flush()
            self._retry()
            # Once more: a send that fails puts its connection on the list of those to be made, which must not wait.
            deadline = hub.tick(monotonic())
            seconds: float
            if hub.news or any(stream.has_buffered for stream in self._streams()):
                seconds = 0.0
            else:
                until = min(self._dialer.wake_at, inf if deadline is None else deadline)
                seconds = min(longest, max(0.0, until - monotonic()))
            self.sleeps_until = deadline if deadline is not None else inf
        ready = self.poller.wait(None if seconds == inf else seconds)
        for link, outcome in self._dialer.take(ready):
            self._connected(link, outcome)
        with self._lock:
            self._take(ready)
            self._retry()

    def _retry(self) -> None:
        """Keep it from everybody that a job failed which is to be tried again. The lock is held all the while."""
        if self.hub.retries and self.hub.news:
            self.hub.retry_failed(monotonic(), jitter())

    def _tick(self, now: float) -> None:
        """End what is overdue, and connections whose servers are not there any more."""
        self.hub.tick(now)
        for link in self.hub.take_dead():
            if link.io is not None and link.io.unsent_bytes:
                self.hub.spare(link, now)
            elif link.io is not None:
                self.lost(link, OSError("it does not answer"))

    def flush(self) -> None:
        """Send what the sessions have for their servers, as far as it goes without blocking."""
        for link in self.hub.links:
            session = link.session
            if session is not None and (session.has_output or link.io.unsent):
                self.flush_link(link)

    def flush_link(self, link: Link) -> bool:
        """The same for one connection. Returns whether all of its output is out."""
        stream = link.io
        assert link.session is not None
        try:
            done: bool = stream.flush(link.session.take_output())
        except OSError as error:
            self._read_rest(link)
            self.lost(link, error)
            return True
        events = READ if done else READ | WRITE
        if stream.events != events:
            stream.events = events
            self.poller.watch(stream.fileno(), events)
        return done

    def lost(self, link: Link, error: OSError | ProtocolError | None = None) -> None:
        """Drop a connection, which ended with an error or was closed by the server, and tell the hub."""
        self._drop(link)
        reason = reason_of(error) if error is not None else "closed by the server"
        repeat = not isinstance(error, ProtocolError)
        self.hub.lost(link, monotonic(), jitter(), reason, repeat=repeat)

    def close(self) -> None:
        """Close all connections; what is awaited fails."""
        self._dialer.close()
        for link in list(self.hub.links):
            self._drop(link)
        self.hub.close()

    def forked(self) -> None:
        """In a forked child: close the descriptors; the connections stay the parent's, and so do its jobs."""
        self._dialer.close(forked=True)
        for link in self.hub.links:
            stream, link.io = link.io, None
            if stream is not None:
                stream.close()
        self._links.clear()
        self.is_parents = True
        self.hub.close(FORKED)

    def _drop(self, link: Link) -> None:
        stream, link.io = link.io, None
        if stream is not None:
            self._links.pop(stream.fileno(), None)
            self.poller.forget(stream.fileno())
            stream.close()

    def _streams(self) -> list[Stream]:
        return [link.io for link in self.hub.links if link.io is not None]

    def _connected(self, link: Link, stream: Stream | OSError | None) -> None:
        if stream is None:
            return
        if isinstance(stream, OSError):
            with self._lock:
                self.hub.failed(link, monotonic(), jitter(), reason_of(stream))
                self._retry()
            return
        with self._lock:
            link.io = stream
            stream.events = READ
            self._links[stream.fileno()] = link
            self.poller.watch(stream.fileno(), READ)
            self.hub.connected(link, monotonic())

    def _take(self, ready: list[tuple[int, int]]) -> None:
        for fd, events in ready:
            link = self._links.get(fd)
            if link is not None:
                if events & READ:
                    self._read(link)
                if events & WRITE and link.session is not None:
                    self.flush_link(link)
        for stream in self._streams():
            if stream.has_buffered and self._links.get(stream.fileno()) is not None:
                self._read(self._links[stream.fileno()])

    def _catch_up(self, now: float) -> None:
        """Take in what is here already before something is called overdue: a caller may come back late."""
        while monotonic() < now + CATCH_UP:
            ready = [(fd, READ) for fd, events in self.poller.wait(0.0) if events & READ and fd in self._links]
            if not ready:
                return
            self._take(ready)

    def _read_rest(self, link: Link) -> None:
        """Sending failed, but the server may have sent results before it went."""
        with contextlib.suppress(OSError, ProtocolError):
            while data := link.io.try_recv():
                self.hub.receive(link, data, monotonic())

    def _read(self, link: Link) -> None:
        try:
            data = link.io.try_recv()
            if data is None:
                return
            if not data:
                self.lost(link)
                return
            self.hub.receive(link, data, monotonic())
        except (OSError, ProtocolError) as error:
            self.lost(link, error)

# SPDX-License-Identifier: BSD-3-Clause
"""How blocking connections are made: the addresses of a name race, then comes TLS. Several at once, in one poller."""

from __future__ import annotations

import errno
import os
import socket
from collections import deque
from collections.abc import Set as AbstractSet
from math import inf
from operator import itemgetter
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, TypeVar

from gearfast.frontend.sockets import all_failed, alternate, head_start, tune
from gearfast.session.routing import ServerAddress
from gearfast.sync.stream import READ, WRITE, Poller, Stream, make_poller, wrap

if TYPE_CHECKING:
    from ssl import SSLContext, SSLSocket

__all__ = ["Connector", "Dialer", "connect"]

K = TypeVar("K")
PENDING: Final = (errno.EINPROGRESS, errno.EWOULDBLOCK)


class Place(NamedTuple):
    """One address of a name, as the socket module has it."""

    family: int
    where: Any


class Race:
    """Attempts at the addresses of a name, of which the first that connects wins and ends the others (RFC 8305).

    Each begins a quarter of a second after the one before, sooner if there is little time, at once if that has failed.
    """

    def __init__(self, places: list[Place], deadline: float) -> None:
        self._waiting = deque(places)
        self._deadline = deadline
        self._next_at = -inf
        self._latest = -1
        self._under_way: dict[int, tuple[socket.socket, Place]] = {}
        self._failures: list[tuple[str, OSError]] = []

    @property
    def fds(self) -> AbstractSet[int]:
        """The descriptors to wait for until they can be written to."""
        return self._under_way.keys()

    @property
    def wake_at(self) -> float:
        """When `advance` is due even if none is ready."""
        return min(self._deadline, self._next_at) if self._waiting else self._deadline

    def advance(self, ready: AbstractSet[int]) -> socket.socket | None:
        """The winner, if there is one: the others are closed. Raises OSError when all have failed or time is over."""
        for fd in [fd for fd in self._under_way if fd in ready]:
            sock, place = self._under_way.pop(fd)
            if self._stands(sock, place, sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)):
                self.close()
                return sock
        while self._waiting and (self._latest not in self._under_way or monotonic() >= self._next_at):
            if (first := self._begin(self._waiting.popleft())) is not None:
                self.close()
                return first
        if self._under_way and monotonic() >= self._deadline:
            self._failures += [
                (str(place.where[0]), TimeoutError("timed out")) for _, place in self._under_way.values()
            ]
            self.close()
        if not self._under_way:
            raise all_failed(self._failures)
        return None

    def close(self) -> None:
        """Close all that are under way."""
        while self._under_way:
            self._under_way.popitem()[1][0].close()

    def _begin(self, place: Place) -> socket.socket | None:
        """Returns the socket only if it is connected at once."""
        now = monotonic()
        self._next_at = now + head_start(self._deadline - now, len(self._waiting))
        try:
            sock = socket.socket(place.family, socket.SOCK_STREAM)
        except OSError as error:  # a family that this system does not have, or no descriptor left
            self._failures.append((str(place.where[0]), error))
            return None
        try:
            sock.setblocking(False)
            code = sock.connect_ex(place.where)
        except BaseException as error:
            sock.close()
            if not isinstance(error, OSError):
                raise
            self._failures.append((str(place.where[0]), error))
            return None
        if code in PENDING:
            self._latest = sock.fileno()
            self._under_way[self._latest] = (sock, place)
            return None
        return sock if self._stands(sock, place, code) else None

    def _stands(self, sock: socket.socket, place: Place, code: int) -> bool:
        if code:
            sock.close()
            self._failures.append((str(place.where[0]), OSError(code, os.strerror(code))))
        return not code


class Connector:
    """A connection to a job server while it is made. Nothing blocks but the look-up of a host's name.

    `timeout`: seconds for all of it. `context`: TLS with it; for `gearmans://` without one, the system's defaults. A
    Unix socket needs no TLS.
    """

    def __init__(self, address: ServerAddress, timeout: float | None, context: SSLContext | None) -> None:
        self._address = address
        self._deadline = inf if timeout is None else monotonic() + timeout
        self._context = context
        self._race: Race | None = None
        self._secure: SSLSocket | None = None
        self._secure_wants = WRITE

    @property
    def wanted(self) -> dict[int, int]:
        """The descriptors to wait for, each with READ or WRITE; they may be others after each `advance`."""
        if self._secure is not None:
            return {self._secure.fileno(): self._secure_wants}
        return {} if self._race is None else dict.fromkeys(self._race.fds, WRITE)

    @property
    def wake_at(self) -> float:
        """When `advance` is due even if nothing is ready."""
        return self._deadline if self._secure is not None or self._race is None else self._race.wake_at

    def advance(self, ready: AbstractSet[int] = frozenset()) -> Stream | None:
        """Go on as far as it goes; again when one of `wanted` is ready, or at `wake_at`.

        `ready`: those that are. Raises OSError; then all is closed.
        """
        try:
            if self._address.memory:
                from gearfast.frontend import memory

                stream: Stream = memory.find(self._address.memory).open_stream()
                return stream
            if self._address.path:
                return self._connect_unix()
            if self._secure is None:
                if self._race is None:
                    self._race = Race(_look_up(self._address), self._deadline)
                sock = self._race.advance(ready)
                if sock is None or (plain := self._dress(sock)) is not None:
                    return None if sock is None else plain
            elif monotonic() >= self._deadline:
                raise TimeoutError("timed out")
            return self._shake_hands()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Give it up."""
        if self._race is not None:
            self._race.close()
        if self._secure is not None:
            self._secure.close()

    def _connect_unix(self) -> Stream:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            sock.connect(self._address.path)
            return wrap(sock)
        except BaseException:
            sock.close()
            raise

    def _dress(self, sock: socket.socket) -> Stream | None:
        """A connected socket as a stream, or None if TLS comes first."""
        try:
            tune(sock)
            if self._context is None and not self._address.tls:
                return wrap(sock)
            import ssl

            context = self._context or ssl.create_default_context()
            name = self._address.host
            self._secure = context.wrap_socket(sock, server_hostname=name, do_handshake_on_connect=False)
        except BaseException as error:
            sock.close()
            if isinstance(error, ValueError) and not isinstance(error, OSError):
                raise OSError(str(error)) from error
            raise
        return None

    def _shake_hands(self) -> Stream | None:
        import ssl

        assert self._secure is not None
        try:
            self._secure.do_handshake()
        except ssl.SSLWantReadError:
            self._secure_wants = READ
        except ssl.SSLWantWriteError:
            self._secure_wants = WRITE
        else:
            return Stream(self._secure)
        return None


def _look_up(address: ServerAddress) -> list[Place]:
    """The addresses of a server's name, at least one. Raises OSError."""
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except ValueError as error:  # UnicodeError, or a NUL
        raise OSError(f"{address.host[:80]!r} is no name of a host") from error
    return alternate([Place(family, where) for family, _, _, _, where in found], itemgetter(0))


def connect(address: ServerAddress, timeout: float | None, context: SSLContext | None) -> Stream:
    """Connect to a job server and wait for it. Arguments as for `Connector`. Raises OSError (TimeoutError included)."""
    poller = make_poller()
    dialer: Dialer[None] = Dialer(poller, context)
    try:
        outcome = dialer.start(None, address, timeout)
        while outcome is None:
            ready = poller.wait(max(0.0, dialer.wake_at - monotonic()))
            outcome = next((each for _, each in dialer.take(ready)), None)
    except BaseException:
        dialer.close()
        raise
    if isinstance(outcome, OSError):
        raise outcome
    return outcome


class Dialer(Generic[K]):
    """Connections that are being made, watched by the poller of the one who wants them. `K`: what tells them apart."""

    def __init__(self, poller: Poller, context: SSLContext | None) -> None:
        self._poller = poller
        self._context = context
        self._under_way: dict[Connector, K] = {}

    def start(self, key: K, address: ServerAddress, timeout: float | None) -> Stream | OSError | None:
        """Begin; returns what became of it if that is known at once. Arguments as for `Connector`."""
        return self._advance(key, Connector(address, timeout, self._context), frozenset())

    @property
    def wake_at(self) -> float:
        """When `take` is due even if nothing is ready."""
        return min((connector.wake_at for connector in self._under_way), default=inf)

    def take(self, ready: list[tuple[int, int]]) -> list[tuple[K, Stream | OSError]]:
        """What became of connections, of those at least that are ready or took too long."""
        if not self._under_way:
            return []
        now = monotonic()
        fds = {fd for fd, _ in ready}
        due = []
        for connector in self._under_way:  # before any goes on: a descriptor's number may then be another one's
            its_own = fds & connector.wanted.keys()
            if its_own or connector.wake_at <= now:
                due.append((connector, its_own))
        ended = []
        for connector, its_own in due:
            key = self._under_way.pop(connector)
            for fd in connector.wanted:
                self._poller.forget(fd)
            outcome = self._advance(key, connector, its_own)
            if outcome is not None:
                ended.append((key, outcome))
        return ended

    def close(self, *, forked: bool = False) -> None:
        """Give up all of them. `forked`: the poller's other half is the parent's."""
        while self._under_way:
            connector, _ = self._under_way.popitem()
            for fd in () if forked else connector.wanted:
                self._poller.forget(fd)
            connector.close()

    def _advance(self, key: K, connector: Connector, ready: AbstractSet[int]) -> Stream | OSError | None:
        try:
            stream = connector.advance(ready)
        except OSError as error:
            return error
        if stream is None:
            self._under_way[connector] = key
            for fd, events in connector.wanted.items():
                self._poller.watch(fd, events)
        return stream

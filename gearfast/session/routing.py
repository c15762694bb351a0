# SPDX-License-Identifier: BSD-3-Clause
"""Which job server: lists of addresses, rendezvous hashing by unique, and servers that are away for a while.

Also the name that a connection has there.

No I/O and no clock here: times are passed in (seconds of any monotonic clock), and so is the jitter.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from gearfast.errors import UsageError
from gearfast.protocol import DEFAULT_PORT
from gearfast.session.retry import Backoff

if TYPE_CHECKING:
    from hashlib import blake2b

__all__ = ["Router", "ServerAddress", "Servers", "make_id", "parse_server", "parse_servers", "retry_delay"]

Servers = str | Iterable[str]
"""What is accepted wherever servers are named: one text, with commas between several, or several texts."""

AWAY = Backoff(0.1, factor=2.0, max=30.0)


class ServerAddress(NamedTuple):
    """Where a job server listens: TCP (`host`, `port`), a Unix socket (`path`) or this process (`memory`, its name)."""

    host: str
    port: int
    path: str = ""
    tls: bool = False
    memory: str = ""

    @property
    def label(self) -> str:
        """`HOST:PORT` in lower case (IPv6 in brackets), `unix:PATH`, `memory:NAME`: in messages, and what is hashed."""
        if self.memory:
            return f"memory:{self.memory}"
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_servers(servers: Servers) -> tuple[ServerAddress, ...]:
    """The addresses of `gearman://h1:4730,h2`, `gearmans://…` (TLS), `unix:///path`, `host:port`, or several of those.

    `memory://NAME` is a `gearfast.testing.MemoryServer` of this process.
    A scheme holds for the parts behind it up to the next one; so does a port that is missing: it is 4730. An address
    that stands twice counts once. Raises UsageError for text that is no address, or if there is none at all.
    """
    texts = [servers] if isinstance(servers, str) else list(servers)
    found: list[ServerAddress] = []
    for text in texts:
        if not isinstance(text, str):
            raise UsageError(f"a server is named by text such as 'gearman://host:4730', not by {text!r}")
        scheme = "gearman"
        for part in text.split(","):
            part = part.strip()
            if not part:
                continue
            if "://" in part:
                scheme, _, part = part.partition("://")
            found.append(_parse(scheme.lower(), part, text))
    if not found:
        raise UsageError(f"no server in {servers!r}")
    return tuple(dict.fromkeys(found))


def parse_server(server: str) -> ServerAddress:
    """The address of exactly one server, as for `parse_servers`. Raises UsageError."""
    found = parse_servers(server)
    if len(found) != 1:
        raise UsageError(f"one server is expected, not {len(found)}: {server!r}")
    return found[0]


def _parse(scheme: str, rest: str, whole: str) -> ServerAddress:
    if scheme == "unix" or rest.startswith("/"):
        if not rest.startswith("/"):
            raise UsageError(f"{whole!r}: a Unix socket is written unix:///path")
        from urllib.parse import unquote

        return ServerAddress("", 0, unquote(rest))
    rest = rest.removesuffix("/")
    if scheme == "memory":
        if not rest or any(mark in rest for mark in "/@?#: "):
            raise UsageError(f"{whole!r}: a server in memory is written memory://NAME")
        return ServerAddress("", 0, memory=rest)
    if scheme not in ("gearman", "gearmans"):
        raise UsageError(f"{whole!r}: the scheme is gearman, gearmans or unix, not {scheme!r}")
    host, port = rest, ""
    if rest.startswith("["):
        host, bracket, tail = rest[1:].partition("]")
        if not bracket or (tail and not tail.startswith(":")):
            raise UsageError(f"{whole!r}: an IPv6 address with a port is written [ADDRESS]:PORT")
        port = tail[1:]
    elif rest.count(":") == 1:
        host, _, port = rest.partition(":")
    if not host or any(mark in host for mark in "/@?# "):
        raise UsageError(f"{whole!r}: {rest!r} is no HOST or HOST:PORT")
    # Names are the same in any case, and shall hash the same; the zone of an IPv6 address is not.
    name, percent, zone = host.partition("%")
    host = name.lower() + percent + zone
    return ServerAddress(host, _port(port, whole) if port else DEFAULT_PORT, "", scheme == "gearmans")


def _port(text: str, whole: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) <= 65535):
        raise UsageError(f"{whole!r}: {text!r} is no port")
    return int(text)


def retry_delay(failures: int, jitter: float) -> float:
    """Seconds to leave a server alone after its n-th failure in a row (n from 1): 0.1, doubled up to 30.

    `jitter` from [0, 1) spreads that over its upper half, so that a fleet does not come back in step.
    """
    return AWAY.delay(failures, jitter)


class Router:
    """The servers of a client in the order of preference for a unique, and which of them are away.

    The order comes from rendezvous hashing: each server's label is hashed with the unique, the highest hash wins. So
    all clients with the same list agree on the server of a unique, and a server that goes away moves only its own.
    `backoff`: how long a server that failed is left alone.
    """

    __slots__ = ("_states", "backoff", "down_until", "failures", "reasons", "servers")

    def __init__(self, servers: tuple[ServerAddress, ...], backoff: Backoff = AWAY) -> None:
        self.servers = servers
        self.backoff = backoff
        self.failures = [0] * len(servers)
        self.down_until = [0.0] * len(servers)
        self.reasons = [""] * len(servers)
        self._states: list[blake2b] = []

    def rank(self, unique: bytes) -> list[int]:
        """Indices of all servers, the one that `unique` belongs to first, whether they are up or not."""
        if len(self.servers) == 1:
            return [0]
        if not self._states:
            from hashlib import blake2b

            self._states = [blake2b(server.label.encode(), digest_size=8) for server in self.servers]
        scores = []
        for index, state in enumerate(self._states):
            hashed = state.copy()
            hashed.update(b"\0" + unique)
            scores.append((hashed.digest(), index))
        scores.sort(reverse=True)
        return [index for _, index in scores]

    def order(self, unique: bytes, now: float) -> list[int]:
        """As `rank`, but servers that are away come last, the one that may be tried again first leading them."""
        ranked = self.rank(unique)
        if any(self.failures):
            ranked.sort(key=lambda index: self.down_until[index] if self.down_until[index] > now else 0.0)
        return ranked

    def down(self, index: int, now: float, jitter: float, reason: str) -> float:
        """Server `index` failed. Returns when it should be tried again (seconds of the clock of `now`)."""
        self.failures[index] += 1
        self.reasons[index] = reason
        self.down_until[index] = now + self.backoff.delay(self.failures[index], jitter)
        return self.down_until[index]

    def up(self, index: int) -> None:
        """Server `index` answers again."""
        self.failures[index] = 0
        self.down_until[index] = 0.0
        self.reasons[index] = ""


def make_id(id: str | None) -> bytes:
    """A connection's name as bytes. Raises UsageError for one that lists of workers could not show."""
    if id is None:
        return b""
    if not id.isascii() or not id.isprintable() or " " in id or not 0 < len(id) <= 127:
        raise UsageError(f"id is 1 to 127 printable ASCII characters without spaces, not {id!r}")
    return id.encode()

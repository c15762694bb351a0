# SPDX-License-Identifier: BSD-3-Clause
"""Listening sockets: from the text of an address to a bound, listening socket with its options set.

Options that matter for a connection are set on its listening socket: accepted sockets inherit them, so that accepting
costs no further system call.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote, urlsplit

from gearfast.server.config import ConfigError, ServerConfig

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Endpoint", "Listener", "bind", "bind_all", "endpoints", "keepalive", "parse_endpoint", "set_options"]

TCP_RTO_MAX_MS = 44
"""Linux 6.15 and later, without a name in the socket module: the longest time between two retransmissions."""
_HAS_UNIX = hasattr(socket, "AF_UNIX")
_NO_SUCH_FAMILY = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, getattr(errno, "EPROTONOSUPPORT", errno.EAFNOSUPPORT))


class Endpoint(NamedTuple):
    """An address to listen on: TCP (`host`, `port`) or a Unix socket (`path` not empty)."""

    host: str
    port: int
    path: str = ""
    tls: bool = False

    def __str__(self) -> str:
        return self.path or _label(self.host, self.port)


@dataclass(slots=True, eq=False)
class Listener:
    """A listening socket. `label` is how log lines name it: `ADDRESS:PORT`, or the path of a Unix socket."""

    sock: socket.socket
    label: str
    host: str
    port: int
    path: str = ""
    tls: bool = False
    inode: int = -1

    def close(self) -> None:
        """Closes the socket; removes the file of a Unix socket unless another server has put its own there."""
        self.sock.close()
        inode, self.inode = self.inode, -1  # once: the number of a removed file may be used again
        if self.path:
            with contextlib.suppress(OSError):
                if os.stat(self.path).st_ino == inode:
                    os.unlink(self.path)

    @property
    def is_loopback(self) -> bool:
        """Only programs on this machine can connect."""
        return bool(self.path) or self.host == "::1" or self.host.startswith("127.")


def _label(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _port(text: str, whole: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= 65535):
        raise ConfigError(f"listen: {whole!r}: {text!r} is no port")
    return int(text)


def parse_endpoint(text: str, port: int, tls: bool) -> Endpoint:
    """The endpoint of `HOST`, `HOST:PORT`, `[IPV6]:PORT`, `*`, `gearman://…`, `gearmans://…`, `unix://PATH` or `/PATH`.

    `port` and `tls` hold for addresses that do not say it themselves. Raises ConfigError.
    """
    if text.startswith("/"):
        return Endpoint("", 0, text)
    rest = text
    if "://" in text:
        parts = urlsplit(text)
        if parts.scheme == "unix":
            if parts.netloc or not parts.path:
                raise ConfigError(f"listen: {text!r}: a Unix socket is written unix:///path")
            return Endpoint("", 0, unquote(parts.path))
        if parts.scheme not in ("gearman", "gearmans"):
            raise ConfigError(f"listen: {text!r}: the scheme is gearman, gearmans or unix")
        if parts.path.strip("/") or parts.query or parts.fragment or "@" in parts.netloc:
            raise ConfigError(f"listen: {text!r}: only a host and a port may follow the scheme")
        tls = parts.scheme == "gearmans"
        rest = parts.netloc
    if rest.startswith("["):
        host, bracket, tail = rest[1:].partition("]")
        if not bracket or (tail and not tail.startswith(":")):
            raise ConfigError(f"listen: {text!r}: an IPv6 address with a port is written [ADDRESS]:PORT")
        return Endpoint(host, _port(tail[1:], text) if tail else port, "", tls)
    if rest.count(":") == 1:
        host, _, number = rest.partition(":")
        return Endpoint(host or "*", _port(number, text), "", tls)
    if not rest or any(letter.isspace() for letter in rest):
        raise ConfigError(f"listen: {text!r} is no address")
    return Endpoint(rest, port, "", tls)


def endpoints(config: ServerConfig) -> list[Endpoint]:
    """All endpoints of the settings `listen`, `port`, `unix` and `tls_cert`. Raises ConfigError."""
    found = [parse_endpoint(text, config.port, config.tls_cert is not None) for text in config.listen]
    found += [Endpoint("", 0, path.removeprefix("unix://")) for path in config.unix]
    for endpoint in found:
        if endpoint.tls and config.tls_cert is None:
            raise ConfigError(f"listen: gearmans://{endpoint} needs tls_cert")
    return found


def bind_all(wanted: Iterable[Endpoint], config: ServerConfig) -> list[Listener]:
    """Listens on every endpoint, or on none: closes what it opened before it raises OSError."""
    bound: list[Listener] = []
    try:
        for endpoint in wanted:
            bound += bind(endpoint, config)
    except BaseException:
        for listener in bound:
            listener.close()
        raise
    return bound


def bind(endpoint: Endpoint, config: ServerConfig) -> list[Listener]:
    """Listens on an endpoint; a name may stand for several addresses. Raises OSError that names the endpoint."""
    try:
        if endpoint.path:
            return [_bind_unix(endpoint, config)]
        return _bind_tcp(endpoint, config)
    except OSError as error:
        reason = error.strerror or str(error)
        raise OSError(error.errno, f"cannot listen on {endpoint}: {reason}") from error


def _resolve(endpoint: Endpoint) -> list[tuple[socket.AddressFamily, str]]:
    if endpoint.host == "*":
        return [(socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")]
    found = socket.getaddrinfo(endpoint.host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    # IPv4 first, so that the first listener, which gives `host` and `port`, is the one that any client can use.
    found.sort(key=lambda entry: entry[0] != socket.AF_INET)
    return list(dict.fromkeys((entry[0], str(entry[4][0])) for entry in found))


def _bind_tcp(endpoint: Endpoint, config: ServerConfig) -> list[Listener]:
    addresses = _resolve(endpoint)
    attempts = 16 if endpoint.port == 0 and len(addresses) > 1 else 1
    for attempt in range(1, attempts + 1):
        # Several addresses share one port; a free one of the first may be taken on the second: then again.
        try:
            return _bind_addresses(addresses, endpoint, config)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or attempt == attempts:
                raise
    raise AssertionError("unreachable")


def _bind_addresses(
    addresses: list[tuple[socket.AddressFamily, str]], endpoint: Endpoint, config: ServerConfig
) -> list[Listener]:
    bound: list[Listener] = []
    failure: OSError | None = None
    port = endpoint.port
    for family, host in addresses:
        try:
            sock = _tcp_socket(family, host, port, config)
        except OSError as error:
            if error.errno in _NO_SUCH_FAMILY and len(addresses) > 1:
                failure = error
                continue
            for listener in bound:
                listener.close()
            raise
        port = sock.getsockname()[1]
        bound.append(Listener(sock, _label(host, port), host, port, tls=endpoint.tls))
    if not bound and failure is not None:
        raise failure
    return bound


def _tcp_socket(family: socket.AddressFamily, host: str, port: int, config: ServerConfig) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        if sys.platform == "win32":
            # SO_REUSEADDR there lets two servers share a port.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        set_options(sock, config)
        sock.bind((host, port))
        sock.listen(config.backlog)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def keepalive(config: ServerConfig) -> tuple[int, int, int]:
    """Idle time, interval (s) and count of TCP's keep-alive probes; 0 where the system's own value is to stay.

    What is not set follows from `dead_peer_limit`: the last probe is given up a tenth before the limit, and of the
    time up to then more than a half is spent on probes, so that a short outage ends no connection.
    """
    limit = config.dead_peer_limit
    idle, interval, count = config.keepalive_idle, config.keepalive_interval, config.keepalive_count
    if limit:
        idle = idle or min(max(1, int(0.4 * limit)), 32767)
        interval = interval or min(max(1, int(limit / 10)), 32767)
        # Who wants probes to begin later than the limit allows gets a usual number of them.
        count = count or (3 if idle > limit else min(max(1, int((0.9 * limit - idle) / interval)), 127))
    return idle, interval, count


def set_options(sock: socket.socket, config: ServerConfig) -> None:
    """TCP_NODELAY, keep-alive, TCP_USER_TIMEOUT and TCP_RTO_MAX_MS as configured, as far as the system has them."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    idle, interval, count = keepalive(config)
    wanted = (
        (("TCP_KEEPIDLE", "TCP_KEEPALIVE"), idle),
        (("TCP_KEEPINTVL",), interval),
        (("TCP_KEEPCNT",), count),
        (("TCP_USER_TIMEOUT",), int(config.user_timeout * 1000)),
    )
    for names, value in wanted:
        option = next((getattr(socket, name) for name in names if hasattr(socket, name)), None)
        if value and option is not None:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)
    if config.dead_peer_limit and sys.platform == "linux":
        # So that a peer which has not read for long is still asked often enough whether it lives.
        with contextlib.suppress(OSError):
            sock.setsockopt(
                socket.IPPROTO_TCP, TCP_RTO_MAX_MS, int(min(max(config.dead_peer_limit / 5, 1), 120) * 1000)
            )


def _bind_unix(endpoint: Endpoint, config: ServerConfig) -> Listener:
    if not _HAS_UNIX:
        raise OSError(errno.EAFNOSUPPORT, "this Python has no Unix sockets")
    path = os.path.abspath(endpoint.path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener = Listener(sock, path, "", 0, path=path)
    try:
        _bind_path(sock, path)
        listener.inode = os.stat(path).st_ino
        # Nobody can connect before listen(), so the mode is in force from the first connection on.
        os.chmod(path, config.unix_mode)
        sock.listen(config.backlog)
        sock.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener


def _bind_path(sock: socket.socket, path: str) -> None:
    try:
        sock.bind(path)
        return
    except OSError as error:
        if "too long" in str(error):
            raise OSError(errno.ENAMETOOLONG, "the path is too long for a Unix socket") from None
        if error.errno != errno.EADDRINUSE:
            raise
    _remove_stale(path)
    sock.bind(path)


def _remove_stale(path: str) -> None:
    """Removes the socket file of a server that is gone; raises OSError if it is not a socket or somebody answers."""
    if not stat.S_ISSOCK(os.stat(path).st_mode):
        raise OSError(errno.EEXIST, "the file exists and is not a socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except (BlockingIOError, TimeoutError):
            pass  # somebody has it, who only does not accept
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))

# SPDX-License-Identifier: BSD-3-Clause
"""`Server`: gear's job server for tests, to be subclassed; its sockets, threads and text protocol."""

from __future__ import annotations

import contextlib
import importlib
import os
import select
import socket
import ssl
import threading
import time
from typing import Any

from gearfast.compat.gear import constants
from gearfast.compat.gear._connection import ServerConnection, peers_context, set_keepalive
from gearfast.compat.gear._errors import DisconnectError, RetryIOError
from gearfast.compat.gear._packet import Packet
from gearfast.compat.gear._poll import BROKEN, READ, WRITE, Poller
from gearfast.compat.gear._queue import JobQueue
from gearfast.compat.gear._text import TextCommands

try:
    statsd: Any = importlib.import_module("statsd")
except ImportError:
    statsd = None

HANDSHAKE_SECONDS = 10.0
"""Longest time for a TLS handshake of a client."""


class Server(TextCommands, JobQueue):
    """A job server in two threads of this process. It listens when the constructor returns, and until `shutdown`.

    `port` 0 takes a free one, which is then in `.port`. `host` None listens on all addresses, IPv4 and IPv6. TLS needs
    all three files, and every client a certificate of the same authority. `statsd_host` needs the package statsd.
    Raises Exception if the address is in use.
    """

    edge_bitmask = getattr(select, "EPOLLET", 1 << 31)
    error_bitmask = BROKEN | edge_bitmask
    read_bitmask = READ | error_bitmask
    readwrite_bitmask = WRITE | read_bitmask

    def __init__(
        self,
        port: int = 4730,
        ssl_key: Any = None,
        ssl_cert: Any = None,
        ssl_ca: Any = None,
        statsd_host: Any = None,
        statsd_port: int = 8125,
        statsd_prefix: Any = None,
        server_id: Any = None,
        acl: Any = None,
        host: Any = None,
        keepalive: bool = False,
        tcp_keepidle: int = 7200,
        tcp_keepintvl: int = 75,
        tcp_keepcnt: int = 9,
    ) -> None:
        self.port = port
        self.ssl_key = ssl_key
        self.ssl_cert = ssl_cert
        self.ssl_ca = ssl_ca
        self.use_ssl = all([ssl_key, ssl_cert, ssl_ca])
        self._context = peers_context(ssl.PROTOCOL_TLS_SERVER, ssl_key, ssl_cert, ssl_ca) if self.use_ssl else None
        self._keepalive = (tcp_keepidle, tcp_keepintvl, tcp_keepcnt) if keepalive else None
        self.connection_map: dict[int, Any] = {}
        self.socket = _listen(host, port)
        self.port = self.socket.getsockname()[1]
        self._acceptor = Poller()
        self._ready = threading.Event()  # the threads that super() starts wait until everything is there
        reports = statsd.StatsClient(statsd_host, statsd_port, statsd_prefix) if statsd_host and statsd else None
        super().__init__(server_id, acl)
        self.statsd = reports
        self.log = self._logger("Server")
        if statsd_host and not statsd:
            self.log.error("Unable to import statsd module")
        self._ready.set()

    # The connect thread: new connections.

    def _doConnectLoop(self) -> None:
        self._ready.wait()
        self._acceptor.register(self.socket.fileno())
        while self.running:
            try:
                self.connectLoop()
            except Exception:
                self.log.exception("Exception in connect loop:")
                time.sleep(0.1)

    def connectLoop(self) -> None:
        """Accepts connections, and shakes hands with those that speak TLS, until the server ends."""
        greeting: dict[int, tuple[Any, Any, float]] = {}
        try:
            while self.running:
                for fd, _ in self._acceptor.poll(1.0 if greeting else None):
                    if fd == self.socket.fileno():
                        self._accept(greeting)
                    elif fd in greeting:
                        self._greet(greeting, fd)
                for fd in [fd for fd, (_, _, end) in greeting.items() if end < time.monotonic()]:
                    self._dismiss(greeting, fd, "it does not shake hands")
        finally:
            for fd in list(greeting):
                self._dismiss(greeting, fd, "the server ends")

    def _accept(self, greeting: dict[int, tuple[Any, Any, float]]) -> None:
        try:
            sock, address = self.socket.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._keepalive is not None:
            set_keepalive(sock, *self._keepalive, self.log)
        if self._context is None:
            self._admit(address, sock)
            return
        sock = self._context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        greeting[sock.fileno()] = sock, address, time.monotonic() + HANDSHAKE_SECONDS
        self._acceptor.register(sock.fileno())

    def _greet(self, greeting: dict[int, tuple[Any, Any, float]], fd: int) -> None:
        sock, address, _ = greeting[fd]
        try:
            sock.do_handshake()
        except ssl.SSLWantReadError:
            return
        except ssl.SSLWantWriteError:
            self._acceptor.modify(fd, READ | WRITE)
            return
        except OSError as error:
            self._dismiss(greeting, fd, str(error))
            return
        self._acceptor.unregister(fd)
        del greeting[fd]
        self._admit(address, sock)

    def _dismiss(self, greeting: dict[int, tuple[Any, Any, float]], fd: int, why: str) -> None:
        sock, address, _ = greeting.pop(fd)
        self.log.info("No connection from %s: %s", address, why)
        self._acceptor.unregister(fd)
        sock.close()

    def _admit(self, address: Any, sock: Any) -> None:
        conn = ServerConnection(address, sock, self.use_ssl, self.client_id)
        conn.on_blocked = self._watch_output
        self.log.info("Accepted connection %s", conn)
        with self.connections_condition:
            self.active_connections.append(conn)
            self._registerConnection(conn)
            self.connections_condition.notify_all()
        if self.use_ssl:  # the handshake may have read the first packets along
            self._poller.modify(sock.fileno(), READ | WRITE)

    # The poll thread: packets.

    def _doPollLoop(self) -> None:
        self._ready.wait()
        while self.running:
            try:
                self._pollLoop()
            except Exception:
                self.log.exception("Exception in poll loop:")

    def _pollLoop(self) -> None:
        while self.running:
            for fd, event in self._poller.poll(self._run_timers()):
                conn = self.connection_map.get(fd)
                if conn is not None:
                    self._processPollEvent(conn, event)

    def _processPollEvent(self, conn: Any, event: int) -> None:
        """Whatever goes wrong with one connection, it is closed and the others are served."""
        try:
            if event & WRITE:
                self.writeToConnection(conn)
            self.readFromConnection(conn)
            if event & BROKEN or conn.broken:
                raise DisconnectError
        except (DisconnectError, ConnectionResetError, BrokenPipeError):
            self._lostConnection(conn)
        except Exception:
            self.log.exception("Exception reading or writing from %s:", conn)
            self._lostConnection(conn)

    def readFromConnection(self, conn: Any) -> None:
        """Handles all packets that a connection has sent. Raises DisconnectError at its end."""
        reader = conn._reader
        segment = conn._receive()
        if segment:
            reader.feed(segment)
        while (item := reader.next()) is not None:
            if isinstance(item, Packet):
                self.handlePacket(item)
            else:
                self.handleAdminRequest(item)
        if segment is not None and not segment:
            raise DisconnectError

    def writeToConnection(self, conn: Any) -> None:
        """Sends what could not be sent before."""
        with contextlib.suppress(RetryIOError):
            conn.sendQueuedData()
        if not conn.send_queue:
            self._poller.modify(conn.conn.fileno(), READ)
            if conn.send_queue:  # filled by another thread in between
                self._watch_output(conn)

    def _watch_output(self, conn: Any) -> None:
        with contextlib.suppress(KeyError, ValueError, OSError):  # it is closed
            self._poller.modify(conn.conn.fileno(), READ | WRITE)

    def _registerConnection(self, conn: Any) -> None:
        fd = conn.conn.fileno()
        self.connection_map[fd] = conn
        self._poller.register(fd)
        self._poller.changed()

    def _unregisterConnection(self, conn: Any) -> None:
        fd = conn.conn.fileno()
        if self.connection_map.get(fd) is conn:
            self._poller.unregister(fd)
            del self.connection_map[fd]

    def _lostConnection(self, conn: Any) -> None:
        """Closes a connection. Jobs that it worked on fail, jobs that it waited for are forgotten."""
        self.log.info("Marking %s as disconnected", conn)
        with self.connections_condition:
            self._unregisterConnection(conn)
            jobs = list(conn.related_jobs.values())
            if conn in self.active_connections:
                self.active_connections.remove(conn)
            self.connections_condition.notify_all()
        for job in jobs:
            self._removeJob(job)
            if job.worker_connection is conn:
                self._fail(job)
        conn.broken = True
        conn._hangup()
        with contextlib.suppress(OSError):
            conn.conn.close()
        self._updateStats()

    def reportTimingStats(self, ptype: int, duration: float) -> None:
        """Sends time and count of a packet to statsd as `packet.NAME`, if that is configured."""
        if self.statsd:
            key = f"packet.{constants.types.get(ptype, 'UNKNOWN')}"
            self.statsd.timing(key, int(duration * 1000))
            self.statsd.incr(key)

    # The end.

    def _shutdown(self) -> None:
        super()._shutdown()
        self._acceptor.wake()

    def _cleanup(self) -> None:
        super()._cleanup()
        self.socket.close()
        self._acceptor.close()


def _listen(host: Any, port: int) -> socket.socket:
    """A socket that listens, on IPv6 and IPv4 together if the system can. Raises Exception if there is none."""
    flags = socket.AI_PASSIVE | socket.AI_ADDRCONFIG
    try:
        addresses = socket.getaddrinfo(host, port, socket.AF_UNSPEC, socket.SOCK_STREAM, 0, flags)
    except OSError:
        addresses = []
    for family, kind, protocol, _, address in sorted(addresses, key=lambda found: found[0], reverse=True):
        try:
            sock = socket.socket(family, kind, protocol)
        except OSError:
            continue
        try:
            if os.name == "posix":
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6 and host is None:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            sock.bind(address)
            sock.listen(128)
            sock.setblocking(False)
        except OSError:
            sock.close()
            continue
        return sock
    raise Exception("Could not open socket")

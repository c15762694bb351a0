# SPDX-License-Identifier: BSD-3-Clause
"""Connections: of a client or worker, non-blocking ones, and those that a `Server` accepted.

The poll thread reads what is there and no more, so it is never stuck in a packet that does not go on. A client's plain
socket blocks for those who read from it by themselves; tests put objects in place of `socket.socket` that have no more
than connect, setblocking and recv, so anything else is asked of real sockets only.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import socket
import ssl
import threading
import time
import uuid as uuid_module
import warnings
from collections import deque
from typing import Any

from gearfast.compat.gear import constants
from gearfast.compat.gear._errors import ConnectionError, InvalidDataError, RetryIOError, TimeoutError
from gearfast.compat.gear._packet import AdminRequest, Packet, ServerAdminRequest, Task
from gearfast.compat.gear._poll import READ, WRITE, wait_for
from gearfast.compat.gear._reader import LINE_LIMIT, REPLY_LIMIT, Reader

CONNECT_SECONDS = 10.0
"""Longest time for one address of a server to take a connection, TLS handshake included."""
STALLED_SECONDS = 30.0
"""A peer that takes nothing off a full connection for so long is given up."""
MAX_UNSENT = 512 * 1024 * 1024
"""Bytes that may wait in a server for a peer that does not read; one with more is dropped."""
_CHUNK = 65536
_REAL = socket.socket
_DONT_WAIT: int = getattr(socket, "MSG_DONTWAIT", 0)
_AGAIN = (errno.EAGAIN, errno.EWOULDBLOCK)
_NOT_NOW = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


def best_tls_version() -> Any:
    """The constant for "whatever both sides can"."""
    return ssl.PROTOCOL_TLS


def create_ssl_context() -> ssl.SSLContext:
    """A context for either side that checks nothing until it is told to. New TLS versions are allowed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the separate constants cannot serve both sides
        context = ssl.SSLContext(best_tls_version())
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def peers_context(side: Any, key: Any, certificate: Any, authority: Any) -> ssl.SSLContext:
    """A context for one side that shows its certificate and demands one of the authority, whatever its host name."""
    context = ssl.SSLContext(side)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(certificate, key)
    context.load_verify_locations(authority)
    return context


def set_keepalive(sock: socket.socket, idle: int, interval: int, count: int, log: logging.Logger) -> None:
    """TCP keepalive with these seconds and number of probes, as far as the system knows them."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if not hasattr(socket, "TCP_KEEPIDLE"):
        log.warning("This system has no settings for keepalive; its own are used")
        return
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, idle)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, interval)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, count)


class Sharing:
    """Jobs of one connection that the server gave one handle, because their uniques are the same.

    Such a server sends every packet once for each of them, one behind the other, so they take turns.
    """

    def __init__(self) -> None:
        self._jobs: dict[bytes, deque[Any]] = {}

    def __contains__(self, handle: object) -> bool:
        return handle in self._jobs

    def __bool__(self) -> bool:
        return bool(self._jobs)

    def join(self, handle: bytes, first: Any, job: Any) -> None:
        """One more job has the handle that `first` has."""
        self._jobs.setdefault(handle, deque([first])).append(job)

    def turn(self, packet: Packet, handle: bytes) -> Any:
        """The job that a packet is for, which remembers it."""
        jobs = self._jobs[handle]
        job = packet.__dict__["_turn"] = jobs[0]
        jobs.rotate(-1)
        return job

    def all(self, handle: bytes) -> list[Any]:
        """All jobs with that handle, if there are several."""
        return list(self._jobs.get(handle, ()))

    def leave(self, handle: bytes, job: Any) -> Any:
        """The job is done; returns one that still has the handle, or None."""
        jobs = self._jobs[handle]
        with contextlib.suppress(ValueError):
            jobs.remove(job)
        last = jobs[-1] if jobs else None
        if len(jobs) < 2:
            del self._jobs[handle]
        return last


class Connection:
    """A connection to a job server, as `Client` and `Worker` keep them, or used alone.

    `state` ("INIT", "IDLE", "GRAB_WAIT", "SLEEP") is the worker's; `related_jobs` maps handles to jobs;
    `pending_tasks` and `admin_requests` wait for answers, in order; `options` are those that the server confirmed.
    """

    text_limit = REPLY_LIMIT

    def __init__(
        self,
        host: Any,
        port: Any,
        ssl_key: Any = None,
        ssl_cert: Any = None,
        ssl_ca: Any = None,
        client_id: Any = "unknown",
        keepalive: bool = False,
        tcp_keepidle: int = 7200,
        tcp_keepintvl: int = 75,
        tcp_keepcnt: int = 9,
    ) -> None:
        self.log = logging.getLogger(f"gear.Connection.{client_id!s}")
        self.host = host
        self.port = port
        self.ssl_key = ssl_key
        self.ssl_cert = ssl_cert
        self.ssl_ca = ssl_ca
        self.keepalive = keepalive
        self.tcp_keepidle = tcp_keepidle
        self.tcp_keepintvl = tcp_keepintvl
        self.tcp_keepcnt = tcp_keepcnt
        self.use_ssl = all([ssl_key, ssl_cert, ssl_ca])
        self.echo_lock = threading.Lock()
        self.send_lock = threading.Lock()
        self.send_order = threading.RLock()  # held from the entry of a request in pending_tasks until it is sent
        self._admin_lock = threading.Lock()
        self._opening: socket.socket | None = None
        self._context: ssl.SSLContext | None = None
        self._init()

    def _init(self) -> None:
        self.conn: Any = None
        self.connected = False
        self.connect_time: float | None = None
        self.related_jobs: dict[bytes, Any] = {}
        self.sharing = Sharing()
        self.pending_tasks: list[Task] = []
        self.admin_requests: list[AdminRequest] = []
        self.echo_conditions: dict[bytes, Task] = {}
        self.options: set[bytes] = set()
        self._reader = Reader(self)
        self.changeState("INIT")

    def __repr__(self) -> str:
        return f"<gear.Connection 0x{id(self):x} host: {self.host} port: {self.port}>"

    @property
    def input_buffer(self) -> bytes:
        """What was received and not read yet."""
        return self._reader.rest

    def changeState(self, state: str) -> None:
        """Sets `state`, and the time of the change."""
        self.log.debug("%s is in state %s", self, state)
        self.state = state
        self.state_time = time.time()

    # Opening and closing.

    def connect(self) -> None:
        """Opens the connection; raises ConnectionError if no address of the host takes it."""
        self.log.debug("Connecting to %s port %s", self.host, self.port)
        if self.use_ssl and self._context is None:
            self._context = peers_context(ssl.PROTOCOL_TLS_CLIENT, self.ssl_key, self.ssl_cert, self.ssl_ca)
        try:
            addresses = socket.getaddrinfo(self.host, self.port, socket.AF_UNSPEC, socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            addresses = []
        sock = None
        for family, kind, protocol, _, address in addresses:
            sock = self._open(family, kind, protocol, address)
            if sock is not None:
                break
        if sock is None:
            self.log.debug("No connection to %s port %s", self.host, self.port)
            raise ConnectionError("Unable to open socket")
        self.log.info("Connected to %s port %s", self.host, self.port)
        self._reader = Reader(self)
        self.conn = sock
        self.connected = True
        self.connect_time = time.time()

    def _open(self, family: Any, kind: Any, protocol: int, address: Any) -> Any:
        """A connected socket, or None."""
        sock: Any
        try:
            sock = self._opening = socket.socket(family, kind, protocol)
        except OSError:
            return None
        try:
            if not isinstance(sock, _REAL):
                sock.connect(address)
                return sock
            if self.keepalive:
                set_keepalive(sock, self.tcp_keepidle, self.tcp_keepintvl, self.tcp_keepcnt, self.log)
            sock.settimeout(CONNECT_SECONDS)
            sock.connect(address)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._context is not None:
                # Wrapping moves the descriptor, and whoever shuts down has to find it during the handshake.
                sock = self._opening = self._context.wrap_socket(
                    sock, server_hostname=str(self.host), do_handshake_on_connect=False
                )
                sock.do_handshake()
            sock.setblocking(self._context is None)  # OpenSSL knows no "only if you need not wait"
        except OSError as error:
            self.log.debug("No connection to %s: %s", address, error)
            sock.close()
            return None
        finally:
            self._opening = None
        return sock

    def _hangup(self) -> None:
        """Wakes whoever waits in this connection, or for it to open; it is of no use afterwards."""
        for sock in (self._opening, self.conn):
            if sock is not None:
                with contextlib.suppress(OSError):
                    socket.socket.shutdown(sock, socket.SHUT_RDWR)

    def _abandon(self) -> None:
        """Fails everything that waits for an answer of a connection that is lost."""
        waiting: list[Any] = [*self.pending_tasks, *self.echo_conditions.values()]
        for task in waiting:
            task.fail()
        for request in list(self.admin_requests):
            request.setComplete()

    def disconnect(self) -> None:
        """Closes the connection and forgets all state of it."""
        self._abandon()
        if self.conn is not None:
            with contextlib.suppress(OSError):
                self.conn.close()
        self.log.info("Disconnected from %s port %s", self.host, self.port)
        self._init()

    def reconnect(self) -> None:
        """`disconnect`, then `connect`."""
        self.disconnect()
        self.connect()

    # Sending.

    def sendRaw(self, data: Any) -> None:
        """Sends bytes; blocks until the system has taken them.

        Raises ConnectionError if it is not open or the peer takes nothing for 30 seconds, OSError if it is broken.
        """
        sock = self.conn
        if sock is None:
            raise ConnectionError(f"{self} is not connected")
        with self.send_lock:
            try:
                sent = self._send_now(sock, data)
            except _NOT_NOW:
                sent = 0
            if sent < len(data):
                self._send_rest(sock, memoryview(data)[sent:])

    def _send_now(self, sock: Any, data: Any) -> int:
        sent: int = sock.send(data) if self.use_ssl or not isinstance(sock, _REAL) else sock.send(data, _DONT_WAIT)
        return sent

    def _send_rest(self, sock: Any, rest: memoryview) -> None:
        while rest:
            wanted = WRITE
            try:
                rest = rest[self._send_now(sock, rest) :]
                continue
            except ssl.SSLWantReadError:
                wanted = READ
            except _NOT_NOW:
                pass
            if not wait_for(sock, wanted, STALLED_SECONDS):
                raise ConnectionError(f"{self} has taken nothing for {STALLED_SECONDS:g} s")

    def sendPacket(self, packet: Packet) -> None:
        """Sends a packet; as `sendRaw`."""
        self.log.info("Sending packet to %s: %s", self, packet)
        self.sendRaw(packet.toBinary())

    # Receiving.

    def _receive(self) -> bytes | None:
        """What can be read at once; b"" at the end, None if there is nothing."""
        sock = self.conn
        try:
            if not self.use_ssl:
                segment: bytes = sock.recv(_CHUNK, _DONT_WAIT) if isinstance(sock, _REAL) else sock.recv(_CHUNK)
                return segment
            with self.send_lock:  # OpenSSL is not made for one thread that reads beside one that writes
                segment = sock.recv(_CHUNK)
                while segment and sock.pending():
                    segment += sock.recv(_CHUNK)
                return segment
        except _NOT_NOW:
            return None
        except OSError as error:
            if error.errno in _AGAIN:  # from a test's own socket
                return None
            raise

    def _readRawBytes(self, bytes_to_read: int) -> bytes:
        if not self.use_ssl:
            segment: bytes = self.conn.recv(bytes_to_read)
            return segment
        while (received := self._receive()) is None:
            wait_for(self.conn, READ)
        return received

    def readPacket(self) -> Any:
        """Reads, blocking, a packet or the answer to the oldest admin request; None at the end of the connection.

        Raises InvalidDataError for what is neither, OSError if the connection breaks.
        """
        reader = self._reader
        while (item := reader.next()) is None:
            segment = self._readRawBytes(_CHUNK)
            if not segment:
                return None
            reader.feed(segment)
        return item

    def hasPendingData(self) -> bool:
        """Whether something was received and not read yet."""
        return len(self._reader) > 0

    def _getAdminRequest(self) -> AdminRequest:
        if not self.admin_requests:
            raise InvalidDataError(f"text from {self} that nobody asked for")
        return self.admin_requests.pop(0)

    def _putAdminRequest(self, req: AdminRequest) -> None:
        self.admin_requests.insert(0, req)

    # Requests.

    def sendAdminRequest(self, request: Any, timeout: float | None = 90) -> None:
        """Sends a text command and waits for its `response`; None waits for ever.

        Raises gear's TimeoutError if there is none after `timeout` seconds, or when the connection is lost.
        """
        with self._admin_lock:
            self.admin_requests.append(request)
            try:
                self.sendRaw(request.getCommand())
            except BaseException:
                with contextlib.suppress(ValueError):
                    self.admin_requests.remove(request)
                raise
        if not request.waitForResponse(timeout) or request.response is None:
            raise TimeoutError(f"no answer to {request}")

    def echo(self, data: Any = None, timeout: float | None = 30) -> Any:
        """Sends an ECHO_REQ and waits for the answer; returns the data. `data` None: something random.

        Raises gear's TimeoutError if there is none after `timeout` seconds, InvalidDataError if the same data is on
        its way already.
        """
        if data is None:
            data = uuid_module.uuid4().hex.encode()
        task = Task()
        with self.echo_lock:
            if data in self.echo_conditions:
                raise InvalidDataError(f"an echo of {data!r} is on its way already")
            self.echo_conditions[data] = task
        try:
            self.sendEchoReq(data)
            answered = task.wait(timeout) and not task.failed
        finally:
            with self.echo_lock:
                self.echo_conditions.pop(data, None)
        if not answered:
            raise TimeoutError(f"no echo from {self}")
        return data

    def sendEchoReq(self, data: Any) -> None:
        """Sends an ECHO_REQ."""
        self.sendPacket(Packet(constants.REQ, constants.ECHO_REQ, data))

    def handleEchoRes(self, data: Any) -> bool:
        """The data of an ECHO_RES; whether somebody waited for it."""
        with self.echo_lock:
            task = self.echo_conditions.pop(bytes(data), None)
        if task is None:
            return False
        task.setComplete()
        return True

    def handleOptionRes(self, option: Any) -> None:
        """The server has confirmed an option."""
        self.options.add(option)


class NonBlockingConnection(Connection):
    """A connection that never waits: what cannot be sent is kept in `send_queue`, reading raises RetryIOError."""

    def __init__(
        self,
        host: Any,
        port: Any,
        ssl_key: Any = None,
        ssl_cert: Any = None,
        ssl_ca: Any = None,
        client_id: Any = "unknown",
    ) -> None:
        super().__init__(host, port, ssl_key, ssl_cert, ssl_ca, client_id)
        self.send_queue: deque[Any] = deque()
        self._unsent = 0  # bytes in it

    def connect(self) -> None:
        """As `Connection.connect`, which waits; nothing waits afterwards."""
        super().connect()
        self.conn.setblocking(False)

    def _readRawBytes(self, bytes_to_read: int) -> bytes:
        segment = self._receive()
        if segment is None:
            raise RetryIOError
        return segment

    def sendPacket(self, packet: Packet) -> None:
        """Sends a packet as far as it can be sent at once, and keeps the rest."""
        self.log.debug("Queuing packet to %s: %s", self, packet)
        self._enqueue(packet.toBinary())

    def sendRaw(self, data: Any) -> None:
        """Sends bytes as far as they can be sent at once, and keeps the rest."""
        self.log.debug("Queuing data to %s: %s", self, data)
        self._enqueue(data)

    def _enqueue(self, data: Any) -> None:
        with self.send_lock:
            self.send_queue.append(data)
            self._unsent += len(data)
            self._flush()

    def sendQueuedData(self) -> None:
        """Sends what is kept as far as it can be sent at once. Raises OSError if the connection is broken."""
        with self.send_lock:
            self._flush()

    def _flush(self) -> None:
        queue, sock = self.send_queue, self.conn
        while queue:
            data = queue[0]
            try:
                sent = sock.send(data)
            except _NOT_NOW:
                return
            self._unsent -= sent
            if sent < len(data):
                queue[0] = memoryview(data)[sent:]
            else:
                queue.popleft()


class ServerConnection(NonBlockingConnection):
    """A connection that a `Server` accepted.

    `functions`: what it registered, a set of bytes. `client_id`: what it said in SET_CLIENT_ID, else None.
    `ssl_subject`: the common name in its certificate. `state`: "SLEEP" after PRE_SLEEP, "AWAKE" after a NOOP.
    """

    text_limit = LINE_LIMIT

    def __init__(self, addr: Any, conn: Any, use_ssl: bool, client_id: Any) -> None:
        self.client_id: Any = None
        super().__init__(addr[0], addr[1])
        self.log = logging.getLogger(f"gear.ServerConnection.{client_id!s}" if client_id else "gear.ServerConnection")
        self.conn = conn
        self.conn.setblocking(False)
        self.connected = True
        self.use_ssl = use_ssl
        self.functions: set[bytes] = set()
        self.timeouts: dict[bytes, int] = {}  # milliseconds, of those registered with a time-out
        self.ssl_subject: str | None = None
        self.broken = False
        self.on_blocked: Any = None  # called when something is kept, so that somebody watches for its time
        if use_ssl:
            names = (part for parts in conn.getpeercert().get("subject", ()) for part in parts)
            self.ssl_subject = dict(names).get("commonName")
            self.log.debug("%s has the certificate of %s", self, self.ssl_subject)

    def __repr__(self) -> str:
        return f"<gear.ServerConnection 0x{id(self):x} name: {self.client_id!r} host: {self.host} port: {self.port}>"

    def _getAdminRequest(self) -> AdminRequest:
        return ServerAdminRequest(self)

    def _putAdminRequest(self, req: AdminRequest) -> None:
        pass  # the next bytes make a new one

    def _enqueue(self, data: Any) -> None:
        """As its parent's, but a broken peer is no business of whoever sends to it: the server will notice."""
        if self.broken:
            return
        try:
            super()._enqueue(data)
        except OSError as error:
            self._give_up(str(error))
            return
        if self.send_queue:
            if self._unsent > MAX_UNSENT:
                self._give_up("it does not read")
            elif self.on_blocked is not None:
                self.on_blocked(self)

    def _give_up(self, why: str) -> None:
        self.log.info("Giving %s up: %s", self, why)
        self.broken = True
        with self.send_lock:
            self.send_queue.clear()
        self._hangup()

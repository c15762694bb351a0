# SPDX-License-Identifier: BSD-3-Clause
"""What clients, workers and servers share: two threads, a list of connections, and packets that become hooks."""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

from gearfast.compat.gear._connection import Connection
from gearfast.compat.gear._errors import (
    ConfigurationError,
    ConnectionError,
    NoConnectedServersError,
    TimeoutError,
)
from gearfast.compat.gear._hooks import HANDLERS, PacketHooks
from gearfast.compat.gear._packet import Packet, convert_to_bytes
from gearfast.compat.gear._poll import BROKEN, Poller

RETRY_SECONDS = 2.0
"""Pause between two attempts to reach a server."""
_SHORT_LIVED = 1.0  # seconds; a connection that is lost sooner is not opened again at once
_FIRST_PAUSE = 0.05


class BaseClientServer(PacketHooks):
    """Threads "Gearman client poll", which calls all handlers, and "Gearman client connect", from construction on.

    `active_connections`, `inactive_connections`: lists, guarded by `connections_condition`, which is notified at every
    change. `running` is false once `shutdown` was called.
    """

    def __init__(self, client_id: Any = None) -> None:
        self.client_id = convert_to_bytes(client_id) if client_id else None
        self.log = self._logger("BaseClientServer")
        self.running = True
        self.active_connections: list[Any] = []
        self.inactive_connections: list[Any] = []
        self.connection_index = -1
        self.connections_condition = threading.Condition()
        self._poller = Poller()
        self.poll_thread = self._start(self._doPollLoop, "Gearman client poll")
        self.connect_thread = self._start(self._doConnectLoop, "Gearman client connect")

    def _logger(self, kind: str) -> logging.Logger:
        return logging.getLogger(f"gear.{kind}.{self.client_id!r}" if self.client_id else f"gear.{kind}")

    @staticmethod
    def _start(target: Any, name: str) -> threading.Thread:
        thread = threading.Thread(target=target, name=name, daemon=True)
        thread.start()
        return thread

    # The connect thread.

    def _doConnectLoop(self) -> None:
        while self.running:
            with self.connections_condition:
                pause = self._until_next_try()
                if pause != 0:
                    self.connections_condition.wait(pause)
                    continue
            try:
                self._connectLoop()
            except Exception:
                self.log.exception("Exception in connect loop:")

    def _until_next_try(self) -> float | None:
        """Seconds until an inactive connection is to be tried; None if there is none."""
        times = [conn.__dict__.get("_next_try", 0.0) for conn in self.inactive_connections]
        return max(min(times) - time.monotonic(), 0.0) if times else None

    def _connectLoop(self) -> bool:
        """Tries each inactive connection that is due; whether one came up."""
        success = False
        for conn in self.inactive_connections[:]:
            if not self.running:
                break
            if conn.__dict__.get("_next_try", 0.0) <= time.monotonic():
                if self._try(conn):
                    success = True
                else:
                    conn._next_try = time.monotonic() + RETRY_SECONDS
        return success

    def _try(self, conn: Any) -> bool:
        self.log.debug("Trying to connect %s", conn)
        try:
            conn.reconnect()
            self._onConnect(conn)
        except ConnectionError:
            self.log.debug("Unable to connect to %s", conn)
            return False
        except Exception:
            self.log.exception("Exception while connecting to %s", conn)
            return False
        with self.connections_condition:
            if not self.running:
                return False
            self.inactive_connections.remove(conn)
            self.active_connections.append(conn)
            self.connections_condition.notify_all()
        self._poller.wake()
        try:
            self._onActiveConnection(conn)
        except Exception:
            self.log.exception("Exception while using the new connection %s", conn)
        return True

    def _onConnect(self, conn: Any) -> None:
        """A connection was opened; it is used once this returns."""

    def _onActiveConnection(self, conn: Any) -> None:
        """A connection has become active."""

    def _lostConnection(self, conn: Any) -> None:
        """Takes a connection out of use; it is opened again by itself. Its jobs go to `handleDisconnect`."""
        self.log.debug("Marking %s as disconnected", conn)
        with self.connections_condition:
            active = conn in self.active_connections
            if active:
                self.active_connections.remove(conn)
                self._schedule(conn)
            if conn not in self.inactive_connections:
                self.inactive_connections.append(conn)
            jobs = list(conn.related_jobs.items()) if active else []
            self.connections_condition.notify_all()
        self._poller.wake()
        conn._hangup()
        conn._abandon()
        for handle, job in jobs:
            for one in conn.sharing.all(handle) or [job]:
                self.handleDisconnect(one)

    @staticmethod
    def _schedule(conn: Any) -> None:
        """When to try a lost connection again: at once, unless it never lasts."""
        if time.time() - (conn.connect_time or 0) >= _SHORT_LIVED:
            conn._pause = 0.0
            conn._next_try = 0.0
        else:
            conn._pause = min(max(conn.__dict__.get("_pause", 0.0) * 2, _FIRST_PAUSE), RETRY_SECONDS)
            conn._next_try = time.monotonic() + conn._pause

    # The poll thread.

    def _doPollLoop(self) -> None:
        while self.running:
            with self.connections_condition:
                self.connections_condition.wait_for(lambda: self.active_connections or not self.running)
            try:
                self._pollLoop()
            except Exception:
                self.log.exception("Exception in poll loop:")

    def _pollLoop(self) -> None:
        """Reads and handles packets of the active connections until there are others."""
        poller = self._poller
        watched: dict[int, tuple[Any, Any]] = {}
        with self.connections_condition:
            connections = self.active_connections[:]
        try:
            for conn in connections:
                sock = conn.conn
                fd = -1 if sock is None else sock.fileno()
                if fd < 0:  # closed behind our back
                    self._lostConnection(conn)
                    continue
                poller.register(fd)
                watched[fd] = conn, sock
            while self.running:
                for fd, event in poller.poll():
                    if fd < 0:
                        return
                    conn, sock = watched[fd]
                    if conn.conn is not sock or not self._read(conn, event):
                        return
        finally:
            for fd in watched:
                poller.unregister(fd)

    def _read(self, conn: Any, event: int) -> bool:
        """Handles what a connection has sent; whether it is still in use."""
        reader = conn._reader
        try:
            segment = conn._receive()
            if segment:
                reader.feed(segment)
        except Exception as error:  # noqa: BLE001  (whatever it is, the connection is of no use)
            self.log.debug("Cannot read from %s: %s", conn, error)
            segment = b""
        if not segment:
            if segment is None and not event & BROKEN:
                return True
            if reader is conn._reader:
                self._lostConnection(conn)
            return False
        while self.running:
            try:
                item = reader.next()
            except Exception as error:  # noqa: BLE001  (so may a user's AdminRequest raise)
                self.log.error("Dropping %s, which sends nonsense: %s", conn, error)
                if reader is conn._reader:
                    self._lostConnection(conn)
                return False
            if item is None:
                break
            try:
                if isinstance(item, Packet):
                    self.handlePacket(item)
                else:
                    self.handleAdminRequest(item)
            except Exception:
                self.log.exception("Exception in poll loop:")
            if reader is not conn._reader or conn not in self.active_connections:
                return False
        return True

    def handlePacket(self, packet: Packet) -> None:
        """Every packet comes through here and goes on to the method for its type."""
        self.log.info("Received packet from %s: %s", packet.connection, packet)
        start = time.time()
        name = HANDLERS.get(packet.ptype)
        if name is None:
            self._unknownPacket(packet)
        else:
            getattr(self, name)(packet)
        self.reportTimingStats(packet.ptype, time.time() - start)

    def _unknownPacket(self, packet: Packet) -> None:
        self.log.error("Received unknown packet: %s", packet)

    def handleDisconnect(self, job: Any) -> Any:
        """The server that has this job is lost. Returns the job."""
        return job

    def reportTimingStats(self, ptype: int, duration: float) -> None:
        """Handling a packet of this type took that many seconds. Does nothing by default."""

    # The end.

    def shutdown(self) -> None:
        """Closes all connections and ends both threads. The object is of no use afterwards."""
        if not self.running:
            self.log.warning("shutdown() of something that is not running")
            return
        self._shutdown()
        self._cleanup()
        self.log.debug("Finished shutdown")

    def _shutdown(self) -> None:
        """Tells both threads to end, wherever they wait."""
        with self.connections_condition:
            self.running = False
            connections = self.active_connections + self.inactive_connections
            self.connections_condition.notify_all()
        self._poller.wake()
        for conn in connections:
            conn._hangup()

    def _cleanup(self) -> None:
        """Waits for both threads and closes what they used."""
        for thread in (self.poll_thread, self.connect_thread):
            if thread is not threading.current_thread():  # a handler may call shutdown()
                thread.join()
        for conn in self.active_connections + self.inactive_connections:
            conn.disconnect()
        self.active_connections = []
        self.inactive_connections = []
        self._poller.close()


class BaseClient(BaseClientServer):
    """What clients and workers share: several servers, one round after the other."""

    def __init__(self, client_id: Any = "unknown") -> None:
        # Held while something is sent to all servers that they have to keep: options, functions.
        self.broadcast_lock = threading.RLock()
        super().__init__(client_id)
        self.log = self._logger("BaseClient")

    def addServer(
        self,
        host: Any,
        port: Any = 4730,
        ssl_key: Any = None,
        ssl_cert: Any = None,
        ssl_ca: Any = None,
        keepalive: bool = False,
        tcp_keepidle: int = 7200,
        tcp_keepintvl: int = 75,
        tcp_keepcnt: int = 9,
    ) -> None:
        """Adds a server, which is connected, and after a loss connected again, in the background. Never waits.

        TLS needs all three files: the names of the key, the certificate and the authority's certificate. The
        keepalive settings are two in seconds and a number of probes. Raises ConfigurationError for the same host and
        port twice.
        """
        self.log.debug("Adding server %s port %s", host, port)
        with self.connections_condition:
            for conn in self.active_connections + self.inactive_connections:
                if conn.host == host and conn.port == port:
                    raise ConfigurationError("Host/port already specified")
            conn = Connection(
                host,
                port,
                ssl_key,
                ssl_cert,
                ssl_ca,
                self.client_id,
                keepalive,
                tcp_keepidle,
                tcp_keepintvl,
                tcp_keepcnt,
            )
            self.inactive_connections.append(conn)
            self.connections_condition.notify_all()

    def _checkTimeout(self, start_time: float, timeout: float) -> None:
        if time.time() - start_time > timeout:
            raise TimeoutError(f"not within {timeout:g} s")

    def waitForServer(self, timeout: float | None = None) -> None:
        """Waits until a server is connected, or `shutdown` is called.

        Raises gear's TimeoutError after `timeout` seconds; None waits for ever.
        """
        with self.connections_condition:
            if not self.connections_condition.wait_for(lambda: self.active_connections or not self.running, timeout):
                raise TimeoutError(f"no server within {timeout} s")

    def getConnection(self) -> Any:
        """A connected server, the next one at each call. Raises NoConnectedServersError."""
        with self.connections_condition:
            if not self.active_connections:
                raise NoConnectedServersError("No connected Gearman servers")
            self.connection_index = (self.connection_index + 1) % len(self.active_connections)
            return self.active_connections[self.connection_index]

    def broadcast(self, packet: Packet) -> None:
        """Sends a packet to all connected servers; those that cannot be reached are taken out of use."""
        for connection in self.active_connections[:]:
            try:
                self.sendPacket(packet, connection)
            except Exception as error:  # noqa: BLE001  (sendPacket has dealt with it)
                self.log.debug("%s missed a broadcast: %s", connection, error)

    def sendPacket(self, packet: Packet, connection: Any) -> None:
        """Sends a packet to one server. If that fails, the server is taken out of use and the exception raised."""
        try:
            connection.sendPacket(packet)
        except Exception:
            self.log.exception("Exception while sending packet %s to %s", packet, connection)
            self._lostConnection(connection)
            raise

    def handleEchoRes(self, packet: Packet) -> None:
        """An echo has come back; wakes `Connection.echo`."""
        packet.connection.handleEchoRes(packet.getArgument(0, True))

    def handleError(self, packet: Packet) -> None:
        """The server has refused a request: the oldest that waits for an answer, if there is one. Logs it."""
        code, _, text = bytes(packet.data).partition(b"\0")
        self.log.error("Received ERROR packet: %r: %r", code, text.rstrip(b"\0"))
        tasks = packet.connection.pending_tasks
        if tasks:
            tasks.pop(0).fail()

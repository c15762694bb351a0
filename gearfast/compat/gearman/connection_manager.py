# SPDX-License-Identifier: BSD-3-Clause
"""What client, worker and admin client share: their connections, and the loop that waits on them."""

from __future__ import annotations

import contextlib
import logging
import math
import select
import time
from collections.abc import Callable, Iterable
from typing import Any, Final

from . import io
from ._flavour import FLAVOUR
from .command_handler import GearmanCommandHandler
from .connection import GearmanConnection
from .errors import (
    ConnectionError,
    GearmanError,
    InvalidAdminClientState,
    InvalidClientState,
    InvalidWorkerState,
    ProtocolError,
    ServerUnavailable,
    UnknownCommandError,
)
from .job import GearmanJob, GearmanJobRequest
from .util import disambiguate_server_parameter

gearman_logger = logging.getLogger(f"{FLAVOUR.package}.connection_manager")

_TLS_KEYS: Final = ("host", "port", "keyfile", "certfile", "ca_certs")
_OUT_OF_STEP: Final = (
    InvalidAdminClientState,
    InvalidClientState,
    InvalidWorkerState,
    ProtocolError,
    UnknownCommandError,
)
"""After these nothing that the same server sends can be trusted."""


class DataEncoder:
    """Base of what turns objects into the opaque data of jobs and back: two class methods."""

    @classmethod
    def encode(cls, encodable_object: Any) -> Any:
        """Bytes or str (sent as UTF-8) of an object."""
        raise NotImplementedError

    @classmethod
    def decode(cls, decodable_string: Any) -> Any:
        """The object of received bytes (str in the str flavours)."""
        raise NotImplementedError


class NoopEncoder(DataEncoder):
    """Passes bytes and str through. Raises TypeError for anything else."""

    @classmethod
    def _enforce_byte_string(cls, given_object: Any) -> None:
        if not isinstance(given_object, bytes | str):
            raise TypeError(f"Expecting byte string, got {type(given_object)!r}")

    @classmethod
    def encode(cls, encodable_object: Any) -> Any:
        cls._enforce_byte_string(encodable_object)
        return encodable_object

    @classmethod
    def decode(cls, decodable_string: Any) -> Any:
        cls._enforce_byte_string(decodable_string)
        return decodable_string


class GearmanConnectionManager:
    """A list of connections, a handler for each that is connected, and the loop.

    `host_list`: None, or a list of 'host:port', 'host', (host, port), or for TLS a dict with host, port, keyfile,
    certfile and ca_certs; a single one may stand without its list. Raises GearmanError for anything else. Nothing
    connects before it is used. Not for use by several threads at once.
    """

    command_handler_class: Any = None
    connection_class: Any = GearmanConnection
    job_class: Any = GearmanJob
    job_request_class: Any = GearmanJobRequest
    data_encoder: Any = NoopEncoder

    def __init__(self, host_list: Any = None) -> None:
        assert self.command_handler_class is not None, "a subclass has to name its command_handler_class"
        self.connection_list: list[Any] = []
        self.handler_to_connection_map: dict[Any, Any] = {}
        self.connection_to_handler_map: dict[Any, Any] = {}
        self.handler_initial_state: dict[str, Any] = {}
        for element in [host_list] if isinstance(host_list, str) else host_list or []:
            self._add(element)

    def _add(self, element: Any) -> None:
        if isinstance(element, str | tuple):
            self.add_connection(element)
        elif isinstance(element, dict):
            if not all(key in element for key in _TLS_KEYS):
                raise GearmanError("Incomplete SSL connection definition")
            self.add_ssl_connection(*(element[key] for key in _TLS_KEYS))
        else:
            raise GearmanError(f"Expected str, tuple or dict; got {element!r} (type {type(element)})")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} connection_list={self.connection_list!r}>"

    def shutdown(self) -> None:
        """Closes all connections; they are made again when they are needed."""
        for connection in self.connection_list:
            connection.close()

    # --- connections --------------------------------------------------------------------------------------------------

    def add_connection(self, hostport_tuple: Any) -> Any:
        """One more server: 'host:port', 'host' or (host, port). Returns the connection, which is not made yet."""
        host, port = disambiguate_server_parameter(hostport_tuple)
        connection = self.connection_class(host=host, port=port)
        self.connection_list.append(connection)
        return connection

    def add_ssl_connection(self, host: str, port: int, keyfile: str, certfile: str, ca_certs: str) -> Any:
        """One more server, by TLS. Returns the connection, which is not made yet."""
        connection = self.connection_class(host=host, port=port, keyfile=keyfile, certfile=certfile, ca_certs=ca_certs)
        self.connection_list.append(connection)
        return connection

    def establish_connection(self, current_connection: Any) -> Any:
        """Connects if that is needed, with a new handler; returns the connection. Raises ConnectionError."""
        assert current_connection in self.connection_list, f"Unknown connection - {current_connection!r}"
        if current_connection.connected:
            return current_connection
        current_connection.connect()
        self._forget_handler(current_connection)  # of a connection that only was closed
        handler = self.command_handler_class(connection_manager=self)
        self.handler_to_connection_map[handler] = current_connection
        self.connection_to_handler_map[current_connection] = handler
        handler.initial_state(**self.handler_initial_state)
        return current_connection

    # --- the loop -----------------------------------------------------------------------------------------------------

    def poll_connections_until_stopped(
        self, submitted_connections: Iterable[Any], callback_fxn: Callable[[bool], Any], timeout: float | None = None
    ) -> bool:
        """Sends and receives until `callback_fxn` returns something false, or `timeout` seconds are over.

        The callback is called with False at first, then after each activity with whether there was any. Returns
        whether the callback would go on. Raises ServerUnavailable if none of the connections is connected.
        """
        watched = set(submitted_connections)
        deadline = None if timeout is None else time.monotonic() + timeout
        turn = self._hooked_turn if self._is_hooked() else self._turn
        going = callback_fxn(False)
        while alive := _any_connected(watched):
            if not going:
                break
            left = None
            if deadline is not None:
                left = deadline - time.monotonic()
                if left <= 0:
                    break
            going = callback_fxn(turn(watched, left))
        if not alive:
            raise ServerUnavailable(f"Found no valid connections in list: {self.connection_list!r}")
        return bool(going)

    def _turn(self, watched: Iterable[Any], left: float | None) -> bool:
        """Handles what was received and sends what waits, if there is any; otherwise waits for the servers."""
        acted = False
        wanted: list[tuple[Any, bool]] = []
        for connection in watched:
            if not connection.connected:
                continue
            if connection._incoming_commands:  # a handler stopped before the last one
                self._guarded(self._handle_received, connection)
                acted = True
                continue
            full = False
            if connection.writable():
                self._guarded(self.handle_write, connection)
                full = connection.writable()
                acted = acted or not full
            if connection.connected:
                wanted.append((connection, full))
        return acted or self._wait(wanted, left)

    def _wait(self, wanted: list[tuple[Any, bool]], left: float | None) -> bool:
        activity = False
        for connection, readable, writable in _ready(wanted, left):
            activity = True
            if not connection.connected:  # closed meanwhile, by a handler or a signal
                self.handle_error(connection)
            elif readable:
                self._guarded(self.handle_read, connection)
            elif writable:
                self._guarded(self.handle_write, connection)
            else:
                self.handle_error(connection)
        return activity

    def _guarded(self, method: Callable[[Any], Any], connection: Any) -> None:
        """A lost connection is given up; so is one whose server is out of step, and the exception goes on."""
        try:
            method(connection)
        except ConnectionError:
            self.handle_error(connection)
        except _OUT_OF_STEP:
            self.handle_error(connection)
            raise

    def _handle_received(self, connection: Any) -> None:
        self.connection_to_handler_map[connection].fetch_commands()

    def _is_hooked(self) -> bool:
        """Whether a program has a polling method of its own, in a subclass, in this object or in this class."""
        kind = type(self)
        return (
            kind.poll_connections_once is not _POLL_ONCE
            or kind.handle_connection_activity is not _HANDLE_ACTIVITY
            or kind._register_connections_with_poller is not _REGISTER
            or not _NAMES.isdisjoint(self.__dict__)
        )

    def _hooked_turn(self, watched: Iterable[Any], left: float | None) -> bool:
        """The same by the methods that programs override."""
        for connection in watched:
            if connection.connected and connection._incoming_commands:
                self._guarded(self._handle_received, connection)
                return True
        poller = io.get_connection_poller()
        try:
            self._register_connections_with_poller(watched, poller)
            descriptors = {connection.fileno(): connection for connection in watched if connection.connected}
            found = self.poll_connections_once(poller, descriptors, timeout=left)
        finally:
            poller.close()
        return any(self.handle_connection_activity(*found))

    def _register_connections_with_poller(self, connections: Iterable[Any], poller: Any) -> None:
        """Says which connections to look at, and for what."""
        for connection in connections:
            if connection.gearman_socket is None:
                continue
            with contextlib.suppress(OSError, KeyError):
                poller.unregister(connection)
            events = (io.READ if connection.readable() else 0) | (io.WRITE if connection.writable() else 0)
            poller.register(connection, events)

    def poll_connections_once(
        self, poller: Any, connection_map: Any = None, timeout: float | None = None
    ) -> tuple[set[Any], set[Any], set[Any]]:
        """Waits up to `timeout` seconds; three sets of connections: to read, to write, in error.

        `connection_map`: descriptor to connection. As in version 2.0.2 the first argument may be the connections.
        """
        if not isinstance(connection_map, dict):
            return self._poll_connections(poller, timeout if connection_map is None else connection_map)
        readable: set[Any] = set()
        writable: set[Any] = set()
        failed: set[Any] = set()
        for descriptor, events in poller.poll(-1 if timeout is None else timeout):
            connection = connection_map.get(descriptor)
            if connection is None:
                continue
            if events & io.READ:
                readable.add(connection)
            elif events & io.ERROR:
                failed.add(connection)
            if events & io.WRITE:
                writable.add(connection)
        return readable, writable - failed, failed

    def _poll_connections(
        self, connections: Iterable[Any], timeout: float | None
    ) -> tuple[set[Any], set[Any], set[Any]]:
        poller = io.get_connection_poller()
        try:
            self._register_connections_with_poller(connections, poller)
            descriptors = {connection.fileno(): connection for connection in connections if connection.connected}
            return self.poll_connections_once(poller, descriptors, timeout)
        finally:
            poller.close()

    def handle_connection_activity(
        self, rd_connections: set[Any], wr_connections: set[Any], ex_connections: set[Any]
    ) -> tuple[set[Any], set[Any], set[Any]]:
        """Reads, writes and gives up; returns the three sets, the last one with what was lost meanwhile."""
        lost = set(ex_connections)
        for method, connections in ((self.handle_read, rd_connections), (self.handle_write, wr_connections)):
            for connection in connections:
                if connection in lost:
                    continue
                try:
                    method(connection)
                except ConnectionError:
                    lost.add(connection)
                except _OUT_OF_STEP:
                    self.handle_error(connection)
                    raise
        for connection in lost:
            self.handle_error(connection)
        return rd_connections, wr_connections, lost

    def handle_read(self, current_connection: Any) -> None:
        """Receives, decodes and lets the handler do its part. Raises ConnectionError if the connection is lost."""
        handler = self.connection_to_handler_map[current_connection]
        current_connection.read_data_from_socket()
        current_connection.read_commands_from_buffer()
        handler.fetch_commands()

    def handle_write(self, current_connection: Any) -> None:
        """Packs and sends. Raises ConnectionError if the connection is lost."""
        current_connection.send_commands_to_buffer()
        current_connection.send_data_to_socket()

    def handle_error(self, current_connection: Any) -> None:
        """Gives a connection up: its handler is told and forgotten, it is closed."""
        self._forget_handler(current_connection)
        current_connection.close()

    def _forget_handler(self, connection: Any) -> None:
        handler = self.connection_to_handler_map.pop(connection, None)
        if handler is not None:
            handler.on_io_error()
            self.handler_to_connection_map.pop(handler, None)

    # --- what handlers call -------------------------------------------------------------------------------------------

    def read_command(self, command_handler: GearmanCommandHandler) -> Any:
        """The next command that was received for a handler, or None."""
        return self.handler_to_connection_map[command_handler].read_command()

    def send_command(self, command_handler: GearmanCommandHandler, cmd_type: int, cmd_args: dict[str, Any]) -> None:
        """Puts a command of a handler into the queue of its connection."""
        self.handler_to_connection_map[command_handler].send_command(cmd_type, cmd_args)

    def on_gearman_error(self, error_code: Any, error_text: Any) -> Any:
        """The server refused something; this logs it."""
        code, text = (
            word.decode("utf-8", "replace") if isinstance(word, bytes) else word for word in (error_code, error_text)
        )
        gearman_logger.error("Received error from server: %s: %s", code, text)
        return False


_POLL_ONCE = GearmanConnectionManager.poll_connections_once
_HANDLE_ACTIVITY = GearmanConnectionManager.handle_connection_activity
_REGISTER = GearmanConnectionManager._register_connections_with_poller
_POLL: Any = getattr(select, "poll", None)  # Windows has none
_IN, _OUT, _IN_OUT = (select.POLLIN, select.POLLOUT, select.POLLIN | select.POLLOUT) if _POLL else (1, 4, 5)
_NAMES = {"poll_connections_once", "handle_connection_activity", "_register_connections_with_poller"}


def _any_connected(connections: Iterable[Any]) -> bool:
    for connection in connections:  # noqa: SIM110  (for one connection any() takes four times as long)
        if connection.connected:
            return True
    return False


def _ready(wanted: list[tuple[Any, bool]], left: float | None) -> list[tuple[Any, bool, bool]]:
    """Waits for connections, and for room in those that are full: those with news, as (connection, read, write)."""
    if _POLL is None:
        readable, writable, _ = select.select(
            [connection for connection, _ in wanted], [connection for connection, full in wanted if full], [], left
        )
        return [(c, c in readable, c in writable) for c, _ in wanted if c in readable or c in writable]
    poller = _POLL()
    connections = {}
    for connection, full in wanted:
        descriptor = connection.fileno()
        connections[descriptor] = connection
        poller.register(descriptor, _IN_OUT if full else _IN)
    events = poller.poll(None if left is None else math.ceil(left * 1000))
    return [(connections[n], bool(found & _IN), bool(found & _OUT)) for n, found in events]

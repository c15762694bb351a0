# SPDX-License-Identifier: BSD-3-Clause
"""One connection to a job server: its socket, and what waits to be sent and to be handled."""

from __future__ import annotations

import contextlib
import logging
import socket
import ssl
from collections import deque
from typing import Any, Final, NoReturn

from gearfast import errors as native
from gearfast._codec import Decoder, Packet
from gearfast.frontend.sockets import tune
from gearfast.protocol import MAGIC_RESPONSE

from ._flavour import FLAVOUR
from .constants import DEFAULT_GEARMAN_PORT
from .errors import ConnectionError, ProtocolError, ServerUnavailable
from .protocol import (
    GEARMAN_COMMAND_TEXT_COMMAND,
    GEARMAN_PARAMS_FOR_COMMAND,
    get_command_name,
    names_of,
    pack_binary_command,
    pack_text_command,
    received,
)

gearman_logger = logging.getLogger(f"{FLAVOUR.package}.connection")

CONNECT_SECONDS: Final = 10.0
"""How long a server may take to accept a connection; without a limit the system waits for two minutes."""
_DEFAULT_READ: Final = 4096
_LARGE_READ: Final = 1 << 16
_LARGEST_PACKET: Final = (1 << 32) + 11  # what a header can announce; memory grows only by what arrives
_NOT_NOW: Final = (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class GearmanConnection:
    """Connects, can connect again after it was closed, and buffers in both directions.

    TLS is used if `keyfile`, `certfile` and `ca_certs` are all given. Raises ServerUnavailable without a host.
    """

    connect_cooldown_seconds = 1.0  # has no effect, as in the original

    def __init__(
        self,
        host: str | None = None,
        port: int | None = DEFAULT_GEARMAN_PORT,
        keyfile: str | None = None,
        certfile: str | None = None,
        ca_certs: str | None = None,
    ) -> None:
        if host is None:
            raise ServerUnavailable("No host specified")
        self.gearman_host = host
        self.gearman_port = port or DEFAULT_GEARMAN_PORT
        self.keyfile = keyfile
        self.certfile = certfile
        self.ca_certs = ca_certs
        self.use_ssl = bool(keyfile and certfile and ca_certs)
        self._reset_connection()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.gearman_host}:{self.gearman_port} connected={self.connected}>"

    def _reset_connection(self) -> None:
        """Forgets the socket and everything that was buffered."""
        self.connected = False
        self.gearman_socket: Any = None
        self._incoming_buffer = b""
        self._outgoing_buffer = b""
        self._incoming_commands: deque[tuple[int, dict[str, Any]]] = deque()
        self._outgoing_commands: deque[tuple[int, dict[str, Any]]] = deque()
        self._decoder = Decoder(_LARGEST_PACKET)

    def fileno(self) -> int:
        """The socket's descriptor. Raises ConnectionError if there is no socket."""
        if self.gearman_socket is None:
            self.throw_exception(message="no socket set")
        return int(self.gearman_socket.fileno())

    def get_address(self) -> tuple[str, int]:
        """Host and port."""
        return self.gearman_host, self.gearman_port

    def writable(self) -> bool:
        """Whether there is something to send."""
        return self.connected and bool(self._outgoing_commands or self._outgoing_buffer)

    def readable(self) -> bool:
        """Whether there may be something to read."""
        return self.connected

    # --- the socket ---------------------------------------------------------------------------------------------------

    def connect(self) -> None:
        """Connects. Raises ConnectionError if that fails, or if it is connected."""
        if self.connected:
            self.throw_exception(message="connection already established")
        self._reset_connection()
        self._create_client_socket()
        self.connected = True

    def _create_client_socket(self) -> None:
        """Makes a connected socket and hands it to `set_socket`."""
        try:
            made = self._open_socket(socket.AF_INET6 if ":" in self.gearman_host else socket.AF_INET)
        except (OSError, UnicodeError) as error:
            self.throw_exception(exception=error)
        self.set_socket(made)

    def _open_socket(self, family: int) -> Any:
        made: Any = socket.socket(family, socket.SOCK_STREAM)
        try:
            if hasattr(made, "settimeout"):  # a test's socket may be able to do very little
                made.settimeout(CONNECT_SECONDS)
            if self.use_ssl:
                context = ssl.create_default_context(cafile=self.ca_certs)
                context.load_cert_chain(str(self.certfile), self.keyfile)
                made = context.wrap_socket(made, server_hostname=self.gearman_host)
            made.connect((self.gearman_host, self.gearman_port))
        except socket.gaierror:
            made.close()
            if family == socket.AF_INET6:
                raise
            return self._open_socket(socket.AF_INET6)  # a name that has only such an address
        except BaseException:
            made.close()
            raise
        return made

    def set_socket(self, current_socket: Any) -> None:
        """Takes a connected socket. Raises ConnectionError if there is one already."""
        if self.gearman_socket is not None:
            self.throw_exception(message="socket already bound")
        current_socket.setblocking(False)
        with contextlib.suppress(OSError, AttributeError, TypeError):
            tune(current_socket)
        self.gearman_socket = current_socket

    def close(self) -> None:
        """Closes the socket and forgets everything that was buffered."""
        if self.gearman_socket is not None:
            with contextlib.suppress(OSError):
                self.gearman_socket.close()
        self._reset_connection()

    def throw_exception(self, message: str | None = None, exception: BaseException | None = None) -> NoReturn:
        """Raises ConnectionError with this text, or that of `exception`; not connected any more."""
        self.connected = False
        text = repr(exception) if exception else message
        raise ConnectionError(f"<{self.gearman_host}:{self.gearman_port}> {text}") from exception

    # --- from the server ----------------------------------------------------------------------------------------------

    def read_data_from_socket(self, bytes_to_read: int = _DEFAULT_READ) -> int:
        """Receives what there is; returns how many bytes wait to be decoded. Raises ConnectionError at the end."""
        if not self.connected:
            self.throw_exception(message="disconnected")
        try:
            # The default of old is a small buffer; who names another size gets that one.
            data = self.gearman_socket.recv(_LARGE_READ if bytes_to_read == _DEFAULT_READ else bytes_to_read)
            if data and self.use_ssl:
                while waiting := self.gearman_socket.pending():  # poll does not see these bytes
                    data += self.gearman_socket.recv(waiting)
        except _NOT_NOW:
            return len(self._incoming_buffer)
        except OSError as error:
            self.throw_exception(exception=error)
        if not data:
            self.throw_exception(message="remote disconnected")
        self._incoming_buffer += data
        return len(self._incoming_buffer)

    def read_commands_from_buffer(self) -> int:
        """Decodes what was received; returns how many commands that gave. Raises ProtocolError for bad bytes."""
        data, self._incoming_buffer = self._incoming_buffer, b""
        if not data:
            return 0
        try:
            found = self._decoder.receive(data)
        except native.ProtocolError as error:
            raise ProtocolError(str(error)) from error
        commands = self._incoming_commands
        for item in found:
            commands.append(self._unpack(item))
        return len(found)

    def _unpack(self, item: Packet | bytes) -> tuple[int, dict[str, Any]]:
        if isinstance(item, bytes):
            return GEARMAN_COMMAND_TEXT_COMMAND, {"raw_text": received(item)}
        if item.magic != MAGIC_RESPONSE:
            raise ProtocolError("Malformed Magic")
        names = names_of(item.command)
        values = map(received, item.args) if FLAVOUR.text else item.args
        return item.command, dict(zip(names, values, strict=True))

    def read_command(self) -> tuple[int, dict[str, Any]] | None:
        """The next command that was received, or None."""
        return self._incoming_commands.popleft() if self._incoming_commands else None

    # --- to the server ------------------------------------------------------------------------------------------------

    def send_command(self, cmd_type: int, cmd_args: dict[str, Any]) -> None:
        """Puts a command into the queue; it is packed when it is sent."""
        self._outgoing_commands.append((cmd_type, cmd_args))

    def send_commands_to_buffer(self) -> None:
        """Packs what is in the queue. Raises ProtocolError for what cannot be packed."""
        if not self._outgoing_commands:
            return
        packed = [self._outgoing_buffer] if self._outgoing_buffer else []
        try:
            while self._outgoing_commands:
                packed.append(self._pack_command(*self._outgoing_commands.popleft()))
        finally:
            self._outgoing_buffer = packed[0] if len(packed) == 1 else b"".join(packed)

    def _pack_command(self, cmd_type: int, cmd_args: dict[str, Any]) -> bytes:
        if cmd_type not in GEARMAN_PARAMS_FOR_COMMAND:
            raise ProtocolError(f"Unknown command: {get_command_name(cmd_type)!r}")
        if cmd_type == GEARMAN_COMMAND_TEXT_COMMAND:
            return pack_text_command(cmd_type, cmd_args).encode("utf-8", "surrogateescape")
        return pack_binary_command(cmd_type, cmd_args)

    def send_data_to_socket(self) -> int:
        """Sends as much as the socket takes; returns how many bytes are left. Raises ConnectionError."""
        if not self.connected:
            self.throw_exception(message="disconnected")
        data = self._outgoing_buffer
        if not data:
            return 0
        sent = 0
        try:
            sent = self.gearman_socket.send(data)
            if sent < len(data):
                rest = memoryview(data)
                while sent < len(data):
                    sent += self.gearman_socket.send(rest[sent:])
        except _NOT_NOW:
            pass
        except OSError as error:
            self.throw_exception(exception=error)
        self._outgoing_buffer = data[sent:] if sent < len(data) else b""
        return len(self._outgoing_buffer)

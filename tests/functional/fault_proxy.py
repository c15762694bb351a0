# SPDX-License-Identifier: BSD-3-Clause
"""What may stand between a client or worker and its job server, besides `gearfast.testing.FaultProxy`: bad servers.

`ScriptedPeer` is a server that does exactly what a function says. `BlackHole` is an address whose connections are never
made.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from types import TracebackType
from typing import Self

from gearfast import Decoder, Packet
from gearfast.testing.faults import DOWN, UP, End, FaultProxy, Listener, hang_up, reset

from .servers import HOST, PATIENCE, wait_until

__all__ = [
    "DOWN",
    "UP",
    "BlackHole",
    "Connection",
    "End",
    "FaultProxy",
    "Listener",
    "ScriptedPeer",
    "hang_up",
    "reset",
]


class Connection:
    """A scripted server's end of a connection."""

    def __init__(self, connection: socket.socket, number: int) -> None:
        self.socket = connection
        self.number = number
        self._decoder = Decoder()
        self._packets: list[Packet] = []
        connection.settimeout(PATIENCE)

    def read(self, name: str) -> Packet:
        """The next packet of that name; others before it are passed over. Raises EOFError at the end of the stream."""
        while True:
            while self._packets:
                packet = self._packets.pop(0)
                if packet.name == name:
                    return packet
            data = self.socket.recv(65536)
            if not data:
                raise EOFError
            self._packets += [packet for packet in self._decoder.receive(data) if isinstance(packet, Packet)]

    def send(self, *packets: Packet) -> None:
        """Send packets in one piece."""
        self.socket.sendall(b"".join(packet.encode() for packet in packets))

    def wait_for_end(self) -> None:
        """Read until the other side hangs up."""
        while self.socket.recv(65536):
            pass


class ScriptedPeer(Listener):
    """A server that does with each connection what `script` says; the connection is closed at its end."""

    def __init__(self, script: Callable[[Connection], None]) -> None:
        self._script = script
        super().__init__()

    def serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(EOFError):
            self._script(Connection(connection, self.accepted))
        hang_up(connection)


class BlackHole:
    """An address at which connections are neither made nor refused: its queue of new ones is full."""

    def __init__(self) -> None:
        self._socket = socket.socket()
        self._socket.bind((HOST, 0))
        self._socket.listen(0)
        self.port: int = self._socket.getsockname()[1]
        self.address = f"{HOST}:{self.port}"
        self._fillers: list[socket.socket] = []
        wait_until(self._is_full, "the queue of new connections is full")

    def _is_full(self) -> bool:
        filler = socket.socket()
        filler.settimeout(0.05)
        self._fillers.append(filler)
        try:
            filler.connect((HOST, self.port))
        except TimeoutError:
            return True
        return False

    def close(self) -> None:
        """Let it go; connections are refused from now on."""
        for filler in self._fillers:
            filler.close()
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

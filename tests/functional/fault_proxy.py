# SPDX-License-Identifier: BSD-3-Clause
"""What may stand between a client or worker and its job server: a relay that fails on purpose, servers that misbehave.

`FaultProxy` relays between real sockets and breaks off, holds back or splits at a chosen byte. `ScriptedPeer` is a
server that does exactly what a function says. `BlackHole` is an address whose connections are never made.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Literal, Self

from gearfast import Decoder, Packet

from .servers import HOST, PATIENCE, wait_until

UP = 0
"""From the client or worker to the server."""
DOWN = 1

End = Literal["close", "reset", "half-close", "hold"]


def reset(connection: socket.socket) -> None:
    """End a connection by RST, also one that another thread reads."""
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.shutdown(socket.SHUT_RD)
    connection.close()


def hang_up(connection: socket.socket) -> None:
    """End a connection, also one that another thread reads."""
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()


class Listener:
    """Accepts connections in a thread and gives each to `serve` in one of its own; ends them all at the end."""

    def __init__(self) -> None:
        self.accepted = 0
        self._socket = socket.create_server((HOST, 0))
        self.port: int = self._socket.getsockname()[1]
        self.address = f"{HOST}:{self.port}"
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._closing = threading.Event()
        self._start(self._accept)

    def serve(self, connection: socket.socket) -> None:
        """What happens to a connection."""
        raise NotImplementedError

    def _start(self, target: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _keep(self, connection: socket.socket) -> socket.socket:
        self._open.append(connection)
        return connection

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while not self._closing.is_set():
                connection, _ = self._socket.accept()
                if self._closing.is_set():
                    connection.close()
                    return
                self._keep(connection).setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.accepted += 1
                self._start(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            self.serve(connection)

    def cut(self, how: Callable[[socket.socket], None] = hang_up) -> None:
        """End all connections there are."""
        connections, self._open = self._open, []
        for connection in connections:
            how(connection)

    def close(self) -> None:
        """End everything, and wait for the threads."""
        self._closing.set()
        with contextlib.suppress(OSError):
            socket.create_connection((HOST, self.port), 1).close()
        self._socket.close()
        self.cut()
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()
        self.cut()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class FaultProxy(Listener):
    """Relays to the server at `port`. `break_after` arms one fault; without it, it only relays.

    `split`: bytes are passed on in pieces of this size, each with a packet of its own.
    """

    def __init__(self, port: int, *, split: int = 0) -> None:
        self.target = port
        self.split = split
        self.broken = threading.Event()
        self.released = threading.Event()
        self._fault: tuple[int, int, End] | None = None
        self._passed = [0, 0]
        self._lock = threading.Lock()
        super().__init__()

    def break_after(self, direction: int, count: int, end: End = "close") -> None:
        """Once `count` more bytes have gone in a direction (UP, DOWN), the connection that carried the last ends so.

        "hold" passes nothing on until `released` is set. Later connections are relayed as they are.
        """
        with self._lock:
            self.broken.clear()
            self._passed[direction] = 0
            self._fault = (direction, count, end)

    def serve(self, connection: socket.socket) -> None:
        try:
            server = socket.create_connection((HOST, self.target), PATIENCE)
        except OSError:
            hang_up(connection)
            return
        self._keep(server)
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        server.settimeout(None)
        self._start(self._relay, server, connection, DOWN)
        self._relay(connection, server, UP)

    def _relay(self, source: socket.socket, sink: socket.socket, direction: int) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                data, rest, end = self._until_fault(direction, data)
                for start in range(0, len(data), self.split or len(data) or 1):
                    sink.sendall(data[start : start + (self.split or len(data))])
                if end is not None and not self._break(end, source, sink):
                    return
                sink.sendall(rest)
            sink.shutdown(socket.SHUT_WR)
            return
        hang_up(source)
        hang_up(sink)

    def _until_fault(self, direction: int, data: bytes) -> tuple[bytes, bytes, End | None]:
        """What still passes, what comes behind the fault, and the fault, if these bytes reach it."""
        with self._lock:
            before = self._passed[direction]
            self._passed[direction] += len(data)
            if self._fault is None or self._fault[0] != direction or self._passed[direction] < self._fault[1]:
                return data, b"", None
            end = self._fault[2]
            here = self._fault[1] - before
            self._fault = None
            return data[:here], data[here:], end

    def _break(self, end: End, source: socket.socket, sink: socket.socket) -> bool:
        """Returns whether the relaying goes on."""
        if end == "hold":
            self.broken.set()
            self.released.wait(PATIENCE)
            return True
        if end == "half-close":
            sink.shutdown(socket.SHUT_WR)
        else:
            for connection in (source, sink):
                (reset if end == "reset" else hang_up)(connection)
        self.broken.set()
        return False

    def close(self) -> None:
        self.released.set()
        super().close()


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

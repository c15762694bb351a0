# SPDX-License-Identifier: BSD-3-Clause
"""A relay between clients or workers and a job server that fails on purpose, over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Final, Literal, Protocol, Self

from gearfast.errors import UsageError
from gearfast.session.routing import ServerAddress, parse_server

if TYPE_CHECKING:
    from gearfast.testing.recorder import Recorder

__all__ = ["DOWN", "UP", "End", "FaultProxy", "Listener", "hang_up", "reset"]

HOST: Final = "127.0.0.1"
PATIENCE: Final = 30.0
"""Seconds after which something that should happen at once has failed."""

Direction = Literal["up", "down"]
UP: Final = "up"
"""From the client or worker to the server."""
DOWN: Final = "down"
"""From the server to the client or worker."""

End = Literal["close", "reset", "half-close", "hold"]


class HasUrl(Protocol):
    """A running `Server`."""

    @property
    def url(self) -> str:
        """Where clients and workers reach it."""


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
    """Accepts connections on a free port in a thread and gives each to `serve` in one of its own; ends them all.

    `accepted`: how many there were.
    """

    def __init__(self) -> None:
        self.accepted = 0
        self._socket = socket.create_server((HOST, 0))
        self.host = HOST
        self.port: int = self._socket.getsockname()[1]
        self.address = f"{HOST}:{self.port}"
        self.url = f"gearman://{self.address}"
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._closing = threading.Event()
        self._acceptor = self._start(self._accept)

    def serve(self, connection: socket.socket) -> None:
        """What happens to a connection."""
        raise NotImplementedError

    def _start(self, target: Callable[..., None], *arguments: object) -> threading.Thread:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()
        return thread

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

    def _stop_accepting(self) -> None:
        """End the thread that accepts; the port is free then."""
        self._closing.set()
        with contextlib.suppress(OSError):
            socket.create_connection((HOST, self.port), 1).close()
        self._acceptor.join(PATIENCE)
        self._socket.close()

    def cut(self, how: Callable[[socket.socket], None] = hang_up) -> None:
        """End all connections there are: by `hang_up`, or by `reset`."""
        connections, self._open = self._open, []
        for connection in connections:
            how(connection)

    def close(self) -> None:
        """End everything, and wait for the threads. Raises TimeoutError if one of them does not end."""
        self._stop_accepting()
        self.cut()
        for thread in list(self._threads):
            thread.join(PATIENCE)
            if thread.is_alive():
                raise TimeoutError("a connection's thread does not end")
        self.cut()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.close)


class FaultProxy(Listener):
    """Relays to a job server, and breaks off, holds back, splits or refuses when it is told to. `url` is the way in.

    `server`: a running `Server`, a URL without TLS, or a port of 127.0.0.1. `split`: bytes are passed on in pieces of
    this size, each with a packet of its own. `delay`: seconds for which each piece is held back. Both may be changed
    at any time. `recorder`: is told what goes through.

    Without further orders it only relays. All methods may be called from any thread and from coroutines; none waits for
    the network but `close`, which `async with` calls in a thread.
    """

    def __init__(
        self, server: HasUrl | str | int, *, split: int = 0, delay: float = 0.0, recorder: Recorder | None = None
    ) -> None:
        url = f"{HOST}:{server}" if isinstance(server, int) else server if isinstance(server, str) else server.url
        self.target: ServerAddress = parse_server(url)
        if self.target.tls or self.target.memory:
            raise UsageError(f"a proxy relays to TCP and Unix sockets without TLS, not to {url!r}")
        self.split = split
        self.delay = delay
        self.recorder = recorder
        self.broken = threading.Event()
        """Set once the fault of `break_after` has happened."""
        self.released = threading.Event()
        """Set it to end a "hold"."""
        self._flowing = threading.Event()
        self._flowing.set()
        self._fault: tuple[str, int, End] | None = None
        self._passed = {UP: 0, DOWN: 0}
        self._lock = threading.Lock()
        super().__init__()

    def break_after(self, direction: Direction, count: int, end: End = "close") -> None:
        """Once `count` more bytes have gone in a direction ("up" is to the server), the connection that carried the
        last of them ends so: "close", "reset" (RST), "half-close" (nothing more in this direction), or "hold": nothing
        is passed on until `released` is set. Later connections are relayed as they are.
        """
        with self._lock:
            self.broken.clear()
            self.released.clear()
            self._passed[direction] = 0
            self._fault = (direction, count, end)

    def wait_broken(self, timeout: float = PATIENCE) -> None:
        """Wait until the fault has happened. Raises TimeoutError after `timeout` seconds."""
        if not self.broken.wait(timeout):
            raise TimeoutError(f"the fault did not happen within {timeout:g} seconds")

    async def wait_broken_async(self, timeout: float = PATIENCE) -> None:  # noqa: ASYNC109  (twin of wait_broken)
        """The same in a coroutine."""
        await asyncio.to_thread(self.wait_broken, timeout)

    def stall(self) -> None:
        """Pass nothing on, in both directions and all connections, until `resume`: a cable that is pulled."""
        self._flowing.clear()

    def resume(self) -> None:
        """Pass on what has waited and what comes."""
        self._flowing.set()

    def refuse(self) -> None:
        """Refuse new connections, as a server that does not run; those there are stay. Until `accept`."""
        if self._closing.is_set():
            return
        self._stop_accepting()
        # Bound, but not listening: the port stays ours, and connections to it are refused.
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind((HOST, self.port))

    def accept(self) -> None:
        """Take connections again."""
        if self._closing.is_set():
            self._closing.clear()
            self._socket.listen()
            self._acceptor = self._start(self._accept)

    def serve(self, connection: socket.socket) -> None:
        try:
            server = self._connect()
        except OSError:
            hang_up(connection)
            return
        link = object()
        self._start(self._relay, server, connection, DOWN, link)
        self._relay(connection, server, UP, link)
        if self.recorder is not None:
            self.recorder.ended(link)

    def _connect(self) -> socket.socket:
        target = self.target
        if target.path:
            server = socket.socket(socket.AF_UNIX)
            server.connect(target.path)
            return self._keep(server)
        server = self._keep(socket.create_connection((target.host, target.port), PATIENCE))
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        server.settimeout(None)
        return server

    def _relay(self, source: socket.socket, sink: socket.socket, direction: str, link: object) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self._tell(direction, link, data)
                data, rest, end = self._until_fault(direction, data)
                self._pass(data, sink)
                if end is not None and not self._break(end, source, sink):
                    return
                self._pass(rest, sink)
            sink.shutdown(socket.SHUT_WR)
            return
        hang_up(source)
        hang_up(sink)

    def _tell(self, direction: str, link: object, data: bytes) -> None:
        if self.recorder is not None:
            (self.recorder.sent if direction == UP else self.recorder.answered)(link, data)

    def _pass(self, data: bytes, sink: socket.socket) -> None:
        size = self.split or len(data)
        for start in range(0, len(data), size or 1):
            if self.delay:
                time.sleep(self.delay)
            self._flowing.wait()
            sink.sendall(data[start : start + size])

    def _until_fault(self, direction: str, data: bytes) -> tuple[bytes, bytes, End | None]:
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
        self._flowing.set()
        super().close()

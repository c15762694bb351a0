# SPDX-License-Identifier: BSD-3-Clause
"""What the tests of gear and aiogear share: job servers of three kinds, peers that misbehave, waiting, counting."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import gearfast
from gearfast.compat import gear

from ..functional.servers import PATIENCE, running, wait_until

HOST = "127.0.0.1"


@pytest.fixture(params=["gearfast", "gearmand", "gear"])
def port(request: pytest.FixtureRequest, require: Any) -> Iterator[int]:
    """The port of a job server: gearfast's embedded one, Debian's gearmand, compat gear's."""
    if request.param == "gearfast":
        with gearfast.Server() as embedded:
            assert embedded.port is not None
            yield embedded.port
    elif request.param == "gear":
        with serving() as server:
            yield server.port
    else:
        require.program("gearmand", "gearman-job-server")
        with running("gearmand") as process:
            yield process.port


@pytest.fixture(params=["gearfast", "gearmand"])
def real_port(request: pytest.FixtureRequest, require: Any) -> Iterator[int]:
    """The same without gear's own server, whose rules are others."""
    if request.param == "gearfast":
        with gearfast.Server() as embedded:
            assert embedded.port is not None
            yield embedded.port
    else:
        require.program("gearmand", "gearman-job-server")
        with running("gearmand") as process:
            yield process.port


@pytest.fixture(autouse=True)
def nothing_left(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """No thread and no descriptor outlives a test. All that can be logged is."""
    caplog.set_level(logging.DEBUG, "gear")
    with gearfast.Server():
        pass  # what is made once and kept
    threads, descriptors = set(threading.enumerate()), number_of_descriptors()
    yield
    wait_until(lambda: set(threading.enumerate()) <= threads, "all threads have ended")
    wait_until(lambda: number_of_descriptors() <= descriptors, "all descriptors are closed")


def number_of_descriptors() -> int:
    """Open descriptors of this process; 0 where the system does not tell."""
    return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0


@contextlib.contextmanager
def serving(make: Callable[..., Any] = gear.Server, *args: Any, **options: Any) -> Iterator[Any]:
    """A gear.Server, or a subclass, on a free port."""
    server = make(*(args or (0,)), **options)
    try:
        yield server
    finally:
        server.shutdown()


@contextlib.contextmanager
def connected(make: Callable[[], Any], *ports: int) -> Iterator[Any]:
    """A gear client or worker that has connected to all these ports."""
    peer = make()
    try:
        for one in ports:
            peer.addServer(HOST, one)
        wait_until(lambda: len(peer.active_connections) == len(ports), "connected to all servers")
        yield peer
    finally:
        if peer.running:
            peer.shutdown()


def client(*ports: int, kind: Any = gear.Client) -> Any:
    return connected(lambda: kind("client"), *ports)


def reverse(job: Any) -> None:
    """The simplest function, for bytes and str."""
    job.sendWorkComplete(job.arguments[::-1])


@contextlib.contextmanager
def working(
    *ports: int, run: Callable[[Any], None] = reverse, name: Any = "reverse", kind: Any = gear.Worker, threads: int = 1
) -> Iterator[Any]:
    """A gear worker that does jobs in threads, each in the loop that gear's users write."""
    seen: list[BaseException] = []

    def loop(worker: Any) -> None:
        while True:
            try:
                job = worker.getJob()
            except gear.InterruptedError:
                return
            try:
                run(job)
            except BaseException as error:  # noqa: BLE001  (raised in the test)
                seen.append(error)

    with connected(lambda: kind("worker"), *ports) as worker:
        worker.registerFunction(name)
        crew = [threading.Thread(target=loop, args=(worker,)) for _ in range(threads)]
        for thread in crew:
            thread.start()
        try:
            yield worker
        finally:
            worker.shutdown()
            for thread in crew:
                thread.join(PATIENCE)
            assert not any(thread.is_alive() for thread in crew)
    assert seen == []


def done(job: Any) -> Any:
    """Waits until a client's job is complete."""
    wait_until(lambda: job.complete, f"{job} is complete")
    return job


def packet(number: int, body: bytes = b"", magic: bytes = b"\0RES") -> bytes:
    return struct.pack(">4sII", magic, number, len(body)) + body


class Peer:
    """A server made by hand: it sends `greeting` to each connection and answers by `answer(connection, bytes)`.

    It never closes a connection by itself unless `answer` does.
    """

    def __init__(self, answer: Callable[[socket.socket, bytes], None] | None = None, greeting: bytes = b"") -> None:
        self.answer = answer
        self.greeting = greeting
        self.listener = socket.create_server((HOST, 0))
        self.port: int = self.listener.getsockname()[1]
        self.connections: list[socket.socket] = []
        self.received = b""
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections.append(connection)
            thread = threading.Thread(target=self._serve, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            connection.sendall(self.greeting)
            while data := connection.recv(65536):
                self.received += data
                if self.answer is not None:
                    self.answer(connection, data)
        connection.close()

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *reason: object) -> None:
        for sock in (self.listener, *self.connections):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        for thread in self._threads:
            thread.join(PATIENCE)

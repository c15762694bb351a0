# SPDX-License-Identifier: BSD-3-Clause
"""Connections that ask for very much at once, over real sockets and with both drivers.

They get all of it, in order, and the others are served meanwhile.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gearfast import Server
from gearfast._codec import Packet
from gearfast.protocol import Command

from .server_tools import DRIVERS, LIMIT, Wire, eventually

Start = Callable[..., Server]


@pytest.fixture(params=DRIVERS)
def start(request: pytest.FixtureRequest) -> Iterator[Start]:
    """Starts servers with the driver of this run."""
    servers: list[Server] = []

    def new(**settings: Any) -> Server:
        servers.append(Server(driver=request.param, **settings).start())
        return servers[-1]

    yield new
    for server in servers:
        server.stop()


def connect(server: Server) -> Wire:
    return Wire((server.host, server.port))


def register(worker: Wire, count: int) -> None:
    worker.sock.sendall(b"".join(Packet(Command.CAN_DO, (b"function %d" % n,)).encode() for n in range(count)))
    worker.echo()


def read_all(sock: socket.socket, size: int) -> tuple[bytes, int]:
    """Reads `size` bytes or to the end; the last thousand and how many there were."""
    tail, count = b"", 0
    buffer = memoryview(bytearray(1 << 20))
    while count < size:
        got = sock.recv_into(buffer)
        if not got:
            break
        count += got
        tail = (tail + bytes(buffer[max(0, got - 1000) : got]))[-1000:]
    return tail, count


class Sending:
    """Sends in a thread of its own, since the server may not read on until it is read from."""

    def __init__(self, sock: socket.socket, data: bytes, *, then_end: bool = False) -> None:
        self._sock, self._data, self._then_end = sock, data, then_end
        self._thread = threading.Thread(target=self._send, daemon=True)
        self._thread.start()

    def _send(self) -> None:
        self._sock.sendall(self._data)
        if self._then_end:
            self._sock.shutdown(socket.SHUT_WR)

    def join(self) -> None:
        self._thread.join(LIMIT)
        assert not self._thread.is_alive()


def test_others_are_served_meanwhile(start: Start) -> None:
    """128 KiB of `status` are eighteen thousand lists of 5,000 functions; nobody has to wait for their end."""
    server = start()
    with connect(server) as worker, connect(server) as greedy, connect(server) as other:
        register(worker, 5000)
        other.can_do(b"other")
        greedy.sock.sendall(b"status\n" * (131_072 // 7))
        greedy.sock.recv(1, socket.MSG_PEEK)
        for number in range(30):
            handle = other.submit(b"other", b"%d" % number, background=True)
            assert other.grab() == (handle, b"%d" % number)
            other.complete(handle, b"")
        # It has read nothing, and is not cut for that: what it asks for waits.
        assert len(server.connections()) == 3


def test_all_answers_come(start: Start) -> None:
    server = start()
    with connect(server) as worker, connect(server) as greedy, connect(server) as other:
        register(worker, 5000)
        other.sock.sendall(b"status\n")
        one = b""
        while not one.endswith(b".\n"):
            one += other.sock.recv(1 << 20)
        count = 300
        echo = Packet(Command.ECHO_REQ, (b"the end",)).encode()
        sending = Sending(greedy.sock, b"status\n" * count + echo)
        tail, size = read_all(greedy.sock, count * len(one) + len(echo))
        assert size == count * len(one) + len(echo)
        assert tail.endswith(one[-500:] + Packet(Command.ECHO_RES, (b"the end",)).encode())
        sending.join()
        greedy.echo()
        other.echo()


@pytest.mark.parametrize("count", [1, 40, 300])
def test_half_closed_with_frames_that_wait(start: Start, count: int) -> None:
    """Who sends everything, closes its sending side and then reads gets every answer and then the end."""
    server = start()
    with connect(server) as worker, connect(server) as greedy, connect(server) as other:
        register(worker, 5000)
        other.sock.sendall(b"status\n")
        one = b""
        while not one.endswith(b".\n"):
            one += other.sock.recv(1 << 20)
        sending = Sending(greedy.sock, b"status\n" * count, then_end=True)
        sending.join()
        other.echo()
        tail, size = read_all(greedy.sock, 1 << 40)
        assert size == count * len(one)
        assert tail.endswith(one[-500:])
        eventually(lambda: len(server.connections()) == 2)


def test_half_closed_worker_with_frames_that_wait(start: Start) -> None:
    """What it sent before its end counts: the job is completed, not given to another."""
    server = start()
    with connect(server) as client, connect(server) as worker, connect(server) as heir:
        register(worker, 5000)
        handle = client.submit(b"function 7", b"data")
        assert worker.grab() == (handle, b"data")
        done = Packet(Command.WORK_COMPLETE, (handle, b"result")).encode()
        Sending(worker.sock, b"status\n" * 60 + done, then_end=True).join()
        heir.can_do(b"function 7")
        tail, _ = read_all(worker.sock, 1 << 40)
        assert tail.endswith(b".\n")
        assert client.result(handle) == b"result"
        heir.send(Command.GRAB_JOB)
        heir.packet(Command.NO_JOB)


def test_half_closed_with_answers_that_the_kernel_does_not_take(start: Start) -> None:
    """A worker that closed its sending side gives its jobs back at once, and still gets all its answers."""
    server = start(high_water=64 << 20)
    with connect(server) as client, socket.socket() as sock, connect(server) as heir:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect((server.host, server.port))
        worker = Wire(sock)
        worker.can_do(b"f")
        handle = client.submit(b"f", b"data")
        assert worker.grab() == (handle, b"data")
        data = b"x" * 6_000_000
        sent = Sending(sock, Packet(Command.ECHO_REQ, (data,)).encode(), then_end=True)
        sent.join()
        heir.send(Command.CAN_DO, b"f")
        heir.send(Command.PRE_SLEEP)
        heir.packet(Command.NOOP)
        assert heir.grab() == (handle, b"data")
        tail, size = read_all(sock, 1 << 40)
        assert size == 12 + len(data)
        assert tail == data[:1000]


def test_who_never_reads_is_cut_alone(start: Start) -> None:
    """One that sends without end and takes nothing is noticed; others go on."""
    server = start(stall_limit=1)
    with connect(server) as worker, connect(server) as greedy, connect(server) as other:
        register(worker, 5000)
        greedy.sock.sendall(b"status\n" * 18_000)
        other.echo()
        eventually(lambda: len(server.connections()) == 2)
        other.echo()


def test_a_slow_reader_gets_everything(start: Start) -> None:
    """A small window and small reads: the server waits for it, byte for byte."""
    server = start(high_water=4096)
    with connect(server) as worker, connect(server) as slow:
        register(worker, 100)
        slow.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        lines = 20
        sending = Sending(slow.sock, b"status\n" * lines)
        got = b""
        while not got.endswith(b"\n.\n") or got.count(b"\n.\n") < lines:
            data = slow.sock.recv(3001)
            assert data
            got += data
        sending.join()
        lists = got.split(b"\n.\n")
        assert lists[-1] == b""
        assert len(set(lists[:-1])) == 1
        assert lists[0].count(b"\n") == 99
        slow.echo()

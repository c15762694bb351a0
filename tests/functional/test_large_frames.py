# SPDX-License-Identifier: BSD-3-Clause
"""Large frames over sockets: received into blobs of their own, sent from them in pieces, on both drivers.

The first half runs a reactor in this process, tick by tick, so that the records can be checked after each of them.
"""

from __future__ import annotations

import contextlib
import random
import socket
import sys
import threading
from collections.abc import Iterator

import pytest

from gearfast import Server
from gearfast._codec import Decoder, Packet
from gearfast.dispatch import Dispatcher
from gearfast.dispatch._check import check
from gearfast.protocol import Command

from .server_tools import DRIVERS, LIMIT, Wire, eventually

LARGE = 32_768
SMALL = 4096  # of a receive buffer: in less than a segment the kernel lets the other side wait 200 ms for each


def blob(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def packet(command: Command, *args: bytes) -> bytes:
    return Packet(command, args).encode()


class Ticks:
    """A reactor that runs when it is told to, with sockets that take and give little at a time."""

    def __init__(self, *, small: bool) -> None:
        from gearfast.server._reactor import Reactor

        self.small = small
        self.dispatcher = Dispatcher(handle_prefix=b"H")
        self.reactor = Reactor(self.dispatcher)
        self.listener = socket.socket()
        if small:
            self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
            self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen()
        self.reactor.add_listener(self.listener)
        self.socks: list[socket.socket] = []

    def close(self) -> None:
        self.reactor.close()
        self.listener.close()
        for sock in self.socks:
            sock.close()

    def run(self) -> None:
        """One tick. Between two of them nothing may be wrong."""
        self.reactor.run_once()
        check(self.dispatcher)

    def connect(self) -> socket.socket:
        sock = socket.socket()
        if self.small:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        sock.connect(self.listener.getsockname())
        sock.setblocking(False)
        self.socks.append(sock)
        return sock

    def leave(self, sock: socket.socket) -> None:
        self.socks.remove(sock)
        sock.close()
        eventually(lambda: (self.run(), self.reactor.peer_count == len(self.socks))[1], "the peer is gone")

    def talk(self, sock: socket.socket, data: bytes, answers: int) -> list[tuple[int, tuple[bytes, ...]]]:
        """Sends `data` while it reads; what came, once there are that many packets."""
        decoder = Decoder()
        found: list[tuple[int, tuple[bytes, ...]]] = []

        def step() -> bool:
            nonlocal data
            if data:
                with contextlib.suppress(BlockingIOError):
                    data = data[sock.send(data) :]
            self.run()
            try:
                got = decoder.receive(sock.recv(1_500))
            except BlockingIOError:
                got = []
            found.extend((each.command, each.args) for each in got if isinstance(each, Packet))
            return not data and len(found) >= answers

        for _ in range(1_000_000):
            if step():
                return found
        raise AssertionError(f"{len(found)} of {answers} answers came, {len(data)} bytes are unsent")


@pytest.fixture(params=[False, True], ids=["wide", "narrow"])
def ticks(request: pytest.FixtureRequest) -> Iterator[Ticks]:
    if sys.platform != "linux":
        pytest.skip("needs Linux (epoll)")
    made = Ticks(small=request.param)
    yield made
    made.close()


def test_echoes_of_many_sizes(ticks: Ticks) -> None:
    sizes = [0, LARGE - 1, LARGE, 5, 70_000, 70_000, 70_000, 200_000, 12, 40_000, 3_000, LARGE + 1]
    echoes = [blob(size, size) for size in sizes]
    got = ticks.talk(ticks.connect(), b"".join(packet(Command.ECHO_REQ, each) for each in echoes), len(echoes))
    assert [args[0] for _, args in got] == echoes


def test_jobs_and_results(ticks: Ticks) -> None:
    c, w = ticks.connect(), ticks.connect()
    sizes = [65_536, 65_536, LARGE, 10, 0, 131_072]
    jobs = [blob(size, n) for n, size in enumerate(sizes)]
    created = ticks.talk(c, b"".join(packet(Command.SUBMIT_JOB, b"f", b"", each) for each in jobs), len(jobs))
    grabs = packet(Command.CAN_DO, b"f") + packet(Command.GRAB_JOB) * len(jobs)
    assigned = ticks.talk(w, grabs, len(jobs))
    assert [args[2] for _, args in assigned] == jobs
    results = b"".join(packet(Command.WORK_COMPLETE, args[0], args[2][::-1]) for _, args in assigned)
    answer = packet(Command.PRE_SLEEP) + results + packet(Command.ECHO_REQ, b"end")
    assert ticks.talk(w, answer, 1) == [(Command.ECHO_RES, (b"end",))]
    finished = ticks.talk(c, b"", len(jobs))
    assert finished == [
        (Command.WORK_COMPLETE, (args[0], each[::-1])) for (_, args), each in zip(created, jobs, strict=True)
    ]
    assert ticks.dispatcher.job_count == 0


def test_who_waits_reads_at_its_own_pace(ticks: Ticks) -> None:
    clients = [ticks.connect() for _ in range(4)]
    for c in clients:
        ticks.talk(c, packet(Command.SUBMIT_JOB, b"f", b"u", b"x"), 1)
    w = ticks.connect()
    ticks.talk(w, packet(Command.CAN_DO, b"f") + packet(Command.GRAB_JOB), 1)
    result = packet(Command.WORK_DATA, b"H:1", blob(300_000)) + packet(Command.WORK_COMPLETE, b"H:1", blob(100_000, 2))
    ticks.talk(w, result + packet(Command.ECHO_REQ, b""), 1)
    assert ticks.dispatcher.job_count == 0
    wanted = [
        (Command.WORK_DATA, (b"H:1", blob(300_000))),
        (Command.WORK_COMPLETE, (b"H:1", blob(100_000, 2))),
    ]
    ticks.leave(clients.pop(1))
    for c in clients:
        assert ticks.talk(c, b"", 2) == wanted


def test_leaving_within_a_frame_and_within_an_answer(ticks: Ticks) -> None:
    frame = packet(Command.ECHO_REQ, blob(150_000))
    for cut in (5, 3_000, 40_000, 149_000):
        sock = ticks.connect()
        ticks.talk(sock, frame, 1)
        ticks.talk(sock, frame[:cut], 0)
        ticks.leave(sock)
    sock = ticks.connect()
    ticks.talk(sock, frame, 0)  # whatever of the answer has come
    ticks.leave(sock)
    assert ticks.dispatcher.peers() == []


def test_a_worker_leaves_while_it_gets_its_job(ticks: Ticks) -> None:
    c = ticks.connect()
    ticks.talk(c, packet(Command.SUBMIT_JOB, b"f", b"", blob(500_000)), 1)
    for _ in range(3):
        w = ticks.connect()
        ticks.talk(w, packet(Command.CAN_DO, b"f") + packet(Command.GRAB_JOB), 0)
        eventually(lambda: (ticks.run(), ticks.dispatcher.running_count == 1)[1], "the worker has the job")
        ticks.leave(w)
        assert ticks.dispatcher.running_count == 0
    w = ticks.connect()
    assert ticks.talk(w, packet(Command.CAN_DO, b"f") + packet(Command.GRAB_JOB), 1) == [
        (Command.JOB_ASSIGN, (b"H:1", b"f", blob(500_000)))
    ]


def test_a_slow_reader_gets_it_in_many_sends(ticks: Ticks) -> None:
    before = ticks.reactor.system_calls[2]
    ticks.talk(ticks.connect(), packet(Command.ECHO_REQ, blob(200_000)), 1)
    assert ticks.reactor.system_calls[2] - before > (5 if ticks.small else 0)


def test_more_parts_than_one_send_takes(ticks: Ticks) -> None:
    c, w = ticks.connect(), ticks.connect()
    count = 40 if ticks.small else 100
    ticks.talk(c, packet(Command.SUBMIT_JOB_BG, b"f", b"", blob(LARGE)) * count, count)
    got = ticks.talk(w, packet(Command.CAN_DO, b"f") + packet(Command.GRAB_JOB) * count, count)
    assert {args[2] for _, args in got} == {blob(LARGE)}
    assert [args[0] for _, args in got] == [b"H:%d" % (n + 1) for n in range(count)]


# Whole servers, both drivers


@pytest.mark.parametrize("driver", DRIVERS)
def test_large_jobs_of_many_sizes(driver: str) -> None:
    """A worker sends each workload back; none of them may be mixed up with the one before."""
    sizes = [65_536, 65_536, 1_000_000, LARGE, 100, 65_536, 3_000_000, 0, 65_536]
    with Server(driver=driver) as server, Wire((server.host, server.port)) as worker:

        def work() -> None:
            worker.can_do(b"mirror")
            for _ in sizes:
                handle, workload = worker.grab()
                worker.complete(handle, workload[::-1])

        thread = threading.Thread(target=work)
        thread.start()
        with Wire((server.host, server.port)) as client:
            for n, size in enumerate(sizes):
                handle = client.submit(b"mirror", blob(size, n))
                assert client.result(handle) == blob(size, n)[::-1]
        thread.join(LIMIT)
        assert not thread.is_alive()

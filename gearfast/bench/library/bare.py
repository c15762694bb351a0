# SPDX-License-Identifier: BSD-3-Clause
"""Bare sockets: plain loops of `sendall` and `recv` with the bytes of gearfast's own client and worker.

They know what comes and check nothing but that it has come: less than this a Python program cannot do. Clients are
made as `make(address, function)`, which returns what does so many jobs; workers never return.
"""

from __future__ import annotations

import select
from collections.abc import Callable

from gearfast.bench.library.wire import MARK, PAYLOAD, RESULT, request, submission
from gearfast.bench.load import connect
from gearfast.protocol import Command

__all__ = ["background", "run", "window", "worker", "worker_that_sleeps"]

WAIT_MS = 30_000
ROOM = 65536
WINDOW = 64


def run(address: str, function: str) -> Callable[[int], None]:
    """One job at a time: poll with a deadline before each recv, until the result is there behind JOB_CREATED."""
    sock = connect(address)
    sock.settimeout(None)
    packet = submission(function)
    poller = select.poll()
    poller.register(sock, select.POLLIN)
    poll, recv, sendall = poller.poll, sock.recv, sock.sendall

    def do(count: int) -> None:
        for _ in range(count):
            sendall(packet)
            data = b""
            while not data.endswith(PAYLOAD):
                if not poll(WAIT_MS):
                    raise TimeoutError("no result")
                data = recv(ROOM)
                if not data:
                    raise ConnectionResetError("the server has gone")

    return do


def _flow(address: str, packet: bytes, mark: bytes) -> Callable[[int], None]:
    """64 in flight: as many more are sent in one piece as a recv has brought answers that begin with `mark`."""
    sock = connect(address)
    sock.settimeout(30.0)  # the same poll before each recv, in C
    recv, sendall = sock.recv, sock.sendall

    def do(count: int) -> None:
        sent = min(WINDOW, count)
        sendall(packet * sent)
        done, rest = 0, b""
        while done < count:
            data = recv(ROOM)
            if not data:
                raise ConnectionResetError("the server has gone")
            data = rest + data
            come = data.count(mark)
            # A mark may be torn in two: its beginning waits for the next piece.
            rest = data[-(len(mark) - 1) :]
            done += come
            more = min(come, count - sent)
            if more:
                sendall(packet * more)
                sent += more

    return do


def window(address: str, function: str) -> Callable[[int], None]:
    """64 foreground jobs in flight; results are counted."""
    return _flow(address, submission(function), RESULT)


def background(address: str, function: str) -> Callable[[int], None]:
    """64 background submissions in flight; JOB_CREATEDs are counted."""
    return _flow(address, submission(function, background=True), MARK)


def worker(address: str, function: str) -> None:
    """Credits (`all_yours`), as gearfast's worker has them: a recv brings the job, a send its result and a grab."""
    sock = connect(address)
    sock.settimeout(None)
    recv, sendall = sock.recv, sock.sendall
    sendall(request(Command.OPTION_REQ, b"all_yours"))
    recv(ROOM)
    grab = request(Command.GRAB_JOB)
    sendall(request(Command.CAN_DO, function.encode()) + grab)
    while data := recv(ROOM):
        handle, _, workload = data[12:].split(b"\0", 2)
        sendall(request(Command.WORK_COMPLETE, handle, workload) + grab)


def worker_that_sleeps(address: str, function: str) -> None:
    """PRE_SLEEP, NOOP, GRAB_JOB, JOB_ASSIGN, WORK_COMPLETE with GRAB_JOB, NO_JOB: three sends and three recvs a job."""
    sock = connect(address)
    sock.settimeout(None)
    recv, sendall = sock.recv, sock.sendall
    grab, sleep = request(Command.GRAB_JOB), request(Command.PRE_SLEEP)
    sendall(request(Command.CAN_DO, function.encode()) + sleep)
    while recv(ROOM):  # NOOP
        sendall(grab)
        while len(data := recv(ROOM)) > 12:
            handle, _, workload = data[12:].split(b"\0", 2)
            sendall(request(Command.WORK_COMPLETE, handle, workload) + grab)
        sendall(sleep)

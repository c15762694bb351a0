# SPDX-License-Identifier: BSD-3-Clause
"""What a store costs one client, and how long its jobs take to come back.

Latency: background submissions, one at a time, beside bare commits of one row on the same disk, in turns. Return: a
server with many queued jobs is killed with SIGKILL, and the next one is timed from its start.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from gearfast._codec import Decoder, Packet, encode
from gearfast.bench.harness import cpus
from gearfast.bench.load import connect, pinned
from gearfast.bench.servers import ServerError
from gearfast.protocol import Command

__all__ = ["Link", "comes_back", "commit_latency", "count_jobs", "running", "temporary"]

COMMITS: Final = 200
"""Submissions, and bare commits, of one sample."""
WARM_UP: Final = 1100
"""Bare commits before those that count: until SQLite's log is used again it grows, and that takes longer."""
QUEUED: Final = 1_000_000
IN_FLIGHT: Final = 5_000
WORKLOAD: Final = b"x" * 32
FUNCTION: Final = b"durable"
PATIENCE: Final = 60.0


class Link:
    """A blocking connection that speaks packets. Raises OSError, ServerError."""

    def __init__(self, address: str) -> None:
        self.sock = connect(address)
        self.sock.settimeout(PATIENCE)
        self.decoder = Decoder()
        self.packets: list[Packet] = []

    def read(self) -> Packet:
        """The next one."""
        while not self.packets:
            data = self.sock.recv(1 << 20)
            if not data:
                raise ServerError("the server closed a connection")
            self.packets += [packet for packet in self.decoder.receive(data) if isinstance(packet, Packet)]
        return self.packets.pop(0)

    def submit(self, count: int) -> None:
        """Background jobs, all in flight at once, until all are acknowledged."""
        self.sock.sendall(encode(Command.SUBMIT_JOB_BG, FUNCTION, b"", WORKLOAD) * count)
        for _ in range(count):
            if self.read().command != Command.JOB_CREATED:
                raise ServerError("a background job was refused")

    def echo(self) -> None:
        """One round trip."""
        self.sock.sendall(encode(Command.ECHO_REQ, WORKLOAD))
        if self.read().command != Command.ECHO_RES:
            raise ServerError("an ECHO_REQ was not answered")


@contextlib.contextmanager
def temporary() -> Iterator[Path]:
    """A folder, on the disk that `TMPDIR` is on."""
    with tempfile.TemporaryDirectory(prefix="gearfast-bench-") as folder:
        yield Path(folder)


def _start(folder: Path, store: str, *flags: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "gearfast", "server", "--unix", str(folder / "socket")]
    command += ["--store", store or str(folder / "jobs.db"), "--log-level", "error", *flags]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL)


def _reach(folder: Path, server: subprocess.Popen[bytes]) -> Link:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return Link(str(folder / "socket"))
        except OSError:
            if server.poll() is not None or time.monotonic() > deadline:
                raise ServerError("a server with a store does not start") from None
            time.sleep(0.002)


@contextlib.contextmanager
def running(folder: Path, *flags: str, store: str = "") -> Iterator[tuple[subprocess.Popen[bytes], Link]]:
    """A server and a connection to its Unix socket, `socket` in this folder. `store`: a URL; empty: `jobs.db` there."""
    server = _start(folder, store, *flags)
    try:
        link = _reach(folder, server)
        with contextlib.closing(link.sock):
            yield server, link
    finally:
        server.kill()
        server.wait()
        with contextlib.suppress(OSError):
            os.unlink(folder / "socket")


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


def commit_latency(samples: int, pin: str = "one") -> tuple[list[float], list[float], list[float]]:
    """Medians, in µs, of `samples` rounds: of a submission until its JOB_CREATED, and of bare commits of one row.

    These are one right behind the other, and, as a disk that has rested may take longer, each behind the round trip of
    an ECHO_REQ, which is not counted. pin: "one": client and server share a CPU, as do the commits; else they run
    anywhere. Raises ServerError, OSError.
    """
    ours: list[float] = []
    bare: list[float] = []
    rested: list[float] = []
    mine = cpus(pin)[0] if pin == "one" else None
    with pinned(mine), temporary() as folder, running(folder) as (_, link):
        row = sqlite3.connect(folder / "bare.db", isolation_level=None)
        row.execute("PRAGMA journal_mode = WAL")
        row.execute("PRAGMA synchronous = FULL")
        row.execute("CREATE TABLE job (id INTEGER PRIMARY KEY, data BLOB)")

        def submit() -> float:
            start = time.perf_counter()
            link.submit(1)
            return time.perf_counter() - start

        def commit() -> float:
            start = time.perf_counter()
            row.execute("INSERT INTO job (data) VALUES (?)", (WORKLOAD,))
            return time.perf_counter() - start

        def rest_and_commit() -> float:
            link.echo()
            return commit()

        for _ in range(WARM_UP):
            commit()
        for turn in range(samples):
            kinds = ((ours, submit), (bare, commit), (rested, rest_and_commit))
            for values, once in kinds if turn % 2 == 0 else kinds[::-1]:
                values.append(_median([once() for _ in range(COMMITS)]) * 1e6)
        row.close()
    return ours, bare, rested


def count_jobs(sock: socket.socket) -> int:
    """Jobs of the function, by the text command."""
    sock.sendall(b"status\n")
    text = b""
    while not text.endswith(b".\n"):
        text += sock.recv(65536)
    rows = [line.split(b"\t") for line in text.splitlines()]
    return sum(int(row[1]) for row in rows if row[0] == FUNCTION)


def comes_back(queued: int = QUEUED) -> tuple[float, float]:
    """Seconds from a server's start to its first job given out, and until all `queued` jobs are back.

    Raises ServerError, OSError.
    """
    with temporary() as folder:
        with running(folder) as (server, link):
            for _ in range(0, queued, IN_FLIGHT):
                link.submit(IN_FLIGHT)
            server.send_signal(signal.SIGKILL)
            server.wait()
        start = time.perf_counter()
        with running(folder) as (_, worker):
            worker.sock.sendall(encode(Command.CAN_DO, FUNCTION) + encode(Command.GRAB_JOB))
            while worker.read().command != Command.JOB_ASSIGN:
                worker.sock.sendall(encode(Command.PRE_SLEEP))
                worker.read()  # NOOP
                worker.sock.sendall(encode(Command.GRAB_JOB))
            first = time.perf_counter() - start
            with contextlib.closing(connect(str(folder / "socket"))) as sock:
                while count_jobs(sock) < queued:
                    time.sleep(0.01)
            return first, time.perf_counter() - start

# SPDX-License-Identifier: BSD-3-Clause
"""A job server with a store is killed with SIGKILL again and again under load; a ledger proves that nothing is lost.

    python -m tests.chaos --kills 100 --seed 1

Clients submit background jobs, several in flight, and note which were acknowledged. Workers do them, and after each
send an ECHO: its answer means that the store knows. At the end every acknowledged job was done at least once, no job
came back whose end the store knew of, no handle was given out twice, and the store is empty.
"""

from __future__ import annotations

import itertools
import random
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from gearfast import Command, Decoder, Packet, encode

from .target import PATIENCE, Program, Server

FUNCTION = b"kept"
IN_FLIGHT = 16
LOAD = 100
"""Jobs that are acknowledged before the first kill."""
DRAIN_LIMIT = 60.0


@dataclass
class Ledger:
    """What clients and workers have seen."""

    acknowledged: set[bytes] = field(default_factory=set)
    done: set[bytes] = field(default_factory=set)
    reported: set[bytes] = field(default_factory=set)
    handles: set[bytes] = field(default_factory=set)
    again: int = 0  # jobs that were done more than once, as they may be
    faults: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def acknowledge(self, workload: bytes, handle: bytes) -> None:
        with self.lock:
            if handle in self.handles:
                self.faults.append(f"the handle {handle!r} was given out twice")
            self.handles.add(handle)
            self.acknowledged.add(workload)

    def do(self, workload: bytes) -> None:
        with self.lock:
            if workload in self.reported:
                self.faults.append(f"{workload!r} came back, though its end was stored")
            self.again += workload in self.done
            self.done.add(workload)

    def report(self, workload: bytes) -> None:
        with self.lock:
            self.reported.add(workload)

    def missing(self) -> set[bytes]:
        with self.lock:
            return self.acknowledged - self.done


class Link:
    """A connection to a server that may vanish at any time: then OSError."""

    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), 5 * PATIENCE)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.decoder = Decoder()
        self.packets: list[Packet] = []

    def send(self, *packets: bytes) -> None:
        self.sock.sendall(b"".join(packets))

    def read(self) -> Packet:
        while not self.packets:
            data = self.sock.recv(65536)
            if not data:
                raise ConnectionResetError("closed")
            self.packets += [packet for packet in self.decoder.receive(data) if isinstance(packet, Packet)]
        return self.packets.pop(0)

    def close(self) -> None:
        self.sock.close()


class Party(threading.Thread):
    """A client or a worker, which connects again whenever its connection is lost."""

    def __init__(self, name: str, port: int, ledger: Ledger, stop: threading.Event, seed: int) -> None:
        super().__init__(name=name, daemon=True)
        self.port = port
        self.ledger = ledger
        self.stop = stop
        self.rng = random.Random(seed)

    def run(self) -> None:
        while not self.stop.is_set():
            try:
                link = Link(self.port)
            except OSError:
                self.stop.wait(0.005)
                continue
            try:
                self.serve(link)
            except OSError:
                pass
            finally:
                link.close()

    def serve(self, link: Link) -> None:
        raise NotImplementedError


class Submitter(Party):
    """A client. What it has no answer to when its connection is lost, it never asks for again."""

    counter = itertools.count()

    def serve(self, link: Link) -> None:
        while not self.stop.is_set():
            batch = [
                b"%s %d" % (self.name.encode(), next(self.counter)) for _ in range(self.rng.randrange(1, IN_FLIGHT))
            ]
            batch = [workload + bytes(self.rng.choice((0, 0, 0, 1000, 70_000))) for workload in batch]
            link.send(*(self.packet(workload) for workload in batch))
            for workload in batch:
                answer = link.read()
                if answer.command == Command.JOB_CREATED:
                    self.ledger.acknowledge(workload, answer.args[0])

    def packet(self, workload: bytes) -> bytes:
        kinds = (Command.SUBMIT_JOB_BG, Command.SUBMIT_JOB_HIGH_BG, Command.SUBMIT_JOB_LOW_BG)
        unique = workload[:60].rstrip(b"\0") if self.rng.random() < 0.3 else b""
        return encode(self.rng.choice(kinds), FUNCTION, unique, workload)


class Doer(Party):
    """A worker. It may leave with a job in its hands."""

    def serve(self, link: Link) -> None:
        link.send(encode(Command.CAN_DO, FUNCTION))
        link.sock.settimeout(0.2 * PATIENCE)
        while not self.stop.is_set():
            link.send(encode(Command.GRAB_JOB))
            answer = link.read()
            if answer.command != Command.JOB_ASSIGN:
                self.stop.wait(0.002)
                continue
            handle, _, workload = answer.args
            if self.rng.random() < 0.01:
                return
            self.ledger.do(workload)
            link.send(encode(Command.WORK_COMPLETE, handle, b""), encode(Command.ECHO_REQ, b"kept"))
            while (answer := link.read()).command != Command.ECHO_RES:
                pass
            self.ledger.report(workload)


def left_in(server: Server) -> int:
    return sum(int(line.split("\t")[1]) for line in server.ask("status"))


def run_kills(
    folder: Path,
    kills: int,
    seed: int,
    store: str,
    *,
    options: tuple[str, ...] = (),
    trouble: Callable[[random.Random], None] | None = None,
) -> tuple[Ledger, str]:
    """Kills a server so many times; what was seen, and a line about it.

    `trouble` is called before each kill, under load: it may kill the database, and has to start it again.
    """
    rng = random.Random(seed)
    program = Program(sys.executable, "auto", ["--store", store, *options])
    server = Server(folder, program)
    ledger, stop, ended = Ledger(), threading.Event(), threading.Event()
    clients = [Submitter(f"c{n}", server.port, ledger, stop, seed * 100 + n) for n in range(3)]
    workers = [Doer(f"w{n}", server.port, ledger, ended, seed * 100 + 50 + n) for n in range(3)]
    for party in (*clients, *workers):
        party.start()
    began = time.monotonic()
    while len(ledger.acknowledged) < LOAD and time.monotonic() < began + DRAIN_LIMIT * PATIENCE:
        time.sleep(0.001)
    for _ in range(kills):
        time.sleep(rng.uniform(0.01, 0.25))
        if trouble is not None:
            trouble(rng)
        early = server.stop(signal.SIGKILL)
        if early:
            ledger.faults.append(early)
        server.start()
    stop.set()
    for party in clients:
        party.join()
    deadline = time.monotonic() + DRAIN_LIMIT * PATIENCE
    while (ledger.missing() or left_in(server)) and time.monotonic() < deadline:
        time.sleep(0.01)
    ended.set()
    for party in workers:
        party.join()
    missing = ledger.missing()
    ledger.faults += [f"acknowledged and never done: {workload[:60]!r}" for workload in sorted(missing)[:10]]
    if left := left_in(server):
        ledger.faults.append(f"{left} jobs are left")
    late = server.stop(signal.SIGTERM)
    ledger.faults += [late] if late else []
    ledger.faults += server.troubles()
    return ledger, (
        f"seed {seed}, {store.partition(':')[0] if '://' in store else 'sqlite'}: {kills} kills in "
        f"{time.monotonic() - began:.0f} s, {len(ledger.acknowledged)} jobs acknowledged, {len(ledger.done)} done, "
        f"{ledger.again} of them again, {len(ledger.reported)} ends stored, {len(ledger.faults)} faults"
    )

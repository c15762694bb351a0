# SPDX-License-Identifier: BSD-3-Clause
"""Clients and workers of several servers, which note all that they are told."""

from __future__ import annotations

import random
import socket
import threading
import time

from gearfast import Command, Packet, encode
from tests.functional.server_tools import SLOW, Wire

from .history import Notes
from .machines import Fleet, Node

__all__ = ["Both", "Doer", "Ledger", "Submitter", "probe"]

PATIENCE = 2.0 * SLOW
"""Seconds after which a party takes its connection for lost."""
KINDS = (Command.SUBMIT_JOB_BG, Command.SUBMIT_JOB_HIGH_BG, Command.SUBMIT_JOB_LOW_BG)
SIZES = (0,) * 20 + (1000,) * 5 + (70_000,)
UNIQUES = (b"",) * 9 + (b"red", b"green", b"blue")


class Ledger:
    """What is known while a run lasts: handles that were acknowledged, and those of jobs that were done."""

    def __init__(self, notes: Notes) -> None:
        self.notes = notes
        self.lock = threading.Lock()
        self.open: set[str] = set()
        self.done: set[str] = set()

    def ack(self, node: int, handle: bytes, asked: int = 0, unique: bytes = b"") -> None:
        """A client was told that a job is kept; one with this unique, for which it had asked then."""
        name = handle.decode()
        self.notes.add("ack", time.monotonic_ns(), node, name, asked, unique.decode())
        with self.lock:
            if name not in self.done:
                self.open.add(name)

    def begin(self, asked: int, node: int, handle: bytes) -> None:
        """A worker was given a job."""
        self.notes.add("begin", asked, time.monotonic_ns(), node, handle.decode())

    def do(self, handle: bytes) -> None:
        """And is about to say that it is done."""
        name = handle.decode()
        self.notes.add("done", time.monotonic_ns(), name)
        with self.lock:
            self.done.add(name)
            self.open.discard(name)

    def store(self, handle: bytes) -> None:
        """And was told that this is kept."""
        self.notes.add("stored", time.monotonic_ns(), handle.decode())

    @property
    def is_drained(self) -> bool:
        """All that was acknowledged was done."""
        with self.lock:
            return not self.open


def grab(wire: Wire, node: int, ledger: Ledger) -> tuple[bytes, bytes] | None:
    """The next job and its workload, noted; None if there is none."""
    asked = time.monotonic_ns()
    wire.send(Command.GRAB_JOB)
    while True:
        got = wire.get()
        if isinstance(got, Packet) and got.command == Command.JOB_ASSIGN:
            ledger.begin(asked, node, got.args[0])
            return got.args[0], got.args[2]
        if isinstance(got, Packet) and got.command == Command.NO_JOB:
            return None


def finish(wire: Wire, handle: bytes, ledger: Ledger) -> bool:
    """Says that the job is done, and waits until that is kept; False: it is not, as another server has the job."""
    ledger.do(handle)
    wire.sock.sendall(encode(Command.WORK_COMPLETE, handle, b"") + encode(Command.ECHO_REQ, b"kept"))
    refused = False
    while True:
        got = wire.get()
        assert isinstance(got, Packet)
        if got.command == Command.ECHO_RES:
            break
        refused |= got.command == Command.ERROR
    if not refused:
        ledger.store(handle)
    return not refused


class Party(threading.Thread):
    """Lives in the namespace `home`, and connects again to `node` whenever its connection is lost."""

    def __init__(self, fleet: Fleet, home: int, node: Node, ledger: Ledger, stop: threading.Event, seed: int) -> None:
        super().__init__(name=f"{type(self).__name__} {home}-{node.number}", daemon=True)
        self.fleet = fleet
        self.home = home
        self.node = node
        self.ledger = ledger
        self.stop = stop
        self.rng = random.Random(seed)
        self.refused = 0

    def run(self) -> None:
        self.fleet.network.enter(self.home)
        while not self.stop.is_set():
            try:
                wire = Wire(socket.create_connection(self.node.address, PATIENCE))
            except OSError:
                self.stop.wait(0.02)
                continue
            wire.sock.settimeout(PATIENCE)
            try:
                self.serve(wire)
            except (OSError, EOFError):
                pass
            except BaseException as error:
                self.fleet.faults.append(f"{self.name}: {error!r}")
                raise
            finally:
                wire.close()

    def serve(self, wire: Wire) -> None:
        raise NotImplementedError


class Submitter(Party):
    """A client. What it has no answer to when its connection is lost, it never asks for again."""

    def serve(self, wire: Wire) -> None:
        while not self.stop.is_set():
            count = self.rng.randrange(1, 6)
            uniques = [self.rng.choice(UNIQUES) for _ in range(count)]
            packets = [
                encode(self.rng.choice(KINDS), b"kept", unique, bytes(self.rng.choice(SIZES))) for unique in uniques
            ]
            asked = time.monotonic_ns()
            wire.sock.sendall(b"".join(packets))
            for unique in uniques:
                got = wire.get()
                assert isinstance(got, Packet)
                if got.command == Command.JOB_CREATED:
                    self.ledger.ack(self.node.number, got.args[0], asked, unique)
                else:
                    self.refused += 1
            self.stop.wait(self.rng.uniform(0, 0.06))


class Doer(Party):
    """A worker. It may leave with a job in its hands, or take its time."""

    def serve(self, wire: Wire) -> None:
        wire.send(Command.CAN_DO, b"kept")
        sleeps = self.rng.random() < 0.5
        while not self.stop.is_set():
            job = grab(wire, self.node.number, self.ledger)
            if job is None:
                if sleeps:
                    wire.send(Command.PRE_SLEEP)
                    wire.packet(Command.NOOP)
                else:
                    self.stop.wait(0.01)
                continue
            chance = self.rng.random()
            if chance < 0.01:
                return
            if chance < 0.1:
                self.stop.wait(self.rng.uniform(0, 0.3))
            finish(wire, job[0], self.ledger)


class Both(Party):
    """A client that is a worker on the same connection, so that the jobs it gets wait behind its own JOB_CREATED."""

    def serve(self, wire: Wire) -> None:
        wire.send(Command.CAN_DO, b"kept")
        while not self.stop.is_set():
            asked = time.monotonic_ns()
            wire.sock.sendall(encode(Command.SUBMIT_JOB_BG, b"kept", b"", b"") + encode(Command.GRAB_JOB))
            answered = False
            job = None
            while not answered or job is None:
                got = wire.get()
                assert isinstance(got, Packet)
                if got.command == Command.NO_JOB:
                    job = b""
                elif got.command == Command.JOB_ASSIGN:
                    job = got.args[0]
                    self.ledger.begin(asked, self.node.number, job)
                else:
                    answered = True
                    if got.command == Command.JOB_CREATED:
                        self.ledger.ack(self.node.number, got.args[0])
            if job:
                finish(wire, job, self.ledger)
            self.stop.wait(self.rng.uniform(0, 0.1))


def probe(fleet: Fleet, node: Node, ledger: Ledger) -> None:
    """A job that this server keeps and gives out itself. OSError or EOFError: it does not."""
    with node.connect() as client, node.connect() as worker:
        worker.send(Command.CAN_DO, b"probe")
        client.send(Command.SUBMIT_JOB_BG, b"probe", b"", b"")
        got = client.get()
        if not isinstance(got, Packet) or got.command != Command.JOB_CREATED:
            raise ConnectionError(f"node {node.number} keeps no jobs: {got!r}")
        handle = got.args[0]
        ledger.ack(node.number, handle)
        while (job := grab(worker, node.number, ledger)) is not None:
            finish(worker, job[0], ledger)
            if job[0] == handle:
                fleet.notes.add("served", time.monotonic_ns(), node.number)
                return
        raise ConnectionError(f"node {node.number} does not give out what it keeps")

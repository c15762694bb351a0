# SPDX-License-Identifier: BSD-3-Clause
"""`gearfast server` processes that share a database: one dies, stands still or leaves, and the others have its jobs."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

import gearfast
from gearfast import Decoder, Packet, encode
from gearfast.protocol import Command

from .server_tools import LIMIT, SLOW, ServerProcess, Wire, eventually, take_all
from .test_durable import places, submit, total

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="starts databases as Linux does it")

LEASE = 1.0 * SLOW
KINDS = ("postgresql", "mysql", "redis")
AHEAD = 200
"""Jobs that clients may be ahead of workers."""


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, database_url: Callable[[str], str]) -> str:
    return database_url(request.param)


def start(store: str, lease: float = LEASE, *flags: str) -> ServerProcess:
    return ServerProcess("--store", store, "--lease", f"{lease:g}", *flags)


def cluster(wire: Wire) -> list[list[str]]:
    """The rows of the text command: number, host, process, addresses, jobs, lease, lag."""
    return [line.decode().split("\t") for line in wire.lines("cluster")]


def forget_process(url: str) -> None:
    """As if all servers were on other machines, where nobody sees whether they have ended."""
    import psycopg

    location, _, schema = url.partition("&schema=")
    with psycopg.connect(location, autocommit=True) as link:
        link.execute(f"UPDATE {schema}.gearfast_server SET process = ''")  # type: ignore[arg-type]


def test_jobs_of_a_killed_server_go_to_another(store: str) -> None:
    """With their handles. It is on the same machine, where its end is seen at once."""
    with start(store, 600.0) as one, start(store, 600.0) as other, one.connect() as client, other.connect() as wire:
        handles = submit(client, 300)
        assert total(wire) == 0
        one.signal("SIGKILL")
        eventually(lambda: total(wire) == 300)
        wire.send(Command.GET_STATUS, handles[7])
        assert wire.packet(Command.STATUS_RES).args[:3] == (handles[7], b"1", b"0")
        assert take_all(wire, b"f", finish=True) == places(0, 300)
        wire.echo()
        assert len(cluster(wire)) == 1
        one.wait()
        other.wait_line("Took over")


def test_jobs_of_a_server_that_is_not_seen_any_more(database_url: Callable[[str], str]) -> None:
    """Nobody knows whether it has ended: they wait for its lease."""
    store = database_url("postgresql")
    with start(store, 2 * LEASE) as one, start(store, LEASE) as other, one.connect() as client, other.connect() as wire:
        submit(client, 10)
        forget_process(store)
        one.signal("SIGKILL")
        eventually(lambda: total(wire) == 10)
        one.wait()


def test_one_that_is_stopped_hands_over_at_once(store: str) -> None:
    with start(store, 600.0) as one, start(store, 600.0) as other, one.connect() as client, other.connect() as wire:
        submit(client, 300)
        one.signal("SIGTERM")
        assert one.wait() == 0
        assert "lost" not in one.log
        eventually(lambda: total(wire) == 300)


def test_servers_come_and_go(store: str) -> None:
    """None is told of the others. Each one's place is taken by those that are left, until a last one has all."""
    with start(store) as one, one.connect() as client:
        submit(client, 100)
        with start(store) as second, second.connect() as wire:
            submit(wire, 100, first=100)
            eventually(lambda: [bool(row[3]) for row in cluster(client)] == [True, True])
            rows = cluster(client)
            assert [row[3] for row in rows] == [*one.labels, *second.labels]
            assert [int(row[2]) for row in rows] == [one.process.pid, second.process.pid]
            assert int(rows[0][0]) < int(rows[1][0])
            one.signal("SIGKILL")
            eventually(lambda: total(wire) == 200)
            with start(store) as third, third.connect() as last:
                submit(last, 100, first=200)
                second.signal("SIGTERM")
                second.wait()
                eventually(lambda: total(last) == 300)
                assert sorted(take_all(last, b"f", finish=True), key=int) == places(0, 300)
                last.echo()
                eventually(lambda: len(cluster(last)) == 1)
            one.wait()


def test_a_server_that_starts_again_alone_has_its_jobs_at_once(store: str) -> None:
    with start(store, 600.0) as one, one.connect() as client:
        handles = submit(client, 100)
        one.signal("SIGKILL")
        one.wait()
    with start(store, 600.0, "--handle-prefix", "H:other") as again, again.connect() as wire:
        eventually(lambda: total(wire) == 100)
        wire.send(Command.GET_STATUS, handles[0])
        assert wire.packet(Command.STATUS_RES).args[:2] == (handles[0], b"1")
        new = submit(wire, 1)
        assert new[0].rpartition(b":")[0] == handles[0].rpartition(b":")[0]


def test_a_client_of_two_servers_goes_on(store: str) -> None:
    with start(store, 600.0) as one, start(store, 600.0) as other:
        servers = [f"127.0.0.1:{server.address[1]}" for server in (one, other)]
        with gearfast.Client(servers, timeout=LIMIT) as client:
            for n in range(50):
                client.submit_background("f", b"%d" % n)
            one.signal("SIGKILL")
            one.wait()
            for n in range(50, 100):
                client.submit_background("f", b"%d" % n)
        with other.connect() as wire:
            eventually(lambda: total(wire) == 100)
            assert sorted(take_all(wire, b"f", finish=True), key=int) == places(0, 100)


def admin(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gearfast", "admin", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=LIMIT)


def test_who_shares_a_store_is_told(store: str) -> None:
    """By any of them; and by the store itself when none is up."""
    with start(store, 600.0) as one, start(store, 600.0) as other, one.connect() as wire:
        eventually(lambda: [bool(row[3]) for row in cluster(wire)] == [True, True])
        done = admin("--server", one.labels[0], "cluster", "--json")
        rows = json.loads(done.stdout)
        assert [(row["pid"], row["addresses"]) for row in rows] == [
            (server.process.pid, server.labels[0]) for server in (one, other)
        ]
        assert all(500 < row["lease"] <= 600 and 0 <= row["lag"] < 100 for row in rows)
        assert admin("--server", other.labels[0], "cluster").stdout.count("\t") == 12
        for server in (one, other):
            server.signal("SIGSTOP")  # who is killed last does not see that the other one has ended
        for server in (one, other):
            server.signal("SIGKILL")
            server.wait()
        done = admin("cluster", "--store", store, "--json")
        assert [row["pid"] for row in json.loads(done.stdout)] == [one.process.pid, other.process.pid]


def test_a_server_that_shares_nothing() -> None:
    with gearfast.Server() as server, gearfast.AdminClient(server.url) as client:
        assert client.cluster() == []


def test_servers_in_one_process() -> None:
    async def ask(url: str) -> list[gearfast.ClusterServer]:
        async with gearfast.AsyncAdminClient(url) as client:
            return await client.cluster()

    with gearfast.Server(store="memory://cluster") as one, gearfast.Server(store="memory://cluster") as other:
        with gearfast.AdminClient(other.url) as client:
            eventually(lambda: len([row for row in client.cluster() if row.addresses]) == 2)
            first, second = client.cluster()
        assert first.id < second.id
        assert first.pid == second.pid == os.getpid()
        assert isinstance(first, gearfast.ClusterServer)
        eventually(lambda: len(asyncio.run(ask(one.url))) == 2)


@pytest.mark.parametrize(
    ("url", "status", "complaint"),
    [
        ("jobs.db", 2, "one server has this store for itself"),
        ("oracle://x", 2, "no such kind of store"),
        ("postgresql://127.0.0.1:1/x", 3, "refused"),
    ],
)
def test_a_store_that_cannot_be_asked(url: str, status: int, complaint: str) -> None:
    done = admin("cluster", "--store", url)
    assert (done.returncode, done.stdout) == (status, "")
    assert complaint in done.stderr


# --- A history of who had which job when ---


@dataclass
class History:
    """Of each job: when a worker got it, of which server, and when the end of its lease was told to be stored."""

    given: list[tuple[bytes, int, float]] = field(default_factory=list)
    kept: dict[bytes, float] = field(default_factory=dict)
    acknowledged: set[bytes] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)


class Party(threading.Thread):
    """A client or a worker of one server, which connects again whenever its connection is lost."""

    counter = itertools.count()

    def __init__(self, history: History, server: int, port: int, stop: threading.Event, worker: bool) -> None:
        super().__init__(daemon=True)
        self.history, self.server, self.port, self.stop = history, server, port, stop
        self.work = self.do if worker else self.submit

    def run(self) -> None:
        while not self.stop.is_set():
            try:
                with socket.create_connection(("127.0.0.1", self.port), LIMIT) as sock:
                    sock.settimeout(0.5 * SLOW)
                    self.sock, self.decoder, self.packets = sock, Decoder(), []
                    self.work()
            except OSError:
                self.stop.wait(0.01)

    def read(self) -> Packet:
        while not self.packets:
            data = self.sock.recv(65536)
            if not data:
                raise ConnectionResetError
            self.packets += [packet for packet in self.decoder.receive(data) if isinstance(packet, Packet)]
        packet: Packet = self.packets.pop(0)
        return packet

    def submit(self) -> None:
        while not self.stop.is_set():
            if len(self.history.acknowledged) > len(self.history.kept) + AHEAD:
                self.stop.wait(0.001)  # else a slow machine has too much left to do at the end
                continue
            workload = b"%d" % next(self.counter)
            self.sock.sendall(encode(Command.SUBMIT_JOB_BG, b"f", b"", workload))
            if self.read().command == Command.JOB_CREATED:
                with self.history.lock:
                    self.history.acknowledged.add(workload)
            else:
                self.stop.wait(0.02)

    def do(self) -> None:
        self.sock.sendall(encode(Command.CAN_DO, b"f"))
        while not self.stop.is_set():
            asked = time.monotonic()
            self.sock.sendall(encode(Command.GRAB_JOB))
            packet = self.read()
            if packet.command != Command.JOB_ASSIGN:
                self.stop.wait(0.005)
                continue
            handle, _, workload = packet.args
            with self.history.lock:
                self.history.given.append((workload, self.server, asked))
            self.sock.sendall(encode(Command.WORK_COMPLETE, handle, b"") + encode(Command.ECHO_REQ, b""))
            while self.read().command != Command.ECHO_RES:
                pass
            with self.history.lock:
                self.history.kept.setdefault(workload, time.monotonic())


def faults(history: History, stood: list[tuple[int, float, float]]) -> list[str]:
    """What must not be: a job that was lost, or that was given out after its end was stored.

    `stood`: a server, and between which times it stood still. What its workers asked for before it stood, or while it
    did, may have been on its way to them all the time.
    """
    found = [f"{workload!r} was lost" for workload in history.acknowledged - {job for job, _, _ in history.given}]
    for workload, server, asked in history.given:
        late = any(server == which and asked <= end for which, _, end in stood)
        if asked > history.kept.get(workload, asked) and not late:
            found.append(f"{workload!r} came back from server {server} {asked - history.kept[workload]:.3f} s later")
    return found


def test_a_server_that_stands_still_and_wakes_up(store: str) -> None:
    """It believes to be the owner of jobs that another one has: what it does then is refused, and nothing is lost."""
    history, stop, ended = History(), threading.Event(), threading.Event()
    stood: list[tuple[int, float, float]] = []
    with start(store) as one, start(store) as other, start(store) as third:
        servers = [one, other, third]
        parties = [
            Party(history, n, server.address[1], ended if worker else stop, worker)
            for n, server in enumerate(servers)
            for worker in (False, False, True)
        ]
        for party in parties:
            party.start()
        for n in (0, 1, 2, 0):
            before = len(history.kept)
            eventually(lambda before=before: len(history.kept) > before + 20)  # type: ignore[misc]
            pid = servers[n].process.pid
            began = time.monotonic()
            servers[n].signal("SIGSTOP")
            try:
                with servers[n - 1].connect() as wire:
                    eventually(lambda wire=wire, pid=pid: str(pid) not in [row[2] for row in cluster(wire)])  # type: ignore[misc]
            finally:
                servers[n].signal("SIGCONT")
            stood.append((n, began, time.monotonic()))
            servers[n].wait_line("The lease was lost", sum(which == n for which, _, _ in stood) - 1)
        stop.set()
        eventually(lambda: history.acknowledged <= history.kept.keys() | {job for job, _, _ in history.given})
        with one.connect() as a, other.connect() as b, third.connect() as c:
            eventually(lambda: not any(map(total, (a, b, c))))
        ended.set()
        for party in parties:
            party.join()
    assert not faults(history, stood)
    assert len(history.acknowledged) > 100
    assert len(history.kept) > 100

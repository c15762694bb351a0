# SPDX-License-Identifier: BSD-3-Clause
"""Many clients and workers in any order, commits that succeed or fail, crashes at any moment: what was acknowledged and
has not ended is there again, what the store was told to have ended is not, and nothing comes back that never was."""

from __future__ import annotations

import random
import struct
from dataclasses import dataclass, field

import pytest

from gearfast.dispatch import Batch, Dispatcher, survivors
from gearfast.dispatch._check import check
from gearfast.dispatch.policy import Policies
from tests.protocol.script import PREFIX, START_MONOTONIC, START_WALL, Q, split

STEPS = 400


@dataclass
class Disk:
    """What a store keeps: records by number of their batch, and which of their jobs have ended."""

    records: dict[int, bytes] = field(default_factory=dict)
    ended: set[int] = field(default_factory=set)
    replaced: dict[int, set[int]] = field(default_factory=dict)  # by number of the batch: of those before it
    losses: dict[int, int] = field(default_factory=dict)
    written: list[Batch] = field(default_factory=list)

    def write(self, batch: Batch) -> None:
        self.written.append(batch)
        if batch.records:
            self.records[batch.number] = batch.records
        for (number,) in struct.iter_unpack("<Q", batch.replaced):
            for before in self.records:
                if before != batch.number:
                    self.replaced.setdefault(before, set()).add(number)
        self.ended |= {number for (number,) in struct.iter_unpack("<Q", batch.ended)}
        self.losses.update(batch.changes)

    def packed(self, batch: int) -> bytes:
        gone = self.ended | self.replaced.get(batch, set())
        return struct.pack(f"<{len(gone)}Q", *sorted(gone))


class Play:
    """One run of a server after the other on the same disk."""

    def __init__(self, seed: int, policies: Policies | None = None) -> None:
        self.policies = policies
        self.rng = random.Random(seed)
        self.disk = Disk()
        self.submitted: dict[int, bytes] = {}  # workload by number, from the replies
        self.acknowledged: set[int] = set()
        self.finished: set[int] = set()  # by a worker's packet that the server took
        self.next_number = 1
        self.batch = 0
        self.counter = 0
        self.brought_out = 0
        self.start()

    def start(self) -> None:
        self.server = Dispatcher(
            handle_prefix=PREFIX, first_handle=self.next_number, seed=7, max_unsent=0, policies=self.policies
        )
        self.now = START_MONOTONIC
        self.server.tick(self.now, START_WALL * 10**9)
        self.server.open_journal(first_batch=self.batch + 1)
        self.taken: Batch | None = None
        self.clients: dict[int, list[bytes]] = {}  # what each waits for: workloads in the order of their submission
        self.workers: dict[int, list[int]] = {}
        for number in sorted(self.disk.records):
            self.server.restore(self.disk.records[number], self.disk.packed(number))

    def crash(self) -> None:
        self.next_number = self.server.next_number + 100
        self.server = Dispatcher()
        self.start()
        back = {job["number"]: job["workload"] for job in self.server.jobs()}
        dead = {letter["number"]: letter["workload"] for letter in self.server.dead_letters()}
        assert not set(back) & set(dead), "both a job and a dead letter"
        assert not self.disk.ended & set(dead), "dead letters came back that the store knew to be gone"
        back |= dead
        lost = self.acknowledged - self.finished - set(back)
        assert not lost, f"acknowledged, not done, and not back: {lost}"
        assert not self.disk.ended & set(back), "jobs came back that the store knew to have ended"
        for number, workload in back.items():
            assert self.submitted.get(number, workload) == workload
        self.finished -= set(back)  # they may be done again: their ends were not stored

    def submit(self) -> None:
        if not self.clients or self.rng.random() < 0.2:
            self.clients[self.server.connect()] = []
        peer = self.rng.choice(list(self.clients))
        self.counter += 1
        unique, size = b"", self.rng.choice((0, 0, 10, 5000))
        workload = b"%d " % self.counter + bytes(size)
        if self.rng.random() < 0.3:
            workload = unique = b"u%d" % self.rng.randrange(4)
        durable = self.rng.random() < 0.8
        self.clients[peer].append(workload if durable else b"")
        build = Q.SUBMIT_JOB_BG if durable else Q.SUBMIT_JOB
        self.server.receive(peer, build(b"f%d" % self.rng.randrange(2), unique, workload))
        self.collect()

    def work(self) -> None:
        if not self.workers or self.rng.random() < 0.1:
            peer = self.server.connect()
            self.workers[peer] = []
            self.server.receive(peer, Q.CAN_DO(b"f0") + Q.CAN_DO(b"f1"))
        peer = self.rng.choice(list(self.workers))
        running = self.workers[peer]
        if running and self.rng.random() < 0.7:
            number = running.pop(self.rng.randrange(len(running)))
            fails = self.rng.random() < (0.5 if self.policies else 0.2)
            build = Q.WORK_FAIL if fails else None
            handle = PREFIX + b":%d" % number
            known = {job["number"] for job in self.server.jobs()}
            self.server.receive(peer, build(handle) if build else Q.WORK_COMPLETE(handle, b""))
            if number in known and not (build and self.policies):  # a dead letter is there for good
                self.finished.add(number)
        else:
            self.server.receive(peer, Q.GRAB_JOB())
        self.collect()

    def bring_out(self) -> None:
        """A dead letter is queued again, or dropped."""
        letters = self.server.dead_letters()
        if not letters:
            return
        letter = self.rng.choice(letters)
        admin = self.server.connect()
        verb = self.rng.choice((b"requeue", b"requeue", b"drop"))
        self.server.receive(admin, b"dead %s %s\n" % (verb, letter["handle"].encode()))
        said = self.server.take_output(admin)
        assert said == b"OK 1\r\n" or (said.startswith(b"ERR NOT_QUEUED") and verb == b"requeue"), said
        self.brought_out += 1
        if verb == b"drop":
            self.finished.add(letter["number"])
        self.server.disconnect(admin)
        self.collect()

    def leave(self) -> None:
        peers = self.workers if self.workers and self.rng.random() < 0.5 else self.clients
        if peers:
            peer = self.rng.choice(list(peers))
            del peers[peer]
            self.server.disconnect(peer)
            self.collect()

    def commit(self) -> None:
        if self.taken is None:
            self.taken = self.server.take_batch()
            return
        stored = self.rng.random() < 0.8
        if stored:
            self.disk.write(self.taken)
        self.batch = self.taken.number
        self.taken = None
        self.server.settle(stored)
        self.collect()

    def collect(self) -> None:
        for peer in self.server.take_dirty():
            for seen in split(self.server.take_output(peer)):
                self.read(peer, seen.name, seen.args)

    def read(self, peer: int, name: str, args: tuple[bytes, ...]) -> None:
        if name == "JOB_ASSIGN" and peer in self.workers:
            self.workers[peer].append(int(args[0].rpartition(b":")[2]))
        elif name in ("JOB_CREATED", "ERROR") and self.clients.get(peer):
            workload = self.clients[peer].pop(0)
            if name == "JOB_CREATED" and workload:
                number = int(args[0].rpartition(b":")[2])
                self.submitted[number] = workload
                self.acknowledged.add(number)

    def step(self) -> None:
        self.now += 1000
        self.server.tick(self.now, START_WALL * 10**9)
        steps = (self.submit, self.work, self.commit, self.leave, self.crash, self.bring_out)
        self.rng.choices(steps, (40, 40, 25, 3, 2, 8 if self.policies else 0))[0]()
        check(self.server)


@pytest.mark.parametrize("seed", range(30))
def test_nothing_acknowledged_is_lost(seed: int) -> None:
    play = Play(seed)
    for _ in range(STEPS):
        play.step()
    assert play.acknowledged
    play.crash()


@pytest.mark.parametrize("seed", range(30))
def test_no_dead_letter_is_lost(seed: int) -> None:
    play = Play(seed, Policies.parse({"f*": {"keep_failed": 10000}}))
    for _ in range(STEPS):
        play.step()
    assert play.brought_out
    play.crash()


def test_survivors() -> None:
    server = Dispatcher(handle_prefix=PREFIX, first_handle=5)
    server.open_journal()
    client = server.connect()
    server.receive(client, b"".join(Q.SUBMIT_JOB_BG(b"f", b"", b"%d" % n) for n in range(4)))
    batch = server.take_batch()
    assert batch is not None
    assert survivors(batch.records, b"") == (batch.records, 5, 8, 4)
    records, *rest = survivors(batch.records, struct.pack("<2Q", 5, 7))
    assert rest == [6, 8, 2]
    assert survivors(records, b"", {8}) == (records, 6, 6, 1)
    assert survivors(records, struct.pack("<2Q", 6, 8)) == (b"", 0, 0, 0)
    with pytest.raises(ValueError, match="not whole, at byte 40"):
        survivors(batch.records[:70], b"")

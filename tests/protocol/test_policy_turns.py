# SPDX-License-Identifier: BSD-3-Clause
"""The dispatch of a function's jobs against a plain account of it: whose turn it is, whatever was done in any order."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest

from gearfast.dispatch.policy import Policies
from gearfast.protocol import HEADER_SIZE

from .script import Peer, Q, R, Wire, split
from .test_all_yours import credited

NOOP = R.NOOP()
NO_JOB = R.NO_JOB()


@dataclass(eq=False)
class Account:
    """What is known of a worker. Its turn is that of its last job, or of its registration."""

    peer: Peer
    turn: int
    jobs: list[bytes] = field(default_factory=list)
    held: int = 0
    asleep: bool = False
    woken: bool = False


class Pool:
    """Workers of f, of which half may leave their GRABs with the server, and what they have to get."""

    def __init__(self, how: str, seed: int, workers: int) -> None:
        self.chance = random.Random(seed)
        self.how = how
        self.wire = Wire(
            policies=Policies.parse({"f": {"dispatch": how}}),
            order=self.chance.choice(("priority", "function")),
            wakeup=self.chance.choice((0, 0, 1, 3)),
        )
        self.client = self.wire.peer("c")
        self.turn = 0
        self.queued = 0
        self.workers: list[Account] = []
        for number in range(workers):
            self.enter(number)

    def enter(self, number: int) -> None:
        name = f"w{number}"
        functions = (b"f",) if self.chance.random() < 0.5 else (b"e", b"f", b"g")
        peer = credited(self.wire, name, *functions) if number % 2 else self.wire.worker(name, *functions)
        self.turn += 1
        self.workers.append(Account(peer, self.turn))

    def first(self, among: list[Account]) -> Account:
        if self.how == "round-robin":
            return min(among, key=lambda one: one.turn)
        nearest = sorted(among, key=lambda one: one.turn)[:16]
        return min(nearest, key=lambda one: (len(one.jobs), one.turn))

    def give(self, worker: Account) -> None:
        """What comes next at it is a job; there may be more behind it."""
        got = worker.peer.take()
        end = HEADER_SIZE + int.from_bytes(got[8:HEADER_SIZE], "big")
        worker.peer.unread = got[end:]
        (seen,) = split(got[:end])
        assert seen.name == "JOB_ASSIGN", f"{worker.peer} got {seen}"
        worker.jobs.append(seen.args[0])
        self.turn += 1
        worker.turn = self.turn

    def a_job_waits(self) -> None:
        """One more: for who holds a GRAB, else whose turn it is to be woken."""
        holders = [one for one in self.workers if one.held]
        if holders:
            chosen = self.first(holders)
            chosen.held -= 1
            self.give(chosen)
            return
        self.queued += 1
        self.wake_one()

    def wake_one(self) -> None:
        sleepers = [one for one in self.workers if one.asleep and not one.woken]
        if sleepers:
            chosen = self.first(sleepers)
            chosen.woken = True
            chosen.peer.expect(NOOP)

    # What may happen

    def submit(self, _: Account) -> None:
        self.client.submit(b"f", b"x", kind="SUBMIT_JOB_BG")
        self.a_job_waits()

    def grab(self, worker: Account) -> None:
        worker.asleep = worker.woken = False
        worker.peer.send(Q.GRAB_JOB())
        if self.queued:
            self.queued -= 1
            self.give(worker)
        elif self.workers.index(worker) in self.credits():
            worker.held += 1
        else:
            worker.peer.expect(NO_JOB)

    def credits(self) -> set[int]:
        return {at for at, one in enumerate(self.workers) if int(one.peer.name[1:]) % 2}

    def sleep(self, worker: Account) -> None:
        worker.peer.send(Q.PRE_SLEEP())
        expected = NO_JOB * worker.held
        worker.held = 0
        worker.woken = False
        worker.asleep = not self.queued
        worker.peer.expect(expected + (NOOP if self.queued else b""))

    def complete(self, worker: Account) -> None:
        if worker.jobs:
            job = worker.jobs.pop(self.chance.randrange(len(worker.jobs)))
            worker.peer.send(Q.WORK_COMPLETE(job, b"")).expect_nothing()

    def replace(self, worker: Account) -> None:
        """It leaves, and another one comes. A job that waits is another's then, and so is each job that it had."""
        if self.chance.random() < 0.7:
            return
        self.workers.remove(worker)
        worker.peer.leave()
        if self.queued:
            self.wake_one()
        for _ in worker.jobs:
            self.a_job_waits()
        self.enter(max(int(one.peer.name[1:]) for one in [*self.workers, worker]) + 1)


@pytest.mark.parametrize("how", ["round-robin", "least-loaded"])
@pytest.mark.parametrize("seed", range(40))
def test_turns_are_as_the_account_says(how: str, seed: int) -> None:
    pool = Pool(how, seed, workers=2 + seed % 25)
    deeds = [pool.submit] * 5 + [pool.grab] * 5 + [pool.sleep] * 3 + [pool.complete] * (seed % 5) + [pool.replace]
    for _ in range(300):
        pool.chance.choice(deeds)(pool.chance.choice(pool.workers))
        pool.wire.silent()
    pool.wire.sound()

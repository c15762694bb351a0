# SPDX-License-Identifier: BSD-3-Clause
"""Random traffic with a ceiling so low that nearly every workload leaves memory, beside plain lists that know better.

After each step all records of the dispatcher agree with each other; each function's jobs come in their order, with
their workloads; at the end, over restarts, none is missing.
"""

from __future__ import annotations

from random import Random

import pytest

from gearfast.dispatch import Batch, chosen
from gearfast.dispatch.policy import Policies

from .script import Q, Wire
from .test_journal import numbers

STEPS = 400
FUNCTIONS = (b"f", b"g", b"h")
KINDS = ("SUBMIT_JOB_HIGH_BG", "SUBMIT_JOB_BG", "SUBMIT_JOB_LOW_BG")
KEEP = Policies.parse({"h": {"tries": 2, "keep_failed": 50, "expire": 40, "backoff": 1}})

Key = tuple[bytes, int]


def added(batch: Batch) -> dict[int, bytes]:
    """The records of a batch, by the numbers of their jobs."""
    found = {}
    at = 0
    while at < len(batch.records):
        size = int.from_bytes(batch.records[at : at + 4], "little")
        found[int.from_bytes(batch.records[at + 8 : at + 16], "little")] = batch.records[at : at + size]
        at += size
    return found


class Store:
    """Batches as a store has them: the last record of each job that has not ended."""

    def __init__(self) -> None:
        self.records: dict[int, bytes] = {}

    def write(self, batch: Batch) -> None:
        self.records |= added(batch)
        for number in numbers(batch.ended):
            self.records.pop(number, None)

    def all(self) -> bytes:
        return b"".join(self.records[number] for number in sorted(self.records))


class Run:
    """One run. `queues`: what is queued by function and priority, in order; `taken`: what a worker has; `once`: what of
    that is not tried again; `joined`: for what somebody waits."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.store = Store()
        self.queues: dict[Key, list[bytes]] = {(f, p): [] for f in FUNCTIONS for p in range(3)}
        self.lost: set[bytes] = set()
        self.count = 0
        self.asked: list[int] = []
        self.generation = 0
        self.start()

    def start(self) -> None:
        """A server with what the store has; who ran, runs no more."""
        self.generation += 1
        self.wire = Wire("whole", first_handle=self.generation * 1_000_000, policies=KEEP)
        self.dispatcher = self.wire.dispatcher
        self.dispatcher.open_journal(
            first_batch=self.generation * 1_000_000, memory=self.random.choice((1, 2000, 9000))
        )
        self.dispatcher.restore(self.store.all())
        self.client = self.wire.peer("c")
        self.worker = self.wire.worker("w", *FUNCTIONS)
        self.taken: dict[bytes, tuple[Key, bytes]] = {}
        self.once: set[bytes] = set()
        self.joined: set[bytes] = set()
        self.wire.sound()

    def step(self) -> None:
        names = ("submit",) * 4 + ("work",) * 6 + ("commit",) * 3 + ("bring",) * 2
        name = self.random.choice((*names, "fail_batch", "lose", "cancel", "join", "end", "end"))
        getattr(self, name)()
        self.wire.sound()

    def submit(self) -> None:
        for _ in range(self.random.randrange(1, 30)):
            function, priority = self.random.choice(FUNCTIONS[:2]), self.random.randrange(3)
            self.count += 1
            size = self.random.choice((5, 70, 200, 1000, 40_000 if self.count % 50 == 0 else 90))
            workload = b"%d" % self.count + bytes(size)
            self.client.send(getattr(Q, KINDS[priority])(function, b"u%d" % self.count, workload))
            self.queues[function, priority].append(workload)
        self.client.take()

    def work(self) -> None:
        """GRABs: what comes is the first of its queue, and none of its function is more urgent."""
        for _ in range(self.random.randrange(1, 12)):
            (packet,) = self.worker.send(Q.GRAB_JOB()).seen()
            if packet.name == "NO_JOB":
                return
            job, function, workload = packet.args
            urgent = min(p for f, p in self.queues if f == function and self.queues[f, p])
            assert self.queues[function, urgent].pop(0) == workload
            self.taken[job] = ((function, urgent), workload)

    def end(self) -> None:
        for job in list(self.taken)[: self.random.randrange(20)]:
            self.worker.send(Q.WORK_COMPLETE(job, b""))
            del self.taken[job]
        self.worker.take()

    def commit(self) -> None:
        batch = self.dispatcher.take_batch()
        if batch is not None:
            self.store.write(batch)
            self.dispatcher.settle(True)
            self.wire.tick()
            self.client.take()

    def fail_batch(self) -> None:
        """Its queued jobs are dropped; those that were taken run out, and once, if nobody waits for them."""
        before = {job["number"]: job["workload"] for job in self.dispatcher.jobs() if not job["running"]}
        batch = self.dispatcher.take_batch()
        if batch is None:
            return
        self.once |= {b"H:local:%d" % number for number in added(batch)} & self.taken.keys() - self.joined
        self.dispatcher.settle(False)
        self.wire.tick()
        self.client.take()
        gone = before.keys() - {job["number"] for job in self.dispatcher.jobs()}
        assert all(before[number] is not None for number in gone), "a job that was not stored was absent"
        for queue in self.queues.values():
            queue[:] = [workload for workload in queue if workload not in {before[number] for number in gone}]

    def bring(self) -> None:
        """Some of what is wanted comes, in two pieces; the request ends now or later."""
        if not self.asked:
            self.asked = numbers(self.dispatcher.take_wanted() or b"")
        piece = self.asked[: self.random.randrange(1, 40)]
        for number in piece:
            if number in self.store.records:
                self.dispatcher.supply(self.store.records[number])
        del self.asked[: len(piece)]
        if piece and not self.asked:
            self.dispatcher.supply_end()
        self.wire.tick()

    def lose(self) -> None:
        """The worker is gone: its jobs are queued again, last grabbed first."""
        self.worker.leave()
        for job, (key, workload) in reversed(self.taken.items()):
            if job not in self.once:
                self.queues[key].append(workload)
        self.taken.clear()
        self.worker = self.wire.worker("w", *FUNCTIONS)

    def cancel(self) -> None:
        queued = [job for job in self.dispatcher.jobs() if not job["running"] and not job["ignored"]]
        if queued:
            job = self.random.choice(queued)
            self.client.send(b"cancel job %s\n" % job["handle"].encode())
            self.client.take()
            self.forget(job["unique"])

    def forget(self, unique: bytes) -> None:
        for queue in self.queues.values():
            queue[:] = [workload for workload in queue if workload.rstrip(b"\0") != unique[1:] or not workload]

    def join(self) -> None:
        queued = [job for job in self.dispatcher.jobs() if not job["ignored"]]
        if queued:
            job = self.random.choice(queued)
            self.client.send(Q.SUBMIT_JOB(job["function"].encode(), job["unique"], b"joined"))
            self.joined.add(job["handle"].encode())
            self.client.take()
        assert self.dispatcher.job_count == len(self.dispatcher.jobs())

    def finish(self) -> None:
        """All that is left comes, in order."""
        self.end_all()
        for _ in range(10_000):
            self.work()
            self.end_all()
            self.commit()
            self.bring()
            self.wire.sound()
            if not any(self.queues.values()):
                return
        pytest.fail(f"jobs are left: {[(key, len(queue)) for key, queue in self.queues.items() if queue]}")

    def end_all(self) -> None:
        while self.taken:
            self.end()


@pytest.mark.parametrize("seed", range(25))
def test_order_and_workloads(seed: int) -> None:
    run = Run(seed)
    for _ in range(STEPS):
        run.step()
    run.finish()


@pytest.mark.parametrize("seed", range(10))
def test_restarts(seed: int) -> None:
    """What was stored and has not ended comes back in the order of submission, whatever of it was absent."""
    run = Run(seed)
    for _ in range(4):
        for _ in range(40):
            run.step()
        run.end_all()
        run.commit()
        run.commit()
        run.asked.clear()
        jobs = [job for job in run.dispatcher.jobs() if job["number"] in run.store.records]
        back = [job["number"] for job in jobs]
        uniques = {job["unique"] for job in jobs}
        run.start()
        assert [job["number"] for job in run.dispatcher.jobs()] == back
        for queue in run.queues.values():
            queue[:] = [workload for workload in queue if b"u" + workload.rstrip(b"\0") in uniques]
            queue.sort(key=lambda workload: int(workload.rstrip(b"\0")))
    run.finish()


def test_policies_beside_absent_jobs() -> None:
    """Retries, backoff, expiry and dead letters, with workloads that come and go: everything stays accounted for."""
    for seed in range(10):
        play_policies(Random(seed))


def play_policies(random: Random) -> None:
    wire = Wire("whole", policies=KEEP)
    wire.dispatcher.open_journal(memory=4000)
    store = Store()
    client, worker = wire.peer("c"), wire.worker("w", b"h")
    submitted = 0
    for _ in range(150):
        for _ in range(random.randrange(6)):
            client.send(Q.SUBMIT_JOB_BG(b"h", b"", b"%d" % submitted + bytes(100)))
            submitted += 1
        for _ in range(random.randrange(5)):
            (packet,) = worker.send(Q.GRAB_JOB()).seen()
            if packet.name == "JOB_ASSIGN" and random.random() < 0.5:
                worker.send(random.choice((Q.WORK_FAIL(packet.args[0]), Q.WORK_COMPLETE(packet.args[0], b""))))
        if random.random() < 0.1:
            worker.leave()
            worker = wire.worker("w", b"h")
        if random.random() < 0.1:
            client.send(random.choice((b"dead requeue *\n", b"dead requeue h\n", b"dead drop *\n")))
        wire.pass_time(random.random() * 4)
        while (batch := wire.dispatcher.take_batch()) is not None:
            store.write(batch)
            wire.dispatcher.settle(True)
        wanted = wire.dispatcher.take_wanted()
        if wanted:
            found, missing = chosen(store.all(), wanted)
            wire.dispatcher.supply(found)
            wire.dispatcher.supply_end(missing)
        wire.tick()
        client.take()
        worker.take()
        wire.sound()
    known = len(wire.dispatcher.jobs()) + len(wire.dispatcher.dead_letters())
    assert len(store.records) == known
    for letter in wire.dispatcher.dead_letters():
        assert letter["workload"] is None or letter["workload"].endswith(bytes(100))

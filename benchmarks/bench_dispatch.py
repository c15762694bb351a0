# SPDX-License-Identifier: BSD-3-Clause
"""The dispatcher in memory: whole lives of jobs without a socket. One round is one tick of 64 jobs (extra_info `jobs`).

pytest --benchmark-only benchmarks/bench_dispatch.py
"""

from __future__ import annotations

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from gearfast import Command, Decoder, Packet, encode
from gearfast.dispatch import Dispatcher

JOBS = 64


class Tick:
    """A client that submits 64 jobs at once and a worker that has as many GRAB_JOBs in flight."""

    def __init__(self, submit: Command, functions: int = 1, unique: bytes = b"") -> None:
        self.dispatcher = Dispatcher()
        self.client = self.dispatcher.connect("client")
        self.worker = self.dispatcher.connect("worker")
        for number in range(functions):
            self.dispatcher.receive(self.worker, encode(Command.CAN_DO, b"resize-%d" % number))
        self.dispatcher.receive(self.worker, encode(Command.PRE_SLEEP))
        workload = b"x" * 32
        self.submissions = b"".join(
            encode(submit, b"resize-0", unique and unique + b"%d" % number, workload) for number in range(JOBS)
        )
        self.grabs = encode(Command.GRAB_JOB) * JOBS
        self.tail = b"\0" + workload
        self.foreground = submit is Command.SUBMIT_JOB

    def run(self) -> bytes:
        """Submits, grabs, completes and sleeps; returns what the client was sent."""
        dispatcher = self.dispatcher
        dispatcher.receive(self.client, self.submissions)
        dispatcher.take_dirty()
        created = dispatcher.take_output(self.client)
        dispatcher.take_output(self.worker)
        dispatcher.receive(self.worker, self.grabs)
        dispatcher.take_dirty()
        handles = self._handles(dispatcher.take_output(self.worker))
        done = b"".join([b"\0REQ\0\0\0\r" + (len(h) + 33).to_bytes(4, "big") + h + self.tail for h in handles])
        dispatcher.receive(self.worker, done + encode(Command.PRE_SLEEP))
        dispatcher.take_dirty()
        return created + dispatcher.take_output(self.client)

    @staticmethod
    def _handles(assigned: bytes) -> list[bytes]:
        """Handles in a run of JOB_ASSIGN packets, split by hand: the codec is measured elsewhere."""
        return [b"H:local:" + rest.split(b"\0", 1)[0] for rest in assigned.split(b"H:local:")[1:]]


def check(tick: Tick) -> None:
    """One tick answers every submission, and every job if the client waits."""
    packets = [packet for packet in Decoder().receive(tick.run()) if isinstance(packet, Packet)]
    names = [packet.name for packet in packets]
    assert names.count("JOB_CREATED") == JOBS
    assert names.count("WORK_COMPLETE") == (JOBS if tick.foreground else 0)
    assert tick.dispatcher.job_count == 0


@pytest.mark.parametrize("submit", [Command.SUBMIT_JOB, Command.SUBMIT_JOB_BG], ids=["foreground", "background"])
def bench_life(benchmark: BenchmarkFixture, submit: Command) -> None:
    """Submitted, grabbed, completed."""
    tick = Tick(submit)
    check(tick)
    benchmark.extra_info["jobs"] = JOBS
    benchmark(tick.run)


def bench_life_with_uniques(benchmark: BenchmarkFixture) -> None:
    """The same with a unique for each job."""
    tick = Tick(Command.SUBMIT_JOB, unique=b"photo-")
    check(tick)
    benchmark.extra_info["jobs"] = JOBS
    benchmark(tick.run)


@pytest.mark.parametrize("functions", [1, 5_000, 20_000])
def bench_life_with_functions(benchmark: BenchmarkFixture, functions: int) -> None:
    """The same with a worker that can do much more; the cost must be flat."""
    tick = Tick(Command.SUBMIT_JOB, functions=functions)
    check(tick)
    benchmark.extra_info["jobs"] = JOBS
    benchmark(tick.run)


@pytest.mark.parametrize("waiting", [0, 100_000])
def bench_submit_behind(benchmark: BenchmarkFixture, waiting: int) -> None:
    """Background submissions behind a long queue; they stay queued, so it grows while it is measured."""
    dispatcher = Dispatcher()
    client = dispatcher.connect("client")
    submissions = encode(Command.SUBMIT_JOB_BG, b"resize", b"", b"x" * 32) * JOBS
    for _ in range(waiting // JOBS):
        dispatcher.receive(client, submissions)
        dispatcher.take_output(client)

    def submit() -> None:
        dispatcher.receive(client, submissions)
        dispatcher.take_dirty()
        dispatcher.take_output(client)

    benchmark.extra_info["jobs"] = JOBS
    benchmark.pedantic(submit, rounds=500, warmup_rounds=10)

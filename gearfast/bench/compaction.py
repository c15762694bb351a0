# SPDX-License-Identifier: BSD-3-Clause
"""A server with a store that runs for long: how large its file grows, and how long submitters wait.

    python -m gearfast.bench.compaction --minutes 60 [--queue 100000] [--rate 2000] [--json FILE]

Half of the jobs are done at once, the other half after `--queue` of their kind have come behind them, so that every
part of the store is half dead for most of its life, and dead only after all of it has been rewritten or passed by.
Submissions go out a hundred times a second; what is measured is the time until the last of them is acknowledged.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from gearfast._codec import encode
from gearfast.bench.durable import Link, running, temporary
from gearfast.bench.servers import ServerError, cpu_seconds
from gearfast.protocol import Command

__all__ = ["Outcome", "measure"]

TURN: Final = 0.01
"""Seconds between two submissions."""
KINDS: Final = (b"quick", b"slow")
WORKLOAD: Final = b"x" * 64
WARM_UP: Final = 0.1
"""Part of the time, once the queue is full, that is not counted."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """`jobs`: submitted; `waits_ms`: percentiles of the wait for an acknowledgement; `file`: the most bytes that the
    file and its log had; `live`: bytes of the records of the jobs that were queued at the end; `cpu_us`: of the server,
    for each job submitted and done."""

    seconds: float
    jobs: int
    queued: int
    waits_ms: dict[str, float]
    file: int
    live: int
    cpu_us: float

    @property
    def ratio(self) -> float:
        """How many times the live data the file had at most."""
        return self.file / self.live


class _Doer(threading.Thread):
    """Does jobs of one function, as many as it is told to."""

    def __init__(self, address: str, function: bytes) -> None:
        super().__init__(name=function.decode(), daemon=True)
        self.link = Link(address)
        self.link.sock.sendall(encode(Command.CAN_DO, function))
        self.wanted = 0
        self.done = 0
        self.more = threading.Semaphore(0)
        self.failed: Exception | None = None

    def want(self, count: int) -> None:
        self.wanted += count
        self.more.release()

    def run(self) -> None:
        try:
            while self.more.acquire():
                while self.done < self.wanted:
                    self.do(self.wanted - self.done)
        except (OSError, ServerError) as error:
            self.failed = error

    def do(self, count: int) -> None:
        self.link.sock.sendall(encode(Command.GRAB_JOB) * count)
        ended = []
        for _ in range(count):
            answer = self.link.read()
            if answer.command == Command.JOB_ASSIGN:
                ended.append(encode(Command.WORK_COMPLETE, answer.args[0], b""))
        if ended:
            self.link.sock.sendall(b"".join(ended))
            self.done += len(ended)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("jobs.db*"))


def _live(folder: Path, queued: int) -> int:
    """Bytes of the records of so many jobs, by those that the store has."""
    db = sqlite3.connect(folder / "jobs.db")
    try:
        size, count = db.execute("SELECT sum(length(records)), sum(count) FROM section").fetchone()
    finally:
        db.close()
    return int(size / count * queued)


def _percentiles(waits: Sequence[float]) -> dict[str, float]:
    ordered = sorted(waits)
    places = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999}
    found = {name: ordered[min(int(len(ordered) * share), len(ordered) - 1)] * 1e3 for name, share in places.items()}
    return {**found, "max": ordered[-1] * 1e3}


def _submit(link: Link, count: int) -> float:
    """Half of each kind, in turn; seconds until all are acknowledged."""
    packets = [encode(Command.SUBMIT_JOB_BG, KINDS[n % 2], b"", WORKLOAD) for n in range(count)]
    start = time.perf_counter()
    link.sock.sendall(b"".join(packets))
    for _ in range(count):
        if link.read().command != Command.JOB_CREATED:
            raise ServerError("a background job was refused")
    return time.perf_counter() - start


def measure(seconds: float, queue: int, rate: float) -> Outcome:
    """Raises ServerError, OSError."""
    with temporary() as folder, running(folder) as (server, link):
        quick, slow = (_Doer(str(folder / "socket"), function) for function in KINDS)
        for doer in (quick, slow):
            doer.start()
        turn = max(2, round(rate * TURN) // 2 * 2)
        waits: list[float] = []
        file = jobs = 0
        while jobs < 2 * queue:
            _submit(link, turn)
            quick.want(turn // 2)
            jobs += turn
        filled, began, cpu = jobs, time.monotonic(), cpu_seconds(server.pid)
        due = began
        while (now := time.monotonic()) < began + seconds:
            waits.append(_submit(link, turn))
            quick.want(turn // 2)
            slow.want(turn // 2)
            jobs += turn
            if now > began + WARM_UP * seconds and len(waits) % 100 == 0:
                file = max(file, _size(folder))
            failed = quick.failed or slow.failed
            if failed is not None:
                raise ServerError(f"a worker failed: {failed}")
            due += TURN
            time.sleep(max(0.0, due - time.monotonic()))
        file = max(file, _size(folder))
        taken = time.monotonic() - began
        cpu = cpu_seconds(server.pid) - cpu
        queued = jobs - quick.done - slow.done
        file = max(file, _size(folder))  # the first look, where the run was short and the machine slow
        server.send_signal(signal.SIGTERM)
        server.wait()
        done = jobs - filled
        return Outcome(taken, done, queued, _percentiles(waits), file, _live(folder, queued), cpu / max(done, 1) * 1e6)


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 1: the file had more than four times the live data, or p99.9 of the waits was above 50 ms."""
    parser = argparse.ArgumentParser(prog="python -m gearfast.bench.compaction", description=__doc__.split("\n\n")[0])
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--queue", type=int, default=100_000)
    parser.add_argument("--rate", type=float, default=2_000.0, help="jobs a second")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args(arguments)
    try:
        outcome = measure(args.minutes * 60, args.queue, args.rate)
    except (OSError, ServerError) as error:
        print(f"gearfast.bench.compaction: {error}", file=sys.stderr)
        return 2
    waits = ", ".join(f"{name} {value:.1f}" for name, value in outcome.waits_ms.items())
    print(
        f"{outcome.seconds:.0f} s, {outcome.jobs:,} jobs, {outcome.queued:,} queued: file at most {outcome.file:,} "
        f"bytes, {outcome.ratio:.2f} times the live {outcome.live:,}; waits in ms: {waits}; server "
        f"{outcome.cpu_us:.1f} us a job"
    )
    if args.json:
        args.json.write_text(json.dumps(asdict(outcome), indent=1) + os.linesep, encoding="utf-8")
    return 0 if outcome.ratio <= 4 and outcome.waits_ms["p99.9"] <= 50 else 1


if __name__ == "__main__":
    sys.exit(main())

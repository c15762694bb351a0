# SPDX-License-Identifier: BSD-3-Clause
"""Instructions and system calls a job takes in the server, counted, not timed: exact, and the same on a busy machine.

`python -m gearfast.bench.instructions` runs each server under callgrind and under strace, twice each: with M and with
N jobs. The difference by N - M is the cost of a job; start and set-up cancel out. Server and load go in lock step:
clients and workers act only while the server waits in its epoll, each ready socket once, so that as much comes
together in a round as on one CPU without valgrind, and the same in each run.

`--write FILE` keeps the counts, `--check FILE` compares with them, `--top FILE` writes the profile by function. Needs
valgrind, strace and a C compiler.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from gearfast.bench._clients import Clients
from gearfast.bench._workers import Workers
from gearfast.bench.load import connect
from gearfast.bench.report import aligned, machine
from gearfast.bench.servers import Server, ServerError
from gearfast.bench.traffic import KINDS, ROWS, Traffic

__all__ = [
    "Cost", "CountError", "changes", "cost_table", "count_calls", "count_instructions", "differences", "from_dict",
    "parse_calls", "parse_profile", "run_in_step",
]  # fmt: skip

COUNTED: Final = (
    "fg-1x1", "fg-8x8", "fg-4x4-64", "bg-8x4-64", "grabs16-4x4-64", "grabs64-4x4-64", "submit-only", "payload64k-4x4-4",
)  # fmt: skip
"""Rows that are counted."""
SERVERS: Final = ("floor", "gearfast")
MOST: Final = {"fg-4x4-64": 2.0}
"""Bars: gearfast's instructions a job at most so many times the floor's."""
JOBS: Final = (2_000, 12_000)
"""M and N."""
FEWER: Final = {"payload64k-4x4-4": (200, 1_200)}
"""M and N of rows whose jobs take long under valgrind."""
TOLERANCE: Final = 0.02
"""What another compiler, C library or Python may change, as a share."""


class CountError(RuntimeError):
    """The count cannot be made; the text says what is missing."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What a job of one row costs one server."""

    instructions: float
    """In user space."""
    calls: dict[str, float]
    """System calls by name."""

    @property
    def all_calls(self) -> float:
        """System calls of every kind."""
        return sum(self.calls.values())


# ---- lock step -------------------------------------------------------------------------------------------------


def _state(pid: int) -> str:
    """How the process is: S asleep, R running and so on. Raises ServerError if it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        raise ServerError(f"process {pid} is gone") from None


def _wait_asleep(pid: int) -> None:
    """Until the server waits in its epoll: nothing that was sent is unread then."""
    while _state(pid) != "S":
        time.sleep(0.0002)


@contextlib.contextmanager
def _undisturbed(pid: int) -> Iterator[None]:
    """Puts server and load on one CPU, where the server does not run before the load waits.

    A process under SCHED_BATCH does not displace one that runs when it wakes up. On a busy machine the load needs more
    to come back at once, which only root may have.
    """
    cpus = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cpus)})
    os.sched_setaffinity(pid, {min(cpus)})
    os.sched_setscheduler(pid, os.SCHED_BATCH, os.sched_param(0))
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    try:
        yield
    finally:
        with contextlib.suppress(PermissionError):
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        os.sched_setaffinity(0, cpus)


def run_in_step(server: Server, traffic: Traffic, jobs: int) -> None:
    """Runs `jobs` jobs of `traffic` on a server of this machine, in lock step. Raises RuntimeError if it fails."""
    assert server.pid is not None
    workers = Workers(
        [connect(server.address) for _ in range(traffic.workers)],
        grabs=traffic.grabs,
        grab=traffic.grab,
        answer=traffic.answer,
        functions=traffic.functions,
        credits=traffic.credits,
    )
    clients = Clients(
        [connect(server.address) for _ in range(traffic.clients)],
        kind=KINDS.index(traffic.kind),
        window=traffic.window,
        payload=traffic.payload,
        answer=traffic.answer,
        function=b"bench-%d" % traffic.target,
        uniques=traffic.uniques,
        priority=traffic.priority,
    )
    active: list[Clients | Workers] = [clients] if traffic.phase == "submit" else [workers, clients]
    try:
        with _undisturbed(server.pid):
            for _ in range(3):
                _wait_asleep(server.pid)
                workers.step()
            clients.begin(jobs)
            while any(load.finished_jobs < jobs for load in active):
                _wait_asleep(server.pid)
                for load in active:
                    load.step()
            _wait_asleep(server.pid)
    finally:
        workers.close()
        clients.close()
    if clients.wrong_results:
        raise RuntimeError(f"{clients.wrong_results} results were wrong")


def _run_under(under: Sequence[str], name: str, traffic: Traffic, jobs: int) -> None:
    """One server from start to end. SIGALRM ends it where it is: what it does at its end is no part of a job."""
    for tool in ("valgrind", "strace"):
        if under[0] == tool and shutil.which(tool) is None:
            raise CountError(f"{tool} is not installed")
    server = Server(name, under=["env", "PYTHONHASHSEED=0", *under])
    try:
        run_in_step(server, traffic, jobs)
    finally:
        server.close(signal.SIGALRM)


# ---- counting --------------------------------------------------------------------------------------------------


def parse_profile(text: str) -> Counter[str]:
    """Instructions by function ("name (file)") of a file that callgrind wrote without compression."""
    found: Counter[str] = Counter()
    name = file = ""
    called = False
    for line in text.splitlines():
        if line.startswith("fl="):
            file = Path(line[3:]).name
        elif line.startswith("fn="):
            name = f"{line[3:]} ({file})"
        elif line.startswith("calls="):
            called = True  # the next line is what the called function took
        elif line[:1].isdigit() and not called:
            found[name] += int(line.split()[1])
        else:
            called = False
    return found


def parse_calls(text: str) -> Counter[str]:
    """System calls by name of a table that `strace -c -U calls,name` wrote."""
    found: Counter[str] = Counter()
    for line in text.splitlines():
        words = line.split()
        if len(words) == 2 and words[0].isdigit() and words[1] != "total":
            found[words[1]] += int(words[0])
    return found


def differences(few: Counter[str], many: Counter[str], jobs: tuple[int, int]) -> dict[str, float]:
    """What a job takes, most first: (many - few) by the number of jobs between, where it is 0.001 or more."""
    per_job = {name: (many[name] - few[name]) / (jobs[1] - jobs[0]) for name in many}
    return {name: per_job[name] for name in sorted(per_job, key=lambda name: -per_job[name]) if per_job[name] >= 0.001}


def count_instructions(name: str, traffic: Traffic, jobs: tuple[int, int] = JOBS) -> dict[str, float]:
    """Instructions a job by function, most first. Raises CountError, ServerError."""
    counts = []
    for number in jobs:
        with tempfile.TemporaryDirectory(prefix="gearfast-bench-") as folder:
            path = Path(folder, "profile")
            under = ["valgrind", "-q", "--tool=callgrind", "--compress-strings=no", "--compress-pos=no", "--vgdb=no",
                     f"--callgrind-out-file={path}"]  # fmt: skip
            _run_under(under, name, traffic, number)
            counts.append(parse_profile(path.read_text()))
    return differences(counts[0], counts[1], jobs)


def count_calls(name: str, traffic: Traffic, jobs: tuple[int, int] = JOBS) -> dict[str, float]:
    """System calls a job by name, most first. Raises CountError, ServerError."""
    counts = []
    for number in jobs:
        with tempfile.TemporaryDirectory(prefix="gearfast-bench-") as folder:
            path = Path(folder, "calls")
            _run_under(["strace", "-f", "-c", "-U", "calls,name", "-o", str(path)], name, traffic, number)
            counts.append(parse_calls(path.read_text()))
    return differences(counts[0], counts[1], jobs)


# ---- keeping and comparing -------------------------------------------------------------------------------------


def _tool(*command: str) -> str:
    """First line of what a program says of its version; "-" without it."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return "-"
    return (done.stdout or "-").splitlines()[0]


def as_dict(costs: dict[str, dict[str, Cost]]) -> dict[str, Any]:
    """The counts by row and server, ready for JSON."""
    rows = {
        row: {
            server: {
                "instructions": round(cost.instructions, 1),
                "calls": {name: round(number, 3) for name, number in cost.calls.items()},
            }
            for server, cost in servers.items()
        }
        for row, servers in costs.items()
    }
    return {
        "command": "python -m gearfast.bench.instructions --write benchmarks/instructions.json",
        "what": "instructions in user space and system calls of the server a job, in lock step",
        "cpu": machine()["cpu"],
        "python": machine()["python"],
        "compiler": _tool("cc", "--version"),
        "valgrind": _tool("valgrind", "--version"),
        "rows": rows,
    }


def from_dict(data: dict[str, Any]) -> dict[str, dict[str, Cost]]:
    """The reverse of `as_dict`, as far as it is about counts."""
    return {row: {server: Cost(**cost) for server, cost in servers.items()} for row, servers in data["rows"].items()}


def misses(costs: dict[str, dict[str, Cost]]) -> list[str]:
    """The bars that are missed, in words."""
    found = []
    for row, most in MOST.items():
        if row in costs and len(costs[row]) == len(SERVERS):
            ratio = costs[row]["gearfast"].instructions / costs[row]["floor"].instructions
            if ratio > most:
                found.append(f"{row}: {ratio:.2f} times the floor's instructions, the bar is {most:g}")
    return found


def changes(
    before: dict[str, dict[str, Cost]], now: dict[str, dict[str, Cost]], tolerance: float = TOLERANCE
) -> list[str]:
    """What differs by more than `tolerance` (a share), in words: rows and servers of `now` against `before`."""
    found = []
    for row, servers in now.items():
        for server, cost in servers.items():
            old = before.get(row, {}).get(server)
            if old is None:
                found.append(f"{row} on {server}: not counted before")
                continue
            for what, was, is_now in (
                ("instructions", old.instructions, cost.instructions),
                ("system calls", old.all_calls, cost.all_calls),
            ):
                if abs(is_now - was) > tolerance * was:
                    found.append(f"{row} on {server}: {was:.4g} {what} a job before, {is_now:.4g} now")
    return found


def cost_table(costs: dict[str, dict[str, Cost]]) -> list[list[str]]:
    """One line a row: instructions of both, their ratio, system calls of both; a head first."""
    lines = [["row", "floor", "gearfast", "ratio", "calls, floor", "calls, gearfast"]]
    for row, servers in costs.items():
        floor, gearfast = servers.get("floor"), servers.get("gearfast")
        lines.append(
            [
                row,
                *(f"{cost.instructions:,.0f}" if cost else "-" for cost in (floor, gearfast)),
                f"{gearfast.instructions / floor.instructions:.2f}" if floor and gearfast else "-",
                *(f"{cost.all_calls:.2f}" if cost else "-" for cost in (floor, gearfast)),
            ]
        )
    return lines


def _words(text: str) -> list[str]:
    return [word for word in text.split(",") if word]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m gearfast.bench.instructions", description=__doc__, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--rows", type=_words, metavar="A,B", default=list(COUNTED), help="see gearfast bench --list")
    parser.add_argument("--servers", type=_words, metavar="A,B", default=list(SERVERS), help="floor, gearfast")
    parser.add_argument("--write", metavar="FILE", help="keep the counts in FILE (JSON)")
    parser.add_argument("--check", metavar="FILE", help="compare with the counts in FILE; exit status 1 if they differ")
    parser.add_argument("--tolerance", type=float, default=TOLERANCE, help="what may differ with --check, as a share")
    parser.add_argument("--top", metavar="FILE", help="write the instructions a job by function to FILE")
    parser.add_argument("--jobs", type=int, nargs=2, metavar=("M", "N"), help="jobs of the two runs")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit status: 0 fine, 1 a bar is missed or a count differs, 2 usage."""
    args = _parser().parse_args(argv)
    costs: dict[str, dict[str, Cost]] = {}
    top = []
    try:
        for row in args.rows:
            jobs = tuple(args.jobs) if args.jobs else FEWER.get(row, JOBS)
            for server in args.servers:
                profile = count_instructions(server, ROWS[row].traffic, jobs)
                cost = Cost(sum(profile.values()), count_calls(server, ROWS[row].traffic, jobs))
                costs.setdefault(row, {})[server] = cost
                top += [f"{row} on {server}: {cost.instructions:.1f} instructions a job"]
                top += [f"{number:10.1f}  {name}" for name, number in list(profile.items())[:50]]
                print(f"{row} on {server}: {cost.instructions:,.1f} instructions, {cost.all_calls:.3f} calls a job",
                      file=sys.stderr, flush=True)  # fmt: skip
        wrong = misses(costs)
        if args.check:
            wrong += changes(from_dict(json.loads(Path(args.check).read_text())), costs, args.tolerance)
        if args.write:
            Path(args.write).write_text(json.dumps(as_dict(costs), indent=1) + "\n")
        if args.top:
            Path(args.top).write_text("\n".join(top) + "\n")
    except (CountError, ServerError, OSError, KeyError, ValueError, RuntimeError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2
    print("\n".join(aligned(cost_table(costs))))
    print("\n".join(wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

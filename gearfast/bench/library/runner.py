# SPDX-License-Identifier: BSD-3-Clause
"""Measures the programs of a group: each in a process of its own, all at one server, samples A B B A (Linux).

A program that is not measured waits. What counts is CPU of its process, user and system, by the scheduler's clock.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from gearfast.bench.harness import cpus
from gearfast.bench.library.table import GROUPS, Group, Program
from gearfast.bench.load import Loader, LoadError, Meter, pinned
from gearfast.bench.peers import interleaved
from gearfast.bench.servers import Server, ServerError, cpu_seconds
from gearfast.bench.stats import paired_ratios, summarize

__all__ = ["LibraryError", "figures", "group_of", "measure", "missing", "versions"]

SECONDS: Final = 0.3
"""How long a sample sends jobs."""


class LibraryError(RuntimeError):
    """A program cannot be measured; the text says what is missing or has failed."""


def _package(program: Program) -> str:
    return re.split(r"[<>=]", program.package)[0]


def _installed(program: Program) -> bool:
    try:
        return not program.package or bool(importlib.metadata.version(_package(program)))
    except importlib.metadata.PackageNotFoundError:
        return False


def missing(names: Iterable[str], group: Group) -> str:
    """What the programs `names` of the group lack here, as a command; empty: nothing."""
    programs = [program for program in group.programs if program.name in names and not _installed(program)]
    return f"pip install {' '.join(dict.fromkeys(_package(one) for one in programs))}" if programs else ""


def versions() -> dict[str, str]:
    """Versions of the other libraries, as far as they are installed."""
    programs = (program for group in GROUPS for program in group.programs if program.package and _installed(program))
    return {_package(program): importlib.metadata.version(_package(program)) for program in programs}


def group_of(figure: str) -> tuple[Group, tuple[str, ...]]:
    """The group of a figure, and the programs that it needs. Raises KeyError on an unknown one."""
    for group in GROUPS:
        for program in group.programs:
            if program.figure == figure:
                return group, (program.name,)
        for ratio in group.ratios:
            if ratio.figure == figure:
                return group, (ratio.program, *ratio.against)
    raise KeyError(figure)


def figures(group: Group, cpu: Mapping[str, Sequence[float]]) -> dict[str, list[float]]:
    """The figures of a group, of µs of CPU by program: these, and ratios pair by pair.

    Of several that a ratio is against, the one with the least median counts.
    """
    found = {program.figure: list(cpu[program.name]) for program in group.programs if program.name in cpu}
    for ratio in group.ratios:
        if all(name in cpu for name in (ratio.program, *ratio.against)):
            best = min(ratio.against, key=lambda name: summarize(cpu[name]).median)
            found[ratio.figure] = paired_ratios(cpu[ratio.program], cpu[best])
    return found


class _Process:
    """The process of one program; a context manager."""

    def __init__(self, program: Program, address: str, function: str, where: set[int] | None) -> None:
        self.title = program.name
        with pinned(where):
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gearfast.bench.library.process", program.name, address, function],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )

    def __enter__(self) -> _Process:
        try:
            self.answer()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.terminate()
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()

    def answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise LibraryError(f"the program {self.title} has failed")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def order(self, seconds: float) -> int:
        """Lets a client do jobs for about `seconds`; how many it did."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps({"seconds": seconds}) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise LibraryError(f"the program {self.title} has failed") from None
        jobs: int = self.answer()["jobs"]
        return jobs

    def cpu(self) -> float:
        return cpu_seconds(self.process.pid)


class _Clients:
    """Programs of clients at one server, whose jobs the load generator's worker does."""

    def __init__(self, group: Group, address: str, pin: str, stack: contextlib.ExitStack) -> None:
        self.mine, others = cpus(pin)
        self.address, self.stack = address, stack
        self.loader = stack.enter_context(Loader(address, group.traffic, others))

    def start(self, program: Program, seconds: float) -> Callable[[], float]:
        """Starts a program; what takes a sample of its CPU for a job in µs."""
        process = self.stack.enter_context(_Process(program, self.address, "bench-0", self.mine))

        def sample() -> float:
            before = process.cpu()
            jobs = process.order(seconds)
            used = process.cpu() - before
            self.loader.settle(jobs)  # background jobs end before another program begins
            return used / jobs * 1e6

        return sample


class _Workers:
    """Programs of workers at one server; each has a function of its own and clients that want it."""

    def __init__(self, group: Group, address: str, pin: str, stack: contextlib.ExitStack) -> None:
        self.mine, self.others = cpus(pin)
        self.group, self.address, self.stack = group, address, stack

    def start(self, program: Program, seconds: float) -> Callable[[], float]:
        """Starts a program; what takes a sample of its CPU for a job in µs."""
        loader = self.stack.enter_context(Loader(self.address, self.group.traffic, self.others, program.name))
        process = self.stack.enter_context(_Process(program, self.address, f"{program.name}-0", self.mine))

        def sample() -> float:
            meter = Meter(process.cpu)
            jobs = loader.sample(seconds, meter).jobs
            return meter.seconds / jobs * 1e6

        return sample


def measure(
    group: Group, samples: int = 11, seconds: float = SECONDS, *, pin: str = "one", names: Iterable[str] = ()
) -> dict[str, list[float]]:
    """CPU for a job in µs of each program of a group that is installed, samples in the order of the rounds.

    samples: rounds, after one that does not count. seconds: how long a sample sends jobs. pin: one of
    `gearfast.bench.harness.PINS`; with "split" the measured process has a CPU to itself. names: programs that must be
    there. Raises LibraryError if one of those is not installed or a process fails.
    """
    lacking = missing(names, group)
    if lacking:
        raise LibraryError(f"other libraries are needed: {lacking}")
    try:
        with contextlib.ExitStack() as stack:
            server = stack.enter_context(Server("gearfast", cpus(pin)[1]))
            side = (_Clients if group.side == "client" else _Workers)(group, server.address, pin, stack)
            take = {one.name: side.start(one, seconds) for one in group.programs if _installed(one)}
            return interleaved(samples, take)
    except (ServerError, LoadError) as error:
        raise LibraryError(str(error)) from None

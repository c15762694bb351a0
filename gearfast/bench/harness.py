# SPDX-License-Identifier: BSD-3-Clause
"""Measures rows of traffic on several job servers, interleaved.

Every server and row has processes of its own that live for all samples. A round takes one sample of each; every other
round goes through them backwards (A B B A), so that what drifts on the machine meets all alike, and samples of one
round are pairs. The server's CPU time is read around each sample, after all of its jobs are finished and the server
has answered a last ECHO.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from gearfast.bench.load import Loader, LoadError, Meter, connect
from gearfast.bench.servers import Server, ServerError
from gearfast.bench.stats import Summary, paired_ratios, summarize
from gearfast.bench.traffic import Row

__all__ = ["PINS", "Results", "Sample", "measure"]

PINS: Final = ("one", "split", "none")
"""Where processes run: server and load on one CPU, each on its own, or anywhere.

On one CPU a sample costs what the server itself does and repeats within a few per cent. On two, waking the other CPU is
part of it, on a virtual machine often the greater part; use that to look at speed and latency.
"""


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample of one row on one server."""

    cpu_us: float
    """The server's CPU per job in µs; 0 if its process is unknown."""
    rate: float
    """Jobs a second."""
    p50_us: float
    p99_us: float
    load_us: float
    """CPU per job of the load generator in µs."""
    jobs: int
    resident: int
    """The server's memory afterwards in bytes; 0 if its process is unknown."""


@dataclass(slots=True)
class Results:
    """All samples of a run, by row and server, in the order of the rounds."""

    samples: dict[str, dict[str, list[Sample]]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    """What could not be measured, and why."""

    def values(self, row: str, server: str, name: str = "cpu_us") -> list[float]:
        """One figure of every sample; empty if there is none."""
        return [getattr(sample, name) for sample in self.samples.get(row, {}).get(server, [])]

    def summary(self, row: str, server: str, name: str = "cpu_us") -> Summary | None:
        """Median and interval of one figure, None if it was not measured."""
        values = self.values(row, server, name)
        return summarize(values) if values and any(values) else None

    def ratio(
        self, row: str, server: str, other: str, other_row: str | None = None, name: str = "cpu_us"
    ) -> Summary | None:
        """The paired ratio of a figure to that of `other` (in another row), None if there are no pairs."""
        values = self.values(row, server, name)
        reference = self.values(other_row or row, other, name)
        if not values or len(values) != len(reference):
            return None
        ratios = paired_ratios(values, reference)
        return summarize(ratios) if ratios and any(ratios) else None

    def difference(self, row: str, server: str, other: str, other_row: str, name: str) -> Summary | None:
        """The paired difference of a figure from that of `other` in another row, None if there are no pairs."""
        values = self.values(row, server, name)
        reference = self.values(other_row, other, name)
        if not values or len(values) != len(reference):
            return None
        return summarize(value - was for value, was in zip(values, reference, strict=True))

    def take(self, others: Results) -> None:
        """Adds the rows of `others`; where both have a row, theirs stands."""
        self.samples.update(others.samples)
        self.problems += others.problems

    def better(self, row: str, servers: Sequence[str]) -> str | None:
        """Which of `servers` takes the least CPU per job, None if none was measured."""
        found = {name: s.median for name in servers if (s := self.summary(row, name)) is not None}
        return min(found, key=found.__getitem__) if found else None

    def as_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        rows = {
            row: {server: [asdict(sample) for sample in samples] for server, samples in servers.items()}
            for row, servers in self.samples.items()
        }
        return {"samples": rows, "problems": self.problems}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Results:
        """The reverse of `as_dict`."""
        rows = {
            row: {server: [Sample(**sample) for sample in samples] for server, samples in servers.items()}
            for row, servers in data["samples"].items()
        }
        return cls(rows, list(data["problems"]))


def cpus(pin: str) -> tuple[set[int] | None, set[int] | None]:
    """CPUs of the server and of the load under one of `PINS`. Raises ValueError on another."""
    if pin not in PINS:
        raise ValueError(f"pin must be one of {', '.join(PINS)}")
    mine = sorted(os.sched_getaffinity(0))
    if pin == "none" or (pin == "split" and len(mine) < 2):
        return None, None
    return {mine[0]}, {mine[1 if pin == "split" else 0]}


@contextlib.contextmanager
def _asking_status(address: str, hz: float) -> Iterator[None]:
    """Asks for `status` `hz` times a second on a connection of its own while the block runs; 0: does not."""
    if hz <= 0:
        yield
        return
    done = threading.Event()

    def ask() -> None:
        with connect(address) as sock:
            while not done.wait(1 / hz):
                sock.sendall(b"status\n")
                answer = b""
                while answer[-3:] not in (b"\n.\n", b".\n") and (part := sock.recv(1 << 20)):
                    answer = answer[-3:] + part

    thread = threading.Thread(target=ask, name="status")
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


class _Cell:
    """One row on one server, ready to take samples."""

    def __init__(self, row: Row, name: str, pin: str, stack: contextlib.ExitStack) -> None:
        self.row, self.name = row, name
        server_cpus, load_cpus = cpus("split" if row.split and pin == "one" else pin)
        self.server = stack.enter_context(
            Server(name, server_cpus, unix=row.traffic.unix, tls=row.traffic.tls, store=row.traffic.store)
        )
        self.loader = stack.enter_context(Loader(self.server.address, row.traffic, load_cpus, row.name))
        self.meter = Meter(self.server.cpu)

    def sample(self, seconds: float) -> Sample:
        with _asking_status(self.server.address, self.row.traffic.status_hz):
            counts = self.loader.sample(seconds, self.meter)
        jobs = max(counts.jobs, 1)
        return Sample(
            cpu_us=self.meter.seconds / jobs * 1e6,
            rate=counts.jobs / counts.wall if counts.wall else 0.0,
            p50_us=counts.p50 * 1e6,
            p99_us=counts.p99 * 1e6,
            load_us=counts.load_cpu / jobs * 1e6,
            jobs=counts.jobs,
            resident=self.server.resident(),
        )


def _groups(rows: Sequence[Row]) -> list[list[Row]]:
    """Rows to be measured together, in the order of their first."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.group or row.name, []).append(row)
    return list(groups.values())


def _measure_group(
    results: Results, rows: Sequence[Row], servers: Sequence[str], pairs: int, seconds: float, pin: str
) -> None:
    with contextlib.ExitStack() as stack:
        cells: list[_Cell] = []
        for row in rows:
            for name in (name for name in servers if name not in row.without):
                try:
                    cell = _Cell(row, name, pin, stack)
                    cell.sample(min(seconds, 0.1))
                except (ServerError, LoadError) as error:
                    results.problems.append(f"{row.name} on {name}: {error}")
                    continue
                cells.append(cell)
        taken: dict[tuple[str, str], list[Sample]] = {(cell.row.name, cell.name): [] for cell in cells}
        for turn in range(pairs):
            for cell in cells[:: 1 if turn % 2 == 0 else -1]:
                try:
                    taken[cell.row.name, cell.name].append(cell.sample(max(seconds, cell.row.least)))
                except (ServerError, LoadError, OSError) as error:
                    results.problems.append(f"{cell.row.name} on {cell.name}: {error}")
                    cells.remove(cell)
                    del taken[cell.row.name, cell.name]
        for (row_name, name), samples in taken.items():
            results.samples.setdefault(row_name, {})[name] = samples


def measure(
    rows: Sequence[Row],
    servers: Sequence[str],
    *,
    pairs: int = 11,
    seconds: float = 0.5,
    pin: str = "one",
    progress: Callable[[str], None] = lambda text: None,
    keep: Callable[[Results], object] = lambda results: None,
) -> Results:
    """Measures every row on every server.

    pairs: samples of each, taken in rounds. seconds: how long each sample sends. pin: one of `PINS`. keep: called with
    what is there after each group of rows. What cannot be measured is named in the result's `problems`. Raises
    ValueError on settings out of range.
    """
    if pairs < 1 or seconds <= 0:
        raise ValueError("pairs must be at least 1 and seconds positive")
    cpus(pin)
    results = Results()
    for group in _groups(rows):
        start = time.monotonic()
        _measure_group(results, group, servers, pairs, seconds, pin)
        progress(f"{', '.join(row.name for row in group)}: {time.monotonic() - start:.1f} s")
        keep(results)
    return results

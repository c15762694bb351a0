# SPDX-License-Identifier: BSD-3-Clause
"""What gearfast has to reach: bars on rows of traffic, and on figures that have a measurement of their own."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from gearfast.bench.library.table import GROUPS
from gearfast.bench.queues.libraries import LIBRARIES
from gearfast.bench.traffic import ROWS

__all__ = ["BARS", "FIGURES", "Bar", "Figure", "with_references"]


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar on gearfast's median in one row: on the paired ratio to another figure, on a difference, or by itself."""

    row: str
    against: str = ""
    """"floor"; "gearmand": its better setting; the name of another row; empty: nothing, the figure itself counts."""
    at_most: float | None = None
    at_least: float | None = None
    figure: str = "cpu_us"
    """Which figure of a `Sample`."""
    server: str = "gearfast"
    """Where `against` is a row: whose figure there."""
    difference: bool = False
    """The paired difference counts, not the ratio."""
    strict: bool = False
    """`at_most` itself does not pass."""
    store: str = ""
    """The scheme of the store with which it counts, of the server `gearfast=URL`; empty: the row's own, or none."""

    def passed(self, value: float) -> bool:
        """Whether `value` passes."""
        if self.at_most is not None and (value > self.at_most or (self.strict and value == self.at_most)):
            return False
        return self.at_least is None or value >= self.at_least

    @property
    def limit(self) -> str:
        """The bar in words."""
        if self.at_least is not None:
            return f">= {self.at_least:,g}"
        return f"{'<' if self.strict else '<='} {self.at_most:,g}"


_FLOOR: Final = {
    "fg-1x1": 1.1,
    "fg-8x8": 1.1,
    "fg-32x32": 1.1,
    "fg-500x500": 1.1,
    "fg-4x4-64": 1.15,
    "bg-8x4-64": 1.15,
    "payload64k-4x4-4": 0.9,
    "grabs16-4x4-64": 1.5,
    "grabs64-4x4-64": 1.5,
    "submit-only": 2.0,
}
"""CPU a job, to the floor's; over Unix sockets to the floor's over Unix sockets."""
_CREDITS: Final = {"1x1": 0.65, "8x8": 0.8}


def _bars() -> tuple[Bar, ...]:
    below_gearmand = ("fg-1x1", "fg-8x8", "fg-32x32", "fg-4x4-64", "bg-8x4-64")
    return (
        *(Bar(row, "floor", most) for row, most in _FLOOR.items()),
        *(Bar(row, "gearmand", 1.0, strict=True) for row in below_gearmand),
        Bar("payload64k-4x4-4", "gearmand", 1.0),
        Bar("submit-only", at_least=1e6, figure="rate"),
        *(Bar(f"credits-{size}", f"fg-{size}", most, server="floor") for size, most in _CREDITS.items()),
        *(Bar(f"unix-{row.removeprefix('fg-')}", "floor", most) for row, most in _FLOOR.items()),
        Bar("unix-submit-only", at_least=1e6, figure="rate"),
        *(Bar(f"unix-credits-{size}", f"unix-{size}", most, server="floor") for size, most in _CREDITS.items()),
        Bar("functions5000-4x4", "functions1-4x4", 1.15),
        Bar("functions20000-4x4", "functions1-4x4", 1.15),
        Bar("functions20000-4x4-64", "functions1-4x4-64", 1.15),
        Bar("idle10000-8x8", "fg-8x8", 1.15),
        Bar("connect", "floor", 1.3),
        Bar("paced-8x8", "floor", 1.2, figure="p99_us"),
        Bar("status-paced-8x8", "functions20000-paced-8x8", 2_000.0, figure="p99_us", difference=True),
        Bar("tls-4x4-64", "fg-4x4-64", 3.0),
        Bar("stored-4x4-64", "fg-4x4-64", 1.05),
        Bar("durable-submit", at_least=200_000.0, figure="rate"),
        Bar("durable-submit-1k", at_least=60_000.0, figure="rate"),
        Bar("durable-8x4-64", at_most=4.0),
        Bar("durable-submit", at_least=40_000.0, figure="rate", store="postgresql"),
    )


BARS: Final[tuple[Bar, ...]] = _bars()
"""The bars on rows of traffic."""


def with_references(names: Iterable[str]) -> list[str]:
    """The rows `names` and those that their bars compare them with, in the order of `ROWS`; other names last."""
    names = list(names)
    wanted = {*names, *(bar.against for bar in BARS if bar.row in names and bar.against in ROWS)}
    return [*(row for row in ROWS if row in wanted), *(name for name in names if name not in ROWS)]


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure that has a measurement of its own, and its bar, if it has one."""

    name: str
    title: str
    unit: str
    at_least: float | None = None
    at_most: float | None = None

    def passed(self, value: float) -> bool:
        """Whether `value`, in `unit`, passes."""
        return (self.at_least is None or value >= self.at_least) and (self.at_most is None or value <= self.at_most)

    @property
    def limit(self) -> str:
        """The bar in words; empty: there is none, the figure is for orientation."""
        if self.at_least is not None:
            return f">= {self.at_least:,g}"
        return f"<= {self.at_most:,g}" if self.at_most is not None else ""


def _queue(name: str, count: str) -> tuple[Figure, ...]:
    """Figures of a long queue; `gearmand` is the better of its settings only where that is said."""
    return (
        Figure(name, f"{count} queued 32-byte jobs: memory a job", "bytes", at_most=130.0),
        Figure(f"{name}-unique", f"{count} queued jobs with 16-byte uniques: memory a job", "bytes", at_most=146.0),
        Figure(f"{name}-grab", f"grabbing from {count} jobs, CPU against grabbing from 1,000", "ratio", at_most=1.15),
        Figure(f"{name}-grab-us", f"grabbing from {count} jobs: CPU a job", "us"),
        Figure(f"{name}-given-back", f"{count} jobs finished: share of their memory given back", "share", at_least=0.9),
        Figure(f"{name}-floor", f"{count} queued jobs, the floor: memory a job", "bytes"),
        Figure(f"{name}-floor-grab-us", f"grabbing from {count} jobs, the floor: CPU a job", "us"),
    )


def _queues() -> tuple[Figure, ...]:
    """gearfast beside other job queues, end to end; their own figures are for orientation."""
    return (
        Figure("queues-cpu-ratio", "no-op JSON jobs: CPU of the best other queue against gearfast's", "ratio",
               at_least=25.0),
        Figure("queues-p50-ratio", "no-op JSON jobs: median latency against Celery's", "ratio", at_most=0.1),
        *(Figure(f"queues-cpu-{one.name}", f"{one.title}: CPU a job", "us") for one in LIBRARIES.values()),
        *(Figure(f"queues-p50-{one.name}", f"{one.title}: median latency", "us") for one in LIBRARIES.values()),
        *(Figure(f"queues-p99-{one.name}", f"{one.title}: 99th percentile", "us") for one in LIBRARIES.values()),
    )  # fmt: skip


def _library() -> tuple[Figure, ...]:
    """The client and worker library's own process; figures of programs without a bar are what others stand beside."""
    return (
        *(Figure(one.figure, one.title, "ratio", at_most=one.at_most) for group in GROUPS for one in group.ratios),
        *(Figure(one.figure, f"{one.title}: CPU a job", "us", at_most=one.at_most)
          for group in GROUPS for one in group.programs),
        Figure("library-import", "`import gearfast`: wall time beyond bare Python's", "ms", at_most=25.0),
        Figure("library-import-names", "`from gearfast import Client, Worker`: the same", "ms"),
        Figure("library-modules", "modules of asyncio, ssl or third parties that this imports", "modules", at_most=0.0),
        Figure("library-memory", "an idle `Worker`: private memory beyond bare Python's", "MB", at_most=6.0),
    )  # fmt: skip


FIGURES: Final[dict[str, Figure]] = {
    figure.name: figure
    for figure in (
        Figure("decode-c", "32-byte submissions decoded in memory, C face", "million/s", at_least=20.0),
        Figure("decode-python", "the same, Python face", "million/s", at_least=2.0),
        Figure("embedded-start", "embedded server: start to the first finished job", "ms", at_most=20.0),
        Figure("client-cpu", "CPU of Client a job, against pygearman's", "ratio", at_most=0.5),
        Figure("worker-cpu", "CPU of Worker a job, against pygearman's", "ratio", at_most=0.5),
        Figure("compat-client-cpu", "CPU of compat.gearman's client a job, against it", "ratio", at_most=0.9),
        Figure("compat-worker-cpu", "CPU of compat.gearman's worker a job, against it", "ratio", at_most=0.9),
        Figure("function-bytes", "20,000 functions: memory a function", "bytes", at_most=250.0),
        Figure("registration-bytes", "20,000 functions: memory a worker's registration of one", "bytes", at_most=100.0),
        Figure("connection-bytes", "10,000 idle connections: memory a connection", "bytes", at_most=2_048.0),
        Figure("connection-bytes-floor", "10,000 idle connections, the floor: memory a connection", "bytes"),
        Figure("connection-bytes-gearmand", "10,000 idle connections, gearmand: memory a connection", "bytes"),
        *_queue("queue-1m", "1 million"),
        Figure("queue-1m-gearmand", "1 million queued jobs, gearmand: memory a job", "bytes"),
        Figure("queue-1m-gearmand-grab-us", "grabbing from 1 million jobs, gearmand: CPU a job", "us"),
        Figure("queue-1m-gearmand-h-grab-us", "the same with --hashtable-buckets 1000003", "us"),
        *_queue("queue-10m", "10 million"),
        Figure(
            "durable-latency", "a durable job submitted, against a bare SQLite commit of a row", "ratio", at_most=1.5
        ),
        Figure(
            "durable-latency-rested",
            "the same, against a bare commit that comes behind the round trip of an ECHO_REQ",
            "ratio",
        ),
        Figure("durable-latency-us", "a durable job submitted, one at a time, median", "us"),
        Figure("durable-bare-us", "a bare SQLite commit of a row, right behind the one before it, median", "us"),
        Figure("durable-rested-us", "one behind the round trip of an ECHO_REQ, which is not counted, median", "us"),
        Figure("durable-first", "1 million queued jobs, killed: start to the first one given out", "s", at_most=0.5),
        Figure("durable-all", "1 million queued jobs, killed: start until all are back", "s", at_most=4.0),
        *_queues(),
        *_library(),
    )
}
"""All figures by name."""

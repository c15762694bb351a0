# SPDX-License-Identifier: BSD-3-Clause
"""The kinds of traffic that are measured, their names, and the bars that gearfast has to pass on them.

A row of the benchmark is one `Traffic` under a name. Rows of one `group` are measured interleaved with each other, so
that they can be compared on the same server. Nothing here does any work.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Final

__all__ = ["BARS", "FIGURE_BARS", "FULL", "QUICK", "ROWS", "Bar", "FigureBar", "Row", "Traffic"]

KINDS: Final = ("foreground", "background", "echo", "connect")
"""What a client sends: the position is the number that the load generator knows."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """What the clients and the workers of one row do."""

    clients: int = 1
    """Client connections. 0: only workers, for clients from elsewhere."""
    workers: int = 1
    """Worker connections. 0: nobody finishes the jobs (echo needs no workers)."""
    window: int = 1
    """Requests that each client keeps in flight: jobs, or unanswered submissions in the background."""
    payload: int = 32
    """Bytes of a workload, at least 12."""
    answer: int = 0
    """Bytes of a result, 0: as long as the workload."""
    kind: str = "foreground"
    """One of `KINDS`: foreground jobs, background jobs, ECHO, or one connection for each background job."""
    phase: str = "whole"
    """Which part of a background row's sample counts: "whole", "submit" (workers wait until the submissions are
    counted) or "drain" (only the finishing of what was queued before counts)."""
    grabs: int = 1
    """GRAB_JOBs that each worker keeps in flight."""
    grab: int = 9
    """The command that asks for a job: 9 GRAB_JOB, 30 GRAB_JOB_UNIQ, 39 GRAB_JOB_ALL."""
    functions: int = 1
    """Functions that each worker registers. All jobs are for one of them."""
    target: int = 0
    """Which function the jobs are for: 0 the first registered."""
    uniques: bool = False
    """Gives each job a unique of its own."""
    priority: int = 0
    """0 normal, 1 high, 2 low."""
    rate: float = 0.0
    """Jobs a second over all clients, sent at even distances; 0: as many as the windows allow."""
    idle: int = 0
    """Further connections that say nothing."""
    credits: bool = False
    """Workers ask for the option `all_yours`: the server holds GRAB_JOBs that it cannot answer."""
    status_hz: float = 0.0
    """How often a second another connection asks for `status`."""
    limit: int = 2**62
    """Most jobs in one sample."""
    unix: bool = False
    """Over Unix sockets."""

    def as_dict(self) -> dict[str, Any]:
        """The settings by name, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, settings: dict[str, Any]) -> Traffic:
        """The reverse of `as_dict`. Raises TypeError on an unknown setting."""
        return cls(**settings)

    def changes(self) -> dict[str, Any]:
        """Only the settings that differ from the defaults."""
        return {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table: a name, a title for people, its traffic."""

    name: str
    title: str
    traffic: Traffic
    group: str = ""
    """Rows of the same group are measured interleaved; empty: the row alone."""


def _square(n: int, window: int = 1, **settings: Any) -> Traffic:
    return Traffic(clients=n, workers=n, window=window, **settings)


_SUBMIT = Traffic(clients=4, workers=4, window=64, kind="background", phase="submit", grabs=16, limit=100_000)
_BACKGROUND = Traffic(clients=8, workers=4, window=64, kind="background", limit=20_000)
_CONNECT = Traffic(clients=4, workers=1, kind="connect", phase="submit", grabs=16, limit=1_500)
_FUNCTIONS, _FUNCTIONS64 = "functions", "functions-64"

ROWS: Final[dict[str, Row]] = {
    row.name: row
    for row in (
        Row("fg-1x1", "1 client, 1 worker, one in flight", _square(1)),
        Row("fg-8x8", "8 clients, 8 workers, one in flight", _square(8)),
        Row("fg-32x32", "32 clients, 32 workers, one in flight", _square(32)),
        Row("fg-500x500", "500 clients, 500 workers, one in flight", _square(500)),
        Row("fg-4x4-64", "4 clients, 4 workers, 64 in flight", _square(4, 64)),
        Row("bg-8x4-64", "background: 8 clients, 4 workers, 64 in flight", _BACKGROUND),
        Row("grabs16-4x4-64", "4x4, 64 in flight, workers hold 16 grabs", _square(4, 64, grabs=16)),
        Row("grabs64-4x4-64", "4x4, 64 in flight, workers hold 64 grabs", _square(4, 64, grabs=64)),
        Row("submit-only", "background submissions only, 4 clients, 64 in flight", _SUBMIT),
        Row("functions1-4x4", "4x4, one in flight, 1 function a worker", _square(4), _FUNCTIONS),
        Row(
            "functions5000-4x4", "4x4, one in flight, 5,000 functions a worker", _square(4, functions=5_000), _FUNCTIONS
        ),
        Row("functions1-4x4-64", "4x4, 64 in flight, 1 function a worker", _square(4, 64), _FUNCTIONS64),
        Row(
            "functions5000-4x4-64",
            "4x4, 64 in flight, 5,000 functions a worker",
            _square(4, 64, functions=5_000),
            _FUNCTIONS64,
        ),
        Row("functions20000-4x4", "4x4, one in flight, 20,000 functions a worker", _square(4, functions=20_000)),
        Row("payload64k-4x4-4", "4x4, 4 in flight, 64 KiB workloads", _square(4, 4, payload=65_536)),
        Row("uniques-4x4-64", "4x4, 64 in flight, a unique for each job", _square(4, 64, uniques=True, grab=30)),
        Row("connect", "connect, submit, disconnect", _CONNECT),
        Row("echo-4-64", "ECHO, 4 clients, 64 in flight", Traffic(clients=4, workers=0, window=64, kind="echo")),
        Row("paced-8x8", "8x8, 20,000 jobs a second at even distances", _square(8, 4096, rate=20_000.0)),
        Row(
            "status-paced-8x8",
            "the same, beside ten `status` a second",
            _square(8, 4096, rate=20_000.0, status_hz=10.0),
        ),
        Row("idle10000-8x8", "8x8, one in flight, beside 10,000 idle connections", _square(8, idle=10_000)),
        Row("unix-1x1", "1x1 over Unix sockets", _square(1, unix=True)),
        Row("unix-8x8", "8x8 over Unix sockets", _square(8, unix=True)),
        Row("unix-4x4-64", "4x4, 64 in flight, over Unix sockets", _square(4, 64, unix=True)),
    )
}
"""All rows by name."""

QUICK: Final = ("fg-1x1", "fg-8x8", "fg-4x4-64", "bg-8x4-64", "grabs16-4x4-64", "submit-only")
"""Rows of the quick mode."""
FULL: Final = (
    "fg-1x1", "fg-8x8", "fg-32x32", "fg-4x4-64", "bg-8x4-64", "grabs16-4x4-64", "submit-only", "functions1-4x4",
    "functions5000-4x4", "connect", "echo-4-64", "paced-8x8",
)  # fmt: skip
"""Rows of the full mode."""


@dataclass(frozen=True, slots=True)
class Bar:
    """gearfast's CPU per job in `row` is at most `at_most` times that of `against`."""

    row: str
    against: str
    """"floor"; "gearmand": its better setting; or the name of another row: gearfast's own figure there."""
    at_most: float


def _bars() -> tuple[Bar, ...]:
    whole = ("fg-1x1", "fg-8x8", "fg-32x32", "fg-4x4-64", "bg-8x4-64")
    return (
        *(Bar(row, against, limit) for row in whole for against, limit in (("floor", 1.3), ("gearmand", 1.0))),
        Bar("grabs16-4x4-64", "floor", 2.0),
        Bar("submit-only", "floor", 3.0),
        Bar("functions5000-4x4", "functions1-4x4", 1.2),
    )


BARS: Final[tuple[Bar, ...]] = _bars()
"""The bars on server CPU per job."""


@dataclass(frozen=True, slots=True)
class FigureBar:
    """A bar on one figure that has a measurement of its own."""

    name: str
    title: str
    unit: str
    at_least: float | None = None
    at_most: float | None = None

    def passed(self, value: float) -> bool:
        """Whether `value`, in `unit`, passes."""
        return (self.at_least is None or value >= self.at_least) and (self.at_most is None or value <= self.at_most)


FIGURE_BARS: Final[dict[str, FigureBar]] = {
    bar.name: bar
    for bar in (
        FigureBar("decode-c", "32-byte submissions decoded in memory, C face", "million/s", at_least=20.0),
        FigureBar("decode-python", "the same, Python face", "million/s", at_least=2.0),
        FigureBar("embedded-start", "embedded server: start to the first finished job", "ms", at_most=20.0),
        FigureBar("client-cpu", "CPU of Client a job, against pygearman's", "ratio", at_most=0.5),
        FigureBar("worker-cpu", "CPU of Worker a job, against pygearman's", "ratio", at_most=0.5),
    )
}
"""Bars on other figures, by name."""

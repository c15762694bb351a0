# SPDX-License-Identifier: BSD-3-Clause
"""The kinds of traffic that are measured, and their names. `bars` says what gearfast has to reach on them.

A row of the benchmark is one `Traffic` under a name. Rows of one `group` are measured interleaved with each other, so
that they can be compared. Nothing here does any work.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Final

__all__ = ["QUICK", "ROWS", "Row", "Traffic"]

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
    others: int = 0
    """Functions that one further worker connection registers; no job is for them."""
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
    tls: bool = False
    """Over TLS."""
    store: bool = False
    """The server keeps background jobs in a store."""

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
    without: tuple[str, ...] = ()
    """Servers that cannot do this traffic."""
    least: float = 0.0
    """Seconds that a sample needs at least to say anything."""
    split: bool = False
    """What counts is latency: server and load get a CPU each, or it would tell who was scheduled when."""


def _square(n: int, window: int = 1, **settings: Any) -> Traffic:
    return Traffic(clients=n, workers=n, window=window, **settings)


_GEARMAND = ("gearmand", "gearmand-t1")
_SUBMIT = Traffic(clients=4, workers=4, window=64, kind="background", phase="submit", grabs=16, limit=100_000)
_BACKGROUND = Traffic(clients=8, workers=4, window=64, kind="background", limit=20_000)
_CONNECT = Traffic(clients=4, workers=1, kind="connect", phase="submit", grabs=16, limit=1_500)
_PACED = _square(8, 4096, rate=20_000.0)

_BASE: Final = (
    Row("fg-1x1", "1 client, 1 worker, one in flight", _square(1), "1x1"),
    Row("fg-8x8", "8 clients, 8 workers, one in flight", _square(8), "8x8"),
    Row("fg-32x32", "32 clients, 32 workers, one in flight", _square(32)),
    Row("fg-500x500", "500 clients, 500 workers, one in flight", _square(500)),
    Row("fg-4x4-64", "4 clients, 4 workers, 64 in flight", _square(4, 64), "4x4-64"),
    Row("bg-8x4-64", "background: 8 clients, 4 workers, 64 in flight", _BACKGROUND),
    Row("payload64k-4x4-4", "4x4, 4 in flight, 64 KiB workloads", _square(4, 4, payload=65_536)),
    Row("grabs16-4x4-64", "4x4, 64 in flight, workers hold 16 grabs", _square(4, 64, grabs=16)),
    Row("grabs64-4x4-64", "4x4, 64 in flight, workers hold 64 grabs", _square(4, 64, grabs=64)),
    Row("submit-only", "background submissions only, 4 clients, 64 in flight", _SUBMIT),
    Row("credits-1x1", "1x1, GRABs as credits", _square(1, credits=True), "1x1", ("floor", *_GEARMAND)),
    Row("credits-8x8", "8x8, GRABs as credits", _square(8, credits=True), "8x8", ("floor", *_GEARMAND)),
)
"""Rows that are measured over Unix sockets too."""


def _over_unix(row: Row) -> Row:
    return Row(
        f"unix-{row.name.removeprefix('fg-')}",
        f"{row.title}, over Unix sockets",
        replace(row.traffic, unix=True),
        f"unix-{row.group}" if row.group else "",
        tuple(dict.fromkeys((*row.without, *_GEARMAND))),
    )


_FUNCTIONS: Final = tuple(
    Row(
        f"functions{number}-4x4{suffix}",
        f"4x4, {flight} in flight, {number:,} function{'s' if number > 1 else ''} a worker",
        _square(4, window, functions=number),
        f"functions{suffix}",
    )
    for suffix, flight, window in (("", "one", 1), ("-64", "64", 64))
    for number in (1, 5_000, 20_000)
)

_WITHOUT_STORE: Final = ("floor", *_GEARMAND)


def _durable(name: str, title: str, traffic: Traffic) -> Row:
    return Row(name, f"{title}, kept in a store", replace(traffic, store=True), "", _WITHOUT_STORE, split=True)


_SUBMIT_8: Final = replace(_SUBMIT, clients=8)
_DURABLE: Final = (
    _durable("durable-submit", "background submissions only, 8 clients, 64 in flight", _SUBMIT_8),
    _durable("durable-submit-1k", "the same with 1 KiB workloads", replace(_SUBMIT_8, payload=1024, limit=50_000)),
    _durable(
        "durable-8x4-64",
        "background: 8 clients, 4 workers with 16 grabs, 64 in flight",
        replace(_BACKGROUND, grabs=16, limit=200_000),
    ),
    _durable("durable-submit-1", "background submissions, one at a time", replace(_SUBMIT, clients=1, window=1)),
)

ROWS: Final[dict[str, Row]] = {
    row.name: row
    for row in (
        *_BASE,
        *(_over_unix(row) for row in _BASE),
        *_FUNCTIONS,
        Row("idle10000-8x8", "8x8, one in flight, beside 10,000 idle connections", _square(8, idle=10_000), "8x8"),
        Row("uniques-4x4-64", "4x4, 64 in flight, a unique for each job", _square(4, 64, uniques=True, grab=30)),
        Row("connect", "connect, submit, disconnect", _CONNECT),
        Row("echo-4-64", "ECHO, 4 clients, 64 in flight", Traffic(clients=4, workers=0, window=64, kind="echo")),
        Row("paced-8x8", "8x8, 20,000 jobs a second at even distances", _PACED, least=0.5, split=True),
        Row(
            "functions20000-paced-8x8",
            "the same, 20,000 functions registered",
            replace(_PACED, others=20_000),
            "status",
            ("floor",),
            0.5,
            True,
        ),
        Row(
            "status-paced-8x8",
            "the same, beside ten `status` a second",
            replace(_PACED, others=20_000, status_hz=10.0),
            "status",
            ("floor",),
            0.5,
            True,
        ),
        *_DURABLE,
        Row(
            "stored-4x4-64",
            "4x4, 64 in flight, beside a store",
            _square(4, 64, store=True),
            "4x4-64",
            _WITHOUT_STORE,
        ),
        Row("tls-4x4-64", "4x4, 64 in flight, over TLS", _square(4, 64, tls=True), "4x4-64", ("floor", *_GEARMAND)),
    )
}
"""All rows by name."""

QUICK: Final = ("fg-1x1", "fg-8x8", "fg-4x4-64", "bg-8x4-64", "grabs16-4x4-64", "submit-only")
"""Rows of the quick mode; the full mode measures all."""

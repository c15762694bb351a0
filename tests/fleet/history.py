# SPDX-License-Identifier: BSD-3-Clause
"""What happened, as those tell it who were there: clients, workers, the servers' logs, and who gave the trouble.

All times are CLOCK_MONOTONIC, ns: the machine has one of it, which no namespace and no wrong clock changes.
"""

from __future__ import annotations

import json
import re
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["Ack", "Begin", "End", "Give", "Has", "History", "Lease", "Notes", "load"]

LEASE = re.compile(r"Server (\d+): lease from (\d+) until (\d+) ns")
HAS = re.compile(r"Server (\d+): has jobs of \[([\d, ]*)\] at (\d+) ns")
LEAVES = re.compile(r"Server (\d+): leaves at (\d+) ns")


class Ack(NamedTuple):
    """A client has got JOB_CREATED. With a unique it may be that of a job that was there; asked for at `asked`."""

    time: int
    node: int
    handle: str
    asked: int = 0
    unique: str = ""


class Begin(NamedTuple):
    """A worker has got a job, for which it had asked at `asked`."""

    asked: int
    time: int
    node: int
    handle: str


class Give(NamedTuple):
    """A server's process has given a job out: decided when it was woken or later, and sent then."""

    woken: int
    sent: int
    process: str
    handle: str


class Lease(NamedTuple):
    """A process knows that what it began at `began` has renewed its lease, which it takes for good until then."""

    process: str
    server: int
    began: int
    until: int


class Has(NamedTuple):
    """A process knows since then that it has the jobs of these servers' ranges."""

    process: str
    server: int
    time: int
    ranges: tuple[int, ...]


class End(NamedTuple):
    """A process was ended between these times, or has left between them: it has done nothing any more."""

    process: str
    first: int
    last: int


@dataclass
class History:
    """`done`: a worker is about to send WORK_COMPLETE. `stored`: it knows that the store has that. `served`: nodes that
    have kept and given out a new job each after everything was healed, of so many `nodes`."""

    nodes: int = 0
    acks: list[Ack] = field(default_factory=list)
    begins: list[Begin] = field(default_factory=list)
    done: list[tuple[int, str]] = field(default_factory=list)
    stored: list[tuple[int, str]] = field(default_factory=list)
    gives: list[Give] = field(default_factory=list)
    leases: list[Lease] = field(default_factory=list)
    has: list[Has] = field(default_factory=list)
    ends: list[End] = field(default_factory=list)
    served: set[int] = field(default_factory=set)


class Notes:
    """Lines of JSON, one an event, from any thread."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", encoding="utf-8", buffering=1)
        self._lock = threading.Lock()

    def add(self, kind: str, *values: Any) -> None:
        """One event."""
        line = json.dumps([kind, *values])
        with self._lock:
            self._file.write(line + "\n")

    def close(self) -> None:
        """Nothing more is noted."""
        self._file.close()


def _note(history: History, kind: str, values: list[Any]) -> None:
    match kind:
        case "nodes":
            history.nodes = values[0]
        case "ack":
            history.acks.append(Ack(*values))
        case "begin":
            history.begins.append(Begin(*values))
        case "done":
            history.done.append((values[0], values[1]))
        case "stored":
            history.stored.append((values[0], values[1]))
        case "end":
            history.ends.append(End(*values))
        case "served":
            history.served.add(values[1])


def _log(history: History, process: str, text: str) -> None:
    for line in text.splitlines():
        if found := LEASE.search(line):
            history.leases.append(Lease(process, *map(int, found.groups())))
        elif found := HAS.search(line):
            ranges = tuple(int(number) for number in found[2].split(",") if number)
            history.has.append(Has(process, int(found[1]), int(found[3]), ranges))
        elif found := LEAVES.search(line):
            history.ends.append(End(process, int(found[2]), int(found[2])))


def load(folder: Path, kept: frozenset[str]) -> History:
    """Of a run. `kept`: functions of durable jobs; what is given out of others is of no interest."""
    history = History()
    for line in (folder / "history.jsonl").read_text("utf-8").splitlines():
        kind, *values = json.loads(line)
        _note(history, kind, values)
    for path in sorted(folder.glob("*.log")):
        _log(history, path.stem, path.read_text("utf-8", "replace"))
    for path in sorted(folder.glob("*.gives")):
        for line in path.read_text("utf-8", "replace").splitlines():
            woken, sent, handle, function = line.split(" ", 3)
            if function in kept:
                history.gives.append(Give(int(woken), int(sent), path.stem, handle))
    return history

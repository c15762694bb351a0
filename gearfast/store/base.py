# SPDX-License-Identifier: BSD-3-Clause
"""The interface of stores.

A job is written with its whole batch, as one *section*: one row, one value, whatever the store has. It stays there when
it ends; only its number is noted beside the section, and a section goes when all its jobs have ended. So a job costs a
store a share of a row, and sections that are mostly ended are written anew, together, by the journal.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Final, Protocol, runtime_checkable

__all__ = [
    "LEASE",
    "RANGE_BITS",
    "Contents",
    "Fleet",
    "Member",
    "SeatLost",
    "Section",
    "SectionDamaged",
    "SectionInfo",
    "ServerInfo",
    "SharedStore",
    "Store",
    "StoreError",
    "UniquesTaken",
    "Write",
]

RANGE_BITS: Final = 42
"""A server in a shared store has this many bits of ids and numbers, below its own number, which no other ever has."""
LEASE: Final = 10.0
"""Seconds that a lease lasts, unless somebody says otherwise."""


class StoreError(Exception):
    """The store did not do what it was asked; the text says why. Nothing of it was done."""


class SectionDamaged(StoreError):
    """What is kept of a section is not what was written. `section`: its id. It stays as it is."""

    def __init__(self, text: str, section: int) -> None:
        super().__init__(text)
        self.section = section


class SeatLost(StoreError):
    """Another server has taken this one's jobs over, and so it may not write any more. `batch`: its last stored one."""

    def __init__(self, text: str, batch: int) -> None:
        super().__init__(text)
        self.batch = batch


class UniquesTaken(StoreError):
    """Jobs of a write claim uniques that others have. `taken`: numbers of these jobs, and of those others."""

    def __init__(self, text: str, taken: dict[int, int]) -> None:
        super().__init__(text)
        self.taken = taken


@dataclass(frozen=True, slots=True)
class SectionInfo:
    """What the journal has to know of a section.

    `first`, `last`: numbers between which those of its jobs lie; no other section has any of those. `count`: its jobs.
    `size`: bytes of its records. `late`: numbers of further jobs, which lie elsewhere; one that is among those of a
    newer section too may be missing in an older one. `ended`: numbers of those of its jobs that have ended, 8 bytes
    each, little-endian, in no order; the journal may set the highest bit.
    """

    id: int
    first: int
    last: int
    count: int
    size: int
    late: tuple[int, ...] = ()
    ended: bytes = b""


@dataclass(frozen=True, slots=True)
class Section:
    """Jobs that are written together."""

    info: SectionInfo
    records: bytes


@dataclass(slots=True)
class Write:
    """What is to be done at once, all of it or nothing.

    `batch`: the number of the newest batch in it; the store keeps it. `next_number`: above the numbers of all jobs that
    there ever were; of a store that is opened again it may be lower, but is above those of all that was written.
    `ended`: of a section, all numbers of its jobs that have ended, as in `SectionInfo`. `drop`: sections, before others
    are added. `losses`: of a job, how often it was lost with its worker since it was written. `forget`: jobs whose
    losses are of no interest any more. `notes`: what is to be kept under a key from now on, None: nothing any more.
    `claims`: of a store that servers share, by the key of a unique (see `_claims.py`) the job that is to have it alone.
    `releases`: claims that end, if it is that job that has them; the same key may be claimed by another job at once.
    """

    batch: int
    next_number: int
    add: list[Section] = field(default_factory=list)
    ended: dict[int, bytes] = field(default_factory=dict)
    drop: list[int] = field(default_factory=list)
    losses: dict[int, int] = field(default_factory=dict)
    forget: list[int] = field(default_factory=list)
    notes: dict[str, bytes | None] = field(default_factory=dict)
    claims: dict[bytes, int] = field(default_factory=dict)
    releases: list[tuple[bytes, int]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Contents:
    """What is in a store when it is opened: sections in the order of `first`, without their records.

    `notes`: what is no job: small values by keys of 1 to 190 bytes of ASCII.
    """

    batch: int
    next_number: int
    sections: list[SectionInfo]
    losses: dict[int, int]
    notes: dict[str, bytes] = field(default_factory=dict)


class Store(Protocol):
    """One thread uses it. Every method may raise StoreError."""

    @property
    def name(self) -> str:
        """For logs: what it is and where, without secrets."""

    def open(self) -> Contents:
        """Connect, bring the schema up to date, and say what is there. Called again after an error, to reconnect."""

    def write(self, write: Write) -> None:
        """Do it and make it durable before returning."""

    def read(self, sections: Iterable[int]) -> list[bytes]:
        """The records of these sections. Raises SectionDamaged too, where the store can tell."""

    def shrink(self) -> bool:
        """Give back some room that is not used any more, a few milliseconds' worth; False: there is none."""

    def close(self) -> None:
        """Let go of it. Never raises."""


@dataclass(frozen=True, slots=True)
class Member:
    """What a server says of itself in a shared store.

    `process`: see `_process.py`. `prefix`: of its handles, unless the store has one for all already.
    """

    host: str = ""
    pid: int = 0
    addresses: str = ""
    process: str = ""
    prefix: str = ""


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """A server in a shared store. Times are seconds of the store's own clock.

    `left`: until its lease ends, below 0 if it has ended. `lag`: since it was renewed. `jobs`: that it had then.
    """

    id: int
    about: Member
    left: float
    lag: float
    jobs: int = 0


@dataclass(frozen=True, slots=True)
class Fleet:
    """The servers in a shared store by rising ids, and whether there are jobs that are nobody's."""

    servers: tuple[ServerInfo, ...] = ()
    orphans: bool = False


@runtime_checkable
class SharedStore(Store, Protocol):
    """A store that several servers have open at once, each with jobs of its own for as long as its lease lasts.

    `open` makes the caller one of them, gives it the jobs of those whose lease has ended, and returns what is its own;
    called again, it finds its place again. Where it does not, as in any other method, it raises SeatLost, once: the
    next `open` makes it a new server. Ids and numbers of a server are those of its range, see RANGE_BITS; those that
    it takes over keep theirs. A write renews the lease, and is refused by the store itself once that is lost; it
    raises UniquesTaken, and nothing of it is done, if other jobs have uniques that it claims. `close` gives all jobs to
    whoever takes them, at once.
    """

    lease: float
    about: Member

    @property
    def seat(self) -> int:
        """This server's number, which rises with each one that comes; 0 while it is not open."""

    @property
    def prefix(self) -> str:
        """Of the handles of all servers."""

    def renew(self, jobs: int) -> None:
        """The lease lasts from now on again. `jobs`: how many are here, for others to see."""

    def look(self) -> Fleet:
        """Who is there. May be called while it is not open, to look from outside."""

    def notes(self) -> dict[str, bytes]:
        """Those of all servers, as in `Contents`."""

    def claimed(self, uniques: Collection[bytes]) -> set[bytes]:
        """Those of these uniques (as `unique_key`) that any job has claimed, whatever its function."""

    def take_over(self, dead: Collection[int] = ()) -> Contents | None:
        """Makes the jobs of servers whose lease has ended this one's: all that is its own then; None if none came.

        `dead`: servers of which is known that they have ended, whatever their lease.
        """

# SPDX-License-Identifier: BSD-3-Clause
"""The interface of stores.

A job is written with its whole batch, as one *section*: one row, one value, whatever the store has. It stays there when
it ends; only its number is noted beside the section, and a section goes when all its jobs have ended. So a job costs a
store a share of a row, and sections that are mostly ended are written anew, together, by the journal.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

__all__ = ["Contents", "Section", "SectionDamaged", "SectionInfo", "Store", "StoreError", "Write"]


class StoreError(Exception):
    """The store did not do what it was asked; the text says why. Nothing of it was done."""


class SectionDamaged(StoreError):
    """What is kept of a section is not what was written. `section`: its id. It stays as it is."""

    def __init__(self, text: str, section: int) -> None:
        super().__init__(text)
        self.section = section


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
    """

    batch: int
    next_number: int
    add: list[Section] = field(default_factory=list)
    ended: dict[int, bytes] = field(default_factory=dict)
    drop: list[int] = field(default_factory=list)
    losses: dict[int, int] = field(default_factory=dict)
    forget: list[int] = field(default_factory=list)
    notes: dict[str, bytes | None] = field(default_factory=dict)


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

# SPDX-License-Identifier: BSD-3-Clause
"""The figures of a run and how they are put into words; the terminal's table and the HTML page both use them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gearfast.demo.proof import Proof

if TYPE_CHECKING:
    from gearfast.demo.plan import Photo, Round

__all__ = ["COLUMNS", "Report", "Row", "counted"]

COLUMNS = ("round", "jobs", "retries", "seconds", "photos/s")


def counted(number: int, noun: str) -> str:
    """The number and its noun: `1 job`, `2 jobs`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


@dataclass(frozen=True)
class Row:
    """One round. `retries`: how often a job was begun again, as the workers noted it; `seconds`: wall time."""

    title: str
    jobs: int
    retries: int
    seconds: float
    photos: int

    @property
    def rate(self) -> float:
        """Photos a second, resizes, thumbnail and mails included."""
        return self.photos / self.seconds

    @property
    def cells(self) -> tuple[str, ...]:
        """The texts for COLUMNS."""
        return self.title, str(self.jobs), str(self.retries), f"{self.seconds:.1f}", f"{self.rate:.1f}"


@dataclass
class Report:
    """Everything that the end of the demo tells. `story`: the lines on what was killed and what became of it."""

    work: Round
    proof: Proof = field(default_factory=Proof)
    rows: list[Row] = field(default_factory=list)
    story: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def photos(self) -> tuple[Photo, ...]:
        """The photos of the round with the losses."""
        return self.work.photos

    @property
    def complete(self) -> bool:
        """Every file and every mail is there, and all that was to be lost was lost."""
        return not self.problems

    @property
    def expected_resized(self) -> int:
        """How many resized photos there are to be."""
        return len(self.photos) * len(self.work.widths)

    @property
    def expected_mails(self) -> int:
        """How many mails there are to be."""
        return len(self.photos) * len(self.work.followers)

    @property
    def findings(self) -> list[tuple[bool, str]]:
        """What the proof found, a line each, and whether that is all there should be."""
        count, proof = len(self.photos), self.proof
        widths = ", ".join(str(width) for width in self.work.widths)
        resized = (
            f"{proof.resized} of {self.expected_resized} resized photos decode, have their width ({widths}) "
            "and show their photo"
        )
        thumbnails = f"{proof.thumbnails} of {count} thumbnails decode and show their photo"
        mails = f"{proof.mails} of {self.expected_mails} mails are there once, for their follower, with the thumbnail"
        return [
            (proof.resized == self.expected_resized, resized),
            (proof.thumbnails == count, thumbnails),
            (proof.mails == self.expected_mails, mails),
        ]

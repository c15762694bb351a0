# SPDX-License-Identifier: BSD-3-Clause
"""Jobs of the store that are this server's and have to come into its memory: at its start, or from another server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gearfast.dispatch import survivors
from gearfast.store._numbers import pack_numbers, unpack_numbers
from gearfast.store.base import RANGE_BITS, SectionInfo, StoreError

if TYPE_CHECKING:
    from gearfast.store._sections import Sections

__all__ = ["Coming", "live"]


class Coming:
    """For the journal's thread. `ranges`: those of whose jobs it knows."""

    def __init__(self) -> None:
        self.ranges: set[int] = set()
        self._infos: list[SectionInfo] = []
        self._losses: dict[int, int] = {}

    def add(self, own: int, infos: Sequence[SectionInfo], losses: dict[int, int], sections: Sections) -> dict[int, int]:
        """Of all that is this server's, what is of ranges that are new is to come; the losses of those jobs.

        `own`: its own range. `sections`: the same as `infos`. A job that was written anew is of the range of its
        section, not of its number.
        """
        new = {own, *(info.id >> RANGE_BITS for info in infos)} - self.ranges
        if not new:
            return {}
        self.ranges |= new
        self._infos += [info for info in infos if info.id >> RANGE_BITS in new]
        places, _ = sections.where(pack_numbers(list(losses)))
        numbers = [unpack_numbers(packed) for id, packed in places.items() if id >> RANGE_BITS in new]
        fresh = {number: losses[number] for some in numbers for number in some}
        self._losses |= fresh
        return fresh

    def __bool__(self) -> bool:
        return bool(self._infos)

    @property
    def jobs(self) -> int:
        """How many they are."""
        return sum(info.count + len(info.late) - len(info.ended) // 8 for info in self._infos)

    def take(self) -> tuple[list[SectionInfo], dict[int, int]]:
        """All that is to come now: sections, and losses of jobs."""
        taken = self._infos, self._losses
        self._infos, self._losses = [], {}
        return taken


def live(sections: Sections, ids: Sequence[int], parts: Sequence[bytes]) -> tuple[bytes, bytes]:
    """The records of sections, `parts`, and the numbers of those that do not count, rising.

    A job whose record was written anew has ended in one section and not in the other: then those that count. Raises
    StoreError at a record that is none.
    """
    ended = [sections.ended_of(id) for id in ids]
    if not sections.has_late:
        return b"".join(parts), b"".join(ended)
    try:
        return b"".join(survivors(part, gone)[0] for part, gone in zip(parts, ended, strict=True)), b""
    except ValueError as error:
        raise StoreError(str(error)) from None

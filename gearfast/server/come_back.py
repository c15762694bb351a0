# SPDX-License-Identifier: BSD-3-Clause
"""Jobs that come back from the store, some sections at a time. A store that cannot be read is waited for."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from gearfast.dispatch import survivors
from gearfast.server.log import logger
from gearfast.store._numbers import pack_numbers, unpack_numbers
from gearfast.store.base import RANGE_BITS, SectionDamaged, SectionInfo, Store, StoreError

if TYPE_CHECKING:
    from gearfast.store._sections import Sections

__all__ = ["ComeBack"]

PAUSE: Final = 1.0
"""Seconds until a store that could not be read is opened again."""
TRIES: Final = 3
"""After so many failures, with the store opened anew before each, the section that cannot be read is left alone."""


class ComeBack:
    """For the journal's thread. `leave_alone(error)`: a section is not to be touched any more.

    `ranges`: those whose jobs are here, or are to come.
    """

    def __init__(self, store: Store, leave_alone: Callable[[SectionDamaged], object]) -> None:
        self._store = store
        self._leave_alone = leave_alone
        self.begin_anew()

    def begin_anew(self) -> None:
        """Nothing is to come back yet."""
        self.ranges: set[int] = set()
        self._sections: list[SectionInfo] = []
        self._losses: dict[int, int] = {}
        self.is_stuck = False
        self._failures = 0
        self._again = 0.0

    def add(self, own: int, infos: Sequence[SectionInfo], losses: dict[int, int], sections: Sections) -> None:
        """Of all that is this server's, what is of ranges that are new is to come back.

        `own`: its own range. `losses`: how often jobs were lost. `sections`: the same as `infos`. A job that was
        written anew is of the range of its section, not of its number.
        """
        new = {own, *(info.id >> RANGE_BITS for info in infos)} - self.ranges
        if not new:
            return
        self.ranges |= new
        self._sections += [info for info in infos if info.id >> RANGE_BITS in new]
        places, _ = sections.where(pack_numbers(list(losses)))
        numbers = [unpack_numbers(packed) for id, packed in places.items() if id >> RANGE_BITS in new]
        self._losses |= {number: losses[number] for some in numbers for number in some}

    def __bool__(self) -> bool:
        return bool(self._sections)

    @property
    def jobs(self) -> int:
        """How many are to come back."""
        return sum(info.count + len(info.late) - len(info.ended) // 8 for info in self._sections)

    def take(self) -> tuple[list[SectionInfo], dict[int, int]]:
        """What is to come back, and how often some of these jobs were lost."""
        taken = self._sections, self._losses
        self._sections, self._losses = [], {}
        return taken

    @property
    def is_due(self) -> bool:
        """The store is to be opened again, as it could not be read."""
        return self.is_stuck and time.monotonic() >= self._again

    def opened(self) -> None:
        """The store was opened again."""
        self.is_stuck = False

    def wait(self) -> None:
        """The store is to be opened again, in a while."""
        self.is_stuck = True
        self._again = time.monotonic() + PAUSE

    def read(self, ids: list[int], sections: Sections) -> tuple[bytes, bytes] | None:
        """The records of sections, and the numbers of those that do not count, rising; None: they cannot be read now.

        Those that are damaged are left alone, and so are, after some attempts, those that cannot be read.
        """
        if self.is_stuck:
            return None
        try:
            found = self._live([id for id in ids if sections.has(id)], sections)
        except (StoreError, MemoryError) as error:
            if not self._failures:
                logger.error("Jobs of the store cannot be read yet: %s", str(error) or "no memory")
            self._failures += 1
            self.wait()
            return None
        self._failures = 0
        return found

    def _live(self, ids: list[int], sections: Sections) -> tuple[bytes, bytes]:
        """A job whose record was written anew has ended in one section and not in the other: then those that count."""
        for id in list(ids) if self._failures >= TRIES else ():
            try:
                self._store.read([id])
            except SectionDamaged:
                continue  # dealt with below
            except StoreError as error:
                self._leave_alone(SectionDamaged(f"{error} (section {id})", id))
                raise
        while True:
            try:
                parts = self._store.read(ids)
                if not sections.has_late:
                    return b"".join(parts), b"".join(sections.ended_of(id) for id in ids)
                return b"".join(self._surviving(id, part, sections) for id, part in zip(ids, parts, strict=True)), b""
            except SectionDamaged as error:
                ids.remove(error.section)
                self._leave_alone(error)

    def _surviving(self, id: int, part: bytes, sections: Sections) -> bytes:
        try:
            return survivors(part, sections.ended_of(id))[0]
        except ValueError as error:
            raise SectionDamaged(f"{self._store.name}: section {id}: {error}", id) from None

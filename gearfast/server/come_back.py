# SPDX-License-Identifier: BSD-3-Clause
"""Jobs that come back from the store, some sections at a time. A store that cannot be read is waited for."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from gearfast.dispatch import survivors
from gearfast.server.log import logger
from gearfast.store.base import SectionDamaged, SectionInfo, Store, StoreError

if TYPE_CHECKING:
    from gearfast.store._sections import Sections

__all__ = ["ComeBack"]

PAUSE: Final = 1.0
"""Seconds until a store that could not be read is opened again."""
TRIES: Final = 3
"""After so many failures, with the store opened anew before each, the section that cannot be read is left alone."""


class ComeBack:
    """For the journal's thread. `leave_alone(error)`: a section is not to be touched any more."""

    def __init__(self, store: Store, leave_alone: Callable[[SectionDamaged], object]) -> None:
        self._store = store
        self._leave_alone = leave_alone
        self.begin_anew()

    def begin_anew(self) -> None:
        """Nothing is to come back yet."""
        self.sections: list[SectionInfo] = []
        self.losses: dict[int, int] = {}
        self.is_stuck = False
        self._failures = 0
        self._again = 0.0

    def take(self) -> tuple[list[SectionInfo], dict[int, int]]:
        """What is to come back, and how often some of these jobs were lost."""
        taken = self.sections, self.losses
        self.sections, self.losses = [], {}
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

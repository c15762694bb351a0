# SPDX-License-Identifier: BSD-3-Clause
"""Workloads that the dispatcher has given back for want of room, and wants again: read from the store, a piece at a
time, so that no commit waits long.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from gearfast.dispatch import chosen
from gearfast.server.log import logger
from gearfast.store._numbers import pack_numbers, unpack_numbers
from gearfast.store.base import SectionDamaged, Store, StoreError

if TYPE_CHECKING:
    from gearfast.store._sections import Sections

__all__ = ["Fetch"]

PIECE: Final = 1 << 20
"""Bytes of sections that are read at a time."""
PAUSE: Final = 1.0
"""Seconds until a store that could not be read is tried again."""


class Fetch:
    """The workloads that are wanted, for the journal's thread: one request at a time."""

    def __init__(self) -> None:
        self._numbers = b""
        self._places: dict[int, bytes] = {}
        self._again: float | None = None
        self.is_busy = False
        self.missing = b""
        """Numbers of the jobs that no section has, once it is done."""

    def begin(self, numbers: bytes) -> None:
        """`numbers`: of jobs, rising, 8 bytes each. Where they are is looked up later: the store may be away now."""
        self.is_busy = True
        self.missing = b""
        self._numbers = numbers

    @property
    def is_done(self) -> bool:
        """All that there is has been read."""
        return not (self._places or self._numbers)

    @property
    def is_stuck(self) -> bool:
        """The store could not be read, and is not to be tried again yet."""
        return self._again is not None and time.monotonic() < self._again

    def read(self, store: Store, sections: Sections) -> bytes:
        """Records of some of the jobs. Raises SectionDamaged, StoreError."""
        ids = self._next(sections)
        parts = store.read(ids)
        self._again = None
        found = []
        for id, part in zip(ids, parts, strict=True):
            try:
                records, missing = chosen(part, self._places[id])
            except ValueError as error:
                raise SectionDamaged(f"{store.name}: section {id}: {error}", id) from None
            found.append(records)
            self.missing += missing
            del self._places[id]
        return b"".join(found)

    def _next(self, sections: Sections) -> list[int]:
        """Sections that are to be read at once. Some may have been written anew, or have gone, since."""
        ids: list[int] = []
        size = 0
        if any(not sections.has(id) for id in self._places):
            self._numbers = rising(self._places)
        if self._numbers:
            self._places, missing = sections.where(self._numbers)
            self.missing += missing
            self._numbers = b""
        for id in self._places:
            ids.append(id)
            size += sections.size_of(id)
            if size >= PIECE:
                break
        return ids

    def fail(self, error: StoreError | MemoryError) -> None:
        """The store could not be read: later once more."""
        if self._again is None:
            logger.error("Workloads cannot be read from the store: %s", str(error) or "no memory")
        self.pause()

    def pause(self) -> None:
        """Reads nothing for a while. From any thread."""
        self._again = time.monotonic() + PAUSE

    def end(self) -> bytes:
        """What `missing` was, of a request that is done."""
        self.is_busy = False
        return self.missing


def rising(places: dict[int, bytes]) -> bytes:
    """The numbers of all sections."""
    return pack_numbers(sorted(number for packed in places.values() for number in unpack_numbers(packed)))

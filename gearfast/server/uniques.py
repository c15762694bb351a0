# SPDX-License-Identifier: BSD-3-Clause
"""Uniques over all servers of a store: a job has its own as long as it lives, and the store says who is first."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING

from gearfast.server.log import logger
from gearfast.server.plan import joined
from gearfast.store._claims import claim_key, unique_key
from gearfast.store._numbers import pack_numbers
from gearfast.store.base import SharedStore, Store, StoreError, UniquesTaken, Write

if TYPE_CHECKING:
    from gearfast.dispatch import Batch
    from gearfast.store._sections import Sections

__all__ = ["Uniques", "keyed"]


def keyed(jobs: Iterable[tuple[int, bytes, bytes]]) -> list[tuple[bytes, int]]:
    """Of jobs as (number, function, unique): by which key each has its unique, and its number."""
    return [(claim_key(function, unique), number) for number, function, unique in jobs]


def _without(write: Write, numbers: Collection[int], sections: Sections) -> None:
    """Takes jobs of its batch out of a write, and their claims."""
    write.claims = {key: number for key, number in write.claims.items() if number not in numbers}
    _, gone = sections.end(pack_numbers(sorted(numbers)))
    write.ended.pop(write.batch, None)
    added, write.add[:] = write.add[:], []
    if gone or not added:
        return
    section = joined(sections, [write.batch], [added[0].records])
    sections.replace([write.batch], section.info if section is not None else None)
    if section is not None:
        write.add.append(section)


class Uniques:
    """For the journal's thread."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.taken: dict[int, int] = {}
        """Of the last write: jobs that are not in it, as others have their uniques, and the numbers of those."""

    def write(self, batch: Batch, write: Write, sections: Sections, do: Callable[[Write], object]) -> None:
        """Does what is planned for a batch, without the jobs whose uniques are others'. Raises StoreError."""
        self.taken = {}
        if batch.only_asks and not write.notes:
            return
        write.claims = dict(keyed(batch.claims))
        write.releases = keyed(batch.freed)
        while True:
            try:
                do(write)
                return
            except UniquesTaken as error:
                self.taken = self.taken | error.taken
                _without(write, error.taken.keys(), sections)

    def verdict(self, batch: Batch) -> tuple[dict[int, int], list[bytes]]:
        """Of the batch that was written last: `taken`, and the uniques it asks for that are known."""
        return self.taken, self._known(batch.asked)

    def _known(self, asked: Collection[bytes]) -> list[bytes]:
        """Those of these uniques that a job of some server has; none if the store does not say."""
        if not asked or not isinstance(self._store, SharedStore):
            return []
        keys = {unique: unique_key(unique) for unique in asked}
        try:
            found = self._store.claimed(set(keys.values()))
        except StoreError as error:
            logger.error("The store failed: %s", error)
            return []
        return [unique for unique, key in keys.items() if key in found]

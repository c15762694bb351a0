# SPDX-License-Identifier: BSD-3-Clause
"""Batches whose clients were told that they are not stored, until it is known whether they are: a write may have been
done whose outcome nobody heard.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gearfast.dispatch import chosen
from gearfast.server.uniques import keyed
from gearfast.store._numbers import pack_numbers, unpack_numbers
from gearfast.store.base import Contents, Section, SectionInfo, Write

if TYPE_CHECKING:
    from gearfast.dispatch import Batch

__all__ = ["GivenUp"]


class _Refused(NamedTuple):
    """What has to be known of such a batch. `kept`: what it tells of jobs that were in the store before."""

    claims: list[tuple[bytes, int]]
    ended: bytes
    kept: Section | None


def _of(batch: Batch) -> _Refused:
    ended = frozenset(unpack_numbers(batch.ended))
    late = tuple(number for number in unpack_numbers(batch.replaced) if number not in ended)
    kept = None
    if late:
        records, _ = chosen(batch.records, pack_numbers(late))
        kept = Section(SectionInfo(batch.number, 0, 0, 0, len(records), late), records)
    return _Refused(keyed(batch.claims), batch.ended, kept)


class GivenUp:
    """For the journal's thread."""

    def __init__(self) -> None:
        self._batches: dict[int, _Refused] = {}
        self._known: frozenset[int] = frozenset()

    def add(self, batch: Batch) -> None:
        """Its jobs are refused; ends, and what else it tells of earlier jobs, are told again with the next one."""
        self._batches[batch.number] = _of(batch)

    def forget(self) -> None:
        """What was given up is of no interest any more."""
        self._batches.clear()
        self._known = frozenset()

    def undo(self, contents: Contents, next_number: int, notes: dict[str, bytes | None]) -> Write | None:
        """What takes refused jobs out of a store that has them after all, and nothing else; None if there are none.

        What those batches tell of earlier jobs stays: their records before are no longer valid.
        """
        stored = [number for number in self._batches if number <= contents.batch]
        self._known = self._known.union(*(unpack_numbers(self._batches[number].ended) for number in stored))
        there = sorted(self._batches.keys() & {info.id for info in contents.sections})
        if not there:
            return None
        undone = [self._batches[number] for number in there]
        write = Write(contents.batch, next_number, drop=there, notes=notes)
        write.add = [refused.kept for refused in undone if refused.kept is not None]
        write.releases = [claim for refused in undone for claim in refused.claims]
        return write

    def undone(self) -> None:
        """The write that `undo` gave is done."""
        self._batches.clear()

    def without_known(self, batch: Batch) -> Batch:
        """A batch without the ends that it tells again though the store has them: each may be noted once only."""
        if not self._known:
            return batch
        ended = [number for number in unpack_numbers(batch.ended) if number not in self._known]
        return batch._replace(ended=pack_numbers(ended))

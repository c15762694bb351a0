# SPDX-License-Identifier: BSD-3-Clause
"""What is to be written into the store: what a batch means for it, and sections as one, without what has ended."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from gearfast.dispatch import survivors
from gearfast.server.log import logger
from gearfast.store._numbers import unpack_numbers
from gearfast.store._sections import Sections
from gearfast.store.base import Contents, Section, SectionDamaged, SectionInfo, Write

if TYPE_CHECKING:
    from gearfast.dispatch import Batch

__all__ = ["in_parts", "joined", "placed", "planned"]


def placed(contents: Contents, damaged: set[int]) -> tuple[Sections, list[SectionInfo]]:
    """What a store has where, but for what is `damaged`; sections of which it says what cannot be are added to that."""
    sections, infos = Sections(), []
    # As they were written; those of late jobs alone have no range by which a store could know.
    for info in sorted(contents.sections, key=lambda info: info.id):
        if info.id in damaged:
            continue
        try:
            sections.add(info)
        except SectionDamaged as error:
            damaged.add(info.id)
            logger.error("%s: its jobs stay there", error)
        else:
            infos.append(info)
    return sections, infos


def in_parts(infos: Iterable[SectionInfo], most: int) -> Iterator[list[int]]:
    """Ids of sections, some at a time: so many that they have `most` bytes or a little more."""
    ids: list[int] = []
    size = 0
    for info in infos:
        ids.append(info.id)
        size += info.size
        if size >= most:
            yield ids
            ids, size = [], 0
    if ids:
        yield ids


def joined(sections: Sections, ids: Sequence[int], records: Sequence[bytes]) -> Section | None:
    """Neighbours as one section, of the id of the last of them; None if all their jobs have ended.

    `records`: of each. Raises ValueError at one that is none.
    """
    lates = [frozenset(sections.late_of(id)) for id in ids]
    ended = [sections.ended_of(id) for id in ids]
    late = [number for mine, gone in zip(lates, ended, strict=True) for number in mine.difference(unpack_numbers(gone))]
    parts = list(map(survivors, records, ended, lates))
    whole = b"".join(part[0] for part in parts)
    kept = [part for part in parts if part[3]]
    first = kept[0][1] if kept else 0
    last = kept[-1][2] if kept else 0
    info = SectionInfo(ids[-1], first, last, sum(part[3] for part in kept), len(whole), tuple(late))
    return Section(info, whole) if whole else None


def planned(
    batch: Batch,
    next_number: int,
    sections: Sections,
    losses: dict[int, int],
    notes: dict[str, bytes | None] | None = None,
) -> Write:
    """What a batch means for the store; `sections` and `losses` are as they will be then."""
    write = Write(batch.number, next_number, notes=notes or {})
    if batch.replaced:
        _end(batch.replaced, write, sections, moved=True)
    if batch.records:
        info = SectionInfo(batch.number, batch.first, batch.last, batch.jobs, len(batch.records), batch.late)
        sections.add(info)
        write.add.append(Section(info, batch.records))
    if batch.ended:
        _end(batch.ended, write, sections)
        if losses:
            _forget(unpack_numbers(batch.ended), write, losses)
    changes = dict(batch.changes)
    for number, times in changes.items():
        if times:
            losses[number] = write.losses[number] = times
    _forget((number for number, times in changes.items() if not times), write, losses)
    return write


def _end(numbers: bytes, write: Write, sections: Sections, moved: bool = False) -> None:
    ended, gone = sections.end(numbers, moved)
    write.ended.update(ended)
    for id, _, _ in gone:
        write.ended.pop(id, None)
        if id == write.batch:  # all that it has has ended before it was written
            write.add.clear()
        else:
            write.drop.append(id)


def _forget(numbers: Iterable[int], write: Write, losses: dict[int, int]) -> None:
    for number in numbers:
        if losses.pop(number, None) is not None:
            write.forget.append(number)

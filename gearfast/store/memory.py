# SPDX-License-Identifier: BSD-3-Clause
"""Jobs in the memory of this process: for tests, and the plainest form of what every store does.

It promises nothing beyond the process: what was written is there for the next server that opens the same name in it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import ClassVar

from gearfast.store.base import Contents, Section, StoreError, Write

__all__ = ["MemoryStore"]


@dataclass(slots=True)
class _Data:
    """What is kept under a name."""

    owner: MemoryStore | None = None
    batch: int = 0
    next_number: int = 1
    sections: dict[int, Section] = field(default_factory=dict)
    ended: dict[int, bytes] = field(default_factory=dict)
    losses: dict[int, int] = field(default_factory=dict)
    notes: dict[str, bytes] = field(default_factory=dict)


class MemoryStore:
    """Stores of the same name share what was written, one open at a time; without a name it goes with the object.

    Raises StoreError from every method.
    """

    _named: ClassVar[dict[str, _Data]] = {}

    def __init__(self, name: str = "") -> None:
        self._name = name
        self._data = self._named.setdefault(name, _Data()) if name else _Data()

    @property
    def name(self) -> str:
        """`memory://` and the name."""
        return f"memory://{self._name}"

    def open(self) -> Contents:
        """Raises StoreError if another one has it open."""
        data = self._data
        if data.owner not in (None, self):
            raise StoreError(f"{self.name}: in use by another server")
        data.owner = self
        infos = [replace(each.info, ended=data.ended.get(id, b"")) for id, each in data.sections.items()]
        infos.sort(key=lambda info: (info.first, info.id))
        return Contents(data.batch, data.next_number, infos, dict(data.losses), dict(data.notes))

    def write(self, write: Write) -> None:
        """Durable only as far as this process is."""
        data = self._opened()
        kept = data.sections.keys() - set(write.drop)
        for section in write.add:
            if section.info.id in kept:
                raise StoreError(f"{self.name}: section {section.info.id} is there already")
            kept.add(section.info.id)
        for id in write.drop:
            data.sections.pop(id, None)
            data.ended.pop(id, None)
        data.sections.update((section.info.id, section) for section in write.add)
        data.ended.update(write.ended)
        data.losses.update(write.losses)
        for number in write.forget:
            data.losses.pop(number, None)
        for key, value in write.notes.items():
            if value is None:
                data.notes.pop(key, None)
            else:
                data.notes[key] = value
        data.batch = write.batch
        data.next_number = write.next_number

    def read(self, sections: Iterable[int]) -> list[bytes]:
        """The records of these sections. Raises StoreError if one is not there."""
        data = self._opened()
        try:
            return [data.sections[id].records for id in sections]
        except KeyError as missing:
            raise StoreError(f"{self.name}: section {missing} is missing") from None

    def shrink(self) -> bool:
        """There is nothing to give back."""
        self._opened()
        return False

    def _opened(self) -> _Data:
        if self._data.owner is not self:
            raise StoreError(f"{self.name}: not open")
        return self._data

    def close(self) -> None:
        """Lets the next one open it."""
        if self._data.owner is self:
            self._data.owner = None

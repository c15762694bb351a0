# SPDX-License-Identifier: BSD-3-Clause
"""What is kept in the store beside jobs: small values by keys, on their way there, and back where they do not arrive.

The server's thread puts them, the journal's thread writes them with a batch. Where servers share the store they are for
all of them: then others may change them, too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from queue import SimpleQueue
from typing import NamedTuple

__all__ = ["Notes"]


def _put(kept: dict[str, bytes], notes: Mapping[str, bytes | None]) -> None:
    for key, value in notes.items():
        if value is None:
            kept.pop(key, None)
        else:
            kept[key] = value


class _Put(NamedTuple):
    """The newest one of a key. `number`: of all that were put."""

    number: int
    value: bytes | None
    bound: bool


class Notes:
    """Values by keys of 1 to 190 bytes of ASCII; None takes one away.

    One that is *bound* is true only with the jobs that were submitted before it: it is lost with them.
    """

    def __init__(self, stored: Mapping[str, bytes]) -> None:
        self.kept = dict(stored)
        """For the server's thread: what is kept, or is about to be."""
        self.on_lost: Callable[[str, bytes | None], object] | None = None
        """Called for each bound one that was lost, with what is kept instead."""
        self._puts: dict[str, _Put] = {}
        self._count = 0
        self._gathered: dict[str, bytes | None] = {}
        self._bound: set[str] = set()
        self._lost: SimpleQueue[dict[str, bytes | None]] = SimpleQueue()
        self._stored = dict(stored)
        self._unwritten: dict[str, bytes | None] = {}
        self._unwritten_bound: set[str] = set()
        self._added = 0
        self._taken_back: dict[str, bytes | None] = {}

    # The server's thread

    @property
    def is_waiting(self) -> bool:
        """Some are to go with the next batch."""
        return bool(self._gathered)

    def put(self, key: str, value: bytes | None, bound: bool) -> None:
        """With the next batch."""
        _put(self.kept, {key: value})
        self._count += 1
        self._puts[key] = _Put(self._count, value, bound)
        self._gathered[key] = value
        (self._bound.add if bound else self._bound.discard)(key)

    def take(self) -> tuple[dict[str, bytes | None], set[str], int]:
        """Those that go with a batch, which of them are bound to it, and how many there ever were."""
        taken = self._gathered, self._bound, self._count
        self._gathered, self._bound = {}, set()
        return taken

    def take_back(self) -> None:
        """Those that were lost. It comes before the next batch goes: what that says is wrong then."""
        while not self._lost.empty():
            for key, value in self._lost.get().items():
                if key in self._gathered:
                    self._gathered[key] = value
                    self._bound.discard(key)
                _put(self.kept, {key: value})
                self._puts.pop(key, None)
                if self.on_lost is not None:
                    self.on_lost(key, value)

    def hear(self, stored: Mapping[str, bytes], unwritten: Mapping[str, bytes | None], added: int) -> None:
        """Others have changed some: what the store has, and what this server is about to write there.

        `added`: how many notes the journal's thread knew of then; those that came since are newer.
        """
        self._puts = {key: put for key, put in self._puts.items() if put.number > added}
        self.kept = dict(stored)
        _put(self.kept, unwritten)
        _put(self.kept, {key: put.value for key, put in self._puts.items()})

    def lose(self) -> None:
        """The jobs that are not stored are gone, and with them what was bound to them."""
        for key in self._bound:
            del self._gathered[key]
        self._bound = set()
        self._puts = {key: put for key, put in self._puts.items() if not put.bound}

    # The journal's thread

    @property
    def unwritten(self) -> dict[str, bytes | None]:
        """A copy of what the next write has to have."""
        return self._unwritten.copy()

    @property
    def taken_back(self) -> dict[str, bytes | None]:
        """A copy of what is to be as it was, should the batch that was given up be in the store after all."""
        return self._taken_back.copy()

    @property
    def added(self) -> int:
        """How many there ever were when the last ones were added."""
        return self._added

    def add(self, notes: Mapping[str, bytes | None], bound: set[str], count: int) -> None:
        """They are to be written now. `count`: see `take`."""
        self._added = count
        self._unwritten.update(notes)
        self._unwritten_bound = (self._unwritten_bound - notes.keys()) | bound

    def are_written(self) -> None:
        """All of them."""
        _put(self._stored, self._unwritten)
        self._unwritten.clear()
        self._unwritten_bound.clear()
        self._taken_back.clear()

    def give_up(self, bound: set[str]) -> None:
        """The batch to which these are bound was given up. The others go with the next one."""
        lost = {key: self._stored.get(key) for key in bound}
        self._unwritten.update(lost)
        self._unwritten_bound -= bound
        self._taken_back.update(lost)
        self._lost.put(lost)

    def begin_anew(self, stored: Mapping[str, bytes]) -> None:
        """This is a new server, and has none of the jobs to which some were bound."""
        for key in self._unwritten_bound:
            del self._unwritten[key]
        self._unwritten_bound = set()
        self._taken_back.clear()
        self._stored = dict(stored)

    def look(self, stored: Mapping[str, bytes]) -> bool:
        """Whether others have changed what the store has."""
        if stored == self._stored:
            return False
        self._stored = dict(stored)
        return True

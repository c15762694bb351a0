# SPDX-License-Identifier: BSD-3-Clause
"""Jobs in the memory of this process: for tests, and the plainest form of what every store does.

It promises nothing beyond the process: what was written is there for the next server that opens the same name in it.
Several may have it open at once, as in a shared database.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field, replace
from typing import ClassVar

from gearfast.store._claims import FIRST
from gearfast.store.base import (
    LEASE,
    RANGE_BITS,
    Contents,
    Fleet,
    Member,
    SeatLost,
    Section,
    ServerInfo,
    StoreError,
    UniquesTaken,
    Write,
)

__all__ = ["MemoryStore"]


@dataclass(slots=True)
class _Server:
    about: Member
    renewed: float
    ends: float
    batch: int
    next_number: int
    jobs: int = 0
    gone: bool = False
    """It has left, or its jobs were taken over."""


@dataclass(slots=True)
class _Data:
    """What is kept under a name. `owners`: of each range, the server that has its jobs; 0 is all below the first."""

    last: int
    prefix: str = ""
    servers: dict[int, _Server] = field(default_factory=dict)
    owners: dict[int, int] = field(default_factory=lambda: {0: 0})
    sections: dict[int, Section] = field(default_factory=dict)
    ended: dict[int, bytes] = field(default_factory=dict)
    losses: dict[int, int] = field(default_factory=dict)
    notes: dict[str, bytes] = field(default_factory=dict)
    claims: dict[bytes, int] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)


def _new_data() -> _Data:
    # Above all numbers that servers without a store have given to jobs.
    return _Data(last=(time.time_ns() // 100) >> RANGE_BITS)


class MemoryStore:
    """Stores of the same name share what was written; without a name it goes with the object.

    `clock`: seconds, from any beginning. Raises StoreError from every method.
    """

    _named: ClassVar[dict[str, _Data]] = {}

    def __init__(self, name: str = "", *, clock: Callable[[], float] = time.monotonic) -> None:
        self._name = name
        self._data = self._named.setdefault(name, _new_data()) if name else _new_data()
        self._clock = clock
        self._is_open = False
        self._seat = 0
        self.lease = LEASE
        self.about = Member()

    @property
    def name(self) -> str:
        """`memory://` and the name."""
        return f"memory://{self._name}"

    @property
    def seat(self) -> int:
        """This server's number; 0 while it has none."""
        return self._seat

    @property
    def prefix(self) -> str:
        """Of the handles of all servers."""
        return self._data.prefix

    def open(self) -> Contents:
        """Raises SeatLost if another server has taken its jobs over."""
        data = self._data
        with data.lock:
            if self._seat:
                self._mine().ends = self._clock() + self.lease
            else:
                data.last += 1
                self._seat = data.last
                first = self._seat << RANGE_BITS
                now = self._clock()
                data.prefix = data.prefix or self.about.prefix
                data.servers[self._seat] = _Server(self.about, now, now + self.lease, first, first + 1)
                data.owners[self._seat] = self._seat
                self._claim(())
            self._is_open = True
            return self._contents()

    def _claim(self, dead: Collection[int]) -> bool:
        """Makes the ranges of servers that are gone this one's; False if there are none."""
        data, now = self._data, self._clock()
        for id, server in data.servers.items():
            if id != self._seat and (server.ends < now or id in dead):
                server.gone = True
        orphans = self._orphans()
        data.owners.update(dict.fromkeys(orphans, self._seat))
        return bool(orphans)

    def _orphans(self) -> list[int]:
        """Ranges that no server has."""
        servers = self._data.servers
        return [range for range, owner in self._data.owners.items() if owner not in servers or servers[owner].gone]

    def _contents(self) -> Contents:
        data, mine = self._data, self._data.servers[self._seat]
        infos = [
            replace(each.info, ended=data.ended.get(id, b"")) for id, each in data.sections.items() if self._has(id)
        ]
        infos.sort(key=lambda info: (info.first, info.id))
        losses = {number: times for number, times in data.losses.items() if self._has(number)}
        return Contents(mine.batch, mine.next_number, infos, losses, dict(data.notes))

    def _has(self, number: int) -> bool:
        """Whether a section or a job is this server's."""
        owners = self._data.owners
        return owners.get(number >> RANGE_BITS, owners[0]) == self._seat

    def write(self, write: Write) -> None:
        """Durable only as far as this process is."""
        self._opened()
        data = self._data
        with data.lock:
            mine = self._mine()
            kept = data.sections.keys() - set(write.drop)
            for section in write.add:
                if section.info.id in kept:
                    raise StoreError(f"{self.name}: section {section.info.id} is there already")
                kept.add(section.info.id)
            self._claim_uniques(write)
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
            mine.batch = write.batch
            mine.next_number = write.next_number
            self._renew(mine)

    def _claim_uniques(self, write: Write) -> None:
        claims = self._data.claims
        free = {key for key, number in write.releases if claims.get(key) == number}
        taken = {
            number: claims[key]
            for key, number in write.claims.items()
            if key not in free and claims.get(key, number) != number
        }
        if taken:
            raise UniquesTaken(f"{self.name}: uniques are other jobs'", taken)
        for key in free:
            del claims[key]
        claims.update(write.claims)

    def claimed(self, uniques: Collection[bytes]) -> set[bytes]:
        """Those of these uniques that any job has claimed."""
        self._opened()
        with self._data.lock:
            return {key[:FIRST] for key in self._data.claims}.intersection(uniques)

    def read(self, sections: Iterable[int]) -> list[bytes]:
        """The records of these sections. Raises StoreError if one is not there."""
        self._opened()
        try:
            return [self._data.sections[id].records for id in sections]
        except KeyError as missing:
            raise StoreError(f"{self.name}: section {missing} is missing") from None

    def shrink(self) -> bool:
        """There is nothing to give back."""
        self._opened()
        return False

    def renew(self, jobs: int) -> None:
        """The lease lasts from now on again."""
        self._opened()
        with self._data.lock:
            mine = self._mine()
            mine.jobs = jobs
            self._renew(mine)

    def _renew(self, mine: _Server) -> None:
        mine.about = self.about
        mine.renewed = self._clock()
        mine.ends = mine.renewed + self.lease

    def look(self) -> Fleet:
        """Who is there."""
        data, now = self._data, self._clock()
        with data.lock:
            servers = [
                ServerInfo(id, server.about, server.ends - now, now - server.renewed, server.jobs)
                for id, server in sorted(data.servers.items())
                if not server.gone
            ]
            return Fleet(tuple(servers), bool(self._orphans()))

    def notes(self) -> dict[str, bytes]:
        """Those of all servers."""
        self._opened()
        with self._data.lock:
            return dict(self._data.notes)

    def take_over(self, dead: Collection[int] = ()) -> Contents | None:
        """Makes the jobs of servers whose lease has ended this one's: all that is its own then; None if none came."""
        self._opened()
        with self._data.lock:
            self._mine()
            return self._contents() if self._claim(dead) else None

    def _opened(self) -> None:
        if not self._is_open:
            raise StoreError(f"{self.name}: not open")

    def _mine(self) -> _Server:
        mine = self._data.servers[self._seat]
        if mine.gone:
            self._seat = 0
            self._is_open = False
            raise SeatLost(f"{self.name}: another server has taken it over", mine.batch)
        return mine

    def close(self) -> None:
        """Its jobs are whoever's that takes them."""
        with self._data.lock:
            if self._seat:
                self._data.servers[self._seat].gone = True
                self._seat = 0
            self._is_open = False

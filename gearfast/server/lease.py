# SPDX-License-Identifier: BSD-3-Clause
"""A server's part of a store that several share: until when its jobs are its own, and who else is there.

A lease is renewed by each write, and by itself where there is nothing to write. This server counts it from before it
asked, and ends it a tenth early, so that it stops before the store lets others take its jobs, as long as the two clocks
run about as fast. What the clocks show does not matter.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from gearfast.server.log import logger
from gearfast.store._process import has_ended, this_process
from gearfast.store.base import Fleet, Member

if TYPE_CHECKING:
    from gearfast.store.base import Contents, SharedStore

__all__ = ["Share", "this_member"]

SECOND: Final = 10**9
LOOKS: Final = 10
"""How often, in the time of a lease, others are looked at, and once a second at least."""

TELLS: Final = 10 * SECOND
"""How often a server with a long lease, or with many writes, says how many jobs it has."""


def this_member(prefix: str = "", addresses: str = "") -> Member:
    """What this process says of itself."""
    return Member(socket.gethostname(), os.getpid(), addresses, this_process(), prefix)


class Share:
    """For the journal's thread; `leads` and `text` are for all. `clock`: monotonic, ns."""

    def __init__(self, store: SharedStore, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self._store = store
        self._clock = clock
        self._lease = int(store.lease * SECOND)
        self.worth = self._lease // 4
        """By how much the lease has to be renewed until it is worth while to tell others."""
        self.until = 0
        """Up to when this server's jobs are its own, by `clock`."""
        self._renew_at = self._look_at = 0
        self._fleet = Fleet()
        self._seen = clock()

    @property
    def now(self) -> int:
        """To be taken before the store is asked for what renews the lease."""
        return self._clock()

    def renewed(self, began: int) -> None:
        """What was begun then has renewed the lease."""
        self.until = began + self._lease - self._lease // 10
        logger.debug("Server %d: lease from %d until %d ns", self._store.seat, began, self.until)

    def took(self, ranges: Iterable[int]) -> None:
        """The jobs of servers of these numbers are this one's."""
        logger.debug("Server %d: has jobs of %s at %d ns", self._store.seat, sorted(ranges), self._clock())

    def leaves(self) -> None:
        """From now on others may have this server's jobs."""
        logger.debug("Server %d: leaves at %d ns", self._store.seat, self._clock())

    @property
    def wait(self) -> float:
        """Seconds until `beat` is due."""
        return max(self._look_at - self._clock(), 0) / SECOND

    def renew_now(self) -> None:
        """What this server says of itself has changed."""
        self._renew_at = self._look_at = 0

    def put_off(self) -> None:
        """`beat` is due in a while."""
        self._look_at = self._clock() + min(self._lease // LOOKS, SECOND)

    def beat(self, jobs: int) -> Contents | None:
        """Renews the lease if it is time, looks at the others, and takes over what those that have ended had.

        Returns all that is this server's then, if something came. Raises StoreError.
        """
        self.put_off()
        began = self._clock()
        if began >= self._renew_at:
            self._store.renew(jobs)
            self.renewed(began)
            self._renew_at = began + min(self._lease // 3, TELLS)
        self._look()
        others = [server for server in self._fleet.servers if server.id != self._store.seat]
        dead = [server.id for server in others if has_ended(server.about.process)]
        if not (dead or self._fleet.orphans or any(server.left < 0 for server in others)):
            first = min((server.left for server in others), default=self._lease)
            self._look_at = min(self._look_at, self._clock() + int(first * SECOND) + SECOND // 1000)
            return None
        contents = self._store.take_over(dead)
        self._look()
        return contents

    def _look(self) -> None:
        self._fleet = self._store.look()
        self._seen = self._clock()

    @property
    def leads(self) -> bool:
        """Whether this is the one of all servers that does what is to be done once: that of the lowest number."""
        servers = self._fleet.servers
        return bool(servers) and servers[0].id == self._store.seat and self._clock() < self.until

    def text(self) -> bytes:
        """Of each server a line: number, host, process, addresses, jobs, seconds that its lease lasts, and its lag."""
        age = (self._clock() - self._seen) / SECOND
        return "".join(
            f"{server.id}\t{server.about.host}\t{server.about.pid}\t{server.about.addresses}\t{server.jobs}"
            f"\t{server.left - age:.3f}\t{server.lag + age:.3f}\n"
            for server in self._fleet.servers
        ).encode("utf-8", "replace")

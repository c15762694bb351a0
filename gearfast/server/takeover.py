# SPDX-License-Identifier: BSD-3-Clause
"""The part of a journal that has its jobs for a time only: leases, takeovers, and what follows when one is lost."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING

from gearfast.server.log import logger
from gearfast.store._sections import Sections
from gearfast.store.base import Contents, SeatLost, SectionInfo, StoreError

if TYPE_CHECKING:
    from gearfast.dispatch import Dispatcher
    from gearfast.server.lease import Share

__all__ = ["Tenant"]


class Tenant(ABC):
    """See `Journal`, which this is a part of. `share`: None where the store is this server's alone."""

    share: Share | None
    notes: dict[str, bytes]
    on_lead: Callable[[dict[str, bytes]], object] | None
    _dispatcher: Dispatcher
    _post: Callable[..., object]
    _clock: Callable[[], int]
    _sections: Sections
    _coming: list[SectionInfo]
    _given_up: set[int]
    _noted: dict[str, bytes | None]
    _unwritten: dict[str, bytes | None]
    _batch: int
    _last: tuple[int, bool]
    """The batch that was settled last, and whether it is stored."""
    _taken: int
    """The batch that was taken last."""
    _told: int
    """The end of the lease that the server was told last."""
    _generation: int
    """How often the place was lost."""
    _away: bool
    _broken: bool
    """The store has failed, and no batch has met that yet."""
    _seatless: bool
    """The place is lost, and there is no new one yet: for the journal's thread."""
    _without: bool
    """The same, for the server's."""
    _leads: bool
    """This is the one of several that leads: for the journal's thread."""
    _led: bool
    """The same, for the server's."""

    @property
    @abstractmethod
    def first_number(self) -> int: ...

    @abstractmethod
    def _enter(self) -> None: ...

    @abstractmethod
    def _adopt(self, contents: Contents) -> None: ...

    @abstractmethod
    def _open_again(self) -> Contents: ...

    @abstractmethod
    def _is_back(self) -> None: ...

    @abstractmethod
    def _take_back(self) -> None: ...

    # The server's thread

    def _set_time(self) -> None:
        """This process may have stood still, and the lease be over: that has to be known before a job is given out."""
        if self.share is not None:
            self._dispatcher.tick(self._clock(), time.time_ns())

    def _set_lease(self, until: int) -> None:
        """The lease was renewed, unless that has taken too long."""
        if not self._without and self._clock() < until:
            self._dispatcher.lease_until = until

    def _lose(self, batch: int, stored: bool) -> None:
        """The durable jobs are another server's. `stored`: whether this batch is; one that was taken since is not."""
        dispatcher = self._dispatcher
        dispatcher.lease_until = 1  # long over
        dispatcher.tick(self._clock(), time.time_ns())
        if dispatcher.committing:
            dispatcher.settle(stored and batch == self._taken)
        self._without = True
        self._led = False
        dispatcher.lose_lease(next_number=1, next_batch=1)
        dispatcher.restoring = False
        self._take_back()

    def _lead(self, notes: dict[str, bytes]) -> None:
        """From now on this server does what is to be done by one of all. `notes`: what the store has."""
        self._led = True
        self.notes = notes
        if self.on_lead is not None:
            self.on_lead(dict(notes))

    def _go_on(self, number: int, batch: int, until: int, notes: dict[str, bytes | None]) -> None:
        """This is a new server: jobs and batches have numbers from these on. `notes`: that are not written yet."""
        self._noted = notes | self._noted
        self._dispatcher.lose_lease(next_number=number, next_batch=batch)
        self._without = False
        self._set_lease(until)
        if self._noted:
            self._dispatcher.want_batch()

    # The journal's thread

    def _renewed(self, began: int) -> None:
        """What was begun then has renewed the lease."""
        if self.share is not None:
            self.share.renewed(began)
            self._tell_lease(self.share)

    def _tell_lease(self, share: Share) -> None:
        """The server's thread is told now and then, as that costs more than a small batch."""
        if share.until - self._told > share.worth:
            self._told = share.until
            self._post(self._set_lease, share.until)

    def _beat(self) -> None:
        """Renews the lease if no batch has, and takes over what servers that have ended had."""
        share = self.share
        if share is None:
            return
        share.put_off()
        if self._seatless:
            self._enter_anew()
        elif not self._away:
            try:
                if self._broken:
                    self._open_again()
                contents = share.beat(self._sections.live)
            except SeatLost:
                self._start_anew()
            except StoreError as error:
                if not self._broken:
                    logger.error("The store failed: %s", error)
                self._broken = True
            else:
                if self._broken:
                    self._broken = False
                    self._is_back()
                self._tell_lease(share)
                if contents is not None:
                    self._take_over(contents)
                self._look_who_leads(share)

    def _look_who_leads(self, share: Share) -> None:
        """One that leads from now on has to know what the one before it has noted."""
        leads = share.leads
        if leads and not self._leads:
            try:
                notes = dict(self._open_again().notes)
            except SeatLost:
                self._start_anew()
                return
            except StoreError:
                return
            self._post(self._lead, notes | {key: value for key, value in self._unwritten.items() if value is not None})
        self._leads = leads

    def _take_over(self, contents: Contents) -> None:
        before = len(self._coming)
        self._adopt(contents)
        jobs = sum(info.count + len(info.late) - len(info.ended) // 8 for info in self._coming[before:])
        logger.info("Took over what a server left that has ended: %d jobs", jobs)

    def _start_anew(self) -> None:
        """Another server has taken this one's jobs over, as it had not renewed its lease."""
        logger.warning("The lease was lost, and another server has this one's jobs: it goes on without them")
        self._generation += 1
        self._seatless = True
        self._leads = False
        self._sections = Sections()
        self._coming = []
        self._given_up.clear()
        self._post(self._lose, *self._last)
        self._enter_anew()

    def _enter_anew(self) -> None:
        """As a server that has just started, as soon as the store is there."""
        try:
            self._enter()
        except StoreError:
            return
        assert self.share is not None
        self._seatless = self._broken = False
        for key, value in self._unwritten.items():
            if value is None:
                self.notes.pop(key, None)
            else:
                self.notes[key] = value
        self._told = self.share.until
        self._post(self._go_on, self.first_number, self._batch + 1, self._told, self._unwritten.copy())
        self._is_back()

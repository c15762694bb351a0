# SPDX-License-Identifier: BSD-3-Clause
"""Brings the dispatcher's batches to the store, in a thread of its own, and its jobs back at the start.

One batch is committed at a time, while the next one gathers: so the slower a commit, the more share it. A store that
fails is opened again and again; after `patience` seconds the batch counts as lost (its clients get ERROR) and durable
jobs are refused, while everything else goes on, until the store is back.

Of a store that several servers share it renews the lease, and takes over what a server that has ended had: those jobs
come back as at the start. If another one has taken this server's jobs over, they leave its memory, and it goes on as a
server that has just started.
"""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Collection, Mapping
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Final

from gearfast.server.come_back import ComeBack
from gearfast.server.fetch import Fetch
from gearfast.server.given_up import GivenUp
from gearfast.server.lease import Share
from gearfast.server.log import logger
from gearfast.server.notes import Notes
from gearfast.server.plan import in_parts, joined, placed, planned
from gearfast.server.uniques import Uniques
from gearfast.store._sections import Sections
from gearfast.store.base import (
    RANGE_BITS,
    Contents,
    SeatLost,
    SectionDamaged,
    SharedStore,
    Store,
    StoreError,
    Write,
)

if TYPE_CHECKING:
    from gearfast.dispatch import Batch, Dispatcher

__all__ = ["Journal"]

PATIENCE: Final = 5.0
PAUSES: Final = (0.05, 0.1, 0.2, 0.5, 1.0)
"""Seconds between attempts to open a store that failed; the last one stays."""
MARGIN: Final = 10**10
"""Numbers that a server leaves out: its predecessor may have given them to jobs since its last commit."""
QUIET: Final = 0.05
"""Seconds without a batch after which the store is tidied."""
CHUNK: Final = 1 << 20
"""Bytes of records that come back, or are written anew, at a time: some milliseconds of the server's time."""


class Journal:
    """The way between a dispatcher and its store. The constructor opens the store and raises StoreError.

    `post(call, *args)` has the server's thread make a call, from any thread. `memory`: bytes that all jobs may take in
    memory, 0 no limit. `clock`: monotonic, ns.
    """

    def __init__(
        self,
        store: Store,
        *,
        relaxed: bool = False,
        patience: float = PATIENCE,
        memory: int = 0,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.store = store
        self._relaxed = relaxed
        self._patience = patience
        self._memory = memory
        self._clock = clock
        self._fetch = Fetch()
        self.share = Share(store, clock) if isinstance(store, SharedStore) else None
        self.on_heard: Callable[[Mapping[str, bytes]], object] | None = None
        self._damaged: set[int] = set()
        self._told = self._taken = self._generation = 0
        self._last: tuple[int, bool, dict[int, int]] = (0, False, {})
        self._uniques = Uniques(store)
        self._starting = True
        self._broken = self._seatless = self._without = False
        self._coming = ComeBack(store, self._leave_alone)
        self._notes = Notes(self._enter())
        self._leads = self._told_leads = self.share is None or self.share.leads
        self._queue: SimpleQueue[Any] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._closing = threading.Event()
        self._away = self._untidy = False
        self._given_up = GivenUp()

    def _enter(self) -> dict[str, bytes]:
        """Opens the store for the first time, or as a new server; the notes there."""
        began = self._clock()
        contents = self.store.open()
        if self.share is not None:
            self.share.renewed(began)
            contents = self.share.beat(0) or contents
        self._coming.begin_anew()
        self.next_number = contents.next_number
        self._batch = contents.batch
        self._adopt(contents)
        return contents.notes

    # The server's thread

    @property
    def prefix(self) -> str:
        """Of all handles, where several servers share the store; else empty."""
        return self.store.prefix if isinstance(self.store, SharedStore) else ""

    @property
    def leads(self) -> bool:
        """Whether this server does what is to be done by one of those that share the store, or has it for itself.

        Then its `notes` are all that others have ever written.
        """
        return self._leads and (self.share is None or self.share.leads)

    @property
    def notes(self) -> dict[str, bytes]:
        """What is kept beside jobs, or is about to be. `on_heard(notes)`: others have changed some."""
        return self._notes.kept

    @property
    def on_lost(self) -> Callable[[str, bytes | None], object] | None:
        """See `note`."""
        return self._notes.on_lost

    @on_lost.setter
    def on_lost(self, call: Callable[[str, bytes | None], object]) -> None:
        self._notes.on_lost = call

    @property
    def first_number(self) -> int:
        """Above all numbers of the store's jobs, and of those that it may not know of since they were never durable."""
        return self.next_number + (MARGIN if self.share is None else 0)

    def start(
        self,
        dispatcher: Dispatcher,
        post: Callable[..., object],
        settle: Callable[[bool], object] | None = None,
        addresses: str = "",
    ) -> None:
        """From now on background jobs of this dispatcher are durable; those of the store begin to come back.

        `settle(stored)`, from any thread: a quicker way to `Dispatcher.settle` than `post`, for a driver that itself
        looks whether there is a batch. `addresses`: where this server listens, for those who look at all servers.
        """
        self._dispatcher = dispatcher
        self._post = post
        self._settle = settle or self._post_settled
        dispatcher.open_journal(
            first_batch=self._batch + 1, relaxed=self._relaxed, memory=self._memory, claims=self.share is not None
        )
        dispatcher.restoring = True
        if self.share is not None and isinstance(self.store, SharedStore):
            self.store.about = dataclasses.replace(self.store.about, addresses=addresses)
            self.share.renew_now()
            dispatcher.on_cluster = self.share.text
            self._told = self.share.until
            dispatcher.lease_until = self._told
        self._thread = threading.Thread(target=self._run, name="gearfast-journal", daemon=True)
        self._thread.start()

    def take(self) -> None:
        """The dispatcher has a batch: to the store with it; or wants workloads: from there with them."""
        if self._without:
            return
        self._notes.take_back()
        batch = self._take_batch()
        while batch is not None and batch.is_empty and not self._notes.is_waiting:
            self._dispatcher.settle(True)
            batch = self._take_batch()
        if batch is not None:
            self.next_number = max(self.next_number, self._dispatcher.next_number)
            self._taken = batch.number
            self._queue.put((batch, *self._notes.take()))
        wanted = self._dispatcher.take_wanted()
        if wanted is not None:
            self._queue.put(wanted)

    def _take_batch(self) -> Batch | None:
        """None without memory for its copy, too: then its jobs are refused."""
        try:
            return self._dispatcher.take_batch()
        except MemoryError:
            logger.error("No memory for what is to be stored")
            self._queue.put((None, *self._notes.take()))
            return None

    def note(self, key: str, value: bytes | None, *, bound: bool = False) -> None:
        """Keeps a value under a key (1 to 190 bytes of ASCII), or nothing any more. `notes` is what is kept.

        It is written at once with the jobs that were submitted since the last batch, or before. If that batch is given
        up, so that these are lost, notes go with the next one; but one that is `bound` to them is lost too: what was
        kept before is kept again, and `on_lost(key, value)` tells of that.
        """
        self._notes.put(key, value, bound)
        if not self._without:
            self._dispatcher.want_batch()
        self._post(self._notes.take_back)  # a driver looks for a batch after that

    def _post_settled(self, stored: bool) -> None:
        self._post(self._settled, stored)

    def _settled(self, stored: bool, taken: Mapping[int, int] | None = None, known: Collection[bytes] = ()) -> None:
        self._set_time()
        self._dispatcher.settle(stored, taken, known)
        if self._dispatcher.batch_waits:
            self.take()

    def _refuse(self, refusing: bool) -> None:
        self._dispatcher.refusing = refusing

    def _bring_back(self, records: bytes, ended: bytes) -> None:
        self._set_time()
        try:
            self._dispatcher.restore(records, ended)
        except (ValueError, MemoryError) as error:
            logger.error("Jobs of the store stay there: %s", error)
        self._queue.put("restored")

    def _supply(self, records: bytes) -> None:
        self._set_time()
        try:
            self._dispatcher.supply(records)
        except (ValueError, MemoryError) as error:
            logger.error("Workloads of the store stay there: %s", str(error) or "no memory")
            self._fetch.pause()

    def _supply_end(self, missing: bytes) -> None:
        self._set_time()
        self._dispatcher.supply_end(missing)

    def _set_time(self) -> None:
        """This process may have stood still, and the lease be over: that has to be known before a job is given out."""
        if self.share is not None:
            self._dispatcher.begin_tick(self._clock(), time.time_ns())

    def _begin_restoring(self) -> None:
        self._dispatcher.restoring = True

    def _set_lease(self, until: int) -> None:
        """The lease was renewed, unless that has taken too long."""
        if not self._without and self._clock() < until:
            self._dispatcher.lease_until = until

    def _lose(self, batch: int, stored: bool, taken: Mapping[int, int]) -> None:
        """The durable jobs are another server's. `stored`: whether this batch is; one that was taken since is not."""
        dispatcher = self._dispatcher
        dispatcher.lease_until = 1  # long over
        dispatcher.begin_tick(self._clock(), time.time_ns())
        if dispatcher.committing:
            dispatcher.settle(stored and batch == self._taken, taken if batch == self._taken else None)
        self._without = True
        dispatcher.lose_lease(next_number=1, next_batch=1)
        dispatcher.restoring = False
        self._leads = False
        self._notes.lose()

    def _hear(
        self, leads: bool, stored: Mapping[str, bytes], unwritten: Mapping[str, bytes | None], added: int
    ) -> None:
        """What others have written, and whether this server leads now that it knows of it."""
        self._notes.hear(stored, unwritten, added)
        if self.on_heard is not None:
            self.on_heard(self.notes)
        self._leads = leads

    def _go_on(self, number: int, batch: int, until: int) -> None:
        """This is a new server: jobs and batches have numbers from these on."""
        self._notes.lose()
        self._dispatcher.lose_lease(next_number=number, next_batch=batch)
        self._without = False
        self._set_lease(until)
        if self._notes.is_waiting:
            self._dispatcher.want_batch()

    def look(self) -> None:
        """Has the journal's thread look at the other servers now."""
        self._queue.put("look")

    def _all_are_back(self, losses: list[tuple[int, int]]) -> None:
        self._dispatcher.add_losses(losses)
        self._dispatcher.restoring = False

    @property
    def is_idle(self) -> bool:
        """Everything that the dispatcher told is in the store."""
        return not (self._dispatcher.batch_waits or self._dispatcher.committing)

    def close(self) -> None:
        """Ends the thread, after what it was given, and closes the store. What was not given is lost."""
        self._closing.set()
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
        if self.share is not None:
            self.share.leaves()
        self.store.close()

    # The journal's thread

    def _adopt(self, contents: Contents) -> None:
        """What the store has for this server; what is new of it is to come back to the dispatcher."""
        self._sections, infos = placed(contents, self._damaged)
        self._losses = dict(contents.losses)
        known = len(self._coming.ranges)
        self._coming.add(contents.batch >> RANGE_BITS, infos, contents.losses, self._sections)
        if self.share is not None and len(self._coming.ranges) > known:
            self.share.took(self._coming.ranges)

    def _run(self) -> None:
        while self._come_back() and self._serve():
            pass

    def _come_back(self) -> bool:
        """Sends jobs of the store back, a part at a time, while it serves; False at the end."""
        if not self._coming and not self._starting:
            return True
        self._starting = False
        generation = self._generation
        coming, losses = self._coming.take()
        self._post(self._begin_restoring)
        for ids in in_parts(coming, CHUNK):
            while (records := None if self._away else self._coming.read(ids, self._sections)) is None:
                if not self._serve(wait_for="readable"):
                    return False
                if generation != self._generation:
                    return True
            self._post(self._bring_back, *records)
            if not self._serve(wait_for="restored"):
                return False
            if generation != self._generation:
                return True
        self._post(self._all_are_back, list(losses.items()))
        return True

    def _serve(self, wait_for: str | None = None) -> bool:
        """Commits what comes until `wait_for` does, or once; False at the end."""
        while True:
            self._fetch_some()
            if self.share is not None and self.share.wait == 0:
                self._beat()
            if self._coming and wait_for is None:
                return True
            if wait_for == "readable" and self._is_readable():
                return True
            try:
                item = self._queue.get(timeout=self._pause())
            except Empty:
                self._use_leisure(tidy=wait_for is None)
                continue
            if item is None:
                return False
            if item == wait_for:
                return True
            if isinstance(item, bytes):
                self._fetch.begin(item)
                continue
            if item == "look":
                self._beat()
            else:
                batch, notes, bound, count = item
                if batch is None:
                    self._notes.add(notes, bound, count)
                    self._settle_failed(bound)
                    continue
                self._commit(batch, notes, bound, count, tidy=wait_for is None)
            if wait_for is None:
                return True

    def _pause(self) -> float | None:
        """Seconds after which something is to be done though nothing has come; None: nothing is."""
        if self._away or self._coming.is_stuck or (self._fetch.is_busy and self._fetch.is_stuck):
            pause: float | None = PAUSES[-1]
        else:
            pause = 0.0 if self._fetch.is_busy else QUIET if self._untidy else None
        if self.share is None:
            return pause
        return self.share.wait if pause is None else min(pause, self.share.wait)

    def _is_readable(self) -> bool:
        """Whether the store, which could not be read, may be read again."""
        if self._coming.is_due:
            self._coming.wait()
            self._look_again()
        return not (self._away or self._seatless or self._coming.is_stuck)

    def _use_leisure(self, tidy: bool) -> None:
        """Nothing has come for a while."""
        if self._away or (self._fetch.is_busy and self._fetch.is_stuck):
            self._look_again()
        elif self._untidy and tidy and not self._fetch.is_busy:
            self._untidy = self._tidy() or not self._sections.all_seen or self._shrink()

    def _fetch_some(self) -> None:
        """Reads some of the workloads that are wanted. What a section has that is left alone is missing."""
        fetch = self._fetch
        if not fetch.is_busy or self._away or fetch.is_stuck:
            return
        if not fetch.is_done:
            try:
                self._post(self._supply, fetch.read(self.store, self._sections))
            except SectionDamaged as error:
                self._leave_alone(error)
            except (StoreError, MemoryError) as error:
                fetch.fail(error)
        if fetch.is_done:
            self._post(self._supply_end, fetch.end())

    def _leave_alone(self, error: SectionDamaged) -> None:
        """A damaged section is neither read nor written any more, so that somebody may look at it."""
        jobs = self._sections.live
        self._sections.leave(error.section)
        self._damaged.add(error.section)
        logger.error("%s: %d jobs stay there", error, jobs - self._sections.live)

    def _commit(self, batch: Batch, notes: dict[str, bytes | None], bound: set[str], count: int, tidy: bool) -> None:
        if self._seatless or batch.number <= self._batch:
            # Taken before the server knew that its jobs are another one's.
            self._notes.add({key: value for key, value in notes.items() if key not in bound}, set(), count)
            self._write_notes()
            return
        self._notes.add(notes, bound, count)
        try:
            stored = self._insist(batch) if self._away else self._try(batch)
        except SeatLost as lost:
            self._last = (batch.number, lost.batch >= batch.number, self._uniques.taken)
            if lost.batch >= batch.number:
                self._notes.are_written()
            self._start_anew()
            return
        self._batch = batch.number
        self._untidy = True
        if not stored:
            self._last = (batch.number, False, {})
            self._settle_failed(bound)
            return
        self._notes.are_written()
        self._given_up.forget()
        taken, known = self._uniques.verdict(batch)
        self._last = (batch.number, True, taken)
        if taken or known:
            self._post(self._settled, True, taken, known)
        else:
            self._settle(True)
        if tidy and self._queue.empty():
            self._tidy()

    def _settle_failed(self, bound: set[str]) -> None:
        """A batch is not stored, and notes that are bound to it are lost."""
        if bound:
            self._notes.give_up(bound)
        self._settle(False)
        if bound:
            self._post(self._notes.take_back)

    def _try(self, batch: Batch) -> bool:
        """What the usual batch takes."""
        try:
            self._write_batch(batch)
        except SeatLost:
            raise
        except StoreError as error:
            logger.error("The store failed: %s", error)
            return self._insist(batch)
        return True

    def _write_batch(self, batch: Batch) -> None:
        try:
            told = self._given_up.without_known(batch)
            write = planned(told, self.next_number, self._sections, self._losses, self._notes.unwritten)
            self._uniques.write(batch, write, self._sections, self._write)
        except MemoryError as error:
            raise StoreError(f"{self.store.name}: no memory for a batch") from error

    def _write(self, write: Write) -> None:
        began = self._clock()
        self.store.write(write)
        self._renewed(began)

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
                self._listen(share)

    def _listen(self, share: Share) -> None:
        """What other servers have changed of the notes. Whoever leads from now on has to know of all that first."""
        try:
            stored = self.store.notes() if isinstance(self.store, SharedStore) else {}
        except StoreError as error:
            logger.error("The store failed: %s", error)
            return
        if self._notes.look(stored) or share.leads != self._told_leads:
            self._tell(stored)

    def _tell(self, stored: Mapping[str, bytes]) -> None:
        self._told_leads = self.share is None or self.share.leads
        self._post(self._hear, self._told_leads, stored, self._notes.unwritten, self._notes.added)

    def _take_over(self, contents: Contents) -> None:
        before = self._coming.jobs
        self._adopt(contents)
        logger.info("Took over what a server left that has ended: %d jobs", self._coming.jobs - before)

    def _start_anew(self) -> None:
        """Another server has taken this one's jobs over, as it had not renewed its lease."""
        logger.warning("The lease was lost, and another server has this one's jobs: it goes on without them")
        self._generation += 1
        self._seatless = True
        self._sections = Sections()
        self._coming.begin_anew()
        self._given_up.forget()
        if self._fetch.is_busy:
            self._fetch.end()
            self._post(self._supply_end, b"")
        self._post(self._lose, *self._last)
        self._enter_anew()

    def _enter_anew(self) -> None:
        """As a server that has just started, as soon as the store is there."""
        try:
            stored = self._enter()
        except StoreError:
            return
        assert self.share is not None
        self._seatless = self._broken = False
        self._notes.begin_anew(stored)
        self._told = self.share.until
        self._post(self._go_on, self.first_number, self._batch + 1, self._told)
        self._tell(stored)
        self._is_back()
        self._write_notes()

    def _write_notes(self) -> None:
        """Those that no batch takes along any more."""
        notes = self._notes.unwritten
        if self._seatless or self._away or not notes:
            return
        try:
            self._write(Write(self._batch, self.next_number, notes=notes))
        except SeatLost:
            self._start_anew()
        except StoreError as error:
            logger.error("The store failed: %s", error)
        else:
            self._notes.are_written()

    def _tidy(self) -> bool:
        """Writes some sections anew; what that costs, the next batch waits. False: it is not worth while."""
        ids = self._sections.pick(CHUNK)
        if not ids:
            return False
        try:
            section = joined(self._sections, ids, self.store.read(ids))
            write = Write(self._batch, self.next_number, drop=ids)
            if section is not None:
                write.add.append(section)
            self._write(write)
        except SeatLost:
            self._start_anew()
            return False
        except SectionDamaged as error:
            self._leave_alone(error)
            return True
        except (StoreError, ValueError, MemoryError) as error:
            logger.error("Sections of the store were not tidied: %s", error)
            return False
        self._sections.replace(ids, section.info if section is not None else None)
        return True

    def _shrink(self) -> bool:
        try:
            return self.store.shrink()
        except StoreError as error:
            logger.error("The store keeps room that it does not need: %s", error)
            return False

    def _insist(self, batch: Batch) -> bool:
        """Opens a store that failed again and again; returns whether the batch is stored in the end.

        What is there, and so what the batch means for it, is only known once it is open again. The batch is given up
        after `patience`: clients are told that their jobs are not stored, ends go with the next batch.
        """
        began = time.monotonic()
        attempt = 0
        while not self._closing.wait(PAUSES[min(attempt, len(PAUSES) - 1)]):
            attempt += 1
            try:
                contents = self._open_again()
                if contents.batch < batch.number:
                    self._write_batch(batch)
            except SeatLost:
                raise
            except StoreError as error:
                if time.monotonic() - began > self._patience:
                    self._give_up(batch, error)
                    return False
            else:
                self._is_back()
                return True
        return False

    def _give_up(self, batch: Batch, error: StoreError) -> None:
        if not self._away:
            logger.error("The store stays away, durable jobs are refused: %s", error)
        self._away = True
        self._given_up.add(batch)
        self._post(self._refuse, True)
        self._sections = Sections()

    def _open_again(self) -> Contents:
        """Opens the store after an error. Jobs that were refused may be in it after all, and go: clients were told that
        they are not.
        """
        began = self._clock()
        contents = self.store.open()
        write = self._given_up.undo(contents, self.next_number, self._notes.taken_back)
        if write is not None:
            self.store.write(write)
            contents = self.store.open()
        self._given_up.undone()
        self._adopt(contents)
        self._coming.opened()
        self._renewed(began)
        return contents

    def _look_again(self) -> None:
        if self._seatless:
            return  # it needs a new place first, see `_enter_anew`; the store may have made one already
        try:
            self._open_again()
            if notes := self._notes.unwritten:
                self._write(Write(self._batch, self.next_number, notes=notes))
        except SeatLost:
            self._start_anew()
            return
        except StoreError:
            return
        self._notes.are_written()
        self._is_back()

    def _is_back(self) -> None:
        logger.info("The store is back: %s", self.store.name)
        if self._away:
            self._away = False
            self._post(self._refuse, False)

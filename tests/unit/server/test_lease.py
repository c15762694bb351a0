# SPDX-License-Identifier: BSD-3-Clause
"""Servers that share a store, with a clock of the test's: leases that end, takeovers, and servers that wake up late."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import pytest

from gearfast._codec import encode
from gearfast.dispatch import Dispatcher
from gearfast.dispatch._check import check
from gearfast.dispatch.policy import Policies
from gearfast.protocol import Command
from gearfast.server import journal
from gearfast.server.journal import Journal
from gearfast.server.lease import Share
from gearfast.store import _process
from gearfast.store._process import has_ended, this_process
from gearfast.store.base import RANGE_BITS, Contents, Member, StoreError, Write
from gearfast.store.memory import MemoryStore

LIMIT = 30.0
LEASE = 10
SECOND = 10**9
names = itertools.count()
REFUSAL = encode(Command.ERROR, b"QUEUE_ERROR", b"The job could not be stored")


class Store(MemoryStore):
    """While it is `away` nothing can be done."""

    away = False

    def open(self) -> Contents:
        self._there()
        return super().open()

    def write(self, write: Write) -> None:
        self._there()
        super().write(write)

    def renew(self, jobs: int) -> None:
        self._there()
        super().renew(jobs)

    def _there(self) -> None:
        if self.away:
            raise StoreError("the network is away")


class Fleet:
    """Some servers on one store, and the clock of all."""

    def __init__(self) -> None:
        self.name = f"lease-{next(names)}"
        self.now = 1000 * SECOND
        self.servers: list[Server] = []

    def start(self, **about: Any) -> Server:
        return Server(self, **about)

    def run(self, done: Callable[[], object]) -> None:
        """Does what the journals' threads post until `done()`."""
        deadline = time.monotonic() + LIMIT
        while not done():
            assert time.monotonic() < deadline
            for server in self.servers:
                server.work()

    def pass_time(self, seconds: float) -> None:
        self.now += round(seconds * SECOND)


class Server:
    """A dispatcher and its journal. `stopped`: it does nothing, as after SIGSTOP."""

    def __init__(self, fleet: Fleet, process: str = "", prefix: str = "H") -> None:
        self.fleet = fleet
        self.stopped = False
        self.store = Store(fleet.name, clock=lambda: fleet.now / SECOND)
        self.store.lease = LEASE
        self.store.about = Member("here", 7, "", process, prefix)
        self.calls: SimpleQueue[tuple[Callable[..., object], tuple[Any, ...]]] = SimpleQueue()
        self.journal = Journal(self.store, patience=0.01, clock=lambda: fleet.now)
        prefix = self.journal.prefix
        self.dispatcher = Dispatcher(handle_prefix=prefix.encode(), first_handle=self.journal.first_number)
        self.tick()
        self.journal.start(self.dispatcher, lambda call, *values: self.calls.put((call, values)))
        self.peer = self.dispatcher.connect()
        fleet.servers.append(self)
        self.back()

    def tick(self) -> None:
        self.dispatcher.tick(self.fleet.now, 10**18 + self.fleet.now)

    def work(self) -> None:
        try:
            call, values = self.calls.get(timeout=0.001)
        except Empty:
            return
        self.tick()
        call(*values)

    def back(self) -> None:
        self.fleet.run(lambda: not self.dispatcher.restoring)

    def look(self) -> None:
        """Its journal's thread looks at the others, and the server has heard what came of it."""
        seen = self.journal.share._seen  # type: ignore[union-attr]
        self.fleet.now += 1
        self.journal.look()
        self.fleet.run(lambda: self.journal.share._seen > seen)  # type: ignore[union-attr]
        answered: list[bool] = []
        self.calls.put((answered.append, (True,)))
        self.fleet.run(lambda: answered)

    def say(self, *packets: bytes) -> bytes:
        self.tick()
        self.dispatcher.receive(self.peer, b"".join(packets))
        return self.dispatcher.take_output(self.peer)

    def commit(self) -> bytes:
        self.journal.take()
        self.fleet.run(lambda: self.journal.is_idle)
        return self.dispatcher.take_output(self.peer)

    def submit(self, *workloads: bytes) -> bytes:
        for workload in workloads:
            self.say(encode(Command.SUBMIT_JOB_BG, b"f", b"", workload))
        return self.commit()

    def grab(self) -> bytes:
        """The workload of its next job; empty: none."""
        got = self.say(encode(Command.CAN_DO, b"f"), encode(Command.GRAB_JOB))
        return got.rpartition(b"\0")[2] if got[7] == Command.JOB_ASSIGN else b""

    @property
    def workloads(self) -> list[bytes]:
        return sorted(job["workload"] for job in self.dispatcher.jobs())

    def kill(self) -> None:
        """Its thread ends; its lease does not."""
        self.store.close = lambda: None  # type: ignore[method-assign]
        self.close()

    def close(self) -> None:
        self.journal.close()
        check(self.dispatcher)
        self.fleet.servers.remove(self)


@pytest.fixture
def fleet(monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    """Its servers look at each other when they are told to: none does by itself, as real time goes by."""
    monkeypatch.setattr(Share, "wait", 2 * LIMIT)
    fleet = Fleet()
    yield fleet
    for server in list(fleet.servers):
        server.close()


def test_numbers_are_of_ranges_and_the_prefix_is_for_all(fleet: Fleet) -> None:
    one, other = fleet.start(prefix="H:one"), fleet.start(prefix="H:other")
    one.submit(b"1")
    other.submit(b"2")
    (job,), (its,) = one.dispatcher.jobs(), other.dispatcher.jobs()
    assert [job["number"] >> RANGE_BITS, its["number"] >> RANGE_BITS] == [one.store.seat, other.store.seat]
    assert job["handle"].startswith("H:one:")
    assert its["handle"].startswith("H:one:")


def test_a_dead_servers_jobs_are_taken_over_when_its_lease_ends(fleet: Fleet) -> None:
    one, other = fleet.start(), fleet.start()
    one.submit(b"1", b"2")
    other.submit(b"3")
    handles = [job["handle"] for job in one.dispatcher.jobs()]
    one.kill()
    fleet.pass_time(LEASE - 1)
    other.look()
    assert other.workloads == [b"3"]
    fleet.pass_time(2)
    other.look()
    fleet.run(lambda: other.workloads == [b"1", b"2", b"3"])
    other.back()
    assert {job["handle"] for job in other.dispatcher.jobs()} > set(handles)
    assert {other.grab() for _ in range(3)} == {b"1", b"2", b"3"}


def test_one_that_leaves_hands_over_at_once(fleet: Fleet) -> None:
    one, other = fleet.start(), fleet.start()
    one.submit(b"1")
    one.close()
    other.look()
    fleet.run(lambda: other.workloads == [b"1"])


def test_losses_go_along(fleet: Fleet) -> None:
    one, other, third = fleet.start(), fleet.start(), fleet.start()
    one.submit(b"1")
    worker = one.dispatcher.connect()
    one.dispatcher.receive(worker, encode(Command.CAN_DO, b"f") + encode(Command.GRAB_JOB))
    one.dispatcher.disconnect(worker)
    one.commit()
    for leaving, heir in ((one, other), (other, third)):
        leaving.close()
        heir.look()
        fleet.run(lambda heir=heir: heir.workloads == [b"1"])  # type: ignore[misc]
        heir.back()
        assert [job["retries"] for job in heir.dispatcher.jobs()] == [1]


def test_a_server_that_starts_takes_what_was_left(fleet: Fleet) -> None:
    one = fleet.start()
    one.submit(b"1")
    one.kill()
    other = fleet.start()
    assert other.workloads == [], "the lease of the first one has not ended"
    fleet.pass_time(LEASE + 1)
    third = fleet.start()
    assert third.workloads == [b"1"]
    other.look()
    assert other.workloads == []


def test_a_process_that_has_ended_is_not_waited_for(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    one = fleet.start(process=f"{_process._where()}/1/0")  # no process 1 began then
    one.submit(b"1")
    one.kill()
    assert fleet.start().workloads == [b"1"]


def test_only_one_of_several_takes_over(fleet: Fleet) -> None:
    one, *others = (fleet.start() for _ in range(4))
    one.submit(*(b"%d" % n for n in range(20)))
    one.close()
    for server in others:
        server.journal.look()
    fleet.run(lambda: sum(server.dispatcher.job_count for server in others) == 20)
    for server in others:
        server.look()
        server.back()
    assert sorted(server.dispatcher.job_count for server in others) == [0, 0, 20]


def test_a_server_that_was_stopped_gives_out_nothing_when_it_wakes(fleet: Fleet) -> None:
    """It learns from the first write that its jobs are another's, and goes on as a new server."""
    one, other = fleet.start(), fleet.start()
    one.submit(b"1", b"2")
    before = one.store.seat
    assert one.grab() == b"1"
    job = next(job for job in one.dispatcher.jobs() if job["workload"] == b"1")
    fleet.pass_time(LEASE + 1)
    other.look()
    fleet.run(lambda: other.workloads == [b"1", b"2"])
    other.back()
    assert one.grab() == b"", "its lease has ended"
    assert one.dispatcher.lapsed
    assert one.say(encode(Command.SUBMIT_JOB_BG, b"f", b"", b"3")) == REFUSAL
    one.look()
    fleet.run(lambda: one.store.seat > before and not one.dispatcher.lapsed)
    assert one.say(encode(Command.WORK_COMPLETE, job["handle"].encode(), b"late")) == b""
    assert one.workloads == []
    assert other.workloads == [b"1", b"2"]
    assert one.submit(b"3")[7] == Command.JOB_CREATED
    assert one.grab() == b"3"
    assert one.dispatcher.jobs()[0]["number"] >> RANGE_BITS == one.store.seat > other.store.seat


@pytest.mark.parametrize("what", ["_supply", "_supply_end"])
def test_what_comes_from_the_store_too_late_gives_nothing_out(fleet: Fleet, what: str) -> None:
    """A process that stood still, between the answer of the store and what follows of it, looks at the time first."""
    one = fleet.start()
    one.submit(b"1")
    fleet.pass_time(LEASE + 1)
    assert not one.dispatcher.lapsed
    getattr(one.journal, what)(b"")
    assert one.dispatcher.lapsed


def test_a_batch_that_meets_the_loss_is_refused(fleet: Fleet) -> None:
    one, other = fleet.start(), fleet.start()
    one.submit(b"1")
    one.say(encode(Command.SUBMIT_JOB_BG, b"f", b"", b"2"))
    fleet.pass_time(LEASE + 1)
    other.look()
    other.back()
    assert one.commit() == REFUSAL
    fleet.run(lambda: one.store.seat > other.store.seat and not one.dispatcher.lapsed)
    assert one.workloads == []
    fleet.run(lambda: other.workloads == [b"1"])
    assert one.submit(b"3")[7] == Command.JOB_CREATED


def test_a_batch_of_which_nobody_knew_is_acknowledged_if_it_was_stored(fleet: Fleet) -> None:
    """The answer to its write was lost, and then the place; the database knows what it had."""
    one, other = fleet.start(), fleet.start()

    class Lost(Store):
        def write(self, write: Write) -> None:
            super().write(write)
            fleet.pass_time(LEASE + 1)
            assert other.store.take_over() is not None
            raise StoreError("the connection is lost")

    one.store.__class__ = Lost
    assert one.submit(b"1")[7] == Command.JOB_CREATED
    one.store.__class__ = Store
    fleet.run(lambda: one.store.seat > other.store.seat and not one.dispatcher.lapsed)
    assert one.workloads == []


def test_a_store_that_is_away_for_longer_than_the_lease(fleet: Fleet) -> None:
    """Nobody has taken the jobs over: they are given out again when it is back."""
    one = fleet.start()
    one.submit(b"1", b"2")
    seat = one.store.seat
    assert one.grab() == b"1"
    job = next(job for job in one.dispatcher.jobs() if job["workload"] == b"1")
    one.store.away = True
    fleet.pass_time(LEASE + 1)
    assert one.grab() == b""
    one.say(encode(Command.WORK_COMPLETE, job["handle"].encode(), b""))
    one.journal.take()
    fleet.run(lambda: one.dispatcher.refusing)
    one.store.away = False
    fleet.run(lambda: not one.dispatcher.lapsed and one.journal.is_idle)
    assert one.store.seat == seat
    assert one.grab() == b"2"


def test_heartbeats_find_the_store_again(fleet: Fleet, caplog: pytest.LogCaptureFixture) -> None:
    one = fleet.start()
    one.submit(b"1")
    one.store.away = True
    fleet.pass_time(LEASE / 2)
    one.journal.look()
    fleet.run(lambda: "The store failed: the network is away" in caplog.text)
    one.store.away = False
    fleet.pass_time(LEASE)
    assert one.grab() == b""
    one.journal.look()
    fleet.run(lambda: not one.dispatcher.lapsed)
    assert one.grab() == b"1"


def test_it_waits_for_a_new_place_while_the_store_is_away(fleet: Fleet) -> None:
    one, other = fleet.start(), fleet.start()
    one.submit(b"1")
    fleet.pass_time(LEASE + 1)
    other.look()
    fleet.run(lambda: other.workloads == [b"1"])
    opened = Store.open

    class Gone(Store):
        def open(self) -> Contents:
            raise StoreError("away again")

    one.store.__class__ = Gone
    one.journal.look()
    fleet.run(lambda: one.workloads == [])
    assert one.submit(b"2") == b""
    assert one.dispatcher.lapsed
    assert one.say(encode(Command.SUBMIT_JOB_BG, b"f", b"", b"3")) == REFUSAL
    one.store.__class__ = Store
    assert opened is Store.open
    fleet.pass_time(1)
    one.journal.look()
    fleet.run(lambda: not one.dispatcher.lapsed)
    assert one.submit(b"4")[7] == Command.JOB_CREATED


def test_a_new_place_of_which_it_has_not_heard(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store has made it, and the answer was lost, while durable jobs are refused: its batches are of that place."""
    monkeypatch.setattr(journal, "PAUSES", (0.001,))
    one, other = fleet.start(), fleet.start()
    one.submit(b"1")
    one.store.away = True
    one.journal.note("key", b"value")
    one.say(encode(Command.SUBMIT_JOB_BG, b"f", b"", b"2"))
    one.journal.take()
    fleet.run(lambda: one.dispatcher.refusing)
    fleet.pass_time(LEASE + 1)
    other.look()
    fleet.run(lambda: other.workloads == [b"1"])
    unheard: list[int] = []

    class Unheard(Store):
        def open(self) -> Contents:
            contents = super().open()
            if unheard:
                return contents
            unheard.append(self.seat)
            raise StoreError("no answer")

    one.store.__class__ = Unheard
    one.store.away = False
    fleet.run(lambda: unheard)
    for _ in range(5):
        other.look()
    fleet.pass_time(1)
    one.journal.look()
    fleet.run(lambda: not one.dispatcher.lapsed and not one.dispatcher.refusing)
    assert one.store.seat == unheard[0]
    assert one.submit(b"3")[7] == Command.JOB_CREATED
    assert {info.id >> RANGE_BITS for info in one.store.open().sections} == {one.store.seat}
    assert other.store.open().notes == {"key": b"value"}


def test_notes_outlast_the_loss_of_a_place(fleet: Fleet) -> None:
    one, other = fleet.start(), fleet.start()
    fleet.pass_time(LEASE + 1)
    other.look()
    one.journal.note("key", b"value")
    one.journal.take()
    fleet.run(lambda: one.store.seat > other.store.seat and not one.dispatcher.lapsed)
    assert one.journal.notes == {"key": b"value"}
    one.commit()
    assert other.store.open().notes == {"key": b"value"}


def test_a_note_that_is_bound_is_lost_with_its_jobs(fleet: Fleet) -> None:
    """What it told of was never stored: whoever leads from then on must not believe it, nor must this server."""
    one, other = fleet.start(), fleet.start()
    one.journal.note("kept", b"1")
    one.commit()
    fleet.pass_time(LEASE + 1)
    other.look()
    one.dispatcher.receive(one.peer, encode(Command.SUBMIT_JOB_BG, b"f", b"", b"in vain"))
    one.journal.note("fired", b"2", bound=True)
    one.journal.note("kept", b"2")
    one.journal.take()
    fleet.run(lambda: one.store.seat > other.store.seat and not one.dispatcher.lapsed)
    one.commit()
    fleet.run(lambda: one.journal.notes == {"kept": b"2"})
    assert other.store.notes() == {"kept": b"2"}


def test_who_leads_knows_what_the_others_have_written(fleet: Fleet) -> None:
    one, other = fleet.start(), fleet.start()
    heard: list[dict[str, bytes]] = []
    other.journal.on_heard = lambda notes: heard.append(dict(notes))
    one.journal.note("fired", b"1")
    one.journal.note("gone", b"1")
    one.commit()
    other.look()
    fleet.run(lambda: heard)
    assert heard == [{"fired": b"1", "gone": b"1"}]
    one.journal.note("fired", b"2")
    one.journal.note("gone", None)
    one.commit()
    one.close()
    other.journal.look()
    fleet.run(lambda: other.journal.leads)
    assert other.journal.notes == heard[-1] == {"fired": b"2"}


def test_one_of_them_leads(fleet: Fleet) -> None:
    one, other, third = fleet.start(), fleet.start(), fleet.start()
    for server in (one, other, third):
        server.look()
    assert [server.journal.leads for server in (one, other, third)] == [True, False, False]
    one.close()
    other.look()
    third.look()
    fleet.run(lambda: other.journal.leads)
    assert not third.journal.leads
    fleet.pass_time(LEASE + 1)
    assert not other.journal.leads, "its lease has ended"
    third.look()
    fleet.run(lambda: third.journal.leads)
    fleet.run(lambda: third.dispatcher.lease_until > fleet.now)


def test_the_text_command(fleet: Fleet) -> None:
    one, other = fleet.start(), fleet.start()
    one.submit(b"1", b"2")
    fleet.pass_time(LEASE / 2)
    one.look()
    other.look()
    fleet.pass_time(1)
    rows = [line.split(b"\t") for line in other.say(b"cluster\n").split(b"\n")[:-1]]
    assert [row[0] for row in rows] == [b"%d" % one.store.seat, b"%d" % other.store.seat, b"."]
    assert rows[0][1:5] == [b"here", b"7", b"", b"2"]
    assert 8 < float(rows[0][5]) <= 9
    assert 1 <= float(rows[0][6]) < 2


def test_dead_letters_and_late_sections_are_taken_over(fleet: Fleet) -> None:
    one, other, third = fleet.start(), fleet.start(), fleet.start()
    for server in (one, other, third):
        server.dispatcher.policies = Policies.parse({"f": {"keep_failed": 10}})
    one.submit(b"1", b"2")
    one.close()
    other.look()
    fleet.run(lambda: other.workloads == [b"1", b"2"])
    other.back()
    assert other.grab() == b"1"
    job = next(job for job in other.dispatcher.jobs() if job["workload"] == b"1")
    other.say(encode(Command.WORK_FAIL, job["handle"].encode()))
    other.commit()
    other.close()
    third.look()
    fleet.run(lambda: third.workloads == [b"2"])
    third.back()
    assert [letter["workload"] for letter in third.dispatcher.dead_letters()] == [b"1"]


def test_losses_of_a_job_that_was_written_anew_go_along(fleet: Fleet) -> None:
    """Its record is in a range of another server than its number."""
    one, other, third = fleet.start(), fleet.start(), fleet.start()
    for server in (one, other, third):
        server.dispatcher.policies = Policies.parse({"f": {"keep_failed": 10}})
    one.submit(b"1")
    one.close()
    other.look()
    fleet.run(lambda: other.workloads == [b"1"])
    other.back()
    assert other.grab() == b"1"
    handle = other.dispatcher.jobs()[0]["handle"].encode()
    other.say(encode(Command.WORK_FAIL, handle))
    other.commit()
    other.say(b"dead requeue %s\n" % handle)
    other.commit()
    worker = other.dispatcher.connect()
    other.dispatcher.receive(worker, encode(Command.CAN_DO, b"f") + encode(Command.GRAB_JOB))
    other.dispatcher.disconnect(worker)
    other.commit()
    (retries,) = (job["retries"] for job in other.dispatcher.jobs())
    assert retries == 1
    other.close()
    third.look()
    fleet.run(lambda: third.workloads == [b"1"])
    third.back()
    assert [job["retries"] for job in third.dispatcher.jobs()] == [1]


def test_names_of_processes() -> None:
    mine = this_process()
    assert mine
    assert not has_ended(mine)
    where, _, began = mine.rpartition("/")
    assert has_ended(f"{where}/{int(began) + 1}"), "another process of the same id"
    assert not has_ended(f"x{mine}"), "another machine's"
    for name in ("", "x", "/", "a/b/c"):
        assert not has_ended(name)


def test_a_process_that_is_hidden_has_not_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """As of another user, with hidepid; what is not there at all has ended."""
    mine = this_process()
    where = mine.rpartition("/")[0].rpartition("/")[0]

    def read_text(path: Path, *how: str) -> str:
        if path.name == "stat":
            raise FileNotFoundError(path)
        return real(path, *how)

    real = Path.read_text
    monkeypatch.setattr(Path, "read_text", read_text)
    assert not has_ended(mine)
    assert has_ended(f"{where}/{2**31 - 1}/1")


def test_processes_of_another_namespace_are_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where /proc was not mounted anew for a namespace: its ids are others'."""
    mine = this_process()
    monkeypatch.setattr(os, "getpid", lambda: 1)
    assert this_process() == ""
    assert not has_ended(f"{mine}0")

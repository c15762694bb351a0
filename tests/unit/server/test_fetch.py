# SPDX-License-Identifier: BSD-3-Clause
"""Workloads that come back by the journal's thread: damage, a store that is away, sections that are written anew."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace

import pytest

from gearfast._codec import Decoder, Packet, encode
from gearfast.dispatch import Dispatcher, survivors
from gearfast.dispatch._check import check
from gearfast.protocol import Command
from gearfast.server import fetch as fetch_module
from gearfast.server.fetch import Fetch
from gearfast.server.journal import Journal
from gearfast.store._sections import Sections
from gearfast.store.base import SectionDamaged, SectionInfo

from .test_journal import Faulty, Machine, sections_in

SIZE = 500
BATCH = 10
"""Jobs of a section."""
MEMORY = 40_000
"""Of jobs of SIZE bytes half of it is 30."""


def fill(machine: Machine, sections: int) -> None:
    """Jobs whose workloads begin with their places, BATCH to a section."""
    for section in range(sections):
        for place in range(section * BATCH, (section + 1) * BATCH):
            machine.dispatcher.receive(machine.peer, job(place))
        machine.commit()
    machine.dispatcher.take_output(machine.peer)


def end(machine: Machine) -> None:
    machine.commit()
    machine.journal.close()
    check(machine.dispatcher)


def job(place: int) -> bytes:
    return encode(Command.SUBMIT_JOB_BG, b"f", b"", b"%d" % place + bytes(SIZE))


@pytest.fixture(autouse=True)
def low_ceiling(monkeypatch: pytest.MonkeyPatch) -> None:
    """All journals here have one; a store that could not be read is tried again soon."""
    make = Journal.__init__

    def init(self: Journal, store: Faulty, **more: float) -> None:
        make(self, store, memory=MEMORY, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(Journal, "__init__", init)
    monkeypatch.setattr(fetch_module, "PAUSE", 0.01)
    monkeypatch.setattr("gearfast.server.journal.PAUSES", (0.01,))


def places_of(packets: list[Packet]) -> list[int]:
    return [int(packet.args[2].rstrip(b"\0")) for packet in packets if packet.command == Command.JOB_ASSIGN]


def drain(machine: Machine, most: int = 10_000) -> list[int]:
    """Places of the jobs that a worker gets, which sleeps when there is none, until none is left or it has `most`."""
    dispatcher = machine.dispatcher
    worker = dispatcher.connect()
    decoder = Decoder()
    found: list[int] = []
    dispatcher.receive(worker, encode(Command.CAN_DO, b"f") + encode(Command.GRAB_JOB))
    while dispatcher.job_count and len(found) < most:
        packets = [each for each in decoder.receive(dispatcher.take_output(worker)) if isinstance(each, Packet)]
        found += places_of(packets)
        for packet in packets:
            if packet.command == Command.JOB_ASSIGN:
                dispatcher.receive(worker, encode(Command.WORK_COMPLETE, packet.args[0], b""))
                dispatcher.receive(worker, encode(Command.GRAB_JOB))
            elif packet.command == Command.NO_JOB:
                dispatcher.receive(worker, encode(Command.PRE_SLEEP))
            elif packet.command == Command.NOOP:
                dispatcher.receive(worker, encode(Command.GRAB_JOB))
        if not packets:
            machine.journal.take()
            machine.step()
    dispatcher.disconnect(worker)
    return found


def test_all_come_back_in_order(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "jobs.db")
    fill(machine, 30)
    assert machine.dispatcher.absent_count > 200
    assert drain(machine) == list(range(300))
    end(machine)


def test_after_a_restart(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "jobs.db")
    fill(machine, 30)
    end(machine)
    again = Machine(tmp_path / "jobs.db")
    again.back()
    assert again.dispatcher.absent_count > 200
    assert drain(again) == list(range(300))
    end(again)


def test_jobs_of_a_damaged_section_are_dropped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The others come, in order; the section stays for somebody to look at it."""
    caplog.set_level(logging.ERROR, "gearfast")
    machine = Machine(tmp_path / "jobs.db")
    fill(machine, 30)
    machine.store.rot = b"205" + bytes(SIZE)
    found = drain(machine)
    gone = [place for place in range(300) if place not in found]
    assert found == [place for place in range(300) if place not in gone]
    assert 205 in gone and gone == list(range(gone[0], gone[-1] + 1))
    notices = machine.dispatcher.take_notices()
    assert len([text for _, text in notices if "cannot be read" in text]) == len(gone) < 128
    assert "jobs stay there" in caplog.text
    end(machine)
    assert [info for info in sections_in(tmp_path / "jobs.db") if info.count >= len(gone)]


def test_a_store_that_is_away_is_waited_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    machine = Machine(tmp_path / "jobs.db")
    fill(machine, 30)
    before = drain(machine, 20)
    machine.store.unreadable = 5
    assert before + drain(machine) == list(range(300))
    assert caplog.text.count("Workloads cannot be read from the store: the disk is away") == 1
    end(machine)


def test_what_is_asked_for_while_the_store_is_away(tmp_path: Path) -> None:
    """Jobs are not taken for lost because nobody can say where they are."""
    machine = Machine(tmp_path / "jobs.db")
    fill(machine, 30)
    machine.store.away = True
    machine.dispatcher.receive(machine.peer, job(300))
    machine.journal.take()
    machine.run(lambda: machine.dispatcher.refusing)
    machine.run(lambda: not machine.dispatcher.committing)
    worker = machine.dispatcher.connect()
    machine.dispatcher.receive(worker, encode(Command.CAN_DO, b"f") + encode(Command.GRAB_JOB) * 100)
    machine.dispatcher.disconnect(worker)
    assert machine.dispatcher.wanted_waits
    machine.journal.take()
    machine.store.away = False
    machine.run(lambda: not machine.dispatcher.refusing)
    assert sorted(drain(machine)) == list(range(300))
    end(machine)


def test_sections_that_were_written_anew_meanwhile(tmp_path: Path) -> None:
    """Small ones are joined while jobs are absent, and while a request is being read."""
    machine = Machine(tmp_path / "jobs.db")
    for place in range(100):
        machine.dispatcher.receive(machine.peer, job(place))
        machine.commit()
    machine.dispatcher.take_output(machine.peer)
    assert machine.dispatcher.absent_count > 50
    assert drain(machine) == list(range(100))
    end(machine)


# The reading itself


def record(number: int, workload: bytes = b"x" * 8) -> bytes:
    dispatcher = Dispatcher(first_handle=number)
    dispatcher.open_journal()
    dispatcher.receive(dispatcher.connect(), encode(Command.SUBMIT_JOB_BG, b"f", b"", workload))
    batch = dispatcher.take_batch()
    assert batch is not None
    return batch.records


def packed(*numbers: int) -> bytes:
    return b"".join(number.to_bytes(8, "little") for number in numbers)


def some_sections() -> Sections:
    sections = Sections()
    sections.add(SectionInfo(1, 10, 12, 3, 144))
    sections.add(SectionInfo(2, 13, 15, 3, 144, (5,)))
    return sections


def test_where_jobs_are() -> None:
    sections = some_sections()
    assert sections.where(packed(5, 9, 10, 12, 14, 99)) == ({1: packed(10, 12), 2: packed(5, 14)}, packed(9, 99))
    assert (sections.has(1), sections.has(3), sections.size_of(2)) == (True, False, 144)
    with pytest.raises(KeyError):
        sections.size_of(3)


def test_what_a_section_lacks_is_missing() -> None:
    fetch, sections = Fetch(), some_sections()
    store = SimpleNamespace(name="it", read=lambda ids: [record(10) + record(12), record(14)][: len(ids)])
    fetch.begin(packed(9, 10, 11, 14))
    assert fetch.is_busy
    found = fetch.read(store, sections)  # type: ignore[arg-type]
    assert survivors(found, b"")[1:] == (10, 14, 2)
    assert fetch.is_done
    assert fetch.end() == packed(9, 11)
    assert not fetch.is_busy


def test_bytes_that_are_no_records_are_damage() -> None:
    fetch, sections = Fetch(), some_sections()
    store = SimpleNamespace(name="it", read=lambda ids: [b"no record" for _ in ids])
    fetch.begin(packed(14))
    with pytest.raises(SectionDamaged, match="section 2"):
        fetch.read(store, sections)  # type: ignore[arg-type]
    sections.leave(2)
    fetch.read(store, sections)  # type: ignore[arg-type]
    assert (fetch.is_done, fetch.end()) == (True, packed(14))

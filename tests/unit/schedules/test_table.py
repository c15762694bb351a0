# SPDX-License-Identifier: BSD-3-Clause
"""What is due: missed times, pauses, changes, clocks that are set, and what a store knows of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gearfast.schedules import Run, Schedule, Table, parse_all
from gearfast.schedules.table import GRACE, MOST_RUNS, SET_BACK

MINUTE = 60_000
HOUR = 60 * MINUTE
T0 = 1_767_225_600_000  # 2026-01-01 00:00:00 UTC


class Machine:
    """A table, the notes of its store, and a clock that stands still."""

    def __init__(self, **file: dict[str, Any]) -> None:
        self.notes: dict[str, bytes] = {}
        self.now = T0 + 1000
        self.start(**file)

    def start(self, **file: dict[str, Any]) -> None:
        """Again, with what the store has."""
        self.table = Table(self.write)
        self.table.begin(self.parse(file), dict(self.notes), self.now)

    @staticmethod
    def parse(file: dict[str, dict[str, Any]]) -> dict[str, Schedule]:
        return parse_all({name: {"function": "f"} | values for name, values in file.items()})

    def write(self, key: str, value: bytes | None, *, bound: bool = False) -> None:
        if value is None:
            self.notes.pop(key, None)
        else:
            self.notes[key] = value

    def runs(self, after: int = 0) -> list[tuple[str, int]]:
        """What is due after so much time; all of it is done. Times in minutes since the start of the day."""
        self.now += after
        found = []
        for run in self.table.due(self.now):
            found.append((run.schedule.name, (run.time - T0) // MINUTE))
            self.table.done(run)
        return found


def test_each_time_once() -> None:
    machine = Machine(a={"every": "1m"}, b={"cron": "*/2 * * * *"})
    assert machine.runs() == []
    assert machine.table.next_time() == T0 + MINUTE
    assert machine.runs(MINUTE) == [("a", 1)]
    assert machine.runs() == []
    assert machine.runs(MINUTE) == [("a", 2), ("b", 2)]
    assert machine.table.get("b").last == T0 + 2 * MINUTE
    assert machine.table.next_time() == T0 + 3 * MINUTE


def test_what_is_refused_stays_due() -> None:
    machine = Machine(a={"every": "1m"}, c={"every": "1m", "catch_up": "all"})
    machine.now += MINUTE
    assert [run.time for run in machine.table.due(machine.now)] == [T0 + MINUTE] * 2
    assert machine.runs() == [("a", 1), ("c", 1)]


class TestMissed:
    def test_one_run_for_all_of_them(self) -> None:
        machine = Machine(a={"every": "1m"}, b={"cron": "0 * * * *"})
        machine.now += 5 * HOUR
        assert list(machine.table.due(machine.now)) == [
            Run(machine.table.get("a").schedule, T0 + 5 * HOUR, missed=True),
            Run(machine.table.get("b").schedule, T0 + 5 * HOUR, missed=True),
        ]
        assert machine.runs() == [("a", 300), ("b", 300)]
        assert machine.runs(MINUTE) == [("a", 301)]

    def test_a_run_for_each(self) -> None:
        machine = Machine(a={"every": "1h", "catch_up": "all"})
        assert machine.runs(3 * HOUR) == [("a", 60), ("a", 120), ("a", 180)]
        assert len(machine.runs((MOST_RUNS + 10) * HOUR)) == MOST_RUNS
        assert machine.table.next_time() is not None and machine.table.next_time() < machine.now  # type: ignore[operator]
        assert len(machine.runs()) == 10

    def test_none(self) -> None:
        machine = Machine(a={"every": "10m", "catch_up": "none"})
        assert machine.runs(9 * MINUTE + 59_000) == [("a", 10)]
        assert machine.runs(10 * MINUTE + GRACE) == [("a", 20)], "not yet a missed one"
        assert machine.runs(10 * MINUTE + 1) == []
        machine.start(a={"every": "10m", "catch_up": "none"})
        assert machine.runs() == [] and machine.runs(8 * MINUTE + 59_999) == [("a", 40)]

    def test_while_the_server_was_down(self) -> None:
        machine = Machine(a={"every": "10m"})
        assert machine.runs(10 * MINUTE) == [("a", 10)]
        machine.now += HOUR
        machine.start(a={"every": "10m"})
        assert machine.runs() == [("a", 70)]
        assert machine.table.get("a").last == T0 + 70 * MINUTE

    def test_before_its_first_run_too(self) -> None:
        machine = Machine(a={"cron": "@daily"})
        machine.now += 25 * HOUR
        machine.start(a={"cron": "@daily"})
        assert machine.runs() == [("a", 24 * 60)]

    def test_without_notes_times_count_from_the_start(self) -> None:
        machine = Machine(a={"every": "10m"})
        machine.notes.clear()
        machine.now += HOUR
        machine.start(a={"every": "10m"})
        assert machine.runs() == []

    def test_not_by_another_timing(self) -> None:
        machine = Machine(a={"every": "10m"})
        machine.now += HOUR
        machine.start(a={"every": "20m"})
        assert machine.runs() == [] and machine.runs(20 * MINUTE) == [("a", 80)]
        machine.now += HOUR
        machine.start(a={"every": "20m", "workload": "other"})
        assert machine.runs() == [("a", 140)], "another workload changes no time"


class TestPause:
    def test_times_that_pass_meanwhile_do_not_count(self) -> None:
        machine = Machine(a={"every": "10m"})
        machine.table.pause("a", True, machine.now)
        assert machine.table.get("a").paused and machine.table.next_time() is None
        assert machine.runs(HOUR) == []
        machine.start(a={"every": "10m"})
        assert machine.table.get("a").paused and machine.runs() == [], "it outlives the server"
        machine.table.pause("a", False, machine.now)
        assert machine.runs() == [] and machine.runs(10 * MINUTE) == [("a", 70)]
        assert "paused/a" not in machine.notes

    def test_by_its_own_key(self) -> None:
        machine = Machine(a={"every": "10m", "paused": True})
        assert machine.runs(HOUR) == []
        machine.table.pause("a", False, machine.now)
        assert machine.notes["paused/a"] == b"0"
        assert machine.runs(10 * MINUTE) == [("a", 70)]
        machine.start(a={"every": "10m", "paused": True})
        assert machine.runs(10 * MINUTE) == [("a", 80)], "what a command said holds"
        machine.table.pause("a", True, machine.now)
        machine.start(a={"every": "10m"})
        assert machine.runs() == [] and machine.runs(10 * MINUTE) == [("a", 90)], "it agreed with the file"

    def test_a_file_that_pauses_and_resumes(self) -> None:
        machine = Machine(a={"every": "10m"})
        machine.table.set_file(machine.parse({"a": {"every": "10m", "paused": True}}), machine.now)
        assert machine.runs(HOUR) == []
        machine.table.set_file(machine.parse({"a": {"every": "10m"}}), machine.now)
        assert machine.runs() == [] and machine.runs(10 * MINUTE) == [("a", 70)]


class TestChanges:
    def test_added_by_command(self) -> None:
        machine = Machine()
        machine.table.add("x", {"function": "g", "every": "10m", "workload_base64": "/w=="}, machine.now)
        machine.start()
        assert machine.table.get("x").schedule.workload == b"\xff" and not machine.table.get("x").from_file
        assert machine.runs(10 * MINUTE) == [("x", 10)]

    def test_added_again_its_times_go_on(self) -> None:
        machine = Machine()
        machine.table.add("x", {"function": "g", "every": "10m"}, machine.now)
        machine.now += 10 * MINUTE
        machine.table.add("x", {"function": "g", "every": "10m", "priority": "low"}, machine.now)
        assert machine.runs() == [("x", 10)]
        machine.now += 10 * MINUTE
        machine.table.add("x", {"function": "g", "every": "5m"}, machine.now)
        assert machine.runs() == [], "its times are others now, from now on"

    def test_changed(self) -> None:
        machine = Machine()
        machine.table.add("x", {"function": "g", "every": "10m", "priority": "low"}, machine.now)
        machine.table.change("x", {"every": "5m"}, machine.now)
        machine.start()
        assert machine.table.get("x").schedule.priority == "low"
        assert machine.runs(5 * MINUTE) == [("x", 5)]
        with pytest.raises(ValueError, match="unknown key"):
            machine.table.change("x", {"evry": "5m"}, machine.now)
        with pytest.raises(KeyError):
            machine.table.change("y", {"every": "5m"}, machine.now)

    def test_removed(self) -> None:
        machine = Machine()
        machine.table.add("x", {"function": "g", "every": "10m"}, machine.now)
        machine.table.pause("x", True, machine.now)
        machine.table.remove("x")
        assert machine.notes == {} and machine.runs(HOUR) == []
        with pytest.raises(KeyError):
            machine.table.remove("x")

    def test_those_of_the_file_are_the_files(self) -> None:
        machine = Machine(a={"every": "10m"})
        for change in (
            lambda: machine.table.add("a", {"function": "g", "every": "5m"}, machine.now),
            lambda: machine.table.change("a", {"every": "5m"}, machine.now),
            lambda: machine.table.remove("a"),
        ):
            with pytest.raises(ValueError, match="a stands in the server's configuration"):
                change()
        assert "schedule/a" not in machine.notes

    def test_the_file_is_read_again(self) -> None:
        machine = Machine(a={"every": "10m"}, b={"every": "10m"}, c={"every": "10m"})
        machine.table.add("x", {"function": "g", "every": "10m"}, machine.now)
        machine.table.add("y", {"function": "g", "every": "10m"}, machine.now)
        file = {"a": {"every": "10m"}, "b": {"every": "5m"}, "d": {"every": "10m"}, "y": {"every": "10m"}}
        machine.table.set_file(machine.parse(file), machine.now)
        assert {name: entry.from_file for name, entry in machine.table.entries.items()} == {
            "a": True,
            "b": True,
            "x": False,
            "y": True,
            "d": True,
        }
        assert "fired/c" not in machine.notes and "schedule/y" not in machine.notes
        assert machine.runs(5 * MINUTE) == [("b", 5)]

    def test_a_name_of_the_file_and_of_the_store(self) -> None:
        machine = Machine()
        machine.table.add("a", {"function": "g", "every": "10m"}, machine.now)
        machine.start(a={"every": "20m"})
        assert machine.table.get("a").from_file and machine.table.get("a").schedule.every == 20 * MINUTE
        assert "schedule/a" not in machine.notes

    def test_what_is_gone_from_the_file_is_forgotten(self) -> None:
        machine = Machine(a={"every": "10m"})
        machine.start()
        assert machine.notes == {}

    def test_names_of_any_letters(self) -> None:
        machine = Machine()
        name = "täglich um 3/100 %"
        machine.table.add(name, {"function": "g", "every": "10m"}, machine.now)
        assert all(key.isascii() and " " not in key and len(key) <= 190 for key in machine.notes)
        machine.start()
        assert machine.runs(10 * MINUTE) == [(name, 10)]


class TestStore:
    def test_a_schedule_that_cannot_be_used_stays_there(self) -> None:
        machine = Machine()
        machine.notes["schedule/x"] = json.dumps({"function": "f", "cron": "99 * * * *"}).encode()
        machine.notes["schedule/y"] = b"\xff"
        machine.start()
        assert set(machine.table.wrong) == {"x", "y"} and not machine.table.entries
        assert "no cron expression" in machine.table.wrong["x"] and "schedule/x" in machine.notes
        machine.table.add("x", {"function": "f", "every": "10m"}, machine.now)
        machine.table.remove("y")
        assert not machine.table.wrong and "schedule/y" not in machine.notes
        assert machine.runs(10 * MINUTE) == [("x", 10)]

    def test_only_the_note_of_a_run_is_bound_to_its_job(self) -> None:
        told = []
        table = Table(lambda key, value, *, bound=False: told.append((key, bound)))
        table.begin(Machine.parse({"a": {"every": "10m"}}), {}, T0 + 1)
        for run in table.due(T0 + 10 * MINUTE):
            table.done(run)
        assert told == [("fired/a", False), ("fired/a", True)]

    def test_taken_back(self) -> None:
        """The job was not stored, so the time is due again."""
        machine = Machine(a={"every": "10m"})
        before = machine.notes["fired/a"]
        assert machine.runs(10 * MINUTE) == [("a", 10)]
        machine.table.take_back("fired/a", before)
        assert machine.table.get("a").last is None
        assert machine.runs() == [("a", 10)]
        machine.table.take_back("fired/a", None)
        assert machine.runs() == [("a", 10)]
        machine.table.take_back("fired/b", None)
        machine.table.take_back("other", None)


class TestClock:
    def test_set_forward(self) -> None:
        machine = Machine(a={"every": "10m"})
        assert machine.runs(10 * HOUR) == [("a", 600)]

    def test_set_back_a_little_no_time_comes_twice(self) -> None:
        machine = Machine(a={"every": "10m"})
        assert machine.runs(10 * MINUTE) == [("a", 10)]
        assert machine.runs(-5 * MINUTE) == []
        assert machine.runs(5 * MINUTE) == []
        assert machine.runs(10 * MINUTE) == [("a", 20)]

    def test_set_back_by_hours_it_had_been_wrong(self) -> None:
        machine = Machine(a={"every": "10m"})
        machine.now += 1000 * 24 * HOUR
        assert len(machine.runs()) == 1
        machine.now = T0 + 1000
        assert machine.runs() == [] and machine.table.next_time() == T0 + 10 * MINUTE
        assert machine.runs(10 * MINUTE) == [("a", 10)]
        assert SET_BACK == 3 * HOUR

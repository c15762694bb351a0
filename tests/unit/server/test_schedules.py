# SPDX-License-Identifier: BSD-3-Clause
"""A scheduler beside a dispatcher: its jobs, its text command, and what a store keeps of both."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gearfast._codec import encode
from gearfast.dispatch import Dispatcher
from gearfast.dispatch._check import check
from gearfast.dispatch.policy import Policies
from gearfast.protocol import MAGIC_RESPONSE, Command
from gearfast.schedules import Schedule, parse_all
from gearfast.schedules.table import AGAIN
from gearfast.server.schedules import LOOK, SOON, Scheduler

from .test_journal import Machine

T0 = 1_767_225_600_000
MINUTE = 60_000


def file(**schedules: dict[str, Any]) -> dict[str, Schedule]:
    return parse_all({name: {"function": "f", "every": "1m"} | values for name, values in schedules.items()})


class Server:
    """A dispatcher with a scheduler; the clock stands still."""

    def __init__(self, dispatcher: Dispatcher | None = None, **schedules: dict[str, Any]) -> None:
        self.now = T0
        self.dispatcher = dispatcher or Dispatcher()
        self.scheduler = Scheduler(self.dispatcher, clock=lambda: self.now)
        self.scheduler.begin(file(**schedules), {})
        self.peer = self.dispatcher.connect()

    def turn(self, after: int = 0) -> int | None:
        self.now += after
        return self.scheduler.turn()

    def say(self, *lines: str) -> list[str]:
        for line in lines:
            self.dispatcher.receive(self.peer, line.encode() + b"\n")
        return self.dispatcher.take_output(self.peer).decode().splitlines()

    @property
    def jobs(self) -> list[tuple[str, bytes, bytes, str]]:
        return [(job["function"], job["unique"], job["workload"], job["priority"]) for job in self.dispatcher.jobs()]


class TestJobs:
    def test_one_at_each_time(self) -> None:
        server = Server(a={"workload": "x", "priority": "high"}, b={"every": "2m", "function": "g", "unique": "u"})
        assert server.turn() == MINUTE and server.jobs == []
        assert server.turn(MINUTE - 250) == 250
        assert server.turn(250) == MINUTE
        assert server.jobs == [("f", b"a", b"x", "high")]
        assert all(job["background"] for job in server.dispatcher.jobs())
        server.turn(MINUTE)
        assert server.jobs == [("f", b"a", b"x", "high"), ("g", b"u", b"", "normal")], "the first one is still there"
        check(server.dispatcher)

    def test_no_schedules_no_wake_up(self) -> None:
        assert Server().turn() is None

    def test_a_worker_that_sleeps_is_woken(self) -> None:
        server = Server(a={"workload": "x"})
        worker = server.dispatcher.connect()
        server.dispatcher.receive(worker, encode(Command.CAN_DO, b"f") + encode(Command.PRE_SLEEP))
        server.turn(MINUTE)
        assert server.dispatcher.take_output(worker) == encode(Command.NOOP, magic=MAGIC_RESPONSE)

    def test_overlap(self) -> None:
        server = Server(a={"overlap": True})
        server.turn(MINUTE)
        server.turn(MINUTE)
        assert [unique for _, unique, _, _ in server.jobs] == [b"a@1767225660", b"a@1767225720"]

    def test_a_client_that_asks_for_its_unique_joins_it(self) -> None:
        server = Server(a={})
        server.turn(MINUTE)
        server.dispatcher.receive(server.peer, encode(Command.SUBMIT_JOB, b"f", b"a", b""))
        assert len(server.jobs) == 1

    def test_a_full_queue(self, caplog: pytest.LogCaptureFixture) -> None:
        """It is tried again, which the log tells once; times that pass meanwhile are that one run."""
        caplog.set_level(logging.WARNING, "gearfast")
        policies = Policies.parse({"f": {"max_queue": 1}})
        server = Server(Dispatcher(policies=policies), a={}, b={"overlap": True})
        assert server.turn(MINUTE) == AGAIN
        assert server.turn(AGAIN // 2) == AGAIN // 2
        assert server.turn(AGAIN // 2) == AGAIN
        assert [unique for _, unique, _, _ in server.jobs] == [b"a"]
        assert server.turn(3 * MINUTE) == AGAIN
        server.dispatcher.policies = Policies()
        assert server.turn(AGAIN - 1) == 1 and len(server.jobs) == 1
        assert server.turn(1) == MINUTE - 2 * AGAIN
        assert [unique for _, unique, _, _ in server.jobs] == [b"a", b"b@1767225840"]
        said = [record.getMessage() for record in caplog.records]
        assert said[0] == "Schedule b: its job was refused and is tried again: QUEUE_ERROR: Job queue is full"
        assert said[-1] == "Schedule b: one run for several times that were missed"
        assert sum("refused" in line for line in said) == 1

    def test_only_where_it_may(self) -> None:
        server = Server(a={})
        leads = False
        server.scheduler.may_fire = lambda: leads
        assert server.turn(MINUTE) == LOOK and server.jobs == []
        leads = True
        server.turn()
        assert len(server.jobs) == 1

    def test_not_before_all_jobs_are_back(self) -> None:
        server = Server(a={})
        server.dispatcher.restoring = True
        assert server.turn(MINUTE) == SOON and server.jobs == []
        server.dispatcher.restoring = False
        server.turn()
        assert len(server.jobs) == 1

    def test_a_large_workload(self) -> None:
        """Also when a text command asks for it behind a large packet."""
        server = Server(a={"workload": "x" * 300_000})
        packet = encode(Command.SUBMIT_JOB_BG, b"g", b"", b"y" * 200_000) + b"schedule run a\n"
        server.dispatcher.receive(server.peer, packet[:100_000])
        server.dispatcher.receive(server.peer, packet[100_000:])
        server.dispatcher.receive(server.peer, encode(Command.SUBMIT_JOB_BG, b"g", b"", b"z"))
        assert [(name, len(workload)) for name, _, workload, _ in server.jobs] == [
            ("g", 200_000),
            ("f", 300_000),
            ("g", 1),
        ]
        check(server.dispatcher)


class TestLines:
    def test_all_of_them(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO, "gearfast")
        server = Server(**{"a b": {}})
        assert server.say("schedule") == ["a%20b\tfile\tactive\t1767225660\t-\tfunction=f every=1m", "."]
        assert server.say("schedule add x function=g cron=0%203%20*%20*%20* workload=%ff%20secret") == ["OK"]
        assert server.say("Schedule SET x priority=low") == ["OK"]
        settings = "function=g cron=0%203%20*%20*%20* priority=low workload=%FF%20secret"
        assert server.say("schedule list")[1] == f"x\tcommand\tactive\t1767236400\t-\t{settings}"
        assert server.say("schedule run x") == ["OK H:local:1"]
        assert server.jobs == [("g", b"x", b"\xff secret", "low")]
        assert server.say("schedule pause a%20b", "schedule pause x") == ["OK", "OK"]
        assert [row.split("\t")[2:4] for row in server.say("schedule")[:-1]] == [["paused", "-"]] * 2
        assert server.say("schedule resume a%20b", "schedule remove x") == ["OK", "OK"]
        server.turn(MINUTE)
        assert server.say("schedule")[0].split("\t")[2:5] == ["active", "1767225720", "1767225660"]
        said = [record.getMessage() for record in caplog.records]
        assert said == [
            "Text command: schedule add x",
            "Text command: schedule set x",
            "Text command: schedule run x",
            "Text command: schedule pause a b",
            "Text command: schedule pause x",
            "Text command: schedule resume a b",
            "Text command: schedule remove x",
        ]

    @pytest.mark.parametrize(
        ("line", "said"),
        [
            ("schedule add", "INVALID_ARGUMENTS schedule,+schedule+add+NAME"),
            ("schedule add x", "INVALID_ARGUMENTS schedule,"),
            ("schedule pause a b", "INVALID_ARGUMENTS schedule,"),
            ("schedule list a", "INVALID_ARGUMENTS schedule,"),
            ("schedule stop a", "INVALID_ARGUMENTS schedule,"),
            ("schedule add x function", "INVALID_ARGUMENTS 'function'+is+not+KEY=VALUE"),
            ("schedule add x function=f evry=1m", "INVALID_ARGUMENTS unknown+key+evry;+did+you+mean+every?"),
            ("schedule add a function=f every=1m", "INVALID_ARGUMENTS a+stands+in+the+server's+configuration"),
            ("schedule remove a", "INVALID_ARGUMENTS a+stands+in"),
            ("schedule set y every=1m", "UNKNOWN_SCHEDULE there+is+no+schedule+y"),
            ("schedule run y", "UNKNOWN_SCHEDULE "),
            ("schedule run a%0d%0aOK%ff", "UNKNOWN_SCHEDULE there+is+no+schedule+a??OK?"),
            ("schedules", "UNKNOWN_COMMAND "),
        ],
    )
    def test_what_is_wrong(self, line: str, said: str) -> None:
        server = Server(a={})
        (told,) = server.say(line)
        assert told.startswith("ERR " + said)
        assert server.say("schedule") == ["a\tfile\tactive\t1767225660\t-\tfunction=f every=1m", "."]

    def test_who_may_not_change_things_may_look(self) -> None:
        server = Server(Dispatcher(admin_writes=False), a={})
        for line in ("add x function=f every=1m", "set a every=2m", "remove a", "pause a", "resume a", "run a"):
            assert server.say(f"schedule {line}")[0].startswith("ERR PERMISSION_DENIED")
        assert len(server.say("schedule")) == 2 and server.jobs == []

    def test_a_run_that_is_refused(self) -> None:
        server = Server(Dispatcher(policies=Policies.parse({"f": {"max_queue": 1}})), a={}, b={})
        assert server.say("schedule run a", "schedule run b", "schedule run a") == [
            "OK H:local:1",
            "ERR QUEUE_ERROR Job+queue+is+full",
            "OK H:local:1",
        ]

    def test_a_dispatcher_without_schedules(self) -> None:
        dispatcher = Dispatcher()
        peer = dispatcher.connect()
        dispatcher.receive(peer, b"schedule pause x\n")
        assert dispatcher.take_output(peer) == b"ERR UNKNOWN_COMMAND Unknown+server+commandschedule\r\n"

    def test_a_change_wakes_whoever_waits(self) -> None:
        server = Server(a={})
        woken: list[bool] = []
        server.scheduler.on_change = lambda: woken.append(True)
        server.say("schedule", "schedule run a")
        assert woken == []
        server.say("schedule pause a")
        server.scheduler.set_file(file(b={}))
        assert woken == [True, True]


class Kept(Machine):
    """A scheduler over a journal's store."""

    def __init__(self, path: Path, now: int, **schedules: dict[str, Any]) -> None:
        super().__init__(path)
        self.now = now
        self.scheduler = Scheduler(self.dispatcher, clock=lambda: self.now, write=self.journal.note)
        self.journal.on_lost = self.scheduler.take_back
        self.back()
        self.scheduler.begin(file(**schedules), dict(self.journal.notes))
        self.commit()

    @property
    def uniques(self) -> list[bytes]:
        return [job["unique"] for job in self.dispatcher.jobs()]


class TestStore:
    def test_killed_between_a_time_and_its_commit(self, tmp_path: Path) -> None:
        """Neither the job nor that it was submitted is there, so the next server submits it."""
        path = tmp_path / "jobs.db"
        machine = Kept(path, T0, a={})
        machine.now += MINUTE
        machine.scheduler.turn()
        assert machine.uniques == [b"a"]
        machine.journal.close()  # what it was not given is lost
        machine = Kept(path, T0 + MINUTE + 1, a={})
        assert machine.uniques == []
        machine.scheduler.turn()
        assert machine.uniques == [b"a"]
        machine.commit()
        machine.journal.close()
        machine = Kept(path, T0 + MINUTE + 2, a={"overlap": True})
        machine.scheduler.turn()
        assert machine.uniques == [b"a"], "the same time is not due again"
        machine.journal.close()

    def test_what_was_added_and_paused_is_back(self, tmp_path: Path) -> None:
        path = tmp_path / "jobs.db"
        machine = Kept(path, T0, a={})
        assert machine.say(b"schedule add x function=f every=1h workload=%00\n") == b"OK\r\n"
        assert machine.say(b"schedule pause a\n") == b"OK\r\n"
        machine.journal.close()
        machine = Kept(path, T0, a={})
        assert machine.say(b"schedule\n").splitlines() == [
            b"a\tfile\tpaused\t-\t-\tfunction=f every=1m",
            b"x\tcommand\tactive\t1767229200\t-\tfunction=f every=1h workload=%00",
            b".",
        ]
        machine.journal.close()

    def test_a_command_is_answered_once_it_is_stored(self, tmp_path: Path) -> None:
        machine = Kept(tmp_path / "jobs.db", T0)
        machine.dispatcher.receive(machine.peer, b"schedule add x function=f every=1h\n")
        assert machine.dispatcher.take_output(machine.peer) == b""
        machine.commit()
        assert machine.dispatcher.take_output(machine.peer) == b"OK\r\n"
        machine.dispatcher.receive(machine.peer, b"schedule run x\n")
        assert machine.dispatcher.take_output(machine.peer) == b""
        machine.commit()
        assert machine.dispatcher.take_output(machine.peer).startswith(b"OK H:")
        machine.journal.close()

    @pytest.mark.parametrize("lies", [False, True], ids=["not stored", "stored, but reported as not"])
    def test_a_job_that_was_not_stored_is_submitted_again(self, tmp_path: Path, lies: bool) -> None:
        path = tmp_path / "jobs.db"
        machine = Kept(path, T0, a={}, b={"overlap": True})
        machine.now += MINUTE
        machine.scheduler.turn()
        machine.store.away, machine.store.lies = True, lies
        machine.journal.take()
        machine.now += MINUTE
        machine.scheduler.turn()  # joins the job that is about to be lost
        machine.run(lambda: machine.dispatcher.refusing and machine.journal.is_idle)
        assert machine.say(b"schedule pause b\n") == b"ERR QUEUE_ERROR The+schedule+could+not+be+stored\r\n"
        machine.scheduler.turn()
        assert machine.uniques == []
        machine.store.away = machine.store.lies = False
        machine.run(lambda: not machine.dispatcher.refusing)
        machine.now += AGAIN
        machine.scheduler.turn()
        assert machine.uniques == [b"a", b"b@1767225720"]
        machine.commit()
        machine.journal.close()
        machine = Kept(path, T0 + 2 * MINUTE, a={}, b={"overlap": True})
        machine.scheduler.turn()
        assert machine.uniques == [b"a", b"b@1767225720"]
        assert machine.scheduler.table.get("a").last == T0 + 2 * MINUTE
        machine.journal.close()

    @pytest.mark.parametrize("lies", [False, True], ids=["not stored", "stored, but reported as not"])
    def test_killed_once_the_store_is_back(self, tmp_path: Path, lies: bool) -> None:
        """Before the job that was not stored is submitted again: the store does not say that it was."""
        path = tmp_path / "jobs.db"
        machine = Kept(path, T0, a={})
        machine.now += MINUTE
        machine.scheduler.turn()
        machine.store.away, machine.store.lies = True, lies
        machine.journal.take()
        machine.run(lambda: bool(machine.dispatcher.refusing))
        machine.store.away = machine.store.lies = False
        machine.run(lambda: not machine.dispatcher.refusing)
        machine.journal.close()
        machine = Kept(path, T0 + MINUTE, a={})
        assert machine.uniques == []
        machine.scheduler.turn()
        assert machine.uniques == [b"a"]
        machine.journal.close()

    def test_a_schedule_of_the_store_that_cannot_be_used(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        machine = Kept(tmp_path / "jobs.db", T0)
        machine.journal.note("schedule/x", b'{"function": "f", "cron": "x"}')
        machine.commit()
        machine.journal.close()
        machine = Kept(tmp_path / "jobs.db", T0)
        assert caplog.records[-1].getMessage().startswith("Schedule x of the store is not used: cron: 'x' is no cron")
        assert machine.say(b"schedule\n").startswith(b"x\tcommand\twrong\t-\t-\twhy=cron:")
        assert machine.say(b"schedule remove x\n") == b"OK\r\n"
        machine.journal.close()


def test_submit_checks_what_it_is_given() -> None:
    dispatcher = Dispatcher()
    calls: list[Callable[[], object]] = [
        lambda: dispatcher.submit(b"", b"", b""),
        lambda: dispatcher.submit(b"a\0b", b"", b""),
        lambda: dispatcher.submit(b"f", b"a\0b", b""),
        lambda: dispatcher.submit(b"f", b"", b"", 3),
    ]
    for call in calls:
        with pytest.raises(ValueError):
            call()
    assert dispatcher.submit(b"f", b"u", b"x") == dispatcher.submit(b"f", b"u", b"y") == b"H:local:1"
    assert dispatcher.submit(b"f", b"", b"x", 0) == b"H:local:2"

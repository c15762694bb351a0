# SPDX-License-Identifier: BSD-3-Clause
"""Periodic jobs of a real server: of its file, by SIGHUP and by command, with and without a store that outlives it."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gearfast import (
    AdminClient,
    AsyncAdminClient,
    AsyncWorker,
    Priority,
    ScheduleInfo,
    Server,
    ServerError,
    UsageError,
    Worker,
)
from gearfast.cli import FAILED, OK, USAGE, main
from gearfast.protocol import Command

from .gearmand import working
from .server_tools import DRIVERS, LIMIT, ServerProcess, eventually

Start = Callable[..., ServerProcess]
STEP = 100
"""Milliseconds between two times of the schedule that is watched while servers are killed."""
EVERY = {"function": "f", "every": STEP / 1000, "overlap": True, "catch_up": "all"}


def toml(name: str, **values: object) -> str:
    return f"[schedules.{json.dumps(name)}]\n" + "".join(
        f"{key} = {json.dumps(each)}\n" for key, each in values.items()
    )


@pytest.fixture(params=DRIVERS)
def start(request: pytest.FixtureRequest, tmp_path: Path) -> Start:
    """Starts a server process with the driver of this run; `text`: its configuration, as `write` changes it."""

    def new(text: str = "", *flags: str) -> ServerProcess:
        path = tmp_path / "gearfast.toml"
        path.write_text(text, encoding="utf-8")
        return ServerProcess("--driver", request.param, "--config", str(path), "--port", "0", *flags)

    return new


def write(folder: Path, text: str) -> None:
    (folder / "gearfast.toml").write_text(text, encoding="utf-8")


def names(server: ServerProcess) -> list[str]:
    with server.connect() as admin:
        return [line.split(b"\t")[0].decode() for line in admin.lines("schedule")]


class TestFile:
    def test_a_sleeping_server_submits_its_job(self, start: Start) -> None:
        """Nobody sends anything; the worker is woken."""
        text = toml("tick", function="f", every="0.1s", workload="x")
        with start(text) as server, server.connect() as worker:
            worker.can_do(b"f")
            for _ in range(3):
                handle, workload = worker.grab()
                assert workload == b"x"
                worker.complete(handle)

    @pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
    def test_read_again(self, start: Start, tmp_path: Path) -> None:
        text = toml("a", function="f", every="1h") + toml("b", function="f", every="1h")
        with start(text) as server, server.connect() as admin, server.connect() as worker:
            assert admin.line("schedule add x function=f every=1h") == b"OK"
            write(tmp_path, toml("a", function="f", every="0.1s") + toml("c", function="f", every="1h"))
            server.signal("SIGHUP")
            server.wait_line("INFO Schedules: 2 of the configuration")
            worker.can_do(b"f")
            worker.grab()
            assert sorted(names(server)) == ["a", "c", "x"]
            write(tmp_path, toml("a", function="f", every="soon"))
            server.signal("SIGHUP")
            server.wait_line("ERROR Configuration not reloaded: .*schedules: a: every: 'soon' must be a time")
            assert sorted(names(server)) == ["a", "c", "x"]
            assert "Only a restart" not in server.log

    @pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
    @pytest.mark.parametrize("signal", ["SIGTERM", "SIGUSR1"])
    def test_a_server_that_is_about_to_end_submits_nothing(self, start: Start, signal: str) -> None:
        """Or else it would never be done."""
        text = toml("tick", function="f", every="0.1s", overlap=True)
        with start(text) as server, server.connect() as worker, server.connect() as client:
            worker.can_do(b"g")
            running = client.submit(b"g")
            worker.grab()
            eventually(lambda: any(line.startswith(b"f\t") for line in client.lines("status")))
            server.signal(signal)
            server.wait_line("Shutdown: 1 running|Graceful shutdown")
            before = client.lines("show unique jobs")
            # As long as would be enough for some more.
            end = time.monotonic() + 0.35
            while time.monotonic() < end:
                assert client.lines("show unique jobs") == before
            worker.complete(running)
            if signal == "SIGUSR1":
                worker.can_do(b"f")
                for _ in range(len(before) - 1):
                    handle, _workload = worker.grab()
                    worker.complete(handle)
            assert server.wait() == 0


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
class TestStore:
    def test_what_commands_did_outlives_the_server(self, start: Start, tmp_path: Path) -> None:
        store = ("--store", str(tmp_path / "jobs.db"))
        text = toml("a", function="f", every="1h")
        with start(text, *store) as server, server.connect() as admin:
            assert admin.line("schedule add x%20y function=g cron=@daily timezone=Europe/Berlin workload=%00") == b"OK"
            assert admin.line("schedule add gone function=g every=1m") == b"OK"
            assert admin.line("schedule remove gone") == b"OK"
            assert admin.line("schedule pause a") == b"OK"
            said = admin.lines("schedule")
            server.signal("SIGKILL")
            server.wait()
        assert said[0].split(b"\t")[:3] == [b"a", b"file", b"paused"]
        with start(text, *store) as server, server.connect() as admin:
            assert admin.lines("schedule") == said

    def test_without_a_store_they_live_as_long_as_the_server(self, start: Start) -> None:
        with start() as server, server.connect() as admin:
            assert admin.line("schedule add x function=g every=1m") == b"OK"
        with start() as server:
            assert names(server) == []

    def test_killed_at_any_moment_each_time_leads_to_one_job(self, start: Start, tmp_path: Path) -> None:
        """No time is missing, none came twice, though each server but the last one is killed."""
        chance = random.Random(7)
        text = toml("tick", **EVERY)
        flags = ("--store", str(tmp_path / "jobs.db"))
        for _ in range(8):
            with start(text, *flags) as server:
                with pytest.raises(subprocess.TimeoutExpired):
                    server.process.wait(chance.uniform(0.0, 0.4))
                server.signal("SIGKILL")
                server.wait()
        with start(text, *flags) as server, server.connect() as admin:
            assert eventually(lambda: len(admin.lines("show unique jobs")) >= 10)
            assert admin.line("schedule pause tick") == b"OK"
            found = [round(float(line.partition(b"@")[2]) * 1000) for line in admin.lines("show unique jobs")]
        assert sorted(found) == list(range(min(found), max(found) + STEP, STEP))

    def test_one_run_for_the_times_that_were_missed(self, start: Start, tmp_path: Path) -> None:
        flags = ("--store", str(tmp_path / "jobs.db"))
        text = toml("tick", function="f", every="0.1s")
        with start(text, *flags) as server, server.connect() as worker:
            worker.can_do(b"f")
            handle, _ = worker.grab()
            worker.complete(handle)
            server.signal("SIGTERM")
            assert server.wait() == 0
        with start(text, *flags) as server:
            server.wait_line("WARNING Schedule tick: one run for several times that were missed")


class TestClients:
    def test_the_blocking_one(self) -> None:
        with (
            Server(schedules={"nightly": {"function": "report", "cron": "0 3 * * *"}}) as server,
            AdminClient(server.url) as admin,
        ):
            admin.add_schedule("tick", "f", b"\xff\x00 %", every=3600, priority=Priority.LOW, overlap=True)
            (nightly, tick) = admin.schedules()
            assert (nightly.name, nightly.source, nightly.cron, nightly.every) == (
                "nightly",
                "file",
                "0 3 * * *",
                None,
            )
            assert tick == ScheduleInfo(
                name="tick",
                function="f",
                workload=b"\xff\x00 %",
                cron=None,
                timezone="UTC",
                every="1h",
                priority=Priority.LOW,
                unique="tick",
                overlap=True,
                catch_up="one",
                paused=False,
                source="command",
                next=tick.next,
                last=None,
            )
            assert tick.next is not None and tick.next % 3600 == 0 and 0 < tick.next - time.time() <= 3600
            admin.set_schedule("tick", workload="größer", every=None, cron="@daily", timezone="Asia/Tokyo")
            tick = admin.schedules()[1]
            assert (tick.workload, tick.cron, tick.timezone) == ("größer".encode(), "@daily", "Asia/Tokyo")
            admin.pause_schedule("nightly")
            assert admin.schedules()[0].paused and admin.schedules()[0].next is None
            admin.resume_schedule("nightly")
            assert not admin.schedules()[0].paused
            handle = admin.run_schedule("nightly")
            assert [(job.handle, job.function, job.unique) for job in server.jobs()] == [(handle, "report", b"nightly")]
            admin.remove_schedule("tick")
            assert [each.name for each in admin.schedules()] == ["nightly"]
            self.check_errors(admin)

    def check_errors(self, admin: AdminClient) -> None:
        for call, said in [
            (lambda: admin.add_schedule("x", "f"), "one of cron and every"),
            (lambda: admin.add_schedule("nightly", "f", every=60), "stands in the server's configuration"),
            (lambda: admin.set_schedule("y", every=60), "there is no schedule y"),
            (lambda: admin.run_schedule("y"), "there is no schedule y"),
        ]:
            with pytest.raises(ServerError, match=said):
                call()
        for wrong in (lambda: admin.set_schedule("x"), lambda: admin.pause_schedule("")):
            with pytest.raises(UsageError):
                wrong()

    def test_the_asyncio_one(self) -> None:
        async def run(url: str) -> None:
            async with AsyncAdminClient(url) as admin:
                await admin.add_schedule("a b", "f", cron="*/5 * * * *", paused=True)
                assert [(each.name, each.paused) for each in await admin.schedules()] == [("a b", True)]
                await admin.resume_schedule("a b")
                await admin.set_schedule("a b", priority=Priority.HIGH)
                assert (await admin.run_schedule("a b")).startswith("H:")
                await admin.pause_schedule("a b")
                await admin.remove_schedule("a b")
                assert await admin.schedules() == []

        with Server() as server:
            asyncio.run(asyncio.wait_for(run(server.url), LIMIT))

    def test_added_at_a_programs_start_again_and_again(self) -> None:
        """Its times go on as they were."""
        done: list[bytes] = []
        with Server() as server, AdminClient(server.url) as admin:
            worker = Worker(server.url)
            worker.register("f", lambda job: done.append(bytes(job.workload)))
            with working(worker):
                while len(done) < 2:
                    admin.add_schedule("tick", "f", "x", every=0.1)

    def test_a_server_in_the_callers_loop(self) -> None:
        async def run() -> None:
            async with Server(schedules={"tick": {"function": "f", "every": "0.1s"}}) as server:
                worker = AsyncWorker(server.url)
                worker.register("f", lambda job: worker.stop())
                await asyncio.wait_for(worker.run(), LIMIT)

        asyncio.run(run())


class TestCommandLine:
    def run(self, server: Server, *words: str) -> int:
        return main(["admin", "--server", server.url, "schedule", *words])

    def test_lines_and_json(self, capsys: pytest.CaptureFixture[str]) -> None:
        with Server(schedules={"nightly": {"function": "report", "cron": "0 3 1 1 *", "paused": True}}) as server:
            assert self.run(server) == OK
            line = "nightly\tfile\tpaused\t-\t-\tfunction=report cron=0%203%201%201%20*\n"
            assert capsys.readouterr().out == line
            words = ("function=f", "every=1h", "workload_base64=/wA=", "overlap=true", "priority=low", "unique=u")
            assert self.run(server, "add", "a b", *words) == OK
            head, _, _, following, last, settings = capsys.readouterr().out.rstrip().split("\t")
            assert (head, last, int(following) % 3600) == ("a%20b", "-", 0)
            assert settings == "function=f every=1h priority=low unique=u overlap=true workload=%FF%00"
            assert self.run(server, "--json") == OK
            (nightly, added) = json.loads(capsys.readouterr().out)
            assert nightly == {
                "name": "nightly",
                "function": "report",
                "workload": "",
                "cron": "0 3 1 1 *",
                "timezone": "UTC",
                "every": None,
                "priority": "normal",
                "unique": "nightly",
                "overlap": False,
                "catch_up": "one",
                "paused": True,
                "source": "file",
                "next": None,
                "last": None,
                "problem": "",
            }
            assert added["workload_base64"] == "/wA=" and added["next"] == int(following)
            assert self.run(server, "run", "a b") == OK
            assert capsys.readouterr().out == f"{server.jobs()[0].handle}\n"
            assert self.run(server, "set", "a b", "every=2h", "overlap=") == OK
            assert "every=2h priority=low unique=u workload=" in capsys.readouterr().out
            assert self.run(server, "pause", "a b") == OK
            assert capsys.readouterr().out.startswith("a%20b\tcommand\tpaused\t-\t-\t")
            assert self.run(server, "resume", "a b") == OK
            capsys.readouterr()
            assert self.run(server, "remove", "a b") == OK
            assert capsys.readouterr().out == line

    def test_a_table_on_a_terminal(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("NO_COLOR", "1")
        monkeypatch.setenv("COLUMNS", "100")
        schedules = {
            "a": {"function": "f", "cron": "0 3 1 1 *", "timezone": "Europe/Berlin"},
            "b": {"function": "g", "every": "90s", "paused": True},
        }
        with Server(schedules=schedules) as server:
            monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
            assert self.run(server) == OK
        head, first, second = capsys.readouterr().out.splitlines()
        assert head.split() == ["NAME", "WHEN", "FUNCTION", "STATE", "NEXT", "LAST"]
        assert first.split()[:9] == ["a", "0", "3", "1", "1", "*", "Europe/Berlin", "f", "active"]
        assert first.split()[9].endswith("-01-01") and first.split()[10:] == ["02:00Z", "-"]
        assert second.split() == ["b", "every", "1m30s", "g", "paused", "-", "-"]

    @pytest.mark.parametrize(
        ("words", "status", "text"),
        [
            (("add", "x", "function=f", "evry=1m"), USAGE, "unknown key evry; did you mean every?"),
            (("add", "x", "function=f", "every=soon"), FAILED, "must be a time such as 30s"),
            (("add", "x", "function=f", "cron=* * *"), FAILED, "is no cron expression"),
            (("add", "x", "every=1m"), USAGE, "function=NAME has to be given"),
            (("add", "x", "function=f", "priority=urgent"), USAGE, "priority: 'urgent' must be one of"),
            (("add", "x"), USAGE, "add NAME KEY=VALUE"),
            (("set", "x", "every"), USAGE, "is not KEY=VALUE"),
            (("set", "x", "every=1m"), FAILED, "there is no schedule x"),
            (("set", "x", "name=y"), FAILED, "there is no schedule x"),
            (("remove",), USAGE, "add NAME KEY=VALUE"),
            (("run", "x"), FAILED, "there is no schedule x"),
            (("list", "x"), USAGE, "add NAME KEY=VALUE"),
            (("stop", "x"), USAGE, "stop"),
        ],
    )
    def test_errors(self, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], status: int, text: str) -> None:
        with Server() as server:
            assert self.run(server, *words) == status
            assert text in capsys.readouterr().err


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_change_holds_at_once(driver: str) -> None:
    """Though the loop waits for something that is due much later."""
    with (
        ServerProcess("--driver", driver) as server,
        server.connect() as admin,
        server.connect() as worker,
    ):
        worker.can_do(b"f")
        worker.send(Command.PRE_SLEEP)
        worker.echo()
        assert admin.line("schedule add far function=f every=1000h") == b"OK"
        assert admin.line("schedule add near function=f every=0.1s workload=x") == b"OK"
        worker.packet(Command.NOOP)
        assert worker.grab()[1] == b"x"

# SPDX-License-Identifier: BSD-3-Clause
"""Dead letters of a real server: over its death and restart, by both clients and by the command line."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gearfast import AdminClient, AsyncAdminClient, Client, DeadLetter, Priority, Server, Worker
from gearfast.cli import FAILED, OK, USAGE, main
from gearfast.errors import JobNotFound, ServerError
from gearfast.protocol import Command

from .gearmand import working
from .server_tools import DRIVERS, LIMIT, ServerProcess, eventually

KEEP = {"f": {"keep_failed": 10}}


class TestRestart:
    @pytest.fixture(params=DRIVERS)
    def driver(self, request: pytest.FixtureRequest) -> str:
        return str(request.param)

    def start(self, folder: Path, driver: str) -> ServerProcess:
        config = folder / "gearfast.toml"
        config.write_text("[functions.f]\nkeep_failed = 10\n", encoding="utf-8")
        return ServerProcess(
            "--driver", driver, "--config", str(config), "--port", "0", "--store", str(folder / "jobs.db")
        )

    def test_killed_between_death_and_requeue(self, tmp_path: Path, driver: str) -> None:
        with self.start(tmp_path, driver) as server:
            with server.connect() as client, server.connect() as worker:
                worker.can_do(b"f")
                job = client.submit(b"f", b"load", background=True)
                assert worker.grab() == (job, b"load")
                worker.send(Command.WORK_EXCEPTION, job, b"no \0 luck")
                worker.echo()  # its answer waits for the commit
                (line,) = client.lines("dead")
            server.signal("SIGKILL")
        with self.start(tmp_path, driver) as server:
            with server.connect() as client, server.connect() as worker:
                assert client.lines("dead") == [line]
                shown = dict(each.split(b"\t") for each in client.lines("dead show " + job.decode()))
                assert (shown[b"workload"], shown[b"exception"]) == (b"load", b"no%20%00%20luck")
                assert client.line("dead requeue " + job.decode()) == b"OK 1"
                client.submit(b"g", background=True)  # acknowledged with all that was before
            server.signal("SIGKILL")
        with self.start(tmp_path, driver) as server, server.connect() as client, server.connect() as worker:
            assert client.lines("dead") == []
            worker.can_do(b"f")
            assert worker.grab() == (job, b"load")
            worker.complete(job)
            worker.echo()
            server.signal("SIGKILL")
        with self.start(tmp_path, driver) as server, server.connect() as client:
            assert client.lines("dead") == []
            assert client.lines("show jobs")[1:] == []


@pytest.fixture
def server() -> Iterator[Server]:
    """With a dead letter of f."""
    with Server(functions=KEEP) as server, Client(server.url) as client:
        worker = Worker(server.url)

        def broken(job: object) -> bytes:
            raise ValueError("never")

        worker.register("f", broken)
        with working(worker):
            client.submit_background("f", b"lo%d\xff", unique="u 1", priority=Priority.LOW)
            with AdminClient(server.url) as admin:
                eventually(admin.dead_letters)
        yield server


class TestClients:
    def test_the_blocking_one(self, server: Server) -> None:
        with AdminClient(server.url) as admin:
            (letter,) = admin.dead_letters()
            assert letter[1:5] == ("f", b"u 1", 1, "failed") and letter.time > 1.7e9
            assert admin.dead_letters("f") == [letter]
            assert admin.dead_letters("g") == []
            whole = admin.dead_letter(letter.handle)
            assert isinstance(whole, DeadLetter)
            assert whole[:6] == letter[:6]
            assert (whole.priority, whole.workload) == (Priority.LOW, b"lo%d\xff")
            assert whole.exception is not None and b"never" in whole.exception
            assert admin.requeue_dead(letter.handle) == 1
            assert [job.handle for job in admin.jobs()] == [letter.handle]
            with pytest.raises(JobNotFound):
                admin.dead_letter(letter.handle)
            with pytest.raises(JobNotFound):
                admin.drop_dead("nothing")
            assert admin.drop_dead("*") == 0

    def test_the_asyncio_one(self, server: Server) -> None:
        async def run() -> None:
            async with AsyncAdminClient(server.url) as admin:
                (letter,) = await admin.dead_letters("f")
                assert (await admin.dead_letter(letter.handle)).workload == b"lo%d\xff"
                assert await admin.drop_dead("f") == 1
                assert await admin.requeue_dead("*") == 0

        asyncio.run(asyncio.wait_for(run(), LIMIT))

    def test_who_may_only_look(self) -> None:
        with Server(admin_writes="none", functions=KEEP) as server, AdminClient(server.url) as admin:
            assert admin.dead_letters() == []
            with pytest.raises(ServerError, match="may not change anything"):
                admin.drop_dead("*")


class TestCommandLine:
    def run(self, server: Server, *words: str) -> int:
        return main(["admin", "--server", server.url, *words])

    def test_lines_and_json(self, server: Server, capsys: pytest.CaptureFixture[str]) -> None:
        assert self.run(server, "dead") == OK
        handle, *words = capsys.readouterr().out.rstrip("\n").split("\t")
        assert words[:4] == ["f", "u%201", "1", "failed"]
        assert self.run(server, "--json", "dead", "list", "f") == OK
        (entry,) = json.loads(capsys.readouterr().out)
        assert (entry["handle"], entry["unique"], entry["tries"]) == (handle, "u 1", 1)
        assert self.run(server, "dead", "show", handle) == OK
        shown = dict(line.split("\t") for line in capsys.readouterr().out.splitlines())
        assert (shown["workload"], shown["priority"]) == ("lo%25d%FF", "low")
        assert self.run(server, "--json", "dead", "show", handle) == OK
        whole = json.loads(capsys.readouterr().out)["dead"]
        assert (whole["workload_base64"], whole["reason"]) == ("bG8lZP8=", "failed")
        assert "never" in whole["exception"]
        assert self.run(server, "dead", "requeue", handle) == OK
        assert capsys.readouterr().out == "1\n"
        assert self.run(server, "--json", "dead", "drop", "*") == OK
        assert json.loads(capsys.readouterr().out) == {"dead": 0}

    def test_a_table_on_a_terminal(
        self, server: Server, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("NO_COLOR", "1")
        monkeypatch.setenv("COLUMNS", "200")
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
        assert self.run(server, "dead") == OK
        head, line = capsys.readouterr().out.splitlines()
        assert head.split() == ["HANDLE", "FUNCTION", "UNIQUE", "TRIES", "REASON", "TIME"]
        assert line.split()[1:6] == ["f", "u", "1", "1", "failed"] and line.endswith(" UTC")

    @pytest.mark.parametrize(
        ("words", "status", "text"),
        [
            (("show",), USAGE, "show HANDLE"),
            (("requeue",), USAGE, "requeue or drop"),
            (("show", "H:none:1"), FAILED, "does not know the job; `gearfast admin dead` lists"),
            (("drop", "nothing"), FAILED, "does not know the job; `gearfast admin dead` lists"),
            (("revive", "f"), USAGE, "revive"),
        ],
    )
    def test_errors(self, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], status: int, text: str) -> None:
        with Server() as server:
            assert self.run(server, "dead", *words) == status
            assert text in capsys.readouterr().err

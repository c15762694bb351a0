# SPDX-License-Identifier: BSD-3-Clause
"""Policies of a real server process: from its file, by SIGHUP, by text command, while connections stay."""

from __future__ import annotations

import asyncio
import json
import select
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from gearfast import (
    AdminClient,
    AsyncAdminClient,
    Client,
    Job,
    JobFailed,
    PolicyInfo,
    Priority,
    QueueFull,
    Server,
    Worker,
)
from gearfast.cli import FAILED, OK, USAGE, main
from gearfast.errors import ServerError, UsageError
from gearfast.protocol import Command
from gearfast.server.config import ServerConfig

from .gearmand import working
from .server_tools import DRIVERS, LIMIT, SLOW, ServerProcess, eventually

Start = Callable[..., ServerProcess]


@pytest.fixture(params=DRIVERS)
def start(request: pytest.FixtureRequest, tmp_path: Path) -> Start:
    """Starts a server process with the driver of this run and a configuration file of this text."""

    def new(text: str) -> ServerProcess:
        path = tmp_path / "gearfast.toml"
        path.write_text(text, encoding="utf-8")
        return ServerProcess("--driver", request.param, "--config", str(path), "--port", "0")

    return new


def write(folder: Path, text: str) -> None:
    (folder / "gearfast.toml").write_text(text, encoding="utf-8")


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux: whether a process stands still")
def test_what_came_in_time_counts_though_the_server_stood_still(start: Start) -> None:
    """It reads what has come before it looks at its time-outs: a machine that slept loses no job that was done."""
    limit = 2.0 * SLOW
    text = f"[functions.f]\ntimeout = {limit}\ntries = 1\n"
    with start(text) as server, server.connect() as client, server.connect() as worker:
        worker.can_do(b"f")
        job = client.submit(b"f", b"load")
        assert worker.grab() == (job, b"load")
        server.signal("SIGSTOP")
        worker.complete(job, b"done")
        assert select.select([client.sock], [], [], 1.2 * limit)[0] == []
        server.signal("SIGCONT")
        assert client.result(job) == b"done"


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
class TestReload:
    def test_connections_stay_and_the_new_policy_holds(self, start: Start, tmp_path: Path) -> None:
        with (
            start("[functions.f]\nconcurrency = 1\n") as server,
            server.connect() as client,
            server.connect() as worker,
            server.connect() as other,
        ):
            for wire in (worker, other):
                wire.can_do(b"f")
            first, second = client.submit(b"f", b"1"), client.submit(b"f", b"2")
            assert worker.grab() == (first, b"1")
            other.send(Command.GRAB_JOB)
            other.packet(Command.NO_JOB)
            other.send(Command.PRE_SLEEP)
            other.echo()
            write(tmp_path, "backlog = 7\n[functions.f]\nconcurrency = 2\n")
            server.signal("SIGHUP")
            server.wait_line("INFO Policies of functions: 1 patterns")
            server.wait_line("WARNING Only a restart brings into force: backlog$")
            other.packet(Command.NOOP)
            assert other.grab() == (second, b"2")
            other.complete(second, b"r2")
            assert client.result(second) == b"r2"
            worker.complete(first, b"r1")
            assert client.result(first) == b"r1"

    def test_a_bad_file_leaves_everything_as_it_is(self, start: Start, tmp_path: Path) -> None:
        with start("[functions.f]\ntries = 2\n") as server, server.connect() as admin:
            write(tmp_path, "[functions.f]\ntrise = 3\n")
            server.signal("SIGHUP")
            server.wait_line(r"ERROR Configuration not reloaded: .*functions: f: .*did you mean tries\?")
            assert admin.lines("policy") == [b"f\ttries=2"]

    def test_the_file_takes_the_place_of_what_was_set(self, start: Start, tmp_path: Path) -> None:
        with start("[functions.f]\ntries = 2\n") as server, server.connect() as admin:
            assert admin.line("policy set g tries=3") == b"OK"
            assert admin.lines("policy") == [b"f\ttries=2", b"g\ttries=3"]
            server.signal("SIGHUP")
            server.wait_line("Configuration reloaded")
            assert admin.lines("policy") == [b"f\ttries=2"]
            write(tmp_path, "")
            server.signal("SIGHUP")
            server.wait_line("Policies of functions: 0 patterns")
            assert admin.lines("policy") == []


class TestTime:
    """The clocks of a real server bring about what is due, though nobody sends anything."""

    def test_a_time_out_below_a_second_and_a_second_try(self, start: Start) -> None:
        with (
            start("[functions.f]\ntimeout = 0.05\nbackoff = 0.05\n") as server,
            server.connect() as client,
            server.connect() as worker,
        ):
            worker.can_do(b"f")
            job = client.submit(b"f", b"x")
            assert worker.grab() == (job, b"x")
            assert worker.grab() == (job, b"x"), "woken when the time-out and the wait are over"
            worker.complete(job, b"r")
            assert client.result(job) == b"r"

    def test_a_rate(self, start: Start) -> None:
        with (
            start('[functions.f]\nrate = "20/s"\nburst = 1\n') as server,
            server.connect() as client,
            server.connect() as worker,
        ):
            worker.can_do(b"f")
            jobs = [client.submit(b"f", b"x") for _ in range(5)]
            began = time.monotonic()
            for job in jobs:
                assert worker.grab() == (job, b"x")
                worker.complete(job)
            assert time.monotonic() - began >= 4 * 0.05 - 0.001

    def test_a_job_expires(self, start: Start) -> None:
        with start("[functions.f]\nexpire = 0.05\n") as server, server.connect() as client:
            job = client.submit(b"f", b"x")
            assert client.packet(Command.WORK_FAIL).args == (job,)
            server.wait_line("Dropped job that was in its queue for too long: " + job.decode())


class TestClients:
    def test_the_blocking_one(self) -> None:
        with Server() as server, AdminClient(server.url) as admin:
            assert admin.policies() == []
            admin.set_policy("resize*", timeout=30, jitter=False, rate="10/s", max_queue={"high": 1, "low": 2})
            admin.set_policy("resize", tries=3, rate=None)
            assert admin.policies() == [
                PolicyInfo(
                    "resize*",
                    {"timeout": "30", "jitter": "false", "max_queue": "high:1,normal:0,low:2", "rate": "10/s"},
                ),
                PolicyInfo("resize", {"tries": "3"}),
            ]
            assert admin.policy("resize")["tries"] == "3" and admin.policy("resize")["timeout"] == "30"
            assert admin.policy("other") == {}
            admin.unset_policy("resize*")
            assert admin.policies() == [PolicyInfo("resize", {"tries": "3"})]
            with pytest.raises(ServerError, match="did you mean timeout"):
                admin.set_policy("x", timout=3)
            with pytest.raises(ServerError, match="has no policy"):
                admin.unset_policy("x")
            for wrong in (lambda: admin.set_policy("x"), lambda: admin.set_policy("a b", tries=1)):
                with pytest.raises(UsageError):
                    wrong()

    def test_the_asyncio_one(self) -> None:
        async def run(url: str) -> None:
            async with AsyncAdminClient(url) as admin:
                await admin.set_policy("f", concurrency=2)
                assert await admin.policies() == [PolicyInfo("f", {"concurrency": "2"})]
                assert await admin.policy("f") == {"concurrency": "2"}
                await admin.unset_policy("f")
                assert await admin.policies() == []

        with Server() as server:
            asyncio.run(asyncio.wait_for(run(server.url), LIMIT))

    def test_who_may_only_look(self) -> None:
        with Server(admin_writes="none", functions={"f": {"tries": 2}}) as server, AdminClient(server.url) as admin:
            assert admin.policy("f") == {"tries": "2"}
            with pytest.raises(ServerError, match="may not change anything"):
                admin.set_policy("f", tries=3)


class TestCommandLine:
    def run(self, server: Server, *words: str) -> int:
        return main(["admin", "--server", server.url, *words])

    def test_lines_and_json(self, capsys: pytest.CaptureFixture[str]) -> None:
        with Server() as server:
            assert self.run(server, "policy") == OK
            assert capsys.readouterr().out == ""
            assert self.run(server, "policy", "set", "resize*", "timeout=30", "rate=100/s") == OK
            assert capsys.readouterr().out == "resize*\ttimeout=30 rate=100/s\n"
            assert self.run(server, "policy", "get", "resize-a") == OK
            assert capsys.readouterr().out == "resize-a\ttimeout=30 rate=100/s\n"
            assert self.run(server, "policy", "set", "mail", "tries=3") == OK
            capsys.readouterr()
            assert self.run(server, "--json", "policy") == OK
            assert json.loads(capsys.readouterr().out) == [
                {"pattern": "resize*", "settings": {"timeout": "30", "rate": "100/s"}},
                {"pattern": "mail", "settings": {"tries": "3"}},
            ]
            assert self.run(server, "policy", "set", "resize*", "rate=") == OK
            assert capsys.readouterr().out == "resize*\ttimeout=30\n"
            assert self.run(server, "policy", "unset", "resize*") == OK
            assert capsys.readouterr().out == "mail\ttries=3\n"
            assert self.run(server, "policy") == OK
            assert capsys.readouterr().out == "mail\ttries=3\n"

    def test_a_table_on_a_terminal(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("NO_COLOR", "1")
        with Server(functions={"f": {"tries": 2, "timeout": 1}}) as server:
            monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
            assert self.run(server, "policy") == OK
        head, line = capsys.readouterr().out.splitlines()
        assert (head.split(), line.split()) == (["PATTERN", "SETTINGS"], ["f", "timeout=1", "tries=2"])

    @pytest.mark.parametrize(
        ("words", "status", "text"),
        [
            (("set", "f", "timout=3"), FAILED, "did you mean timeout"),
            (("set", "f", "pattern=3"), FAILED, "unknown key pattern"),
            (("set", "f", "self=3"), FAILED, "unknown key self"),
            (("unset", "f"), FAILED, "f has no policy"),
            (("set", "f"), USAGE, "set PATTERN KEY=VALUE"),
            (("set", "f", "timeout"), USAGE, "is not KEY=VALUE"),
            (("get",), USAGE, "get FUNCTION"),
            (("list", "f"), USAGE, "get FUNCTION"),
            (("show", "f"), USAGE, "show"),
        ],
    )
    def test_errors(self, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], status: int, text: str) -> None:
        with Server() as server:
            assert self.run(server, "policy", *words) == status
            assert text in capsys.readouterr().err


class TestTurns:
    """Weights and dispatch, with real workers."""

    @staticmethod
    def worker(done: list[bytes], *servers: Server, name: bytes = b"") -> Worker:
        """Puts its name into `done` for each job, or else the job's workload."""
        worker = Worker([server.url for server in servers])

        @worker.function("f")
        def work(job: Job) -> bytes:
            done.append(name or job.workload)
            return b""

        return worker

    def test_low_jobs_are_done_at_their_share(self) -> None:
        """While there are always high jobs waiting, too."""
        done: list[bytes] = []
        with Server(functions={"f": {"weights": [8, 4, 1]}}) as server, Client(server.url) as client:
            for _ in range(200):
                client.submit_background("f", b"high", priority=Priority.HIGH)
            jobs = [client.submit("f", b"low", priority=Priority.LOW) for _ in range(20)]
            eventually(lambda: len(server.jobs()) == 220)
            with working(self.worker(done, server)):
                for job in jobs:
                    job.result(LIMIT)
                eventually(lambda: not server.jobs())
            assert b"low" in done[:9]
            assert Counter(done[:180]) == {b"high": 160, b"low": 20}

    @pytest.mark.parametrize("sleeping", [True, False])
    def test_waiting_workers_get_equal_shares(self, sleeping: bool) -> None:
        """A worker of two servers sleeps where one of a single server leaves its grab with it."""
        done: list[bytes] = []
        names = (b"a", b"b", b"c")
        with Server(functions={"f": {"dispatch": "round-robin"}}) as server, Server() as other:
            servers = [server, other] if sleeping else [server]
            state = "asleep" if sleeping else "held"

            def all_wait() -> bool:
                peers = server._live().call(lambda service: service.dispatcher.peers())
                return sum(bool(peer[state]) for peer in peers) == len(names)

            workers = [self.worker(done, *servers, name=name) for name in names]
            with working(*workers), Client(server.url) as client:
                for _ in range(30):
                    eventually(all_wait)
                    client.run("f", b"", timeout=LIMIT)
            assert Counter(done) == {b"a": 10, b"b": 10, b"c": 10}


class TestEmbedded:
    def test_a_worker_that_fails_twice(self) -> None:
        tries = []

        def flaky(job: object) -> bytes:
            tries.append(job)
            if len(tries) < 3:
                raise ValueError("not yet")
            return b"done"

        policies = {"flaky": {"retry_on_fail": True, "tries": 3, "backoff": 0.01}}
        with Server(functions=policies) as server:
            worker = Worker(server.url)
            worker.register("flaky", flaky)
            with working(worker), Client(server.url) as client:
                assert client.run("flaky", b"", timeout=LIMIT) == b"done"
        assert len(tries) == 3

    def test_a_full_queue(self) -> None:
        with Server(functions={"f": {"max_queue": 1}}) as server, Client(server.url) as client:
            client.submit_background("f")
            with pytest.raises(QueueFull):
                client.submit_background("f")

    def test_the_oldest_makes_room(self) -> None:
        config = ServerConfig.from_values({"functions": {"f": {"max_queue": 1, "full": "drop-oldest"}}})
        with Server(config=config, job_retries=2) as server, Client(server.url) as client:
            first = client.submit("f", b"1")
            eventually(lambda: server.jobs())
            second = client.submit("f", b"2")
            with pytest.raises(JobFailed):
                first.result(LIMIT)
            assert [job.workload for job in server.jobs()] == [b"2"]
            second.cancel()

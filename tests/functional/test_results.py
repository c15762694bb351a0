# SPDX-License-Identifier: BSD-3-Clause
"""Results of background jobs by a real server: fetched by both clients, after its death, and by the command line."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from gearfast import (
    AdminClient,
    App,
    AsyncAdminClient,
    AsyncClient,
    Client,
    Fail,
    Handle,
    Job,
    JobException,
    JobFailed,
    JobNotFound,
    JobTimeout,
    KeptResult,
    ResultTooLarge,
    Server,
    Timeout,
    UnknownOption,
    UsageError,
    Worker,
)
from gearfast.cli import FAILED, OK, USAGE, main
from gearfast.errors import ConnectError
from gearfast.protocol import Command

from .command_line import gearfast
from .gearmand import working
from .server_tools import DRIVERS, LIMIT, ServerProcess, Wire, eventually
from .servers import START, clean_environment

KEEP = {"f": {"keep_results": 10, "keep_results_size": 1000}}
CLOSED = "127.0.0.1:1"


def clients_of(wire: Wire, unique: bytes) -> int:
    """How many wait for the job with this unique."""
    wire.send(Command.GET_STATUS_UNIQUE, unique)
    return int(wire.packet(Command.STATUS_RES_UNIQUE).args[5])


class Calls:
    """Either client with the same calls."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def result(self, servers: Any, *args: Any, **kwargs: Any) -> bytes:
        """`Client.result`, or `AsyncClient.result`."""
        if self.kind == "sync":
            with Client(servers, timeout=LIMIT) as client:
                return client.result(*args, **kwargs)

        async def ask() -> bytes:
            async with AsyncClient(servers, timeout=LIMIT) as client:
                return await client.result(*args, **kwargs)

        return asyncio.run(asyncio.wait_for(ask(), LIMIT))


@pytest.fixture(params=["sync", "aio"])
def calls(request: pytest.FixtureRequest) -> Calls:
    return Calls(request.param)


def act(job: Job) -> bytes:
    """What the workload says."""
    word, _, rest = job.workload.partition(b" ")
    if word not in (b"quiet", b"fail"):
        job.send_status(1, 2)
    if word == b"fail":
        raise Fail
    if word == b"raise":
        raise ValueError(rest.decode())
    return rest * 1000 if word == b"much" else rest


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """With a worker of f, which keeps results, and of g, which does not."""
    with Server(functions=KEEP) as server:
        worker = Worker(server.url)
        worker.register("f", act)
        worker.register("g", act)
        with working(worker):
            yield server


def submit(server: Server, workload: bytes, function: str = "f", unique: str | None = None) -> Handle:
    """A background job that has ended."""
    with Client(server.url) as client:
        handle = client.submit_background(function, workload, unique=unique)
        eventually(lambda: not client.status(handle).known)
    return handle


class TestOneServer:
    def test_by_handle_and_by_unique(self, server: Server, calls: Calls) -> None:
        handle = submit(server, b"say hello", unique="by handle")
        for job, function in ((handle, None), (str(handle), None), ("by handle", None), (b"by handle", "f")):
            assert calls.result(server.url, job, function=function) == b"hello"
        with pytest.raises(JobNotFound):
            calls.result(server.url, "by handle", function="g")

    def test_failures(self, server: Server, calls: Calls) -> None:
        failed, thrown, large = (submit(server, workload) for workload in (b"fail", b"raise no luck", b"much 12"))
        with pytest.raises(JobFailed, match=f"job {failed} .*failed") as plain:
            calls.result(server.url, failed)
        assert (type(plain.value), plain.value.handle, plain.value.server) == (JobFailed, failed, failed.server)
        with pytest.raises(JobException, match="no luck") as error:
            calls.result(server.url, thrown)
        assert error.value.remote_type == "ValueError"
        with pytest.raises(ResultTooLarge, match="2000 bytes") as much:
            calls.result(server.url, large)
        assert (much.value.size, much.value.handle) == (2000, large)

    def test_nothing_is_known(self, server: Server, calls: Calls) -> None:
        gone = submit(server, b"say hello", "g")
        for job in (gone, "nobody's", Handle("H:nothing:1", "elsewhere:4730")):
            with pytest.raises(JobNotFound, match="has no result of it") as error:
                calls.result(server.url, job)
            assert error.value.code == "JOB_NOT_FOUND"

    def test_it_waits(self, calls: Calls) -> None:
        with Server() as server, Client(server.url) as client:
            handle = client.submit_background("h", b"load", unique="u")
            got: list[bytes] = []
            askers = [
                threading.Thread(target=lambda job=job: got.append(calls.result(server.url, job)))  # type: ignore[misc]
                for job in (handle, "u")
            ]
            for asker in askers:
                asker.start()
            eventually(lambda: client.status(unique="u").clients == 2)
            worker = Worker(server.url)
            worker.register("h", lambda job: b"done")
            with working(worker):
                for asker in askers:
                    asker.join(LIMIT)
            assert got == [b"done", b"done"]

    def test_it_waits_no_longer_than_it_was_told(self, calls: Calls) -> None:
        with Server() as server, Client(server.url) as client:
            handle = client.submit_background("h")
            with pytest.raises(JobTimeout, match=f"job {handle}.*no result in time"):
                calls.result(server.url, handle, timeout=0.05)
            eventually(lambda: server.metrics()["server"]["waiting_requests"] == 0)
            assert client.status(handle).known

    @pytest.mark.parametrize(
        ("job", "function"), [("", None), (b"", None), (3, None), ("a\0b", None), ("u", ""), ("u", "f\0"), ("", "f")]
    )
    def test_bad_arguments(self, calls: Calls, job: Any, function: str | None) -> None:
        with pytest.raises(UsageError):
            calls.result(CLOSED, job, function=function)
        with pytest.raises(UsageError):
            calls.result(CLOSED, "u", timeout=0)

    def test_no_server_is_there(self, calls: Calls) -> None:
        with pytest.raises(ConnectError):
            calls.result(CLOSED, "u")

    def test_tasks_decode(self) -> None:
        app = App()

        @app.task("f.sum", unique=lambda *numbers: "-".join(map(str, numbers)))
        def sum_up(*numbers: int) -> int:
            return sum(numbers)

        with Server(functions={"f.*": {"keep_results": 1}}) as server, Client(server.url) as client:
            worker = Worker(server.url)
            worker.add(app)
            with working(worker):
                handle = sum_up.submit_background(client, 1, 2, 3)
                assert sum_up.result(client, handle) == 6
                assert sum_up.result(client, unique="1-2-3", timeout=LIMIT) == 6

                async def ask() -> int:
                    async with AsyncClient(server.url) as asking:
                        return await sum_up.result(asking, handle)

                assert asyncio.run(ask()) == 6
            with pytest.raises(UsageError, match="one of them"):
                sum_up.result(client)


class TestSeveralServers:
    def test_each_is_asked_until_one_knows_it(self, server: Server, calls: Calls) -> None:
        handle = submit(server, b"say here", unique="several")
        with Server() as other:
            servers = [other.url, server.url]
            for job, function in ((handle, None), (str(handle), None), ("several", None), ("several", "f")):
                assert calls.result(servers, job, function=function) == b"here"
            with pytest.raises(JobNotFound):
                calls.result(servers, "nothing")

    def test_one_that_is_away_may_have_it(self, server: Server, calls: Calls) -> None:
        handle = submit(server, b"say here", unique="away")
        assert calls.result([CLOSED, server.url], "away") == b"here"
        assert calls.result([CLOSED, server.url], handle) == b"here"
        with pytest.raises(ConnectError):
            calls.result([CLOSED, server.url], "nothing")

    def test_gearmand_is_not_asked(self, server: Server, calls: Calls, require: Any) -> None:
        require.program("gearmand", "gearman-job-server")
        handle = submit(server, b"say here", unique="beside gearmand")
        gearmand = START["gearmand"]()
        try:
            for job in ("nothing", Handle("H:x:1", gearmand.address)):
                with pytest.raises(UnknownOption, match="the server keeps no results") as error:
                    calls.result(gearmand.address, job)
                assert error.value.server == gearmand.address
            assert gearmand.function("gearfast.result").total == 0
            both = [gearmand.address, server.url]
            assert calls.result(both, "beside gearmand") == calls.result(both, handle) == b"here"
            with pytest.raises(JobNotFound):
                calls.result(both, "nothing")
        finally:
            gearmand.stop()


class TestRestart:
    @pytest.fixture(params=DRIVERS)
    def driver(self, request: pytest.FixtureRequest) -> str:
        return str(request.param)

    def start(self, folder: Path, driver: str, port: int = 0) -> ServerProcess:
        config = folder / "gearfast.toml"
        config.write_text("[functions.f]\nkeep_results = 10\n", encoding="utf-8")
        store = str(folder / "jobs.db")
        return ServerProcess("--driver", driver, "--config", str(config), "--port", str(port), "--store", store)

    @pytest.mark.parametrize("size", [5, 300_000])
    def test_killed_between_end_and_question(self, tmp_path: Path, driver: str, size: int) -> None:
        result = b"r" * size
        with self.start(tmp_path, driver) as server:
            with server.connect() as client, server.connect() as worker:
                worker.can_do(b"f")
                job = client.submit(b"f", b"load", b"u", background=True)
                failed = client.submit(b"f", b"other", background=True)
                assert worker.grab() == (job, b"load")
                worker.send(Command.WORK_STATUS, job, b"9", b"10")
                worker.complete(job, result)
                assert worker.grab() == (failed, b"other")
                worker.send(Command.WORK_EXCEPTION, failed, b"no")
                worker.echo()  # its answer waits for the commit
                lines = client.lines("results")
                assert len(lines) == 2
            server.signal("SIGKILL")
        with self.start(tmp_path, driver) as server:
            with server.connect() as client:
                assert client.lines("results") == lines
                for question in (job, b"u"):
                    assert client.submit(b"gearfast.result", question) == job
                    assert client.packet(Command.WORK_STATUS).args[1:] == (b"9", b"10")
                    assert client.packet(Command.WORK_COMPLETE).args == (job, result)
                client.send(Command.OPTION_REQ, b"exceptions")
                client.packet(Command.OPTION_RES)
                client.submit(b"gearfast.result", failed)
                assert client.packet(Command.WORK_EXCEPTION).args == (failed, b"no")
                assert client.line("results drop *") == b"OK 2"
                client.submit(b"g", background=True)  # acknowledged with all that was before
            server.signal("SIGKILL")
        with self.start(tmp_path, driver) as server, server.connect() as client:
            assert client.lines("results") == []
            assert len(client.lines("show jobs")) == 1

    def test_who_waits_is_told_over_the_servers_death(self, tmp_path: Path, driver: str) -> None:
        got: list[bytes] = []
        with self.start(tmp_path, driver) as server, server.connect() as wire:
            port = server.address[1]
            job = wire.submit(b"f", b"load", b"u", background=True)
            with Client(f"127.0.0.1:{port}", timeout=Timeout(reconnect=LIMIT)) as client:
                asker = threading.Thread(target=lambda: got.append(client.result(job.decode())))
                asker.start()
                eventually(lambda: clients_of(wire, b"u") == 1)
                server.signal("SIGKILL")
                server.wait()
                with self.start(tmp_path, driver, port) as again, again.connect() as worker:
                    worker.can_do(b"f")
                    assert eventually(worker.grab) == (job, b"load")
                    worker.complete(job, b"after all")
                    worker.echo()
                    asker.join(LIMIT)
        assert got == [b"after all"]


class TestTools:
    def run(self, server: Server, tool: str, *words: str) -> subprocess.CompletedProcess[bytes]:
        command = [tool, "-h", server.host, "-p", str(server.port), *words]
        return subprocess.run(
            command, capture_output=True, timeout=LIMIT, env=clean_environment(), stdin=subprocess.DEVNULL, check=False
        )

    def test_the_command_gearman(self, server: Server, require: Any) -> None:
        tool = require.program("gearman", "gearman-tools")
        done, failed = submit(server, b"quiet hello", unique="tool"), submit(server, b"fail")
        for question in (str(done), "tool"):
            ran = self.run(server, tool, "-f", "gearfast.result", question)
            assert (ran.returncode, ran.stdout) == (0, b"hello")
        ran = self.run(server, tool, "-f", "gearfast.result", str(failed))
        assert (ran.returncode != 0, ran.stdout) == (True, b"")
        ran = self.run(server, tool, "-f", "gearfast.result", "nothing")
        assert b"UNKNOWN_JOB" in ran.stdout + ran.stderr

    def test_the_command_gearfast_submit(self, server: Server) -> None:
        done = submit(server, b"quiet hello")
        ran = gearfast("submit", "-h", server.host, "-p", str(server.port), "-f", "gearfast.result", str(done))
        assert (ran.returncode, ran.stdout) == (0, b"hello")


class TestAdministration:
    @pytest.fixture
    def kept(self) -> Iterator[Server]:
        """A server with two results of f."""
        with Server(functions=KEEP) as server:
            worker = Worker(server.url)
            worker.register("f", act)
            with working(worker):
                submit(server, b"say he%llo\xff", unique="u 1")
                submit(server, b"raise never")
            yield server

    def test_the_blocking_client(self, kept: Server) -> None:
        with AdminClient(kept.url) as admin:
            first, second = admin.results()
            assert isinstance(first, KeptResult)
            assert first[1:5] == ("f", b"u 1", "done", 7) and first.time > 1.7e9
            assert (second.outcome, second.data) == ("failed", None)
            assert admin.results("f") == [first, second]
            assert admin.results("g") == []
            whole = admin.result(first.handle)
            assert whole[:6] == first[:6]
            assert whole[6:] == (1, 2, b"he%llo\xff")
            assert b"never" in cast("bytes", admin.result(second.handle).data)
            assert admin.drop_results(first.handle) == 1
            with pytest.raises(JobNotFound):
                admin.result(first.handle)
            with pytest.raises(JobNotFound):
                admin.drop_results("nothing")
            assert admin.drop_results("*") == 1

    def test_the_asyncio_client(self, kept: Server) -> None:
        async def run() -> None:
            async with AsyncAdminClient(kept.url) as admin:
                first, _ = await admin.results("f")
                assert (await admin.result(first.handle)).data == b"he%llo\xff"
                assert await admin.drop_results("f") == 2

        asyncio.run(asyncio.wait_for(run(), LIMIT))

    def main(self, server: Server, *words: str) -> int:
        return main(["admin", "--server", server.url, *words])

    def test_lines_and_json(self, kept: Server, capsys: pytest.CaptureFixture[str]) -> None:
        assert self.main(kept, "results") == OK
        handle, *words = capsys.readouterr().out.splitlines()[0].split("\t")
        assert words[:4] == ["f", "u%201", "done", "7"]
        assert self.main(kept, "--json", "results", "list", "f") == OK
        entry, _ = json.loads(capsys.readouterr().out)
        assert (entry["handle"], entry["unique"], entry["size"]) == (handle, "u 1", 7)
        assert self.main(kept, "results", "show", handle) == OK
        shown = dict(line.split("\t") for line in capsys.readouterr().out.splitlines())
        assert (shown["result"], shown["denominator"]) == ("he%25llo%FF", "2")
        assert self.main(kept, "--json", "results", "show", handle) == OK
        whole = json.loads(capsys.readouterr().out)["results"]
        assert (whole["data_base64"], whole["outcome"]) == ("aGUlbGxv/w==", "done")
        assert self.main(kept, "--json", "results", "drop", "*") == OK
        assert json.loads(capsys.readouterr().out) == {"results": 2}

    def test_a_table_on_a_terminal(
        self, kept: Server, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("NO_COLOR", "1")
        monkeypatch.setenv("COLUMNS", "200")
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
        assert self.main(kept, "results") == OK
        head, line, _ = capsys.readouterr().out.splitlines()
        assert head.split() == ["HANDLE", "FUNCTION", "UNIQUE", "OUTCOME", "SIZE", "TIME"]
        assert line.split()[1:6] == ["f", "u", "1", "done", "7"] and line.endswith(" UTC")

    @pytest.mark.parametrize(
        ("words", "status", "text"),
        [
            (("show",), USAGE, "show HANDLE"),
            (("show", "H:none:1"), FAILED, "does not know the job; `gearfast admin results` lists"),
            (("drop", "nothing"), FAILED, "does not know the job; `gearfast admin results` lists"),
            (("requeue", "f"), USAGE, "requeue"),
        ],
    )
    def test_errors(self, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], status: int, text: str) -> None:
        with Server() as server:
            assert self.main(server, "results", *words) == status
            assert text in capsys.readouterr().err

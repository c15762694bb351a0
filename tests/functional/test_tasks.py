# SPDX-License-Identifier: BSD-3-Clause
"""Tasks over real servers: processes of `gearfast worker module:app`, clients of both kinds, and others' programs."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gearfast import (
    App,
    AsyncClient,
    AsyncWorker,
    Client,
    Data,
    Handle,
    JobException,
    JobFailed,
    Server,
    Status,
    Worker,
    as_completed,
)
from gearfast.cli import OK, USAGE

from . import gearmand
from . import task_program as program
from .command_line import command, gearfast
from .either_worker import at_work
from .servers import PATIENCE, ServerProcess, clean_environment

server_kind = gearmand.server_kind
start_server = gearmand.start_server
job_server = gearmand.job_server

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")

HERE = Path(__file__).parent


@contextlib.contextmanager
def working(server: ServerProcess | Server, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """`gearfast worker` with these words; it is told to leave at the end, and has to, in order."""
    words = (*words, "--server", server.address, "--app-dir", str(HERE), "--log-level", "error")
    with subprocess.Popen(command("worker", *words), env=clean_environment()) as process:
        try:
            yield process
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE) == OK
        finally:
            process.kill()


@pytest.fixture
def client(job_server: ServerProcess) -> Iterator[Client]:
    with Client(job_server.address, timeout=PATIENCE) as client:
        yield client


@pytest.fixture
def server() -> Iterator[Server]:
    """One that is enough for what has nothing to do with the server."""
    with Server() as server:
        yield server


@pytest.fixture
def own_client(server: Server) -> Iterator[Client]:
    with Client(server.url, timeout=PATIENCE) as client:
        yield client


def test_the_calls_of_a_client(job_server: ServerProcess, client: Client) -> None:
    with working(job_server, "task_program:app", "-p", "2"):
        assert program.resize.run(client, "a.png", width=64) == "a.png@64"
        future = program.count.submit(client, "one two")
        assert future.result(PATIENCE) == 2
        assert list(future.events(PATIENCE)) == [Data(b"one"), Status(1, 2), Data(b"two"), Status(2, 2)]
        handle = program.resize.options(unique="p/17").submit_background(client, "b.png")
        assert isinstance(handle, Handle) and handle
        names = [f"{number}.png" for number in range(500)]
        assert list(program.resize.map(client, names, 5)) == [f"{name}@5" for name in names]
        futures = [program.resize.submit(client, name) for name in names[:50]]
        assert {done.result() for done in as_completed(futures, timeout=PATIENCE)} == {f"{n}@320" for n in names[:50]}
        assert program.copy.run(client, b"\0\xff" * 100_000) == b"\0\xff" * 100_000


def test_what_a_worker_says_of_failures(job_server: ServerProcess, client: Client) -> None:
    """None of it ends the worker, which is one process, without a second one to take its place."""
    with working(job_server, "task_program:app"):
        first = program.pid.run(client)
        with pytest.raises(JobException) as caught:
            program.resize.run(client, "a", width=-1)
        assert (caught.value.remote_type, caught.value.data) == ("ValueError", b"ValueError: width is -1")
        with pytest.raises(JobFailed):
            program.refuse.run(client)
        for workload, remote in ((b"\xff{", "SerializeError"), (b"[]", "SerializeError"), (b"{}", "TypeError")):
            with pytest.raises(JobException) as caught:
                client.run("tasks.resize", workload)
            assert caught.value.remote_type == remote
        assert program.pid.run(client) == first


def test_child_processes(server: Server, own_client: Client) -> None:
    with working(server, "task_program:app"):
        worker = program.pid.run(own_client)
        found = program.child.run(own_client, "a", "b")
        assert found["parent"] == worker != found["pid"]
        assert found["names"] == ["a", "b"] and found["job"]
        assert found["hooks"] == ["tasks.child"]  # they are called where the task is


def test_coroutine_functions(job_server: ServerProcess) -> None:
    async def main() -> None:
        async with AsyncClient(job_server.address, timeout=PATIENCE) as client:
            futures = [program.nap.submit(client, 0.2) for _ in range(50)]
            begun = asyncio.get_running_loop().time()
            assert set(await asyncio.gather(*futures)) == {"async.nap"}
            # One after the other would take ten seconds.
            assert asyncio.get_running_loop().time() - begun < PATIENCE / 4
            assert await program.blocking.run(client, "stressed") == "desserts"
            assert [each async for each in program.blocking.map(client, ["ab", "cd"])] == ["ba", "dc"]
            assert isinstance(await program.nap.submit_background(client, 0), Handle)

    with working(job_server, "task_program:async_app", "-t", "50"):
        asyncio.run(main())


def test_msgpack(server: Server, own_client: Client, require: Any) -> None:
    require.module("msgpack", "msgpack")
    from .packed_task_program import swap

    with working(server, "packed_task_program:app"):
        assert swap.run(own_client, [b"\0", b"\xff"]) == [b"\xff", b"\0"]


def test_a_function_that_makes_the_app_and_a_choice_of_its_tasks(server: Server, own_client: Client) -> None:
    with working(server, "task_program:make_app", "--functions", "tasks.pid"):
        assert program.pid.run(own_client) > 0
        handle = program.resize.submit_background(own_client, "a")
        assert own_client.status(handle).known and not own_client.status(handle).running


def test_limits_of_processes(server: Server, own_client: Client) -> None:
    with working(server, "task_program:app", "--max-jobs", "2"):
        found = [program.pid.run(own_client) for _ in range(4)]
    assert found[0] == found[1] != found[2] == found[3]


def test_until_nothing_is_queued(server: Server, own_client: Client) -> None:
    handles = [program.resize.submit_background(own_client, name) for name in "abc"]
    words = ["worker", "task_program:app", "--burst", "--server", server.address, "--app-dir", str(HERE)]
    done = gearfast(*words)
    assert done.returncode == OK, done.stderr
    assert not any(own_client.status(handle).known for handle in handles)


def test_another_client(server: Server, own_client: Client) -> None:
    """One that knows nothing of tasks, but what the documentation says of the wire."""
    with working(server, "task_program:app"):
        text = '{"args": ["a.png"], "kwargs": {"width": 64}}'
        done = gearfast("submit", "--server", server.address, "-f", "tasks.resize", text)
        assert (done.returncode, done.stdout.rstrip()) == (OK, b'"a.png@64"')


def test_another_worker(server: Server, own_client: Client) -> None:
    """A shell script that finds the one argument in the workload and writes JSON."""
    script = "sed 's/.*\\[\\(.*\\)\\].*/\\1/' | tr a-z A-Z"
    with working(server, "--function", "tasks.upper", "--command", shlex.join(["sh", "-c", script])):
        assert program.upper.run(own_client, "text") == "TEXT"
        assert list(program.upper.map(own_client, ["a", "b"])) == ["A", "B"]


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("task_program:pickled", "task 'anything': serializer 'pickle' lets whoever submits jobs run any code"),
        ("task_program:ap", "did you mean task_program:app"),
        ("task_program:HOOKS", "task_program:HOOKS is a str, not a Worker, an AsyncWorker or a function"),
    ],
)
def test_what_cannot_be_run(target: str, said: str) -> None:
    done = gearfast("worker", target, "--app-dir", str(HERE))
    assert done.returncode == USAGE
    assert said in done.stderr.decode()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_task_that_forks_has_one_end(own_client: Client, server: Server) -> None:
    app = App()
    failed: list[str] = []

    @app.task
    def fork() -> str:
        if os.fork() == 0:
            raise ValueError("the child")
        os.wait()
        return "the parent"

    @app.on_failure
    def on_failure(job: object, error: Exception) -> None:
        failed.append(str(error))
        os._exit(7)

    worker = Worker(server.address)
    worker.add(app)
    with gearmand.working(worker):
        assert fork.run(own_client) == "the parent"
    assert failed == []


def test_hooks_of_an_app_lie_inside_those_of_the_worker(server: Server, own_client: Client) -> None:
    app = App()
    seen: list[str] = []
    plain = app.task("plain")(lambda: seen.append("task"))
    worker = Worker(server.url)
    for owner, hooks in (("worker", (worker.before_job, worker.after_job)), ("app", (app.before, app.after))):
        for when, hook in zip(("before", "after"), hooks, strict=True):
            hook(lambda job, told=f"{owner} {when}": seen.append(told))
    worker.add(app)
    with gearmand.working(worker):
        plain.run(own_client)
    assert seen == ["worker before", "app before", "task", "app after", "worker after"]


def test_a_coroutine_that_overruns_its_timeout(server: Server, own_client: Client) -> None:
    """It is cancelled, which the worker knows the reason of, and only its hooks are told."""
    app = App()
    told: list[str] = []

    @app.task("endless", timeout=1)
    async def endless() -> None:
        if told:  # the server gives the job to the next one, who is the same
            return
        try:
            await asyncio.Event().wait()
        finally:
            told.append("cancelled")

    @app.on_failure
    def app_failed(job: object, error: Exception) -> None:
        told.append(f"app: {error!r}")

    worker = AsyncWorker(server.url)
    ended = threading.Event()

    @worker.on_failure
    def worker_failed(job: object, error: Exception) -> None:
        told.append(type(error).__name__)
        ended.set()

    worker.add(app)
    with at_work(worker):
        endless.submit_background(own_client)
        assert ended.wait(PATIENCE)
    assert told == ["cancelled", "TimeoutError"]

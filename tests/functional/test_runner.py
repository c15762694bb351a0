# SPDX-License-Identifier: BSD-3-Clause
"""`gearfast worker MODULE:WORKER`: processes that are watched, replaced and ended in order."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gearfast import Client, JobFuture, Server
from gearfast.cli import OK, TIMED_OUT, UNREACHABLE, USAGE

from . import gearmand
from .command_line import command, gearfast
from .server_tools import eventually
from .servers import PATIENCE, LineReader, ServerProcess, clean_environment, wait_until

server_kind = gearmand.server_kind
start_server = gearmand.start_server
job_server = gearmand.job_server

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")

PROGRAM = """
import os
import signal
import time
import gearfast

worker = gearfast.Worker("gearman://192.0.2.1")  # a place that the command line has to replace


@worker.function("pid")
def pid(job):
    return str(os.getpid())


@worker.function("hold")
def hold(job):
    \"\"\"Waits for a fifo; so the test says when the job ends.\"\"\"
    with open(job.workload.decode()) as gate:
        return gate.read()


@worker.function("die")
def die(job):
    \"\"\"Dies while the file that it is given does not exist, and creates it.\"\"\"
    path = job.workload.decode()
    if not os.path.exists(path):
        open(path, "x").close()
        os.kill(os.getpid(), signal.SIGKILL)
    return "survived"


@worker.function("leave")
def leave(job):
    raise SystemExit(0)


@worker.function("grow")
def grow(job):
    global kept
    kept = b"x" * int(job.workload)


def make():
    made = gearfast.AsyncWorker()

    @made.function("apid")
    async def apid(job):
        return str(os.getpid())

    return made
"""


def heed_hangup() -> None:
    """Before a program begins: the tests themselves may have been started by nohup."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


class Runner:
    """A supervisor in a process of its own."""

    def __init__(self, folder: Path, server: Any, *words: str, target: str = "program:worker") -> None:
        url = server.url if isinstance(server, Server) else server.address
        self.process = subprocess.Popen(
            command("worker", target, "--server", url, "--app-dir", str(folder), *words),
            stderr=subprocess.PIPE,
            env=clean_environment(),
            preexec_fn=heed_hangup,  # noqa: PLW1509  (it takes no lock)
        )
        assert self.process.stderr is not None
        self.log = LineReader(self.process.stderr)
        self.server = server

    def has_workers(self, number: int) -> None:
        """Waits until so many connections have functions."""
        eventually(lambda: len(self.workers()) == number or self.ended(), f"{number} workers")
        assert not self.ended(), self.log.tail()

    def workers(self) -> list[Any]:
        return [one for one in self.server.connections() if one.functions]

    def ended(self) -> bool:
        return self.process.poll() is not None

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def wait(self) -> int:
        return self.process.wait(PATIENCE)

    def close(self) -> None:
        if not self.ended():
            self.signal(signal.SIGTERM)
            self.wait()
        self.log.join()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("app")
    (folder / "program.py").write_text(PROGRAM)
    return folder


@pytest.fixture(scope="module")
def shared() -> Iterator[Server]:
    with Server() as server:
        yield server


@pytest.fixture
def server(shared: Server) -> Iterator[Server]:
    """One server for all tests; each leaves it without workers."""
    yield shared
    eventually(lambda: not any(one.functions for one in shared.connections()), "all workers have left")


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with Client(server.url) as client:
        yield client


@pytest.fixture
def run(folder: Path, server: Server) -> Iterator[Callable[..., Runner]]:
    made: list[Runner] = []

    def start(*words: str, **options: Any) -> Runner:
        made.append(Runner(folder, server, *words, **options))
        return made[-1]

    yield start
    for runner in made:
        runner.close()


class Held:
    """A job in the function `hold`, which ends when the test lets it."""

    def __init__(self, client: Client, folder: Path, name: str = "fifo") -> None:
        self.path = folder / name
        os.mkfifo(self.path)
        self.future: JobFuture = client.submit("hold", os.fsencode(self.path))

    def release(self, text: str = "held") -> None:
        self.path.write_text(text)  # opens when the job reads: it is in hand then

    def begin(self) -> Any:
        """The gate, once the job has opened it."""
        return open(self.path, "w")


def pids(client: Client, number: int) -> set[int]:
    """Process ids of `number` processes; each job goes to whoever asks first, so it may take many."""
    found: set[int] = set()

    def look() -> bool:
        found.update(int(pid) for pid in client.map("pid", [b""] * 8))
        return len(found) >= number

    eventually(look, f"{number} processes work")
    return found


def test_killed_processes_are_replaced_and_no_job_is_lost(
    run: Callable[..., Runner], client: Client, tmp_path: Path
) -> None:
    runner = run("-p", "2")
    runner.has_workers(2)
    before = pids(client, 2)
    futures = [client.submit("pid") for _ in range(20)]
    dying = [client.submit("die", os.fsencode(tmp_path / f"died{n}")) for n in range(2)]
    more = [client.submit("pid") for _ in range(20)]
    assert [future.result(PATIENCE) for future in dying] == [b"survived"] * 2
    assert all(int(future.result(PATIENCE)) for future in futures + more)
    runner.has_workers(2)
    assert not before & pids(client, 2)
    runner.signal(signal.SIGTERM)
    assert runner.wait() == OK
    assert runner.log.tail().count("ended by SIGKILL; another one starts in") == 2


def test_the_same_on_each_job_server(folder: Path, job_server: ServerProcess, tmp_path: Path) -> None:
    """gearmand's, too: jobs of a killed process are done by the next one, and a job in hand is finished."""
    runner = Runner(folder, job_server, "-p", "2")
    try:
        with Client(job_server.address) as client:
            job_server.wait_for("pid", workers=2)
            dying = client.submit("die", os.fsencode(tmp_path / "died"))
            futures = [client.submit("pid") for _ in range(20)]
            assert dying.result(PATIENCE) == b"survived"
            assert all(int(future.result(PATIENCE)) for future in futures)
            job_server.wait_for("pid", workers=2)
            held = Held(client, tmp_path)
            with held.begin() as gate:
                runner.signal(signal.SIGTERM)
                job_server.wait_for("pid", workers=1)  # the idle process has left
                gate.write("finished")
            assert held.future.result(PATIENCE) == b"finished"
            assert runner.wait() == OK
    finally:
        runner.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_jobs_finish(
    run: Callable[..., Runner], client: Client, tmp_path: Path, number: signal.Signals
) -> None:
    runner = run("-p", "2")
    runner.has_workers(2)
    held = [Held(client, tmp_path, f"fifo{n}") for n in range(2)]
    with held[0].begin() as first, held[1].begin() as second:
        runner.signal(number)
        wait_until(lambda: f"{number.name}: jobs in hand are finished" in runner.log, "the signal is taken")
        first.write("1")
        second.write("2")
    assert [one.future.result(PATIENCE) for one in held] == [b"1", b"2"]
    assert runner.wait() == OK


def test_second_signal_ends_all_at_once(run: Callable[..., Runner], client: Client, tmp_path: Path) -> None:
    runner = run()
    held = Held(client, tmp_path)
    with held.begin():
        runner.signal(signal.SIGTERM)
        wait_until(lambda: "jobs in hand are finished" in runner.log, "the signal is taken")
        runner.signal(signal.SIGINT)
        assert runner.wait() == 128 + signal.SIGINT
    assert not held.future.done()  # it is queued again
    held.future.cancel()


def test_stop_timeout_cuts_jobs_off(run: Callable[..., Runner], client: Client, tmp_path: Path) -> None:
    runner = run("--stop-timeout", "0.1")
    held = Held(client, tmp_path)
    with held.begin():
        runner.signal(signal.SIGTERM)
        assert runner.wait() == TIMED_OUT
    assert "did not leave in time and is killed" in runner.log.tail()
    held.future.cancel()


def test_hangup_replaces_one_after_another(run: Callable[..., Runner], client: Client, tmp_path: Path) -> None:
    runner = run("-p", "2")
    runner.has_workers(2)
    before = pids(client, 2)
    held = Held(client, tmp_path)
    with held.begin() as gate:
        runner.signal(signal.SIGHUP)
        # One process at most is there more than usual, while the old ones leave in turn.
        eventually(lambda: pids(client, 1) - before, "a new process works")
        assert len(runner.workers()) <= 3
        gate.write("kept")
    assert held.future.result(PATIENCE) == b"kept"
    eventually(lambda: not pids(client, 2) & before, "all processes are new")
    runner.has_workers(2)
    runner.signal(signal.SIGTERM)
    assert runner.wait() == OK
    assert "ended by" not in runner.log.tail()


def test_a_process_that_was_told_to_leave_by_hand_is_replaced(run: Callable[..., Runner], client: Client) -> None:
    runner = run()
    [first] = pids(client, 1)
    os.kill(first, signal.SIGTERM)
    eventually(lambda: first not in pids(client, 1), "another process works")
    assert f"process {first} has left and is replaced" in runner.log


def test_max_jobs(run: Callable[..., Runner], client: Client) -> None:
    run("--max-jobs", "3")
    assert len({client.run("pid") for _ in range(12)}) >= 3


def test_max_jobs_of_an_asyncio_worker(run: Callable[..., Runner], client: Client) -> None:
    run("--max-jobs", "2", target="program:make")
    assert len({client.run("apid") for _ in range(9)}) >= 3


def test_max_memory(run: Callable[..., Runner], client: Client) -> None:
    runner = run("--max-memory", "100M")
    first = client.run("pid")
    client.run("grow", b"150000000")
    eventually(lambda: client.run("pid") != first, "the process is replaced")
    assert re.search(r"\d+ MiB of memory are held; the process leaves", runner.log.tail())


def test_callable_that_exits(run: Callable[..., Runner], client: Client) -> None:
    """sys.exit(0) in a job is a crash: the job goes back, and the next process exits too, each a little later."""
    runner = run()
    handle = client.submit_background("leave")
    wait_until(lambda: "ended with status 0; another one starts in 0." in runner.log, "it is started again")
    assert client.status(handle).known
    assert gearfast("admin", "--server", runner.server.url, "cancel", handle).returncode == OK
    assert client.run("pid")


def test_supervisor_that_is_killed(run: Callable[..., Runner], client: Client, tmp_path: Path) -> None:
    runner = run("-p", "2")
    runner.has_workers(2)
    held = Held(client, tmp_path)
    with held.begin() as gate:
        runner.process.kill()
        gate.write("finished")
    assert held.future.result(PATIENCE) == b"finished"
    assert eventually(lambda: not runner.workers(), "the processes leave")


def test_burst(folder: Path, server: Server, client: Client) -> None:
    for _ in range(5):
        client.submit_background("apid")
    client.submit_background("other")
    words = ("worker", "program:make", "--app-dir", str(folder), "--burst", "-t", "4", "-p", "2")
    done = gearfast(*words, environ={"GEARFAST_SERVERS": server.url})  # as the program names no server
    assert done.returncode == OK, done.stderr
    [left] = server.jobs()
    assert left.function == "other"
    assert gearfast("admin", "--server", server.url, "cancel", left.handle).returncode == OK
    done = gearfast(*words, "--server", "127.0.0.1:1")
    assert done.returncode == UNREACHABLE
    assert b"127.0.0.1:1" in done.stderr


def test_command_line_goes_over_the_program(run: Callable[..., Runner], client: Client, tmp_path: Path) -> None:
    runner = run("--threads", "2", "--id", "shop-1", "--functions", "pid,hold")
    runner.has_workers(1)
    [worker] = runner.workers()
    assert (worker.id, sorted(worker.functions)) == ("shop-1", ["hold", "pid"])
    with Held(client, tmp_path).begin() as gate:  # the other thread goes on
        assert client.run("pid")
        gate.write("")


def test_program_that_cannot_be_loaded(folder: Path, server: Server) -> None:
    (folder / "broken.py").write_text("import program\nraise RuntimeError('no database')\n")
    for target, said in [
        ("program:wroker", b"gearfast worker: module program has no 'wroker'; did you mean program:worker?\n"),
        ("progam", b"gearfast worker: there is no module progam; did you mean program?\n"),
        ("broken", b"RuntimeError: no database\ngearfast worker: broken cannot be loaded, see above\n"),
    ]:
        done = gearfast("worker", target, "--app-dir", str(folder), "-p", "2", "--server", server.url)
        assert done.returncode == USAGE
        assert said in done.stderr
        assert done.stderr.count(said) == 1
        assert b"another one starts" not in done.stderr


def test_new_code_that_cannot_be_loaded_leaves_the_old_processes(
    tmp_path: Path, server: Server, client: Client
) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    runner = Runner(tmp_path, server)
    try:
        first = client.run("pid")
        program.write_text("raise RuntimeError('half written')\n")
        runner.signal(signal.SIGHUP)
        wait_until(lambda: "the new process ended with status 2 before it began" in runner.log, "it is told")
        assert client.run("pid") == first
        program.write_text(PROGRAM)
        runner.signal(signal.SIGHUP)
        eventually(lambda: client.run("pid") != first, "the new code works")
    finally:
        runner.close()


def test_reload(tmp_path: Path, server: Server, client: Client, require: Any) -> None:
    require.module("watchfiles", "watchfiles")
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    runner = Runner(tmp_path, server, "--reload")
    try:
        first = client.run("pid")

        def changed() -> bool:  # again and again, as the watching may begin after a change
            program.write_text(PROGRAM)
            return client.run("pid") != first

        eventually(changed, "the process is replaced")
        assert "files have changed" in runner.log.tail()
    finally:
        runner.close()

# SPDX-License-Identifier: BSD-3-Clause
"""SIGTERM of a plain program that calls `Worker.run` or `AsyncWorker.run` and sets no handler."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gearfast import Client, Server

from .server_tools import LIMIT
from .servers import clean_environment, wait_until

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")

PROGRAM = """
import asyncio, os, signal, sys, time
import gearfast

url, kind, signals, begun, go = sys.argv[1:]
Worker = gearfast.AsyncWorker if kind == "AsyncWorker" else gearfast.Worker
worker = Worker(url)
before = signal.getsignal(signal.SIGTERM)

@worker.function("wait")
def wait(job):
    open(begun, "w").close()
    while not os.path.exists(go):
        time.sleep(0.01)
    return b"done"

@worker.function("fork")
def fork(job):
    ready, child_ready = os.pipe()
    child = os.fork()
    if not child:
        os.write(child_ready, b"x")
        try:
            while True:
                time.sleep(1)
        finally:
            os._exit(0)
    os.read(ready, 1)  # a signal during the fork itself is lost to Python
    os.kill(child, signal.SIGTERM)
    return str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))

if kind == "AsyncWorker":
    asyncio.run(worker.run(signals=signals == "yes"))
else:
    worker.run(signals=signals == "yes")
assert before == signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
"""


class Program:
    def __init__(self, server: Server, folder: Path, kind: str, signals: str = "yes") -> None:
        self.begun, self.go = folder / "begun", folder / "go"
        words = [server.url, kind, signals, str(self.begun), str(self.go)]
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *words], stderr=subprocess.PIPE, env=clean_environment()
        )

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.communicate()

    def end(self) -> tuple[int, bytes]:
        _, errors = self.process.communicate(timeout=LIMIT)
        return self.process.returncode, errors


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        yield server


@pytest.mark.parametrize("kind", ["Worker", "AsyncWorker"])
def test_the_job_in_hand_is_finished(server: Server, tmp_path: Path, kind: str) -> None:
    """The same signal at once again, as timeout(1) sends it, changes nothing; the old handler comes back."""
    with Program(server, tmp_path, kind) as program, Client(server.url) as client:
        future = client.submit("wait")
        wait_until(program.begun.exists, "the job has begun")
        program.process.send_signal(signal.SIGTERM)
        program.process.send_signal(signal.SIGTERM)
        program.go.touch()
        assert future.result(LIMIT) == b"done"
        assert program.end() == (0, b"")


@pytest.mark.parametrize("kind", ["Worker", "AsyncWorker"])
def test_a_second_signal_has_its_usual_effect(server: Server, tmp_path: Path, kind: str) -> None:
    with Program(server, tmp_path, kind) as program, Client(server.url) as client:
        client.submit_background("wait")
        wait_until(program.begun.exists, "the job has begun")

        def ended() -> bool:
            program.process.send_signal(signal.SIGTERM)
            return program.process.poll() is not None

        wait_until(ended, "a signal half a second after the first counts")
        assert program.end()[0] == -signal.SIGTERM
        wait_until(lambda: [job.running for job in server.jobs()] == [False], "the job is back in the queue")


@pytest.mark.parametrize("kind", ["Worker", "AsyncWorker"])
def test_signals_left_alone(server: Server, tmp_path: Path, kind: str) -> None:
    with Program(server, tmp_path, kind, "no") as program, Client(server.url) as client:
        client.submit_background("wait")
        wait_until(program.begun.exists, "the job has begun")
        program.process.send_signal(signal.SIGTERM)
        assert program.end()[0] == -signal.SIGTERM


def test_a_child_that_a_job_forks(server: Server, tmp_path: Path) -> None:
    """It dies of SIGTERM as it would without a worker."""
    with Program(server, tmp_path, "Worker"), Client(server.url) as client:
        assert client.run("fork", timeout=LIMIT) == b"%d" % -signal.SIGTERM

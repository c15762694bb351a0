# SPDX-License-Identifier: BSD-3-Clause
"""A worker that is stopped while it starts: before `run`, during its first connection, at any moment of either."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from gearfast import Server
from gearfast.cli import TIMED_OUT, UNREACHABLE

from .command_line import clean_environment, command
from .either_worker import KINDS, AnyWorker, leaves, start
from .fault_proxy import BlackHole
from .servers import PATIENCE, wait_until

PROMPT = 4.0
"""Seconds: less than a connection may take (5), or the worker's wait for servers that do not answer (5)."""


@pytest.fixture(params=KINDS, ids=["Worker", "AsyncWorker"])
def kind(request: pytest.FixtureRequest) -> type[AnyWorker]:
    """Each of the two workers."""
    found: type[AnyWorker] = request.param
    return found


@pytest.fixture(params=["up", "down", "silent"])
def address(request: pytest.FixtureRequest) -> Iterator[str]:
    """A server that works, one that is not there, one whose connections never come about."""
    if request.param == "silent":
        with BlackHole() as hole:
            yield hole.address
        return
    with Server() as server:
        url = server.url
        if request.param == "down":
            server.stop()
        yield url


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts descriptors in /proc")
def test_stop_at_any_moment_of_the_start(kind: type[AnyWorker], address: str) -> None:
    before = threading.active_count(), descriptors()
    for microseconds in (0, 0, 100, 300, 1000, 3000, 10000):
        worker = kind(address, concurrency=2)
        worker.register("f", lambda job: b"")
        began = time.monotonic()
        if not microseconds:
            worker.stop()
        thread = start(worker)
        threading.Event().wait(microseconds / 1e6)
        worker.stop()
        assert leaves(thread)
        assert time.monotonic() - began < PROMPT
    # The server, which is in this process too, closes its ends when it comes to it.
    wait_until(lambda: (threading.active_count(), descriptors()) == before, "nothing is left of them")


SCRIPT = """
import asyncio, sys
from gearfast import AsyncWorker, Worker

worker = (Worker if sys.argv[2] == "Worker" else AsyncWorker)(sys.argv[1])
worker.register("f", lambda job: b"")
print("begins", flush=True)
if sys.argv[2] == "Worker":
    worker.run()
else:
    asyncio.run(worker.run())
print("left")
"""


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")
def test_sigterm_while_it_starts(kind: type[AnyWorker], address: str) -> None:
    """As soon as `run` hears it, which is before anything is connected."""
    words = [sys.executable, "-c", SCRIPT, address, kind.__name__]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begins\n"
        wait_for_handler(process.pid, signal.SIGTERM)
        process.terminate()
        out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out, err) == (0, "left\n", "")


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_process_that_has_just_begun(address: str, number: signal.Signals) -> None:
    """The signal comes with the first line of its log, or right away where there is none yet."""
    words = command("worker", "--server", address, "--log-level", "debug", "-f", "f", "--command", "cat")
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=clean_environment()) as process:
        assert process.stderr is not None
        if "gearman://" in address:
            assert "connect" in process.stderr.readline()
        else:
            wait_for_handler(process.pid, number)
        began = time.monotonic()
        process.send_signal(number)
        _, err = process.communicate(timeout=PATIENCE)
    assert time.monotonic() - began < PROMPT
    assert process.returncode == 0
    assert "Traceback" not in err


def test_a_submission_with_a_time_limit_says_one_thing(address: str) -> None:
    """No noise of a log, whatever is wrong with the server."""
    words = command("submit", "--server", address, "--timeout", "1", "f", "data")
    done = subprocess.run(words, capture_output=True, text=True, env=clean_environment(), timeout=PATIENCE, check=False)
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("gearfast submit: ")
    assert "function 'f': no " in line
    assert done.returncode in (UNREACHABLE, TIMED_OUT)


def wait_for_handler(pid: int, number: int) -> None:
    """Until the process handles the signal; by then it is about to run its worker."""
    deadline = time.monotonic() + PATIENCE
    while True:
        with open(f"/proc/{pid}/status", encoding="ascii") as file:
            caught = next(int(line.split()[1], 16) for line in file if line.startswith("SigCgt"))
        if caught >> (number - 1) & 1 and (number != signal.SIGINT or caught >> (signal.SIGTERM - 1) & 1):
            return
        assert time.monotonic() < deadline, "no handler"
        threading.Event().wait(0.005)

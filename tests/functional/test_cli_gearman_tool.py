# SPDX-License-Identifier: BSD-3-Clause
"""`gearfast submit` beside the command `gearman`, on one server and with one worker."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gearfast import Server, Worker

from .command_line import gearfast
from .server_tools import LIMIT
from .servers import clean_environment

Run = Callable[..., bytes]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """With a worker that puts a job's unique before its workload."""
    with Server() as server:
        worker = Worker(server.url, concurrency=4)

        @worker.function("show")
        def show(job: Any) -> bytes:
            return b"%b|%b\n" % (job.unique, job.workload.strip())

        thread = threading.Thread(target=worker.run)
        thread.start()
        yield server
        worker.stop()
        thread.join()


@pytest.fixture(params=["gearman", "gearfast"])
def submit(request: pytest.FixtureRequest, require: Any, server: Server) -> Run:
    """Runs either command with the same words; returns its standard output."""
    where = ["-h", server.host, "-p", str(server.port)]

    def run_gearman(*words: str, data: bytes = b"") -> bytes:
        tool = require.program("gearman", "gearman-tools")
        done = subprocess.run(
            [tool, *where, *words],
            input=data,
            capture_output=True,
            check=True,
            timeout=LIMIT,
            env=clean_environment(),
        )
        return done.stdout

    def run_gearfast(*words: str, data: bytes = b"") -> bytes:
        done = gearfast("submit", *where, *words, data=data)
        assert (done.returncode, done.stderr) == (0, b"")
        return done.stdout

    return run_gearman if request.param == "gearman" else run_gearfast


def test_one_unique_for_several_data(submit: Run) -> None:
    """They are done one after the other: each has its own result."""
    assert submit("-f", "show", "-u", "U", "abc", "def") == b"U|abc\nU|def\n"
    assert submit("-f", "show", "-u", "U", "-n", data=b"1\n2\n3\n") == b"U|1\nU|2\nU|3\n"


def test_a_hash_as_unique(submit: Run) -> None:
    """`-u '#'`: equal data have equal uniques, other data others."""
    uniques = [line.split(b"|")[0] for line in submit("-f", "show", "-u", "#", "abc", "def", "abc").splitlines()]
    assert uniques[0] == uniques[2] != uniques[1]
    assert b"#" not in uniques

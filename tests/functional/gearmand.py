# SPDX-License-Identifier: BSD-3-Clause
"""Fixtures for the clients' and workers' tests: job servers of both kinds, and workers in threads.

A test module takes them over by name, as in `job_server = gearmand.job_server`.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gearfast.sync.worker import Job, Worker

from .servers import PATIENCE, START, ServerProcess

StartServer = Callable[[], ServerProcess]


@pytest.fixture(params=["gearmand", "gearfast"])
def server_kind(request: pytest.FixtureRequest, require: Any) -> str:
    """Which job server: Debian's gearmand or gearfast's own."""
    kind: str = request.param
    if kind == "gearmand":
        require.program("gearmand", "gearman-job-server")
    return kind


@pytest.fixture
def start_server(server_kind: str) -> Iterator[StartServer]:
    """Starts a job server; all of them are stopped at the end."""
    with contextlib.ExitStack() as stack:

        def start() -> ServerProcess:
            server = START[server_kind]()
            stack.callback(server.stop)
            return server

        yield start


@pytest.fixture
def job_server(start_server: StartServer) -> ServerProcess:
    """A running job server."""
    return start_server()


@contextlib.contextmanager
def working(*workers: Worker) -> Iterator[None]:
    """Workers at work, each in a thread; at the end they are stopped and have to leave in time."""
    threads = [threading.Thread(target=worker.run) for worker in workers]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for worker in workers:
            worker.stop()
        for thread in threads:
            thread.join(PATIENCE)
        assert not any(thread.is_alive() for thread in threads), "a worker did not leave"


def reverse(job: Job) -> bytes:
    """The simplest function."""
    return bytes(job.workload)[::-1]

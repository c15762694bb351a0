# SPDX-License-Identifier: BSD-3-Clause
"""Both administrator's clients against both job servers."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from gearfast.aio.admin import AsyncAdminClient
from gearfast.errors import (
    ConnectError,
    ConnectionLost,
    DeadlineExceeded,
    JobFailed,
    JobNotFound,
    QueueFull,
    ServerError,
    UsageError,
)
from gearfast.sync.admin import AdminClient
from gearfast.sync.client import Client
from gearfast.sync.worker import Worker
from gearfast.types import FunctionStatus, JobInfo, Priority, PriorityStatus

from . import gearmand
from .gearmand import StartServer, reverse, working
from .servers import PATIENCE, ServerProcess, wait_until

server_kind, start_server, job_server = gearmand.server_kind, gearmand.start_server, gearmand.job_server


class Blocking:
    """An AsyncAdminClient, each call run to its end: so one set of tests serves both."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._runner = asyncio.Runner()
        self._admin = self._runner.run(self._make(args, kwargs))

    @staticmethod
    async def _make(args: Any, kwargs: Any) -> AsyncAdminClient:
        return AsyncAdminClient(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._admin, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            return self._runner.run(method(*args, **kwargs))

        return call

    def __enter__(self) -> Blocking:
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.run(self._admin.close())
        self._runner.close()


KINDS: list[Any] = [AdminClient, Blocking]


@pytest.mark.parametrize("kind", KINDS)
def test_looking(job_server: ServerProcess, kind: Any) -> None:
    with kind(job_server.address) as admin, Client(job_server.address) as client:
        assert (admin.status(), admin.jobs(), admin.unique_jobs()) == ([], [], [])
        handles = [
            client.submit_background("f", b"", unique=f"u{n}", priority=priority)
            for n, priority in enumerate([Priority.HIGH, Priority.LOW, Priority.LOW])
        ]
        assert admin.status() == [FunctionStatus("f", 3, 0, 0)]
        assert admin.priority_status() == [PriorityStatus("f", 1, 0, 2, 0)]
        assert sorted(admin.jobs()) == sorted(JobInfo(handle, 0, False, True) for handle in handles)
        assert sorted(admin.unique_jobs()) == ["u0", "u1", "u2"]
        assert admin.getpid() == job_server.pid
        assert admin.version()[0].isdigit()
        assert admin.verbose().isupper()
        worker = Worker(job_server.address, id="w-1")
        worker.register("other", reverse)
        with working(worker):
            job_server.wait_for("other", workers=1)
            (info,) = [info for info in admin.workers() if info.functions]
            assert (info.id, info.address, info.functions) == ("w-1", "127.0.0.1", ("other",))


@pytest.mark.parametrize("kind", KINDS)
def test_changing(job_server: ServerProcess, kind: Any) -> None:
    with kind(job_server.address) as admin, Client(job_server.address) as client:
        admin.create_function("created")
        assert [line.function for line in admin.status()] == ["created"]
        admin.drop_function("created")
        assert admin.status() == []
        with pytest.raises(ServerError, match="function not found"):
            admin.drop_function("created")
        future = client.submit("f")
        wait_until(lambda: future.handle, "it is queued")
        admin.maxqueue("f", 1)
        with pytest.raises(QueueFull):
            client.run("f", timeout=PATIENCE)
        admin.maxqueue("f")
        admin.cancel_job(future.handle)
        assert isinstance(future.exception(PATIENCE), JobFailed)
        with pytest.raises(JobNotFound):
            admin.cancel_job("H:nowhere:1")
        with pytest.raises(UsageError):
            admin.create_function("two words")


@pytest.mark.parametrize("kind", KINDS)
def test_a_server_that_comes_back(start_server: StartServer, kind: Any) -> None:
    server = start_server()
    with kind(server.address) as admin:
        admin.version()
        server.kill()
        with pytest.raises((ConnectionLost, ConnectError)):
            admin.version()
        with pytest.raises(ConnectError, match="refused"):
            admin.version()


@pytest.mark.parametrize("kind", KINDS)
def test_a_server_that_is_silent_then_odd(kind: Any) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        kind(f"127.0.0.1:{listener.getsockname()[1]}", timeout=0.2) as admin,
    ):
        with pytest.raises(DeadlineExceeded, match="status"):
            admin.status()
        listener.accept()[0].close()
        with pytest.raises((DeadlineExceeded, ConnectionLost)):
            admin.status()


@pytest.mark.parametrize("kind", KINDS)
def test_a_closed_one(job_server: ServerProcess, kind: Any) -> None:
    with kind(job_server.address) as admin:
        admin.version()
        admin.close()
        with pytest.raises(UsageError, match="closed"):
            admin.version()
    with pytest.raises(UsageError):
        AdminClient("a,b")
    with pytest.raises(UsageError):
        AdminClient("a", timeout=0)

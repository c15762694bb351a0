# SPDX-License-Identifier: BSD-3-Clause
"""gearfast's own clients of the text protocol, on gearmand as on gearfast."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from gearfast import AdminClient, AsyncAdminClient, Client, JobFailed, QueueFull, ServerError

from ..servers import PATIENCE, ServerProcess, running, wait_until
from .peers import Worker, completing

MakeWorker = Callable[..., Worker]
Admin = Callable[..., Any]


@pytest.fixture(params=["sync", "aio"])
def ask(request: pytest.FixtureRequest, own_server: ServerProcess) -> Admin:
    """`ask("status")` calls the method of AdminClient, or of its asynchronous twin."""

    def sync(method: str, *args: object, **options: object) -> Any:
        with AdminClient(own_server.address) as admin:
            return getattr(admin, method)(*args, **options)

    def aio(method: str, *args: object, **options: object) -> Any:
        async def call() -> Any:
            async with AsyncAdminClient(own_server.address) as admin:
                return await getattr(admin, method)(*args, **options)

        return asyncio.run(call())

    return {"sync": sync, "aio": aio}[request.param]


def test_single_answers(own_server: ServerProcess, ask: Admin) -> None:
    assert ask("getpid") == own_server.pid
    assert own_server.admin("version") == f"OK {ask('version')}\n"
    assert own_server.admin("verbose") == f"OK {ask('verbose')}\n"


def test_functions(ask: Admin) -> None:
    assert ask("status") == []
    ask("create_function", "made")
    assert ask("status") == [("made", 0, 0, 0)]
    assert ask("priority_status") == [("made", 0, 0, 0, 0)]
    ask("drop_function", "made")
    assert ask("status") == []
    with pytest.raises(ServerError):
        ask("drop_function", "made")


def test_jobs(own_server: ServerProcess, ask: Admin, make_worker: MakeWorker) -> None:
    worker = make_worker("php", own_server, "w.")
    with Client(own_server.address) as client:
        handles = [client.submit_background("w.hold", b"x", unique=f"u{n}") for n in range(3)]
        assert worker.event("start")["handle"] == handles[0]
        assert ("w.hold", 3, 1, 1) in ask("status")
        assert ("w.hold", 0, 2, 0, 1) in ask("priority_status")
        assert sorted(job.handle for job in ask("jobs")) == sorted(handles)
        assert sorted(ask("unique_jobs")) == ["u0", "u1", "u2"]
        [line] = [line for line in ask("workers") if line.functions]
        assert (line.id, sorted(line.functions)) == ("php-worker", ["w.act", "w.echo", "w.hold", "w.reverse"])
        ask("cancel_job", handles[1])
        worker.order(completing(b"done"))
        assert worker.event("start")["handle"] == handles[2]
        with pytest.raises(ServerError):
            ask("cancel_job", "H:nobody:1")


def test_cancelled_job_fails_for_its_client(own_server: ServerProcess, ask: Admin) -> None:
    with Client(own_server.address) as client:
        job = client.submit("nobody", b"x")
        ask("cancel_job", wait_until(lambda: job.handle, "the job has its handle"))
        with pytest.raises(JobFailed):
            job.result(30)


def test_full_queue(own_server: ServerProcess, ask: Admin) -> None:
    ask("create_function", "small")
    ask("maxqueue", "small", 2)
    with Client(own_server.address) as client:
        for _ in range(2):
            client.submit_background("small", b"x")
        with pytest.raises(QueueFull):
            client.submit_background("small", b"x")
        with pytest.raises(QueueFull):
            client.run("small", b"x")
        ask("maxqueue", "small")
        client.submit_background("small", b"x")


@pytest.mark.parametrize("own_server", ["gearmand"], indirect=True)
def test_shutdown_is_gone_from_gearmand(ask: Admin) -> None:
    with pytest.raises(ServerError):
        ask("shutdown")


@pytest.mark.parametrize("graceful", [False, True])
def test_shutdown(graceful: bool) -> None:
    with running("gearfast") as server, AdminClient(server.address) as admin:
        admin.shutdown(graceful=graceful)
        assert server.process.wait(PATIENCE) == 0

# SPDX-License-Identifier: BSD-3-Clause
"""What a test has left behind, and workers beside it."""

from __future__ import annotations

import asyncio
import threading

import pytest

from gearfast import AsyncJob, AsyncWorker, Client, DeadlineExceeded, Job, Server, UsageError, Worker
from gearfast.testing import Leaks, MemoryServer, WorkerThread, leaks


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaks, "PATIENCE", 0.02)


def test_nothing_is_left(server: MemoryServer) -> None:
    found = Leaks(server)
    with Client(server.url) as client, WorkerThread({"f": lambda job: b""}, server):
        client.submit("f").result(30)
        client.submit_background("g")  # it was only to be recorded
    assert found.find() == []
    found.check()


def test_all_that_is_left(server: MemoryServer) -> None:
    found = Leaks(server, leaks.ALL)
    with Client(server.url, id="mine") as client:
        client.submit("f")
        server.wait_submitted("f")
        client.submit_background("g", b"data")
        with WorkerThread({"h": lambda job: b""}, server):
            while not any(connection.functions for connection in server.connections()):
                pass
            told = sorted(found.find())
    assert told == [
        "a connection of a client (mine), which was not closed",
        "a connection of a client (mine), which was not closed",
        "a connection of a worker for h, which was not closed",
        "a job that a client waits for: H:memory:1 of function 'f'",
        "a job that is queued: H:memory:2 of function 'g', workload b'data'",
        "a thread, gearfast-client",
        "a thread, gearfast-worker-thread",
    ]


def test_a_job_that_runs(server: MemoryServer) -> None:
    def look(job: Job) -> str:
        return "; ".join(Leaks(server, ["jobs"]).find())

    with Client(server.url) as client:
        client.submit_background("look")
        server.drain({"look": look})
    assert server.submissions[0].result == b"a job that a worker has: H:memory:1 of function 'look'"


def test_check_raises(server: MemoryServer) -> None:
    with Client(server.url) as client:
        client.echo()
        with pytest.raises(AssertionError, match="left behind:\n  a connection of a client, which"):
            Leaks(server).check()
    with pytest.raises(UsageError, match="not sockets"):
        Leaks(server, ["sockets"])


def test_a_real_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """It learns a moment later that a connection was closed."""
    monkeypatch.setattr(leaks, "PATIENCE", 30)
    with Server() as server:
        found = Leaks(server)
        with Client(server.url) as client:
            client.echo()
        found.check()
        assert server.connections() == []


# --- WorkerThread -----------------------------------------------------------------------------------------------------


async def nap(job: AsyncJob) -> bytes:
    await asyncio.sleep(0)
    return b"rested"


@pytest.mark.parametrize("functions", [{"f": nap}, {"f": lambda job: b"rested"}], ids=["async", "plain"])
def test_a_worker_finishes(server: MemoryServer, functions: dict[str, object]) -> None:
    with Client(server.url) as client:
        for _ in range(20):
            client.submit_background("f")
        thread = WorkerThread(functions, server, concurrency=2).start()  # type: ignore[arg-type]
        assert isinstance(thread.worker, AsyncWorker if functions["f"] is nap else Worker)
        assert thread.start() is thread
        thread.finish()
        thread.stop()
    assert {each.result for each in server.submissions} == {b"rested"}
    assert server.connections() == []


def test_what_a_worker_raises_comes_out(server: MemoryServer) -> None:
    def leave(job: Job) -> None:
        raise SystemExit(3)

    with Client(server.url) as client:
        client.submit_background("leave")
        thread = WorkerThread({"leave": leave}, server).start()
        assert thread._thread is not None
        thread._thread.join(30)
        with pytest.raises(SystemExit):
            thread.stop()


def test_a_worker_that_does_not_end(server: MemoryServer) -> None:
    begun, release = threading.Event(), threading.Event()

    def hang(job: Job) -> None:
        begun.set()
        release.wait(30)

    with Client(server.url) as client:
        client.submit_background("hang")
        thread = WorkerThread({"hang": hang}, server).start()
        assert begun.wait(30)
        with pytest.raises(TimeoutError, match="did not finish"):
            thread.stop(0.01)
        release.set()
        thread.stop()
        client.submit_background("other")
        with WorkerThread({"hang": hang}, server) as thread, pytest.raises(DeadlineExceeded):
            thread.finish(0.01)


def test_wrong_arguments(server: MemoryServer) -> None:
    with pytest.raises(UsageError, match="need a server"):
        WorkerThread({"f": nap})
    thread = WorkerThread({"f": nap}, server.url)
    with pytest.raises(UsageError, match="cannot know"):
        thread.finish()
    thread.stop()

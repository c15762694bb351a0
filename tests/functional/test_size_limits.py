# SPDX-License-Identifier: BSD-3-Clause
"""What is larger than a server takes: one job ends with both sizes in its text, and the connection goes on."""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path
from typing import Any

import pytest

from gearfast import (
    AsyncClient,
    AsyncWorker,
    Client,
    Fail,
    Job,
    JobException,
    JobFailed,
    ResultTooLarge,
    Server,
    Worker,
)
from gearfast.errors import UsageError
from gearfast.protocol import MAX_RESULT, MAX_WORKLOAD

from . import gearmand
from .command_line import WorkerProcess
from .either_worker import KINDS, AnyWorker, at_work
from .servers import PATIENCE, ServerProcess

server_kind, start_server, job_server = gearmand.server_kind, gearmand.start_server, gearmand.job_server

PACKET = 1 << 16
LIMIT = 60_000


@pytest.fixture(params=KINDS, ids=["Worker", "AsyncWorker"])
def kind(request: pytest.FixtureRequest) -> type[AnyWorker]:
    """Each of the two workers."""
    found: type[AnyWorker] = request.param
    return found


def large(job: Any) -> bytes:
    return bytes(LIMIT + 1)


def largest(job: Any) -> bytes:
    return bytes(LIMIT)


def view(job: Any) -> memoryview:
    return memoryview(bytes(2 * PACKET)).cast("I")


def data(job: Any) -> str:
    job.send_data(bytes(2 * PACKET))
    return "not reached"


def warning(job: Any) -> str:
    job.send_warning("w" * 2 * PACKET)
    return "not reached"


def exception(job: Any) -> None:
    raise ValueError("x" * 2 * PACKET)


async def coroutine(job: Any) -> bytes:
    job.send_data(bytes(2 * PACKET))
    return b"not reached"


def said_by(client: Client, name: str) -> str:
    with pytest.raises(JobException) as caught:
        client.run(name, timeout=PATIENCE)
    return caught.value.data.decode()


@pytest.mark.parametrize("concurrency", [1, 2])
@pytest.mark.parametrize("work", [large, view, data, warning, exception])
def test_a_job_ends_with_both_sizes(
    job_server: ServerProcess, kind: type[AnyWorker], work: Any, concurrency: int, caplog: pytest.LogCaptureFixture
) -> None:
    tries = []
    worker = kind(job_server.address, concurrency=concurrency, max_result=LIMIT)
    worker.register("work", lambda job: (tries.append(job.handle), work(job))[1])
    worker.register("largest", largest)
    with at_work(worker), Client(job_server.address) as client:
        said = said_by(client, "work")
        assert client.run("largest", timeout=PATIENCE) == bytes(LIMIT)
    size = LIMIT + 1 if work is large else 2 * PACKET
    assert len(tries) == 1
    assert said.startswith("ResultTooLarge: ")
    assert "'work'" in said
    assert tries[0] in said
    assert f"max_result={LIMIT}" in said
    assert str(size) in said or work is exception
    logged = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [record.handle for record in logged] == tries  # type: ignore[attr-defined]


def test_a_server_with_a_smaller_limit_keeps_the_connection(kind: type[AnyWorker]) -> None:
    with Server(max_packet=PACKET, job_retries=3) as server, Client(server.url) as client:
        worker = kind(server.url, max_result=LIMIT)
        worker.register("large", large)
        with at_work(worker):
            assert "max_result=60000" in said_by(client, "large")
            (one,) = (one for one in server.connections() if one.functions)
            assert "max_result=60000" in said_by(client, "large")
            assert [two.peer for two in server.connections() if two.functions] == [one.peer]


def test_a_coroutine_and_a_callable_that_catches_it() -> None:
    caught = []

    def careful(job: Any) -> bytes:
        try:
            job.send_data(bytes(2 * PACKET))
        except ResultTooLarge as error:
            caught.append((error.function, error.handle, error.size, error.limit))
        return b"smaller"

    with Server(max_packet=PACKET) as server, Client(server.url) as client:
        worker = AsyncWorker(server.url, max_result=LIMIT)
        worker.register("coroutine", coroutine)
        worker.register("careful", careful)
        with at_work(worker):
            assert "131072 bytes as data" in said_by(client, "coroutine")
            future = client.submit("careful")
            assert future.result(PATIENCE) == b"smaller"
            assert caught == [("careful", future.handle, 2 * PACKET, LIMIT)]


def test_the_text_of_a_failure(kind: type[AnyWorker]) -> None:
    def fail(job: Any) -> None:
        raise Fail("f" * 2 * PACKET)

    with Server(max_packet=PACKET) as server, Client(server.url, exceptions=False) as client:
        worker = kind(server.url, max_result=10)
        worker.register("fail", fail)
        worker.register("large", large)
        with at_work(worker):
            future = client.submit("fail")
            (event,) = future.events(PATIENCE)
            assert b"131072 bytes as a warning are more than max_result=10" in event.data  # type: ignore[union-attr]
            for name in ("fail", "large"):
                with pytest.raises(JobFailed) as caught:
                    client.run(name, timeout=PATIENCE)
                assert type(caught.value) is JobFailed


def test_a_child_process_says_so_itself(kind: type[AnyWorker], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parents[2])  # the child gets this process's path, to import this module
    with Server(max_packet=PACKET) as server, Client(server.url) as client:
        worker = kind(server.url, max_result=LIMIT, processes=1)
        for work in (large, data):
            worker.register(work.__name__, work, process=True)
        with at_work(worker):
            assert "60001 bytes as result" in said_by(client, "large")
            assert "131072 bytes as data" in said_by(client, "data")


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
@pytest.mark.parametrize("option", ["", "--lines", "--stream"])
def test_a_program_with_huge_output(option: str) -> None:
    program = f"import sys; sys.stdout.write('x' * {2 * PACKET})"
    words = ["-f", "work", "--max-result", "1K", *filter(None, [option]), "--", sys.executable, "-c", program]
    with Server(max_packet=PACKET) as server, Client(server.url) as client, WorkerProcess(server, *words):
        for _ in range(2):
            said = said_by(client, "work")
            assert said.startswith("ResultTooLarge: ")
            assert "max_result=1024" in said
        assert server.jobs() == []


@pytest.mark.parametrize("limit", [-1, 2**32])
def test_limits_that_cannot_be(kind: type[AnyWorker], limit: int) -> None:
    with pytest.raises(UsageError, match="max_result"):
        kind("a", max_result=limit)
    for client in (Client, AsyncClient):
        with pytest.raises(UsageError, match="max_workload"):
            client("a", max_workload=limit)


def test_a_workload_over_the_limit_is_not_sent() -> None:
    with Server(max_packet=PACKET) as server, Client(server.url, max_workload=LIMIT) as client:
        for submit in (client.run, client.submit, client.submit_background):
            with pytest.raises(UsageError, match=r"'work'.* 60001 bytes .*max_workload=60000"):
                submit("work", bytes(LIMIT + 1))
        assert server.jobs() == []
        assert server.connections() == []
        client.submit_background("work", bytes(LIMIT))
        assert [job.function for job in server.jobs()] == ["work"]


def test_the_same_in_asyncio() -> None:
    async def main(url: str) -> None:
        async with AsyncClient(url, max_workload=LIMIT) as client:
            with pytest.raises(UsageError, match=r"60001 bytes .*max_workload=60000"):
                await client.run("work", memoryview(bytes(LIMIT + 1)))
            with pytest.raises(UsageError, match=r"60001 bytes .*max_workload=60000"):
                await client.submit_background("work", bytearray(LIMIT + 1))
            await client.submit_background("work", bytes(LIMIT))

    with Server(max_packet=PACKET) as server:
        asyncio.run(main(server.url))
        assert [job.function for job in server.jobs()] == ["work"]


def test_the_defaults_fit_a_servers_default() -> None:
    """The largest workload and result by default, echoed through one server."""
    with Server(max_packet=300 << 20) as server, Client(server.url, max_workload=280 << 20) as client:
        worker = Worker(server.url)

        @worker.function("large")
        def larger(job: Job) -> bytes:
            return bytes(MAX_RESULT + 1)

        with at_work(worker):
            assert f"max_result={MAX_RESULT}" in said_by(client, "large")
    with Client("nowhere.invalid") as client, pytest.raises(UsageError, match=f"max_workload={MAX_WORKLOAD}"):
        client.submit("f", bytes(MAX_WORKLOAD + 1))

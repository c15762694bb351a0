# SPDX-License-Identifier: BSD-3-Clause
"""Every client with every worker on every job server: results, data, warnings, status, failures, exceptions."""

from __future__ import annotations

import pytest

from ..servers import ServerProcess
from .conftest import Pool
from .peers import EVERY_BYTE, Client, Request, acting, b64, completing, unused

LANGUAGES = ["php", "perl", "gearfast", "gearfast-aio"]
PRIORITIES = ["normal", "high", "low"]

pytestmark = [
    pytest.mark.parametrize("client_language", LANGUAGES),
    pytest.mark.parametrize("worker_language", LANGUAGES),
]


@pytest.fixture
def client(client_language: str, pool: Pool, server: ServerProcess) -> Client:
    return pool.client(client_language, server)


@pytest.fixture
def prefix(worker_language: str, pool: Pool, server: ServerProcess) -> str:
    return pool.prefix(worker_language, server)


@pytest.mark.parametrize("priority", PRIORITIES)
def test_result_of_every_priority(client: Client, prefix: str, priority: str) -> None:
    [echo, backwards] = client.submit(
        Request(prefix + "echo", EVERY_BYTE, priority=priority),
        Request(prefix + "reverse", EVERY_BYTE, priority=priority),
    )
    assert (echo.state, echo.result) == ("complete", EVERY_BYTE)
    assert (backwards.state, backwards.result) == ("complete", EVERY_BYTE[::-1])
    assert echo.handle != backwards.handle
    assert client.run(Request(prefix + "echo", EVERY_BYTE, priority=priority)) == EVERY_BYTE


def test_data_warnings_and_status_arrive_in_order(client: Client, prefix: str) -> None:
    workload = acting(
        ["status", 1, 4],
        ["data", b64(b"first\0piece")],
        ["warning", b64(EVERY_BYTE)],
        ["data", b64(EVERY_BYTE)],
        ["status", 4, 4],
        completing(b"done"),
    )
    [outcome] = client.submit(Request(prefix + "act", workload))
    assert (outcome.state, outcome.result) == ("complete", b"done")
    assert outcome.data == (b"first\0piece", EVERY_BYTE)
    assert outcome.warnings == (EVERY_BYTE,)
    assert outcome.statuses == ((1, 4), (4, 4))


def test_failure(client: Client, prefix: str) -> None:
    [failed, fine] = client.submit(
        Request(prefix + "act", acting(["data", b64(b"so far")], ["fail"])), Request(prefix + "echo", b"next")
    )
    assert (failed.state, failed.data, failed.result) == ("fail", (b"so far",), b"")
    assert fine.result == b"next"


def test_exception(client: Client, prefix: str, worker_language: str) -> None:
    [failed, fine] = client.submit(
        Request(prefix + "act", acting(["exception", b64(b"out of\0paper")])), Request(prefix + "echo", b"next")
    )
    # gearfast's workers say what kind of exception it was.
    kind = b"RuntimeError: " if worker_language.startswith("gearfast") else b""
    assert (failed.state, failed.exception) == ("exception", kind + b"out of\0paper")
    assert fine.result == b"next"


def test_many_jobs_of_one_client(client: Client, prefix: str) -> None:
    words = [f"word {n} ".encode() * (n + 1) for n in range(60)]
    outcomes = client.submit(
        *(Request(prefix + "reverse", word, priority=PRIORITIES[n % 3]) for n, word in enumerate(words))
    )
    assert [outcome.result for outcome in outcomes] == [word[::-1] for word in words]
    assert len({outcome.handle for outcome in outcomes}) == len(words)


@pytest.mark.parametrize("priority", PRIORITIES)
def test_background(
    client: Client, prefix: str, pool: Pool, server: ServerProcess, worker_language: str, priority: str
) -> None:
    text = unused("note")
    handle = client.background(Request(prefix + "act", acting(["note", text], completing(b"done")), priority=priority))
    worker = pool.worker(worker_language, server)
    while (event := worker.event("note"))["text"] != text:
        pass
    assert event["handle"] == handle

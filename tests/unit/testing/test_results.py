# SPDX-License-Identifier: BSD-3-Clause
"""Results of background jobs by the server in memory: fetched by both clients, in a test without waiting."""

from __future__ import annotations

import asyncio

import pytest

from gearfast import AdminClient, AsyncClient, Client, Job, JobException, JobNotFound
from gearfast.testing import FakeClock, MemoryServer


def act(job: Job) -> bytes:
    if job.workload == b"raise":
        raise ValueError("no luck")
    return bytes(job.workload)[::-1]


def keep(server: MemoryServer, **more: object) -> None:
    with AdminClient(server.url) as admin:
        admin.set_policy("f", keep_results=10, **more)


def test_fetched_after_a_drain(server: MemoryServer, client: Client) -> None:
    keep(server)
    handle = client.submit_background("f", b"abc", unique="u")
    client.submit_background("f", b"raise", unique="v")
    server.drain({"f": act}, raise_errors=False)
    assert client.result(handle) == client.result("u", function="f") == b"cba"
    with pytest.raises(JobException, match="no luck"):
        client.result("v")
    with pytest.raises(JobNotFound):
        client.result("w")


def test_by_the_asyncio_client(server: MemoryServer, client: Client) -> None:
    keep(server)
    handle = client.submit_background("f", b"abc")
    server.drain({"f": act})

    async def fetch() -> bytes:
        async with AsyncClient(server.url) as asking:
            return await asking.result(handle)

    assert asyncio.run(fetch()) == b"cba"


def test_who_asks_waits_for_a_server_that_does_the_jobs_itself() -> None:
    with MemoryServer(mode="inline", functions={"f": act}) as server, Client(server.url) as client:
        keep(server)
        handle = client.submit_background("f", b"abc")
        assert client.result(handle, timeout=30) == b"cba"


def test_their_time_is_that_of_the_clock() -> None:
    with FakeClock() as clock, MemoryServer(clock=clock) as server, Client(server.url) as client:
        keep(server, keep_results_for=60)
        handle = client.submit_background("f", b"abc")
        server.drain({"f": act})
        clock.advance(59)
        assert client.result(handle) == b"cba"
        clock.advance(2)
        with pytest.raises(JobNotFound):
            client.result(handle)


def test_the_recorder_knows_a_question_from_a_job(server: MemoryServer, client: Client) -> None:
    keep(server)
    handle = client.submit_background("f", b"abc")
    server.drain({"f": act})
    assert client.result(handle) == b"cba"
    client.submit_background("g", b"later")
    first, second = server.submissions
    assert (first.function, first.handle, first.outcome, first.result) == ("f", handle, "complete", b"cba")
    assert (second.function, second.outcome, second.handle != handle) == ("g", "pending", True)

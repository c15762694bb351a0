# SPDX-License-Identifier: BSD-3-Clause
"""Jobs that are done where they are submitted."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from gearfast import Client, Fail, Job, JobException, JobFailed
from gearfast.sync.stream import Poller, PollPoller
from gearfast.testing import FakeClock, MemoryServer, WorkerThread


@pytest.fixture
def server() -> Iterator[MemoryServer]:
    with MemoryServer(mode="inline") as server:

        @server.function("reverse")
        def reverse(job: Job) -> bytes:
            return job.workload[::-1]

        @server.function("thread")
        def thread(job: Job) -> str:
            return threading.current_thread().name

        yield server


def test_a_result_is_there_at_once(client: Client) -> None:
    assert client.run("reverse", b"abc") == b"cba"
    assert list(client.map("reverse", [b"ab", b"cd"])) == [b"ba", b"dc"]
    assert client.submit("reverse", b"xy").result(30) == b"yx"


def test_it_runs_in_the_callers_thread(client: Client) -> None:
    assert client.run("thread") == threading.current_thread().name.encode()


def test_a_background_job_is_done_when_it_is_submitted(server: MemoryServer, client: Client) -> None:
    handle = client.submit_background("reverse", b"abc")
    assert server.assert_submitted("reverse", b"abc")[0].result == b"cba"
    assert not client.status(handle).known


def test_a_client_of_before(server: MemoryServer) -> None:
    with Client("memory://later") as client, MemoryServer("later", mode="inline", functions={"f": lambda job: b"1"}):
        assert client.run("f") == b"1"


def test_jobs_that_submit_jobs(server: MemoryServer, client: Client) -> None:
    """Each in turn, the inner ones inside the outer ones."""
    order: list[str] = []

    @server.function("outer")
    def outer(job: Job) -> bytes:
        order.append("begin")
        inner = client.run("inner", job.workload)
        order.append("end")
        return b"<" + inner + b">"

    @server.function("inner")
    def inner(job: Job) -> bytes:
        order.append("inner")
        return job.workload.upper()

    assert client.run("outer", b"abc") == b"<ABC>"
    assert client.submit("outer", b"abc").result(30) == b"<ABC>"
    assert order == ["begin", "inner", "end"] * 2


def test_jobs_are_done_in_their_order(server: MemoryServer, client: Client) -> None:
    server.function("number")(lambda job: order.append(job.workload))
    order: list[bytes] = []
    list(client.map("number", [b"%d" % number for number in range(30)], window=10))
    assert order == [b"%d" % number for number in range(30)]


def test_errors_come_as_from_a_worker(server: MemoryServer, client: Client) -> None:
    @server.function("fail")
    def fail(job: Job) -> None:
        raise Fail("no")

    @server.function("explode")
    def explode(job: Job) -> None:
        raise ValueError("bad")

    with pytest.raises(JobFailed):
        client.run("fail")
    with pytest.raises(JobException, match="ValueError: bad"):
        client.run("explode")
    client.submit_background("explode")
    assert server.submissions[-1].outcome == "exception"


def test_a_function_that_is_missing(server: MemoryServer, client: Client) -> None:
    with pytest.raises(JobException, match="nothing does the jobs of function 'nix'"):
        client.run("nix")
    client.submit_background("nix")  # nobody waits for it: it stays
    assert [job.function for job in server.jobs()] == ["nix"]
    with WorkerThread({"nix": lambda job: b"a worker"}, server):
        server.wait_idle(30)
        assert client.run("nix") == b"a worker"


def test_delayed_jobs_are_done_when_their_time_has_come() -> None:
    with FakeClock() as clock, MemoryServer(mode="inline", clock=clock) as server, Client(server.url) as client:
        done: list[bytes] = []
        server.function("later")(lambda job: done.append(job.workload))
        client.submit_background("later", b"1", delay=60)
        assert done == []
        clock.advance(61)
        assert client.echo(b"any call") == b"any call"
        assert done == [b"1"]


def test_nothing_is_left_in_the_way_of_others() -> None:
    plain = [Poller.wait, PollPoller.wait]
    with MemoryServer(mode="inline"), MemoryServer(mode="inline"):
        assert Poller.wait is not plain[0]
    assert [Poller.wait, PollPoller.wait] == plain

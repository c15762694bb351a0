# SPDX-License-Identifier: BSD-3-Clause
"""The public fault proxy; what clients and workers make of each fault is in the tests of adversity."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from gearfast import (
    AsyncClient,
    Client,
    ConnectError,
    ConnectionLost,
    DeadlineExceeded,
    JobTimeout,
    Server,
    SubmitUncertain,
    UsageError,
)
from gearfast.testing import FaultProxy, Recorder, WorkerThread
from gearfast.testing.faults import End

from .servers import wait_until


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server() as server, WorkerThread({"reverse": lambda job: job.workload[::-1]}, server):
        yield server


@pytest.fixture
def proxy(server: Server) -> Iterator[FaultProxy]:
    with FaultProxy(server) as proxy:
        yield proxy


def test_it_relays(proxy: FaultProxy) -> None:
    with Client(proxy.url) as client:
        assert client.run("reverse", b"abc" * 100_000, timeout=30) == b"cba" * 100_000
    assert proxy.accepted == 1


def test_every_way_to_name_a_server(server: Server, tmp_path: Path) -> None:
    for where in (server.url, server.address, server.port):
        with FaultProxy(where) as proxy, Client(proxy.address) as client:
            assert client.echo(b"hello") == b"hello"
    for wrong in ("gearmans://127.0.0.1", "memory://here"):
        with pytest.raises(UsageError, match="without TLS"):
            FaultProxy(wrong)
    if not hasattr(socket, "AF_UNIX"):
        return
    with Server(port=None, unix=tmp_path / "s") as there, FaultProxy(there) as proxy, Client(proxy.url) as client:
        assert client.echo(b"hello") == b"hello"


@pytest.mark.parametrize("end", ["close", "reset", "half-close"])
def test_a_connection_breaks_at_a_byte(proxy: FaultProxy, end: End) -> None:
    with Client(proxy.url, resubmit="never") as client:
        assert client.echo(b"up") == b"up"
        proxy.break_after("down", 5, end)
        with pytest.raises((ConnectionLost, SubmitUncertain)):
            client.run("reverse", b"abc", timeout=30)
        proxy.wait_broken()
        assert client.run("reverse", b"abc", timeout=30) == b"cba"
    assert proxy.accepted == 2
    proxy.break_after("up", 1)
    with pytest.raises(TimeoutError, match="did not happen"):
        proxy.wait_broken(0.01)


def test_something_is_held_back(proxy: FaultProxy) -> None:
    with Client(proxy.url) as client:
        for _ in range(2):  # it can be armed again
            proxy.break_after("up", 3, "hold")
            future = client.submit("reverse", b"abc")
            proxy.wait_broken()
            assert not future.done()
            proxy.released.set()
            assert future.result(30) == b"cba"


def test_a_stalled_network(proxy: FaultProxy) -> None:
    with Client(proxy.url) as client:
        assert client.echo(b"up") == b"up"
        proxy.stall()
        with pytest.raises((JobTimeout, DeadlineExceeded)):
            client.run("reverse", b"abc", timeout=0.05)
        future = client.submit("reverse", b"xyz")
        proxy.resume()
        assert future.result(30) == b"zyx"


def test_a_server_that_refuses(proxy: FaultProxy) -> None:
    with Client(proxy.url) as client:
        assert client.echo(b"up") == b"up"
        proxy.refuse()
        proxy.refuse()
        assert client.echo(b"stays") == b"stays"
        proxy.cut()
        with Client(proxy.url) as other, pytest.raises(ConnectError, match="refused"):
            other.echo()
        proxy.accept()
        proxy.accept()
        with Client(proxy.url) as other:
            assert other.echo(b"back") == b"back"
    proxy.refuse()  # it can be closed like this


@pytest.mark.parametrize("settings", [{"split": 1}, {"split": 7, "delay": 0.0001}], ids=str)
def test_bytes_in_pieces(server: Server, settings: dict[str, float]) -> None:
    with FaultProxy(server, **settings) as proxy, Client(proxy.url) as client:  # type: ignore[arg-type]
        assert list(client.map("reverse", [b"abc", b"def"], timeout=30)) == [b"cba", b"fed"]


def test_it_tells_a_recorder(server: Server) -> None:
    recorder = Recorder()
    with FaultProxy(server, recorder=recorder) as proxy, Client(proxy.url) as client:
        client.run("reverse", b"abc", unique="one", timeout=30)
        (submission,) = recorder.assert_submitted("reverse", b"abc", unique="one", times=1)
        assert submission.handle.startswith("H:")
        with WorkerThread({"elsewhere": lambda job: job.workload * 2}, proxy.url):
            client.run("elsewhere", b"abc", timeout=30)
        assert recorder.assert_submitted("elsewhere")[0].result == b"abcabc"


def test_no_thread_is_left(server: Server) -> None:
    before = set(threading.enumerate())
    with FaultProxy(server) as proxy, Client(proxy.url) as client:
        client.echo()
        proxy.stall()
    wait_until(lambda: set(threading.enumerate()) <= before, "the proxy's threads have ended")


@pytest.mark.asyncio
async def test_in_a_coroutine(server: Server) -> None:
    async with FaultProxy(server) as proxy, AsyncClient(proxy.url) as client:
        assert await client.run("reverse", b"abc", timeout=30) == b"cba"
        proxy.break_after("down", 10)
        assert await client.run("reverse", b"xyz", unique="xyz", timeout=30) == b"zyx"  # it was sent again
        await proxy.wait_broken_async()
        assert proxy.accepted == 2

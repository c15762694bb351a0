# SPDX-License-Identifier: BSD-3-Clause
"""Names with several addresses: the attempts race, the losers are closed, nobody waits for an address that is dead."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable, Iterator
from math import inf
from typing import Any

import pytest

from gearfast import AsyncClient, AsyncWorker, Client, ConnectError, Server, Timeout, Worker
from gearfast.aio.dialer import connect_tcp
from gearfast.frontend import sockets
from gearfast.session.routing import parse_server
from gearfast.sync.dialer import Dialer, connect
from gearfast.sync.stream import make_poller

from .fault_proxy import HOST, BlackHole
from .gearmand import reverse, working
from .servers import PATIENCE

NAME = "several.test"
LONG = 60.0
"""A time limit that nobody may wait for."""
WELL_BEFORE = 20.0
MODES = ["blocking", "asyncio"]
Name = Callable[..., None]
needs_descriptors = pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="this system does not list them")


@pytest.fixture
def name(monkeypatch: pytest.MonkeyPatch) -> Name:
    """Says which ports of this machine `NAME` stands for."""

    def stands_for(*ports: int) -> None:
        def look_up(host: str, port: int, *args: Any, **options: Any) -> list[Any]:
            if options.get("flags"):
                raise socket.gaierror("not in figures")
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (HOST, each)) for each in ports]

        monkeypatch.setattr(socket, "getaddrinfo", look_up)

    return stands_for


@pytest.fixture
def refused() -> Iterator[int]:
    """A port that refuses."""
    with socket.socket() as closed:
        closed.bind((HOST, 0))
        yield closed.getsockname()[1]


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def echo(mode: str, limits: Timeout) -> bytes:
    if mode == "blocking":
        with Client(NAME, timeout=limits) as client:
            return client.echo(b"here")

    async def echo_async() -> bytes:
        async with AsyncClient(NAME, timeout=limits) as client:
            return await client.echo(b"here")

    return asyncio.run(echo_async())


@pytest.mark.parametrize("mode", MODES)
def test_an_address_that_never_answers_holds_nobody_up(name: Name, refused: int, mode: str) -> None:
    with Server() as server, BlackHole() as hole:
        name(hole.port, refused, hole.port, server.port)
        begun = time.monotonic()
        assert echo(mode, Timeout(connect=LONG)) == b"here"
        assert time.monotonic() - begun < WELL_BEFORE


@pytest.mark.parametrize("mode", MODES)
def test_with_little_time_each_address_comes_to_its_turn(name: Name, mode: str) -> None:
    """Eleven dead ones a quarter of a second each would be more than there is."""
    with Server() as server, BlackHole() as hole:
        name(*[hole.port] * 11, server.port)
        assert echo(mode, Timeout(connect=2.0, reply=PATIENCE)) == b"here"


@pytest.mark.parametrize("mode", MODES)
def test_a_worker_does_not_wait_either(name: Name, mode: str) -> None:
    with Server() as server, BlackHole() as hole, Client(server.url) as client:
        name(hole.port, server.port)
        begun = time.monotonic()
        if mode == "blocking":
            worker = Worker(NAME, timeout=LONG)
            worker.register("reverse", reverse)
            with working(worker):
                assert client.run("reverse", b"abc") == b"cba"
        else:

            async def serve() -> bytes:
                worker = AsyncWorker(NAME, timeout=LONG)
                worker.register("reverse", reverse)  # type: ignore[arg-type]
                task = asyncio.create_task(worker.run())
                result = await asyncio.to_thread(client.run, "reverse", b"abc")
                worker.stop()
                await task
                return result

            assert asyncio.run(serve()) == b"cba"
        assert time.monotonic() - begun < WELL_BEFORE


@pytest.mark.parametrize("mode", MODES)
def test_one_error_names_all_addresses(name: Name, refused: int, mode: str) -> None:
    with BlackHole() as hole:
        name(refused, hole.port, refused)
        with pytest.raises(ConnectError) as caught:
            echo(mode, Timeout(connect=0.5))
        reason = caught.value.args[0]
        assert "refused (127.0.0.1, 127.0.0.1); timed out (127.0.0.1)" in reason


@pytest.mark.parametrize("mode", MODES)
def test_a_single_address_that_fails_is_told_of_as_ever(name: Name, refused: int, mode: str) -> None:
    name(refused)
    with pytest.raises(ConnectError, match=r"refused$"):
        echo(mode, Timeout(connect=LONG))


@needs_descriptors
def test_the_losers_are_closed(name: Name, refused: int) -> None:
    with socket.create_server((HOST, 0)) as listener, BlackHole() as hole:
        name(hole.port, refused, hole.port, listener.getsockname()[1])
        before = descriptors()
        stream = connect(parse_server(NAME), LONG, None)
        assert descriptors() == before + 1
        stream.close()
        name(hole.port, refused)
        with pytest.raises(OSError, match="timed out"):
            connect(parse_server(NAME), 0.5, None)
        assert descriptors() == before


@needs_descriptors
def test_the_losers_are_closed_async(name: Name, refused: int) -> None:
    async def race(port: int, hole: BlackHole) -> None:
        loop = asyncio.get_running_loop()
        name(refused)
        with pytest.raises(ConnectionRefusedError):  # the look-up has its thread now
            await connect_tcp(loop, NAME, 1, inf)
        before = descriptors()
        name(hole.port, refused, hole.port, port)
        sock = await connect_tcp(loop, NAME, 1, inf)
        assert descriptors() == before + 1
        sock.close()
        name(hole.port, hole.port)
        with pytest.raises(OSError, match="timed out"):
            await connect_tcp(loop, NAME, 1, time.monotonic() + 0.5)
        assert descriptors() == before
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):  # a caller that gives up
                await connect_tcp(loop, NAME, 1, inf)
        assert descriptors() == before

    with socket.create_server((HOST, 0)) as listener, BlackHole() as hole:
        asyncio.run(race(listener.getsockname()[1], hole))


@needs_descriptors
def test_nothing_is_left_open_by_a_caller_that_gives_up_as_it_is_won(
    name: Name, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cancelled in each of the loop's turns in which one attempt wins and the other is given up."""
    monkeypatch.setattr(sockets, "HEAD_START", 0.01)

    async def cancel_after(turns: int) -> bool:
        before = descriptors()
        task = asyncio.create_task(connect_tcp(asyncio.get_running_loop(), NAME, 1, inf))
        while descriptors() < before + 2:  # noqa: ASYNC110  # both have begun, in this very turn
            await asyncio.sleep(0)
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.result().close()
        assert descriptors() == before
        return task.cancelled()

    async def cancel_in_each_turn() -> int:
        name(hole.port, port)
        (await connect_tcp(asyncio.get_running_loop(), NAME, 1, inf)).close()  # the look-up has its thread now
        turns = 0
        while await cancel_after(turns):
            turns += 1
        return turns

    with socket.create_server((HOST, 0), backlog=1000) as listener, BlackHole() as hole:
        port = listener.getsockname()[1]
        assert asyncio.run(cancel_in_each_turn()) > 0


@needs_descriptors
def test_a_dialer_that_is_closed_gives_up_all_attempts(name: Name) -> None:
    with BlackHole() as hole:
        name(hole.port, hole.port)
        poller = make_poller()
        dialer: Dialer[int] = Dialer(poller, None)
        before = descriptors()
        for key in range(3):
            assert dialer.start(key, parse_server(NAME), LONG) is None
        while descriptors() < before + 6:
            assert dialer.take(poller.wait(max(0.0, dialer.wake_at - time.monotonic()))) == []
        dialer.close()
        assert descriptors() == before
        assert dialer.wake_at == inf


def test_several_names_race_side_by_side(name: Name, refused: int) -> None:
    """Each gets what is its own, though descriptors' numbers go from one to the other."""
    with socket.create_server((HOST, 0)) as listener, BlackHole() as hole:
        name(refused, hole.port, listener.getsockname()[1])
        poller = make_poller()
        dialer: Dialer[int] = Dialer(poller, None)
        begun = time.monotonic()
        streams: dict[int, Any] = {}
        for key in range(8):
            assert dialer.start(key, parse_server(NAME), LONG) is None
        while len(streams) < 8:
            streams.update(dialer.take(poller.wait(max(0.0, dialer.wake_at - time.monotonic()))))
        peers = {stream.sock.getpeername() for stream in streams.values()}
        for stream in streams.values():
            stream.close()
        assert peers == {listener.getsockname()} and time.monotonic() - begun < WELL_BEFORE

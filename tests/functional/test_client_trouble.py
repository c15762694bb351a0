# SPDX-License-Identifier: BSD-3-Clause
"""What a client meets, and the one error that each of it has: it names the server, the function and the handle.

What docs/failures.md says of a server that is down, silent, cut off or wrong. Blocking and asyncio.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gearfast import (
    AsyncClient,
    Backoff,
    Client,
    Command,
    ConnectError,
    ConnectionLost,
    DeadlineExceeded,
    GearfastError,
    Job,
    JobTimeout,
    Packet,
    ResultTooLarge,
    Retry,
    Server,
    SubmitUncertain,
    Timeout,
    Worker,
)
from gearfast.session.hub import Resubmit

from .fault_proxy import Connection, ScriptedPeer
from .gearmand import reverse, working
from .servers import HOST, PATIENCE, wait_until

JOB = b"H:x:1"


def created() -> Packet:
    return Packet(Command.JOB_CREATED, [JOB])


def complete(result: bytes = b"r") -> Packet:
    return Packet(Command.WORK_COMPLETE, [JOB, result])


def failure(mode: str, address: str, call: Callable[[Any], Any], **options: Any) -> BaseException:
    """The error of a call of a blocking or an asyncio client."""
    options = {"exceptions": False, **options}
    if mode == "blocking":
        with Client(address, **options) as client, pytest.raises(GearfastError) as caught:
            call(client)
        return caught.value

    async def attempt() -> BaseException:
        async with AsyncClient(address, **options) as client:
            with pytest.raises(GearfastError) as caught:
                await call(client)
            return caught.value

    return asyncio.run(attempt())


@pytest.fixture(params=["blocking", "asyncio"])
def mode(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def names(error: BaseException, *words: str) -> None:
    """The message has all of these."""
    assert all(word in str(error) for word in words), error


def test_a_function_that_nobody_does(mode: str) -> None:
    with Server() as server:
        error = failure(mode, server.url, lambda client: client.run("nobody", timeout=0.1))
        assert isinstance(error, JobTimeout)
        handle = error.handle
        assert handle.startswith("H:")
        names(error, "'nobody'", handle, f"{HOST}:{server.port}")
        with Client(server.url) as client:  # it just waits: a worker may come
            future = client.submit("reverse", b"ab")
            wait_until(lambda: future.handle, "it is taken")
            worker = Worker(server.url)
            worker.register("reverse", reverse)
            with working(worker):
                assert future.result(PATIENCE) == b"ba"


def test_a_server_that_is_down(mode: str) -> None:
    with Server() as server:
        address = f"{HOST}:{server.port}"
    for call in (lambda client: client.run("f"), lambda client: client.submit_background("f")):
        error = failure(mode, address, call)
        assert isinstance(error, ConnectError) and set(error.servers) == {address}
        names(error, "'f'", address, "refused")
    for call in (lambda client: client.cancel("H:x:1"), lambda client: client.status("H:x:1")):
        error = failure(mode, address, call)
        assert isinstance(error, ConnectError)
        names(error, "H:x:1", address, "refused")


def test_a_server_that_comes_back_while_it_is_tried_again(mode: str) -> None:
    retry = Retry(1000, backoff=Backoff(0.01, factor=1), on=ConnectError)
    with Server() as server:
        port = server.port
    results: list[object] = []

    def use() -> None:
        if mode == "blocking":
            with Client(f"{HOST}:{port}", timeout=PATIENCE) as client:
                results.append(client.submit_background("f", retry=retry))
        else:

            async def submit() -> None:
                async with AsyncClient(f"{HOST}:{port}", timeout=PATIENCE) as client:
                    results.append(await client.submit_background("f", retry=retry))

            asyncio.run(submit())

    thread = threading.Thread(target=use)
    thread.start()
    with Server(port=port):
        thread.join(PATIENCE)
    assert len(results) == 1 and str(results[0]).startswith("H:")


def silent(connection: Connection) -> None:
    connection.wait_for_end()


@pytest.mark.parametrize(
    ("call", "kind", "what"),
    [
        (lambda client: client.run("f"), DeadlineExceeded, "'f'"),
        (lambda client: client.run("f", timeout=0.05), JobTimeout, "'f'"),
        (lambda client: client.submit_background("f"), DeadlineExceeded, "'f'"),
        (lambda client: client.submit_background("f", timeout=0.05), DeadlineExceeded, "'f'"),
        (lambda client: client.status("H:x:1", timeout=0.05), DeadlineExceeded, "H:x:1"),
        (lambda client: client.status(unique="photo"), DeadlineExceeded, "photo"),
        (lambda client: client.cancel("H:x:1", timeout=0.05), DeadlineExceeded, "H:x:1"),
        (lambda client: client.cancel(client.submit("f"), timeout=0.05), JobTimeout, "'f'"),
        (lambda client: client.echo(timeout=0.05), DeadlineExceeded, "ECHO_REQ"),
    ],
)
def test_a_server_that_never_answers(mode: str, call: Any, kind: type[BaseException], what: str) -> None:
    with ScriptedPeer(silent) as peer:
        begun = time.monotonic()
        # Who is told a time of its own has no other one: a job that has failed by that is not there to be cancelled.
        reply = None if kind is JobTimeout else 0.1
        error = failure(mode, peer.address, call, timeout=Timeout(reply=reply))
        assert isinstance(error, kind) and time.monotonic() - begun < PATIENCE / 2
        names(error, what, peer.address)
        assert error.server == peer.address  # type: ignore[attr-defined]
        assert error.handle == (what if what == "H:x:1" else "")  # type: ignore[attr-defined]


def test_a_server_that_stops_answering_counts_as_lost(mode: str) -> None:
    """It is asked by ECHO_REQ, over and over; the connection itself looks good."""

    def script(connection: Connection) -> None:
        connection.read("SUBMIT_JOB")
        connection.send(created())
        connection.read("ECHO_REQ")
        connection.send(Packet(Command.ECHO_RES, [b"gearfast"]))
        connection.read("ECHO_REQ")
        connection.wait_for_end()

    with ScriptedPeer(script) as peer:
        limits = Timeout(health=0.05, reply=None)
        error = failure(mode, peer.address, lambda client: client.run("f"), timeout=limits, resubmit="never")
        assert type(error) is ConnectionLost and error.handle == "H:x:1"
        names(error, "'f'", "H:x:1", peer.address, "does not answer")


def test_an_idle_connection_is_asked_too(mode: str) -> None:
    asked = threading.Semaphore(0)

    def script(connection: Connection) -> None:
        connection.read("SUBMIT_JOB")
        connection.send(created(), complete())
        with contextlib.suppress(EOFError):
            while True:
                connection.read("ECHO_REQ")
                connection.send(Packet(Command.ECHO_RES, [b"gearfast"]))
                asked.release()

    limits = Timeout(health=0.02)
    with ScriptedPeer(script) as peer:
        if mode == "blocking":
            with Client(peer.address, timeout=limits, exceptions=False) as client:
                assert client.submit("f").result(PATIENCE) == b"r"
                assert all(asked.acquire(timeout=PATIENCE) for _ in range(3))
        else:

            async def wait() -> None:
                async with AsyncClient(peer.address, timeout=limits, exceptions=False) as client:
                    assert await client.run("f") == b"r"
                    loop = asyncio.get_running_loop()
                    for _ in range(3):
                        assert await loop.run_in_executor(None, asked.acquire, True, PATIENCE)

            asyncio.run(wait())


def test_a_blocking_call_asks_over_a_connection_that_rested_long() -> None:
    """Before the job, in the same piece, so that it costs no round trip."""

    def script(connection: Connection) -> None:
        connection.read("SUBMIT_JOB")
        connection.send(created(), complete())
        connection.read("ECHO_REQ")
        connection.send(Packet(Command.ECHO_RES, [b"gearfast"]))
        connection.read("SUBMIT_JOB")
        connection.send(created(), complete(b"again"))
        connection.wait_for_end()

    with ScriptedPeer(script) as peer, Client(peer.address, exceptions=False) as client:
        assert client.run("f", timeout=PATIENCE) == b"r"
        (pump,) = client._pumps
        pump.hub.links[0].ping_at = pump.idle_since = 0.0
        assert client.run("f", timeout=PATIENCE) == b"again"
        assert peer.accepted == 1


@pytest.mark.parametrize("sent", [b"", created().encode(), created().encode() + complete(b"12345678").encode()[:-5]])
@pytest.mark.parametrize("resubmit", ["unique", "same", "any", "never"])
def test_a_server_that_hangs_up_in_the_middle(mode: str, sent: bytes, resubmit: Resubmit) -> None:
    def script(connection: Connection) -> None:
        connection.read("SUBMIT_JOB")
        if connection.number == 1:
            connection.socket.sendall(sent)
            return
        connection.send(created(), complete(b"again"))
        connection.wait_for_end()

    with ScriptedPeer(script) as peer:
        if resubmit in ("unique", "never"):
            error = failure(mode, peer.address, lambda client: client.run("f"), resubmit=resubmit)
            assert type(error) is (ConnectionLost if sent else SubmitUncertain)
            names(error, "'f'", peer.address, "closed by the server", "H:x:1" if sent else "may or may not be queued")
        elif mode == "blocking":
            with Client(peer.address, exceptions=False, resubmit=resubmit) as client:
                assert client.run("f", timeout=PATIENCE) == b"again"
        else:

            async def run() -> bytes:
                async with AsyncClient(peer.address, exceptions=False, resubmit=resubmit) as client:
                    return await client.run("f", timeout=PATIENCE)

            assert asyncio.run(run()) == b"again"


@pytest.mark.parametrize(
    ("packet", "told"),
    [
        (Packet(Command.JOB_ASSIGN, [JOB, b"f", b"w"]).encode(), "JOB_ASSIGN is not for a client"),
        (Packet(Command.STATUS_RES, [JOB, b"0", b"0", b"0", b"0"]).encode(), "STATUS_RES came, but nothing was asked"),
        (b"OK\r\n", "text b'OK' where a packet was due"),
        (b"\0GET / HTTP/1.1", "GET"),
        (b"\0RES\0\0\0\x08" + b"\xff" * 4, "over the limit"),
    ],
)
def test_a_server_that_sends_what_it_should_not(mode: str, packet: bytes, told: str) -> None:
    def script(connection: Connection) -> None:
        connection.read("SUBMIT_JOB")
        connection.send(created())
        connection.socket.sendall(packet)
        connection.wait_for_end()

    with ScriptedPeer(script) as peer:
        error = failure(mode, peer.address, lambda client: client.run("f"))
        assert type(error) is ConnectionLost and error.handle == "H:x:1" and error.server == peer.address
        names(error, "'f'", "H:x:1", peer.address, told)
        assert peer.accepted == 1, "nothing is repeated: the server would only do it again"


@pytest.fixture(scope="module")
def large() -> Iterator[Server]:
    """A server whose worker gives as many bytes as it is asked for."""
    with Server() as server:
        worker = Worker(server.url)

        @worker.function("many")
        def many(job: Job) -> bytes:
            return b"x" * int(job.workload)

        with working(worker):
            yield server


def test_a_result_over_the_limit(mode: str, large: Server) -> None:
    def call(client: Any) -> Any:
        return client.run("many", b"5000000")

    error = failure(mode, large.url, call, max_result=1_000_000)
    assert isinstance(error, ResultTooLarge)
    assert (error.size, error.limit, error.function) == (5_000_000, 1_000_000, "many")
    names(error, "'many'", error.handle, f"{HOST}:{large.port}", "max_result=1000000")


def test_a_result_over_the_limit_costs_the_others_nothing(large: Server) -> None:
    with Client(large.url, max_result=1_000_000) as client:
        futures = [client.submit("many", data) for data in (b"1000000", b"3000000", b"10")]
        assert len(futures[0].result(PATIENCE)) == 1_000_000
        assert isinstance(futures[1].exception(PATIENCE), ResultTooLarge)
        assert len(futures[2].result(PATIENCE)) == 10
        results: list[Any] = list(client.map("many", [b"1", b"2000000", b"3"], return_exceptions=True))
        assert [len(results[0]), len(results[2])] == [1, 3] and isinstance(results[1], ResultTooLarge)
    with Client(large.url, max_result=5_000_000) as client:
        assert len(client.run("many", b"5000000")) == 5_000_000


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_what_a_forked_child_finds_of_its_parents_jobs(large: Server) -> None:
    """They are the parent's: in the child they have failed; the client itself works in both."""
    called: list[int] = []
    with Client(large.url) as client:
        future, stream = client.submit("nobody"), client.map("many", [b"1"] * 100, window=3)
        future.add_done_callback(lambda _: called.append(os.getpid()))
        wait_until(lambda: future.handle, "it is taken")
        assert next(stream) == b"x"
        child = os.fork()
        if child == 0:
            found = []
            with contextlib.suppress(BaseException):
                error = future.exception(PATIENCE)
                found.append(type(error) is ConnectionLost and "forked" in str(error) and not called)
                found.append(list(future.events()) == [])
                try:
                    for _ in stream:
                        pass
                except ConnectionLost as lost:
                    found.append("forked" in str(lost))
                found.append(client.run("many", b"2", timeout=PATIENCE) == b"xx")
                found.append(client.submit("many", b"3").result(PATIENCE) == b"xxx")
            os._exit(0 if found == [True] * 5 else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert list(stream) == [b"x"] * 99
        assert not future.done() and future.cancel() and called == [os.getpid()]


def test_a_server_that_comes_back_is_used_again(mode: str) -> None:
    """Jobs go to the other one meanwhile, and none of them fails; equal uniques meet at their server again."""
    soon = Backoff(0.01, factor=1)
    with Server() as first, Server() as other:
        port, servers = first.port, [f"{HOST}:{first.port}", f"{HOST}:{other.port}"]

        async def through(client: AsyncClient) -> set[str]:
            return {(await client.submit_background("f", unique=f"u{n}")).server for n in range(20)}

        async def use_async() -> list[set[str]]:
            async with AsyncClient(servers, timeout=PATIENCE, backoff=soon, resubmit="any") as client:
                used = [await through(client)]
                first.stop()
                used.append(await through(client))
                with Server(port=port):
                    deadline = time.monotonic() + PATIENCE
                    while len(again := await through(client)) < 2:
                        assert time.monotonic() < deadline
                    return [*used, again]

        def use() -> list[set[str]]:
            with Client(servers, timeout=PATIENCE, backoff=soon, resubmit="any") as client:

                def through() -> set[str]:
                    return {client.submit_background("f", unique=f"u{n}").server for n in range(20)}

                used = [through()]
                first.stop()
                used.append(through())
                with Server(port=port):
                    return [*used, wait_until(lambda: len(found := through()) == 2 and found, "both are used")]

        used = use() if mode == "blocking" else asyncio.run(use_async())
    assert used == [set(servers), {servers[1]}, set(servers)]

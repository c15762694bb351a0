# SPDX-License-Identifier: BSD-3-Clause
"""The blocking client and worker when connections, servers and callables fail."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gearfast import AdminClient, Client, Packet, Server, Worker
from gearfast.errors import (
    ConnectError,
    ConnectionLost,
    DeadlineExceeded,
    JobTimeout,
    SubmitUncertain,
    UsageError,
)
from gearfast.protocol import Command
from gearfast.session.requests import JobRequest, Timeout
from gearfast.sync.worker import Job

from .fault_proxy import DOWN, UP, BlackHole, Connection, End, FaultProxy, ScriptedPeer, hang_up, reset
from .gearmand import reverse, working
from .servers import PATIENCE, wait_until

ROOT = Path(__file__).resolve().parents[2]
LATE = 0.25 * float(os.environ.get("GEARFAST_TEST_SLOW", "1"))
"""How late, in seconds, a deadline may be kept on a machine that does other things too."""


def descriptors() -> int:
    """How many descriptors this process has, where Linux tells."""
    return len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0


@pytest.fixture(autouse=True)
def leaves_nothing() -> Iterator[None]:
    """No thread, descriptor or warning is left of any test here."""
    gc.collect()
    threads, fds = threading.active_count(), descriptors()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", ResourceWarning)
        yield
        gc.collect()
    wait_until(lambda: threading.active_count() <= threads, "the threads have ended", PATIENCE)
    assert descriptors() <= fds
    assert not [str(warning.message) for warning in told]


@contextlib.contextmanager
def reversing() -> Iterator[tuple[Server, list[bytes]]]:
    """A server with a worker of `reverse`; and the workloads that the worker has got."""
    got: list[bytes] = []

    def work(job: Job) -> bytes:
        got.append(job.workload)
        return reverse(job)

    with Server() as server:
        worker = Worker(server.url)
        worker.register("reverse", work)
        with working(worker):
            yield server, got


def created(handle: bytes) -> Packet:
    return Packet(Command.JOB_CREATED, [handle])


def complete(handle: bytes, result: bytes) -> Packet:
    return Packet(Command.WORK_COMPLETE, [handle, result])


def silent(connection: Connection) -> None:
    """A server that takes everything and says nothing."""
    connection.wait_for_end()


# Connections that end in the middle


SUBMIT = len(Packet(Command.SUBMIT_JOB, [b"reverse", b"u-000", b"abc"]).encode())


@pytest.mark.parametrize("end", ["close", "reset", "half-close"])
@pytest.mark.parametrize("direction", [UP, DOWN])
def test_a_connection_may_end_at_any_byte(direction: int, end: End) -> None:
    """Each job is answered once, whatever part of the conversation got through."""
    with reversing() as (server, _), FaultProxy(server.port) as proxy:
        with Client(proxy.address, exceptions=False) as client:
            assert client.run("reverse", b"abc", unique="u") == b"cba"
        step = 3 if direction == DOWN else 2
        for count in range(0, 90 if direction == DOWN else SUBMIT + 1, step):
            proxy.break_after(direction, count, end)
            with Client(proxy.address, exceptions=False, timeout=PATIENCE) as client:
                assert client.run("reverse", b"abc", unique=f"u-{count:03}") == b"cba", count
                assert count > 70 or proxy.broken.wait(PATIENCE)
                assert client.run("reverse", b"next", unique=f"v-{count:03}") == b"txen", count


@pytest.mark.parametrize("end", ["close", "reset"])
def test_policy_never_says_exactly_what_is_known(end: End) -> None:
    hold = threading.Event()
    with Server() as server, FaultProxy(server.port) as proxy:
        worker = Worker(server.url)

        @worker.function("reverse")
        def work(job: Job) -> bytes:
            if job.unique == b"held":
                assert hold.wait(PATIENCE)
            return reverse(job)

        with working(worker), Client(proxy.address, exceptions=False, resubmit="never", timeout=PATIENCE) as client:
            proxy.break_after(UP, SUBMIT, "hold")
            proxy.break_after(UP, SUBMIT - 1, end)
            with pytest.raises(SubmitUncertain) as uncertain:  # half sent
                client.run("reverse", b"abc", unique="u-000")
            assert uncertain.value.server == proxy.address and not uncertain.value.handle
            proxy.break_after(DOWN, 5, end)
            with pytest.raises(SubmitUncertain):  # JOB_CREATED half received
                client.run("reverse", b"abc", unique="u-001")
            future = client.submit("reverse", b"abc", unique="held")
            wait_until(lambda: future.handle, "the job has its handle")
            proxy.cut(reset if end == "reset" else hang_up)
            with pytest.raises(ConnectionLost) as lost:
                future.result(PATIENCE)
            assert type(lost.value) is ConnectionLost and lost.value.handle == future.handle
            hold.set()
            assert client.run("reverse", b"abc") == b"cba"


def test_bytes_that_come_one_by_one() -> None:
    with reversing() as (server, _), FaultProxy(server.port, split=1) as proxy:
        worker = Worker(proxy.address, concurrency=2)
        worker.register("twice", lambda job: job.workload * 2)
        with working(worker), Client(proxy.address) as client:
            assert client.run("reverse", b"abc") == b"cba"
            assert list(client.map("twice", [b"%d" % n for n in range(10)], window=4)) == [
                b"%d" % n * 2 for n in range(10)
            ]


def test_a_server_that_went_while_nothing_was_asked_is_passed_over() -> None:
    """Its end of the connection was closed before the job was sent, so the job cannot be there."""
    with Server() as first, Server() as second:
        workers = [Worker(first.url), Worker(second.url)]
        for name, worker in zip((b"first", b"second"), workers, strict=True):
            worker.register("where", lambda job, name=name: name)  # type: ignore[misc]
        with (
            working(*workers),
            Client([first.url, second.url], resubmit="never") as client,
            Client(first.url, resubmit="never") as never,
        ):
            unique = next(f"u{n}" for n in range(1000) if client.run("where", unique=f"u{n}") == b"first")
            assert never.run("where") == b"first"
            first.stop()
            begun = time.monotonic()
            while time.monotonic() < begun + 0.006:  # it is looked after only if it has rested for some milliseconds
                pass
            assert client.run("where", unique=unique, timeout=PATIENCE) == b"second"
            with pytest.raises(ConnectError):
                never.run("where")


def test_an_administrator_whose_server_was_restarted() -> None:
    with Server() as server:
        port = server.port
        admin = AdminClient(server.url)
        assert admin.version()
        server.stop()
        with Server(port=port):
            assert admin.version()
        admin.close()


def test_results_that_came_before_the_end_are_not_lost() -> None:
    """The server sends all results, then ends the connection by RST; the next send fails, the results are there."""
    ended = threading.Event()

    def script(connection: Connection) -> None:
        if ended.is_set():
            connection.read("SUBMIT_JOB")
            connection.send(created(b"H:late"))
            return
        handles = [b"H:%d" % n for n in range(4)]
        for handle in handles:
            connection.read("SUBMIT_JOB")
            connection.send(created(handle))
        connection.send(*[complete(handle, handle) for handle in handles])
        reset(connection.socket)
        ended.set()

    def workloads() -> Iterator[bytes]:
        yield from (b"0", b"1", b"2", b"3")
        assert ended.wait(PATIENCE)
        yield b"too late"

    with ScriptedPeer(script) as peer, Client(peer.address, resubmit="never", exceptions=False) as client:
        results = client.map("f", workloads(), window=5)
        assert [next(results) for _ in range(4)] == [b"H:0", b"H:1", b"H:2", b"H:3"]
        with pytest.raises((ConnectionLost, ConnectError)):
            next(results)


def test_what_stands_before_a_server_may_take_connections_in_its_place() -> None:
    """A balancer accepts and hangs up until its server is back: the job waits for that, within its time."""
    back = time.monotonic() + 1.0

    def script(connection: Connection) -> None:
        if time.monotonic() >= back:
            connection.read("SUBMIT_JOB")
            connection.send(created(b"H:1"), complete(b"H:1", b"there"))
            connection.wait_for_end()

    with ScriptedPeer(script) as peer, Client(peer.address, resubmit="same", exceptions=False) as client:
        assert client.run("f", timeout=PATIENCE) == b"there"


# Deadlines


def in_time(call: Callable[[], object], error: type[BaseException], seconds: float) -> None:
    """The call fails so after this time."""
    begun = time.monotonic()
    with pytest.raises(error):
        call()
    assert seconds / 2 < time.monotonic() - begun <= seconds + LATE


def dribbling(connection: Connection) -> None:
    """Half a packet, a byte at a time, for ever."""
    connection.read("SUBMIT_JOB")
    connection.send(created(b"H:1"))
    connection.socket.sendall(complete(b"H:1", b"").encode()[:8])
    connection.socket.sendall((10_000_000).to_bytes(4, "big") + b"H:1\0")
    while True:
        connection.socket.sendall(b"x")


@pytest.mark.parametrize("script", [silent, dribbling])
def test_deadlines_hold_whatever_the_server_does(script: Callable[[Connection], None]) -> None:
    with ScriptedPeer(script) as peer, Client(peer.address, exceptions=False) as client:
        for _ in range(2):
            in_time(lambda: client.run("f", timeout=0.2), JobTimeout, 0.2)
        future = client.submit("f", timeout=0.2)
        in_time(lambda: future.result(PATIENCE), JobTimeout, 0.2)
        in_time(lambda: list(client.map("f", [b"1", b"2"], timeout=0.2)), JobTimeout, 0.2)
    with ScriptedPeer(silent) as peer, Client(peer.address, timeout=0.2) as client:
        in_time(client.echo, DeadlineExceeded, 0.2)
        in_time(lambda: client.submit_background("f"), DeadlineExceeded, 0.2)
        in_time(lambda: client.status("H:1"), DeadlineExceeded, 0.2)


def test_deadlines_hold_while_a_connection_is_made() -> None:
    """One who waits long for a connection holds up nobody, nor is his wait cut short by others."""
    with BlackHole() as hole, Client(hole.address, timeout=Timeout(connect=1.0)) as client:
        in_time(lambda: client.run("f", timeout=0.2), JobTimeout, 0.2)
        patient = client.submit("f")
        in_time(lambda: client.submit("f", timeout=0.2).result(PATIENCE), JobTimeout, 0.2)
        assert not patient.done()
        with pytest.raises(ConnectError):
            patient.result(PATIENCE)
        client.submit("f")
        begun = time.monotonic()
        client.close()
        assert time.monotonic() - begun < LATE


def test_a_black_hole_does_not_hold_up_another_server() -> None:
    with reversing() as (server, _), BlackHole() as hole:
        with Client([hole.address, server.url], timeout=Timeout(connect=60.0)) as client:
            for number in range(8):  # about half of them belong to the other one
                unique = f"u{number}"
                assert client.run("reverse", b"ab", unique=unique, timeout=1.0) == b"ba"
        worker = Worker([hole.address, server.url], timeout=60.0)
        worker.register("here", lambda job: b"yes")
        with working(worker), Client(server.url) as client:
            assert client.run("here", timeout=PATIENCE) == b"yes"
            begun = time.monotonic()
        assert time.monotonic() - begun < 2 + LATE  # it leaves at once, too


def test_time_limits_beyond_what_the_system_can_wait() -> None:
    release = threading.Event()

    def script(connection: Connection) -> None:
        connection.read("SUBMIT_JOB")
        connection.send(created(b"H:1"))
        assert release.wait(PATIENCE)
        connection.send(complete(b"H:1", b"done"))
        connection.wait_for_end()

    for seconds in (1e10, float("inf")):
        release.clear()
        with ScriptedPeer(script) as peer, Client(peer.address, timeout=seconds, exceptions=False) as client:
            future = client.submit("f", timeout=seconds)
            wait_until(lambda: future.handle, "the job has its handle")  # noqa: B023
            release.set()
            assert future.result(PATIENCE) == b"done"
    with pytest.raises(UsageError):
        Client(timeout=float("nan"))


def test_results_that_wait_for_a_slow_caller_are_in_time() -> None:
    """The results have come, only nobody has looked yet when their time is up."""
    with reversing() as (server, got), Client(server.url) as client:
        results = client.map("reverse", [b"ab", b"cd", b"ef"], window=3, timeout=0.3)
        assert next(results) == b"ba"
        wait_until(lambda: len(got) == 3 and not server.jobs(), "all jobs are done")
        begun = time.monotonic()
        while time.monotonic() < begun + 0.35:
            threading.Event().wait(0.05)
        assert list(results) == [b"dc", b"fe"]


def test_map_does_not_wait_for_a_slow_generator() -> None:
    """What it gave is sent, and what is done is given out, before the next is asked for."""
    with reversing() as (server, got), Client(server.url) as client:

        def slow() -> Iterator[bytes]:
            for number in range(3):
                yield b"%d" % number
                wait_until(lambda: len(got) > number, f"job {number} was done")  # noqa: B023

        assert list(client.map("reverse", slow(), timeout=PATIENCE)) == [b"0", b"1", b"2"]
        with pytest.raises(ZeroDivisionError):
            list(client.map("reverse", (b"%d" % (1 // n) for n in (1, 0))))
        assert client.run("reverse", b"ab") == b"ba"


# Futures


def test_cancel_ends_the_wait_for_events() -> None:
    with ScriptedPeer(silent) as peer, Client(peer.address) as client:
        for _ in range(20):
            future = client.submit("f")
            ended = threading.Thread(target=lambda: list(future.events()))  # noqa: B023
            ended.start()
            wait_until(lambda: future._changed is not None, "somebody waits for events")  # noqa: B023
            held = []
            submitter = future._submitter
            abandon = submitter.abandon

            def spy(job: JobRequest) -> None:
                held.append(submitter.lock.locked())  # noqa: B023
                abandon(job)  # noqa: B023

            submitter.abandon = spy  # type: ignore[method-assign]
            assert future.cancel()
            assert held[0]  # else one who waits may look in between, and then waits for ever
            del submitter.abandon
            ended.join(PATIENCE)
            assert not ended.is_alive()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_many_threads_and_a_fork() -> None:
    with reversing() as (server, _), Client(server.url) as client:
        stop = threading.Event()
        wrong: list[object] = []

        def ask(number: int) -> None:
            while not stop.is_set():
                data = b"%d" % number
                if client.run("reverse", data, timeout=PATIENCE) != data[::-1]:
                    wrong.append(number)

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(100, 104)]
        for thread in threads:
            thread.start()
        for _ in range(3):
            future = client.submit("reverse", b"ab")
            child = os.fork()
            if child == 0:
                ok = False
                with contextlib.suppress(BaseException):
                    ok = client.run("reverse", b"xy", timeout=PATIENCE) == b"yx"
                    ok = ok and client.submit("reverse", b"pq").result(PATIENCE) == b"qp"
                os._exit(0 if ok else 1)
            assert os.waitpid(child, 0)[1] == 0
            assert future.result(PATIENCE) == b"ba"
        stop.set()
        for thread in threads:
            thread.join(PATIENCE)
        assert not wrong

# SPDX-License-Identifier: BSD-3-Clause
"""The blocking worker when its callables, its servers and its connections fail."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gearfast import AsyncWorker, Client, Packet, Server, Worker
from gearfast.errors import Fail, JobException, JobFailed
from gearfast.protocol import Command
from gearfast.sync.worker import Job

from .either_worker import at_work
from .fault_proxy import DOWN, UP, BlackHole, Connection, FaultProxy, ScriptedPeer
from .gearmand import reverse, working
from .servers import PATIENCE, wait_until
from .test_adversity import LATE, leaves_nothing, silent

__all__ = ["leaves_nothing"]

ROOT = Path(__file__).resolve().parents[2]


class Unspeakable(Exception):
    """An exception whose text cannot be told."""

    def __str__(self) -> str:
        raise ValueError("no text")


class UnspeakableFail(Fail):
    """The same as a Fail."""

    def __str__(self) -> str:
        raise ValueError("no text")


def released() -> memoryview:
    with memoryview(b"abc") as view:
        return view


def raising(error: BaseException) -> Callable[[], Any]:
    def call() -> None:
        raise error

    return call


@pytest.mark.parametrize("concurrency", [1, 3])
def test_no_callable_stops_the_worker(concurrency: int) -> None:
    """Whatever it gives back or raises, its job is answered and the next one is done."""
    odd: dict[str, tuple[Callable[[], Any], type[JobFailed]]] = {
        "unspeakable": (raising(Unspeakable()), JobException),
        "unspeakable-fail": (raising(UnspeakableFail()), JobFailed),
        "stop-iteration": (lambda: next(iter(())), JobException),
        "generator": (lambda: (yield b""), JobException),
        "released": (released, JobException),
        "surrogate": (lambda: "\ud800", JobException),
        "number": (lambda: 5, JobException),
    }
    with Server() as server:
        worker = Worker(server.url, concurrency=concurrency)
        worker.register("reverse", reverse)
        worker.register("strided", lambda job: memoryview(b"abcdef")[::2])
        for name, (call, _) in odd.items():
            worker.register(name, lambda job, call=call: call())  # type: ignore[misc]
        with working(worker), Client(server.url) as client:
            assert client.run("strided") == b"ace"
            for name, (_, error) in odd.items():
                for _ in range(concurrency + 1):
                    with pytest.raises(error):
                        client.run(name, timeout=PATIENCE)
                assert client.run("reverse", b"ab", timeout=PATIENCE) == b"ba"


class Bail(BaseException):
    """Neither an Exception nor one of Python's own."""


@pytest.mark.parametrize("concurrency", [1, 2])
@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), Bail()])
def test_what_is_no_exception_leaves_run_and_gives_the_job_back(error: BaseException, concurrency: int) -> None:
    with Server() as server:
        worker, heir = Worker(server.url, concurrency=concurrency), Worker(server.url)

        @worker.function("f")
        def leave(job: Job) -> bytes:
            raise error

        heir.register("f", lambda job: b"heir")
        with Client(server.url) as client:
            future = client.submit("f")
            with pytest.raises(type(error)):
                worker.run()
            with working(heir):
                assert future.result(PATIENCE) == b"heir"


def test_an_interrupt_does_not_wait_for_jobs_in_threads() -> None:
    """Ctrl-C while the worker's threads are busy: `run` is left, and the worker can run again."""
    go_on = threading.Event()
    with Server() as server, Client(server.url) as client:
        worker = Worker(server.url, concurrency=2)

        @worker.function("f")
        def work(job: Job) -> bytes:
            if not go_on.is_set():
                signal.raise_signal(signal.SIGINT)
                assert go_on.wait(PATIENCE)
            return b"done"

        future = client.submit("f")
        with pytest.raises(KeyboardInterrupt):
            worker.run()
        go_on.set()
        with working(worker):
            assert future.result(PATIENCE) == b"done"  # it went back to the server


@pytest.mark.parametrize("concurrency", [1, 2])
def test_stop_sends_the_last_results_whole(concurrency: int) -> None:
    """`run` returns once a big result is out, not once it was begun."""
    begun, go_on = threading.Event(), threading.Event()
    with Server() as server, FaultProxy(server.port) as proxy, Client(server.url) as client:
        worker = Worker(proxy.address, concurrency=concurrency)

        @worker.function("big")
        def big(job: Job) -> bytes:
            begun.set()
            assert go_on.wait(PATIENCE)
            return bytes(20_000_000)

        thread = threading.Thread(target=worker.run)
        thread.start()
        future = client.submit("big")
        assert begun.wait(PATIENCE)
        worker.stop()
        if concurrency > 1:
            wait_until(lambda: worker._crew.leaving, "the worker is about to leave")
        go_on.set()
        thread.join(PATIENCE)
        assert not thread.is_alive()
        assert len(future.result(PATIENCE)) == 20_000_000


def test_stop_does_not_wait_for_a_server_that_never_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gearfast.session.crew.LEAVE_SECONDS", 0.3)
    answered = threading.Event()

    def script(connection: Connection) -> None:
        connection.read("GRAB_JOB_ALL")
        connection.send(Packet(Command.JOB_ASSIGN_ALL, [b"H:1", b"f", b"u", b"", b""]))
        answered.wait(PATIENCE)

    with ScriptedPeer(script) as peer:
        worker = Worker(peer.address)

        @worker.function("f")
        def work(job: Job) -> bytes:
            worker.stop()
            return bytes(50_000_000)

        thread = threading.Thread(target=worker.run)
        thread.start()
        thread.join(PATIENCE)
        assert not thread.is_alive()
        answered.set()


def test_stop_while_nothing_can_be_connected() -> None:
    with BlackHole() as hole:
        worker = Worker(hole.address, timeout=None)
        worker.register("f", reverse)
        thread = threading.Thread(target=worker.run)
        thread.start()
        wait_until(lambda: worker._lines.dialer._under_way, "it connects")
        begun = time.monotonic()
        worker.stop()
        thread.join(PATIENCE)
        assert time.monotonic() - begun < LATE


@pytest.mark.parametrize("end", ["close", "reset"])
def test_a_workers_connection_may_end_at_any_byte(end: Any) -> None:
    """The server gives the job out again; its client sees one result."""
    with Server(job_retries=-1) as server, FaultProxy(server.port) as proxy, Client(server.url) as client:
        worker = Worker(proxy.address)
        worker.register("reverse", reverse)
        with working(worker):
            assert client.run("reverse", b"abc", timeout=PATIENCE) == b"cba"
            for direction, last in ((UP, 48), (DOWN, 48)):
                for count in range(0, last, 12):
                    proxy.break_after(direction, count, end)
                    assert client.run("reverse", b"abc", timeout=PATIENCE) == b"cba"
                    assert proxy.broken.wait(PATIENCE)


def test_a_server_that_does_not_answer_a_grab_holds_up_nobody_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker has one slot, and the silent server got it first."""
    monkeypatch.setattr("gearfast.session.crew.GRAB_SECONDS", 0.2)
    with ScriptedPeer(silent) as peer, Server() as server, Client(server.url) as client:
        worker = Worker([peer.address, server.url])
        worker.register("reverse", reverse)
        with working(worker):
            assert client.run("reverse", b"ab", timeout=PATIENCE) == b"ba"


@pytest.mark.parametrize("kind", [Worker, AsyncWorker])
def test_a_server_that_breaks_the_protocol_is_left_and_tried_again(
    monkeypatch: pytest.MonkeyPatch, kind: type[Worker | AsyncWorker]
) -> None:
    monkeypatch.setattr("gearfast.session.crew.LEAVE_SECONDS", 0.2)

    def script(connection: Connection) -> None:
        connection.read("GRAB_JOB_ALL")
        if connection.number == 1:
            connection.send(*[Packet(Command.NO_JOB)] * 3)
        elif connection.number == 2:
            connection.socket.sendall(b"no Gearman\r\n")
        elif connection.number == 3:
            connection.send(Packet(Command.JOB_CREATED, [b"H:1"]))
        elif connection.number == 4:
            connection.socket.sendall(b"\0RES\0\0\0\x63\xff\xff\xff\xff")
        else:
            connection.send(Packet(Command.JOB_ASSIGN_ALL, [b"H:1", b"f", b"u", b"", b"x"]))
            assert connection.read("WORK_COMPLETE").args == (b"H:1", b"x")
            done.set()
        connection.wait_for_end()

    done = threading.Event()
    with ScriptedPeer(script) as peer:
        worker = kind(peer.address)
        worker.register("f", lambda job: job.workload[::-1])
        with at_work(worker):
            assert done.wait(PATIENCE)


def test_a_callable_uses_a_client_of_the_same_server_and_changes_the_worker() -> None:
    with Server() as server, Client(server.url) as client:
        outer, inner = Worker(server.url), Worker(server.url, concurrency=2)

        @outer.function("outer")
        def work(job: Job) -> bytes:
            outer.register("late", lambda job: b"late")
            return client.run("inner", job.workload, timeout=PATIENCE) + b"!"

        @outer.function("once")
        def once(job: Job) -> bytes:
            outer.unregister("late")
            return b""

        inner.register("inner", reverse)
        with working(outer, inner):
            for _ in range(5):
                assert client.run("outer", b"ab", timeout=PATIENCE) == b"ba!"
                assert client.run("late", timeout=PATIENCE) == b"late"
                assert client.run("once", timeout=PATIENCE) == b""


FORK = """
import os, sys
from gearfast import Worker
worker, me = Worker(sys.argv[1]), os.getpid()
@worker.function("f")
def f(job):
    if os.fork() == 0:
        return b"child"
    worker.stop()
    os.wait()
    return b"parent"
worker.run()
print("parent" if os.getpid() == me else "child", "has left")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_run_returns_in_a_forked_child_too() -> None:
    with Server() as server, Client(server.url) as client:
        future = client.submit("f")
        command = [sys.executable, "-X", "dev", "-c", FORK, server.url]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, cwd=ROOT)
        assert sorted(done.stdout.splitlines()) == ["child has left", "parent has left"], done.stderr
        assert future.result(PATIENCE) == b"parent" and not done.stderr


SIGNAL = """
import os, signal, sys, threading, time
from gearfast import Worker
worker, end = Worker(sys.argv[1], concurrency=2), time.monotonic() + 1
heard = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: (heard.set(), worker.stop()))
@worker.function("f")
def f(job):
    # It does not interrupt the main thread, as one does not that comes just before that begins to wait.
    with open(f"/proc/self/task/{os.getpid()}/wchan") as where:
        while "poll" not in where.read() and time.monotonic() < end:
            where.seek(0)
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
    return str(heard.wait(10))
worker.run()
print("left", signal.set_wakeup_fd(-1))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="where a thread waits is told by Linux")
def test_a_signal_that_does_not_interrupt_the_wait_is_heard() -> None:
    with Server() as server, Client(server.url) as client:
        future = client.submit("f")
        done = subprocess.run(
            [sys.executable, "-c", SIGNAL, server.url], capture_output=True, text=True, timeout=PATIENCE, cwd=ROOT
        )
        assert done.stdout == "left -1\n", done.stderr
        assert future.result(PATIENCE) == b"True"

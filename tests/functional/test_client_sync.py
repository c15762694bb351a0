# SPDX-License-Identifier: BSD-3-Clause
"""The blocking client against both job servers."""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import socket
import threading
import time

import pytest

from gearfast.demo.processes import free_port
from gearfast.errors import (
    ConnectError,
    ConnectionLost,
    DeadlineExceeded,
    Fail,
    JobException,
    JobFailed,
    JobTimeout,
    UsageError,
)
from gearfast.session.events import Data, Status, Warning
from gearfast.session.requests import Timeout
from gearfast.sync.client import Client
from gearfast.sync.worker import Job, Worker
from gearfast.types import Handle, JobStatus, Priority

from . import gearmand
from .gearmand import StartServer, reverse, working
from .servers import PATIENCE, ServerProcess, wait_until

server_kind, start_server, job_server = gearmand.server_kind, gearmand.start_server, gearmand.job_server


def test_run(job_server: ServerProcess) -> None:
    worker = Worker(job_server.address)
    worker.register("reverse", reverse)
    with working(worker), Client(job_server.address) as client:
        assert client.run("reverse", b"abc") == b"cba"
        assert client.run("reverse", bytearray(b"ab\0"), unique="u", priority=Priority.HIGH) == b"\0ba"
        assert client.run("reverse", memoryview(b"xy"), priority=Priority.LOW, timeout=PATIENCE) == b"yx"
        assert client.run("reverse") == b""
        assert client.echo(b"hello") == b"hello"


def test_big_workloads_and_results(job_server: ServerProcess) -> None:
    worker = Worker(job_server.address)
    worker.register("reverse", reverse)
    data = os.urandom(5_000_000)
    with working(worker), Client(job_server.address) as client:
        assert client.run("reverse", data) == data[::-1]
        assert [len(r) for r in client.map("reverse", [data[:n] for n in (3_000_000, 1, 2_000_000)])] == [
            3_000_000,
            1,
            2_000_000,
        ]


def test_failures_and_exceptions(job_server: ServerProcess) -> None:
    worker = Worker(job_server.address)

    @worker.function("fails")
    def fails(job: Job) -> None:
        raise Fail("no such photo")

    @worker.function("raises")
    def raises(job: Job) -> None:
        raise ValueError("bad width")

    @worker.function("odd")
    def odd(job: Job) -> bytes:
        return 5  # type: ignore[return-value]

    with working(worker), Client(job_server.address) as client:
        with pytest.raises(JobFailed, match="fails") as failed:
            client.run("fails")
        assert type(failed.value) is JobFailed and failed.value.function == "fails"
        assert failed.value.handle.startswith("H:")
        with pytest.raises(JobException, match="bad width") as raised:
            client.run("raises")
        assert raised.value.data == b"ValueError: bad width"
        with pytest.raises(JobException, match="must be bytes, str or None, not int"):
            client.run("odd")
        future = client.submit("fails")
        assert list(future.events()) == [Warning(b"no such photo")]
        assert isinstance(future.exception(PATIENCE), JobFailed)
        with Client(job_server.address, exceptions=False) as plain, pytest.raises(JobFailed) as caught:
            plain.run("raises")
        assert type(caught.value) is JobFailed


def test_events_and_progress(job_server: ServerProcess) -> None:
    go_on = threading.Event()
    worker = Worker(job_server.address)

    @worker.function("steps")
    def steps(job: Job) -> str:
        job.send_status(1, 3)
        job.send_data(b"a\0")
        assert go_on.wait(PATIENCE)
        job.send_warning("late")
        job.send_data("ü")
        job.send_status(3, 3)
        return "done"

    with working(worker), Client(job_server.address) as client:
        future = client.submit("steps", unique="photo")
        events = future.events(PATIENCE)
        assert [next(events), next(events)] == [Status(1, 3), Data(b"a\0")]
        assert future.progress == (1, 3)
        assert isinstance(future.handle, Handle) and future.handle.server == job_server.address
        assert (future.unique, future.function) == (b"photo", "steps")
        expected = JobStatus(True, True, 1, 3)
        assert wait_until(lambda: client.status(future.handle) == expected, "the status is told")
        assert client.status(str(future.handle)) == expected
        assert client.status(unique="photo") == expected._replace(clients=1)
        with pytest.raises(JobTimeout):
            next(future.events(0.01))
        go_on.set()
        assert list(events) == [Warning(b"late"), Data("ü".encode()), Status(3, 3)]
        assert future.result(PATIENCE) == b"done"
        assert not client.status(future.handle).known


def test_map_is_in_order_and_bounded(job_server: ServerProcess) -> None:
    running, most, lock = 0, 0, threading.Lock()
    worker = Worker(job_server.address, concurrency=8)

    @worker.function("count")
    def count(job: Job) -> bytes:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        try:
            return job.workload + b"!"
        finally:
            with lock:
                running -= 1

    with working(worker), Client(job_server.address) as client:
        source = iter(range(500))
        results = client.map("count", (b"%d" % n for n in source), window=5)
        assert next(results) == b"0!"
        assert next(source) <= 2 * 5 + 1
        rest = list(results)
        assert len(rest) == 498 and rest[-1] == b"499!"
        assert most <= 5
        assert list(client.map("count", [])) == []


def test_map_raises_where_a_job_failed_and_can_be_left(job_server: ServerProcess) -> None:
    worker = Worker(job_server.address)

    @worker.function("picky")
    def picky(job: Job) -> bytes:
        if job.workload == b"3":
            raise Fail
        return job.workload

    with working(worker), Client(job_server.address) as client:
        results = client.map("picky", [b"%d" % n for n in range(100)])
        assert [next(results) for _ in range(3)] == [b"0", b"1", b"2"]
        with pytest.raises(JobFailed):
            next(results)
        assert client.run("picky", b"4") == b"4"
        for result in client.map("picky", [b"9"] * 100):
            assert result == b"9"
            break
        assert client.run("picky", b"5") == b"5"


def test_background_jobs(job_server: ServerProcess) -> None:
    done: list[tuple[bytes, bytes]] = []
    with Client(job_server.address) as client:
        handles = [
            client.submit_background("later", b"%d" % n, unique=f"u{n}", priority=priority)
            for n, priority in enumerate([Priority.LOW, Priority.NORMAL, Priority.HIGH])
        ]
        assert len(set(handles)) == 3
        assert client.status(handles[0]) == JobStatus(True, False, 0, 0)
        worker = Worker(job_server.address)
        worker.register("later", lambda job: done.append((job.unique, job.workload)))
        with working(worker):
            wait_until(lambda: len(done) == 3, "all jobs are done")
        assert done == [(b"u2", b"2"), (b"u1", b"1"), (b"u0", b"0")]
        assert not client.status(handles[0]).known


def test_a_job_for_later(job_server: ServerProcess) -> None:
    with Client(job_server.address) as client:
        handle = client.submit_background("later", b"", delay=3600)
        at = client.submit_background("later", b"", at=time.time() + 3600)
        assert client.status(handle).known and client.status(at).known
        ran = threading.Event()
        worker = Worker(job_server.address)
        worker.register("later", lambda job: ran.set())
        with working(worker):
            client.submit_background("later", b"", at=1)
            assert ran.wait(PATIENCE)
            assert client.status(handle).known
        with pytest.raises(UsageError):
            client.submit_background("later", at=1, delay=1)


def test_a_time_out_leaves_the_connection_usable(job_server: ServerProcess) -> None:
    go_on = threading.Event()
    worker = Worker(job_server.address)

    @worker.function("slow")
    def slow(job: Job) -> bytes:
        assert go_on.wait(PATIENCE)
        return b"slow"

    with working(worker), Client(job_server.address, timeout=PATIENCE) as client:
        begin = time.monotonic()
        with pytest.raises(JobTimeout, match="slow") as caught:
            client.run("slow", timeout=0.05)
        assert 0.045 <= time.monotonic() - begin < PATIENCE / 2
        assert caught.value.handle and isinstance(caught.value, TimeoutError)
        future = client.submit("slow", timeout=0.05)
        assert isinstance(future.exception(PATIENCE), JobTimeout)
        assert client.echo(b"still there") == b"still there"
        again = client.submit("slow")
        go_on.set()
        assert again.result(PATIENCE) == b"slow"
        assert client.run("slow") == b"slow"


def test_cancel_stops_waiting(job_server: ServerProcess) -> None:
    with Client(job_server.address) as client:
        futures = [client.submit("nobody") for _ in range(3)]
        assert all(future.cancel() for future in futures)
        assert futures[0].cancel() and futures[0].cancelled()
        assert list(futures[1].events()) == []
        done, _ = concurrent.futures.wait(futures, PATIENCE)
        assert len(done) == 3
        worker = Worker(job_server.address)
        worker.register("reverse", reverse)
        with working(worker):
            future = client.submit("reverse", b"ab")
            assert future.result(PATIENCE) == b"ba"
            assert not future.cancel()


def test_requests_with_one_unique_share_a_job(job_server: ServerProcess) -> None:
    go_on, calls = threading.Event(), 0
    worker = Worker(job_server.address)

    @worker.function("once")
    def once(job: Job) -> bytes:
        nonlocal calls
        calls += 1
        job.send_data(b"d")
        assert go_on.wait(PATIENCE)
        return b"r"

    with Client(job_server.address) as client, Client(job_server.address) as other:
        futures = [client.submit("once", unique="same") for _ in range(4)] + [other.submit("once", unique="same")]
        wait_until(lambda: all(future.handle for future in futures), "all are taken")
        assert len({str(future.handle) for future in futures}) == 1
        with working(worker):
            for future in futures:
                assert next(future.events(PATIENCE)) == Data(b"d")
            go_on.set()
            assert [future.result(PATIENCE) for future in futures] == [b"r"] * 5
            assert all(list(future.events()) == [] for future in futures)
        assert calls == 1


def test_many_threads_use_one_client(job_server: ServerProcess) -> None:
    worker = Worker(job_server.address, concurrency=4)
    worker.register("reverse", reverse)
    with working(worker), Client(job_server.address) as client, concurrent.futures.ThreadPoolExecutor(8) as pool:

        def use(number: int) -> bool:
            text = b"%d" % number
            if number % 3 == 0:
                return client.submit("reverse", text).result(PATIENCE) == text[::-1]
            return client.run("reverse", text) == text[::-1]

        assert all(pool.map(use, range(300)))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_forked_child_has_connections_of_its_own(job_server: ServerProcess) -> None:
    worker = Worker(job_server.address)
    worker.register("reverse", reverse)
    with Client(job_server.address) as client:
        future = client.submit("reverse", b"parent")
        uniques = []
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            with contextlib.suppress(BaseException):
                child = client.submit("reverse", b"child")
                answer = client.run("reverse", b"run") + child.result(PATIENCE)
                os.write(writer, answer + b" " + child.unique.split(b"-")[0])
            os._exit(0)
        os.close(writer)
        with working(worker):
            assert future.result(PATIENCE) == b"tnerap"
            uniques.append(future.unique.split(b"-")[0])
            with os.fdopen(reader, "rb") as pipe:
                answer, unique = pipe.read().split(b" ")
            assert answer == b"nurdlihc"
            assert unique not in uniques
        os.waitpid(pid, 0)


def test_no_server() -> None:
    port = free_port()
    with Client(f"127.0.0.1:{port}") as client:
        for call in (lambda: client.run("f"), lambda: client.submit_background("f"), client.echo):
            with pytest.raises(ConnectError, match=rf"127\.0\.0\.1:{port}: Connection refused"):
                call()
        assert isinstance(client.submit("f").exception(PATIENCE), ConnectError)
        with pytest.raises(ConnectError):
            client.status("H:1")
    with Client("unix:///nowhere/at/all") as client, pytest.raises(ConnectError, match="No such file"):
        client.run("f")
    with Client("x" * 300) as client, pytest.raises(ConnectError):
        client.run("f")


def test_a_server_that_never_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with Client(f"127.0.0.1:{port}", timeout=Timeout(reply=0.05)) as client:
            with pytest.raises(DeadlineExceeded, match=f"127.0.0.1:{port}"):
                client.run("f")
            with pytest.raises(DeadlineExceeded, match="ECHO_REQ"):
                client.echo()
            with pytest.raises(DeadlineExceeded):
                client.submit_background("f")
            with pytest.raises(JobTimeout):
                client.run("f", timeout=0.02)


def test_a_closed_client(job_server: ServerProcess) -> None:
    client = Client(job_server.address)
    future = client.submit("nobody")
    wait_until(lambda: future.handle, "it is taken")
    client.close()
    client.close()
    assert isinstance(future.exception(PATIENCE), ConnectionLost)
    for call in (
        client.echo,
        lambda: client.run("f"),
        lambda: client.submit("f"),
        lambda: next(client.map("f", [b""])),
    ):
        with pytest.raises(UsageError, match="closed"):
            call()


def test_jobs_go_on_at_another_server(start_server: StartServer) -> None:
    servers = [start_server(), start_server()]
    addresses = [server.address for server in servers]
    begun = threading.Semaphore(0)
    go_on = threading.Event()
    workers = [Worker(addresses) for _ in range(3)]
    for worker in workers:

        @worker.function("photo")
        def photo(job: Job) -> bytes:
            begun.release()
            assert go_on.wait(PATIENCE)
            return job.workload[::-1]

    with working(*workers), Client(addresses, resubmit="any") as client:
        futures = {b"%d" % n: client.submit("photo", b"%d" % n) for n in range(200)}
        for _ in range(3):
            assert begun.acquire(timeout=PATIENCE)
        wait_until(lambda: all(future.handle for future in futures.values()), "all are taken")
        assert len({future.handle.server for future in futures.values()}) == 2
        servers[0].kill()
        go_on.set()
        for name, future in futures.items():
            assert future.result(PATIENCE) == name[::-1]
        assert client.run("photo", b"after") == b"retfa"


def test_jobs_wait_for_their_server_to_come_back(start_server: StartServer) -> None:
    with Client(start_server().address) as client:
        assert client.echo() == b"gearfast"
    first = start_server()
    port = first.port
    with Client(first.address, resubmit="never") as client:
        future = client.submit("nobody")
        wait_until(lambda: future.handle, "it is taken")
        first.kill()
        error = future.exception(PATIENCE)
        assert type(error) is ConnectionLost and error.server == f"127.0.0.1:{port}"
        assert error.handle == future.handle
        with pytest.raises(ConnectError):
            client.run("nobody", timeout=PATIENCE)


def test_status_of_an_unknown_job(job_server: ServerProcess) -> None:
    with Client(job_server.address) as client:
        assert client.status("H:no:1") == JobStatus(False, False, 0, 0)
        assert client.status(unique="no") == JobStatus(False, False, 0, 0)
        with pytest.raises(UsageError):
            client.status()

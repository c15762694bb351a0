# SPDX-License-Identifier: BSD-3-Clause
"""The blocking worker against both job servers."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from gearfast.errors import JobFailed, UsageError
from gearfast.sync.client import Client
from gearfast.sync.worker import Job, Worker

from . import gearmand
from .gearmand import StartServer, reverse, working
from .servers import PATIENCE, ServerProcess, wait_until

server_kind, start_server, job_server = gearmand.server_kind, gearmand.start_server, gearmand.job_server

ROOT = Path(__file__).resolve().parents[2]


def test_what_a_job_knows(job_server: ServerProcess) -> None:
    seen: list[Job] = []
    worker = Worker(job_server.address, id="w-1")
    worker.register("see", lambda job: seen.append(job))
    with working(worker), Client(job_server.address) as client:
        future = client.submit("see", b"data\0", unique="u-1")
        assert future.result(PATIENCE) == b""
        (job,) = seen
        assert (job.handle, job.function, job.unique, job.workload) == (future.handle, "see", b"u-1", b"data\0")
        assert (job.reducer, job.lost) == (b"", False)
        job.send_data(b"after the end")
        assert "w-1" in job_server.admin("workers")


@pytest.mark.parametrize("concurrency", [1, 4])
def test_concurrency(job_server: ServerProcess, concurrency: int) -> None:
    barrier = threading.Barrier(concurrency)
    worker = Worker(job_server.address, concurrency=concurrency)

    @worker.function("together")
    def together(job: Job) -> bytes:
        barrier.wait(PATIENCE)
        return job.workload

    with working(worker), Client(job_server.address) as client:
        work = [b"%d" % n for n in range(concurrency * 5)]
        assert list(client.map("together", work)) == work


def test_functions_come_and_go(job_server: ServerProcess) -> None:
    worker = Worker(job_server.address)
    worker.register("first", reverse)
    with Client(job_server.address) as client, working(worker):
        assert client.run("first", b"ab") == b"ba"
        future = client.submit("second", b"cd")
        wait_until(lambda: future.handle, "it is queued")
        worker.register("second", reverse, timeout=60)
        assert future.result(PATIENCE) == b"dc"
        worker.unregister("first")
        job_server.wait_for("first", workers=0)
        assert client.run("second", b"ef") == b"fe"
        with pytest.raises(UsageError, match="not registered"):
            worker.unregister("first")


def test_several_servers_are_all_served(start_server: StartServer) -> None:
    servers = [start_server() for _ in range(3)]
    worker = Worker([server.address for server in servers])
    worker.register("reverse", reverse)
    with working(worker):
        clients = [Client(server.address) for server in servers]
        streams = [client.map("reverse", [b"%d" % n for n in range(50)]) for client in clients]
        for number in range(50):
            assert [next(stream) for stream in streams] == [(b"%d" % number)[::-1]] * 3
        for client in clients:
            client.close()


def test_a_server_may_be_away(start_server: StartServer, caplog: pytest.LogCaptureFixture) -> None:
    gone, there = start_server(), start_server()
    gone.kill()
    worker = Worker([gone.address, there.address])
    worker.register("reverse", reverse)
    with caplog.at_level(logging.INFO, "gearfast.worker"), working(worker), Client(there.address) as client:
        assert client.run("reverse", b"ab") == b"ba"
        refused = wait_until(
            lambda: [r for r in caplog.records if r.levelno == logging.WARNING and "refused" in r.getMessage()],
            "it is said",
        )
        assert refused[0].server == gone.address and refused[0].retry_in_s > 0  # type: ignore[attr-defined]


def test_reconnects_to_a_server_that_was_cut_off(job_server: ServerProcess) -> None:
    """The link is broken from outside: the worker comes back by itself and tells its functions again."""
    worker = Worker(job_server.address)
    worker.register("reverse", reverse)
    with working(worker), Client(job_server.address) as client:
        job_server.wait_for("reverse", workers=1)
        for link in worker._crew.links:
            link.io.sock.shutdown(2)
        assert client.run("reverse", b"ab", timeout=PATIENCE) == b"ba"


def test_stop_finishes_the_job_in_hand(job_server: ServerProcess) -> None:
    begun, go_on = threading.Event(), threading.Event()
    worker = Worker(job_server.address, concurrency=2)

    @worker.function("slow")
    def slow(job: Job) -> bytes:
        begun.set()
        assert go_on.wait(PATIENCE)
        return b"done"

    thread = threading.Thread(target=worker.run)
    thread.start()
    with Client(job_server.address) as client:
        future = client.submit("slow")
        assert begun.wait(PATIENCE)
        worker.stop()
        worker.stop()
        go_on.set()
        assert future.result(PATIENCE) == b"done"
        thread.join(PATIENCE)
        assert not thread.is_alive()
        job_server.wait_for("slow", total=0, running=0, workers=0)
        with working(worker):  # it can run again
            assert client.run("slow") == b"done"


def test_stop_before_run() -> None:
    worker = Worker("127.0.0.1:1")
    worker.register("f", reverse)
    worker.stop()
    worker.run()


def test_misuse(job_server: ServerProcess) -> None:
    worker = Worker(job_server.address)
    with pytest.raises(UsageError, match="no function"):
        worker.run()
    with pytest.raises(UsageError):
        worker.register("f", reverse, timeout=0)
    with pytest.raises(UsageError):
        worker.register("", reverse)
    with pytest.raises(UsageError):
        Worker(job_server.address, concurrency=0)
    worker.register("f", reverse)
    with working(worker):
        job_server.wait_for("f", workers=1)
        with pytest.raises(UsageError, match="already"):
            worker.run()


@pytest.mark.parametrize("concurrency", [1, 3])
@pytest.mark.parametrize("interrupt", [SystemExit, KeyboardInterrupt])
def test_leaving_by_exception_gives_the_job_back(
    job_server: ServerProcess, interrupt: type[BaseException], concurrency: int
) -> None:
    worker, heir = Worker(job_server.address, concurrency=concurrency), Worker(job_server.address)

    @worker.function("leave")
    def leave(job: Job) -> bytes:
        raise interrupt("enough")

    heir.register("leave", lambda job: b"heir")
    with Client(job_server.address) as client:
        future = client.submit("leave")
        with pytest.raises(interrupt, match="enough"):
            worker.run()
        with working(heir):
            assert future.result(PATIENCE) == b"heir"


def test_a_late_result_disturbs_nothing(job_server: ServerProcess, caplog: pytest.LogCaptureFixture) -> None:
    """The server gives the job to somebody else after a second; the first worker's result is refused."""
    begun, go_on = threading.Event(), threading.Event()
    late, heir = Worker(job_server.address), Worker(job_server.address)

    @late.function("slow", timeout=1)
    def slow(job: Job) -> bytes:
        if job.workload == b"hang":
            begun.set()
            assert go_on.wait(PATIENCE)
        return b"late"

    heir.register("slow", lambda job: b"heir")
    with Client(job_server.address) as client, working(late):
        future = client.submit("slow", b"hang")
        assert begun.wait(PATIENCE)
        with working(heir):
            # gearmand may see that the time is up only when something else wakes that thread of its.
            wait_until(lambda: job_server.admin("status") and future.done(), "the job went to somebody else")
            assert future.result(PATIENCE) == b"heir"
        job_server.wait_for("slow", workers=1)
        with caplog.at_level(logging.WARNING, "gearfast.worker"):
            go_on.set()
            assert client.run("slow", b"", timeout=PATIENCE) == b"late"
        wait_until(lambda: any("JOB_NOT_FOUND" in r.getMessage() for r in caplog.records), "the refusal is logged")


def test_exceptions_are_logged_with_their_facts(job_server: ServerProcess, caplog: pytest.LogCaptureFixture) -> None:
    worker = Worker(job_server.address)

    @worker.function("raises")
    def raises(job: Job) -> None:
        raise ZeroDivisionError

    with working(worker), Client(job_server.address) as client, caplog.at_level(logging.INFO, "gearfast.worker"):
        future = client.submit("raises", b"secret")
        error = future.exception(PATIENCE)
        assert isinstance(error, JobFailed)
        (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
        facts = vars(record)
        assert (facts["function"], facts["handle"], facts["server"]) == ("raises", future.handle, job_server.address)
        assert record.exc_info is not None and "secret" not in caplog.text


SCRIPT = """
import os, signal, sys
from gearfast.sync.worker import Worker
worker = Worker(sys.argv[1], concurrency=int(sys.argv[2]))
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, lambda *_: worker.stop())

@worker.function("work")
def work(job):
    job.send_data(str(os.getpid()))
    return b"fine"

worker.run()
print("left in good order", os.getpid())
"""


HOLD = """
import sys, threading
from gearfast.sync.worker import Worker
worker = Worker(sys.argv[1])
worker.register("photo", lambda job: (job.send_data("mine"), threading.Event().wait()))
worker.run()
"""


def start_script(server: ServerProcess, concurrency: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, server.address, str(concurrency)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("concurrency", [1, 3])
def test_stop_from_a_signal_handler(job_server: ServerProcess, number: signal.Signals, concurrency: int) -> None:
    process = start_script(job_server, concurrency)
    with Client(job_server.address) as client:
        assert client.run("work", timeout=PATIENCE) == b"fine"
        process.send_signal(number)
        out, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert "left in good order" in out
    job_server.wait_for("work", workers=0)


def test_a_killed_workers_job_goes_to_another(job_server: ServerProcess) -> None:
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            HOLD,
            job_server.address,
        ],
        cwd=ROOT,
    )
    heir = Worker(job_server.address)
    heir.register("photo", lambda job: b"heir")
    with Client(job_server.address) as client:
        future = client.submit("photo")
        next(future.events(PATIENCE))
        process.kill()
        process.wait()
        with working(heir):
            assert future.result(PATIENCE) == b"heir"


def test_many_functions(job_server: ServerProcess) -> None:
    worker = Worker(job_server.address, concurrency=2)
    for number in range(500):
        worker.register(f"f{number}", lambda job: job.function)
    with working(worker), Client(job_server.address) as client:
        futures = [client.submit(f"f{number}") for number in range(500)]
        assert [future.result(PATIENCE) for future in futures] == [b"f%d" % number for number in range(500)]


def test_an_idle_worker_costs_nothing(job_server: ServerProcess) -> None:
    worker = Worker(job_server.address)
    worker.register("reverse", reverse)
    with working(worker), Client(job_server.address) as client:
        client.run("reverse", b"")
        begin = time.process_time()
        threading.Event().wait(0.3)
        assert time.process_time() - begin < 0.1

# SPDX-License-Identifier: BSD-3-Clause
"""What both workers do beyond doing jobs: limits, pauses, deadlines, cancelling, leaving in time, and odd callables."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from typing import Any

import pytest

from gearfast import (
    AdminClient,
    AsyncClient,
    AsyncWorker,
    Cancelled,
    Client,
    Function,
    JobException,
    JobFailed,
    Server,
    UsageError,
    Worker,
    current_job,
    function,
)

from . import gearmand
from .either_worker import KINDS, AnyWorker, at_work, leaves, start
from .gearmand import StartServer
from .servers import PATIENCE, ServerProcess, wait_until

server_kind, start_server, job_server = gearmand.server_kind, gearmand.start_server, gearmand.job_server


@pytest.fixture(params=KINDS, ids=["Worker", "AsyncWorker"])
def kind(request: pytest.FixtureRequest) -> type[AnyWorker]:
    """Each of the two workers."""
    found: type[AnyWorker] = request.param
    return found


def reverse(job: Any) -> bytes:
    return bytes(job.workload[::-1])


class Gate:
    """A function whose jobs wait until it is opened; it counts how many are inside."""

    def __init__(self) -> None:
        self.inside = 0
        self.most = 0
        self.open = threading.Event()
        self._lock = threading.Lock()

    def __call__(self, job: Any) -> bytes:
        with self._lock:
            self.inside += 1
            self.most = max(self.most, self.inside)
        assert self.open.wait(PATIENCE)
        with self._lock:
            self.inside -= 1
        return b"through"


# Functions


class Photos:
    """Functions in a class."""

    @function("small", concurrency=1)
    def make_small(self, job: Any) -> bytes:
        return b"small " + bytes(job.workload)

    @function("large", timeout=60)
    def make_large(self, job: Any) -> bytes:
        return b"large " + bytes(job.workload)


def test_functions_by_table_and_by_class(job_server: ServerProcess, kind: type[AnyWorker]) -> None:
    worker = kind(job_server.address, concurrency=2)
    worker.add(Photos())
    worker.add({"reverse": reverse, "slowly": Function(reverse, timeout=60)})
    with at_work(worker), Client(job_server.address) as client:
        found = [client.run(name, b"ab", timeout=PATIENCE) for name in ("small", "large", "reverse", "slowly")]
        assert found == [b"small ab", b"large ab", b"ba", b"ba"]


def test_a_blocking_worker_takes_no_coroutine_function() -> None:
    """Nobody would await it: each job would end with an exception."""

    async def coroutine(job: Any) -> bytes:
        return b"awaited"

    async def main(server: Server) -> bytes:
        worker = AsyncWorker(server.url)
        worker.register("f", coroutine)
        running = asyncio.create_task(worker.run())
        async with AsyncClient(server.url) as client:
            result = await client.run("f", timeout=PATIENCE)
        worker.stop()
        await running
        return result

    with Server() as server:
        with pytest.raises(UsageError, match="function 'f' needs an event loop, and a Worker has none"):
            Worker(server.url).register("f", coroutine)  # type: ignore[arg-type]
        assert asyncio.run(main(server)) == b"awaited"


def test_a_function_at_its_limit_lets_others_by(job_server: ServerProcess, kind: type[AnyWorker]) -> None:
    gate = Gate()
    worker = kind(job_server.address, concurrency=4)
    worker.register("gate", gate, concurrency=2)
    worker.register("reverse", reverse)
    with at_work(worker), Client(job_server.address) as client:
        futures = [client.submit("gate") for _ in range(6)]
        wait_until(lambda: gate.inside == 2, "two are inside")
        for _ in range(20):
            assert client.run("reverse", b"ab", timeout=PATIENCE) == b"ba"
        # The others wait at the server, where another worker could have them.
        job_server.wait_for("gate", total=6, running=2)
        gate.open.set()
        assert [future.result(PATIENCE) for future in futures] == [b"through"] * 6
        assert gate.most == 2


def test_a_limited_function_comes_and_goes_while_the_worker_runs(kind: type[AnyWorker]) -> None:
    with Server() as server, Client(server.url) as client:
        worker = kind(server.url, concurrency=3)
        worker.register("reverse", reverse)
        with at_work(worker):
            assert client.run("reverse", b"ab", timeout=PATIENCE) == b"ba"
            worker.register("once", lambda job: b"once", concurrency=1)
            assert client.run("once", timeout=PATIENCE) == b"once"
            assert client.run("reverse", b"ab", timeout=PATIENCE) == b"ba"
            worker.unregister("once")
            with AdminClient(server.url) as admin:
                wait_until(lambda: sum(bool(one.functions) for one in admin.workers()) == 1, "its connection is closed")
            assert client.run("reverse", b"cd", timeout=PATIENCE) == b"dc"


@pytest.mark.parametrize("prefetch", [1, 15])
def test_prefetched_jobs(job_server: ServerProcess, kind: type[AnyWorker], prefetch: int) -> None:
    begun, go_on = threading.Event(), threading.Event()
    worker = kind(job_server.address, prefetch=prefetch)

    def work(job: Any) -> bytes:
        if job.workload == b"last":
            begun.set()
            assert go_on.wait(PATIENCE)
        return bytes(job.workload)

    worker.register("work", work)
    with Client(job_server.address) as client:
        futures = [client.submit("work", b"%d" % number) for number in range(40)]
        wait_until(lambda: all(future.handle for future in futures), "they are queued")
        last = client.submit("work", b"last")
        with at_work(worker):
            # A result does not wait for the job after it, however long that takes.
            assert [future.result(PATIENCE) for future in futures] == [b"%d" % number for number in range(40)]
            assert begun.wait(PATIENCE)
            go_on.set()
            assert last.result(PATIENCE) == b"last"


def test_the_job_at_hand_is_known_everywhere(kind: type[AnyWorker]) -> None:
    seen = []
    with Server() as server, Client(server.url) as client:
        worker = kind(server.url, concurrency=2)
        worker.register("f", lambda job: seen.append((current_job() is job, job.server, repr(job))))
        with at_work(worker):
            handle = client.submit("f").result(PATIENCE) is not None
        assert handle and seen[0][0] and server.url.endswith(seen[0][1]) and "of 'f'>" in seen[0][2]
    assert current_job() is None


# Pausing and leaving


def test_pause_and_resume(job_server: ServerProcess, kind: type[AnyWorker]) -> None:
    gate = Gate()
    worker = kind(job_server.address, concurrency=2)
    worker.register("reverse", reverse)
    worker.register("gate", gate)
    with at_work(worker), Client(job_server.address) as client:
        assert client.run("reverse", b"ab", timeout=PATIENCE) == b"ba"
        running = client.submit("gate")
        wait_until(lambda: gate.inside, "one is running")
        worker.pause()
        wait_until(
            lambda: worker._crew.paused and not any(link.session and link.session.grabs for link in worker._crew.links),
            "nothing is asked for",
        )
        waiting = client.submit("reverse", b"cd")
        gate.open.set()
        assert running.result(PATIENCE) == b"through"
        job_server.wait_for("reverse", total=1, running=0, workers=1)
        assert not waiting.done()
        worker.resume()
        assert waiting.result(PATIENCE) == b"dc"


def test_a_worker_may_begin_paused(kind: type[AnyWorker]) -> None:
    with Server() as server, Client(server.url) as client:
        worker = kind(server.url)
        worker.register("reverse", reverse)
        worker.pause()
        with at_work(worker):
            future = client.submit("reverse", b"ab")
            wait_until(lambda: future.handle, "it is queued")
            wait_until(lambda: worker._crew.links[0].session, "it is connected")
            assert not future.done()
            worker.resume()
            assert future.result(PATIENCE) == b"ba"


@pytest.mark.parametrize("concurrency", [1, 2])
def test_stop_with_a_limit_gives_jobs_back(job_server: ServerProcess, kind: type[AnyWorker], concurrency: int) -> None:
    gate = Gate()
    worker, heir = kind(job_server.address, concurrency=concurrency), kind(job_server.address)
    worker.register("gate", gate)
    heir.register("gate", lambda job: b"heir")
    thread = start(worker)
    with Client(job_server.address) as client:
        future = client.submit("gate")
        wait_until(lambda: gate.inside, "it is running")
        worker.stop(30)
        worker.stop(0.05)
        with at_work(heir):
            assert future.result(PATIENCE) == b"heir"
        if kind is Worker and concurrency == 1:
            assert thread.is_alive()  # a callable in the thread of `run` cannot be left
            gate.open.set()
        assert leaves(thread)
    gate.open.set()


def test_stop_with_a_limit_that_is_not_needed(kind: type[AnyWorker]) -> None:
    with Server() as server, Client(server.url) as client:
        worker = kind(server.url)
        worker.register("stop", lambda job: worker.stop(PATIENCE * 10))
        thread = start(worker)
        assert client.run("stop", timeout=PATIENCE) == b""
        assert leaves(thread)


# Deadlines and cancelling


def test_a_job_sees_its_deadline(job_server: ServerProcess, kind: type[AnyWorker]) -> None:
    seen: list[float | None] = []
    worker = kind(job_server.address)
    worker.register("timed", lambda job: seen.append(job.deadline), timeout=50)
    worker.register("free", lambda job: seen.append(job.deadline))
    with at_work(worker), Client(job_server.address) as client:
        before = time.monotonic()
        client.run("timed", timeout=PATIENCE)
        client.run("free", timeout=PATIENCE)
        timed, free = seen
        assert timed is not None and before + 49 < timed <= time.monotonic() + 50
        assert free is None


@pytest.mark.parametrize("concurrency", [1, 2])
def test_a_callable_that_never_returns_is_logged(
    kind: type[AnyWorker], concurrency: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Its server gives the job to another worker; its slot stays taken."""
    gate = Gate()
    with Server() as server, Client(server.url) as client:
        worker, heir = kind(server.url, concurrency=concurrency), kind(server.url)
        worker.register("gate", gate, timeout=1)
        heir.register("gate", lambda job: b"heir", timeout=1)
        with at_work(worker):
            future = client.submit("gate")
            wait_until(lambda: gate.inside, "it is running")
            with at_work(heir):
                assert future.result(PATIENCE) == b"heir"
            text = f"job {future.handle} of function 'gate' from 127.0.0.1:"
            wait_until(lambda: "still running after its time-out" in caplog.text, "it is logged")
            assert text in caplog.text
            gate.open.set()


def test_a_coroutine_that_never_returns_is_cancelled(caplog: pytest.LogCaptureFixture) -> None:
    ended = threading.Event()

    async def forever(job: Any) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    with Server(job_retries=0) as server, Client(server.url) as client:
        worker = AsyncWorker(server.url)
        worker.register("forever", forever, timeout=1)
        worker.register("reverse", reverse)
        with at_work(worker):
            future = client.submit("forever")
            assert ended.wait(PATIENCE)
            assert client.run("reverse", b"ab", timeout=PATIENCE) == b"ba"  # its slot is free
            assert isinstance(future.exception(PATIENCE), JobFailed)
        assert "was stopped after its time-out" in caplog.text


@pytest.mark.parametrize("concurrency", [1, 2])
def test_a_running_job_learns_that_it_is_cancelled(kind: type[AnyWorker], concurrency: int) -> None:
    begun, seen = threading.Event(), []

    def work(job: Any) -> bytes:
        assert not job.cancelled
        begun.set()
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            try:
                job.check()
            except Cancelled as error:
                seen.append(str(error))
                raise
            threading.Event().wait(0.01)
        return b"never cancelled"

    with Server() as server, Client(server.url) as client, AdminClient(server.url) as admin:
        worker = kind(server.url, concurrency=concurrency)
        worker.register("work", work)
        worker.register("reverse", reverse)
        with at_work(worker):
            future = client.submit("work")
            assert begun.wait(PATIENCE)
            admin.cancel_job(str(wait_until(lambda: future.handle, "its client knows it")))
            assert isinstance(future.exception(PATIENCE), JobFailed)
            wait_until(lambda: seen, "the callable hears of it")
            assert str(future.handle) in seen[0] and "'work'" in seen[0]
            assert client.run("reverse", b"ab", timeout=PATIENCE) == b"ba"


def test_a_coroutine_learns_that_its_job_is_cancelled() -> None:
    begun, left = threading.Event(), threading.Event()

    async def work(job: Any) -> None:
        assert current_job() is job
        begun.set()
        try:
            while True:
                job.check()
                await asyncio.sleep(0.01)
        finally:
            left.set()

    with Server() as server, Client(server.url) as client, AdminClient(server.url) as admin:
        worker = AsyncWorker(server.url)
        worker.register("work", work)
        with at_work(worker):
            future = client.submit("work")
            assert begun.wait(PATIENCE)
            admin.cancel_job(str(wait_until(lambda: future.handle, "its client knows it")))
            assert left.wait(PATIENCE) and isinstance(future.exception(PATIENCE), JobFailed)


def test_a_job_that_is_not_cancelled_goes_on(job_server: ServerProcess, kind: type[AnyWorker]) -> None:
    """It asks, also gearmand, and the answer disturbs nothing."""
    looks: list[bool] = []

    def work(job: Any) -> bytes:
        until = time.monotonic() + 0.7
        while time.monotonic() < until:
            looks.append(job.cancelled)
            threading.Event().wait(0.01)
        return b"done"

    worker = kind(job_server.address)
    worker.register("work", work)
    with at_work(worker), Client(job_server.address) as client:
        assert client.run("work", timeout=PATIENCE) == b"done"
        assert client.run("work", timeout=PATIENCE) == b"done"
        assert looks and not any(looks)


# Odd callables


def none(job: Any) -> None:
    """Gives nothing back."""


def starve(job: Any) -> None:
    bytearray(1 << 62)


def test_outcomes_that_are_no_bytes(job_server: ServerProcess, kind: type[AnyWorker], caplog: Any) -> None:
    """None is an empty result; exhausted memory is an exception, and the worker goes on."""
    worker = kind(job_server.address)
    worker.add({"none": none, "starve": starve})
    with at_work(worker), Client(job_server.address) as client, caplog.at_level(logging.ERROR, "gearfast.worker"):
        assert client.run("none", timeout=PATIENCE) == b""
        future = client.submit("starve")
        assert isinstance(future.exception(PATIENCE), JobFailed)
        text = f"job {future.handle} of function 'starve' from {job_server.address} raised an exception"
        wait_until(lambda: text in caplog.text and "MemoryError" in caplog.text, "it is logged")
        assert client.run("none", timeout=PATIENCE) == b""


@pytest.mark.parametrize("concurrency", [1, 2])
def test_leaving_by_system_exit_is_logged(kind: type[AnyWorker], concurrency: int, caplog: Any) -> None:
    def leave(job: Any) -> None:
        raise SystemExit(3)

    with Server() as server, Client(server.url) as client:
        worker, heir = kind(server.url, concurrency=concurrency), kind(server.url)
        worker.register("leave", leave)
        heir.register("leave", lambda job: b"heir")
        future = client.submit("leave")
        with pytest.raises(SystemExit):
            worker.run() if isinstance(worker, Worker) else asyncio.run(worker.run())
        with at_work(heir):
            assert future.result(PATIENCE) == b"heir"
        assert f"job {future.handle} of function 'leave' from 127.0.0.1:" in caplog.text
        assert "raised SystemExit: the worker leaves" in caplog.text


@pytest.mark.parametrize("tracebacks", [False, True])
def test_tracebacks_only_when_asked_for(kind: type[AnyWorker], tracebacks: bool) -> None:
    def inner() -> None:
        raise ValueError("boom")

    with Server() as server, Client(server.url) as client:
        worker = kind(server.url, tracebacks=tracebacks)
        worker.register("f", lambda job: inner())
        with at_work(worker), pytest.raises(JobException) as caught:
            client.run("f", timeout=PATIENCE)
        head, _, trace = caught.value.data.partition(b"\n\n")
        assert head == b"ValueError: boom"
        assert (b"in inner" in trace) is tracebacks


# Several servers


def test_a_flooded_server_starves_no_other(start_server: StartServer, kind: type[AnyWorker]) -> None:
    flooded, quiet = start_server(), start_server()
    done: list[bytes] = []
    worker = kind([flooded.address, quiet.address])
    worker.register("f", lambda job: done.append(bytes(job.workload)))
    with Client(flooded.address) as loud, Client(quiet.address) as calm:
        for _ in range(400):
            loud.submit_background("f", b"loud")
        for _ in range(20):
            calm.submit_background("f", b"calm")
        with at_work(worker):
            wait_until(lambda: len(done) == 420, "all are done")
    assert worker._crew.slots.most == 1
    last = max(index for index, data in enumerate(done) if data == b"calm")
    assert last < 60  # in turn, so about the fortieth


def test_credits_are_for_one_server_alone(kind: type[AnyWorker]) -> None:
    with Server() as one, Server() as two:
        alone, both = kind(one.url), kind([one.url, two.url])
        for worker in (alone, both):
            worker.register("f", reverse)
        with at_work(alone, both), Client(one.url) as client:
            assert client.run("f", b"ab", timeout=PATIENCE) == b"ba"

            def held(worker: AnyWorker) -> list[bool]:
                return [link.session.credits for link in worker._crew.links if link.session is not None]

            wait_until(lambda: held(alone) == [True] and held(both) == [False, False], "both are connected")
            assert held(alone) == [True]

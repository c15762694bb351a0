# SPDX-License-Identifier: BSD-3-Clause
"""The job server in memory, with the blocking client and worker."""

from __future__ import annotations

import os
import threading

import pytest

from gearfast import (
    AdminClient,
    Client,
    ConnectError,
    ConnectionLost,
    DeadlineExceeded,
    Fail,
    Job,
    JobException,
    JobFailed,
    Priority,
    QueueFull,
    UsageError,
    Worker,
)
from gearfast.testing import FakeClock, MemoryServer, WorkerThread
from gearfast.testing.memory import Bell


def reverse(job: Job) -> bytes:
    return bytes(job.workload)[::-1]


def test_a_job_waits_until_it_is_drained(server: MemoryServer, client: Client) -> None:
    handle = client.submit_background("mail", b"to ada", unique="one", priority=Priority.HIGH)
    (job,) = server.jobs()
    assert (job.handle, job.workload, job.priority, job.running) == (handle, b"to ada", Priority.HIGH, False)
    assert handle == "H:memory:1"
    assert client.status(handle).known
    seen: list[bytes] = []
    assert server.drain({"mail": lambda job: seen.append(job.workload)}) == 1
    assert seen == [b"to ada"]
    assert server.jobs() == [] and not client.status(handle).known
    assert server.submissions[0].outcome == "complete"


def test_a_worker_in_a_thread(server: MemoryServer, client: Client) -> None:
    with WorkerThread({"reverse": reverse}, server, concurrency=3):
        assert client.run("reverse", b"abc", timeout=30) == b"cba"
        numbers = [str(number) for number in range(300)]
        assert list(client.map("reverse", map(str.encode, numbers))) == [each[::-1].encode() for each in numbers]
        assert client.submit("reverse", b"xy").result(30) == b"yx"
    assert server.connections()[0].functions == ()


def test_megabytes(server: MemoryServer, client: Client) -> None:
    workload = os.urandom(3_000_000)
    with WorkerThread({"reverse": reverse}, server):
        assert client.run("reverse", workload, timeout=30) == workload[::-1]


def test_all_that_a_worker_says(server: MemoryServer, client: Client) -> None:
    def talk(job: Job) -> str:
        job.send_status(1, 2)
        job.send_data(b"part")
        job.send_warning("careful")
        return "the end"

    future = client.submit("talk")
    server.wait_submitted("talk")
    assert server.drain({"talk": talk}) == 1
    assert [type(event).__name__ for event in future.events(30)] == ["Status", "Data", "Warning"]
    assert future.result(30) in (b"the end", b"partthe end")
    (submission,) = server.submissions
    assert (submission.data, submission.result) == ([b"part"], b"the end")


def test_errors_of_jobs(server: MemoryServer, client: Client) -> None:
    def fail(job: Job) -> None:
        raise Fail("no")

    def explode(job: Job) -> None:
        raise ValueError("bad")

    first, second = client.submit("fail"), client.submit("explode")
    server.wait_submitted("fail")
    server.wait_submitted("explode")
    assert server.drain({"fail": fail, "explode": explode}, raise_errors=False) == 2
    with pytest.raises(JobFailed):
        first.result(30)
    with pytest.raises(JobException, match="ValueError: bad"):
        second.result(30)
    assert {each.function: each.outcome for each in server.submissions} == {"fail": "failed", "explode": "exception"}


def test_drain_raises_what_jobs_raise(server: MemoryServer, client: Client) -> None:
    def explode(job: Job) -> None:
        raise ValueError(job.workload.decode())

    client.submit_background("explode", b"one")
    with pytest.raises(ValueError, match="one"):
        server.drain({"explode": explode})
    client.submit_background("explode", b"two")
    client.submit_background("explode", b"three")
    with pytest.raises(ExceptionGroup) as caught:
        server.drain({"explode": explode})
    assert [str(error) for error in caught.value.exceptions] == ["two", "three"]
    assert server.jobs() == []


def test_drain_does_what_jobs_submit(server: MemoryServer, client: Client) -> None:
    def count_down(job: Job) -> None:
        number = int(job.workload)
        if number:
            client.submit_background("count", b"%d" % (number - 1))

    client.submit_background("count", b"5")
    assert server.drain({"count": count_down}) == 6
    assert [int(each.workload) for each in server.submissions] == [5, 4, 3, 2, 1, 0]


def test_drain_in_the_order_of_priorities(server: MemoryServer, client: Client) -> None:
    for priority in (Priority.LOW, Priority.NORMAL, Priority.HIGH):
        client.submit_background("f", priority.value.encode(), priority=priority)
    seen: list[bytes] = []
    server.drain({"f": lambda job: seen.append(job.workload)})
    assert seen == [b"high", b"normal", b"low"]


def test_drain_leaves_other_functions_alone(server: MemoryServer, client: Client) -> None:
    client.submit_background("mine")
    client.submit_background("other")
    assert server.drain({"mine": reverse}) == 1
    assert server.drain({"mine": reverse}) == 0
    assert [job.function for job in server.jobs()] == ["other"]


def test_drain_with_the_functions_of_the_server(server: MemoryServer, client: Client) -> None:
    with pytest.raises(UsageError, match="no function"):
        server.drain()

    @server.function("reverse")
    def do(job: Job) -> bytes:
        return reverse(job)

    client.submit_background("reverse", b"abc")
    assert server.drain() == 1
    assert server.submissions[0].result == b"cba"


def test_drain_refuses_coroutines(server: MemoryServer) -> None:
    async def later(job: Job) -> bytes:
        return b""

    with pytest.raises(UsageError, match="drain_async"):
        server.drain({"later": later})


def test_what_is_no_exception_leaves_drain(server: MemoryServer, client: Client) -> None:
    def leave(job: Job) -> None:
        raise SystemExit(3)

    client.submit_background("leave")
    with pytest.raises(SystemExit):
        server.drain({"leave": leave})
    assert [job.retries for job in server.jobs()] == [1]  # as after a crash


def test_a_worker_of_ones_own_runs_until_it_is_idle(server: MemoryServer, client: Client) -> None:
    worker = Worker(server.url)
    worker.register("reverse", reverse)
    for _ in range(2):
        client.submit_background("reverse", b"abc")
        client.submit_background("reverse", b"abc")
        server.run_worker(worker)
        assert server.jobs() == []


def test_a_worker_with_several_slots_runs_until_it_is_idle(server: MemoryServer, client: Client) -> None:
    worker = Worker(server.url, concurrency=4)
    together = threading.Barrier(4)
    worker.register("meet", lambda job: str(together.wait(30)))
    for _ in range(4):
        client.submit_background("meet")
    server.run_worker(worker)
    assert {each.result for each in server.submissions} == {b"0", b"1", b"2", b"3"}


def test_uniques_coalesce(server: MemoryServer, client: Client) -> None:
    one = client.submit_background("f", b"a", unique="u")
    assert client.submit_background("f", b"b", unique="u") == one
    assert len(server.jobs()) == 1
    assert [each.handle for each in server.submissions] == [one, one]
    server.drain({"f": lambda job: job.workload})
    assert [each.result for each in server.submissions] == [b"a", b"a"]


def test_the_admin_client(server: MemoryServer, client: Client) -> None:
    client.submit_background("f")
    with AdminClient(server.url) as admin:
        assert [(each.function, each.total) for each in admin.status()] == [("f", 1)]
        assert len({each.fd for each in admin.workers()}) == 2
        admin.maxqueue("f", 1)
        assert admin.version() == "memory"
    with pytest.raises(QueueFull):
        client.submit_background("f")
    assert server.submissions[-1].outcome == "refused"


def test_settings_of_the_dispatcher() -> None:
    with MemoryServer(handle_prefix=b"H:mine", job_retries=1) as server, Client(server.url) as client:
        assert client.submit_background("f") == "H:mine:1"


def test_a_shutdown_by_text_command(server: MemoryServer) -> None:
    with AdminClient(server.url) as admin:
        admin.shutdown()
    with pytest.raises(ConnectError, match="no server in memory"), Client(server.url) as client:
        client.echo()


def test_nobody_there() -> None:
    with Client("memory://nobody") as client, pytest.raises(ConnectError, match="memory:nobody: no server in memory"):
        client.echo()


def test_names_are_taken_once(server: MemoryServer) -> None:
    with pytest.raises(OSError, match="runs already"):
        MemoryServer(server.name).start()
    assert server.start() is server


def test_a_server_is_started_again() -> None:
    with MemoryServer("again") as server, Client(server.url, resubmit="never") as client:
        client.submit_background("f")
        server.stop()
        server.stop()
        with pytest.raises((ConnectError, ConnectionLost)):
            client.run("f", timeout=30)
        server.start()
        with Client(server.url) as other:
            assert other.submit_background("g") == "H:memory:2"  # it goes on counting
        assert [job.function for job in server.jobs()] == ["g"]


def test_a_connection_is_cut(server: MemoryServer) -> None:
    with Client(server.url, resubmit="never") as client:
        future = client.submit("f")
        server.wait_submitted("f")
        (connection,) = server.connections()
        assert server.disconnect(connection)
        assert not server.disconnect(connection.peer)
        with pytest.raises(ConnectionLost):
            future.result(30)


def test_a_client_repeats_what_was_lost(server: MemoryServer, client: Client) -> None:
    future = client.submit("reverse", b"abc", unique="abc")
    server.wait_submitted("reverse")
    assert server.disconnect_all() == 1
    server.wait_submitted("reverse", 2)
    server.drain({"reverse": reverse})
    assert future.result(30) == b"cba"


def test_waiting_in_vain(server: MemoryServer, client: Client) -> None:
    client.submit_background("f")
    with pytest.raises(DeadlineExceeded, match="1 jobs are left"):
        server.wait_idle(0.01)
    with pytest.raises(DeadlineExceeded, match="0 of 1"):
        server.wait_submitted("g", timeout=0.01)


def test_real_time_without_a_clock() -> None:
    """A job's time-out passes although nobody touches the server: somebody keeps its time."""
    release = threading.Event()
    with MemoryServer(job_retries=1) as server, Client(server.url) as client:
        worker = Worker(server.url)
        worker.register("slow", lambda job: str(release.wait(30)), timeout=0.03)
        with WorkerThread(worker):
            with pytest.raises(JobFailed):
                client.run("slow", timeout=30)
            release.set()
        assert server.metrics()["functions"]["slow"]["timeouts"] == 1


def test_a_fork_does_not_have_it(server: MemoryServer, client: Client) -> None:
    if not hasattr(os, "fork"):
        pytest.skip("needs fork")
    client.echo()
    held, release = threading.Event(), threading.Event()

    def hold() -> None:  # another thread may be at work in the server at that moment
        with server.lock:
            held.set()
            release.wait(30)

    holder = threading.Thread(target=hold)
    holder.start()
    try:
        held.wait(30)
        pid = os.fork()
        if pid == 0:
            try:
                client.echo()
            except ConnectError:
                os._exit(7)
            finally:
                os._exit(1)
    finally:
        release.set()
        holder.join()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    assert client.echo(b"still") == b"still"


@pytest.mark.parametrize("eventfd", [True, False])
def test_without_eventfd(monkeypatch: pytest.MonkeyPatch, eventfd: bool) -> None:
    if not eventfd:
        monkeypatch.delattr(os, "eventfd", raising=False)
    bell = Bell()
    assert bell.fileno() >= 0
    bell.ring()
    bell.quiet()
    bell.close()
    bell.close()
    bell.ring()
    bell.quiet()
    assert bell.fileno() == -1
    with MemoryServer() as server, Client(server.url) as client, WorkerThread({"reverse": reverse}, server):
        assert client.run("reverse", b"abc", timeout=30) == b"cba"


def test_wrong_arguments() -> None:
    with pytest.raises(UsageError, match="manual"):
        MemoryServer(mode="other")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="memory://NAME"):
        Client("memory://")
    with pytest.raises(UsageError, match="memory://NAME"):
        Client("memory://a/b")
    with pytest.raises(UsageError, match="installed first"):
        MemoryServer(clock=FakeClock()).start()
    clock = FakeClock()
    with pytest.raises(UsageError):
        clock.advance(-1)

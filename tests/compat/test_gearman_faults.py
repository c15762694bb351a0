# SPDX-License-Identifier: BSD-3-Clause
"""Servers that are down, silent, cut off or out of their mind: one outcome for each, in the old exceptions.

The object that met it can be used again at once: its connection is closed.
"""

from __future__ import annotations

import collections
import contextlib
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gearfast import Packet
from gearfast.protocol import MAGIC_RESPONSE

from ..functional.fault_proxy import BlackHole, Connection, FaultProxy, ScriptedPeer, hang_up
from ..functional.servers import HOST, PATIENCE, ServerProcess
from .programs import Running, client_of, worker_for, working

CREATED = Packet(8, (b"H:x:1",))
RESULT = Packet(13, (b"H:x:1", b"result"), MAGIC_RESPONSE)
NOOP = Packet(6)
ASSIGN = Packet(31, (b"H:x:1", b"f", b"u", b"data"))

BAD_BYTES = {
    "no gearman": b"\0HTTP/1.1 400 Bad Request\r\n",
    "a request": Packet(16, (b"x",)).encode(),
    "an unknown number": b"\0RES\0\0\1\0\0\0\0\0",
    "a number too new": Packet(42, (b"u", b"1", b"1", b"0", b"0", b"1")).encode(),
    "too few arguments": b"\0RES\0\0\0\x0d\0\0\0\1h",
}


@pytest.fixture(params=BAD_BYTES)
def bad_bytes(request: pytest.FixtureRequest) -> bytes:
    return BAD_BYTES[request.param]


def free_address() -> str:
    """An address at which nobody listens."""
    with socket.create_server((HOST, 0)) as listener:
        return f"{HOST}:{listener.getsockname()[1]}"


@contextlib.contextmanager
def peer(script: Callable[[Connection], None]) -> Iterator[ScriptedPeer]:
    with ScriptedPeer(script) as found:
        yield found


def silent(connection: Connection) -> None:
    connection.wait_for_end()


def after_submit(*sent: bytes | Packet) -> Callable[[Connection], None]:
    def script(connection: Connection) -> None:
        connection.read("SUBMIT_JOB")
        for part in sent:
            connection.socket.sendall(part if isinstance(part, bytes) else part.encode())

    return script


def submit(gearman: Any, server: Any, **options: Any) -> Any:
    with client_of(gearman, server) as client:
        try:
            return client.submit_job("f", "x", **{"background": False, "poll_timeout": PATIENCE, **options})
        finally:
            assert not [connection for connection in client.connection_list if connection._incoming_commands]


# --- clients ---------------------------------------------------------------------------------------------------------


def test_no_server(any_gearman: Any) -> None:
    client = any_gearman.GearmanClient([free_address(), free_address()])
    with pytest.raises(any_gearman.errors.ServerUnavailable, match="Found no valid connections: "):
        client.submit_job("f", "x")


def test_no_host(any_gearman: Any) -> None:
    with pytest.raises(any_gearman.errors.ServerUnavailable, match=r"Found no valid connections: \[\]"):
        any_gearman.GearmanClient().submit_job("f", "x")


def test_a_server_that_does_not_accept(gearman: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gearman.connection, "CONNECT_SECONDS", 0.05)
    with BlackHole() as hole, pytest.raises(gearman.errors.ServerUnavailable):
        submit(gearman, hole)


def test_the_next_server_takes_the_job(gearman: Any, job_server: ServerProcess) -> None:
    client = gearman.GearmanClient([free_address(), job_server.address, free_address()])
    for _ in range(8):
        assert client.submit_job("f", "x", background=True, poll_timeout=PATIENCE).complete
    client.shutdown()


def test_a_server_that_never_answers(gearman: Any) -> None:
    with peer(silent) as server:
        request = submit(gearman, server, poll_timeout=0.05)
    assert (request.state, request.timed_out, request.complete) == (gearman.JOB_PENDING, True, False)


@pytest.mark.parametrize("sent", [b"", CREATED.encode()[:5], CREATED.encode()[:-1]])
def test_lost_before_the_handle(gearman: Any, sent: bytes) -> None:
    with peer(after_submit(sent)) as server:
        with pytest.raises(
            gearman.errors.ExceededConnectionAttempts, match=r"^Exceeded 1 connection attempt\(s\) :: <"
        ):
            submit(gearman, server)
        with pytest.raises(
            gearman.errors.ExceededConnectionAttempts, match=r"^Exceeded 3 connection attempt\(s\) :: <"
        ):
            submit(gearman, server, max_retries=2)
        assert server.accepted == 4


def test_sent_again_until_there_is_a_handle(gearman: Any) -> None:
    def third_time(connection: Connection) -> None:
        connection.read("SUBMIT_JOB")
        if connection.number == 3:
            connection.send(CREATED, RESULT)
            connection.wait_for_end()

    with peer(third_time) as server:
        request = submit(gearman, server, max_retries=5)
    assert (request.result, request.connection_attempts) == (b"result", 3)


@pytest.mark.parametrize("sent", [b"", RESULT.encode()[:7], RESULT.encode()[:-1]])
def test_lost_after_the_handle(gearman: Any, sent: bytes) -> None:
    with peer(after_submit(CREATED, sent)) as server, client_of(gearman, server) as client:
        job = {"task": "f", "data": "x"}
        (request,) = client.submit_multiple_jobs([job], wait_until_complete=False, poll_timeout=PATIENCE)
        with pytest.raises(gearman.errors.ServerUnavailable, match=r"Found no valid connections in list: \["):
            client.wait_until_jobs_completed([request], poll_timeout=PATIENCE)
        assert request.state == gearman.job.JOB_UNKNOWN
        assert server.accepted == 1  # never sent again


def test_one_of_several_lost_after_the_handle(gearman: Any, job_server: ServerProcess) -> None:
    with peer(after_submit(CREATED)) as server, client_of(gearman, job_server, server) as client:
        client.establish_connection(client.connection_list[0])
        client.establish_connection(client.connection_list[1])
        client.connection_list[:] = client.connection_list[::-1]
        request = client._create_request_from_dictionary({"task": "f", "data": "x"})
        client.request_to_rotating_connection_queue[request] = collections.deque(client.connection_list)
        client.submit_multiple_requests([request], poll_timeout=PATIENCE)
    assert (request.state, request.complete, request.timed_out) == (gearman.job.JOB_UNKNOWN, False, True)


def test_bytes_that_are_no_packet(any_gearman: Any, bad_bytes: bytes) -> None:
    with peer(after_submit(CREATED, bad_bytes)) as server, client_of(any_gearman, server) as client:
        with pytest.raises(any_gearman.errors.ProtocolError):
            client.submit_job("f", "x", background=False, poll_timeout=PATIENCE)
        assert not client.connection_list[0].connected
        assert client.connection_to_handler_map == client.handler_to_connection_map == {}


@pytest.mark.parametrize(
    ("sent", "kind"),
    [
        ((CREATED, CREATED), "InvalidClientState"),
        ((CREATED, RESULT, RESULT), "InvalidClientState"),
        ((CREATED, NOOP), "UnknownCommandError"),
        ((CREATED, ASSIGN), "UnknownCommandError"),
        ((b"hello\n",), "UnknownCommandError"),
    ],
)
def test_packets_that_do_not_fit(gearman: Any, sent: tuple[Any, ...], kind: str) -> None:
    at_once = b"".join(part if isinstance(part, bytes) else part.encode() for part in sent)
    with peer(after_submit(at_once)) as server, client_of(gearman, server) as client:
        with pytest.raises(getattr(gearman.errors, kind)):
            client.submit_job("f", "x", poll_timeout=PATIENCE)
        assert not client.connection_list[0].connected


def test_a_packet_for_a_job_that_is_unknown(gearman: Any) -> None:
    other = Packet(13, (b"H:other:7", b"?"), MAGIC_RESPONSE)
    with peer(after_submit(CREATED, other, RESULT)) as server:
        assert submit(gearman, server).result == b"result"


def test_every_split_of_the_answers(gearman: Any) -> None:
    data = CREATED.encode() + RESULT.encode()

    def script(connection: Connection) -> None:
        connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for cut in range(len(data)):
            connection.read("SUBMIT_JOB")
            for part in (data[:cut], data[cut:]):
                connection.socket.sendall(part)
        connection.wait_for_end()

    with peer(script) as server, client_of(gearman, server) as client:
        results = {client.submit_job("f", "x", poll_timeout=PATIENCE).result for _ in range(len(data))}
    assert results == {b"result"}


def test_an_error_and_more_in_one_read(gearman: Any) -> None:
    """In the original the rest waits until the server sends something else."""
    error = Packet(19, (b"QUEUE_ERROR", b"Job queue is full"))

    def script(connection: Connection) -> None:
        connection.read("SUBMIT_JOB")
        connection.read("SUBMIT_JOB")
        connection.send(error, CREATED, RESULT)
        connection.wait_for_end()

    with peer(script) as server, client_of(gearman, server) as client:
        jobs = [{"task": "f", "data": "x"}] * 2
        refused, done = client.submit_multiple_jobs(jobs, poll_timeout=PATIENCE)
    assert (refused.state, done.state, done.result) == (gearman.JOB_FAILED, gearman.JOB_COMPLETE, b"result")


# --- workers ---------------------------------------------------------------------------------------------------------


def work(gearman: Any, script: Callable[[Connection], None], **hooks: Any) -> tuple[Any, Any]:
    """What leaves work() of a worker at such a server, and the worker."""
    with peer(script) as server:
        worker = worker_for(gearman, server, f=lambda worker, job: job.data)
        for name, hook in hooks.items():
            setattr(worker, name, hook)
        error = Running(lambda: worker.work(poll_timeout=PATIENCE)).join()
        worker.shutdown()
    return error, worker


def after_sleep(*sent: bytes | Packet) -> Callable[[Connection], None]:
    def script(connection: Connection) -> None:
        connection.read("PRE_SLEEP")
        connection.socket.sendall(NOOP.encode())
        connection.read("GRAB_JOB_UNIQ")
        for part in sent:
            connection.socket.sendall(part if isinstance(part, bytes) else part.encode())

    return script


def test_a_worker_without_a_server(any_gearman: Any) -> None:
    with pytest.raises(any_gearman.errors.ServerUnavailable, match="Found no valid connections in list: "):
        any_gearman.GearmanWorker([free_address()]).work()


@pytest.mark.parametrize("sent", [b"", ASSIGN.encode()[:9], ASSIGN.encode()[:-1]])
def test_a_worker_that_is_cut_off(gearman: Any, sent: bytes) -> None:
    error, worker = work(gearman, after_sleep(sent))
    assert type(error) is gearman.errors.ServerUnavailable
    assert not worker.has_job_lock()


def test_a_worker_and_bytes_that_are_no_packet(any_gearman: Any, bad_bytes: bytes) -> None:
    error, worker = work(any_gearman, after_sleep(bad_bytes))
    assert type(error) is any_gearman.errors.ProtocolError
    assert not worker.has_job_lock()
    assert worker.connection_to_handler_map == {}


def test_a_worker_and_a_job_it_did_not_ask_for(gearman: Any) -> None:
    def script(connection: Connection) -> None:
        connection.read("PRE_SLEEP")
        connection.send(ASSIGN)
        connection.wait_for_end()

    error, _ = work(gearman, script)
    assert type(error) is gearman.errors.InvalidWorkerState


def test_a_worker_and_a_job_it_cannot_do(gearman: Any) -> None:
    def script(connection: Connection) -> None:
        after_sleep(Packet(31, (b"H:x:1", b"other", b"u", b"data")))(connection)
        connection.wait_for_end()

    error, worker = work(gearman, script)
    assert type(error) is AssertionError
    assert not worker.connection_list[0].connected  # so that the job goes back


def test_a_worker_and_a_server_that_never_answers(gearman: Any) -> None:
    calls: list[bool] = []

    def after_poll(any_activity: bool) -> bool:
        calls.append(any_activity)
        return len(calls) < 5

    with peer(silent) as server:
        worker = worker_for(gearman, server, f=lambda worker, job: "")
        worker.after_poll = after_poll
        worker.work(poll_timeout=0.01)
        worker.shutdown()
    assert len(calls) == 5 and not calls[0]


def test_a_plain_assignment(gearman: Any) -> None:
    """Without a unique; version 2.0.2 recurses without end."""
    seen: list[Any] = []

    def script(connection: Connection) -> None:
        after_sleep(Packet(11, (b"H:x:1", b"f", b"data")))(connection)
        seen.append(connection.read("WORK_COMPLETE").args)

    error, _ = work(gearman, script)
    assert type(error) is gearman.errors.ServerUnavailable
    assert seen == [(b"H:x:1", b"data")]


def test_a_worker_behind_a_connection_that_breaks(gearman: Any, job_server: ServerProcess) -> None:
    """The loop that users write: work() again after ServerUnavailable. No job is lost."""
    with FaultProxy(job_server.port) as proxy, client_of(gearman, job_server) as client:
        for number in range(20):
            client.submit_job("f", str(number), background=True, poll_timeout=PATIENCE)
        worker = worker_for(gearman, proxy, f=lambda worker, job: job.data)
        own, worker_work = worker.after_poll, worker.work

        def again(poll_timeout: float) -> None:
            while True:
                with contextlib.suppress(gearman.errors.ServerUnavailable):
                    return worker_work(poll_timeout)

        worker.work = again
        worker.after_job = lambda: own(True)
        with working(worker):
            for _ in range(3):
                proxy.cut(hang_up)
            job_server.wait_for("f", total=0)
    assert not worker.has_job_lock()


# --- admin clients ---------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def admin_of(gearman: Any, script: Callable[[Connection], None], timeout: float = PATIENCE) -> Iterator[Any]:
    with peer(script) as server:
        admin = gearman.GearmanAdminClient([server.address], poll_timeout=timeout)
        yield admin
        admin.shutdown()


def answering(line: bytes) -> Callable[[Connection], None]:
    """The first connection gets this for an answer, later ones a right one."""

    def script(connection: Connection) -> None:
        connection.socket.recv(100)
        connection.socket.sendall(line if connection.number == 1 else b"OK 7\n")
        if connection.number > 1 or line.endswith(b"\n"):
            connection.wait_for_end()

    return script


def test_an_admin_client_without_a_server(any_gearman: Any) -> None:
    with pytest.raises(any_gearman.errors.ServerUnavailable):
        any_gearman.GearmanAdminClient([free_address()]).get_status()


def test_an_admin_client_and_a_server_that_never_answers(gearman: Any) -> None:
    def first_never(connection: Connection) -> None:
        connection.socket.recv(100)
        if connection.number == 1:
            connection.wait_for_end()
        connection.socket.sendall(b"OK 7\n")
        connection.wait_for_end()

    with admin_of(gearman, first_never, timeout=0.05) as admin:
        text = r"Admin client timed out after 0\.050000 second\(s\)"
        with pytest.raises(gearman.errors.InvalidAdminClientState, match=text):
            admin.get_status()
        admin.poll_timeout = PATIENCE
        assert admin.get_version() == "OK 7"


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (b"", "ServerUnavailable"),
        (b"f\t1\t0", "ServerUnavailable"),
        (b"f\t1\t0\n", "ProtocolError"),
        (b"f\t1\tx\t0\n", "ProtocolError"),
        (b"ERR UNKNOWN_COMMAND\r\n", "ProtocolError"),
        (b"\0nonsense\n", "ProtocolError"),
        (NOOP.encode() + b"\n", "UnknownCommandError"),
    ],
)
def test_an_admin_client_and_bad_answers(gearman: Any, answer: bytes, kind: str) -> None:
    with admin_of(gearman, answering(answer)) as admin:
        with pytest.raises(getattr(gearman.errors, kind)):
            admin.get_status()
        assert admin.get_version() == "OK 7"


def test_an_admin_client_and_a_wrong_echo(gearman: Any) -> None:
    text = "Echo string mismatch: got pong"
    wrong = Packet(17, (b"pong",)).encode() + b"\n"
    with (
        admin_of(gearman, answering(wrong)) as admin,
        pytest.raises(gearman.errors.InvalidAdminClientState, match=text),
    ):
        admin.ping_server()

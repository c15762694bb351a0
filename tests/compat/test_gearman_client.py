# SPDX-License-Identifier: BSD-3-Clause
"""The client of `gearfast.compat.gearman` against gearfast and gearmand: what the original does, and what is mended."""

from __future__ import annotations

import json
import logging
import re
import threading
from typing import Any
from unittest import mock

import pytest

from ..functional.servers import PATIENCE, ServerProcess, wait_until
from .programs import client_of, worker_for, working


def reverse(worker: Any, job: Any) -> Any:
    return job.data[::-1]


def test_a_job_in_the_foreground(gearman: Any, job_server: ServerProcess) -> None:
    with working(worker_for(gearman, job_server, reverse=reverse)), client_of(gearman, job_server) as client:
        request = client.submit_job("reverse", "desserts", poll_timeout=PATIENCE)
    assert (request.state, request.complete, request.timed_out) == (gearman.JOB_COMPLETE, True, False)
    assert request.result == b"stressed"
    assert isinstance(request.job.handle, bytes)
    assert (request.job.task, request.job.data) == ("reverse", "desserts")
    assert len(request.job.unique) == 32 and int(request.job.unique, 16) >= 0
    assert request.exception is None
    assert (list(request.data_updates), list(request.warning_updates), request.status) == ([], [], {})


def test_without_a_limit_it_waits_for_the_result(gearman: Any, job_server: ServerProcess) -> None:
    """pygearman 0.2.5 and 0.2.6 return as soon as the server has the job."""
    with working(worker_for(gearman, job_server, reverse=reverse)), client_of(gearman, job_server) as client:
        assert client.submit_job("reverse", "ab").result == b"ba"


def test_all_eight_arguments_by_position(gearman: Any, job_server: ServerProcess) -> None:
    with working(worker_for(gearman, job_server, reverse=reverse)), client_of(gearman, job_server) as client:
        request = client.submit_job("reverse", "ab", "u", gearman.PRIORITY_HIGH, False, True, 2, PATIENCE)
    assert (request.result, request.priority, request.max_connection_attempts) == (b"ba", "HIGH", 3)


@pytest.mark.parametrize("priority", [None, "LOW", "HIGH"])
def test_a_job_in_the_background(gearman: Any, job_server: ServerProcess, priority: str | None) -> None:
    with client_of(gearman, job_server) as client:
        request = client.submit_job("later", b"x", priority=priority, background=True, poll_timeout=PATIENCE)
        assert (request.state, request.complete, request.timed_out) == (gearman.JOB_CREATED, True, False)
    assert job_server.function("later").total == 1


def test_an_unknown_priority(gearman: Any, job_server: ServerProcess) -> None:
    with client_of(gearman, job_server) as client, pytest.raises(KeyError) as raised:
        client.submit_job("f", "x", priority="URGENT")
    assert raised.value.args == ((False, "URGENT"),)


def test_many_jobs_in_their_order(gearman: Any, job_server: ServerProcess) -> None:
    jobs = [{"task": "reverse", "data": f"{number:03}", "priority": gearman.PRIORITY_LOW} for number in range(200)]
    with working(worker_for(gearman, job_server, reverse=reverse)), client_of(gearman, job_server) as client:
        requests = client.submit_multiple_jobs(jobs, poll_timeout=PATIENCE)
    assert [request.result for request in requests] == [f"{number:03}"[::-1].encode() for number in range(200)]


def test_accepted_first_completed_later(gearman: Any, job_server: ServerProcess) -> None:
    with client_of(gearman, job_server) as client:
        jobs = [{"task": "reverse", "data": "ab"}, {"task": "reverse", "data": "cd"}]
        requests = client.submit_multiple_jobs(jobs, wait_until_complete=False, poll_timeout=PATIENCE)
        assert {request.state for request in requests} == {gearman.JOB_CREATED}
        with working(worker_for(gearman, job_server, reverse=reverse)):
            assert client.wait_until_jobs_completed(requests, poll_timeout=PATIENCE) is requests
    assert [request.result for request in requests] == [b"ba", b"dc"]


def test_lists_must_be_lists(gearman: Any) -> None:
    client = gearman.GearmanClient(["127.0.0.1:1"])
    with pytest.raises(AssertionError, match="Expected multiple jobs, received 1"):
        client.submit_multiple_jobs({"task": "f", "data": "x"})
    for method in ("submit_multiple_requests", "wait_until_jobs_accepted", "wait_until_jobs_completed"):
        with pytest.raises(AssertionError, match="Expected multiple job requests, received 1"):
            getattr(client, method)(iter(()))


def test_a_time_out_does_not_raise(gearman: Any, job_server: ServerProcess) -> None:
    with client_of(gearman, job_server) as client:
        request = client.submit_job("nobody", "x", poll_timeout=0.05)
    assert (request.state, request.timed_out, request.complete) == (gearman.JOB_CREATED, True, False)


def test_no_time_at_all_sends_nothing(gearman: Any, job_server: ServerProcess) -> None:
    with client_of(gearman, job_server) as client:
        request = client.submit_job("nobody", "x", poll_timeout=0)
        assert (request.state, request.timed_out) == (gearman.JOB_PENDING, True)
    assert job_server.function("nobody").total == 0


def test_updates_of_a_job(gearman: Any, job_server: ServerProcess) -> None:
    def speak(worker: Any, job: Any) -> str:
        worker.send_job_status(job, 1, 4)
        worker.send_job_data(job, "part")
        worker.send_job_warning(job, b"careful")
        worker.send_job_status(job, 2.0, 4)
        return "end"

    with working(worker_for(gearman, job_server, speak=speak)), client_of(gearman, job_server) as client:
        request = client.submit_job("speak", "", poll_timeout=PATIENCE)
    assert list(request.data_updates) == [b"part"]
    assert list(request.warning_updates) == [b"careful"]
    status = dict(request.status)
    assert status.pop("time_received") > 0
    expected = {"handle": request.job.handle, "known": True, "running": True, "numerator": 2, "denominator": 4}
    assert status == expected
    assert request.server_status is request.status
    assert list(request.status_updates) == [(2, 4)]
    request.reset()
    assert (request.state, request.status, request.result) == (gearman.JOB_UNKNOWN, {}, None)


def test_a_worker_that_raises(gearman: Any, job_server: ServerProcess) -> None:
    def fail(worker: Any, job: Any) -> None:
        raise ValueError(job.data)

    with working(worker_for(gearman, job_server, fail=fail)), client_of(gearman, job_server) as client:
        request = client.submit_job("fail", "x", poll_timeout=PATIENCE)
    assert (request.state, request.complete, request.result) == (gearman.JOB_FAILED, True, None)


def test_an_exception_of_the_worker_ends_the_job_as_failed(gearman: Any, job_server: ServerProcess) -> None:
    """gearmand puts a NUL behind the handle of that WORK_FAIL, on which the original dies of a KeyError."""

    def fail(worker: Any, job: Any) -> str:
        worker.send_job_exception(job, "why")
        return ""

    with working(worker_for(gearman, job_server, fail=fail)), client_of(gearman, job_server) as client:
        request = client.submit_job("fail", "x", poll_timeout=PATIENCE)
    assert request.state == gearman.JOB_FAILED


# --- status ----------------------------------------------------------------------------------------------------------


def test_status_of_a_queued_and_of_a_running_job(gearman: Any, job_server: ServerProcess) -> None:
    started, go_on = threading.Event(), threading.Event()

    def half(worker: Any, job: Any) -> str:
        worker.send_job_status(job, 5, 10)
        started.set()
        go_on.wait(PATIENCE)
        return ""

    with client_of(gearman, job_server) as client:
        request = client.submit_job("half", "", background=True, poll_timeout=PATIENCE)
        assert client.get_job_status(request, poll_timeout=PATIENCE) is request
        assert (request.status["known"], request.status["running"]) == (True, False)
        with working(worker_for(gearman, job_server, half=half)):
            assert started.wait(PATIENCE)

            def is_half() -> bool:  # the worker's packet may be on its way yet
                status = client.get_job_status(request, poll_timeout=PATIENCE).status
                return (status["numerator"], status["denominator"]) == (5, 10)

            wait_until(is_half, "the server knows how far the job is")
            go_on.set()
        assert (request.status["known"], request.status["running"]) == (True, True)
    assert not request.timed_out


def test_status_of_another_clients_job(gearman: Any, job_server: ServerProcess) -> None:
    with client_of(gearman, job_server) as client, client_of(gearman, job_server) as other:
        handle = client.submit_job("later", "", background=True, poll_timeout=PATIENCE).job.handle
        connection = other.establish_connection(other.connection_list[0])
        request = gearman.job.GearmanJobRequest(gearman.job.GearmanJob(connection, handle, None, None, None))
        request.state = gearman.JOB_CREATED
        assert other.get_job_status(request, poll_timeout=PATIENCE).status["known"] is True


def test_status_without_a_connection(gearman: Any, job_server: ServerProcess) -> None:
    with client_of(gearman, job_server) as client:
        request = gearman.job.GearmanJobRequest(gearman.job.GearmanJob(None, b"H:x:1", None, None, None))
        with pytest.raises(KeyError):
            client.get_job_status(request)


# --- refusals, shared jobs -------------------------------------------------------------------------------------------


def test_a_refused_job_fails_alone(gearman: Any, job_server: ServerProcess, caplog: pytest.LogCaptureFixture) -> None:
    """In the original it takes the next job's handle, and so on."""
    errors = []
    with client_of(gearman, job_server) as client:
        logging_hook = client.on_gearman_error
        client.on_gearman_error = lambda *error: errors.append(error) or logging_hook(*error)
        jobs = [
            {"task": "f", "data": "1", "unique": "one"},
            {"task": "f", "data": "2", "unique": "x" * 65},
            {"task": "f", "data": "3", "unique": "three"},
        ]
        with caplog.at_level(logging.ERROR):
            requests = client.submit_multiple_jobs(jobs, background=True, poll_timeout=PATIENCE)
    created, failed = gearman.JOB_CREATED, gearman.JOB_FAILED
    assert [request.state for request in requests] == [created, failed, created]
    assert [request.timed_out for request in requests] == [False] * 3
    assert requests[1].job.handle is None
    assert len({request.job.handle for request in requests}) == 3
    assert [code for code, _ in errors] == [b"ARGUMENT_TOO_LARGE"]
    (record,) = caplog.records
    assert record.name == "gearman.connection_manager"
    assert record.getMessage().startswith("Received error from server: ARGUMENT_TOO_LARGE: ")


def test_two_requests_for_one_job(gearman: Any, job_server: ServerProcess) -> None:
    """The original gives both packets to the second request, and raises InvalidClientState."""
    ready = threading.Event()

    def slow(worker: Any, job: Any) -> bytes:
        assert ready.wait(PATIENCE)
        worker.send_job_data(job, b"part")
        return job.data

    with working(worker_for(gearman, job_server, slow=slow)), client_of(gearman, job_server) as client:
        jobs = [{"task": "slow", "data": "x", "unique": "same"}] * 3
        requests = client.submit_multiple_jobs(jobs, wait_until_complete=False, poll_timeout=PATIENCE)
        ready.set()
        client.wait_until_jobs_completed(requests, poll_timeout=PATIENCE)
    assert len({request.job.handle for request in requests}) == 1
    assert [request.result for request in requests] == [b"x"] * 3
    assert [list(request.data_updates) for request in requests] == [[b"part"]] * 3


@pytest.mark.parametrize("background", [False, True])
def test_the_unique_of_a_job_in_the_background(gearman: Any, job_server: ServerProcess, background: bool) -> None:
    """A request that is told nothing does not keep the packets from one that waits."""
    with client_of(gearman, job_server) as client:
        job = {"task": "reverse", "data": "ab", "unique": "u"}
        first = client.submit_multiple_jobs([job], background, wait_until_complete=False, poll_timeout=PATIENCE)
        second = client.submit_multiple_jobs([job], not background, wait_until_complete=False, poll_timeout=PATIENCE)
        (waiting,) = second if background else first
        with working(worker_for(gearman, job_server, reverse=reverse)):
            client.wait_until_jobs_completed([waiting], poll_timeout=PATIENCE)
    assert waiting.result == b"ba"


def test_a_unique_of_as_many_random_bytes_as_were_asked_for(any_gearman: Any) -> None:
    """In hexadecimal digits, as str in both flavours; another one each time."""
    for options, digits in (({}, 32), ({"random_unique_bytes": 4}, 8)):
        client = any_gearman.GearmanClient(["127.0.0.1:1"], **options)
        jobs = [client._create_request_from_dictionary({"task": "f", "data": "x"}).job for _ in range(2)]
        assert all(isinstance(job.unique, str) and re.fullmatch(f"[0-9a-f]{{{digits}}}", job.unique) for job in jobs)
        assert jobs[0].unique != jobs[1].unique


# --- encoders, flavours, overriding ----------------------------------------------------------------------------------


def test_an_encoder_for_everything_opaque(gearman: Any, job_server: ServerProcess) -> None:
    class Json(gearman.DataEncoder):  # type: ignore[misc]
        @classmethod
        def encode(cls, encodable_object: Any) -> str:
            return json.dumps(encodable_object)

        @classmethod
        def decode(cls, decodable_string: bytes) -> Any:
            assert type(decodable_string) is bytes
            return json.loads(decodable_string)

    def work(worker: Any, job: Any) -> Any:
        worker.send_job_data(job, {"half": job.data})
        worker.send_job_warning(job, ["ö"])
        return None if job.data is None else [job.data, job.data]

    worker = worker_for(gearman, job_server, work=work)
    worker.data_encoder = Json
    with working(worker), client_of(gearman, job_server) as client:
        client.data_encoder = Json
        request = client.submit_job("work", {"a": 1}, poll_timeout=PATIENCE)
        nothing = client.submit_job("work", None, poll_timeout=PATIENCE)
    assert request.result == [{"a": 1}, {"a": 1}]
    assert list(request.data_updates) == [{"half": {"a": 1}}]
    assert list(request.warning_updates) == [["ö"]]
    assert nothing.result is None and nothing.state == gearman.JOB_COMPLETE


def test_what_cannot_be_encoded(any_gearman: Any, job_server: ServerProcess) -> None:
    with client_of(any_gearman, job_server) as client, pytest.raises(TypeError, match="Expecting byte string, got"):
        client.submit_job("f", 7)


def test_text_comes_as_str(text_gearman: Any, job_server: ServerProcess) -> None:
    seen: list[Any] = []

    def work(worker: Any, job: Any) -> Any:
        seen.append((job.task, job.data, job.unique, type(job.handle)))
        worker.send_job_data(job, "größer")
        return job.data

    with working(worker_for(text_gearman, job_server, work=work)), client_of(text_gearman, job_server) as client:
        request = client.submit_job("work", "für", unique="ü", background=False, poll_timeout=PATIENCE)
        odd = client.submit_job("work", b"\xff\xfe", background=False, poll_timeout=PATIENCE)
    assert request.result == "für"
    assert isinstance(request.job.handle, str)
    assert list(request.data_updates) == ["größer"]
    assert seen[0] == ("work", "für", "ü", str)
    assert odd.result.encode("utf-8", "surrogateescape") == b"\xff\xfe"


def test_py3gearman_sends_to_the_background(job_server: ServerProcess) -> None:
    from gearfast.compat import py3gearman, python3_gearman

    for gearman, state in ((py3gearman, "CREATED"), (python3_gearman, "COMPLETE")):
        with working(worker_for(gearman, job_server, reverse=reverse)), client_of(gearman, job_server) as client:
            assert client.submit_job("reverse", "ab", poll_timeout=PATIENCE).state == state


@pytest.mark.parametrize(("flavour", "sent"), [("gearman", "-"), ("python3_gearman", "data"), ("py3gearman", "-")])
def test_the_unique_that_stands_for_the_data(flavour: str, sent: str) -> None:
    import importlib

    client = importlib.import_module(f"gearfast.compat.{flavour}").GearmanClient([])
    request = client._create_request_from_dictionary({"task": "f", "unique": "-", "data": "data"})
    assert request.job.unique == sent


def test_overridden_methods_are_called(gearman: Any, job_server: ServerProcess) -> None:
    called: list[str] = []

    def calling(name: str) -> Any:
        def method(self: Any, *arguments: Any, **named: Any) -> Any:
            called.append(name)
            return getattr(super(Client, self), name)(*arguments, **named)

        return method

    names = [
        "establish_request_connection",
        "establish_connection",
        "send_job_request",
        "wait_until_jobs_accepted",
        "wait_until_jobs_completed",
        "poll_connections_until_stopped",
        "poll_connections_once",
        "handle_connection_activity",
        "_register_connections_with_poller",
        "handle_read",
        "handle_write",
        "read_command",
        "send_command",
    ]
    Client: Any = type("Client", (gearman.GearmanClient,), {name: calling(name) for name in names})  # noqa: N806
    client = Client([job_server.address])
    with working(worker_for(gearman, job_server, reverse=reverse)):
        assert client.submit_job("reverse", "ab", poll_timeout=PATIENCE).result == b"ba"
    client.shutdown()
    assert set(called) == set(names)


@pytest.mark.parametrize("where", ["instance", "class", "base"])
def test_a_patched_polling_method_is_called(gearman: Any, job_server: ServerProcess, where: str) -> None:
    with working(worker_for(gearman, job_server, reverse=reverse)), client_of(gearman, job_server) as client:
        base = gearman.connection_manager.GearmanConnectionManager
        target = {"instance": client, "class": gearman.GearmanClient, "base": base}[where]
        own = client.poll_connections_once if where == "instance" else base.poll_connections_once
        with mock.patch.object(target, "poll_connections_once", side_effect=own, autospec=where != "instance") as patch:
            assert client.submit_job("reverse", "ab", poll_timeout=PATIENCE).result == b"ba"
    assert patch.called


def test_classes_of_ones_own(gearman: Any, job_server: ServerProcess) -> None:
    class Job(gearman.job.GearmanJob):  # type: ignore[misc]
        pass

    class Request(gearman.job.GearmanJobRequest):  # type: ignore[misc]
        pass

    class Connection(gearman.connection.GearmanConnection):  # type: ignore[misc]
        pass

    class Client(gearman.GearmanClient):  # type: ignore[misc]
        job_class = Job
        job_request_class = Request
        connection_class = Connection

        def __init__(self, hosts: list[str]) -> None:
            self.early = True  # attributes may be set before
            super().__init__(hosts)

    client = Client([job_server.address])
    request = client.submit_job("later", "", background=True, poll_timeout=PATIENCE)
    assert [type(thing) for thing in (request, request.job, request.job.connection)] == [Request, Job, Connection]
    client.shutdown()


def test_after_shutdown_it_can_be_used_again(gearman: Any, job_server: ServerProcess) -> None:
    with client_of(gearman, job_server) as client:
        for _ in range(3):
            assert client.submit_job("later", "", background=True, poll_timeout=PATIENCE).complete
            client.shutdown()
            assert not client.connection_list[0].connected
    assert job_server.function("later").total == 3


# --- hosts -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "address"),
    [
        (["h:1"], ("h", 1)),
        (["h"], ("h", 4730)),
        ([("h", 2)], ("h", 2)),
        ([("h", "3")], ("h", 3)),
        ("h:4", ("h", 4)),
        (["[::1]:5"], ("::1", 5)),
        (["[::1]"], ("::1", 4730)),
        (["fe80::1"], ("fe80::1", 4730)),
    ],
)
@pytest.mark.parametrize("kind", ["GearmanClient", "GearmanWorker", "GearmanAdminClient"])
def test_hosts(gearman: Any, kind: str, given: Any, address: tuple[str, int]) -> None:
    (connection,) = getattr(gearman, kind)(given).connection_list
    assert connection.get_address() == address
    assert not connection.connected


def test_hosts_with_tls(gearman: Any) -> None:
    host = {"host": "h", "port": 1, "keyfile": "k", "certfile": "c", "ca_certs": "a"}
    assert gearman.GearmanClient([host]).connection_list[0].use_ssl
    with pytest.raises(gearman.errors.GearmanError, match="Incomplete SSL connection definition"):
        gearman.GearmanClient([{"host": "h"}])
    with pytest.raises(gearman.errors.GearmanError, match="Expected str, tuple or dict; got 7"):
        gearman.GearmanClient([7])

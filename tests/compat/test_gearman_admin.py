# SPDX-License-Identifier: BSD-3-Clause
"""The admin client of `gearfast.compat.gearman` against gearfast and gearmand."""

from __future__ import annotations

from typing import Any

import pytest

from ..functional.servers import PATIENCE, ServerProcess
from .programs import client_of, worker_for, working


@pytest.fixture
def admin(any_gearman: Any, job_server: ServerProcess) -> Any:
    """An admin client; text is str in every flavour."""
    client = any_gearman.GearmanAdminClient([job_server.address], poll_timeout=PATIENCE)
    yield client
    client.shutdown()


def test_ping(admin: Any) -> None:
    assert 0 < admin.ping_server() < PATIENCE
    assert 0 < admin.ping_server() < PATIENCE


def test_version_and_pid(admin: Any, job_server: ServerProcess) -> None:
    assert admin.get_version().startswith("OK ")
    assert admin.get_pid() == f"OK {job_server.pid}"


def test_status_is_a_tuple(any_gearman: Any, admin: Any, job_server: ServerProcess) -> None:
    assert admin.get_status() == ()
    with client_of(any_gearman, job_server) as client:
        client.submit_job("f", "x", background=True, poll_timeout=PATIENCE)
    assert admin.get_status()[:5] == ({"task": "f", "queued": 1, "running": 0, "workers": 0},)


def test_workers(any_gearman: Any, admin: Any, job_server: ServerProcess) -> None:
    worker = worker_for(any_gearman, job_server, f=lambda worker, job: "", g=lambda worker, job: "")
    worker.set_client_id("its id")  # the original refuses the line with "Malformed worker response"
    with working(worker):
        job_server.wait_for("g", workers=1)
        workers = admin.get_workers()
    assert isinstance(workers, tuple)
    (found,) = (each for each in workers if each["client_id"] == "its id")
    assert int(found["file_descriptor"]) > 0
    assert found["ip"] == "127.0.0.1"
    assert set(found["tasks"]) == {"f", "g"}
    assert any(each["tasks"] == () for each in workers)


def test_jobs(any_gearman: Any, admin: Any, job_server: ServerProcess) -> None:
    with client_of(any_gearman, job_server) as client:
        request = client.submit_job("f", "x", unique="u", background=True, poll_timeout=PATIENCE)
    handle = request.job.handle
    name = handle if isinstance(handle, str) else handle.decode()
    (job,) = admin.get_jobs()
    assert job["handle"] == name
    assert {key: type(job[key]) for key in ("queued", "canceled", "enabled")} == dict.fromkeys(
        ("queued", "canceled", "enabled"), int
    )
    assert admin.get_unique_jobs() == ({"unique": ["u"]},)
    assert admin.cancel_job(handle) == "OK"
    assert admin.cancel_job("H:nobody:1") == "ERR UNKNOWN_JOB"


def test_maxqueue(any_gearman: Any, admin: Any, job_server: ServerProcess) -> None:
    with client_of(any_gearman, job_server) as client:
        client.submit_job("f", "x", background=True, poll_timeout=PATIENCE)
        assert admin.send_maxqueue("f", 1) == "OK"  # the original: ProtocolError for "OK\r"
        refused = client.submit_job("f", "y", background=True, poll_timeout=PATIENCE)
    assert refused.state == any_gearman.JOB_FAILED


def test_shutdown_of_a_server(admin: Any, job_server: ServerProcess) -> None:
    assert admin.send_shutdown() is None
    if job_server.kind == "gearmand":  # it refuses, which the original does not tell either
        assert admin.get_version().startswith("OK ")
    else:
        assert job_server.process.wait(PATIENCE) == 0


def test_no_second_command_in_an_argument(any_gearman: Any, admin: Any) -> None:
    with pytest.raises(any_gearman.errors.GearmanError, match="line break"):
        admin.cancel_job("H:x:1\nshutdown")


def test_one_host(any_gearman: Any) -> None:
    with pytest.raises(any_gearman.errors.GearmanError, match="Only pass a single host to the constructor of Gearman"):
        any_gearman.GearmanAdminClient(["a", "b"])


def test_it_connects_again(any_gearman: Any, admin: Any) -> None:
    admin.get_version()
    admin.current_connection.gearman_socket.shutdown(2)
    with pytest.raises(any_gearman.errors.ServerUnavailable):
        admin.get_version()
    assert admin.get_version().startswith("OK ")

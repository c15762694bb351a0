# SPDX-License-Identifier: BSD-3-Clause
"""TLS, large data, IPv6, many jobs, and connections that come back."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import gearfast

from ..functional.fault_proxy import FaultProxy
from ..functional.servers import PATIENCE, ServerProcess, wait_until
from .programs import Running, client_of, worker_for, working

LARGE = 3_000_000


@pytest.fixture
def tls_host(tmp_path: Path, require: Any) -> Iterator[dict[str, Any]]:
    """A job server that asks for client certificates, as the entry of a host list."""
    authority = require.module("trustme", "trustme").CA()
    for name in ("server", "client"):
        made = authority.issue_cert("localhost", "127.0.0.1")
        made.private_key_and_cert_chain_pem.write_to_path(tmp_path / f"{name}.pem")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    client, ca = str(tmp_path / "client.pem"), str(tmp_path / "ca.pem")
    with gearfast.Server(tls_cert=str(tmp_path / "server.pem"), tls_client_ca=ca) as server:
        yield {"host": "127.0.0.1", "port": server.port, "keyfile": client, "certfile": client, "ca_certs": ca}


def test_tls(any_gearman: Any, tls_host: dict[str, Any]) -> None:
    worker = any_gearman.GearmanWorker([tls_host])
    worker.register_task("f", lambda worker, job: job.data[::-1])
    client = any_gearman.GearmanClient([tls_host])
    admin = any_gearman.GearmanAdminClient([tls_host])
    data = "ab" * (LARGE // 2)
    with working(worker):
        result = client.submit_job("f", data, background=False, poll_timeout=PATIENCE).result
        assert result == (data[::-1] if isinstance(result, str) else data[::-1].encode())
        assert admin.get_version().startswith("OK ")
    client.shutdown()
    admin.shutdown()


def test_tls_with_a_wrong_authority(gearman: Any, tls_host: dict[str, Any], tmp_path: Path, require: Any) -> None:
    require.module("trustme", "trustme").CA().cert_pem.write_to_path(tmp_path / "other.pem")
    client = gearman.GearmanClient([{**tls_host, "ca_certs": str(tmp_path / "other.pem")}])
    with pytest.raises(gearman.errors.ServerUnavailable):
        client.submit_job("f", "x")


def test_large_data_both_ways(gearman: Any, job_server: ServerProcess) -> None:
    def work(worker: Any, job: Any) -> Any:
        worker.send_job_data(job, job.data[: LARGE // 2])
        return job.data

    data = bytes(range(256)) * (LARGE // 256)
    with working(worker_for(gearman, job_server, work=work)), client_of(gearman, job_server) as client:
        request = client.submit_job("work", data, poll_timeout=PATIENCE)
    assert request.result == data
    assert list(request.data_updates) == [data[: LARGE // 2]]


def test_a_thousand_jobs_at_once(gearman: Any, job_server: ServerProcess) -> None:
    jobs = [{"task": "f", "data": str(number)} for number in range(1000)]
    worker = worker_for(gearman, job_server, f=lambda worker, job: job.data)
    with working(worker), client_of(gearman, job_server) as client:
        requests = client.submit_multiple_jobs(jobs, poll_timeout=PATIENCE)
    assert [int(request.result) for request in requests] == list(range(1000))


@pytest.mark.skipif(not socket.has_ipv6, reason="needs IPv6")
def test_ipv6(gearman: Any, require: Any) -> None:
    with socket.socket(socket.AF_INET6) as probe:
        require(probe.connect_ex(("::1", 9)) != 99, "an IPv6 loopback address")
    with gearfast.Server(host="::1") as server:
        for host in (f"[::1]:{server.port}", ("::1", server.port)):
            client = gearman.GearmanClient([host])
            assert client.submit_job("f", "x", background=True, poll_timeout=PATIENCE).complete
            client.shutdown()


def test_a_lost_server_is_found_again(gearman: Any, job_server: ServerProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gearman.worker, "_LOOK_SECONDS", 0.02)
    leave = threading.Event()
    with FaultProxy(job_server.port) as proxy, gearfast.Server() as other:
        worker = gearman.GearmanWorker([proxy.address, other.address])
        worker.register_task("f", lambda worker, job: b"")
        worker.after_poll = lambda any_activity: not leave.is_set()
        running = Running(lambda: worker.work(poll_timeout=60.0))
        for number in range(1, 4):
            job_server.wait_for("f", workers=1)
            wait_until(lambda number=number: proxy.accepted == number, "the worker connects again")  # type: ignore[misc]
            proxy.cut()
        leave.set()
        assert running.join() is None
        worker.shutdown()

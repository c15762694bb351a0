# SPDX-License-Identifier: BSD-3-Clause
"""Rows of docs/failures.md that no other test shows: what a caller sees when something is too large, or not there."""

from __future__ import annotations

import pytest

from gearfast import Client, Server, Worker
from gearfast.errors import ConnectError, JobFailed, SubmitUncertain
from gearfast.sync.worker import Job

from .gearmand import reverse, working
from .servers import PATIENCE

PACKET = 1 << 16


def test_a_result_larger_than_a_packet_may_be() -> None:
    tries = []
    with Server(max_packet=PACKET, job_retries=3) as server, Client(server.url) as client:
        worker = Worker(server.url)

        @worker.function("large")
        def large(job: Job) -> bytes:
            tries.append(job.handle)
            return bytes(2 * PACKET)

        worker.register("reverse", reverse)
        with working(worker):
            with pytest.raises(JobFailed, match="large"):
                client.run("large", timeout=PATIENCE)
            assert len(tries) == 3
            assert client.run("reverse", b"ab", timeout=PATIENCE) == b"ba"


def test_a_workload_larger_than_a_packet_may_be() -> None:
    with Server(max_packet=PACKET) as server, Client(server.url) as client:
        with pytest.raises(SubmitUncertain, match="closed by the server"):
            client.run("large", bytes(2 * PACKET), timeout=PATIENCE)
        assert server.jobs() == []
        assert client.echo(b"still there") == b"still there"


def test_a_name_that_nobody_knows() -> None:
    with Client("nowhere.invalid") as client, pytest.raises(ConnectError) as caught:
        client.run("f", timeout=PATIENCE)
    assert list(caught.value.servers) == ["nowhere.invalid:4730"]


def test_no_place_for_another_connection() -> None:
    with Server(max_connections=1) as server, Client(server.url) as first:
        assert first.echo(b"in time") == b"in time"
        with Client(server.url, resubmit="never") as late, pytest.raises(SubmitUncertain):
            late.submit_background("f")
        assert server.jobs() == []
        assert first.echo(b"goes on") == b"goes on"


def test_background_jobs_of_a_server_that_was_stopped() -> None:
    with Server() as server:
        port = server.port
        with Client(server.url) as client:
            handle = client.submit_background("f")
            assert client.status(handle).known
        server.stop()
        with Server(port=port) as again, Client(again.url) as client:
            assert not client.status(str(handle)).known

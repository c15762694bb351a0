# SPDX-License-Identifier: BSD-3-Clause
"""Clients and workers over TLS, Unix sockets and IPv6, blocking and asyncio, and over connections that are cut."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from gearfast.aio.admin import AsyncAdminClient
from gearfast.aio.client import AsyncClient
from gearfast.aio.worker import AsyncWorker
from gearfast.errors import ConnectError, ConnectionLost
from gearfast.server.embedded import Server
from gearfast.session.requests import Timeout
from gearfast.sync.admin import AdminClient
from gearfast.sync.client import Client
from gearfast.sync.worker import Job, Worker

from .fault_proxy import BlackHole
from .gearmand import reverse, working
from .server_tools import socket_path
from .servers import PATIENCE, wait_until

BIG = os.urandom(3_000_000)


class Certificates:
    """A server's and a client's context that trust the same authority."""

    def __init__(self, trustme: Any) -> None:
        self.authority = trustme.CA()
        self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.authority.issue_cert("127.0.0.1", "localhost").configure_cert(self.server)
        self.authority.configure_trust(self.server)
        self.client = ssl.create_default_context()
        self.authority.configure_trust(self.client)


@pytest.fixture(scope="module")
def certificates(require: Any) -> Certificates:
    return Certificates(require.module("trustme", "trustme"))


@pytest.fixture
def tls_server(certificates: Certificates) -> Iterator[Server]:
    with Server(ssl=certificates.server) as server:
        yield server


def use(client: Client) -> None:
    assert client.run("reverse", b"abc") == b"cba"
    assert client.run("reverse", BIG) == BIG[::-1]
    futures = [client.submit("reverse", b"%d" % n * 1000) for n in range(50)]
    assert [future.result(PATIENCE) for future in futures] == [(b"%d" % n * 1000)[::-1] for n in range(50)]
    assert len(list(client.map("reverse", [BIG[:100_000]] * 20))) == 20
    assert client.status(client.submit_background("nobody", b"")).known


async def use_async(client: AsyncClient) -> None:
    assert await client.run("reverse", b"abc") == b"cba"
    assert await client.run("reverse", BIG) == BIG[::-1]
    work = [b"%d" % n * 1000 for n in range(50)]
    assert await asyncio.gather(*(client.run("reverse", data) for data in work)) == [data[::-1] for data in work]
    assert [len(result) async for result in client.map("reverse", [BIG[:100_000]] * 20)] == [100_000] * 20
    assert (await client.status(await client.submit_background("nobody", b""))).known


def test_tls(tls_server: Server, certificates: Certificates) -> None:
    context = certificates.client
    worker = Worker(tls_server.url, ssl=context, concurrency=2)
    worker.register("reverse", reverse)
    with working(worker), Client(tls_server.url, ssl=context) as client:
        use(client)
        with AdminClient(tls_server.url, ssl=context) as admin:
            assert [line.function for line in admin.status()] == ["nobody", "reverse"] or len(admin.status()) == 2


@pytest.mark.asyncio
async def test_tls_async(tls_server: Server, certificates: Certificates) -> None:
    context = certificates.client
    worker = AsyncWorker(tls_server.url, ssl=context, concurrency=4)
    worker.register("reverse", reverse)  # type: ignore[arg-type]
    task = asyncio.create_task(worker.run())
    async with AsyncClient(tls_server.url, ssl=context) as client:
        await use_async(client)
    async with AsyncAdminClient(tls_server.url, ssl=context) as admin:
        assert len(await admin.status()) == 2
    worker.stop()
    await asyncio.wait_for(task, PATIENCE)


def test_tls_that_is_not_trusted(tls_server: Server) -> None:
    url = tls_server.url.replace("gearman://", "gearmans://")
    with Client(url) as client, pytest.raises(ConnectError, match="certificate"):
        client.run("f")


@pytest.mark.asyncio
async def test_tls_that_is_not_trusted_async(tls_server: Server) -> None:
    url = tls_server.url.replace("gearman://", "gearmans://")
    async with AsyncClient(url) as client:
        with pytest.raises(ConnectError, match="certificate"):
            await client.run("f")


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="this system has no Unix sockets")
def test_unix_sockets() -> None:
    with socket_path() as path, Server(port=None, unix=path):
        worker = Worker(f"unix://{path}")
        worker.register("reverse", reverse)
        with working(worker), Client(path) as client:
            use(client)


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="this system has no Unix sockets")
@pytest.mark.asyncio
async def test_unix_sockets_async() -> None:
    with socket_path() as path, Server(port=None, unix=path):
        worker = AsyncWorker(f"unix://{path}")
        worker.register("reverse", reverse)  # type: ignore[arg-type]
        task = asyncio.create_task(worker.run())
        async with AsyncClient(path) as client:
            await use_async(client)
        worker.stop()
        await asyncio.wait_for(task, PATIENCE)


def test_ipv6() -> None:
    with Server(host="::1") as server, Client(f"[::1]:{server.port}") as client:
        assert client.echo(b"six") == b"six"


def test_a_name_with_several_addresses() -> None:
    with Server() as server, Client(f"localhost:{server.port}") as client:
        assert client.echo() == b"gearfast"


@pytest.mark.parametrize("mode", ["blocking", "asyncio"])
def test_all_addresses_of_a_name_are_tried(monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    """One refuses, one never answers, one is the server."""
    with Server() as server, BlackHole() as hole, socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        ports = [closed.getsockname()[1], hole.port, server.port]
        lookups = []

        def look_up(host: str, port: int, *args: Any, **options: Any) -> list[Any]:
            if options.get("flags"):
                raise socket.gaierror("not in figures")
            lookups.append(host)
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)) for port in ports]

        monkeypatch.setattr(socket, "getaddrinfo", look_up)
        limits = Timeout(connect=1.0)
        begun = time.monotonic()
        if mode == "blocking":
            with Client("several.test", timeout=limits) as client:
                assert client.echo() == b"gearfast"
        else:

            async def echo() -> None:
                async with AsyncClient("several.test", timeout=limits) as client:
                    assert await client.echo() == b"gearfast"

            asyncio.run(echo())
        assert time.monotonic() - begun < PATIENCE / 2 and lookups == ["several.test"]


def test_a_cut_connection_costs_no_job() -> None:
    """The server cuts every connection again and again; each job is answered once all the same."""
    begun = threading.Event()
    with Server() as server:
        worker = Worker(server.url, concurrency=4)

        @worker.function("reverse")
        def cut_now_and_then(job: Job) -> bytes:
            begun.set()
            return job.workload[::-1]

        with working(worker), Client(server.url, resubmit="same") as client:
            futures = [client.submit("reverse", b"%d" % n) for n in range(300)]
            for _ in range(5):
                wait_until(lambda: begun.is_set() or all(future.done() for future in futures), "a job has begun")
                begun.clear()
                server.disconnect_all()
            assert [future.result(PATIENCE) for future in futures] == [(b"%d" % n)[::-1] for n in range(300)]


def test_a_cut_connection_with_policy_never() -> None:
    with Server() as server, Client(server.url, resubmit="never") as client:
        future = client.submit("nobody")
        wait_until(lambda: future.handle, "it is taken")
        server.disconnect_all()
        assert isinstance(future.exception(PATIENCE), ConnectionLost)
        assert client.echo(b"new") == b"new"


@pytest.mark.asyncio
async def test_a_cut_connection_costs_no_job_async() -> None:
    async with Server() as server:
        worker = AsyncWorker(server.url, concurrency=4)
        count = 0

        @worker.function("reverse")
        async def cut_now_and_then(job: Any) -> bytes:
            nonlocal count
            count += 1
            if count in (5, 50, 150):
                server.disconnect_all()
            return bytes(job.workload[::-1])

        task = asyncio.create_task(worker.run())
        async with AsyncClient(server.url, resubmit="same") as client:
            work = [b"%d" % n for n in range(300)]
            results = await asyncio.gather(*(client.run("reverse", data) for data in work))
            assert results == [data[::-1] for data in work]
        worker.stop()
        await asyncio.wait_for(task, PATIENCE)

# SPDX-License-Identifier: BSD-3-Clause
"""Callables that fork, in both workers: one result, the parent's; the child's copy of the worker is dead."""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from gearfast import AsyncClient, Client, ConnectionLost, Job, Server, Worker

from . import gearmand
from .gearmand import reverse, working
from .servers import PATIENCE, ServerProcess

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork"),
    pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning"),
]
server_kind, start_server, job_server = gearmand.server_kind, gearmand.start_server, gearmand.job_server

ROOT = Path(__file__).parents[2]

SCRIPT = """
import asyncio, os, signal, ssl, sys
from gearfast import AsyncWorker, Worker

address, kind, concurrency, ca, loop = sys.argv[1:]
options = {"ssl": ssl.create_default_context(cafile=ca)} if ca else {}
worker = (Worker if kind == "blocking" else AsyncWorker)(address, concurrency=int(concurrency), **options)


def wait_for(child):
    status = os.waitpid(child, 0)[1]
    return f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"exit {os.WEXITSTATUS(status)}"


def child(how, job):
    job.send_data("from the child")
    if how == "raises":
        raise ValueError("in the child")
    if how == "exits":
        sys.exit(3)
    if how == "ends":
        os._exit(4)
    if how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    return "child"


def work(job):
    how = job.workload.decode()
    if not how:
        return "fine"
    pid = os.fork()
    return wait_for(pid) if pid else child(how, job)


async def coroutine(job):
    how = job.workload.decode()
    if how == "beside":
        job.send_data("begun")
        await asyncio.sleep(0.3)
        return "beside " + str(os.getpid())
    if not how:
        return "fine"
    pid = os.fork()
    if not pid:
        await asyncio.sleep(0)
        if how == "later":
            await asyncio.sleep(0.01)
        return child(how, job)
    # the loop goes on meanwhile, so that a child could disturb it
    return await asyncio.get_running_loop().run_in_executor(None, wait_for, pid)


worker.register("work", coroutine if kind == "coroutine" else work)
signal.signal(signal.SIGTERM, lambda *_: worker.stop())
if kind == "blocking":
    worker.run()
elif loop:
    import uvloop
    uvloop.run(worker.run())
else:
    asyncio.run(worker.run())
print("left in good order", os.getpid(), flush=True)
"""

KINDS = [("blocking", 1), ("blocking", 3), ("coroutine", 1), ("coroutine", 3), ("thread", 1), ("thread", 3)]
# In a thread of its own a callable is all that there is in the child.
ENDS = {"returns": "exit 0", "raises": "exit 0", "exits": "exit 3", "ends": "exit 4", "killed": "signal 9"}


@pytest.fixture(scope="module")
def tls(require: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, str]]:
    """A server that speaks TLS, and the file with its authority's certificate."""
    trustme = require.module("trustme", "trustme")
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "localhost").configure_cert(context)
    path = tmp_path_factory.mktemp("tls") / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    with Server(ssl=context) as server:
        yield server, str(path)


@contextlib.contextmanager
def script(address: str, kind: str, concurrency: int, ca: str = "", loop: str = "") -> Iterator[subprocess.Popen[str]]:
    words = [sys.executable, "-c", SCRIPT, address, kind, str(concurrency), ca, loop]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=PATIENCE)


@pytest.mark.parametrize("how", ENDS)
@pytest.mark.parametrize(("kind", "concurrency"), KINDS)
def test_a_callable_that_forks(job_server: ServerProcess, kind: str, concurrency: int, how: str) -> None:
    """One result, from the parent, which goes on over the same connection."""
    alone = kind == "thread" or (kind == "blocking" and concurrency > 1)
    with Client(job_server.address) as client, script(job_server.address, kind, concurrency) as process:
        for _ in range(2):
            future = client.submit("work", how.encode(), timeout=PATIENCE)
            assert list(future.events(PATIENCE)) == []
            expected = "exit 0" if how == "exits" and alone else ENDS[how]
            assert future.result(PATIENCE).decode() == expected
            assert client.run("work", timeout=PATIENCE) == b"fine"
        process.terminate()
        out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    lines = out.splitlines()
    assert lines[-1] == f"left in good order {process.pid}"
    # Where the child's `run` returned, its program went on.
    assert len(lines) == (3 if how in ("returns", "raises") and not alone else 1)
    assert "connection" not in err
    assert "lost" not in err


@pytest.mark.parametrize("how", ["ends", "killed"])
@pytest.mark.parametrize("kind", ["coroutine", "thread"])
def test_on_uvloop_if_the_child_only_ends(require: Any, job_server: ServerProcess, kind: str, how: str) -> None:
    """uvloop itself does not go on in a child, and may crash there; the parent notices nothing."""
    require.module("uvloop", "uvloop")
    with Client(job_server.address) as client, script(job_server.address, kind, 3, loop="uvloop") as process:
        for _ in range(3):
            assert client.run("work", how.encode(), timeout=PATIENCE).decode() == ENDS[how]
            assert client.run("work", timeout=PATIENCE) == b"fine"
        process.terminate()
        out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0 and "lost" not in err, err
    assert out.splitlines() == [f"left in good order {process.pid}"]


@pytest.mark.parametrize("how", ["later", "returns"])
def test_other_jobs_of_the_loop_go_on_in_the_parent_alone(job_server: ServerProcess, how: str) -> None:
    with Client(job_server.address) as client, script(job_server.address, "coroutine", 2) as process:
        beside = client.submit("work", b"beside", timeout=PATIENCE)
        next(beside.events(PATIENCE))
        assert client.run("work", how.encode(), timeout=PATIENCE) == b"exit 0"
        assert beside.result(PATIENCE) == f"beside {process.pid}".encode()
        process.terminate()
        out, _ = process.communicate(timeout=PATIENCE)
    assert out.count("left in good order") == 2


@pytest.mark.parametrize("kind", ["blocking", "coroutine", "thread"])
def test_over_tls(tls: tuple[Server, str], kind: str) -> None:
    """Closing its copy, the child says nothing to the server in the parent's name."""
    server, ca = tls
    context = ssl.create_default_context(cafile=ca)
    with Client(server.url, ssl=context) as client, script(server.url, kind, 1, ca) as process:
        for how in ("returns", "exits", "returns"):
            assert client.run("work", how.encode(), timeout=PATIENCE).decode().startswith("exit")
            assert client.run("work", timeout=PATIENCE) == b"fine"
        process.terminate()
        _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert "lost" not in err


@pytest.mark.parametrize("ending", ["in the same loop", "in another loop"])
def test_an_asyncio_client_in_a_child(ending: str) -> None:
    """What the parent awaits has failed there; a new call has a connection of its own; the parent notices nothing."""

    async def use(client: AsyncClient) -> bool:
        return await client.run("reverse", b"ab", timeout=PATIENCE) == b"ba"

    async def parent(client: AsyncClient) -> tuple[int, bool]:
        future = client.submit("later", b"job")
        await future.events().__anext__()
        child = os.fork()
        if child == 0:
            status = 1
            with contextlib.suppress(BaseException):
                error: BaseException | None = None
                try:
                    await future
                except ConnectionLost as lost:
                    error = lost
                if ending == "in the same loop":
                    fine = await use(client)
                else:
                    with ThreadPoolExecutor(1) as pool:
                        fine = pool.submit(asyncio.run, use(AsyncClient(client_url))).result()
                status = 0 if fine and "forked" in str(error) else 1
            os._exit(status)
        loop = asyncio.get_running_loop()
        status = os.waitstatus_to_exitcode((await loop.run_in_executor(None, os.waitpid, child, 0))[1])
        fine = await use(client)
        go_on.set()
        return status, fine and await asyncio.wait_for(future, PATIENCE) == b"done"

    async def main() -> tuple[int, bool]:
        async with AsyncClient(client_url) as client:
            return await parent(client)

    go_on = threading.Event()

    def later(job: Job) -> bytes:
        job.send_data(b"begun")
        assert go_on.wait(PATIENCE)
        return b"done"

    with Server() as server:
        client_url = server.url
        worker = Worker(server.url, concurrency=2)
        worker.register("later", later)
        worker.register("reverse", reverse)
        with working(worker):
            assert asyncio.run(main()) == (0, True)

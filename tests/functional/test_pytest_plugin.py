# SPDX-License-Identifier: BSD-3-Clause
"""The pytest plugin, in runs of pytest of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

import gearfast
from gearfast import pytest_plugin as plugin

from .server_tools import LIMIT

PROJECT = Path(__file__).resolve().parents[2] / "examples" / "project"

FIXTURES = """
import socket
import pytest

def ask(server):
    with socket.create_connection((server.host, server.port)) as sock:
        sock.sendall(b"version\\n")
        assert sock.recv(100).startswith(b"OK ")

def test_own(gearfast_server):
    ask(gearfast_server)
    assert gearfast_server.connections() is not None

@pytest.mark.parametrize("n", range(4))
def test_each_test_has_its_own(gearfast_server, gearfast_session_server, n):
    assert gearfast_server.port != gearfast_session_server.port
    ask(gearfast_server)
    ask(gearfast_session_server)

PORTS = set()

@pytest.mark.parametrize("n", range(3))
def test_session_server_stays(gearfast_session_server, n):
    PORTS.add(gearfast_session_server.port)
    assert len(PORTS) == 1

@pytest.fixture
def gearfast_server_options():
    return {"handle_prefix": "H:theirs"}

def test_options(gearfast_server):
    with socket.create_connection((gearfast_server.host, gearfast_server.port)) as sock:
        sock.sendall(b"\\0REQ\\0\\0\\0\\x12\\0\\0\\0\\x03f\\0\\0")
        assert b"H:theirs:" in sock.recv(100)

def test_client(gearfast_client, gearfast_server):
    assert gearfast_client.echo(b"hello") == b"hello"
    assert len(gearfast_server.connections()) == 1
"""


IN_MEMORY = """
import pytest
from gearfast import App, Client, Job, JobTimeout, Server

def test_recorder(gearfast_client, gearfast_recorder, gearfast_memory_server):
    gearfast_client.submit_background("mail", b"to ada", unique="ada")
    gearfast_recorder.assert_submitted("mail", b"to ada", unique="ada", times=1)
    assert gearfast_memory_server.drain({"mail": lambda job: b"sent"}) == 1
    assert gearfast_recorder.submissions[0].result == b"sent"

def test_each_test_has_its_own(gearfast_recorder, gearfast_memory_server, gearfast_url):
    gearfast_recorder.assert_nothing_submitted()
    assert gearfast_url == gearfast_memory_server.url

def test_clock(gearfast_clock, gearfast_client, gearfast_memory_server):
    gearfast_client.submit_background("f", delay=86400)
    future = gearfast_client.submit("g", timeout=86400)
    gearfast_memory_server.wait_submitted("g")
    gearfast_clock.advance(86401)
    assert gearfast_memory_server.drain({"f": lambda job: b""}) == 1
    with pytest.raises(JobTimeout):
        future.result(30)

def test_clock_alone(gearfast_client, gearfast_clock):
    assert gearfast_client.echo(b"in memory") == b"in memory"

def test_worker(gearfast_worker, gearfast_client, gearfast_memory_server):
    thread = gearfast_worker({"reverse": lambda job: job.workload[::-1]}, concurrency=2)
    assert gearfast_client.run("reverse", b"abc", timeout=30) == b"cba"
    gearfast_client.submit_background("reverse", b"abc")
    thread.finish()
    assert gearfast_memory_server.jobs() == []

def test_worker_over_sockets(gearfast_worker, gearfast_client, gearfast_server):
    gearfast_worker({"reverse": lambda job: job.workload[::-1]})
    assert gearfast_client.run("reverse", b"abc", timeout=30) == b"cba"

def test_worker_of_an_app(gearfast_worker, gearfast_client, gearfast_server):
    app = App()
    double = app.task("double")(lambda number: 2 * number)
    gearfast_worker(app)
    assert double.run(gearfast_client, [1]) == [1, 1]

def test_worker_of_another_server(gearfast_worker, gearfast_client):
    with Server() as other, Client(other.url) as client:
        gearfast_worker({"f": lambda job: b"other"}, other)
        gearfast_worker({"g": lambda job: b"url"}, other.url)
        assert (client.run("f", timeout=30), client.run("g", timeout=30)) == (b"other", b"url")

def test_proxy(gearfast_proxy, gearfast_client, gearfast_worker, gearfast_url):
    assert gearfast_url == gearfast_proxy.url
    gearfast_worker({"reverse": lambda job: job.workload[::-1]})
    assert gearfast_client.run("reverse", b"abc", timeout=30) == b"cba"
    gearfast_proxy.cut()
    assert gearfast_client.run("reverse", b"abc", unique="again", timeout=30) == b"cba"
    assert gearfast_proxy.accepted == 2

class TestInline:
    @pytest.fixture
    def gearfast_memory_server_options(self):
        return {"mode": "inline", "functions": {"reverse": lambda job: job.workload[::-1]}}

    def test_inline(self, gearfast_memory_server, gearfast_client):
        assert gearfast_client.run("reverse", b"abc") == b"cba"
"""

ASYNC = """
import asyncio
import pytest
from gearfast import JobTimeout

def reverse(job):
    return job.workload[::-1]

@MARK
async def test_over_sockets(gearfast_async_client, gearfast_worker):
    gearfast_worker({"reverse": reverse})
    assert await gearfast_async_client.run("reverse", b"abc", timeout=30) == b"cba"

@MARK
async def test_in_memory(gearfast_async_client, gearfast_memory_server):
    future = gearfast_async_client.submit("reverse", b"abc")
    await gearfast_memory_server.wait_submitted_async("reverse")
    assert await gearfast_memory_server.drain_async({"reverse": reverse}) == 1
    assert await future == b"cba"

@MARK
async def test_clock(gearfast_async_client, gearfast_memory_server, gearfast_clock):
    future = gearfast_async_client.submit("f", timeout=3600)
    await gearfast_memory_server.wait_submitted_async("f")
    gearfast_clock.advance(3601)
    with pytest.raises(JobTimeout):
        await future

@MARK
async def test_proxy(gearfast_async_client, gearfast_proxy):
    assert await gearfast_async_client.echo(b"hello") == b"hello"
    gearfast_proxy.stall()
    asking = asyncio.create_task(gearfast_async_client.echo(b"again"))
    await asyncio.sleep(0)
    gearfast_proxy.resume()
    assert await asking == b"again"

@FIXTURE
async def service(gearfast_async_client):
    await gearfast_async_client.echo()
    yield gearfast_async_client
    await gearfast_async_client.echo()

@MARK
async def test_under_a_fixture(service):
    assert await service.echo(b"hello") == b"hello"

@MARK
async def test_never_used(gearfast_async_client):
    pass
"""

LEAKING = """
import gearfast, pytest
KEPT = []

def leak(server):
    client = gearfast.Client(server.url)
    KEPT.append(client)
    client.echo()

def test_memory(gearfast_memory_server):
    leak(gearfast_memory_server)

def test_sockets(gearfast_server):
    leak(gearfast_server)

@pytest.mark.gearfast_leaks
def test_off(gearfast_memory_server):
    leak(gearfast_memory_server)

@pytest.mark.gearfast_leaks("threads", "queued")
def test_others(gearfast_memory_server, gearfast_client):
    leak(gearfast_memory_server)
    gearfast_client.submit_background("f", b"data")

def test_failed(gearfast_memory_server):
    leak(gearfast_memory_server)
    assert False
"""


def run_pytest(folder: Path, *words: str, off: tuple[str, ...] = ("asyncio",)) -> subprocess.CompletedProcess[str]:
    # An installed gearfast registers its plugin by itself; naming it twice would be an error.
    registered = any(point.value == "gearfast.pytest_plugin" for point in entry_points(group="pytest11"))
    load = [] if registered else ["-p", "gearfast.pytest_plugin"]
    without = [word for name in ("cacheprovider", *off) for word in ("-p", f"no:{name}")]
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", *without, *load, *words]
    # The package under test, also where it is not installed.
    root = str(Path(gearfast.__file__).parents[1])
    environ = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))}
    # In CI pytest repeats whole messages in its summary, elsewhere it cuts them to the terminal's width.
    for name in ("CI", "BUILD_NUMBER", "PYTEST_ADDOPTS"):
        environ.pop(name, None)
    environ["COLUMNS"] = "80"
    return subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, timeout=LIMIT * 3)


@pytest.mark.parametrize("words", [(), ("-n", "2")], ids=["alone", "xdist"])
def test_fixtures(tmp_path: Path, words: tuple[str, ...]) -> None:
    (tmp_path / "test_it.py").write_text(FIXTURES)
    done = run_pytest(tmp_path, *words)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "10 passed" in done.stdout


def test_every_fixture_is_listed(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text("")
    done = run_pytest(tmp_path, "--fixtures")
    for name in plugin.__all__:
        assert name in done.stdout, name


def test_in_memory(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(IN_MEMORY)
    done = run_pytest(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "10 passed" in done.stdout


# The runner, its mark, its fixture, and whether the other one is installed too.
PLAIN, ASYNCIO = "pytest.fixture", "__import__('pytest_asyncio').fixture"
RUNNERS = {
    "asyncio": ("asyncio", "pytest.mark.asyncio", ASYNCIO, True),
    "asyncio-module": ("asyncio", "pytest.mark.asyncio(loop_scope='module')", f"{ASYNCIO}(loop_scope='module')", False),
    "anyio": ("anyio", "pytest.mark.anyio", PLAIN, False),
    "anyio-beside-asyncio": ("anyio", "pytest.mark.anyio", PLAIN, True),
}


@pytest.mark.parametrize(("runner", "mark", "fixture", "together"), RUNNERS.values(), ids=list(RUNNERS))
def test_async(tmp_path: Path, require: Any, runner: str, mark: str, fixture: str, together: bool) -> None:
    """Under either runner, also if the other one is installed too."""
    require.module("pytest_asyncio", "pytest-asyncio")
    require.module("anyio", "anyio")
    text = ASYNC.replace("@MARK", f"@{mark}").replace("@FIXTURE", f"@{fixture}")
    if runner == "anyio":
        text += "\n@pytest.fixture\ndef anyio_backend():\n    return 'asyncio'\n"
    (tmp_path / "test_it.py").write_text(text)
    (tmp_path / "pytest.ini").write_text("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    others = {"asyncio", "anyio"} - {runner}
    config = ["-W", "ignore::pytest.PytestConfigWarning"]
    done = run_pytest(tmp_path, *config, off=() if together else tuple(others))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "6 passed" in done.stdout


def test_leaks_are_reported(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(LEAKING)
    done = run_pytest(tmp_path)
    assert "1 failed, 4 passed, 3 errors" in done.stdout, done.stdout + done.stderr
    assert done.stdout.count("a connection of a client, which was not closed") == 2
    assert "a job that is queued: H:memory:1 of function 'f', workload b'data'" in done.stdout


def test_leaks_are_ignored(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(LEAKING)
    (tmp_path / "pytest.ini").write_text("[pytest]\ngearfast_leaks =\n")
    done = run_pytest(tmp_path, "-k", "not failed and not others", "--strict-markers")
    assert "3 passed" in done.stdout, done.stdout + done.stderr


def test_a_proxy_needs_a_real_server(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text("def test_it(gearfast_proxy, gearfast_clock, gearfast_client): ...")
    done = run_pytest(tmp_path)
    assert "gearfast_proxy stands before a real server; gearfast_clock needs one in memory" in done.stdout


@pytest.mark.skipif(not PROJECT.exists(), reason="needs examples/ of a checkout")
def test_the_example_project(tmp_path: Path, require: Any) -> None:
    require.module("pytest_asyncio", "pytest-asyncio")
    shutil.copytree(PROJECT, tmp_path / "project", ignore=shutil.ignore_patterns("__pycache__", ".*"))
    done = run_pytest(tmp_path / "project", off=())
    assert done.returncode == 0, done.stdout + done.stderr
    assert "12 passed" in done.stdout


def test_the_plugin_is_light() -> None:
    script = (
        "import sys, pytest\n"
        "before = set(sys.modules)\n"
        "import gearfast.pytest_plugin\n"
        "more = {name for name in set(sys.modules) - before if name != '__future__'}\n"
        "assert all(name.startswith('gearfast') for name in more), more\n"
        "assert not {'gearfast.server', 'gearfast.dispatch', 'gearfast.sync', 'gearfast.aio'} & more, more\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=LIMIT)
    assert done.returncode == 0, done.stderr

# SPDX-License-Identifier: BSD-3-Clause
"""The pytest plugin, in runs of pytest of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import gearfast

from .server_tools import LIMIT

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


def run_pytest(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    # An installed gearfast registers its plugin by itself; naming it twice would be an error.
    registered = any(point.value == "gearfast.pytest_plugin" for point in entry_points(group="pytest11"))
    plugin = [] if registered else ["-p", "gearfast.pytest_plugin"]
    off = ["-p", "no:cacheprovider", "-p", "no:asyncio"]
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", *off, *plugin, *words]
    # The package under test, also where it is not installed.
    root = str(Path(gearfast.__file__).parents[1])
    environ = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))}
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
    for name in ("gearfast_server", "gearfast_session_server", "gearfast_client"):
        assert name in done.stdout


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

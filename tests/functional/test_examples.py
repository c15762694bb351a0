# SPDX-License-Identifier: BSD-3-Clause
"""Each file of `examples/`, run as its docstring says."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from gearfast import Client, Server

Patience = Callable[[float], float]

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

# What is printed by those that need a job server and worker.py.
WITH_WORKER = {
    "submit": [r"b'namraeG olleH'"],
    "progress": [
        r"1/3",
        r"2/3",
        r"3/3",
        r"words in this line: 3",
        r"words in this line: 0",
        r"words in this line: 2",
        r"warning: line 2 is empty",
        r"words: 5",
    ],
    "errors": [
        r"result: 0.25",
        r"the worker gave up on divide",
        r"the worker raised: ValueError: .*",
        r"no result in time; the job is given up",
    ],
    "futures": [r"photos -> sotohp", r"thumbnails -> slianbmuht", r"mails -> sliam"],
    "map": [str(sum(int(str(number)[::-1]) for number in range(1000, 2000)))],
    "async_client": [r"\[b'eno', b'owt', b'eerht'\]"],
    "admin": [
        r"version .+",
        r"divide: 0 jobs, 0 of them running, 1 workers",
        r"reverse: 0 jobs, 0 of them running, 1 workers",
        r"wc: 0 jobs, 0 of them running, 1 workers",
        r"a worker at 127\.0\.0\.1 does .*reverse.*",
    ],
    "later": [r"known: True running: False", r"known: True running: False"],
}
WITH_SERVER = {
    "background": [r"the server has it as H:.+", r"known: True running: False"],
    "unique": [r"one job: True", r"known by its unique: True"],
}
ALONE = {
    "embedded": [r"IT WORKS!"],
    "failover": [r"jobs on each server: True True", r"2470"],
    "retries": [r"fetched at the third attempt"],
    "schedule": [
        r"nightly is due at 0 3 \* \* \*",
        r"tick is due every 0\.5s",
        r"report of all customers",
        r"first tick",
        r"second tick",
        r"third tick",
    ],
    "cancel": [
        r"mail was there: True",
        r"mail is cancelled",
        r"render was there: True",
        r"render is cancelled",
        r"the worker stops",
    ],
    "tasks": [
        r"a\.png at 64 pixels",
        r"\{'a\.png': \['boat', 'sea'\]\}",
        r"b\.png at 320 pixels",
        r"c\.png at 320 pixels",
    ],
    "results": [
        r"photo/17 is a thumbnail of a\.png",
        r"photo/18 failed: JobException",
        r"photo/19 is not known \(any more\)",
    ],
    "packets": [r"SUBMIT_JOB \(b'reverse', b'unique-1', b'Hello'\)", r"text line: b'status'"],
}
OTHERS = {"worker", "async_worker", "tls", "test_with_server"}


def command(name: str, *arguments: str) -> list[str]:
    return [sys.executable, str(EXAMPLES / f"{name}.py"), *arguments]


def run(patience: Patience, name: str, *arguments: str) -> list[str]:
    """The lines that the example prints."""
    result = subprocess.run(
        command(name, *arguments), capture_output=True, text=True, timeout=patience(60), env=environment()
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stderr == ""
    return result.stdout.splitlines()


def environment() -> dict[str, str]:
    """The package under test, also where it is not installed; warnings are errors."""
    path = [str(EXAMPLES.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path), "PYTHONWARNINGS": "error"}


def check(lines: list[str], expected: list[str]) -> None:
    """Each expected line is there, in any order, and no other."""
    left = list(expected)
    for line in lines:
        pattern = next((pattern for pattern in left if re.fullmatch(pattern, line)), None)
        assert pattern is not None, f"{line!r} is not expected; {lines}"
        left.remove(pattern)
    assert left == []


@contextmanager
def worker(name: str, server: Server, patience: Patience) -> Iterator[subprocess.Popen[bytes]]:
    """A worker that is registered at the server; on leaving it is told to stop and has to do so."""
    with subprocess.Popen(command(name, server.url), env=environment()) as process:
        try:
            deadline = time.monotonic() + patience(30)
            while not any(connection.functions for connection in server.connections()):
                assert process.poll() is None, "the worker ended"
                assert time.monotonic() < deadline, "the worker did not register"
                time.sleep(0.01)
            yield process
            process.send_signal(signal.SIGTERM)
            assert process.wait(patience(30)) == 0
        finally:
            process.kill()


def test_each_example_is_tested() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == {*WITH_WORKER, *WITH_SERVER, *ALONE, *OTHERS}


@pytest.mark.parametrize("name", WITH_WORKER)
def test_with_a_server_and_a_worker(gearfast_server: Server, name: str, patience: Patience) -> None:
    with worker("worker", gearfast_server, patience):
        check(run(patience, name, gearfast_server.url), WITH_WORKER[name])


@pytest.mark.parametrize("name", WITH_SERVER)
def test_with_a_server(gearfast_server: Server, name: str, patience: Patience) -> None:
    check(run(patience, name, gearfast_server.url), WITH_SERVER[name])


@pytest.mark.parametrize("name", ALONE)
def test_alone(name: str, patience: Patience) -> None:
    check(run(patience, name), ALONE[name])


def test_async_worker(gearfast_server: Server, patience: Patience) -> None:
    with worker("async_worker", gearfast_server, patience), Client(gearfast_server.url) as client:
        began = time.monotonic()
        futures = [client.submit("nap", b"0.5") for _ in range(20)]
        assert {future.result(patience(30)) for future in futures} == {b"slept for 0.5"}
        assert time.monotonic() - began < patience(5)


def test_tls(tmp_path: Path, patience: Patience, require: Any) -> None:
    trustme = require.module("trustme", "trustme")
    authority = trustme.CA()
    for name in ("server", "client"):
        authority.issue_cert("localhost", "127.0.0.1").private_key_and_cert_chain_pem.write_to_path(
            tmp_path / f"{name}.pem"
        )
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    settings = {"tls_cert": str(tmp_path / "server.pem"), "tls_client_ca": str(tmp_path / "ca.pem")}
    with ExitStack() as stack:
        server = stack.enter_context(Server(**settings))
        address = f"gearmans://{server.host}:{server.port}"
        lines = run(patience, "tls", address, str(tmp_path / "ca.pem"), str(tmp_path / "client.pem"))
    assert lines == ["b'through TLS'"]


def test_the_test_with_a_server(patience: Patience, tmp_path: Path) -> None:
    arguments = ["-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(EXAMPLES / "test_with_server.py")]
    plugin = [] if installed() else ["-p", "gearfast.pytest_plugin"]
    result = subprocess.run(
        [sys.executable, "-m", "pytest", *plugin, *arguments],
        capture_output=True,
        text=True,
        timeout=patience(60),
        cwd=tmp_path,
        env=environment(),
    )
    assert "1 passed" in result.stdout, result.stdout + result.stderr


def installed() -> bool:
    """Whether pip knows the package, so that pytest finds the plugin by itself."""
    from importlib.metadata import entry_points

    return any(entry.name == "gearfast" for entry in entry_points(group="pytest11"))

# SPDX-License-Identifier: BSD-3-Clause
"""Servers, clients and workers for the tests with other people's programs.

`server` is shared by all tests of a pytest process and used with names that no other test uses; `own_server` belongs
to one test. Both exist for each job server in `SERVERS`. Processes that are kept for later tests are reaped at the end.
"""

from __future__ import annotations

import functools
import subprocess
from collections.abc import Callable, Iterator
from typing import Protocol

import pytest

from ..servers import START, ServerProcess, running
from .peers import Client, CommandWorker, Worker, command, unused

SERVERS = ["gearmand", "gearfast"]
# Per language: a program, its Debian package, what it must run without complaint, and the package for that.
_NEEDED = {
    "php": ("php", "php-cli", ["-r", "exit(extension_loaded('gearman') ? 0 : 1);"], "php-gearman"),
    "perl": ("perl", "perl", ["-MGearman::Client", "-MGearman::Worker", "-e", "1"], "libgearman-client-perl"),
    "gearman": ("gearman", "gearman-tools", ["-H"], "gearman-tools"),
    "gearadmin": ("gearadmin", "gearman-tools", ["--help"], "gearman-tools"),
    "gearmand": ("gearmand", "gearman-job-server", ["--version"], "gearman-job-server"),
}


class Require(Protocol):
    """The fixture of tests/conftest.py."""

    def __call__(self, present: object, what: str) -> None: ...
    def program(self, name: str, package: str) -> str: ...


class Needs:
    """Skips a test (at home) or fails it (in CI) if a language or program that it uses is not there."""

    def __init__(self, require: Require) -> None:
        self._require = require
        self._fine: dict[str, bool] = {}

    def __call__(self, *names: str) -> None:
        for name in names:
            if name in _NEEDED:
                self._check(name)

    def _check(self, name: str) -> None:
        program, package, arguments, library = _NEEDED[name]
        path = self._require.program(program, package)
        if name not in self._fine:
            self._fine[name] = subprocess.run([path, *arguments], capture_output=True).returncode == 0
        self._require(self._fine[name], f"{library} (Debian: apt-get install {library})")


class Pool:
    """Servers, and clients and workers with nothing to tell apart, kept for the next test that wants one."""

    def __init__(self, needs: Needs) -> None:
        self._needs = needs
        self._servers: dict[str, ServerProcess] = {}
        self._clients: dict[tuple[str, str], Client] = {}
        self._workers: dict[tuple[str, str], tuple[str, Worker]] = {}

    def server(self, kind: str) -> ServerProcess:
        self._needs(kind)
        if kind not in self._servers:
            self._servers[kind] = START[kind]()
        self._servers[kind].check()
        return self._servers[kind]

    def client(self, language: str, server: ServerProcess) -> Client:
        self._needs(language)
        key = (language, server.kind)
        if key not in self._clients or not self._clients[key].alive:
            self._clients[key] = Client(language, server)
        return self._clients[key]

    def worker(self, language: str, server: ServerProcess) -> Worker:
        self.prefix(language, server)
        return self._workers[language, server.kind][1]

    def prefix(self, language: str, server: ServerProcess) -> str:
        """The prefix of the functions of a worker that serves all tests."""
        self._needs(language)
        key = (language, server.kind)
        if key not in self._workers or not self._workers[key][1].alive:
            prefix = unused(f"{language}.") + "."
            self._workers[key] = (prefix, Worker(language, server, prefix))
        return self._workers[key][0]

    def stop(self) -> None:
        for client in self._clients.values():
            client.stop()
        for _, worker in self._workers.values():
            worker.stop()
        for server in self._servers.values():
            server.stop()


@pytest.fixture(scope="session")
def needs(require: Require) -> Needs:
    return Needs(require)


@pytest.fixture(scope="session")
def pool(needs: Needs) -> Iterator[Pool]:
    pool = Pool(needs)
    yield pool
    pool.stop()


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest, pool: Pool) -> Iterator[ServerProcess]:
    server = pool.server(request.param)
    yield server
    # Whatever the test did, the server must be well afterwards.
    server.check()


@pytest.fixture(params=SERVERS)
def own_server(request: pytest.FixtureRequest, needs: Needs) -> Iterator[ServerProcess]:
    needs(request.param)
    with running(request.param) as server:
        yield server
        server.check()


@pytest.fixture
def make_client(needs: Needs) -> Iterator[Callable[[str, ServerProcess], Client]]:
    made: list[Client] = []

    def make(language: str, server: ServerProcess) -> Client:
        needs(language)
        made.append(Client(language, server))
        return made[-1]

    yield make
    for client in made:
        client.stop()


@pytest.fixture
def make_worker(needs: Needs) -> Iterator[Callable[..., Worker]]:
    """Starts workers: language, server, prefix of its functions, time-out of its `hold` in milliseconds."""
    made: list[Worker] = []

    def make(language: str, server: ServerProcess, prefix: str, timeout: int = 0) -> Worker:
        needs(language)
        made.append(Worker(language, server, prefix, timeout))
        return made[-1]

    yield make
    for worker in made:
        worker.stop()


Completed = subprocess.CompletedProcess[bytes]


@pytest.fixture
def gearman(needs: Needs, server: ServerProcess) -> Callable[..., Completed]:
    """Runs Debian's `gearman` against `server`: options, and `data` for its standard input."""
    needs("gearman")
    return functools.partial(command, "gearman", server)


@pytest.fixture
def gearadmin(needs: Needs, own_server: ServerProcess) -> Callable[..., Completed]:
    """Runs Debian's `gearadmin` against `own_server`."""
    needs("gearadmin")
    return functools.partial(command, "gearadmin", own_server)


@pytest.fixture
def gearman_worker(needs: Needs) -> Iterator[Callable[..., CommandWorker]]:
    """Starts `gearman -w` with a server and options."""
    needs("gearman")
    made: list[CommandWorker] = []

    def make(server: ServerProcess, *arguments: str) -> CommandWorker:
        made.append(CommandWorker(server, *arguments))
        return made[-1]

    yield make
    for worker in made:
        worker.stop()

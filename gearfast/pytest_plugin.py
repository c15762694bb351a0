# SPDX-License-Identifier: BSD-3-Clause
"""pytest fixtures, registered by installing gearfast. They are made of what is in `gearfast.testing`.

`gearfast_server`: a job server of the test's own (`gearfast.Server`), on a free port.
`gearfast_session_server`: one for all tests of the session (with xdist: of the worker process).
`gearfast_memory_server`: a `MemoryServer` of the test's own, without sockets.
`gearfast_recorder`: what was submitted to `gearfast_memory_server`.
`gearfast_clock`: a `FakeClock`, the time of `gearfast_memory_server` and of all clients and workers.
`gearfast_proxy`: a `FaultProxy` before `gearfast_server`.
`gearfast_client`, `gearfast_async_client`: a `Client` and an `AsyncClient` of `gearfast_url`.
`gearfast_worker`: call it with a worker, an App, or callables by name; it runs in a thread until the end of the test.
`gearfast_url`: where the clients go: to `gearfast_memory_server` in a test that uses that, the recorder or the clock;
to `gearfast_proxy` in one that uses it; else to `gearfast_server`. Workers go to the server itself.

The async fixture is a plain one, for tests under pytest-asyncio and anyio alike.

`gearfast_server_options`, `gearfast_session_server_options` and `gearfast_memory_server_options` give the keyword
arguments of the servers; override them where other settings are needed.

At the end of a test that has passed, what it left behind at its server is an error: see `Leaks`. The ini option
`gearfast_leaks` says what counts; `@pytest.mark.gearfast_leaks(...)` says so
for a test: without arguments, nothing.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

# Every run of pytest imports this module, with or without Gearman in it: nothing else is imported before a fixture
# is asked for.
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gearfast import AsyncClient, Client, Server
    from gearfast.testing import FakeClock, FaultProxy, MemoryServer, Recorder, WorkerThread

__all__ = [
    "gearfast_async_client",
    "gearfast_client",
    "gearfast_clock",
    "gearfast_memory_server",
    "gearfast_memory_server_options",
    "gearfast_proxy",
    "gearfast_recorder",
    "gearfast_server",
    "gearfast_server_options",
    "gearfast_session_server",
    "gearfast_session_server_options",
    "gearfast_url",
    "gearfast_worker",
]

LEAKS = "gearfast_leaks"
IN_MEMORY = {"gearfast_memory_server", "gearfast_recorder", "gearfast_clock"}


def pytest_addoption(parser: pytest.Parser) -> None:
    """The ini option."""
    told = (
        "what a test must not leave behind at its job server: connections, threads, jobs (awaited or running), queued"
    )
    parser.addini(LEAKS, told, type="args", default=["connections", "threads", "jobs"])


def pytest_configure(config: pytest.Config) -> None:
    """The marker."""
    config.addinivalue_line("markers", f"{LEAKS}(*kinds): what this test must not leave behind at its job server")


@contextmanager
def _watching(request: pytest.FixtureRequest, server: Server | MemoryServer) -> Iterator[None]:
    """Reports what a test leaves behind, unless it has failed: then that is only a consequence."""
    from gearfast.testing.leaks import Leaks

    marker = request.node.get_closest_marker(LEAKS)
    leaks = Leaks(server, request.config.getini(LEAKS) if marker is None else marker.args)
    failed = request.session.testsfailed
    yield
    if request.session.testsfailed == failed and (found := leaks.find()):
        pytest.fail("the test has left behind:\n" + "\n".join(f"  {each}" for each in found), pytrace=False)


def _server(request: pytest.FixtureRequest) -> Any:
    """The server of this test."""
    in_memory = IN_MEMORY.intersection(request.fixturenames)
    if in_memory and "gearfast_proxy" in request.fixturenames:
        raise pytest.UsageError(f"gearfast_proxy stands before a real server; {in_memory.pop()} needs one in memory")
    return request.getfixturevalue("gearfast_memory_server" if in_memory else "gearfast_server")


@pytest.fixture
def gearfast_server_options() -> dict[str, Any]:
    """Keyword arguments of `gearfast.Server` for `gearfast_server`; override it to change them."""
    return {}


@pytest.fixture
def gearfast_server(request: pytest.FixtureRequest, gearfast_server_options: dict[str, Any]) -> Iterator[Server]:
    """A running job server for this test alone."""
    import gearfast

    with gearfast.Server(**gearfast_server_options) as server, _watching(request, server):
        yield server


@pytest.fixture(scope="session")
def gearfast_session_server_options() -> dict[str, Any]:
    """Keyword arguments of `gearfast.Server` for `gearfast_session_server`; override it to change them."""
    return {}


@pytest.fixture(scope="session")
def gearfast_session_server(gearfast_session_server_options: dict[str, Any]) -> Iterator[Server]:
    """A running job server for all tests. Name functions and uniques so that tests do not meet each other's jobs."""
    import gearfast

    with gearfast.Server(**gearfast_session_server_options) as server:
        yield server


@pytest.fixture
def gearfast_memory_server_options() -> dict[str, Any]:
    """Keyword arguments of `MemoryServer` for `gearfast_memory_server`, such as `mode`; override it to change them."""
    return {}


@pytest.fixture
def gearfast_memory_server(
    request: pytest.FixtureRequest, gearfast_memory_server_options: dict[str, Any]
) -> Iterator[MemoryServer]:
    """A job server in memory for this test alone, with the time of `gearfast_clock` if the test uses that."""
    from gearfast.testing import MemoryServer

    options = dict(gearfast_memory_server_options)
    if "gearfast_clock" in request.fixturenames:
        options["clock"] = request.getfixturevalue("gearfast_clock")
    with MemoryServer(**options) as server, _watching(request, server):
        yield server


@pytest.fixture
def gearfast_clock() -> Iterator[FakeClock]:
    """The time of all clients and workers, and of `gearfast_memory_server`; it stands still until `advance`."""
    from gearfast.testing import FakeClock

    with FakeClock() as clock:
        yield clock


@pytest.fixture
def gearfast_recorder(gearfast_memory_server: MemoryServer) -> Recorder:
    """What was submitted to `gearfast_memory_server`."""
    return gearfast_memory_server.recorder


@pytest.fixture
def gearfast_proxy(gearfast_server: Server) -> Iterator[FaultProxy]:
    """A relay before `gearfast_server` that cuts, stalls, splits, delays or refuses when it is told to."""
    from gearfast.testing import FaultProxy

    with FaultProxy(gearfast_server) as proxy:
        yield proxy


@pytest.fixture
def gearfast_url(request: pytest.FixtureRequest) -> str:
    """Where this test's clients go: see the list of fixtures. Override it for another server."""
    server = _server(request)
    through = request.getfixturevalue("gearfast_proxy") if "gearfast_proxy" in request.fixturenames else server
    url: str = through.url
    return url


@pytest.fixture
def gearfast_client(gearfast_url: str) -> Iterator[Client]:
    """A client of `gearfast_url`."""
    import gearfast

    with gearfast.Client(gearfast_url) as client:
        yield client


@pytest.fixture
def gearfast_async_client(gearfast_url: str) -> Iterator[AsyncClient]:
    """An asyncio client of `gearfast_url`; it is closed with the test, in whichever loop that ran."""
    import gearfast
    from gearfast.testing.loops import close_client

    client = gearfast.AsyncClient(gearfast_url)
    yield client
    close_client(client)


@pytest.fixture
def gearfast_worker(request: pytest.FixtureRequest) -> Iterator[Callable[..., WorkerThread]]:
    """Call it with an App, callables by name or a worker, to do this test's jobs in a thread; as `WorkerThread`.

    `server` is another one than the test's, or a URL; `concurrency` as for `Worker`. It stops at the end of the test.
    """
    from gearfast.testing import WorkerThread

    running: list[WorkerThread] = []
    own = _server(request)  # asked for now, so that it outlives the workers

    def start(worker: Any, server: Any = None, **settings: Any) -> WorkerThread:
        thread = WorkerThread(worker, own if server is None else server, **settings)
        running.append(thread.start())
        return thread

    yield start
    while running:
        running.pop().stop()

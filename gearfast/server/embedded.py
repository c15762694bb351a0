# SPDX-License-Identifier: BSD-3-Clause
"""The job server inside another program: `gearfast.Server`.

    with Server() as server: ...            in a thread of its own, with a loop of its own
    async with Server() as server: ...      in the running loop

Starting and stopping takes about a millisecond and leaves nothing behind. After a fork the child's copy is dead: it
gives the inherited descriptors up without disturbing the parent's server, and says so when it is used.
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import contextlib
import functools
import os
import threading
import warnings
import weakref
from dataclasses import fields
from typing import TYPE_CHECKING, Any, NamedTuple, Self, TypeVar

from gearfast.errors import DeadlineExceeded, UsageError
from gearfast.server.config import ServerConfig
from gearfast.server.fork import give_up
from gearfast.server.listen import Endpoint, Listener, bind_all
from gearfast.server.service import Service
from gearfast.server.tls import make_context
from gearfast.types import JobInfo, Priority

if TYPE_CHECKING:
    import ssl as _ssl
    from collections.abc import Callable, Coroutine
    from types import TracebackType

__all__ = ["AsyncServer", "ConnectionInfo", "Server"]

T = TypeVar("T")


class ConnectionInfo(NamedTuple):
    """A connection of an embedded server."""

    peer: int
    """Names it in `disconnect`; never used again for another one."""
    address: str
    """The peer's IP address; `unix` on a Unix socket."""
    id: str
    """What it said in SET_CLIENT_ID, else `-`."""
    functions: tuple[str, ...]
    """What it registered; empty for clients."""


class _Core:
    """A running server, whoever's loop it is in."""

    def __init__(self, config: ServerConfig, context: _ssl.SSLContext | None, endpoints: list[Endpoint]) -> None:
        self.config = config
        self.context = context
        self.listeners: list[Listener] = bind_all(endpoints, config)
        self.pid = os.getpid()
        self.service: Service | None = None
        self.loop: asyncio.AbstractEventLoop | None = None
        self.thread: threading.Thread | None = None
        self.failure: BaseException | None = None
        self._stop: asyncio.Event | None = None
        self._stopping = False
        _install_hooks()
        _running.add(self)

    # In a thread.

    def start_thread(self) -> None:
        ready: concurrent.futures.Future[None] = concurrent.futures.Future()
        # A daemon, so that a forgotten server does not keep the program alive; atexit ends it in good order.
        self.thread = threading.Thread(target=self._run, args=(ready,), name="gearfast-server", daemon=True)
        self.thread.start()
        try:
            ready.result()
        except BaseException:
            self.stop_thread()
            raise

    def _run(self, ready: concurrent.futures.Future[None]) -> None:
        try:
            service = self.service = Service(self.config, self.context)
            with asyncio.Runner(loop_factory=service.new_loop) as runner:
                runner.run(self._main(ready))
        except BaseException as error:  # noqa: BLE001  (it is the caller's, who waits for `ready` or calls stop)
            if ready.done():
                self.failure = error
            else:
                ready.set_exception(error)
        finally:
            for listener in self.listeners:
                listener.close()

    async def _main(self, ready: concurrent.futures.Future[None]) -> None:
        assert self.service is not None
        self._stop = asyncio.Event()
        self.loop = asyncio.get_running_loop()
        if self._stopping:  # before there was an event to set
            self._stop.set()
        try:
            await self.service.start(self.listeners)
            ready.set_result(None)
            await self._stop.wait()
        finally:
            await self.service.close()

    def request_stop(self) -> None:
        self._stopping = True
        if self.pid == os.getpid() and self.loop is not None and self._stop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed already
                self.loop.call_soon_threadsafe(self._stop.set)

    def stop_thread(self) -> None:
        if self.thread is None or self.pid != os.getpid():
            return
        if self.thread is threading.current_thread():
            raise UsageError("an embedded server cannot be stopped from its own thread")
        self.request_stop()
        self.thread.join()
        _running.discard(self)

    # In the caller's loop.

    async def start_here(self) -> None:
        self.loop = asyncio.get_running_loop()
        try:
            self.service = Service(self.config, self.context)
            await self.service.start(self.listeners)
        except BaseException:
            await self.stop_here()
            raise

    async def stop_here(self) -> None:
        if self.pid == os.getpid():
            if self.service is not None:
                await self.service.close()
            for listener in self.listeners:
                listener.close()
            _running.discard(self)

    def live_service(self) -> Service:
        """The service, if this process has it and it runs."""
        if self.pid != os.getpid():
            raise UsageError(
                f"this server belongs to process {self.pid}; a fork has no copy of it, start one of its own"
            )
        if self.failure is not None:
            raise UsageError("the server's thread has failed") from self.failure
        if self.service is None:
            raise UsageError("the server is not running")
        return self.service

    def call(self, function: Callable[[Service], T]) -> T:
        """`function(service)` in the loop's thread."""
        service = self.live_service()
        if self.thread is None or self.thread is threading.current_thread():
            return function(service)

        async def run() -> T:
            return function(service)

        return self.wait(run())

    def wait(self, waiting: Coroutine[Any, Any, T]) -> T:
        """The result of a coroutine that runs in the server's thread."""
        assert self.loop is not None
        try:
            return asyncio.run_coroutine_threadsafe(waiting, self.loop).result()
        except RuntimeError:
            waiting.close()
            raise


class _Face:
    """What both ways of embedding show."""

    _core: _Core | None = None

    def _live(self) -> _Core:
        if self._core is None:
            raise UsageError("the server is not running")
        return self._core

    @property
    def _first(self) -> Listener | None:
        return next((listener for listener in self._live().listeners if not listener.path), None)

    @property
    def _tcp(self) -> Listener:
        first = self._first
        if first is None:
            raise UsageError("the server listens on no TCP port")
        return first

    @property
    def host(self) -> str:
        """The IP address that it listens on."""
        return self._tcp.host

    @property
    def port(self) -> int:
        """The TCP port that it listens on."""
        return self._tcp.port

    @property
    def unix(self) -> str | None:
        """Path of its Unix socket, None without one."""
        return next((listener.path for listener in self._live().listeners if listener.path), None)

    @property
    def address(self) -> str:
        """`HOST:PORT` as clients take it; the URL of the Unix socket if there is no TCP port."""
        first = self._first
        if first is None:
            return f"unix://{self.unix}"
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(first.host, first.host)
        return f"[{host}]:{first.port}" if ":" in host else f"{host}:{first.port}"

    @property
    def url(self) -> str:
        """`gearman://HOST:PORT`, with TLS `gearmans://HOST:PORT`, or `unix:///PATH`."""
        first = self._first
        if first is None:
            return self.address
        return f"{'gearmans' if first.tls else 'gearman'}://{self.address}"

    def jobs(self) -> list[JobInfo]:
        """All jobs that are queued, running, or to come; behind a start those alone that are back from the store."""
        return [_job_info(job) for job in self._live().call(lambda service: service.dispatcher.jobs())]

    def connections(self) -> list[ConnectionInfo]:
        """All connections, clients and workers."""
        return [_connection(peer) for peer in self._live().call(lambda service: service.dispatcher.peers())]

    def metrics(self) -> dict[str, Any]:
        """All counters and histograms at one moment, as plain numbers: `server`, `functions` by name, `bounds` (s).

        `Dispatcher.metrics` names each of them.
        """
        return self._live().call(lambda service: service.dispatcher.metrics())

    def disconnect(self, which: int | ConnectionInfo | Callable[[ConnectionInfo], bool]) -> int:
        """Cuts connections: one by its number or entry of `connections()`, or all that a predicate chooses.

        The predicate is called in the server's thread.
        Returns how many were cut. Jobs of a worker that is cut are queued again, as after a crash.
        """

        def cut(service: Service) -> int:
            if isinstance(which, ConnectionInfo):
                return int(service.cut(which.peer))
            if isinstance(which, int):
                return int(service.cut(which))
            chosen = [peer.peer for peer in map(_connection, service.dispatcher.peers()) if which(peer)]
            return sum(service.cut(peer) for peer in chosen)

        return self._live().call(cut)

    def disconnect_all(self) -> int:
        """Cuts all connections; returns how many."""
        return self.disconnect(lambda connection: True)


class AsyncServer(_Face):
    """A job server in the running loop: what `async with Server() as server` gives."""

    def __init__(self, core: _Core) -> None:
        self._core = core

    async def wait_idle(self, timeout: float | None = None) -> None:  # noqa: ASYNC109  (twin of Server.wait_idle)
        """Waits until no job is queued or running; jobs of a later time do not count.

        Raises DeadlineExceeded if that takes more than `timeout` seconds.
        """
        service = self._live().live_service()
        if not await service.wait_idle(timeout):
            raise _not_idle(service, timeout)

    async def stop(self) -> None:
        """Ends all connections and the server. Stopping a stopped one does nothing."""
        core, self._core = self._core, None
        if core is not None:
            await core.stop_here()


class Server(_Face):
    """A job server for tests and small programs.

    `host`, `port`: what to listen on; port 0 takes a free one, None listens on no TCP port. `unix`: path of a Unix
    socket besides. `ssl`: a server's SSLContext makes the TCP port TLS. The other settings are those of
    `gearfast server` by the same names (`tls_cert`, `job_retries`, …, see ServerConfig), files as texts or as paths;
    `config` gives all of them at once, but for its addresses. `functions`: policies by name or pattern,
    `{"resize*": {"timeout": 30}}`. `schedules`: periodic jobs by name,
    `{"nightly": {"function": "report", "cron": "0 3 * * *"}}`.

    As a context manager it runs in a thread of its own; as an async context manager in the running loop, and then
    gives an AsyncServer. `start` and `stop` do the former without `with`.

    Raises ConfigError for settings that cannot be, OSError if the address cannot be listened on.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int | None = 0,
        *,
        unix: str | os.PathLike[str] | None = None,
        ssl: _ssl.SSLContext | None = None,
        config: ServerConfig | None = None,
        **settings: Any,
    ) -> None:
        if "listen" in settings:
            raise UsageError("an embedded server has host, port and unix instead of listen")
        base = ServerConfig() if config is None else config
        self._config = base = ServerConfig.from_values(_values(base) | settings) if settings else base
        self._context = make_context(base) if ssl is None else ssl
        self._endpoints = [] if port is None else [Endpoint(host, port, tls=self._context is not None)]
        if unix is not None:
            self._endpoints.append(Endpoint("", 0, os.fspath(unix)))
        if not self._endpoints:
            raise UsageError("a server needs a TCP port or a Unix socket")
        self._view: AsyncServer | None = None

    def _new_core(self) -> _Core:
        if self._view is not None:
            raise UsageError("this server runs already, in an event loop")
        return _Core(self._config, self._context, self._endpoints)

    def start(self) -> Self:
        """Starts it in a thread; on return it can be connected to. Starting a running one does nothing."""
        if self._core is None or self._core.pid != os.getpid():
            core = self._new_core()
            core.start_thread()
            self._core = core
        return self

    def stop(self) -> None:
        """Ends all connections, the server and its thread. Stopping a stopped one does nothing."""
        core, self._core = self._core, None
        if core is not None:
            core.stop_thread()
            if core.failure is not None:
                raise core.failure

    def wait_idle(self, timeout: float | None = None) -> None:
        """Waits until no job is queued or running; jobs of a later time do not count.

        Raises DeadlineExceeded if that takes more than `timeout` seconds.
        """
        core = self._live()
        service = core.live_service()
        if not core.wait(service.wait_idle(timeout)):
            raise core.call(lambda service: _not_idle(service, timeout))

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    async def __aenter__(self) -> AsyncServer:
        if self._core is not None:
            raise UsageError("this server runs already, in a thread")
        core = self._new_core()
        await core.start_here()
        self._view = AsyncServer(core)
        return self._view

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        view, self._view = self._view, None
        if view is not None:
            await view.stop()

    def __del__(self) -> None:
        core = self._core
        if core is not None and core.pid == os.getpid():
            warnings.warn(f"server {self!r} was not stopped", ResourceWarning, source=self, stacklevel=2)
            core.request_stop()


def _values(config: ServerConfig) -> dict[str, Any]:
    return {field.name: getattr(config, field.name) for field in fields(config)}


def _not_idle(service: Service, timeout: float | None) -> DeadlineExceeded:
    back = ", others are not back from the store yet" if service.dispatcher.restoring else ""
    return DeadlineExceeded(f"{service.dispatcher.job_count} jobs are left after {timeout:g} seconds{back}")


def _job_info(job: dict[str, Any]) -> JobInfo:
    fields = {name: job[name] for name in JobInfo._fields if name != "priority"}
    fields["workload"] = fields["workload"] or b""
    return JobInfo(priority=Priority(job["priority"]), **fields)


def _connection(peer: dict[str, Any]) -> ConnectionInfo:
    return ConnectionInfo(peer["peer"], peer["address"], peer["id"], tuple(peer["functions"]))


# Running servers of this process, for the ends that come unasked: exit and fork.
_running: weakref.WeakSet[_Core] = weakref.WeakSet()


@functools.cache
def _install_hooks() -> None:
    atexit.register(_at_exit)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_after_fork)


def _at_exit() -> None:
    for core in list(_running):
        core.stop_thread()


def _after_fork() -> None:
    for core in list(_running):
        give_up(core.listeners, core.service, core.loop if core.thread is not None else None)
    _running.clear()

# SPDX-License-Identifier: BSD-3-Clause
"""A job server in memory: the real rules, the real clients and workers, their real bytes, and no socket.

Whoever sends bytes runs the server, in his own thread, until all answers lie in the inboxes of their connections. So it
needs no thread, and when a call has returned, all of its consequences have happened.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import itertools
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

from gearfast.dispatch import Dispatcher
from gearfast.errors import DeadlineExceeded, UsageError
from gearfast.frontend import memory
from gearfast.schedules import parse_all
from gearfast.server.embedded import ConnectionInfo
from gearfast.server.schedules import Scheduler
from gearfast.sync.stream import Stream, WakePipe
from gearfast.testing import waits
from gearfast.testing.inline import Functions, Inline
from gearfast.testing.recorder import Recorder, Submission
from gearfast.types import JobInfo, Priority

if TYPE_CHECKING:
    from gearfast.aio.worker import AsyncWorker
    from gearfast.sync.worker import Worker
    from gearfast.testing.clock import FakeClock
    from gearfast.testing.streams import AsyncMemoryStream

__all__ = ["MemoryServer"]

F = TypeVar("F", bound=Callable[..., Any])
Mode = Literal["manual", "inline"]

_numbers = itertools.count(1)


class Bell:
    """A descriptor that is ready to read while it rings, to be waited for beside sockets and pipes."""

    def __init__(self) -> None:
        self._pipe: WakePipe | None = None
        self._fd = -1
        if hasattr(os, "eventfd"):
            self._fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        else:
            self._pipe = WakePipe()
        self._closed = False

    def fileno(self) -> int:
        """The descriptor; -1 once it is closed."""
        return -1 if self._closed else self._fd if self._pipe is None else self._pipe.fileno()

    def ring(self) -> None:
        """Be ready from now on."""
        if self._closed:
            return
        if self._pipe is None:
            os.eventfd_write(self._fd, 1)
        else:
            self._pipe.wake()

    def quiet(self) -> None:
        """Be ready no more."""
        if self._closed:
            return
        if self._pipe is None:
            with contextlib.suppress(BlockingIOError):
                os.eventfd_read(self._fd)
        else:
            self._pipe.drain()

    def close(self) -> None:
        """Give the descriptor back."""
        if not self._closed:
            self._closed = True
            if self._pipe is None:
                os.close(self._fd)
            else:
                self._pipe.close()


class Connection:
    """The server's end: what waits to be read by the client or worker. The server's lock guards it."""

    def __init__(self, peer: int, notify: Callable[[], None]) -> None:
        self.peer = peer
        self.notify = notify
        self.inbox: list[bytes] = []
        self.ended = False
        self.thread = threading.get_ident()

    def take(self) -> bytes:
        """All that has come since the last time."""
        data = b"".join(self.inbox)
        self.inbox.clear()
        return data


class MemoryStream(Stream):
    """A client's or worker's end, as the blocking front end wants it. All that it sends is taken at once."""

    __slots__ = ("_bell", "_connection", "_pid", "_server")

    def __init__(self, server: MemoryServer) -> None:
        self.unsent = deque()
        self.events = 0
        self._server = server
        self._pid = os.getpid()
        self._bell = Bell()
        try:
            self._connection = server.open(self._bell.ring)
        except BaseException:
            self._bell.close()
            raise

    def fileno(self) -> int:
        return self._bell.fileno()

    @property
    def has_buffered(self) -> bool:
        return False

    def try_recv(self) -> bytes | None:
        with self._server.lock:
            if data := self._connection.take():
                if not self._connection.ended:
                    self._bell.quiet()
                return data
            if self._connection.ended:
                return b""
            self._bell.quiet()
            return None

    def try_send(self, data: bytes | memoryview) -> int:
        self._server.send(self._connection, data)
        return len(data)

    def close(self) -> None:
        if self._pid == os.getpid():  # else it is the parent's, and the lock may be held for ever
            self._server.hang_up(self._connection)
        self._bell.close()


class MemoryServer:
    """A job server without sockets, for tests; `url` (`memory://NAME`) is what clients and workers are given.

    All clients, workers and admin clients of this process can use it, blocking or asyncio, in one thread or many. It is
    the same rules on the same bytes as `gearfast server`; only the connections never break by themselves, and never
    carry less than all. Handles are counted from 1.

    `name`: made up if left out. `mode`: "manual" keeps jobs until a worker, or `drain`, does them; "inline" does them
    with `functions` before the client's call goes on: in the thread of a `Client`, in the loop of an `AsyncClient`.
    A client that waits for a function that is not there gets a JobException then. `functions`: callables by name, as
    `Worker.register` takes them, or an App; `function` adds more. `clock`: a FakeClock, whose time it has instead of
    the real one. `schedules`: periodic jobs by name, as of `Server`; `recorder` does not have theirs. `settings`: those
    of the dispatcher (`job_retries`, `wakeup`, `order`, `exceptions`, `max_queued`,
    `max_packet`, `handle_prefix`). `recorder` has what was submitted.

    It runs inside `with`, or from `start` to `stop`. A forked process does not have it.
    """

    def __init__(
        self,
        name: str | None = None,
        *,
        mode: Mode = "manual",
        functions: Functions | None = None,
        clock: FakeClock | None = None,
        schedules: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        if mode not in ("manual", "inline"):
            raise UsageError(f"mode is 'manual' or 'inline', not {mode!r}")
        self.name = name or f"{os.getpid()}-{next(_numbers)}"
        self.url = f"memory://{self.name}"
        self.mode: Mode = mode
        self.clock = clock
        self.recorder = Recorder()
        self.lock = threading.RLock()
        defaults: dict[str, Any] = {
            "handle_prefix": b"H:memory",
            "first_handle": 1,
            "version": "memory",
            "pid": os.getpid(),
        }
        self._settings = defaults | settings
        try:
            self._schedules = parse_all(schedules or {})
        except ValueError as error:
            raise UsageError(f"schedules: {error}") from None
        self._new_dispatcher()
        self._connections: dict[int, Connection] = {}
        self._watchers: list[Callable[[], object]] = []
        self._jobs = Inline(self, functions)
        self._changed = threading.Condition(self.lock)
        self._timer: threading.Thread | None = None
        self._due_at: float | None = None
        self._opened = 0
        self._runs = False

    # Life

    def start(self) -> Self:
        """Answer at `url`. Starting a running one does nothing.

        Raises OSError if the name is taken, UsageError if its clock is not installed.
        """
        if not self._runs:
            if self.clock is not None and not self.clock.is_installed:
                raise UsageError("the clock of a server is to be installed first: `with FakeClock() as clock`")
            memory.put(self.name, self)
            self._new_dispatcher()
            self._runs = True
            if self.clock is not None:
                self.clock.follow(self)
            if self.mode == "inline":
                waits.enter(self._jobs)
            with self.lock:
                self._settle()
        return self

    def _new_dispatcher(self) -> None:
        self._dispatcher = Dispatcher(**self._settings)
        self._scheduler = Scheduler(self._dispatcher, clock=lambda: self._now()[1] // 1_000_000)
        self._scheduler.begin(self._schedules, {})

    def stop(self) -> None:
        """End all connections. Stopping a stopped one does nothing."""
        with self.lock:
            self._shut_down()
            timer, self._timer = self._timer, None
        if timer is not None and timer is not threading.current_thread():
            timer.join()

    def _shut_down(self) -> None:
        """The same, but for the thread that keeps the time, which may need the lock that is held."""
        if not self._runs:
            return
        self._runs = False
        # Started again, it goes on counting: the recorder knows jobs by their handles.
        self._settings["first_handle"] += self._dispatcher.stats()["submitted"]
        memory.remove(self.name, self)
        if self.mode == "inline":
            waits.leave(self._jobs)
        if self.clock is not None:
            self.clock.unfollow(self)
        for connection in list(self._connections.values()):
            self._end(connection)
        self._changed.notify_all()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    # What goes on

    @property
    def submissions(self) -> list[Submission]:
        """What was submitted, as `recorder.submissions`."""
        return self.recorder.submissions

    def assert_submitted(
        self,
        function: str,
        workload: bytes | str | Callable[[bytes], bool] | None = None,
        *,
        unique: bytes | str | None = None,
        priority: Priority | None = None,
        background: bool | None = None,
        at: float | None = None,
        times: int | None = None,
    ) -> list[Submission]:
        """As `recorder.assert_submitted`."""
        __tracebackhide__ = True
        return self.recorder.assert_submitted(
            function, workload, unique=unique, priority=priority, background=background, at=at, times=times
        )

    def assert_nothing_submitted(self) -> None:
        """As `recorder.assert_nothing_submitted`."""
        __tracebackhide__ = True
        self.recorder.assert_nothing_submitted()

    def wait_submitted(self, function: str, count: int = 1, timeout: float | None = 10.0) -> list[Submission]:
        """Wait until `count` jobs of a function have been submitted, by other threads, and return all of that function.

        `Client.submit` returns before its job is sent. `timeout`: seconds of real time. Raises DeadlineExceeded.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: len(self.recorder.of(function)) >= count, timeout):
                raise self._not_submitted(function, count, timeout)
            return self.recorder.of(function)

    async def wait_submitted_async(
        self,
        function: str,
        count: int = 1,
        timeout: float | None = 10.0,  # noqa: ASYNC109  (twin of wait_submitted)
    ) -> list[Submission]:
        """The same in a coroutine. `timeout`: seconds of the loop's time."""
        loop, changed = asyncio.get_running_loop(), asyncio.Event()

        def look() -> None:
            if len(self.recorder.of(function)) >= count:
                loop.call_soon_threadsafe(changed.set)

        with self.lock:
            self._watchers.append(look)
            look()
        try:
            async with asyncio.timeout(timeout):
                await changed.wait()
        except TimeoutError:
            raise self._not_submitted(function, count, timeout) from None
        finally:
            with self.lock:
                self._watchers.remove(look)
        return self.recorder.of(function)

    def _not_submitted(self, function: str, count: int, timeout: float | None) -> DeadlineExceeded:
        there = len(self.recorder.of(function))
        return DeadlineExceeded(f"{there} of {count} jobs of function {function!r} came within {timeout:g} seconds")

    def jobs(self) -> list[JobInfo]:
        """All jobs that are queued, running, or to come."""
        with self.lock:
            found = self._dispatcher.jobs()
        fields = [name for name in JobInfo._fields if name != "priority"]
        return [JobInfo(priority=Priority(job["priority"]), **{name: job[name] for name in fields}) for job in found]

    def connections(self) -> list[ConnectionInfo]:
        """All connections, clients and workers."""
        with self.lock:
            found = self._dispatcher.peers()
        return [ConnectionInfo(each["peer"], each["address"], each["id"], tuple(each["functions"])) for each in found]

    def metrics(self) -> dict[str, Any]:
        """All counters at one moment, as `Server.metrics`."""
        with self.lock:
            return self._dispatcher.metrics()

    def disconnect(self, which: int | ConnectionInfo) -> bool:
        """Cut a connection. Returns whether it was there. Jobs of its worker are queued again, as after a crash."""
        peer = which.peer if isinstance(which, ConnectionInfo) else which
        with self.lock:
            connection = self._connections.get(peer)
            if connection is None:
                return False
            self._end(connection)
            self._settle()
            return True

    def disconnect_all(self) -> int:
        """Cut all connections; returns how many."""
        return sum(self.disconnect(connection) for connection in self.connections())

    def wait_idle(self, timeout: float | None = None) -> None:
        """Wait until no job is queued or running; jobs of a later time do not count.

        `timeout`: seconds of real time. Raises DeadlineExceeded.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._dispatcher.idle, timeout):
                raise DeadlineExceeded(f"{self._dispatcher.job_count} jobs are left after {timeout:g} seconds")

    # Doing the jobs

    def function(self, name: str) -> Callable[[F], F]:
        """Decorator: the callable does the jobs of function `name`, inline or in `drain`."""

        def decorate(callable: F) -> F:
            self._jobs.functions[name] = callable
            return callable

        return decorate

    def drain(self, functions: Functions | None = None, *, raise_errors: bool = True) -> int:
        """Do the queued jobs of `functions` (those of the server if left out), and those that they submit, here.

        A `Worker` does them, so that clients and `recorder` see their results. Returns how many they were. What a
        callable raises, but for Fail, is raised here again once all are done, unless `raise_errors` is False; several
        exceptions in an ExceptionGroup.
        """
        return self._jobs.drain(functions, raise_errors)

    async def drain_async(self, functions: Functions | None = None, *, raise_errors: bool = True) -> int:
        """The same by an `AsyncWorker`: callables may be coroutine functions."""
        return await self._jobs.drain_async(functions, raise_errors)

    def run_worker(self, worker: Worker) -> None:
        """Run a worker of this server, in this thread, until there is no job for it any more."""
        with self._until_idle(worker.stop):
            worker.run()

    async def run_worker_async(self, worker: AsyncWorker) -> None:
        """The same for an AsyncWorker."""
        with self._until_idle(worker.stop):
            await worker.run()

    @contextlib.contextmanager
    def _until_idle(self, stop: Callable[[], object]) -> Any:
        """Call `stop` once the worker that this thread connects from now on finds no job."""
        thread, told = threading.get_ident(), False
        with self.lock:
            before = {connection.peer for connection in self._connections.values()}

        def look() -> None:
            nonlocal told
            connections = self._connections.values()
            mine = {each.peer for each in connections if each.thread == thread and each.peer not in before}
            if not told and mine and self._has_nothing(mine):
                told = True
                stop()

        with self.lock:
            self._watchers.append(look)
        try:
            yield
        finally:
            with self.lock:
                self._watchers.remove(look)

    def _has_nothing(self, peers: set[int]) -> bool:
        """One of them is a worker that waits, and none has a job. The lock is held."""
        waits = any(
            each["functions"] and (each["asleep"] or each["held"])
            for each in self._dispatcher.peers()
            if each["peer"] in peers
        )
        return waits and not any(job["worker"] in peers for job in self._dispatcher.jobs())

    @property
    def has_inline_jobs(self) -> bool:
        """Whether there are jobs that are to be done before anything else goes on."""
        return self.mode == "inline" and bool(self._jobs.due())

    async def run_inline_async(self) -> None:
        """Do them in the running loop."""
        await self._jobs.run_async()

    # Connections

    def open_stream(self) -> MemoryStream:
        """A connection for the blocking front end."""
        return MemoryStream(self)

    def open_async_stream(self, on_data: Callable[[bytes], None], on_lost: Callable[[str], None]) -> AsyncMemoryStream:
        """A connection for the asyncio front end, in the running loop."""
        from gearfast.testing.streams import AsyncMemoryStream

        loop = asyncio.get_running_loop()
        if self.clock is not None:
            self.clock.adopt(loop)
        return AsyncMemoryStream(self, loop, on_data, on_lost)

    def open(self, notify: Callable[[], None]) -> Connection:
        """A new connection. `notify` is called, in any thread, when there is something to read. Raises OSError."""
        with self.lock:
            if not self._runs:
                raise ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
            self._opened += 1  # in lists of workers it stands where others have a descriptor
            peer = self._dispatcher.connect("memory", fd=self._opened, admin=True)
            connection = self._connections[peer] = Connection(peer, notify)
            return connection

    def send(self, connection: Connection, data: bytes | memoryview) -> None:
        """Bytes of a client or worker. Raises OSError if the connection has ended."""
        with self.lock:
            if connection.ended:
                raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
            self.recorder.sent(connection.peer, data)
            self._dispatcher.receive(connection.peer, data)
            self._settle()

    def hang_up(self, connection: Connection) -> None:
        """A client or worker closes its end."""
        with self.lock:
            if not connection.ended:
                self._end(connection)
                self._settle()

    def _end(self, connection: Connection) -> None:
        connection.ended = True
        del self._connections[connection.peer]
        self._dispatcher.disconnect(connection.peer)
        self.recorder.ended(connection.peer)
        connection.notify()

    def _settle(self) -> None:
        """Let everything happen that follows from what has come. The lock is held."""
        dispatcher = self._dispatcher
        while True:
            self._scheduler.turn()
            wait = self._tick()
            dirty = dispatcher.take_dirty()
            for peer in dirty:
                connection = self._connections.get(peer)
                if connection is None:
                    continue
                if data := dispatcher.take_output(peer):
                    connection.inbox.append(data)
                    self.recorder.answered(peer, data)
                    connection.notify()
                if dispatcher.closing(peer):
                    self._end(connection)
            if not dirty and wait != 0:
                break
        if self.clock is None:
            self._due_at = None if wait < 0 else time.monotonic() + wait / 1e9
            if self._timer is None and wait > 0 and self._runs:
                self._timer = threading.Thread(target=self._keep_time, name="gearfast-memory", daemon=True)
                self._timer.start()
        for watcher in list(self._watchers):
            watcher()
        self._changed.notify_all()
        if any(level == "SHUTDOWN" for level, _ in dispatcher.take_notices()):
            self._shut_down()

    # Time

    def _now(self) -> tuple[int, int]:
        if self.clock is not None:
            return self.clock.monotonic_ns(), self.clock.time_ns()
        return time.monotonic_ns(), time.time_ns()

    def _tick(self) -> int:
        """The dispatcher has the time, and does what is due; nanoseconds until more is, -1 if nothing ever is."""
        wait = self._dispatcher.tick(*self._now())
        until = self._scheduler.wait()
        if until is None:
            return wait
        # Schedules have milliseconds, which are over a little before.
        left = max(until * 1_000_000 - self._now()[1] % 1_000_000, 0)
        return left if wait < 0 else min(wait, left)

    def _keep_time(self) -> None:
        """The thread that does what falls due in real time; there is none before something has a time."""
        with self._changed:
            while self._runs:
                left = None if self._due_at is None else self._due_at - time.monotonic()
                if left is not None and left <= 0:
                    self._settle()
                else:
                    self._changed.wait(left)

    # What a fake clock asks

    def due(self) -> int:
        """Nanoseconds of its clock until it has something to do, -1 if it has not."""
        with self.lock:
            return self._tick()

    def time_moved(self) -> None:
        """Do what is due; whoever waits looks at the clock."""
        with self.lock:
            self._settle()
            for connection in self._connections.values():
                connection.notify()

    def is_busy(self) -> bool:
        """Whether a job runs or is about to, or somebody has not read yet what came for him."""
        with self.lock:
            unread = any(connection.inbox for connection in self._connections.values())
            if unread or self._dispatcher.running_count > 0:
                return True
            served = {each["function"] for each in self._dispatcher.functions() if each["workers"]}
            return any(job["function"] in served and not job["due"] for job in self._dispatcher.jobs())

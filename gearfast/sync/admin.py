# SPDX-License-Identifier: BSD-3-Clause
"""The blocking administrator's client."""

from __future__ import annotations

import threading
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

from gearfast.errors import ConnectError, ConnectionLost, DeadlineExceeded, GearfastError, UsageError
from gearfast.frontend.sockets import reason_of
from gearfast.session import admin as commands
from gearfast.session import schedules as schedule_commands
from gearfast.session._client import check_seconds
from gearfast.session.admin import AdminRequest, AdminSession
from gearfast.session.routing import parse_server
from gearfast.sync.dialer import connect
from gearfast.sync.stream import READ, WRITE, Stream, make_poller
from gearfast.types import (
    ClusterServer,
    DeadLetter,
    FunctionStatus,
    Handle,
    JobInfo,
    KeptResult,
    PolicyInfo,
    Priority,
    PriorityStatus,
    ScheduleInfo,
    WorkerInfo,
)

if TYPE_CHECKING:
    from ssl import SSLContext

__all__ = ["AdminClient"]

T = TypeVar("T")


class AdminClient:
    """Asks and changes the state of one job server by its text protocol.

    `server`: as for `Client`, but one. `timeout`: seconds for each call, connecting included. `ssl`: context for TLS.
    Every call may raise ServerError (it was refused), ConnectError, ConnectionLost, DeadlineExceeded, ProtocolError.
    After a time-out or a loss the next call connects again. Safe to use from many threads.
    """

    def __init__(
        self,
        server: str = "gearman://127.0.0.1:4730",
        *,
        timeout: float | None = 10.0,
        ssl: SSLContext | None = None,
    ) -> None:
        self._address = parse_server(server)
        if timeout is not None:
            check_seconds(timeout, "timeout")
        self._timeout = timeout
        self._context = ssl
        self._lock = threading.Lock()
        self._stream: Stream | None = None
        self._session = AdminSession()
        self._closed = False

    def status(self) -> list[FunctionStatus]:
        """Each function with its jobs and workers."""
        return self._call(commands.status())

    def priority_status(self) -> list[PriorityStatus]:
        """Each function with its queued jobs by priority."""
        return self._call(commands.priority_status())

    def workers(self) -> list[WorkerInfo]:
        """Each connection with its functions, this one included."""
        return self._call(commands.workers())

    def jobs(self) -> list[JobInfo]:
        """Each job, queued or running."""
        return self._call(commands.jobs())

    def unique_jobs(self) -> list[str]:
        """The unique of each job."""
        return self._call(commands.unique_jobs())

    def cancel_job(self, handle: str) -> None:
        """Take a job out of the queue; its clients are told that it failed. Raises JobNotFound."""
        self._call(commands.cancel_job(handle))

    def create_function(self, function: str) -> None:
        """Make a function known before any worker or client names it."""
        self._call(commands.create_function(function))

    def drop_function(self, function: str) -> None:
        """Forget a function; refused while it has workers or jobs that run."""
        self._call(commands.drop_function(function))

    def maxqueue(self, function: str, *limits: int | None) -> None:
        """Limit a function's queue: no number or None for no limit, one for all priorities, or high, normal, low."""
        self._call(commands.maxqueue(function, *limits))

    def cluster(self) -> list[ClusterServer]:
        """The job servers that share this one's store; empty if it shares none. gearmand refuses this."""
        return self._call(commands.cluster())

    def policies(self) -> list[PolicyInfo]:
        """Each pattern of functions with its policy. Of gearfast's job server; gearmand refuses this and the next."""
        return self._call(commands.policies())

    def policy(self, function: str) -> dict[str, str]:
        """What holds for a function: the keys that its patterns set, the most specific first; empty if none does."""
        return self._call(commands.policy(function))

    def set_policy(self, pattern: str, /, **settings: object) -> None:
        """Change keys of a pattern's policy, at once and until the server reads its configuration again.

        `settings`: see `FunctionPolicy`; None takes a key away. Keys that are not named stay.
        """
        self._call(commands.set_policy(pattern, settings))

    def unset_policy(self, pattern: str) -> None:
        """Take a pattern's policy away."""
        self._call(commands.unset_policy(pattern))

    def dead_letters(self, function: str | None = None) -> list[DeadLetter]:
        """Jobs that failed for good and were kept, of one function or of all: of each the oldest first.

        Of gearfast's job server, as the next three.
        """
        return self._call(commands.dead_letters(function))

    def dead_letter(self, handle: str) -> DeadLetter:
        """All there is of one, its workload and its last exception too. Raises JobNotFound."""
        return self._call(commands.dead_letter(handle))

    def requeue_dead(self, which: str) -> int:
        """Queue dead letters again, with their handles and as if they had never been tried; returns how many.

        `which`: a handle, a function, or `*` for all. One whose unique another job has is left; asked for by its
        handle it raises ServerError. Raises JobNotFound if there is neither such a dead letter nor such a function.
        """
        return self._call(commands.requeue_dead(which))

    def drop_dead(self, which: str) -> int:
        """Forget dead letters; returns how many. `which` and errors as for `requeue_dead`."""
        return self._call(commands.drop_dead(which))

    def schedules(self) -> list[ScheduleInfo]:
        """Each job that is submitted again and again. Of gearfast's job server, as the next six."""
        return self._call(schedule_commands.schedules())

    def add_schedule(
        self,
        name: str,
        function: str,
        workload: bytes | str = b"",
        *,
        cron: str | None = None,
        every: str | float | None = None,
        timezone: str | None = None,
        priority: Priority | None = None,
        unique: str | None = None,
        overlap: bool = False,
        catch_up: str | None = None,
        paused: bool = False,
    ) -> None:
        """Submit a background job again and again, from now on, also after a restart if the server has a store.

        One of this name that was added before goes; if it says the same about when, its times go on as they were.
        `cron` (with `timezone`, "UTC" if left out) or `every` (seconds, or such as "1h30m") says when. `unique`: the
        name if left out, so that a run is not queued while the one before is still there; `overlap` allows it.
        `catch_up`: of times that were missed "one" run (if left out), "all" or "none".
        Raises ServerError for what cannot be, and for a name that stands in the server's configuration.
        """
        settings = {
            "function": function,
            "workload": workload or None,
            "cron": cron,
            "every": every,
            "timezone": timezone,
            "priority": priority,
            "unique": unique,
            "overlap": overlap or None,
            "catch_up": catch_up,
            "paused": paused or None,
        }
        self._call(schedule_commands.add_schedule(name, settings))

    def set_schedule(self, name: str, /, **settings: object) -> None:
        """Change keys of a schedule that was added by command; None gives one its default again."""
        self._call(schedule_commands.set_schedule(name, settings))

    def remove_schedule(self, name: str) -> None:
        """Take a schedule away that was added by command; its job stays if it is queued or runs."""
        self._call(schedule_commands.remove_schedule(name))

    def pause_schedule(self, name: str) -> None:
        """No more runs until it is resumed; times that pass meanwhile are not caught up. Of the configuration's too."""
        self._call(schedule_commands.pause_schedule(name))

    def resume_schedule(self, name: str) -> None:
        """Runs again, from now on."""
        self._call(schedule_commands.resume_schedule(name))

    def run_schedule(self, name: str) -> Handle:
        """Submit its job now, besides those of its times, and though it is paused; returns the job's handle."""
        return self._call(schedule_commands.run_schedule(name))

    def results(self, function: str | None = None) -> list[KeptResult]:
        """What background jobs have left, of one function or of all: of each the oldest first.

        Of gearfast's job server, as the next two.
        """
        return self._call(commands.results(function))

    def result(self, handle: str) -> KeptResult:
        """All there is of one, its result or exception too. Raises JobNotFound."""
        return self._call(commands.result(handle))

    def drop_results(self, which: str) -> int:
        """Forget results; returns how many. `which`: a handle, a function, or `*` for all. Raises JobNotFound."""
        return self._call(commands.drop_results(which))

    def getpid(self) -> int:
        """The server's process id."""
        return self._call(commands.getpid())

    def version(self) -> str:
        """The server's version."""
        return self._call(commands.version())

    def verbose(self) -> str:
        """The server's log level."""
        return self._call(commands.verbose())

    def shutdown(self, *, graceful: bool = False) -> None:
        """Stop the server; gracefully: once the jobs that run are done. gearmand since 1.1.15 refuses."""
        self._call(commands.shutdown(graceful))

    def close(self) -> None:
        """Close the connection. May be called twice."""
        with self._lock:
            self._closed = True
            self._drop()

    def __enter__(self) -> AdminClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    # Inside

    def _call(self, request: AdminRequest[T]) -> T:
        with self._lock:
            if self._closed:
                raise UsageError("the client was closed")
            deadline = None if self._timeout is None else monotonic() + self._timeout
            try:
                self._exchange(request, deadline)
            except BaseException:
                self._drop()
                raise
        return request.result

    def _exchange(self, request: AdminRequest[T], deadline: float | None) -> None:
        stream = self._stream
        if stream is None or self._is_stale(stream):
            self._drop()
            stream = self._connect()
        self._session.send(request)
        poller = make_poller()
        try:
            sent = stream.flush(self._session.take_output())
            while not request.done:
                poller.watch(stream.fileno(), READ if sent else READ | WRITE)
                seconds = None if deadline is None else max(0.0, deadline - monotonic())
                ready = stream.has_buffered or poller.wait(seconds)
                if not ready:
                    raise DeadlineExceeded(f"{self._what(request)}: no reply from {self._address.label} in time")
                data = stream.try_recv()
                if data == b"":
                    raise self._lost(request, "closed by the server")
                if data:
                    self._session.receive(data)
                if not sent:
                    sent = stream.flush()
        except GearfastError:
            raise
        except OSError as error:
            raise self._lost(request, reason_of(error)) from error

    def _connect(self) -> Stream:
        try:
            self._stream = connect(self._address, self._timeout, self._context)
        except OSError as error:
            label, reason = self._address.label, reason_of(error)
            raise ConnectError(f"cannot connect to {label}: {reason}", {label: reason}) from error
        self._session = AdminSession()
        return self._stream

    def _is_stale(self, stream: Stream) -> bool:
        """It was lost, or said something, while nothing was asked."""
        try:
            return stream.try_recv() is not None
        except OSError:
            return True

    def _drop(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()

    def _what(self, request: AdminRequest[T]) -> str:
        return request.line.decode("utf-8", "replace")

    def _lost(self, request: AdminRequest[T], reason: str) -> ConnectionLost:
        label = self._address.label
        return ConnectionLost(f"{self._what(request)}: connection to {label} lost: {reason}", server=label)

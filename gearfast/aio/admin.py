# SPDX-License-Identifier: BSD-3-Clause
"""The asyncio administrator's client."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

from gearfast.aio.stream import Stream, connect
from gearfast.errors import ConnectError, ConnectionLost, DeadlineExceeded, GearfastError, ProtocolError, UsageError
from gearfast.frontend.sockets import reason_of
from gearfast.session import admin as commands
from gearfast.session import schedules as schedule_commands
from gearfast.session._client import check_seconds
from gearfast.session.admin import AdminRequest, AdminSession
from gearfast.session.routing import parse_server
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

__all__ = ["AsyncAdminClient"]

T = TypeVar("T")


class AsyncAdminClient:
    """Asks and changes the state of one job server by its text protocol.

    Arguments and errors as for `AdminClient`. Safe to use from many tasks.
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
        self._lock = asyncio.Lock()
        self._stream: Stream | None = None
        self._session = AdminSession()
        self._reply: asyncio.Future[None] | None = None
        self._failure: GearfastError | None = None
        self._closed = False

    async def status(self) -> list[FunctionStatus]:
        """Each function with its jobs and workers."""
        return await self._call(commands.status())

    async def priority_status(self) -> list[PriorityStatus]:
        """Each function with its queued jobs by priority."""
        return await self._call(commands.priority_status())

    async def workers(self) -> list[WorkerInfo]:
        """Each connection with its functions, this one included."""
        return await self._call(commands.workers())

    async def jobs(self) -> list[JobInfo]:
        """Each job, queued or running."""
        return await self._call(commands.jobs())

    async def unique_jobs(self) -> list[str]:
        """The unique of each job."""
        return await self._call(commands.unique_jobs())

    async def cancel_job(self, handle: str) -> None:
        """Take a job out of the queue; its clients are told that it failed. Raises JobNotFound."""
        await self._call(commands.cancel_job(handle))

    async def create_function(self, function: str) -> None:
        """Make a function known before any worker or client names it."""
        await self._call(commands.create_function(function))

    async def drop_function(self, function: str) -> None:
        """Forget a function; refused while it has workers or jobs that run."""
        await self._call(commands.drop_function(function))

    async def maxqueue(self, function: str, *limits: int | None) -> None:
        """Limit a function's queue: no number or None for no limit, one for all priorities, or high, normal, low."""
        await self._call(commands.maxqueue(function, *limits))

    async def cluster(self) -> list[ClusterServer]:
        """The job servers that share this one's store; empty if it shares none. gearmand refuses this."""
        return await self._call(commands.cluster())

    async def policies(self) -> list[PolicyInfo]:
        """Each pattern of functions with its policy. Of gearfast's job server; gearmand refuses this and the next."""
        return await self._call(commands.policies())

    async def policy(self, function: str) -> dict[str, str]:
        """What holds for a function: the keys that its patterns set, the most specific first; empty if none does."""
        return await self._call(commands.policy(function))

    async def set_policy(self, pattern: str, /, **settings: object) -> None:
        """Change keys of a pattern's policy, at once and until the server reads its configuration again.

        `settings`: see `FunctionPolicy`; None takes a key away. Keys that are not named stay.
        """
        await self._call(commands.set_policy(pattern, settings))

    async def unset_policy(self, pattern: str) -> None:
        """Take a pattern's policy away."""
        await self._call(commands.unset_policy(pattern))

    async def dead_letters(self, function: str | None = None) -> list[DeadLetter]:
        """Jobs that failed for good and were kept, of one function or of all: of each the oldest first.

        Of gearfast's job server, as the next three.
        """
        return await self._call(commands.dead_letters(function))

    async def dead_letter(self, handle: str) -> DeadLetter:
        """All there is of one, its workload and its last exception too. Raises JobNotFound."""
        return await self._call(commands.dead_letter(handle))

    async def requeue_dead(self, which: str) -> int:
        """Queue dead letters again, with their handles and as if they had never been tried; returns how many.

        `which`: a handle, a function, or `*` for all. One whose unique another job has is left; asked for by its
        handle it raises ServerError. Raises JobNotFound if there is neither such a dead letter nor such a function.
        """
        return await self._call(commands.requeue_dead(which))

    async def drop_dead(self, which: str) -> int:
        """Forget dead letters; returns how many. `which` and errors as for `requeue_dead`."""
        return await self._call(commands.drop_dead(which))

    async def schedules(self) -> list[ScheduleInfo]:
        """Each job that is submitted again and again. Of gearfast's job server, as the next six."""
        return await self._call(schedule_commands.schedules())

    async def add_schedule(
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
        await self._call(schedule_commands.add_schedule(name, settings))

    async def set_schedule(self, name: str, /, **settings: object) -> None:
        """Change keys of a schedule that was added by command; None gives one its default again."""
        await self._call(schedule_commands.set_schedule(name, settings))

    async def remove_schedule(self, name: str) -> None:
        """Take a schedule away that was added by command; its job stays if it is queued or runs."""
        await self._call(schedule_commands.remove_schedule(name))

    async def pause_schedule(self, name: str) -> None:
        """No more runs until it is resumed; times that pass meanwhile are not caught up. Of the configuration's too."""
        await self._call(schedule_commands.pause_schedule(name))

    async def resume_schedule(self, name: str) -> None:
        """Runs again, from now on."""
        await self._call(schedule_commands.resume_schedule(name))

    async def run_schedule(self, name: str) -> Handle:
        """Submit its job now, besides those of its times, and though it is paused; returns the job's handle."""
        return await self._call(schedule_commands.run_schedule(name))

    async def results(self, function: str | None = None) -> list[KeptResult]:
        """What background jobs have left, of one function or of all: of each the oldest first.

        Of gearfast's job server, as the next two.
        """
        return await self._call(commands.results(function))

    async def result(self, handle: str) -> KeptResult:
        """All there is of one, its result or exception too. Raises JobNotFound."""
        return await self._call(commands.result(handle))

    async def drop_results(self, which: str) -> int:
        """Forget results; returns how many. `which`: a handle, a function, or `*` for all. Raises JobNotFound."""
        return await self._call(commands.drop_results(which))

    async def getpid(self) -> int:
        """The server's process id."""
        return await self._call(commands.getpid())

    async def version(self) -> str:
        """The server's version."""
        return await self._call(commands.version())

    async def verbose(self) -> str:
        """The server's log level."""
        return await self._call(commands.verbose())

    async def shutdown(self, *, graceful: bool = False) -> None:
        """Stop the server; gracefully: once the jobs that run are done. gearmand since 1.1.15 refuses."""
        await self._call(commands.shutdown(graceful))

    async def close(self) -> None:
        """Close the connection. May be called twice."""
        async with self._lock:
            self._closed = True
            self._drop()

    async def __aenter__(self) -> AsyncAdminClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    # Inside

    async def _call(self, request: AdminRequest[T]) -> T:
        async with self._lock:
            if self._closed:
                raise UsageError("the client was closed")
            try:
                async with asyncio.timeout(self._timeout):
                    await self._exchange(request)
            except TimeoutError:
                self._drop()
                what = request.line.decode("utf-8", "replace")
                raise DeadlineExceeded(f"{what}: no reply from {self._address.label} in time") from None
            except BaseException:
                self._drop()
                raise
        return request.result

    async def _exchange(self, request: AdminRequest[T]) -> None:
        stream = self._stream or await self._connect()
        if self._failure is not None:  # lost while nothing was asked
            self._drop()
            stream = await self._connect()
        self._session.send(request)
        self._reply = asyncio.get_running_loop().create_future()
        stream.write(self._session.take_output())
        try:
            await self._reply
        except ConnectionLost as error:
            raise ConnectionLost(f"{request.line.decode('utf-8', 'replace')}: {error}", server=error.server) from None
        finally:
            self._reply = None

    async def _connect(self) -> Stream:
        self._failure = None
        self._session = AdminSession()
        label = self._address.label
        try:
            self._stream = await connect(self._address, self._timeout, self._context, self._received, self._lost)
        except OSError as error:
            raise ConnectError(f"cannot connect to {label}: {reason_of(error)}", {label: reason_of(error)}) from error
        return self._stream

    def _received(self, data: bytes) -> None:
        try:
            finished = self._session.receive(data)
        except ProtocolError as error:
            self._end(error)
            return
        if finished and self._reply is not None and not self._reply.done():
            self._reply.set_result(None)

    def _lost(self, reason: str) -> None:
        label = self._address.label
        self._end(ConnectionLost(f"connection to {label} lost: {reason}", server=label))

    def _end(self, error: GearfastError) -> None:
        self._failure = error
        if self._reply is not None and not self._reply.done():
            self._reply.set_exception(error)

    def _drop(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()

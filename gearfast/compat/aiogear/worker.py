# SPDX-License-Identifier: BSD-3-Clause
"""`aiogear.worker`: runs functions, plain ones and coroutines, one job at a time."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import OrderedDict
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

from gearfast.compat.aiogear.mixin import GearmanProtocolMixin
from gearfast.compat.aiogear.packet import Type
from gearfast.compat.aiogear.response import NoJob

logger = logging.getLogger(__name__.removeprefix("gearfast.compat."))

_ASSIGNED = (Type.NO_JOB, Type.JOB_ASSIGN, Type.JOB_ASSIGN_UNIQ, Type.JOB_ASSIGN_ALL)


_PATIENCE = 64


class JobInfo(NamedTuple):
    """A job; `uuid` and `reducer` are None unless the worker asks for them by its `grab_type`."""

    handle: str
    function: str
    uuid: str | None
    reducer: str | None
    workload: str


class Worker(GearmanProtocolMixin, asyncio.Protocol):
    """A protocol for `loop.create_connection` that works from the moment it is connected.

    `functions`: callables of a `JobInfo`, or pairs (callable, name); they return str, bytes, None, or an awaitable of
    these. `timeout`: milliseconds that a job may take. `running`: the tasks of running coroutines by handle.
    """

    def __init__(self, *functions: Any, loop: Any = None, grab_type: Any = Type.GRAB_JOB, timeout: Any = None) -> None:
        super().__init__(loop=loop)
        self.main_task: asyncio.Task[None] | None = None
        self.functions: OrderedDict[str, Any] = OrderedDict()
        self.running: WeakValueDictionary[str, asyncio.Task[Any]] = WeakValueDictionary()
        self.waiters: list[Any] = []
        self.shutting_down = False
        self.timeout = timeout
        self._asleep = False
        self._busy = False
        self._joining = False
        self._joined = b""  # a result that goes out with what is sent next
        self._gone = True  # until the connection is made
        grabs = {
            Type.GRAB_JOB: self.grab_job,
            Type.GRAB_JOB_UNIQ: self.grab_job_uniq,
            Type.GRAB_JOB_ALL: self.grab_job_all,
        }
        if grab_type not in grabs:
            raise RuntimeError("Grab type must be one of GRAB_JOB, GRAB_JOB_UNIQ or GRAB_JOB_ALL")
        self.grab = grabs[grab_type]
        for function in functions:
            if callable(function):
                self.functions[function.__name__] = function
            else:
                callback, name = function
                self.functions[name] = callback

    def connection_made(self, transport: Any) -> None:
        """asyncio's: registers the functions and begins to work."""
        logger.info("Connection is made to %r", transport.get_extra_info("peername"))
        self._connected(transport)
        for name in self.functions:
            self._register_name(name)
        self.main_task = self.get_task(self.run())

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio's: the work ends. A job that runs is not interrupted, but its result reaches nobody."""
        self._disconnected(exc)

    def get_task(self, coro: Any) -> Any:
        """A task in the worker's loop."""
        return asyncio.ensure_future(coro, loop=self.loop)

    async def run(self) -> None:
        """Asks for jobs and does them until `shutdown`, or the connection is lost."""
        try:
            # With many jobs it is cheaper to ask for the next one at once, with few to wait until there is one. Each
            # time that there was none, the worker waits before that many more jobs.
            patience = waits = 1
            while not self.shutting_down:
                if waits:
                    self.pre_sleep()
                    self._asleep = True
                    await self.wait_for(Type.NOOP)
                    self._asleep = False
                response = await self.grab()
                if not isinstance(response, NoJob):
                    await self._do(self._to_job_info(response))
                    patience, waits = (patience, waits - 1) if waits else (1, 0)
                elif not waits:
                    patience = waits = min(patience * 2, _PATIENCE)
        except ConnectionError as error:
            if not self.shutting_down:
                logger.warning("The worker ends: %s", error)
        finally:
            self._send(b"")

    async def _do(self, job: JobInfo) -> None:
        function = self.functions.get(job.function)
        if function is None:
            logger.warning("Failed to find function %s in %s", job.function, ", ".join(self.functions))
            self.work_fail(job.handle)
            return
        self._busy = True
        try:
            result = function(job)
            if asyncio.iscoroutine(result) or isinstance(result, asyncio.Future):
                task = self.get_task(result)
                self.running[job.handle] = task
                result = await task
            self._joining = True
            self.work_complete(job.handle, result)
        except Exception as error:
            self._joining = False
            logger.exception("Job (handle %s) resulted with exception", job.handle)
            self.work_exception(job.handle, str(error))
        finally:
            self._joining = False
            self._busy = False
            self.running.pop(job.handle, None)

    def _send(self, data: bytes) -> None:
        """A result goes out with the question for the next job, which follows without a pause."""
        if self._joining:
            self._joined += data
            return
        data, self._joined = self._joined + data, b""
        if data:
            super()._send(data)

    async def shutdown(self, graceful: bool = False) -> None:
        """Ends the work and closes the connection.

        `graceful`: once the running job is done and its result is sent. Otherwise it is cancelled, and the job server
        gives it to another worker.
        """
        logger.debug("Shutting down worker %sgracefully...", "" if graceful else "un")
        self.shutting_down = True
        main = self.main_task
        if main is not None and not main.done():
            if not graceful or not self._busy:
                for task in list(self.running.values()):
                    task.cancel()
                main.cancel()
            if main is not asyncio.current_task():
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.wait([main])
        if self.transport is not None:
            self.transport.close()

    @staticmethod
    def _to_job_info(job_assign: Any) -> JobInfo:
        return JobInfo(
            job_assign.handle,
            job_assign.function,
            getattr(job_assign, "uuid", None),
            getattr(job_assign, "reducer", None),
            job_assign.workload,
        )

    def register_function(self, func: Any, name: str = "") -> None:
        """Registers one more function. Raises RuntimeError before the connection is made."""
        if self.transport is None:
            raise RuntimeError("Worker must be connected to the daemon")
        name = name or func.__name__
        self.functions[name] = func
        self._register_name(name)
        if self._asleep:  # the server tells only now whether jobs for it are waiting
            self.pre_sleep()

    def _register_name(self, name: str) -> None:
        logger.debug("Registering function %s", name)
        if self.timeout is None:
            self.can_do(name)
        else:
            self.can_do_timeout(name, self.timeout)

    def _received(self, packet_type: Any, response: Any) -> None:
        if packet_type is Type.ERROR and not any(Type.ERROR in types for types, _, _ in self._registers):
            logger.warning("The job server refused something: %s", response)  # as the result of a job it took away
        elif packet_type is Type.NOOP and not self._asleep:
            logger.debug("A NOOP to a worker that is awake")
        else:
            super()._received(packet_type, response)

    def grab_job(self) -> Any:
        """Asks for a job: a future of `JobAssign` or `NoJob`."""
        self.send(Type.GRAB_JOB)
        return self.wait_for(*_ASSIGNED)

    def grab_job_uniq(self) -> Any:
        """Asks for a job with its unique: a future of `JobAssignUniq` or `NoJob`."""
        self.send(Type.GRAB_JOB_UNIQ)
        return self.wait_for(*_ASSIGNED)

    def grab_job_all(self) -> Any:
        """Asks for a job with unique and reducer: a future of `JobAssignAll`, or `JobAssignUniq` if it has none."""
        self.send(Type.GRAB_JOB_ALL)
        return self.wait_for(*_ASSIGNED)

    def pre_sleep(self) -> None:
        """Sends PRE_SLEEP."""
        self.send(Type.PRE_SLEEP)

    def can_do(self, function: Any) -> None:
        """Sends CAN_DO."""
        self.send(Type.CAN_DO, function)

    def can_do_timeout(self, function: Any, timeout: Any) -> None:
        """Sends CAN_DO_TIMEOUT with milliseconds."""
        self.send(Type.CAN_DO_TIMEOUT, function, timeout)

    def work_fail(self, handle: Any) -> None:
        """Tells that a job failed."""
        self.send(Type.WORK_FAIL, handle)

    def work_exception(self, handle: Any, data: Any) -> None:
        """Tells that a job failed, and why."""
        self.send(Type.WORK_EXCEPTION, handle, data)

    def work_complete(self, handle: Any, result: Any) -> None:
        """Sends the result of a job; None is an empty one."""
        self.send(Type.WORK_COMPLETE, handle, "" if result is None else result)

    def set_client_id(self, client_id: Any) -> None:
        """Sets the name of the worker in lists of workers."""
        self.send(Type.SET_CLIENT_ID, client_id)

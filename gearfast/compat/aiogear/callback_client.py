# SPDX-License-Identifier: BSD-3-Clause
"""`aiogear.callback_client`: a group of foreground jobs whose progress goes to one callback."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Any

from gearfast.compat.aiogear.mixin import ClosableProtocol, fail, to_int, to_text
from gearfast.compat.aiogear.packet import Type

logger = logging.getLogger(__name__.removeprefix("gearfast.compat."))

PACKET_TYPES = Type
_RESULTS = (Type.WORK_COMPLETE, Type.WORK_FAIL, Type.WORK_EXCEPTION)


class CallbackClient(ClosableProtocol):
    """A protocol for `loop.create_connection`, for one group of jobs.

    The callback gets (event, uuid, data): "progress", None, {complete, total} of the group; of a job "status",
    {complete, total}; "data" and "warning", text; "complete", the name of the packet that ended it.
    """

    def __init__(self, loop: Any = None) -> None:
        super().__init__(loop=loop)
        self.submit_job = partial(self._submit_job, Type.SUBMIT_JOB)
        self.submit_job_high = partial(self._submit_job, Type.SUBMIT_JOB_HIGH)
        self.submit_job_low = partial(self._submit_job, Type.SUBMIT_JOB_LOW)
        self.priority_map = {
            Type.SUBMIT_JOB_HIGH: self.submit_job_high,
            Type.SUBMIT_JOB_LOW: self.submit_job_low,
            Type.SUBMIT_JOB: self.submit_job,
        }
        self.update_callback: Callable[[str, Any, Any], Awaitable[Any] | None] = lambda *args: None
        self.handles_to_job: dict[str, Any] = {}
        self.job_count = 0
        self.accepted_count = 0
        self.completed_results: list[tuple[str, str | None]] = []
        self.accepted_future: asyncio.Future[Any] | None = None
        self.complete_future: asyncio.Future[Any] | None = None
        self._submitted: list[Any] = []  # uuids whose JOB_CREATED is to come, in order
        self._tasks: set[asyncio.Task[Any]] = set()
        self._gone = True  # until the connection is made

    def set_update_callback(self, async_callback: Callable[[str, Any, Any], Awaitable[Any] | None]) -> None:
        """Sets the coroutine function that gets all events."""
        self.update_callback = async_callback

    async def submit_jobs(self, worker_name: Any, jobs: Any) -> tuple[asyncio.Future[Any], asyncio.Future[Any]]:
        """Submits jobs: a list of (uuid, data) or (uuid, data, packet type).

        Returns, once the server has all of them, two futures: of True, and, when all are done, of an iterator of dicts
        state ("COMPLETE", "FAIL", "EXCEPTION") and data. Both fail with ConnectionError if the connection is lost. A
        job that the server refuses counts as failed. Raises Exception for another packet type, before anything is sent.
        """
        requests = [(uuid, data, *(rest or [Type.SUBMIT_JOB])) for uuid, data, *rest in jobs]
        for _, _, priority in requests:
            if priority not in self.priority_map:
                raise Exception(f"Unsupported priority {priority}")
        self.job_count = len(requests)
        self.accepted_count = 0
        self.completed_results = []
        accepted, complete = self._new_future(), self._new_future()
        self.accepted_future, self.complete_future = accepted, complete
        self.notify("progress", None, {"complete": 0, "total": self.job_count})
        if self._gone:
            self._fail_all(None)
        if not requests and not complete.done():
            accepted.set_result(True)
            complete.set_result(self.get_results())
        for uuid, data, priority in requests:
            self._submitted.append(uuid)
            await self.priority_map[priority](worker_name, data, uuid=uuid)
        await asyncio.wait([accepted])
        return accepted, complete

    async def _submit_job(self, packet: Any, name: Any, data: Any, uuid: Any = None) -> Any:
        self.send(packet, name, "" if uuid is None else uuid, data)
        return uuid

    def connection_made(self, transport: Any) -> None:
        """asyncio's: the connection is there."""
        self._connected(transport)
        self._submitted.clear()

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio's: the connection is gone."""
        self._disconnected(exc)
        self._fail_all(exc)
        self._closed(exc)

    def _fail_all(self, exc: BaseException | None) -> None:
        for future in (self.accepted_future, self.complete_future):
            if future is not None:
                fail(future, exc)

    def _received(self, packet_type: Any, response: Any) -> None:
        if packet_type is Type.JOB_CREATED:
            self.jobs_accepted((packet_type, response))
        elif packet_type in _RESULTS:
            self.jobs_completed((packet_type, response))
        elif packet_type is Type.WORK_DATA:
            self.job_data((packet_type, response))
        elif packet_type is Type.WORK_WARNING:
            self.job_warning((packet_type, response))
        elif packet_type is Type.WORK_STATUS:
            self.job_status((packet_type, response))
        elif packet_type is Type.ERROR and self._submitted:
            logger.error("The job server refused a job: %s", response)
            self._accepted()
            self._ended(self._submitted.pop(0), Type.WORK_FAIL, None)
        else:
            super()._received(packet_type, response)

    def notify(self, event_type: str, handler: Any, data: Any) -> None:
        """Calls the callback with an event of the job with this handle; of the group, without one."""
        self._tell(event_type, self.handles_to_job.get(handler) if handler else None, data)

    def _tell(self, event_type: str, uuid: Any, data: Any) -> None:
        event = self.update_callback(event_type, uuid, data)
        if event is not None:
            task = asyncio.ensure_future(event, loop=self.loop)
            self._tasks.add(task)  # the loop alone would let it be collected
            task.add_done_callback(self._tasks.discard)

    def jobs_accepted(self, *args: Any) -> None:
        """The server has the job that was submitted first."""
        ((_, response),) = args
        if self._submitted:
            self.handles_to_job[response.handle] = self._submitted.pop(0)
        self._accepted()

    def _accepted(self) -> None:
        self.accepted_count += 1
        future = self.accepted_future
        if self.accepted_count == self.job_count and future is not None and not future.done():
            future.set_result(True)

    def jobs_completed(self, *args: Any) -> None:
        """A job is over."""
        ((packet_type, response),) = args
        self._ended(self.handles_to_job.get(response.handle), packet_type, response[1] if len(response) > 1 else None)

    def _ended(self, uuid: Any, packet_type: Any, data: Any) -> None:
        self.completed_results.append((packet_type.name.rpartition("_")[2], data))
        self._tell("progress", None, {"complete": len(self.completed_results), "total": self.job_count})
        self._tell("complete", uuid, packet_type.name)
        future = self.complete_future
        if len(self.completed_results) == self.job_count and future is not None and not future.done():
            future.set_result(self.get_results())

    def get_results(self) -> Iterator[dict[str, Any]]:
        """The jobs' ends in the order in which they came: dicts state and data, None for a job that failed."""
        return ({"state": state, "data": data} for state, data in self.completed_results)

    def job_data(self, packet: Any) -> None:
        """A part of a job's result."""
        handle, data = packet[1]
        self.notify("data", handle, data)

    def job_warning(self, packet: Any) -> None:
        """A warning of a job."""
        handle, _, text = packet[1].partition(b"\0")
        self.notify("warning", to_text(handle), to_text(text))

    def job_status(self, packet: Any) -> None:
        """Progress of a job."""
        handle, complete, total = packet[1].split(b"\0", 2)
        self.notify("status", to_text(handle), {"complete": to_int(complete), "total": to_int(total)})

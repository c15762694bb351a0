# SPDX-License-Identifier: BSD-3-Clause
"""`aiogear.client`: submits jobs and waits for them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import uuid
from collections import deque
from functools import partial
from typing import Any

from gearfast.compat.aiogear.mixin import ClosableProtocol, fail, settle, to_bytes
from gearfast.compat.aiogear.mixin import (
    GearmanProtocolMixin as GearmanProtocolMixin,  # noqa: PLC0414  (a name that the original has here)
)
from gearfast.compat.aiogear.packet import Type

logger = logging.getLogger(__name__.removeprefix("gearfast.compat."))

_BACKGROUND = (
    Type.SUBMIT_JOB_BG,
    Type.SUBMIT_JOB_HIGH_BG,
    Type.SUBMIT_JOB_LOW_BG,
    Type.SUBMIT_JOB_SCHED,
)
_RESULTS = (Type.WORK_COMPLETE, Type.WORK_FAIL, Type.WORK_EXCEPTION)
_KEPT = 10_000  # results that nobody has asked for yet


class Client(ClosableProtocol):
    """A protocol for `loop.create_connection`.

    `await client.submit_job(name, *args, uuid=None)` gives a `JobCreated`, `client.wait_job(handle)` a future of its
    `WorkComplete`, `WorkFail` or `WorkException`. submit_job_high, submit_job_low and their _bg twins do the same with
    another priority, or in the background. Several arguments are joined by NULs. A request that the server refuses
    raises `exception.WorkFailed`, a lost connection ConnectionError.
    """

    def __init__(self, loop: Any = None) -> None:
        super().__init__(loop=loop)
        self.submit_job = partial(self._submit_job, Type.SUBMIT_JOB)
        self.submit_job_bg = partial(self._submit_job, Type.SUBMIT_JOB_BG)
        self.submit_job_high = partial(self._submit_job, Type.SUBMIT_JOB_HIGH)
        self.submit_job_high_bg = partial(self._submit_job, Type.SUBMIT_JOB_HIGH_BG)
        self.submit_job_low = partial(self._submit_job, Type.SUBMIT_JOB_LOW)
        self.submit_job_low_bg = partial(self._submit_job, Type.SUBMIT_JOB_LOW_BG)
        self.handles: dict[str, asyncio.Future[Any]] = {}
        self._fetched: set[str] = set()  # handles of those whose future somebody has
        self._finished: deque[str] = deque()  # handles of other results, in their order
        self._gone = True  # until the connection is made

    def __del__(self) -> None:
        # A transport keeps its protocol alive, so this finds one only when the loop is gone.
        with contextlib.suppress(Exception):
            self.transport.abort()

    @staticmethod
    def uuid() -> bytes:
        """A unique of 16 random bytes, none of them NUL."""
        printable = chr(random.randint(32, 126)).encode("ascii")
        return uuid.uuid4().bytes.replace(b"\0", printable)

    def connection_made(self, transport: Any) -> None:
        """asyncio's: the connection is there."""
        self._connected(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio's: the connection is gone; all that wait get ConnectionError."""
        self._disconnected(exc)
        futures, self.handles = self.handles, {}
        for handle, future in futures.items():
            fail(future, exc)
            if handle not in self._fetched:
                self.handles[handle] = future  # wait_job tells
        self._fetched.clear()
        self._closed(exc)

    async def _submit_job(self, packet: Any, name: Any, *args: Any, **kwargs: Any) -> Any:
        unique = kwargs.pop("uuid", None)
        if kwargs:
            raise TypeError(f"unexpected arguments: {', '.join(kwargs)}")
        foreground = packet not in _BACKGROUND
        future = self._new_future()

        def answer(packet_type: Any, response: Any) -> None:
            if packet_type is Type.JOB_CREATED and foreground:
                self._expect(response.handle)  # here, because the result may follow in the same read
            settle(future, packet_type, response)

        data = self.serialize_request(packet, name, self.uuid() if unique is None else unique, *args)
        self._register(future, answer, Type.JOB_CREATED, Type.ERROR)
        self._send(data)
        return await future

    def submit_job_sched(self, name: Any, dt: Any, *args: Any, **kwargs: Any) -> Any:
        """Submits a background job for a date and time, without its seconds and year."""
        when = [dt.minute, dt.hour, dt.day, dt.month, dt.weekday()]
        return self._submit_job(Type.SUBMIT_JOB_SCHED, name, *when, b"\0".join(map(to_bytes, args)), **kwargs)

    def _expect(self, handle: str) -> None:
        """The result of a job is on its way. Two jobs with one unique may have one handle, and then one future."""
        known = self.handles.get(handle)
        if known is None or known.done():
            self.handles[handle] = self._new_future()

    def _received(self, packet_type: Any, response: Any) -> None:
        if packet_type not in _RESULTS:
            super()._received(packet_type, response)
            return
        future = self.handles.get(response.handle)
        if future is not None and not future.done():
            future.set_result(response)
            if response.handle in self._fetched:
                self._fetched.discard(response.handle)
                del self.handles[response.handle]
            else:
                self._finished.append(response.handle)
                if len(self._finished) > _KEPT:
                    self._forget(self._finished.popleft())
        if (callback := self.get_registered(packet_type)) is not None:
            callback(packet_type, response)
        elif future is None:
            logger.debug("Result of a job that nobody waits for: %s", response)

    def _forget(self, handle: str) -> None:
        future = self.handles.get(handle)
        if future is not None and future.done():
            del self.handles[handle]

    def wait_job(self, handle: Any) -> asyncio.Future[Any]:
        """A future of a foreground job's `WorkComplete`, `WorkFail` or `WorkException`, none of which is raised.

        Raises RuntimeError for a handle that this client did not get, or whose result was had before.
        """
        future = self.handles.get(handle)
        if future is None:
            raise RuntimeError(f"Unable to find handle {handle} in handles {self.handles}")
        if future.done():
            del self.handles[handle]
        else:
            self._fetched.add(handle)
        return future

    def get_status(self, handle: Any) -> asyncio.Future[Any]:
        """A future of a job's `StatusRes`."""
        return self._ask(Type.GET_STATUS, handle, Type.STATUS_RES)

    def get_status_unique(self, uuid: Any) -> asyncio.Future[Any]:
        """A future of a job's `StatusResUnique`."""
        return self._ask(Type.GET_STATUS_UNIQUE, uuid, Type.STATUS_RES_UNIQUE)

    def _ask(self, request: Any, argument: Any, reply: Any) -> asyncio.Future[Any]:
        data = self.serialize_request(request, argument)
        future = self._request(reply)
        self._send(data)
        return future

    def option_req(self, option: Any) -> asyncio.Future[Any]:
        """A future of the option's name in bytes, or of [code, text] if the server refuses it."""
        data = self.serialize_request(Type.OPTION_REQ, option)
        future = self.wait_for(Type.OPTION_RES, Type.ERROR)
        self._send(data)
        return future

# SPDX-License-Identifier: BSD-3-Clause
"""What both clients do with the arguments of a call: check them, make the request, set its time limits.

`ClientCalls` holds a client's settings and makes its hubs; the front ends add only waiting and connections.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Generic, TypeVar

from gearfast._codec import encode
from gearfast.errors import GearfastError, UsageError
from gearfast.protocol import MAX_HANDLE, MAX_PACKET, MAX_UNIQUE, MAX_WORKLOAD
from gearfast.session._client import JobRequest, QuickCalls, Request, check_seconds
from gearfast.session.fetch import Fetch
from gearfast.session.hub import ClientHub, Resubmit, check_resubmit
from gearfast.session.requests import (
    BACKGROUND,
    EPOCH,
    FOREGROUND,
    REDUCE,
    REDUCE_BACKGROUND,
    Buffer,
    CancelRequest,
    StatusRequest,
    Timeout,
    UniqueStatusRequest,
    make_timeout,
)
from gearfast.session.retry import Backoff, Retry
from gearfast.session.routing import AWAY, Router, Servers, make_id, parse_servers
from gearfast.types import Handle, JobStatus, Priority

__all__ = ["ClientCalls", "Survey", "check_window", "make_delay"]

T = TypeVar("T")


class ClientCalls(QuickCalls):
    """A client's settings, and requests made of the arguments of its calls. Safe to use from many threads.

    `prefix`: what the uniques begin with that it makes for jobs without one; no other process may have the same.
    """

    def __init__(
        self,
        servers: Servers,
        *,
        timeout: float | Timeout | None,
        exceptions: bool,
        id: str | None,
        resubmit: Resubmit,
        prefix: bytes,
        retry: Retry | None = None,
        backoff: Backoff | None = None,
        max_result: int = MAX_PACKET,
        max_workload: int = MAX_WORKLOAD,
    ) -> None:
        self.servers = parse_servers(servers)
        self.timeout = make_timeout(timeout)
        check_resubmit(resubmit)
        if not 0 <= max_result < 2**32:
            raise UsageError(f"max_result is a number of bytes from 0 to 4 GiB, not {max_result!r}")
        self._max_packet = max_result + 12 + MAX_HANDLE + 1  # the header, the handle and its NUL
        if not 0 <= max_workload < 2**32:
            raise UsageError(f"max_workload is a number of bytes from 0 to 4 GiB, not {max_workload!r}")
        self._max_workload = max_workload
        self._retry = retry
        self._backoff = backoff or AWAY
        self._exceptions = exceptions
        self._id = make_id(id)
        self._resubmit: Resubmit = resubmit
        self._reply = self.timeout.reply
        self.restart(prefix)

    def restart(self, prefix: bytes) -> None:
        """Begin anew, in a forked process: no server is known to be away, and uniques get another prefix."""
        self.router = Router(self.servers, self._backoff)
        self.set_up(prefix, self.timeout.reply, self.timeout.job, self._retry, self._max_workload)

    def make_hub(self) -> ClientHub:
        """A hub with these settings; all of them share what is known of the servers."""
        return ClientHub(
            self.router,
            timeout=self.timeout,
            resubmit=self._resubmit,
            exceptions=self._exceptions,
            client_id=self._id,
            max_packet=self._max_packet,
        )

    def make_job(
        self,
        function: str,
        workload: Buffer,
        unique: str | bytes | None,
        priority: Priority,
        timeout: float | None,
        now: float,
        reducer: str | None = None,
        retry: Retry | None = None,
    ) -> JobRequest:
        """`job`, the long way."""
        key = self.new_unique() if unique is None else self.checked_unique(unique)
        try:
            if reducer is None:
                packet = encode(FOREGROUND[priority], function.encode(), key, workload)
            else:
                packet = encode(REDUCE, function.encode(), key, make_reducer(reducer, priority), b"", workload)
        except UsageError:
            raise
        except Exception as error:
            raise _refusal(function, workload, priority, error) from error
        if len(packet) > self._max_workload:
            self._check_size(function, workload)
        job = JobRequest(packet, function, key, False)
        if unique is not None:
            job.keyed = True
        if retry is not None or self._retry is not None:
            job.retry = retry or self._retry
        self.limit_job(job, timeout, now)
        return job

    def _check_size(self, function: str, workload: Buffer) -> None:
        """Raise UsageError for a workload that the server would answer by cutting the connection."""
        size = memoryview(workload).nbytes
        if size > self._max_workload:
            raise UsageError(
                f"function {function[:80]!r}: a workload of {size} bytes is more than max_workload={self._max_workload}"
            )

    def make_background(
        self,
        function: str,
        workload: Buffer,
        unique: str | bytes | None,
        priority: Priority,
        timeout: float | None,
        now: float,
        reducer: str | None = None,
        retry: Retry | None = None,
        at: float | datetime | None = None,
    ) -> JobRequest:
        """`background`, the long way."""
        key = self.new_unique() if unique is None else self.checked_unique(unique)
        if at is not None and (priority is not Priority.NORMAL or reducer is not None):
            raise UsageError("a job at a time has normal priority and no reducer: SUBMIT_JOB_EPOCH has no other")
        try:
            if reducer is not None:
                name = make_reducer(reducer, priority)
                packet = encode(REDUCE_BACKGROUND, function.encode(), key, name, b"", workload)
            elif at is None:
                packet = encode(BACKGROUND[priority], function.encode(), key, workload)
            else:
                packet = encode(EPOCH, function.encode(), key, b"%d" % make_epoch(at), workload)
        except UsageError:
            raise
        except Exception as error:
            raise _refusal(function, workload, priority, error) from error
        if len(packet) > self._max_workload:
            self._check_size(function, workload)
        job = JobRequest(packet, function, key, True)
        if unique is not None:
            job.keyed = True
        if retry is not None or self._retry is not None:
            job.retry = retry or self._retry
        self.limit_background(job, timeout, now)
        return job

    def limit(self, request: Request, timeout: float | None, now: float) -> None:
        """Give a request that is answered at once its time limit."""
        seconds = self._reply if timeout is None else timeout
        if seconds is not None:
            check_seconds(seconds, "timeout")
            request.reply_by = now + seconds

    def patience(self, timeout: float | None) -> float | None:
        """Seconds to wait for a server's answer: those of the call, else the client's."""
        return self._reply if timeout is None else timeout

    def ask_status(
        self, handle: str | None, unique: str | bytes | None, timeout: float | None, now: float
    ) -> Survey[JobStatus]:
        """Questions for the status of a job, to each server that may know it. Raises UsageError."""
        return Survey(self, handle, lambda: self.status(handle, unique), lambda status: status.known, timeout, now)

    def ask_cancel(self, handle: str, timeout: float | None, now: float) -> Survey[bool]:
        """Orders to cancel a job, to each server that may know it. Raises UsageError."""
        return Survey(self, handle, lambda: self.cancel(handle), bool, timeout, now)

    def fetch(self, job: str | bytes, function: str | None, timeout: float | None, now: float) -> Fetch:
        """Questions for the result of a job, to each server that may know it. Raises UsageError."""
        return Fetch(self, job, function, timeout, now)

    def status(self, handle: str | None, unique: str | bytes | None) -> Request:
        """A request for the status of a job by one of both. Raises UsageError."""
        if (handle is None) == (unique is None):
            raise UsageError("status takes a handle or unique=, one of them")
        try:
            if handle is not None:
                return StatusRequest(handle.encode())
            assert unique is not None
            return UniqueStatusRequest(unique.encode() if isinstance(unique, str) else unique)
        except ValueError as error:
            raise UsageError(str(error)) from error

    def cancel(self, handle: str) -> CancelRequest:
        """A request to cancel a job. Raises UsageError for what is no handle."""
        return CancelRequest(handle.encode())

    def checked_future(self, future: T) -> T:
        """What a job is to be cancelled by. Raises UsageError unless it is a future of a client."""
        if not hasattr(future, "_await_handle"):
            raise UsageError(f"a job is cancelled by its handle or its future, not by {type(future).__name__}")
        return future

    def places(self, handle: str | None, now: float) -> list[int]:
        """Indices of the servers that may know a job: a Handle's own one, else all, those that are away last."""
        if isinstance(handle, Handle) and handle.server:
            for index, server in enumerate(self.servers):
                if server.label == handle.server:
                    return [index]
        return self.router.order(b"", now)


class Survey(Generic[T]):
    """One question to each server that may know a job, in turn, until one says what is `enough`.

    `timeout`: seconds for all of it, from `now` on; None: the client's for a reply, for each.
    """

    __slots__ = ("_calls", "_deadline", "_enough", "_error", "_make", "_places", "_request", "_results", "index")

    def __init__(
        self,
        calls: ClientCalls,
        handle: str | None,
        make: Callable[[], Request],
        enough: Callable[[T], bool],
        timeout: float | None,
        now: float,
    ) -> None:
        self._request = make()
        calls.limit(self._request, timeout, now)
        self._calls = calls
        self._make = make
        self._enough = enough
        self._places = calls.places(handle, now)
        self._deadline = None if timeout is None else self._request.reply_by
        self._error: GearfastError | None = None
        self._results: list[T] = []
        self.index = -1

    def next(self, now: float) -> Request | None:
        """The next question, for the server `index`, the one before having been answered; None: no more."""
        request = self._request
        if self.index >= 0:  # it was asked
            if request.error is not None:
                self._error = request.error
            else:
                self._results.append(request.result)
                if self._enough(request.result):
                    return None
            if not self._places or (self._deadline is not None and now >= self._deadline):
                return None
            request = self._request = self._make()
            self._calls.limit(request, None if self._deadline is None else self._deadline - now, now)
        self.index = self._places.pop(0)
        return request

    def result(self) -> T:
        """The last answer. Raises the last error if there is none."""
        if self._results:
            return self._results[-1]
        assert self._error is not None
        raise self._error


def make_reducer(reducer: str, priority: Priority) -> bytes:
    """A reducer's name as bytes. Raises UsageError."""
    if not 0 < len(reducer.encode()) <= MAX_UNIQUE:
        raise UsageError(f"a reducer is the name of a function, up to {MAX_UNIQUE} bytes, not {reducer!r}")
    if priority is not Priority.NORMAL:
        raise UsageError("a job with a reducer has normal priority: SUBMIT_REDUCE_JOB cannot say another one")
    return reducer.encode()


def make_delay(at: float | datetime | None, delay: float, wall: float) -> float:
    """When a job with a delay is due. `wall`: seconds since 1970. Raises UsageError if it has a time as well."""
    if at is not None:
        raise UsageError("either at or delay, not both")
    return wall + delay


def check_window(window: int) -> None:
    """Raises UsageError for a window that nothing fits in."""
    if window < 1:
        raise UsageError(f"window is at least 1, not {window}")


def make_epoch(at: float | datetime) -> int:
    """Whole seconds since 1970, rounded up so that nothing starts before its time."""
    if isinstance(at, datetime):
        if at.tzinfo is None:
            raise UsageError(f"at={at!r} has no time zone; use datetime.now(timezone.utc) or astimezone()")
        at = at.timestamp()
    return int(-(-at // 1))


def _refusal(function: object, workload: object, priority: object, error: Exception) -> UsageError:
    """Why a job could not be encoded."""
    if not isinstance(function, str):
        return UsageError(f"a function is named by text, not {type(function).__name__}")
    if not isinstance(workload, (bytes, bytearray, memoryview)):
        return UsageError(f"function {function!r}: a workload is bytes, not {type(workload).__name__}")
    if not isinstance(priority, Priority):
        return UsageError(f"function {function!r}: priority is a Priority, not {priority!r}")
    return UsageError(f"function {function[:80]!r}: {error}")

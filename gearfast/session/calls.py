# SPDX-License-Identifier: BSD-3-Clause
"""What both clients do with the arguments of a call: check them, make the request, set its time limits.

`ClientCalls` holds a client's settings and makes its hubs; the front ends add only waiting and connections.
"""

from __future__ import annotations

from datetime import datetime
from itertools import count

from gearfast._codec import encode
from gearfast.errors import UsageError
from gearfast.protocol import MAX_UNIQUE
from gearfast.session.hub import ClientHub, Resubmit
from gearfast.session.requests import (
    BACKGROUND,
    EPOCH,
    FOREGROUND,
    Buffer,
    JobRequest,
    Request,
    StatusRequest,
    Timeout,
    UniqueStatusRequest,
    make_timeout,
)
from gearfast.session.routing import Router, Servers, make_id, parse_servers
from gearfast.types import Handle, Priority

__all__ = ["ClientCalls"]


class ClientCalls:
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
    ) -> None:
        self.servers = parse_servers(servers)
        self.timeout = make_timeout(timeout)
        if resubmit not in ("same", "any", "never"):
            raise UsageError(f"resubmit is 'same', 'any' or 'never', not {resubmit!r}")
        self._exceptions = exceptions
        self._id = make_id(id)
        self._resubmit: Resubmit = resubmit
        self._reply = self.timeout.reply
        self._job = self.timeout.job
        self.restart(prefix)

    def restart(self, prefix: bytes) -> None:
        """Begin anew, in a forked process: no server is known to be away, and uniques get another prefix."""
        self.router = Router(self.servers)
        self._prefix = prefix
        self._numbers = count(1)

    def make_hub(self) -> ClientHub:
        """A hub with these settings; all of them share what is known of the servers."""
        return ClientHub(
            self.router,
            timeout=self.timeout,
            resubmit=self._resubmit,
            exceptions=self._exceptions,
            client_id=self._id,
        )

    def job(
        self,
        function: str,
        workload: Buffer,
        unique: str | bytes | None,
        priority: Priority,
        timeout: float | None,
        now: float,
    ) -> JobRequest:
        """A foreground job. Raises UsageError for what cannot be sent."""
        key = self._unique(unique)
        try:
            packet = encode(FOREGROUND[priority], function.encode(), key, workload)
        except Exception as error:
            raise _refusal(function, workload, priority, error) from error
        job = JobRequest(packet, function, key, False)
        if timeout is None:
            timeout = self._job
        reply = self._reply
        if timeout is not None:
            if not timeout > 0:
                raise UsageError(f"timeout is a number of seconds above 0, not {timeout!r}")
            job.deadline = now + timeout
            if reply is None or reply > timeout:
                reply = timeout
        if reply is not None:
            job.reply_by = now + reply
        return job

    def background(
        self,
        function: str,
        workload: Buffer,
        unique: str | bytes | None,
        priority: Priority,
        at: float | datetime | None,
        timeout: float | None,
        now: float,
    ) -> JobRequest:
        """A background job, `at` a time if given. Raises UsageError for what cannot be sent."""
        key = self._unique(unique)
        if at is not None and priority is not Priority.NORMAL:
            raise UsageError("a job at a time has normal priority: SUBMIT_JOB_EPOCH cannot say another one")
        try:
            if at is None:
                packet = encode(BACKGROUND[priority], function.encode(), key, workload)
            else:
                packet = encode(EPOCH, function.encode(), key, b"%d" % make_epoch(at), workload)
        except UsageError:
            raise
        except Exception as error:
            raise _refusal(function, workload, priority, error) from error
        job = JobRequest(packet, function, key, True)
        self.limit(job, timeout, now)
        return job

    def limit(self, request: Request, timeout: float | None, now: float) -> None:
        """Give a request that is answered at once its time limit."""
        seconds = self._reply if timeout is None else timeout
        if seconds is not None:
            if not seconds > 0:
                raise UsageError(f"timeout is a number of seconds above 0, not {seconds!r}")
            request.reply_by = now + seconds

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

    def places(self, handle: str | None, now: float) -> list[int]:
        """Indices of the servers that may know a job: a Handle's own one, else all, those that are away last."""
        if isinstance(handle, Handle) and handle.server:
            for index, server in enumerate(self.servers):
                if server.label == handle.server:
                    return [index]
        return self.router.order(b"", now)

    def _unique(self, unique: str | bytes | None) -> bytes:
        if unique is None:
            return b"%b%x" % (self._prefix, next(self._numbers))
        key = unique.encode() if isinstance(unique, str) else bytes(unique)
        if not key:
            raise UsageError("a unique has at least one byte; leave it out to have one made")
        if len(key) > MAX_UNIQUE:
            raise UsageError(f"a unique has at most {MAX_UNIQUE} bytes, this one has {len(key)}: {unique!r}")
        return key


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

# SPDX-License-Identifier: BSD-3-Clause
"""How a client fetches the result of a job that it, or somebody else, has submitted before."""

from __future__ import annotations

import re
from collections import deque
from typing import TYPE_CHECKING, Final

from gearfast._codec import encode
from gearfast.errors import (
    DeadlineExceeded,
    GearfastError,
    JobException,
    JobFailed,
    JobNotFound,
    JobTimeout,
    ResultTooLarge,
    UnknownOption,
    UsageError,
)
from gearfast.protocol import RESULT_FUNCTION, Command
from gearfast.session._client import JobRequest, Request, check_seconds
from gearfast.session.events import Warning
from gearfast.session.requests import OptionRequest
from gearfast.types import Handle

if TYPE_CHECKING:
    from gearfast.session.calls import ClientCalls

__all__ = ["Fetch"]

SAID: Final = RESULT_FUNCTION.encode() + b": "
"""What a warning begins with that is the server's, not the worker's."""
SIZE: Final = re.compile(r"TOO_LARGE (\d+) ")


class Fetch:
    """The question for a job's result: to each server that may know it, in turn, until one does.

    A server is asked first whether it answers such questions: one that does not would wait for a worker that does.
    `job`: a handle or a unique; `function`: whose unique it is. `timeout`: seconds for all of it, from `now` on; None:
    the client's for a job. Raises UsageError.
    """

    __slots__ = ("_asked", "_calls", "_deadline", "_error", "_places", "_question", "_request", "index")

    def __init__(
        self, calls: ClientCalls, job: str | bytes, function: str | None, timeout: float | None, now: float
    ) -> None:
        self._calls = calls
        self._question = make_question(calls, job, function)
        self._asked = job.decode("utf-8", "replace") if isinstance(job, bytes) else job
        if timeout is not None:
            check_seconds(timeout, "timeout")
        limit = calls.timeout.job if timeout is None else timeout
        self._deadline = None if limit is None else now + limit
        self._places = places(calls, job, function, now)
        self._request: Request | None = None
        self._error: GearfastError | None = None
        self.index = -1

    def next(self, now: float) -> Request | None:
        """The next request, for the server `index`, the one before being done; None: there is a result, or an error."""
        request = self._request
        if isinstance(request, OptionRequest) and request.result is True:
            return self._ask(now)
        if request is not None and self._is_final(request):
            return None
        if (
            self._deadline is not None
            and self._deadline <= now
            and (self._places or (request is not None and isinstance(request.error, DeadlineExceeded)))
        ):
            self._note(JobTimeout(f"job {self._asked}: no result in time", handle=self._asked))
            return None
        if not self._places:
            return None
        self.index = self._places.pop(0)
        self._request = OptionRequest(b"results")
        self._request.reply_by = self._reply_by(now)
        return self._request

    def result(self) -> bytes:
        """The result. Raises what became of the job, or why that is not known."""
        request = self._request
        if isinstance(request, JobRequest) and request.done and request.error is None:
            return request.result
        assert self._error is not None
        raise self._error

    def _ask(self, now: float) -> JobRequest:
        """The question itself. It may be repeated, but to the same server only: the others have never heard of it."""
        unique = self._calls.new_unique()
        packet = encode(Command.SUBMIT_JOB, RESULT_FUNCTION.encode(), unique, self._question)
        job = self._request = JobRequest(packet, RESULT_FUNCTION, unique, False)
        job.keyed = job.pinned = True
        job.events = deque(maxlen=1)
        job.deadline = self._deadline
        job.reply_by = self._reply_by(now)
        return job

    def _reply_by(self, now: float) -> float | None:
        """When a server must have said something at least."""
        patience = self._calls.timeout.reply
        if patience is None:
            return self._deadline
        return now + patience if self._deadline is None else min(self._deadline, now + patience)

    def _is_final(self, request: Request) -> bool:
        """Whether nobody else has to be asked. Keeps the error, if that is worse than those before."""
        error = request.error
        if isinstance(request, OptionRequest):
            if error is None:
                what = f"the result of job {self._asked}"
                error = UnknownOption("UNKNOWN_OPTION", "the server keeps no results", what=what, server=self._server())
            self._note(error)
            return False
        if error is None:
            return True
        assert isinstance(request, JobRequest)
        said = warning_of(request)
        if type(error) is JobFailed and said.startswith("UNKNOWN_JOB"):
            what = f"the result of job {self._asked}"
            text = "the server knows no such job, and has no result of it"
            self._note(JobNotFound("JOB_NOT_FOUND", text, what=what, server=request.server))
            return False
        told = self._told(request, error, said)
        if isinstance(error, (JobFailed, JobTimeout, ResultTooLarge)):
            self._error = told
            return True
        self._note(told)
        return False

    def _told(self, request: JobRequest, error: GearfastError, said: str) -> GearfastError:
        """What became of the job, without a word of the function by which it was asked for."""
        server, handle = request.server, request.handle_text or self._asked
        what = f"job {handle} ({server})"
        if isinstance(error, JobException):
            told = error.data[:200].decode("utf-8", "replace")
            return JobException(f"{what}: {told}", server=server, handle=handle, data=error.data)
        size = SIZE.match(said)
        if isinstance(error, JobFailed) and size:
            text = f"{what}: its result of {size[1]} bytes was too large for the server to keep"
            return ResultTooLarge(text, server=server, handle=handle, size=int(size[1]))
        if isinstance(error, JobFailed):
            return JobFailed(f"{what} failed" + (f": {said}" if said else ""), server=server, handle=handle)
        if isinstance(error, JobTimeout):
            return JobTimeout(f"{what}: no result in time", server=server, handle=handle)
        return error

    def _note(self, error: GearfastError) -> None:
        """Of several servers the one that could not be asked may have the job; then one that does not know it."""
        if self._error is None or rank(error) >= rank(self._error):
            self._error = error

    def _server(self) -> str:
        return self._calls.servers[self.index].label


def rank(error: GearfastError) -> int:
    """Which of several errors is told: the one that says least."""
    return 0 if isinstance(error, UnknownOption) else 1 if isinstance(error, JobNotFound) else 2


def warning_of(request: JobRequest) -> str:
    """What the server said of the end, without its first words; empty if it did not."""
    events = request.events
    last = events[-1] if events else None
    if isinstance(last, Warning) and last.data.startswith(SAID):
        return last.data.removeprefix(SAID).decode("utf-8", "replace")
    return ""


def places(calls: ClientCalls, job: str | bytes, function: str | None, now: float) -> list[int]:
    """Indices of the servers that may know it: a Handle's own one; else all, that of such a unique first."""
    if isinstance(job, Handle) and function is None:
        return calls.places(job, now)
    return calls.router.order(job.encode() if isinstance(job, str) else job, now)


def make_question(calls: ClientCalls, job: str | bytes, function: str | None) -> bytes:
    """The workload that asks for a job. Raises UsageError."""
    if not isinstance(job, (str, bytes)):
        raise UsageError(f"a result is asked for by a handle or a unique, not by {type(job).__name__}")
    if function is not None:
        if not function or "\0" in function:
            raise UsageError(f"a function's name has a letter at least, and no NUL: {function!r}")
        return function.encode() + b"\0" + calls.checked_unique(job)
    question = job.encode() if isinstance(job, str) else job
    if not question or b"\0" in question:
        raise UsageError(f"neither a handle nor a unique: {job!r}")
    return question

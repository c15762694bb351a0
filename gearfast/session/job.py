# SPDX-License-Identifier: BSD-3-Clause
"""A job as a worker's callable sees it, whatever runs it."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Protocol

from gearfast.errors import Cancelled
from gearfast.session._worker import JobView
from gearfast.session.results import check_size, to_bytes

if TYPE_CHECKING:
    from gearfast.session._worker import Assignment

__all__ = ["BaseJob", "Desk", "Place", "current", "current_job"]

current: ContextVar[Place | None] = ContextVar("gearfast_job", default=None)
Data = bytes | bytearray | memoryview | str


class Desk(Protocol):
    """Where a job's messages go: the worker that has it."""

    def _tell(self, assignment: Assignment, what: str, *values: object) -> None: ...

    def _look(self, assignment: Assignment) -> None: ...


class BaseJob(JobView):
    """What `Job` and `AsyncJob` share."""

    __slots__ = ()
    _desk: Desk

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.handle} of {self.function!r}>"

    @property
    def handle(self) -> str:
        """The server's name for the job."""
        return self._assignment.handle.decode("utf-8", "replace")

    @property
    def function(self) -> str:
        """The function's name."""
        return self._assignment.function.decode("utf-8", "replace")

    @property
    def reducer(self) -> bytes:
        """The reducer's function name of a reduce job, else empty."""
        return self._assignment.reducer

    @property
    def server(self) -> str:
        """The address of the job server that gave the job."""
        return self._assignment.session.server

    @property
    def lost(self) -> bool:
        """The connection that the job came over is gone: its result will reach nobody, another worker gets the job."""
        return self._assignment.lost

    @property
    def deadline(self) -> float | None:
        """When the server gives the job to somebody else, in seconds of `time.monotonic()`; None: never.

        It follows from the function's `timeout`, counted from the moment at which the job came in.
        """
        return self._assignment.deadline

    @property
    def cancelled(self) -> bool:
        """Nobody wants the job's result any more: it was cancelled on the server, or is `lost`.

        The worker asks the server (GET_STATUS of the job's own handle) once the job is half a second old, then at most
        every half second, and only for jobs whose callable looks here. In threads and coroutines a look never waits.
        Where the worker does one job at a time it may wait for the answer, at most 0.1 s.
        """
        assignment = self._assignment
        if not assignment.cancelled and not assignment.lost:
            self._desk._look(assignment)
        return assignment.cancelled or assignment.lost

    def check(self) -> None:
        """Raise Cancelled if the job is `cancelled`. What is not caught ends the job with WORK_FAIL."""
        if self.cancelled:
            raise Cancelled(f"job {self.handle} of function {self.function!r} is wanted by nobody any more")

    def send_status(self, numerator: int, denominator: int) -> None:
        """Tell how far the job is: `numerator` of `denominator`."""
        self._desk._tell(self._assignment, "status", int(numerator), int(denominator))

    def send_data(self, data: Data) -> None:
        """Send a part of the result. Raises TypeError, and ResultTooLarge above the worker's `max_result`."""
        self._desk._tell(self._assignment, "data", self._sendable(data, "data"))

    def send_warning(self, data: Data) -> None:
        """Send a warning. Raises TypeError, and ResultTooLarge above the worker's `max_result`."""
        self._desk._tell(self._assignment, "warning", self._sendable(data, "a warning"))

    def _sendable(self, data: Data, what: str) -> bytes | bytearray | memoryview:
        ready = to_bytes(data, what)
        check_size(self._assignment, what, ready)
        return ready


class Place:
    """Where jobs are done, one at a time. To change its job is cheaper than to set a context variable for each."""

    __slots__ = ("job",)

    def __init__(self, job: BaseJob | None = None) -> None:
        self.job = job


def current_job() -> BaseJob | None:
    """The job that is being done here: in this thread, task or child process; None outside a worker's callable."""
    place = current.get()
    return None if place is None else place.job

# SPDX-License-Identifier: BSD-3-Clause
"""A job, and a client's request for one."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from .constants import JOB_COMPLETE, JOB_CREATED, JOB_FAILED, JOB_PENDING, JOB_UNKNOWN, PRIORITY_NONE

if TYPE_CHECKING:
    from .connection import GearmanConnection

__all__ = [
    "JOB_COMPLETE",
    "JOB_CREATED",
    "JOB_FAILED",
    "JOB_PENDING",
    "JOB_UNKNOWN",
    "PRIORITY_NONE",
    "GearmanJob",
    "GearmanJobRequest",
]


class GearmanJob:
    """One job: its connection, its handle (None until the server gave one), task, unique and data."""

    def __init__(self, connection: GearmanConnection | None, handle: Any, task: Any, unique: Any, data: Any) -> None:
        self.connection: Any = connection
        self.handle = handle
        self.task = task
        self.unique = unique
        self.data = data

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} connection={self.connection!r}, handle={self.handle!r}, task={self.task!r}, "
            f"unique={self.unique!r}, data={self.data!r}>"
        )

    def to_dict(self) -> dict[str, Any]:
        """Task, handle, unique and data."""
        return {"task": self.task, "job_handle": self.handle, "unique": self.unique, "data": self.data}


class GearmanJobRequest:
    """A job that a client asked for, and what became of it.

    `result`, `exception`: what the worker sent, decoded. `data_updates`, `warning_updates`: deques of the same.
    `status`: the last one known, {} if none. `state`: one of JOB_*. `timed_out`: the last wait ended without it.
    """

    def __init__(
        self,
        gearman_job: GearmanJob,
        initial_priority: str | None = PRIORITY_NONE,
        background: bool = False,
        max_attempts: int = 1,
    ) -> None:
        self.gearman_job = gearman_job
        self.priority = initial_priority
        self.background = background
        self.connection_attempts = 0
        self.max_connection_attempts = max_attempts
        self.initialize_request()

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} task={self.job.task!r}, unique={self.job.unique!r}, priority={self.priority!r}, "
            f"background={self.background!r}, state={self.state!r}, timed_out={self.timed_out!r}>"
        )

    def initialize_request(self) -> None:
        """Forgets all that was received; the state is JOB_UNKNOWN again."""
        self.result: Any = None
        self.exception: Any = None
        self.warning_updates: deque[Any] = deque()
        self.data_updates: deque[Any] = deque()
        self.status: dict[str, Any] = {}
        self.state: str = JOB_UNKNOWN
        self.timed_out = False

    def reset(self) -> None:
        """`initialize_request`, and its own `connection` and `handle` are None."""
        self.initialize_request()
        self.connection: Any = None
        self.handle: Any = None

    @property
    def status_updates(self) -> deque[tuple[int, int]]:
        """The last status as (numerator, denominator), in a deque."""
        if not self.status:
            return deque()
        return deque([(self.status.get("numerator", 0), self.status.get("denominator", 0))])

    @property
    def server_status(self) -> dict[str, Any]:
        """The same as `status`."""
        return self.status

    @property
    def job(self) -> GearmanJob:
        """The same as `gearman_job`."""
        return self.gearman_job

    @property
    def complete(self) -> bool:
        """In the background: the server has it. Otherwise: it is done, or has failed."""
        if self.background:
            return self.state == JOB_CREATED
        return self.state in (JOB_COMPLETE, JOB_FAILED)

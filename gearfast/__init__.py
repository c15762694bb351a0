# SPDX-License-Identifier: BSD-3-Clause
"""Gearman for Python: a job server, clients and workers.

Every public name is here; each is imported when it is first used, so that a program pays for what it uses.
`Warning`, an event, does not come with `from gearfast import *`: it would hide the built-in class.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gearfast._version import __version__

if TYPE_CHECKING:
    from gearfast._codec import Decoder, Packet, encode
    from gearfast.aio.admin import AsyncAdminClient
    from gearfast.aio.client import AsyncClient
    from gearfast.aio.future import AsyncJobFuture, async_as_completed
    from gearfast.aio.worker import AsyncJob, AsyncWorker
    from gearfast.errors import (
        Cancelled,
        ConnectError,
        ConnectionLost,
        DeadlineExceeded,
        Fail,
        GearfastError,
        JobCancelled,
        JobException,
        JobFailed,
        JobNotFound,
        JobTimeout,
        ProtocolError,
        QueueFull,
        ResultTooLarge,
        SerializeError,
        ServerError,
        SubmitUncertain,
        UnknownOption,
        UsageError,
    )
    from gearfast.protocol import Command
    from gearfast.server.embedded import Server
    from gearfast.session.events import Data, Status
    from gearfast.session.events import Warning as Warning  # exported, though not in __all__
    from gearfast.session.functions import Function, function
    from gearfast.session.job import current_job
    from gearfast.session.requests import Timeout
    from gearfast.session.retry import Backoff, Retry
    from gearfast.sync.admin import AdminClient
    from gearfast.sync.client import Client
    from gearfast.sync.future import JobFuture, as_completed
    from gearfast.sync.worker import Job, Worker
    from gearfast.tasks.app import App
    from gearfast.tasks.task import Task
    from gearfast.types import (
        ClusterServer,
        DeadLetter,
        FunctionStatus,
        Handle,
        JobInfo,
        JobStatus,
        KeptResult,
        PolicyInfo,
        Priority,
        PriorityStatus,
        ScheduleInfo,
        WorkerInfo,
    )

_HOMES = {
    "gearfast._codec": ("Decoder", "Packet", "encode"),
    "gearfast.aio.admin": ("AsyncAdminClient",),
    "gearfast.aio.client": ("AsyncClient",),
    "gearfast.aio.future": ("AsyncJobFuture", "async_as_completed"),
    "gearfast.aio.worker": ("AsyncJob", "AsyncWorker"),
    "gearfast.errors": (
        "Cancelled",
        "ConnectError",
        "ConnectionLost",
        "DeadlineExceeded",
        "Fail",
        "GearfastError",
        "JobCancelled",
        "JobException",
        "JobFailed",
        "JobNotFound",
        "JobTimeout",
        "ProtocolError",
        "QueueFull",
        "ResultTooLarge",
        "SerializeError",
        "ServerError",
        "SubmitUncertain",
        "UnknownOption",
        "UsageError",
    ),
    "gearfast.protocol": ("Command",),
    "gearfast.server.embedded": ("Server",),
    "gearfast.sync.admin": ("AdminClient",),
    "gearfast.session.events": ("Data", "Status", "Warning"),
    "gearfast.session.functions": ("Function", "function"),
    "gearfast.session.job": ("current_job",),
    "gearfast.session.requests": ("Timeout",),
    "gearfast.session.retry": ("Backoff", "Retry"),
    "gearfast.sync.client": ("Client",),
    "gearfast.sync.future": ("JobFuture", "as_completed"),
    "gearfast.sync.worker": ("Job", "Worker"),
    "gearfast.tasks.app": ("App",),
    "gearfast.tasks.task": ("Task",),
    "gearfast.types": (
        "ClusterServer",
        "DeadLetter",
        "FunctionStatus",
        "Handle",
        "JobInfo",
        "JobStatus",
        "KeptResult",
        "PolicyInfo",
        "Priority",
        "PriorityStatus",
        "ScheduleInfo",
        "WorkerInfo",
    ),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "AdminClient",
    "App",
    "AsyncAdminClient",
    "AsyncClient",
    "AsyncJob",
    "AsyncJobFuture",
    "AsyncWorker",
    "Backoff",
    "Cancelled",
    "Client",
    "ClusterServer",
    "Command",
    "ConnectError",
    "ConnectionLost",
    "Data",
    "DeadLetter",
    "DeadlineExceeded",
    "Decoder",
    "Fail",
    "Function",
    "FunctionStatus",
    "GearfastError",
    "Handle",
    "Job",
    "JobCancelled",
    "JobException",
    "JobFailed",
    "JobFuture",
    "JobInfo",
    "JobNotFound",
    "JobStatus",
    "JobTimeout",
    "KeptResult",
    "Packet",
    "PolicyInfo",
    "Priority",
    "PriorityStatus",
    "ProtocolError",
    "QueueFull",
    "ResultTooLarge",
    "Retry",
    "ScheduleInfo",
    "SerializeError",
    "Server",
    "ServerError",
    "Status",
    "SubmitUncertain",
    "Task",
    "Timeout",
    "UnknownOption",
    "UsageError",
    "Worker",
    "WorkerInfo",
    "__version__",
    "as_completed",
    "async_as_completed",
    "current_job",
    "encode",
    "function",
]


if not TYPE_CHECKING:  # a type checker would take every name for one that is there

    def __getattr__(name):
        home = _HOME_OF.get(name)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        import importlib

        value = getattr(importlib.import_module(home), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*__all__, *_HOME_OF})

# SPDX-License-Identifier: BSD-3-Clause
"""`aiogear.response`: packets of the job server as named tuples of str, bool and int."""

from __future__ import annotations

from typing import NamedTuple


class JobCreated(NamedTuple):
    """The job server has the job under this handle."""

    handle: str


class JobAssign(NamedTuple):
    """A job for a worker."""

    handle: str
    function: str
    workload: str


class JobAssignUniq(NamedTuple):
    """A job for a worker, with its unique."""

    handle: str
    function: str
    uuid: str
    workload: str


class JobAssignAll(NamedTuple):
    """A job for a worker, with its unique and reducer."""

    handle: str
    function: str
    uuid: str
    reducer: str
    workload: str


class WorkComplete(NamedTuple):
    """The job is done."""

    handle: str
    result: str


class WorkData(NamedTuple):
    """A part of a job's result."""

    handle: str
    data: str


class WorkFail(NamedTuple):
    """The job failed."""

    handle: str


class WorkException(NamedTuple):
    """The job failed, and this is why."""

    handle: str
    exception: str


class NoJob(NamedTuple):
    """There is no job for the worker."""


class Noop(NamedTuple):
    """The worker is to ask for a job."""


class StatusRes(NamedTuple):
    """The status of a job, asked for by its handle."""

    handle: str
    known: bool
    running: bool
    numerator: int
    denominator: int


class StatusResUnique(NamedTuple):
    """The status of a job, asked for by its unique, which is in `handle`; `waiting`: clients that wait for it."""

    handle: str
    known: bool
    running: bool
    numerator: int
    denominator: int
    waiting: int

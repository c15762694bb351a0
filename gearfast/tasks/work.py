# SPDX-License-Identifier: BSD-3-Clause
"""What a worker does with a task: reads the arguments, calls it between the hooks of its app, sends the result."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gearfast.frontend.hooks import Hooks
    from gearfast.session.job import BaseJob
    from gearfast.tasks.task import Task
    from gearfast.tasks.wire import Bytes

__all__ = ["Work", "make_async_work"]


class Work:
    """A plain task as a worker's callable. It can be pickled, for a child process, if its task stands in a module."""

    def __init__(self, task: Task[..., Any], hooks: Hooks) -> None:
        self._task = task
        self._hooks = hooks

    def __call__(self, job: BaseJob) -> Bytes:
        hooks = self._hooks
        pid = os.getpid()
        try:
            return hooks.call(self.do, job)  # type: ignore[no-any-return]
        except Exception as error:
            if os.getpid() == pid:  # else a child that the task has forked
                hooks.failed(job, error)
            raise

    def do(self, job: BaseJob) -> Bytes:
        """The job without the hooks."""
        task = self._task
        return task.wire.to_result(_begun(task, job))

    def __reduce__(self) -> tuple[Callable[[Task[..., Any]], Work], tuple[Task[..., Any]]]:
        return _again, (self._task,)


def _again(task: Task[..., Any]) -> Work:
    """In a child process, which has imported the task and its app."""
    return Work(task, task.app.hooks)


def make_async_work(task: Task[..., Any], hooks: Hooks) -> Callable[[BaseJob], Awaitable[Bytes]]:
    """A task as a coroutine function for an AsyncWorker: a coroutine function itself, or one with hooks that are."""

    async def work(job: BaseJob) -> Bytes:
        pid = os.getpid()
        try:
            begin = partial(_do_async if task.is_coroutine else _do_in_thread, task, job)
            return await hooks.call_async(begin, job)  # type: ignore[no-any-return]
        except Exception as error:
            if os.getpid() == pid:
                await hooks.failed_async(job, error)
            raise

    return work


async def _do_async(task: Task[..., Any], job: BaseJob) -> Bytes:
    return task.wire.to_result(await _begun(task, job))


async def _do_in_thread(task: Task[..., Any], job: BaseJob) -> Bytes:
    """A plain task between hooks that are coroutine functions: it has a thread of the worker, as it would without."""
    worker: Any = job._desk
    return await worker._in_thread(Work(task, task.app.hooks).do, job)  # type: ignore[no-any-return]


def _begun(task: Task[..., Any], job: BaseJob) -> Any:
    args, kwargs = task.wire.arguments(job.workload)
    if task.wire.parameters.takes_job:
        return task.callable(job, *args, **kwargs)
    return task.callable(*args, **kwargs)

# SPDX-License-Identifier: BSD-3-Clause
"""What a program wants to be called round its jobs: before one, after it, and when it ends badly."""

from __future__ import annotations

import inspect
import os
from collections.abc import Awaitable, Callable
from typing import Any

from gearfast.frontend import worker_log as report

__all__ = ["Hooks"]

Hook = Callable[..., Any]


class Hooks:
    """One worker's hooks, called in the order in which they were given."""

    def __init__(self) -> None:
        self.before: list[Hook] = []
        self.after: list[Hook] = []
        self.failure: list[Hook] = []

    def call(self, callable: Callable[[Any], Any], job: Any) -> Any:
        """Call a job's callable between the hooks. Raises what it, or a hook before it, raises."""
        pid = os.getpid()
        for hook in self.before:
            hook(job)
        try:
            return callable(job)
        finally:
            if os.getpid() == pid:  # else a child that the callable has forked
                for hook in self.after:
                    _safely(hook, job)

    def failed(self, job: Any, error: Exception) -> None:
        """The job ends badly."""
        for hook in self.failure:
            _safely(hook, job, error)

    async def call_async(self, work: Callable[[], Awaitable[Any]], job: Any) -> Any:
        """As `call`; hooks may be coroutine functions."""
        pid = os.getpid()
        for hook in self.before:
            found = hook(job)
            if inspect.isawaitable(found):
                await found
        try:
            return await work()
        finally:
            if os.getpid() == pid:
                for hook in self.after:
                    await _safely_async(hook, job)

    async def failed_async(self, job: Any, error: Exception) -> None:
        """As `failed`; hooks may be coroutine functions."""
        for hook in self.failure:
            await _safely_async(hook, job, error)


def _safely(hook: Hook, job: Any, *values: object) -> None:
    try:
        hook(job, *values)
    except Exception as error:  # noqa: BLE001  # the job's end is not the hook's to decide
        report.hook_failed(job._assignment, error)


async def _safely_async(hook: Hook, job: Any, *values: object) -> None:
    try:
        found = hook(job, *values)
        if inspect.isawaitable(found):
            await found
    except Exception as error:  # noqa: BLE001
        report.hook_failed(job._assignment, error)

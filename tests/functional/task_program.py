# SPDX-License-Identifier: BSD-3-Clause
"""Apps that `gearfast worker` runs in the tests of tasks, whose clients import them too."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from gearfast import App, AsyncJob, Fail, Job

HOOKS = "hooks"
app = App(prefix="tasks.")
async_app = App(prefix="async.")
pickled = App(serializer="pickle")


@app.task(timeout=60, retries=1)
def resize(path: str, width: int = 320) -> str:
    if width < 0:
        raise ValueError(f"width is {width}")
    return f"{path}@{width}"


@app.task
def count(job: Job, text: str) -> int:
    words = text.split()
    for done, word in enumerate(words, 1):
        job.send_data(word)
        job.send_status(done, len(words))
    return len(words)


@app.task
def refuse() -> None:
    raise Fail("will not")


@app.task(process=True)
def child(job: Job, *names: str) -> dict[str, Any]:
    """In a child process of the worker."""
    return {"pid": os.getpid(), "parent": os.getppid(), "names": names, "job": job.handle, "hooks": app_hooks}


@app.task
def pid() -> int:
    return os.getpid()


@app.task
def upper(text: str) -> str:
    """A shell script does it in one of the tests."""
    return text.upper()


@app.task("copy", serializer="raw", concurrency=1)
def copy(data: bytes) -> bytes:
    return data


app_hooks: list[str] = []


@app.before
def before(job: Job) -> None:
    app_hooks.append(job.function)


@async_app.task
async def nap(job: AsyncJob, seconds: float) -> str:
    await asyncio.sleep(seconds)
    return job.function


@async_app.task
def blocking(text: str) -> str:
    return text[::-1]


@pickled.task
def anything(value: object) -> object:
    return value


def make_app() -> App:
    return app

# SPDX-License-Identifier: BSD-3-Clause
"""What an app's hooks see, and when; around plain tasks and coroutine functions."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import Any

import pytest

from gearfast import App, AsyncClient, AsyncJob, Fail, Job, JobException, JobFailed, current_job
from gearfast.testing import MemoryServer

from .conftest import Serve


def make_app(seen: list[str]) -> App:
    app = App()

    @app.task
    def work(what: str) -> str:
        seen.append(f"work {what}")
        if what == "fail":
            raise Fail("no")
        if what == "raise":
            raise ValueError("no")
        job = current_job()
        return "" if job is None else job.function

    @app.before
    def before(job: Job) -> None:
        seen.append(f"before {job.function}")

    @app.after
    def after(job: Job) -> None:
        seen.append(f"after {job.handle}")

    @app.on_failure
    def failed(job: Job, error: Exception) -> None:
        seen.append(f"failed {type(error).__name__}")

    return app


def test_their_order(serve: Serve) -> None:
    seen: list[str] = []
    app = make_app(seen)
    work: Any = app.tasks["work"]
    _, client = serve(app)
    assert work.run(client, "well") == "work"
    assert seen == ["before work", "work well", "after H:memory:1"]
    for what, error in (("fail", JobFailed), ("raise", JobException)):
        seen.clear()
        with pytest.raises(error):
            work.run(client, what)
        kind = {"fail": "Fail", "raise": "ValueError"}[what]
        assert [each.split()[0] for each in seen] == ["before", "work", "after", "failed"]
        assert seen[-1] == f"failed {kind}"


def test_bad_arguments_are_a_failure_too(serve: Serve) -> None:
    seen: list[str] = []
    _, client = serve(make_app(seen))
    with pytest.raises(JobException):
        client.run("work", b"{")
    assert seen == ["before work", "after H:memory:1", "failed SerializeError"]


def test_what_a_hook_before_raises_ends_the_job(serve: Serve) -> None:
    seen: list[str] = []
    app = make_app(seen)

    @app.before
    def refuse(job: Job) -> None:
        raise PermissionError("not you")

    _, client = serve(app)
    with pytest.raises(JobException) as caught:
        client.run("work", b'{"args": ["well"]}')
    assert caught.value.remote_type == "PermissionError"
    assert seen == ["before work", "failed PermissionError"]


def test_what_the_others_raise_is_logged(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    app = make_app([])

    def broken(*_: object) -> None:
        raise RuntimeError("broken hook")

    app.after(broken)
    app.on_failure(broken)
    _, client = serve(app)
    with caplog.at_level(logging.ERROR, "gearfast.worker"):
        assert app.tasks["work"].run(client, "well") == "work"
        with pytest.raises(JobFailed):
            app.tasks["work"].run(client, "fail")
    told = [record for record in caplog.records if "met a hook that raised an exception" in record.getMessage()]
    assert len(told) == 3


def test_coroutine_functions() -> None:
    """Hooks that are awaited, round plain tasks, which have a thread all the same, and coroutine functions."""
    seen: list[str] = []
    app = App()

    @app.task
    def plain(job: AsyncJob, text: str) -> str:
        assert current_job() is not None
        if text == "raise":
            raise ValueError(text)
        return threading.current_thread().name

    @app.task
    async def coroutine(job: AsyncJob, text: str) -> str:
        await asyncio.sleep(0)
        if text == "raise":
            raise ValueError(text)
        return threading.current_thread().name

    @app.before
    async def before(job: AsyncJob) -> None:
        await asyncio.sleep(0)
        seen.append("before")

    @app.after
    def after(job: AsyncJob) -> None:
        seen.append("after")

    @app.on_failure
    async def failed(job: AsyncJob, error: Exception) -> None:
        await asyncio.sleep(0)
        seen.append(str(error))

    async def main() -> None:
        with MemoryServer(mode="inline", functions=app) as server:
            async with AsyncClient(server.url) as client:
                here = threading.current_thread().name
                assert await coroutine.run(client, "x") == here
                assert await plain.run(client, "x") != here
                for task in (plain, coroutine):
                    with pytest.raises(JobException):
                        await task.run(client, "raise")
                with pytest.raises(JobException, match="SerializeError"):
                    await client.run("coroutine", b"{")

    asyncio.run(main())
    assert seen[:4] == ["before", "after"] * 2
    assert seen[4:10] == ["before", "after", "raise"] * 2
    assert seen[10:12] == ["before", "after"] and "cannot be read" in seen[12]

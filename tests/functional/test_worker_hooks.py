# SPDX-License-Identifier: BSD-3-Clause
"""Hooks of both workers: before a job, after it, and when it ends badly."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from gearfast import AsyncWorker, Client, Fail, JobException, JobFailed, Server, current_job

from .either_worker import KINDS, AnyWorker, at_work
from .servers import PATIENCE


@pytest.fixture(params=KINDS, ids=["Worker", "AsyncWorker"])
def kind(request: pytest.FixtureRequest) -> type[AnyWorker]:
    """Each of the two workers."""
    found: type[AnyWorker] = request.param
    return found


def work(job: Any) -> Any:
    if job.workload == b"fail":
        raise Fail("cannot")
    if job.workload == b"raise":
        raise ValueError("bad")
    return {b"odd": 7, b"large": bytes(1000)}.get(job.workload, b"fine")


def outcome(client: Client, workload: bytes) -> str:
    try:
        return client.run("work", workload, timeout=PATIENCE).decode()
    except JobException as error:
        return error.data.decode()
    except JobFailed:
        return "failed"


@pytest.mark.parametrize("concurrency", [1, 2])
def test_what_is_called_when(kind: type[AnyWorker], concurrency: int) -> None:
    seen: list[str] = []
    with Server() as server, Client(server.url) as client:
        worker = kind(server.url, concurrency=concurrency, max_result=100)
        worker.register("work", work)
        for name in ("one", "two"):
            worker.before_job(lambda job, name=name: seen.append(f"before {name} {current_job() is job}"))
        worker.after_job(lambda job: seen.append(f"after {job.function}"))
        worker.on_failure(lambda job, error: seen.append(f"{type(error).__name__} {job.workload.decode()}"))
        with at_work(worker):
            for workload, result, failure in [
                (b"", "fine", []),
                (b"fail", "failed", ["Fail fail"]),
                (b"raise", "ValueError: bad", ["ValueError raise"]),
                (b"odd", "TypeError", ["TypeError odd"]),
                (b"large", "ResultTooLarge", ["ResultTooLarge large"]),
            ]:
                assert outcome(client, workload).startswith(result)
                assert seen == ["before one True", "before two True", "after work", *failure]
                seen.clear()


def test_what_a_hook_before_the_job_raises_ends_it(kind: type[AnyWorker]) -> None:
    seen: list[object] = []
    with Server() as server, Client(server.url) as client:
        worker = kind(server.url)
        worker.register("work", lambda job: seen.append("callable"))
        worker.after_job(lambda job: seen.append("after"))
        worker.on_failure(lambda job, error: seen.append(str(error)))

        @worker.before_job
        def check(job: Any) -> None:
            raise PermissionError("not for you")

        with at_work(worker):
            assert outcome(client, b"") == "PermissionError: not for you"
        assert seen == ["not for you"]


def test_what_the_others_raise_is_logged(kind: type[AnyWorker], caplog: pytest.LogCaptureFixture) -> None:
    def broken(job: Any, error: Exception | None = None) -> None:
        raise ZeroDivisionError("in a hook")

    with Server() as server, Client(server.url) as client:
        worker = kind(server.url)
        worker.register("work", work)
        worker.after_job(broken)
        worker.on_failure(broken)
        with at_work(worker), caplog.at_level(logging.ERROR, "gearfast.worker"):
            assert outcome(client, b"") == "fine"
            assert outcome(client, b"raise") == "ValueError: bad"
    hooks = [record for record in caplog.records if "hook" in record.getMessage()]
    assert [record.exc_info[0] for record in hooks if record.exc_info] == [ZeroDivisionError] * 3
    assert {record.function for record in hooks} == {"work"}  # type: ignore[attr-defined]


def test_coroutine_functions_as_hooks() -> None:
    seen: list[str] = []

    async def main(url: str) -> None:
        worker = AsyncWorker(url)

        @worker.before_job
        async def before(job: Any) -> None:
            await asyncio.sleep(0)
            seen.append("before")

        @worker.after_job
        async def after(job: Any) -> None:
            await asyncio.sleep(0)
            seen.append("after")

        @worker.on_failure
        async def failed(job: Any, error: Exception) -> None:
            await asyncio.sleep(0)
            job.send_data("told by a hook")
            seen.append(str(error))

        @worker.function("work")
        async def coroutine(job: Any) -> None:
            seen.append("callable")
            raise ValueError("bad")

        task = asyncio.create_task(worker.run())
        with Client(url) as client:
            future = client.submit("work", timeout=PATIENCE)
            events = await asyncio.to_thread(lambda: list(future.events(PATIENCE)))
            assert [event.data for event in events] == [b"told by a hook"]  # type: ignore[union-attr]
        worker.stop()
        await task

    with Server() as server:
        asyncio.run(main(server.url))
    assert seen == ["before", "callable", "after", "bad"]

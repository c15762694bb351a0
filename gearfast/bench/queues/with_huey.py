# SPDX-License-Identifier: BSD-3-Clause
"""Huey with Redis. Where results are asked for, its consumer tells them to who waits (`notify_result`)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from huey import RedisHuey

from gearfast.bench.queues import job

__all__ = ["enqueue", "huey", "run"]

_RESULTS: dict[str, Any] = {"notify_result": True} if job.keeps_results() else {"results": False}
huey = RedisHuey("bench", url=job.redis_url(), **_RESULTS)
noop = huey.task(name="noop")(job.noop)


def enqueue(payloads: Iterable[dict[str, Any]]) -> None:
    """Submits a job for each payload."""
    for payload in payloads:
        noop(payload)


def run(payload: dict[str, Any]) -> Any:
    """Runs one job and waits for its result."""
    return noop(payload).get(blocking=True, timeout=60)

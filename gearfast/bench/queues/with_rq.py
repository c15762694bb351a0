# SPDX-License-Identifier: BSD-3-Clause
"""RQ; its worker forks for each job, SimpleWorker does not. Results are read from their stream, which blocks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import redis
import rq

from gearfast.bench.queues import job

__all__ = ["enqueue", "run"]

queue = rq.Queue(connection=redis.Redis.from_url(job.redis_url()))


def enqueue(payloads: Iterable[dict[str, Any]]) -> None:
    """Submits a job for each payload."""
    for payload in payloads:
        queue.enqueue(job.noop, payload, result_ttl=0)


def run(payload: dict[str, Any]) -> Any:
    """Runs one job and waits for its result."""
    result = queue.enqueue(job.noop, payload).latest_result(timeout=60)
    return None if result is None else result.return_value

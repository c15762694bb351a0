# SPDX-License-Identifier: BSD-3-Clause
"""Celery with Redis as broker and, where results are asked for, as result backend. JSON is its default."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import celery  # its Redis transport needs `packaging`

from gearfast.bench.queues import job

__all__ = ["app", "enqueue", "run"]

app = celery.Celery("bench", broker=job.redis_url(), backend=job.redis_url() if job.keeps_results() else None)
app.conf.broker_connection_retry_on_startup = True
noop = app.task(name="noop", ignore_result=not job.keeps_results())(job.noop)


def enqueue(payloads: Iterable[dict[str, Any]]) -> None:
    """Submits a job for each payload."""
    for payload in payloads:
        noop.delay(payload)


def run(payload: dict[str, Any]) -> Any:
    """Runs one job and waits for its result."""
    return noop.delay(payload).get(timeout=60)

# SPDX-License-Identifier: BSD-3-Clause
"""dramatiq with Redis as broker and, where results are asked for, as result backend."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

from gearfast.bench.queues import job

__all__ = ["broker", "enqueue", "run"]

broker = RedisBroker(url=job.redis_url())
if job.keeps_results():
    broker.add_middleware(Results(backend=RedisBackend(url=job.redis_url())))
dramatiq.set_broker(broker)
noop = dramatiq.actor(
    job.noop, actor_name="noop", broker=broker, **({"store_results": True} if job.keeps_results() else {})
)


def enqueue(payloads: Iterable[dict[str, Any]]) -> None:
    """Submits a job for each payload."""
    for payload in payloads:
        noop.send(payload)


def run(payload: dict[str, Any]) -> Any:
    """Runs one job and waits for its result."""
    return noop.send(payload).get_result(block=True, timeout=60_000)

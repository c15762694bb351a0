# SPDX-License-Identifier: BSD-3-Clause
"""gearfast: background submissions, a worker that keeps 63 jobs at hand, as its guide advises for very short ones."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable
from functools import cache
from typing import Any

import gearfast
from gearfast.bench.queues.job import broker, noop

__all__ = ["enqueue", "enqueue_singly", "run", "worker"]

worker = gearfast.Worker(broker(), prefetch=63)


@worker.function("noop")
def work(job: gearfast.Job) -> str:
    return json.dumps(noop(json.loads(job.workload)))


@cache
def _client() -> gearfast.Client:
    return gearfast.Client(broker())


def enqueue(payloads: Iterable[dict[str, Any]]) -> None:
    """Submits a job for each payload; the server has accepted all of them at the end."""
    workloads = [json.dumps(payload).encode() for payload in payloads]  # a list goes out in batches
    deque(_client().map_background("noop", workloads), maxlen=0)


def enqueue_singly(payloads: Iterable[dict[str, Any]]) -> None:
    """The same, each accepted before the next is sent."""
    for payload in payloads:
        _client().submit_background("noop", json.dumps(payload).encode())


def run(payload: dict[str, Any]) -> Any:
    """Runs one job and waits for its result."""
    return json.loads(_client().run("noop", json.dumps(payload).encode()))

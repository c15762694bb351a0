# SPDX-License-Identifier: BSD-3-Clause
"""gearfast's blocking client and worker as a program uses them, and the libraries that block, too.

Clients are made as `make(address, function)`, which returns what does so many jobs; workers never return.
"""

from __future__ import annotations

import importlib
import threading
from collections import deque
from collections.abc import Callable, Iterable
from itertools import repeat
from typing import Any

from gearfast.bench.library.wire import PAYLOAD

__all__ = [
    "background", "gear_run", "gear_worker", "held_worker", "mapped", "pygearman_run", "pygearman_worker", "run",
    "worker",
]  # fmt: skip

HELD = 16


def _use_up(results: Iterable[object]) -> None:
    deque(results, maxlen=0)


def run(address: str, function: str) -> Callable[[int], None]:
    """`Client.run`, one after the other."""
    from gearfast import Client

    client = Client(address)

    def do(count: int) -> None:
        for _ in range(count):
            client.run(function, PAYLOAD)

    return do


def mapped(address: str, function: str) -> Callable[[int], None]:
    """`Client.map` of a list, in order, with its window of 64."""
    from gearfast import Client

    client = Client(address)
    return lambda count: _use_up(client.map(function, [PAYLOAD] * count, window=64))


def mapped_iterator(address: str, function: str) -> Callable[[int], None]:
    """The same of an iterator, whose jobs go out one by one: it may make the client wait for the next."""
    from gearfast import Client

    client = Client(address)
    return lambda count: _use_up(client.map(function, repeat(PAYLOAD, count), window=64))


def background(address: str, function: str) -> Callable[[int], None]:
    """`Client.map_background` of a list, with its window of 64."""
    from gearfast import Client

    client = Client(address)
    return lambda count: _use_up(client.map_background(function, [PAYLOAD] * count, window=64))


def _serve(address: str, function: str, **settings: Any) -> None:
    from gearfast import Worker

    worker = Worker(address, **settings)
    worker.register(function, lambda job: job.workload)
    worker.run()


def worker(address: str, function: str) -> None:
    """`Worker` as it comes: one job at a time."""
    _serve(address, function)


def held_worker(address: str, function: str) -> None:
    """`Worker` that holds 16 jobs: one under way, 15 ahead."""
    _serve(address, function, prefetch=HELD - 1)


def pygearman_run(address: str, function: str) -> Callable[[int], None]:
    """pygearman's `submit_job`; without a time-out 0.2.6 does not wait for the result."""
    client = importlib.import_module("gearman").GearmanClient([address])

    def do(count: int) -> None:
        for _ in range(count):
            client.submit_job(function, PAYLOAD, poll_timeout=30.0)

    return do


def pygearman_worker(address: str, function: str) -> None:
    """pygearman's worker."""
    worker = importlib.import_module("gearman").GearmanWorker([address])
    worker.register_task(function.encode(), lambda worker, job: job.data)
    worker.work()


def gear_run(address: str, function: str) -> Callable[[int], None]:
    """gear's `submitJob`; its own thread reads the answers and tells, by an event, that the result has come."""
    gear = importlib.import_module("gear")
    done = threading.Event()

    class Client(gear.Client):  # type: ignore[misc, name-defined]
        def handleWorkComplete(self, packet: Any) -> Any:  # noqa: N802
            job = super().handleWorkComplete(packet)
            done.set()
            return job

    host, _, port = address.rpartition(":")
    client = Client("bench")
    client.addServer(host, int(port))
    client.waitForServer()

    def do(count: int) -> None:
        for _ in range(count):
            done.clear()
            client.submitJob(gear.Job(function.encode(), PAYLOAD))
            if not done.wait(30.0):
                raise TimeoutError("no result")

    return do


def gear_worker(address: str, function: str) -> None:
    """gear's worker; its own thread reads the jobs."""
    gear = importlib.import_module("gear")
    host, _, port = address.rpartition(":")
    worker = gear.Worker("bench")
    worker.addServer(host, int(port))
    worker.waitForServer()
    worker.registerFunction(function.encode())
    while True:
        job = worker.getJob()
        job.sendWorkComplete(job.arguments)

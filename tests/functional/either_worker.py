# SPDX-License-Identifier: BSD-3-Clause
"""What tests of both workers share: either kind in a thread of its own, with callables that both take."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

from gearfast import AsyncWorker, Worker

from .servers import PATIENCE

__all__ = ["KINDS", "AnyWorker", "at_work", "leaves", "start"]

AnyWorker = Worker | AsyncWorker
KINDS = (Worker, AsyncWorker)


def start(worker: AnyWorker) -> threading.Thread:
    """Lets it run in a thread."""
    run: Callable[[], Any] = worker.run if isinstance(worker, Worker) else lambda: asyncio.run(worker.run())
    thread = threading.Thread(target=run)
    thread.start()
    return thread


def leaves(thread: threading.Thread) -> bool:
    """Whether its worker leaves in time."""
    thread.join(PATIENCE)
    return not thread.is_alive()


@contextlib.contextmanager
def at_work(*workers: AnyWorker) -> Iterator[None]:
    """Workers at work; at the end they are stopped and have to leave in time."""
    threads = [start(worker) for worker in workers]
    try:
        yield
    finally:
        for worker in workers:
            worker.stop()
        assert all(map(leaves, threads)), "a worker did not leave"

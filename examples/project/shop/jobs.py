# SPDX-License-Identifier: BSD-3-Clause
"""What the workers do: `functions` has it by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Protocol

from gearfast import Fail, Job, Worker


class Post(Protocol):
    """Sends mails."""

    def send(self, address: str, text: str) -> None:
        """Send one."""


def functions(post: Post) -> dict[str, Callable[[Job], bytes | None]]:
    """The callables of all functions."""

    def confirm(job: Job) -> None:
        order = json.loads(job.workload)
        if "@" not in order["address"]:
            raise Fail(f"order {order['number']} has no address")
        post.send(order["address"], f"Thank you for order {order['number']}")

    def ask(job: Job) -> None:
        order = json.loads(job.workload)
        post.send(order["address"], f"How do you like what came with order {order['number']}?")

    def invoice(job: Job) -> bytes:
        job.send_status(1, 2)
        return b"Invoice " + job.workload

    return {"confirm": confirm, "ask": ask, "invoice": invoice}


def make_worker(url: str, post: Post) -> Worker:
    """The worker that is run in production, too: `make_worker(url, post).run()`."""
    worker = Worker(url)
    for name, callable in functions(post).items():
        worker.register(name, callable)
    return worker

# SPDX-License-Identifier: BSD-3-Clause
"""Code that does jobs: in this thread by `drain`, or by the whole worker in a thread."""

from __future__ import annotations

from collections.abc import Callable

from shop.jobs import functions, make_worker
from shop.orders import Orders

from gearfast import Client, Server
from gearfast.testing import MemoryServer, WorkerThread
from tests.outbox import Outbox


def test_the_confirmation(gearfast_client: Client, gearfast_memory_server: MemoryServer, outbox: Outbox) -> None:
    Orders(gearfast_client).place(7, "ada@example.org")
    assert gearfast_memory_server.drain(functions(outbox)) == 1
    assert outbox.mails == [("ada@example.org", "Thank you for order 7")]


def test_an_order_without_address(
    gearfast_client: Client, gearfast_memory_server: MemoryServer, outbox: Outbox
) -> None:
    Orders(gearfast_client).place(8, "nobody")
    gearfast_memory_server.drain(functions(outbox))
    assert gearfast_memory_server.assert_submitted("confirm")[0].outcome == "failed"
    assert outbox.mails == []


def test_the_worker_over_real_sockets(
    gearfast_server: Server, gearfast_client: Client, gearfast_worker: Callable[..., WorkerThread], outbox: Outbox
) -> None:
    gearfast_worker(make_worker(gearfast_server.url, outbox))
    assert Orders(gearfast_client).invoice(7) == b"Invoice 7"

# SPDX-License-Identifier: BSD-3-Clause
"""A network that fails: the client fixture goes through the proxy, the worker does not."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from shop.jobs import functions
from shop.orders import Orders

from gearfast import Client, ConnectError
from gearfast.testing import FaultProxy, WorkerThread
from tests.outbox import Outbox


def test_an_invoice_survives_a_broken_connection(
    gearfast_client: Client, gearfast_proxy: FaultProxy, gearfast_worker: Callable[..., WorkerThread], outbox: Outbox
) -> None:
    gearfast_worker(functions(outbox))
    gearfast_proxy.break_after("down", 10)  # in the middle of the server's first answer
    assert Orders(gearfast_client).invoice(7) == b"Invoice 7"
    assert gearfast_proxy.accepted == 2


def test_a_server_that_is_down(gearfast_client: Client, gearfast_proxy: FaultProxy) -> None:
    gearfast_proxy.refuse()
    with pytest.raises(ConnectError, match="refused"):
        Orders(gearfast_client).place(7, "ada@example.org")

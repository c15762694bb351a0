# SPDX-License-Identifier: BSD-3-Clause
"""What happens days later, without waiting for it."""

from __future__ import annotations

from shop.jobs import functions
from shop.orders import THREE_DAYS, Orders

from gearfast import Client
from gearfast.testing import FakeClock, MemoryServer
from tests.outbox import Outbox


def test_the_customer_is_asked_after_three_days(
    gearfast_client: Client, gearfast_memory_server: MemoryServer, gearfast_clock: FakeClock, outbox: Outbox
) -> None:
    Orders(gearfast_client).place(7, "ada@example.org")
    gearfast_memory_server.drain(functions(outbox))
    assert len(outbox.mails) == 1
    gearfast_clock.advance(THREE_DAYS - 60)
    assert gearfast_memory_server.drain(functions(outbox)) == 0
    gearfast_clock.advance(61)
    assert gearfast_memory_server.drain(functions(outbox)) == 1
    assert outbox.mails[1] == ("ada@example.org", "How do you like what came with order 7?")

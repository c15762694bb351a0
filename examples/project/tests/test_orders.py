# SPDX-License-Identifier: BSD-3-Clause
"""Code that submits jobs: what does it submit? No worker is needed for that."""

from __future__ import annotations

import json

import pytest
from shop.orders import Orders

from gearfast import Client, JobTimeout, Priority
from gearfast.testing import FakeClock, MemoryServer, Recorder


def test_an_order_is_confirmed(gearfast_client: Client, gearfast_recorder: Recorder) -> None:
    Orders(gearfast_client).place(7, "ada@example.org")
    (job,) = gearfast_recorder.assert_submitted("confirm", unique="confirm/7", priority=Priority.HIGH, times=1)
    assert json.loads(job.workload) == {"number": 7, "address": "ada@example.org"}


def test_an_order_that_is_placed_twice_is_confirmed_once(
    gearfast_client: Client, gearfast_memory_server: MemoryServer
) -> None:
    for _ in range(2):
        Orders(gearfast_client).place(7, "ada@example.org")
    assert [job.unique for job in gearfast_memory_server.jobs() if job.function == "confirm"] == [b"confirm/7"]


def test_nothing_is_sent_without_an_order(gearfast_client: Client, gearfast_recorder: Recorder) -> None:
    Orders(gearfast_client)
    gearfast_recorder.assert_nothing_submitted()


def test_an_invoice_that_nobody_makes() -> None:
    """Ten seconds pass in no time: with `auto`, the clock goes on when only time can end the wait."""
    with FakeClock(auto=True) as clock, MemoryServer(clock=clock) as server, Client(server.url) as client:
        with pytest.raises(JobTimeout):
            Orders(client).invoice(7)
        server.assert_submitted("invoice", b"7", background=False)

# SPDX-License-Identifier: BSD-3-Clause
"""One asyncio client, several loops one after another."""

from __future__ import annotations

import asyncio

from gearfast.aio.client import AsyncClient
from gearfast.server.embedded import Server


def test_a_client_outlives_its_loop() -> None:
    with Server() as server:
        client = AsyncClient(server.url)
        for number in range(3):
            assert asyncio.run(client.echo(b"%d" % number)) == b"%d" % number
        asyncio.run(client.close())

# SPDX-License-Identifier: BSD-3-Clause
"""Ending an asyncio client from outside its loop, which a fixture that is no coroutine has to do."""

from __future__ import annotations

from gearfast.aio.client import AsyncClient

__all__ = ["close_client"]


def close_client(client: AsyncClient) -> None:
    """Close a client whose loop does not run now, or is closed already, whoever made that loop."""
    pump = client._pump
    if pump is None:
        return
    if not pump.loop.is_closed():
        pump.loop.run_until_complete(client.close())
    else:
        client._pump = None
        pump.forked()  # the loop cannot close the sockets any more

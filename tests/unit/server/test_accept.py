# SPDX-License-Identifier: BSD-3-Clause
"""The acceptor of the stream driver: whenever it is stopped, no connection that it took is lost."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import socket
import warnings

import pytest

from gearfast.server.accept import Acceptor
from gearfast.server.config import ServerConfig
from gearfast.server.listen import Endpoint, bind
from gearfast.server.log import Burst
from gearfast.server.stream import StreamPeer


class Kept(asyncio.Protocol):
    """Says what became of it."""

    made = 0
    lost = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        Kept.made += 1
        transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        Kept.lost += 1


def make() -> StreamPeer:
    return Kept()  # type: ignore[return-value]


async def stop_after(turns: int) -> None:
    (listener,) = bind(Endpoint("127.0.0.1", 0), ServerConfig())
    acceptor = Acceptor(listener, make, lambda: None, 0)
    clients = [socket.create_connection((listener.host, listener.port)) for _ in range(40)]
    for _ in range(turns):
        await asyncio.sleep(0)
    await acceptor.stop()
    listener.close()
    for client in clients:
        # Taken or not, it comes to an end: a socket that was lost would stay open.
        client.settimeout(20)
        with contextlib.suppress(ConnectionError):
            assert await asyncio.to_thread(client.recv, 1) == b""
        client.close()


@pytest.mark.parametrize("turns", range(8))
def test_it_may_be_stopped_at_any_moment(turns: int) -> None:
    Kept.made = Kept.lost = 0
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        asyncio.run(stop_after(turns))
        gc.collect()
    assert Kept.made == Kept.lost


def test_a_burst_is_a_line_and_then_a_sum(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gearfast.server.log.BURST_PAUSE", 0.02)

    async def main() -> None:
        burst = Burst("too many", asyncio.get_running_loop())
        for n in range(100):
            burst.add(f"number {n}")
        while len(caplog.records) < 2:  # noqa: ASYNC110  (the log has no event to wait for)
            await asyncio.sleep(0.001)
        burst.close()

    caplog.set_level(logging.WARNING, "gearfast.server")
    asyncio.run(main())
    assert [record.getMessage() for record in caplog.records] == [
        "too many (number 0)",
        "too many (99 times in 0.02 seconds)",
    ]

# SPDX-License-Identifier: BSD-3-Clause
"""A result of 1 GB really sent: too large by default and not kept, taken whole where the client allows it."""

from __future__ import annotations

import asyncio
import tracemalloc

import pytest

from gearfast import AsyncClient, Client, Command, Packet, ResultTooLarge

from .fault_proxy import Connection, ScriptedPeer
from .servers import PATIENCE

GIGABYTE = 1 << 30
PIECE = bytes(1 << 20)
HANDLE = b"H:x:1"


def script(connection: Connection) -> None:
    """The first job has a result of 1 GB, the next one, over the same connection, a small one."""
    connection.read("SUBMIT_JOB")
    connection.send(Packet(Command.JOB_CREATED, [HANDLE]))
    head = Packet(Command.WORK_COMPLETE, [HANDLE, b""]).encode()
    connection.socket.sendall(head[:8] + (len(head) - 12 + GIGABYTE).to_bytes(4, "big") + head[12:])
    for _ in range(GIGABYTE // len(PIECE)):
        connection.socket.sendall(PIECE)
    connection.read("SUBMIT_JOB")
    connection.send(Packet(Command.JOB_CREATED, [b"H:x:2"]), Packet(Command.WORK_COMPLETE, [b"H:x:2", b"small"]))
    connection.wait_for_end()


def refused(address: str, mode: str) -> ResultTooLarge:
    """The error with the default limit; the connection is good for the next job."""
    if mode == "blocking":
        with Client(address, exceptions=False) as client:
            with pytest.raises(ResultTooLarge) as caught:
                client.run("f", timeout=PATIENCE)
            assert client.run("f", timeout=PATIENCE) == b"small"
        return caught.value

    async def use() -> ResultTooLarge:
        async with AsyncClient(address, exceptions=False) as client:
            with pytest.raises(ResultTooLarge) as caught:
                await client.run("f", timeout=PATIENCE)
            assert await client.run("f", timeout=PATIENCE) == b"small"
        return caught.value

    return asyncio.run(use())


@pytest.mark.parametrize("mode", ["blocking", "asyncio"])
def test_a_result_of_a_gigabyte_is_not_kept(mode: str) -> None:
    with ScriptedPeer(script) as peer:
        tracemalloc.start()
        try:
            error = refused(peer.address, mode)
            most = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peer.accepted == 1
    assert (error.size, error.limit) == (GIGABYTE, 256 << 20)
    assert (error.server, error.function, error.handle) == (peer.address, "f", "H:x:1")
    assert all(word in str(error) for word in (peer.address, "'f'", "H:x:1", str(GIGABYTE)))
    assert most < 100 << 20


@pytest.mark.parametrize("mode", ["blocking", "asyncio"])
def test_a_result_of_a_gigabyte_is_taken_where_it_may_come(mode: str) -> None:
    with ScriptedPeer(script) as peer:
        if mode == "blocking":
            with Client(peer.address, exceptions=False, max_result=GIGABYTE) as client:
                assert len(client.run("f", timeout=4 * PATIENCE)) == GIGABYTE
        else:

            async def use() -> int:
                async with AsyncClient(peer.address, exceptions=False, max_result=GIGABYTE) as client:
                    return len(await client.run("f", timeout=4 * PATIENCE))

            assert asyncio.run(use()) == GIGABYTE

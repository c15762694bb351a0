# SPDX-License-Identifier: BSD-3-Clause
"""What chaos runs have found in the server, each as a test of its own."""

from __future__ import annotations

import asyncio
import errno
import gc
import socket
import ssl
import struct
from asyncio.sslproto import SSLProtocol
from unittest import mock

import pytest
import trustme

from gearfast import Packet, Server
from gearfast.protocol import Command
from gearfast.server.stream import StreamPeer

from .server_tools import DRIVERS, LIMIT, Wire, eventually


@pytest.fixture(scope="module")
def context() -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(made)
    return made


@pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1\r\n\r\n"])
def test_a_failed_tls_handshake_leaves_no_buffers_behind(context: ssl.SSLContext, said: bytes) -> None:
    """They were kept by a cycle of references until the garbage collector came: 750 MiB after some thousand of them."""

    def kept() -> int:
        return sum(isinstance(thing, SSLProtocol) for thing in gc.get_objects())

    with Server(ssl=context) as server:
        gc.collect()
        before = kept()
        gc.disable()
        try:
            for _ in range(20):
                with socket.create_connection((server.host, server.port), LIMIT) as sock:
                    sock.sendall(said)
            good = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            good.check_hostname, good.verify_mode = False, ssl.CERT_NONE
            with Wire(good.wrap_socket(socket.create_connection((server.host, server.port), LIMIT))) as wire:
                wire.line("version")  # it was accepted after all the others
            del wire
            eventually(lambda: kept() <= before, "no TLS connection is left in memory")
        finally:
            gc.enable()


@pytest.mark.parametrize("number", [errno.EPROTO, errno.ENETDOWN, errno.EHOSTUNREACH, errno.EPERM])
def test_a_network_error_of_a_new_connection_does_not_end_accepting(number: int) -> None:
    async def scene() -> None:
        loop = asyncio.get_running_loop()
        accept = loop.sock_accept
        errors = [OSError(number, "of a connection that is no more")] * 3

        async def flaky(sock: socket.socket) -> tuple[socket.socket, object]:
            if errors:
                raise errors.pop()
            return await accept(sock)

        with mock.patch.object(loop, "sock_accept", flaky):
            async with Server(driver="stream") as server:
                reader, writer = await asyncio.open_connection(server.host, server.port)
                writer.write(b"version\n")
                assert (await asyncio.wait_for(reader.readline(), LIMIT)).startswith(b"OK")
                writer.close()

    asyncio.run(scene())


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_worker_that_half_closes_and_reads_nothing_loses_its_jobs(driver: str) -> None:
    """The stream driver waited for its output to be taken, for ever."""
    count = 60
    # What is below high water is not watched by the stall limit; the kernel's buffers take far less.
    with Server(driver=driver, high_water=64 << 20) as server, Wire((server.host, server.port)) as client:
        for _ in range(count):
            client.submit(b"f", bytes(1 << 18), background=True)
        with Wire((server.host, server.port)) as worker:
            worker.send(Command.CAN_DO, b"f")
            worker.sock.sendall(Packet(Command.GRAB_JOB).encode() * count)
            eventually(lambda: client.lines("status") == [b"f\t%d\t%d\t1" % (count, count)], "all jobs are given out")
            worker.sock.shutdown(socket.SHUT_WR)
            eventually(lambda: client.lines("status") == [b"f\t%d\t0\t0" % count], "all jobs are queued again")


def test_a_reset_just_before_the_server_ends_a_connection_holds_nobody_up() -> None:
    """The stream driver failed at the end of that connection, and forgot the output of all that came after it."""
    leave = StreamPeer._leave
    bad = socket.socket()

    def reset_and_leave(peer: StreamPeer, transport: asyncio.Transport) -> None:
        bad.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        bad.close()
        leave(peer, transport)

    async def scene() -> None:
        async with Server(driver="stream") as server:
            reader, writer = await asyncio.open_connection(server.host, server.port)
            bad.connect((server.host, server.port))
            with mock.patch.object(StreamPeer, "_leave", reset_and_leave):
                # In one turn of the server: bad bytes of the one, which end it, and a request of the other.
                bad.sendall(b"\0REQ\0\0\0\x63\0\0\0\0")
                writer.write(b"version\n")
                assert (await asyncio.wait_for(reader.readline(), LIMIT)).startswith(b"OK")
                await asyncio.wait_for(asyncio.to_thread(eventually, lambda: len(server.connections()) == 1), LIMIT)
            writer.close()

    failures: list[object] = []
    with asyncio.Runner() as runner:
        runner.get_loop().set_exception_handler(lambda loop, context: failures.append(context))
        runner.run(scene())
    assert failures == []

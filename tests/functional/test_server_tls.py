# SPDX-License-Identifier: BSD-3-Clause
"""TLS connections of both drivers: large and small, slow, broken and many."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from gearfast import Packet, Server
from gearfast.protocol import Command

from .server_tools import DRIVERS, LIMIT, ServerProcess, Wire, eventually

Start = Callable[..., Server]


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def server_side(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.fixture(scope="module")
def client_side(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.fixture(params=DRIVERS)
def start(request: pytest.FixtureRequest, server_side: ssl.SSLContext) -> Iterator[Start]:
    """Starts servers with TLS and the driver of this run."""
    servers: list[Server] = []

    def new(**settings: Any) -> Server:
        servers.append(Server(driver=request.param, ssl=server_side, **settings).start())
        return servers[-1]

    yield new
    for server in servers:
        server.stop()


def connect(server: Server, context: ssl.SSLContext) -> Wire:
    plain = socket.create_connection((server.host, server.port), LIMIT)
    try:
        return Wire(context.wrap_socket(plain, server_hostname="127.0.0.1", suppress_ragged_eofs=False))
    except BaseException:
        plain.close()
        raise


def reset(sock: socket.socket) -> None:
    """Ends a connection by a reset, whatever is under way."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


class Raw:
    """A client whose TLS is in its own hands: what it wants to send is `take()`n, and goes out when `send` is called.

    Until `shake` is called there is nothing but a TCP connection.
    """

    def __init__(self, server: Server, context: ssl.SSLContext) -> None:
        self.sock = socket.create_connection((server.host, server.port), LIMIT)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname="127.0.0.1")

    def __enter__(self) -> Raw:
        return self

    def __exit__(self, *error: object) -> None:
        self.sock.close()

    def hello(self) -> bytes:
        """The first bytes of a handshake."""
        with pytest.raises(ssl.SSLWantReadError):
            self.tls.do_handshake()
        return self.outgoing.read()

    def send(self, data: bytes, piece: int = 1 << 20) -> None:
        for at in range(0, len(data), piece):
            self.sock.sendall(data[at : at + piece])

    def until(self, step: Callable[[], Any], piece: int = 1 << 20) -> Any:
        """Does `step` until it wants no more input; what is to be sent goes out in pieces of `piece` bytes."""
        while True:
            try:
                return step()
            except ssl.SSLWantReadError:
                self.send(self.outgoing.read(), piece)
                data = self.sock.recv(1 << 16)
                if not data:
                    raise EOFError from None
                self.incoming.write(data)

    def sealed(self, data: bytes) -> bytes:
        self.tls.write(data)
        return self.outgoing.read()


def echo_request(data: bytes) -> bytes:
    return Packet(Command.ECHO_REQ, (data,)).encode()


# Bytes.


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
def test_large_workloads_both_ways(start: Start, authority: trustme.CA, version: ssl.TLSVersion) -> None:
    server = start()
    context = ssl.create_default_context()
    context.minimum_version = context.maximum_version = version
    authority.configure_trust(context)
    data = bytes(range(256)) * 40_000  # 10 MB
    with connect(server, context) as client, connect(server, context) as worker:
        worker.can_do(b"f")
        sender = threading.Thread(target=client.send, args=(Command.SUBMIT_JOB, b"f", b"", data))
        sender.start()
        handle, workload = worker.grab()
        sender.join()
        assert workload == data
        back = threading.Thread(target=worker.complete, args=(handle, data[::-1]))
        back.start()
        assert client.packet(Command.JOB_CREATED).args == (handle,)
        assert client.result(handle) == data[::-1]
        back.join()


@pytest.mark.parametrize("joined", [True, False], ids=["joined", "each a record"])
def test_many_requests_at_once(start: Start, client_side: ssl.SSLContext, joined: bool) -> None:
    server = start()
    requests = [echo_request(b"%d" % number) for number in range(5_000)]
    with connect(server, client_side) as client:
        # All of the answers fit the kernel's buffers and what the server keeps.
        for data in [b"".join(requests)] if joined else requests:
            client.sock.sendall(data)
        got = [client.packet(Command.ECHO_RES).args[0] for _ in requests]
    assert got == [b"%d" % number for number in range(5_000)]


@pytest.mark.parametrize("size", [1, 16_372, 16_373, 65_535, 65_536, 200_000])
def test_sizes_around_those_of_records(start: Start, client_side: ssl.SSLContext, size: int) -> None:
    server = start()
    with connect(server, client_side) as client:
        for _ in range(3):
            client.echo(bytes(size))


def test_records_that_come_byte_by_byte(start: Start, client_side: ssl.SSLContext) -> None:
    server = start()
    with Raw(server, client_side) as slow, connect(server, client_side) as other:
        slow.until(slow.tls.do_handshake, piece=1)
        other.echo()
        slow.send(slow.sealed(echo_request(b"one")) + slow.sealed(echo_request(b"two")), piece=1)
        got = b""
        while len(got) < 2 * len(echo_request(b"one")):
            got += slow.until(lambda: slow.tls.read(1 << 16))
        assert got == echo_request(b"one").replace(b"REQ\0\0\0\x10", b"RES\0\0\0\x11") + echo_request(b"two").replace(
            b"REQ\0\0\0\x10", b"RES\0\0\0\x11"
        )


def test_data_behind_the_handshake_in_one_segment(start: Start, client_side: ssl.SSLContext) -> None:
    """The end of the handshake, a whole request, and half of one."""
    server = start()
    with Raw(server, client_side) as client:
        client.send(client.hello())
        while True:
            client.incoming.write(client.sock.recv(1 << 16))
            try:
                client.tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                continue
        flight = client.outgoing.read() + client.sealed(echo_request(b"one"))
        second = client.sealed(echo_request(b"two"))
        client.send(flight + second[:20])
        assert b"one" in client.until(lambda: client.tls.read(1 << 16))
        client.send(second[20:])
        assert b"two" in client.until(lambda: client.tls.read(1 << 16))


# Handshakes that go wrong.


def test_bytes_that_are_no_tls(start: Start, client_side: ssl.SSLContext, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "gearfast.server")
    server = start()
    garbage = [
        b"status\n",
        b"\0REQ\0\0\0\x10" + bytes(4),
        b"\xff" * 100_000,
        b"\x16\x03\1\0\5hello",
        b"\x16\x03\1\xff\xff",
    ]
    with connect(server, client_side) as good:
        for data in garbage:
            with socket.create_connection((server.host, server.port), LIMIT) as bad:
                try:
                    bad.sendall(data)
                    bad.shutdown(socket.SHUT_WR)
                    while bad.recv(1 << 16):
                        pass
                except ConnectionError:
                    pass  # by a reset, since it sent more than was read
            good.echo()
        eventually(lambda: len(failures(caplog)) == len(garbage))
        eventually(lambda: len(server.connections()) == 1)
    assert all("127.0.0.1:" in text for text in failures(caplog))


def failures(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [text for record in caplog.records if "TLS handshake" in (text := record.getMessage())]


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux (epoll): the reactor's own words")
def test_a_plain_client_is_told_from_a_broken_one(
    server_side: ssl.SSLContext, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "gearfast.server")
    with Server(ssl=server_side) as server:
        with Wire((server.host, server.port)) as plain:
            plain.sock.sendall(b"status\n")
            assert plain.at_end()
        with socket.create_connection((server.host, server.port), LIMIT) as broken:
            broken.sendall(b"\x16\x03\1\0\5hello")
            assert broken.recv(1 << 16)[:1] == b"\x15"  # an alert
            assert broken.recv(1) == b""
    first, second = failures(caplog)
    assert "not TLS, but maybe from a client without it" in first
    assert "not TLS" not in second


def test_resets_at_every_stage(start: Start, client_side: ssl.SSLContext) -> None:
    server = start()
    with connect(server, client_side) as good:
        for stage in range(6):
            with Raw(server, client_side) as lost:
                hello = lost.hello()
                lost.send([b"", hello[:3], hello[:100], hello, hello, hello][stage])
                if stage > 3:
                    lost.until(lost.tls.do_handshake)
                    lost.send(lost.outgoing.read())
                    record = lost.sealed(echo_request(bytes(10_000)))
                    lost.send(record[:5_000] if stage == 4 else record)
                reset(lost.sock)
            good.echo()
        eventually(lambda: len(server.connections()) == 1)


def test_a_record_that_was_changed_on_its_way(start: Start, client_side: ssl.SSLContext) -> None:
    server = start()
    with Raw(server, client_side) as bad, connect(server, client_side) as good:
        bad.until(bad.tls.do_handshake)
        bad.send(bad.outgoing.read() + bad.sealed(echo_request(b"sound")))
        assert b"sound" in bad.until(lambda: bad.tls.read(1 << 16))
        record = bytearray(bad.sealed(echo_request(b"changed")))
        record[-1] ^= 1
        bad.send(bytes(record))
        with pytest.raises((ssl.SSLError, EOFError, ConnectionError)):
            bad.until(lambda: bad.tls.read(1 << 16))
        good.echo()
        eventually(lambda: len(server.connections()) == 1)


def test_a_worker_that_is_lost_in_the_middle_of_a_record(start: Start, client_side: ssl.SSLContext) -> None:
    server = start()
    with (
        connect(server, client_side) as client,
        connect(server, client_side) as worker,
        Raw(server, client_side) as lost,
    ):
        handle = client.submit(b"f", b"data")
        lost.until(lost.tls.do_handshake)
        grab = Packet(Command.CAN_DO, (b"f",)).encode() + Packet(Command.GRAB_JOB).encode()
        lost.send(lost.outgoing.read() + lost.sealed(grab))
        assert handle in lost.until(lambda: lost.tls.read(1 << 16))
        lost.send(lost.sealed(Packet(Command.WORK_COMPLETE, (handle, bytes(1_000))).encode())[:500])
        reset(lost.sock)
        worker.can_do(b"f")
        assert worker.grab() == (handle, b"data")
        worker.complete(handle, b"ok")
        assert client.result(handle) == b"ok"


# Ends.


def test_the_end_of_tls_is_said(start: Start, client_side: ssl.SSLContext) -> None:
    """A client that insists on it can tell the server's end from a cut line."""
    server = start()
    with connect(server, client_side) as bad, connect(server, client_side) as idle:
        idle.echo()
        bad.send(Command.ECHO_REQ, b"first")
        bad.sock.sendall(b"\0BAD" + bytes(8))
        assert bad.packet(Command.ECHO_RES).args == (b"first",)
        assert bad.sock.recv(1) == b""
        server.stop()
        assert idle.sock.recv(1) == b""


def test_who_says_its_end_still_gets_the_answers(start: Start, client_side: ssl.SSLContext) -> None:
    server = start()
    with Raw(server, client_side) as client:
        client.until(client.tls.do_handshake)
        requests = client.sealed(echo_request(b"one") + echo_request(b"two"))
        with pytest.raises(ssl.SSLWantReadError):
            client.tls.unwrap()
        client.send(requests + client.outgoing.read())
        got = b""
        try:
            while True:
                got += client.until(lambda: client.tls.read(1 << 16)) or b""
        except (ssl.SSLZeroReturnError, EOFError):
            pass
        assert b"one" in got
        assert b"two" in got
    eventually(lambda: not server.connections())


# Slow readers.


def test_who_never_reads_is_cut_beyond_the_limit(
    start: Start, client_side: ssl.SSLContext, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "gearfast.server")
    server = start(max_packet="1M", max_unsent="2M", high_water="64K")
    with connect(server, client_side) as slow, connect(server, client_side) as worker:
        worker.can_do(b"f")
        handle = slow.submit(b"f")
        assert worker.grab()[0] == handle
        piece = bytes(500_000)
        for _ in range(200):  # 100 MB, more than sockets hold
            worker.send(Command.WORK_DATA, handle, piece)
            worker.echo()
            if len(server.connections()) == 1:
                break
        eventually(lambda: len(server.connections()) == 1)
        worker.echo()
    assert any("more output than it takes" in record.getMessage() for record in caplog.records)


def test_who_takes_nothing_for_too_long_is_cut(
    start: Start, client_side: ssl.SSLContext, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "gearfast.server")
    server = start(high_water="64K", stall_limit=0.3)
    request = echo_request(bytes(1_000_000))
    rest = request
    with connect(server, client_side) as slow, connect(server, client_side) as other:
        slow.sock.setblocking(False)

        def is_cut() -> bool:
            nonlocal rest
            try:
                rest = rest[slow.sock.send(rest) :] or request
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return False
            except OSError:
                return True
            return False

        eventually(is_cut)
        other.echo()
    eventually(lambda: any("takes no" in record.getMessage() for record in caplog.records))


# Many.


def test_500_connections_do_jobs(start: Start, client_side: ssl.SSLContext) -> None:
    server = start()
    wires = [connect(server, client_side) for _ in range(500)]
    clients, workers = wires[::2], wires[1::2]
    for worker in workers:
        worker.send(Command.CAN_DO, b"f")
        worker.send(Command.PRE_SLEEP)
    handles = [client.submit(b"f", b"%d" % number) for number, client in enumerate(clients)]
    todo = dict(zip(handles, range(len(handles)), strict=True))
    for worker in workers:
        worker.packet(Command.NOOP)
        handle, workload = worker.grab()
        assert workload == b"%d" % todo.pop(handle)
        worker.complete(handle, workload[::-1])
    for number, (client, handle) in enumerate(zip(clients, handles, strict=True)):
        assert client.result(handle) == (b"%d" % number)[::-1]
    for wire in wires:
        wire.close()
    eventually(lambda: not server.connections())


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux (/proc, and the reactor's way with them)")
def test_silent_connections_hold_little_memory(
    tmp_path: Path, authority: trustme.CA, client_side: ssl.SSLContext
) -> None:
    cert = tmp_path / "server.pem"
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(cert))

    def join() -> Wire:
        plain = socket.create_connection(server.address, LIMIT)
        return Wire(client_side.wrap_socket(plain, server_hostname="127.0.0.1"))

    def resident() -> int:
        with join() as wire:
            wire.echo()  # it was accepted after all that connected before
            return int(Path(f"/proc/{server.process.pid}/statm").read_text().split()[1]) * 4096

    with ServerProcess("--port", "0", "--tls-cert", str(cert)) as server:
        before = resident()
        silent = [socket.create_connection(server.address, LIMIT) for _ in range(1_000)]
        assert resident() - before < 2 << 20
        for sock in silent:
            sock.close()


# Rights, and somebody else's loop.


@pytest.mark.parametrize(("allowed", "may"), [("all", True), ("none", False)])
def test_rights_hold_over_tls(start: Start, client_side: ssl.SSLContext, allowed: str, may: bool) -> None:
    server = start(admin_writes=allowed)
    with connect(server, client_side) as wire:
        assert (wire.line("create function f") == b"OK") is may
        assert wire.line("version").startswith(b"OK ")


@pytest.mark.asyncio
@pytest.mark.parametrize("driver", DRIVERS)
async def test_in_the_running_loop(driver: str, server_side: ssl.SSLContext, client_side: ssl.SSLContext) -> None:
    async with Server(driver=driver, ssl=server_side) as server:
        reader, writer = await asyncio.open_connection(
            server.host, server.port, ssl=client_side, server_hostname="127.0.0.1"
        )
        writer.write(b"version\n")
        assert (await asyncio.wait_for(reader.readline(), LIMIT)).startswith(b"OK ")
        silent = await asyncio.open_connection(server.host, server.port)
        writer.close()
        silent[1].close()


@pytest.mark.asyncio
async def test_a_silent_connection_is_ended_in_the_running_loop(server_side: ssl.SSLContext) -> None:
    async with Server(ssl=server_side, handshake_limit=0.1) as server:
        reader, writer = await asyncio.open_connection(server.host, server.port)
        assert await asyncio.wait_for(reader.read(), LIMIT) == b""
        writer.close()

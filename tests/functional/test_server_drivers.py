# SPDX-License-Identifier: BSD-3-Clause
"""Both drivers do the same: the ways in, bad input, slow readers, limits and timers."""

from __future__ import annotations

import logging
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from gearfast import Server
from gearfast._codec import Packet
from gearfast.protocol import Command

from .server_tools import DRIVERS, HAS_UNIX, LIMIT, Wire, eventually, socket_path

Start = Callable[..., Server]


@pytest.fixture(params=DRIVERS)
def start(request: pytest.FixtureRequest) -> Iterator[Start]:
    """Starts servers with the driver of this run."""
    servers: list[Server] = []

    def new(*args: Any, **settings: Any) -> Server:
        servers.append(Server(*args, driver=request.param, **settings).start())
        return servers[-1]

    yield new
    for server in servers:
        server.stop()


def connect(server: Server) -> Wire:
    return Wire((server.host, server.port))


def do_a_job(client: Wire, worker: Wire) -> None:
    worker.can_do(b"reverse")
    handle = client.submit(b"reverse", b"abc")
    assert worker.grab() == (handle, b"abc")
    worker.complete(handle, b"cba")
    assert client.result(handle) == b"cba"


# The ways in.


def test_tcp(start: Start) -> None:
    server = start()
    with connect(server) as client, connect(server) as worker:
        do_a_job(client, worker)


def test_ipv6(start: Start, require: Callable[[object, str], None]) -> None:
    require(socket.has_ipv6, "IPv6")
    server = start("::1")
    assert server.url == f"gearman://[::1]:{server.port}"
    with connect(server) as client, connect(server) as worker:
        do_a_job(client, worker)
        # gearmand prints IPv6 addresses as garbage.
        assert any(line.split()[1] == b"::1" for line in client.lines("workers"))


def test_unix(start: Start, require: Callable[[object, str], None]) -> None:
    require(HAS_UNIX, "Unix sockets")
    with socket_path() as path:
        server = start(port=None, unix=path)
        assert server.url == f"unix://{path}"
        with Wire(path) as client, Wire(path) as worker:
            do_a_job(client, worker)
            assert [connection.address for connection in server.connections()] == ["unix", "unix"]


def test_tcp_and_unix_are_one_server(start: Start, require: Callable[[object, str], None]) -> None:
    require(HAS_UNIX, "Unix sockets")
    with socket_path() as path:
        server = start(unix=path)
        with connect(server) as client, Wire(path) as worker:
            do_a_job(client, worker)
        with connect(server) as worker, Wire(path) as client:
            do_a_job(client, worker)


class Certificates:
    """A CA, and contexts of both sides."""

    def __init__(self, folder: Path) -> None:
        self.ca = trustme.CA()
        self.leaf = self.ca.issue_cert("127.0.0.1")
        self.cert = str(folder / "server.pem")
        self.authority = str(folder / "ca.pem")
        self.leaf.private_key_and_cert_chain_pem.write_to_path(self.cert)
        self.ca.cert_pem.write_to_path(self.authority)

    def server_side(self, *, demand: bool = False) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.leaf.configure_cert(context)
        if demand:
            context.verify_mode = ssl.CERT_REQUIRED
            self.ca.configure_trust(context)
        return context

    def client_side(self, *, certified_by: trustme.CA | None = None) -> ssl.SSLContext:
        context = ssl.create_default_context()
        self.ca.configure_trust(context)
        if certified_by is not None:
            certified_by.issue_cert("client.example").configure_cert(context)
        return context


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("tls"))


def connect_tls(server: Server, context: ssl.SSLContext) -> Wire:
    plain = socket.create_connection((server.host, server.port))
    plain.settimeout(LIMIT)
    try:
        return Wire(context.wrap_socket(plain, server_hostname="127.0.0.1"))
    except BaseException:
        plain.close()
        raise


def test_tls(start: Start, certificates: Certificates) -> None:
    server = start(ssl=certificates.server_side())
    assert server.url == f"gearmans://127.0.0.1:{server.port}"
    context = certificates.client_side()
    with connect_tls(server, context) as client, connect_tls(server, context) as worker:
        do_a_job(client, worker)
        data = bytes(range(256)) * 20_000  # about 5 MB: many TLS records, longer than every buffer
        client.echo(data)


def test_tls_and_plain_connections_share_the_jobs(
    start: Start, certificates: Certificates, require: Callable[[object, str], None]
) -> None:
    require(HAS_UNIX, "Unix sockets")
    with socket_path() as path:
        server = start(ssl=certificates.server_side(), unix=path)
        with connect_tls(server, certificates.client_side()) as secret, Wire(path) as plain:
            do_a_job(secret, plain)
        with connect_tls(server, certificates.client_side()) as secret, Wire(path) as plain:
            do_a_job(plain, secret)


def test_client_certificates(start: Start, certificates: Certificates, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "gearfast.server")
    server = start(ssl=certificates.server_side(demand=True))
    with connect_tls(server, certificates.client_side(certified_by=certificates.ca)) as client:
        client.echo()
    for stranger in (None, trustme.CA()):
        # TLS 1.3 tells the client only when it reads.
        context = certificates.client_side(certified_by=stranger)
        with pytest.raises((OSError, EOFError)), connect_tls(server, context) as client:
            client.echo()
    eventually(lambda: not server.connections())
    failures = [record.getMessage() for record in caplog.records if "TLS handshake" in record.getMessage()]
    assert len(failures) == 2
    assert "peer did not return a certificate" in failures[0].lower()


def test_plain_bytes_on_a_tls_port_disturb_nobody(start: Start, certificates: Certificates) -> None:
    server = start(ssl=certificates.server_side())
    with connect(server) as plain:
        plain.sock.sendall(b"status\nstatus\n")
        assert plain.at_end()
    with connect_tls(server, certificates.client_side()) as client:
        client.echo()


def test_a_handshake_that_never_comes_is_ended(start: Start, certificates: Certificates) -> None:
    server = start(ssl=certificates.server_side(), handshake_limit=0.2)
    with connect(server) as silent:
        assert silent.at_end()


def test_stop_during_a_handshake(start: Start, certificates: Certificates) -> None:
    server = start(ssl=certificates.server_side())
    with connect_tls(server, certificates.client_side()) as done, connect(server) as silent, connect(server) as half:
        half.sock.sendall(b"\x16\x03\x01")  # the first bytes of a greeting
        done.echo()
        server.stop()
        assert silent.at_end()
        assert half.at_end()
        assert done.at_end()


def test_tls_by_files(start: Start, certificates: Certificates) -> None:
    server = start(tls_cert=certificates.cert, tls_client_ca=certificates.authority)
    assert server.url.startswith("gearmans://")
    with connect_tls(server, certificates.client_side(certified_by=certificates.ca)) as client:
        client.echo()


# Bytes.


def test_a_packet_byte_by_byte(start: Start) -> None:
    server = start()
    with connect(server) as client:
        for byte in Packet(Command.ECHO_REQ, (b"slow",)).encode():
            client.sock.sendall(bytes([byte]))
        assert client.packet(Command.ECHO_RES).args == (b"slow",)


def test_replies_keep_the_order_of_requests(start: Start) -> None:
    server = start()
    with connect(server) as client:
        many = b"".join(Packet(Command.ECHO_REQ, (b"%d" % n,)).encode() for n in range(5_000))
        sender = threading.Thread(target=client.sock.sendall, args=(many,))
        sender.start()
        got = [client.packet(Command.ECHO_RES).args[0] for _ in range(5_000)]
        sender.join()
        assert got == [b"%d" % n for n in range(5_000)]


def test_large_workloads_go_through(start: Start) -> None:
    server = start()
    data = bytes(range(256)) * 80_000  # 20 MB
    with connect(server) as client, connect(server) as worker:
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


def test_who_closes_its_half_still_gets_the_answers(start: Start) -> None:
    server = start()
    with connect(server) as client:
        client.sock.sendall(b"version\n" + Packet(Command.ECHO_REQ, (b"x",)).encode() + b"getpid\n")
        client.sock.shutdown(socket.SHUT_WR)
        line = client.get()
        assert isinstance(line, bytes)
        assert line.startswith(b"OK ")
        assert client.packet(Command.ECHO_RES).args == (b"x",)
        assert isinstance(client.get(), bytes)
        assert client.at_end()
    eventually(lambda: not server.connections())


@pytest.mark.parametrize(
    "garbage",
    [b"\0BAD" + bytes(8), b"\0REQ\0\0\0\x2b" + bytes(4), b"\0REQ\x80\0\0\0" + bytes(4), b"x" * 20_000],
    ids=["magic", "command", "huge command", "endless line"],
)
def test_garbage_closes_only_its_own_connection(start: Start, garbage: bytes) -> None:
    server = start()
    with connect(server) as good, connect(server) as bad:
        good.echo()
        bad.send(Command.ECHO_REQ, b"first")
        assert bad.packet(Command.ECHO_RES).args == (b"first",)
        bad.sock.sendall(garbage)
        assert bad.at_end()
        good.echo()
    eventually(lambda: not server.connections())


def test_the_answers_before_garbage_arrive(start: Start) -> None:
    """Also when more comes behind it: a connection that is closed with unread input loses what it was sent."""
    server = start()
    for _ in range(20):
        with connect(server) as bad:
            answers = Packet(Command.ECHO_REQ, (bytes(50_000),)).encode() * 4
            bad.sock.sendall(answers + b"\0BAD" + bytes(300_000))
            for _ in range(4):
                bad.packet(Command.ECHO_RES)
            assert bad.at_end()


def test_a_header_that_claims_4_gb_is_refused(start: Start) -> None:
    server = start()
    with connect(server) as bad, connect(server) as good:
        bad.sock.sendall(b"\0REQ\0\0\0\x10\xff\xff\xff\xff")
        assert bad.at_end()
        good.echo()


# Who leaves.


@pytest.mark.parametrize("reset", [False, True])
def test_jobs_of_a_lost_worker_go_to_the_next(start: Start, reset: bool) -> None:
    server = start()
    with connect(server) as client, connect(server) as worker:
        lost = connect(server)
        lost.can_do(b"f")
        handle = client.submit(b"f", b"data")
        assert lost.grab()[0] == handle
        worker.can_do(b"f")
        if reset:
            lost.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        lost.close()
        assert worker.grab() == (handle, b"data")
        worker.complete(handle, b"ok")
        assert client.result(handle) == b"ok"


def test_connections_can_be_cut(start: Start) -> None:
    server = start()
    with connect(server) as one, connect(server) as two, connect(server) as three:
        one.send(Command.SET_CLIENT_ID, b"first")
        for wire in (one, two, three):
            wire.echo()
        assert server.disconnect(lambda connection: connection.id == "first") == 1
        assert one.at_end()
        two.echo()
        assert server.disconnect(server.connections()[0]) == 1
        assert server.disconnect_all() == 1
        assert two.at_end()
        assert three.at_end()
        eventually(lambda: not server.connections())
        assert server.disconnect(12345) == 0


# Slow readers and limits.


@pytest.mark.parametrize("secret", [False, True], ids=["plain", "tls"])
def test_who_does_not_read_is_not_read_from(start: Start, certificates: Certificates, secret: bool) -> None:
    server = start(high_water=65536, ssl=certificates.server_side() if secret else None)

    def join() -> Wire:
        return connect_tls(server, certificates.client_side()) if secret else connect(server)

    with join() as slow, join() as other:
        slow.sock.setblocking(False)
        request = Packet(Command.ECHO_REQ, (bytes(100_000),)).encode()
        sent, rest = 0, b""
        quiet = time.monotonic()
        # Only when nothing has been taken for a while, it is certain that the server has stopped reading.
        while time.monotonic() < quiet + 0.5:
            try:
                taken = slow.sock.send(rest or request)
            except (BlockingIOError, ssl.SSLWantWriteError):
                other.echo()
                continue
            rest = (rest or request)[taken:]
            sent += taken
            quiet = time.monotonic()
            assert sent < 1 << 30, "the server takes everything"
        # What was taken is answered in full as soon as it is read.
        slow.sock.setblocking(True)
        slow.sock.settimeout(LIMIT)
        whole = (sent + len(rest)) // len(request)
        finisher = threading.Thread(target=slow.sock.sendall, args=(rest,))
        finisher.start()
        for _ in range(whole):
            assert len(slow.packet(Command.ECHO_RES).args[0]) == 100_000
        finisher.join()


def test_who_never_reads_is_cut_beyond_the_limit(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "gearfast.server")
    server = start(max_packet="1M", max_unsent="2M", high_water="64K")
    with connect(server) as slow, connect(server) as worker:
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
    cut = r"closing connection \S*127\.0\.0\.1\S*: more output than it takes \([1-9]\d* bytes unsent\)"
    assert any(re.fullmatch(cut, record.getMessage()) for record in caplog.records), caplog.text


def test_who_takes_nothing_for_too_long_is_cut(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "gearfast.server")
    server = start(high_water="64K", stall_limit=0.3)
    request = Packet(Command.ECHO_REQ, (bytes(1_000_000),)).encode()
    rest = request
    with connect(server) as slow, connect(server) as other:
        slow.sock.setblocking(False)

        def is_cut() -> bool:
            nonlocal rest
            try:
                rest = rest[slow.sock.send(rest) :] or request
            except BlockingIOError:
                return False
            except ConnectionError:
                return True
            return False

        eventually(is_cut)
        other.echo()
    cut = r"closing connection \S*127\.0\.0\.1\S*: it takes no output \([1-9]\d* bytes unsent\)"
    eventually(lambda: any(re.fullmatch(cut, record.getMessage()) for record in caplog.records), cut)


def test_more_connections_than_allowed_are_refused(start: Start) -> None:
    server = start(max_connections=3)
    wires = [connect(server) for _ in range(3)]
    for wire in wires:
        wire.echo()
    with connect(server) as refused:
        assert refused.at_end()
    wires.pop().close()
    eventually(lambda: len(server.connections()) == 2)
    wires.append(connect(server))
    wires[-1].echo()
    for wire in wires:
        wire.close()


def test_many_silent_connections_disturb_nobody(start: Start) -> None:
    server = start()
    silent = [socket.create_connection((server.host, server.port)) for _ in range(300)]
    with connect(server) as client, connect(server) as worker:
        do_a_job(client, worker)
    eventually(lambda: len(server.connections()) == 300)
    for sock in silent:
        sock.close()
    eventually(lambda: not server.connections())


# Timers.


def test_a_job_of_a_worker_that_takes_too_long_goes_to_the_next(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "gearfast.server")
    server = start()
    with connect(server) as client, connect(server) as slow, connect(server) as quick:
        slow.send(Command.CAN_DO_TIMEOUT, b"f", b"1000")
        slow.echo()
        handle = client.submit(b"f", unique=b"u")
        assert slow.grab()[0] == handle
        quick.can_do(b"f")
        began = time.monotonic()
        assert quick.grab()[0] == handle
        assert time.monotonic() - began > 0.5
        quick.complete(handle, b"done")
        assert client.result(handle) == b"done"
    messages = [record.getMessage() for record in caplog.records]
    assert f"Worker timeout reached on job, requeueing: {handle.decode()} u" in messages


def test_a_job_for_a_later_time_wakes_its_worker(start: Start) -> None:
    server = start()
    with connect(server) as client, connect(server) as worker:
        worker.can_do(b"f")
        due = int(time.time()) + 1
        client.send(Command.SUBMIT_JOB_EPOCH, b"f", b"", b"%d" % due, b"later")
        handle = client.packet(Command.JOB_CREATED).args[0]
        assert worker.grab() == (handle, b"later")
        assert time.time() >= due
        worker.complete(handle)


# The log.


def test_a_protocol_failure_is_logged_with_its_peer(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "gearfast.server")
    server = start()
    with connect(server) as bad:
        bad.sock.sendall(b"\0BAD" + bytes(8))
        assert bad.at_end()
    eventually(lambda: any("protocol failure" in record.getMessage() for record in caplog.records))
    assert "127.0.0.1" in caplog.text


# The administration's rights.


@pytest.mark.parametrize(
    ("allowed", "tcp", "unix"), [("all", True, True), ("unix", False, True), ("none", False, False)]
)
def test_admin_commands_that_change_things(
    start: Start, allowed: str, tcp: bool, unix: bool, require: Callable[[object, str], None]
) -> None:
    require(HAS_UNIX, "Unix sockets")
    with socket_path() as path:
        server = start(unix=path, admin_writes=allowed)
        for wire, may in ((connect(server), tcp), (Wire(path), unix)):
            with wire:
                assert (wire.line("create function f") == b"OK") is may
                assert wire.line("version").startswith(b"OK ")

# SPDX-License-Identifier: BSD-3-Clause
"""`gearfast server` as a process: what it says, signals, shutdown, reload."""

from __future__ import annotations

import json
import os
import socket
import ssl
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme

from gearfast._codec import Packet
from gearfast.protocol import Command

from .server_tools import DRIVERS, HAS_UNIX, LIMIT, ServerProcess, Wire, eventually, socket_path

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")

Start = Callable[..., ServerProcess]


@pytest.fixture(params=DRIVERS)
def start(request: pytest.FixtureRequest) -> Start:
    """Starts server processes with the driver of this run; use them as context managers."""

    def new(*flags: str, **more: object) -> ServerProcess:
        return ServerProcess("--driver", request.param, *flags, **more)  # type: ignore[arg-type]

    return new


def is_closed(address: tuple[str, int]) -> bool:
    try:
        socket.create_connection(address, LIMIT).close()
    except ConnectionRefusedError:
        return True
    return False


# What it says.


def test_the_line_that_others_wait_for(start: Start) -> None:
    with start() as server:
        host, port = server.address
        assert f"Listening on {host}:{port}" in server.lines
        with server.connect() as client:
            client.echo()
        server.signal("SIGTERM")
        assert server.wait() == 0
        assert "Shutdown complete" in server.log


def test_several_addresses(start: Start, require: Callable[[object, str], None]) -> None:
    require(HAS_UNIX, "Unix sockets")
    require(socket.has_ipv6, "IPv6")
    with socket_path() as path:
        flags = ("--listen", "127.0.0.1:0", "--listen", "[::1]:0", "--unix", path, "--unix-mode", "600")
        with start(*flags, listeners=3) as server:
            assert server.labels[2] == path
            assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
            six = int(server.labels[1].rpartition(":")[2])
            with Wire(server.address) as worker, Wire(("::1", six)) as client, Wire(path) as third:
                worker.can_do(b"f")
                handle = client.submit(b"f", b"1")
                assert worker.grab() == (handle, b"1")
                worker.complete(handle, b"2")
                assert client.result(handle) == b"2"
                third.echo()
            server.signal("SIGTERM")
            assert server.wait() == 0
            assert not os.path.exists(path)
            assert "WARNING" not in server.log


def test_an_open_port_without_tls_is_warned_of_loudly(start: Start) -> None:
    with start("--listen", "0.0.0.0:0") as server:
        server.wait_line("WARNING .*0.0.0.0:.*without TLS")


def test_log_as_json(start: Start) -> None:
    with start("--log-format", "json", listeners=0) as server:
        server.wait_line("Listening on")
        server.signal("SIGTERM")
        assert server.wait() == 0
        lines = [json.loads(line) for line in server.lines if line != "<end of log>"]
    assert [line["level"] for line in lines] == ["INFO"] * len(lines)
    assert lines[-1]["message"] == "Shutdown complete"


def test_a_taken_port_is_named(start: Start) -> None:
    with start() as first:
        port = first.address[1]
        with start("--port", str(port), listeners=0) as second:
            assert second.wait() == 3
            assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in second.log


def test_the_descriptor_limit_is_raised(start: Start, require: Callable[[object, str], None]) -> None:
    limits = Path("/proc/self/limits")
    require(limits.exists(), "/proc")
    with start() as server:
        text = Path(f"/proc/{server.process.pid}/limits").read_text()
        (line,) = [line for line in text.splitlines() if line.startswith("Max open files")]
        assert line.split()[3] == line.split()[4]


def test_handles_never_repeat_not_even_after_a_crash(start: Start) -> None:
    handles = []
    for _ in range(2):
        with start() as server, server.connect() as client:
            handles += [client.submit(b"f", background=True) for _ in range(100)]
            server.signal("SIGKILL")
            server.wait()
    assert len(set(handles)) == 200
    assert all(len(handle) < 64 and handle.startswith(b"H:") for handle in handles)


# Ends.


def start_job(server: ServerProcess) -> tuple[Wire, Wire, bytes]:
    """A client whose job a worker has."""
    client, worker = server.connect(), server.connect()
    worker.can_do(b"f")
    handle = client.submit(b"f", b"data")
    assert worker.grab() == (handle, b"data")
    return client, worker, handle


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_running_jobs_finish_and_nobody_new_comes_in(start: Start, name: str) -> None:
    with start() as server:
        client, worker, handle = start_job(server)
        with client, worker:
            server.signal(name)
            server.wait_line("1 running jobs")
            assert is_closed(server.address)
            worker.echo()
            worker.complete(handle, b"done")
            assert client.result(handle) == b"done"
            assert client.at_end()
        assert server.wait() == 0
        assert "lost" not in server.log


def test_queued_jobs_are_not_begun_any_more(start: Start) -> None:
    """A worker that always asks for the next job does not keep the server up, nor lose one."""
    with start() as server:
        client, worker, handle = start_job(server)
        with client, worker, server.connect() as asleep:
            asleep.can_do(b"f")
            asleep.send(Command.PRE_SLEEP)
            asleep.echo()
            for _ in range(3):
                client.submit(b"f", background=True)
            asleep.packet(Command.NOOP)
            server.signal("SIGTERM")
            server.wait_line("1 running jobs")
            for other in (asleep, worker):
                other.send(Command.GRAB_JOB)
                other.packet(Command.NO_JOB)
                other.send(Command.PRE_SLEEP)
                other.echo()
            client.submit(b"f", background=True)
            worker.echo()
            asleep.echo()
            worker.complete(handle, b"done")
            assert client.result(handle) == b"done"
        assert server.wait() == 0
        server.wait_line("4 jobs were in memory only and are lost")


def test_the_limit_ends_it_and_the_lost_jobs_are_counted(start: Start) -> None:
    with start("--shutdown-limit", "0.05") as server:
        client, worker, _ = start_job(server)
        with client, worker:
            client.submit(b"g", background=True)
            server.signal("SIGTERM")
            assert server.wait() == 0
            assert client.at_end()
        server.wait_line("WARNING 2 jobs were in memory only and are lost")


def test_what_nobody_wants_any_more_is_not_lost(start: Start) -> None:
    """Jobs that were cancelled, queued and running, and one whose client has left."""
    with start("--shutdown-limit", "0.05") as server:
        client, worker, handle = start_job(server)
        with client, worker, server.connect() as other, server.connect() as leaves:
            queued = other.submit(b"g", background=True)
            leaves.submit(b"g")
            leaves.close()
            eventually(lambda: sum(line.endswith(b"\t1\t0") for line in worker.lines("show jobs")) == 1)
            for job in (handle, queued):
                assert other.line(f"cancel job {job.decode()}") == b"OK"
            server.signal("SIGTERM")
            assert server.wait() == 0
        server.wait_line("Shutdown complete")
        assert "lost" not in server.log


def test_a_second_signal_ends_it_at_once(start: Start) -> None:
    with start("--shutdown-limit", "3600") as server:
        client, worker, _ = start_job(server)
        with client, worker:
            server.signal("SIGTERM")
            server.wait_line("1 running jobs")
            server.signal("SIGTERM")
            assert server.wait() == 0
        server.wait_line("1 jobs were in memory only")


def test_sigusr1_drains_the_queue(start: Start) -> None:
    with start() as server:
        client, worker, handle = start_job(server)
        with client, worker:
            server.signal("SIGUSR1")
            server.wait_line("Graceful shutdown")
            assert is_closed(server.address)
            # As with gearmand the connections go on, submissions included.
            second = client.submit(b"f", b"more")
            worker.complete(handle, b"1")
            assert client.result(handle) == b"1"
            assert worker.grab() == (second, b"more")
            assert server.process.poll() is None
            worker.complete(second, b"2")
            assert client.result(second) == b"2"
            assert client.at_end()
        assert server.wait() == 0
        assert "lost" not in server.log


def test_sigterm_shortens_a_drain(start: Start) -> None:
    with start() as server, server.connect() as client:
        client.submit(b"f", background=True)
        server.signal("SIGUSR1")
        server.wait_line("Graceful shutdown")
        server.signal("SIGTERM")
        assert server.wait() == 0
        server.wait_line("1 jobs were in memory only")


def test_text_command_shutdown(start: Start) -> None:
    with start() as server, server.connect() as client:
        client.submit(b"f", background=True)
        assert client.line("shutdown") == b"OK"
        assert client.at_end()
        assert server.wait() == 0
        server.wait_line("Text command: shutdown$")


def test_text_command_shutdown_graceful(start: Start) -> None:
    with start() as server, server.connect() as client, server.connect() as worker:
        handle = client.submit(b"f")
        assert client.line("shutdown graceful") == b"OK"
        server.wait_line("Graceful shutdown")
        worker.can_do(b"f")
        assert worker.grab()[0] == handle
        worker.complete(handle, b"x")
        assert client.result(handle) == b"x"
        assert server.wait() == 0


@pytest.mark.parametrize("flags", [("--admin-writes", "none"), ("--admin-writes", "unix"), ("--listen", "0.0.0.0:0")])
def test_who_may_not_shut_it_down(start: Start, flags: tuple[str, ...]) -> None:
    more = () if "--listen" in flags else ("--port", "0")
    with start(*flags, *more) as server, server.connect() as client:
        assert client.line("shutdown").startswith(b"ERR ")
        client.echo()


def test_a_client_that_does_not_read_does_not_delay_the_end(start: Start) -> None:
    with start() as server:
        client, worker, handle = start_job(server)
        with client, worker:
            for _ in range(40):
                worker.send(Command.WORK_DATA, handle, bytes(1_000_000))
            worker.complete(handle)
            worker.echo()
            server.signal("SIGTERM")
            assert server.wait() == 0


# SIGHUP.


def test_reload_of_the_log_level(start: Start, tmp_path: Path) -> None:
    config = tmp_path / "gearfast.toml"
    config.write_text('log_level = "info"\n')
    with start("--port", "0", "--config", str(config)) as server:
        config.write_text('log_level = "debug"\nbacklog = 5\n')
        server.signal("SIGHUP")
        server.wait_line("INFO Configuration reloaded")
        server.wait_line("WARNING Only a restart brings into force: backlog")
        config.write_text("prot = 1\n")
        server.signal("SIGHUP")
        server.wait_line(r"ERROR Configuration not reloaded: .*did you mean port\?")
        with server.connect() as client:
            client.echo()


def test_sighup_without_a_file_changes_nothing(start: Start) -> None:
    with start() as server, server.connect() as client:
        server.signal("SIGHUP")
        server.wait_line("Configuration reloaded")
        client.echo()
        assert "restart" not in server.log


def connect_tls(address: tuple[str, int], authority: trustme.CA, identity: trustme.CA | None = None) -> Wire:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    if identity is not None:
        identity.issue_cert("client.example").configure_cert(context)
    plain = socket.create_connection(address)
    plain.settimeout(LIMIT)
    try:
        return Wire(context.wrap_socket(plain, server_hostname="127.0.0.1"))
    except BaseException:
        plain.close()
        raise


def test_reload_of_certificates(start: Start, tmp_path: Path) -> None:
    old, new = trustme.CA(), trustme.CA()
    cert = tmp_path / "cert.pem"
    old.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(cert))
    with start("--port", "0", "--tls-cert", str(cert)) as server, connect_tls(server.address, old) as before:
        before.echo()
        new.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(cert))
        server.signal("SIGHUP")
        server.wait_line("Configuration reloaded")
        with connect_tls(server.address, new) as after:
            after.echo()
        before.echo()
        with pytest.raises(ssl.SSLError):
            connect_tls(server.address, old)
        cert.write_text("no certificate")
        server.signal("SIGHUP")
        server.wait_line("ERROR Configuration not reloaded: tls_cert: ")
        with connect_tls(server.address, new) as after:
            after.echo()


def test_tls_with_client_certificates(start: Start, tmp_path: Path) -> None:
    authority = trustme.CA()
    cert, ca = tmp_path / "cert.pem", tmp_path / "ca.pem"
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(cert))
    authority.cert_pem.write_to_path(str(ca))
    with start("--port", "0", "--tls-cert", str(cert), "--tls-client-ca", str(ca)) as server:
        with connect_tls(server.address, authority, authority) as known:
            known.echo()
        with pytest.raises((OSError, EOFError)), connect_tls(server.address, authority) as stranger:
            stranger.echo()
        server.wait_line("TLS handshake with 127.0.0.1:.* failed")


# Unix sockets.


def test_a_socket_left_by_a_crash_is_replaced(start: Start, require: Callable[[object, str], None]) -> None:
    require(HAS_UNIX, "Unix sockets")
    with socket_path() as path:
        with start("--unix", path) as first:
            first.signal("SIGKILL")
            first.wait()
            assert os.path.exists(path)
        with start("--unix", path) as second:
            assert second.labels == [path]
            with start("--unix", path, listeners=0) as third:
                assert third.wait() == 3
                assert "Address already in use" in third.log
            with Wire(path) as client:
                client.echo()


def test_output_before_the_end_is_not_lost(start: Start) -> None:
    """The answer of a pipelined shutdown and of what came before it both arrive."""
    with start() as server, server.connect() as client:
        client.sock.sendall(Packet(Command.ECHO_REQ, (bytes(3_000_000),)).encode() + b"shutdown\n")
        assert len(client.packet(Command.ECHO_RES).args[0]) == 3_000_000
        assert client.get() == b"OK"
        assert client.at_end()
        assert server.wait() == 0


def test_ten_thousand_silent_connections(start: Start, require: Callable[[object, str], None]) -> None:
    resource = pytest.importorskip("resource")
    statm = Path("/proc/self/statm")
    require(statm.exists(), "/proc")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    require(hard >= 10_500, "10,500 file descriptors (ulimit -Hn)")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    silent: list[socket.socket] = []
    try:
        with start() as server, server.connect() as client, server.connect() as worker:
            worker.can_do(b"f")

            def memory() -> int:
                text = Path(f"/proc/{server.process.pid}/statm").read_text()
                return int(text.split()[1]) * resource.getpagesize()

            before = memory()
            for _ in range(10_000):
                silent.append(socket.socket())
                silent[-1].connect(server.address)
            eventually(lambda: len(client.lines("workers")) == 10_002)
            handle = client.submit(b"f", b"1")
            assert worker.grab() == (handle, b"1")
            worker.complete(handle, b"2")
            assert client.result(handle) == b"2"
            assert (memory() - before) / 10_000 < 20_000
            for sock in silent:
                sock.close()
            eventually(lambda: len(client.lines("workers")) == 2)
            server.signal("SIGTERM")
            assert server.wait() == 0
    finally:
        for sock in silent:
            sock.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

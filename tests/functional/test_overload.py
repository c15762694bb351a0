# SPDX-License-Identifier: BSD-3-Clause
"""Too many connections, too few descriptors, silence, and logs that cannot be written: the server goes on."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gearfast import Server
from gearfast._codec import Packet
from gearfast.protocol import Command

from .server_tools import DRIVERS, LIMIT, ServerProcess, Wire, eventually
from .servers import listening_port

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX limits and pipes")
if sys.platform == "linux":
    import resource

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux (prlimit, /proc)")
drivers = pytest.mark.parametrize("driver", DRIVERS)


def open_files(server: ServerProcess) -> int:
    return len(os.listdir(f"/proc/{server.process.pid}/fd"))


def allow_files(server: ServerProcess, number: int) -> None:
    """Lets the server open so many more descriptors than it has."""
    pid = server.process.pid
    hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)[1]
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (open_files(server) + number, hard))


def speaks(server: ServerProcess) -> Wire | None:
    """A connection that was answered; None if it was turned away."""
    wire = server.connect()
    try:
        wire.echo()
    except (EOFError, ConnectionError):
        wire.close()
        return None
    return wire


@contextlib.contextmanager
def silent(address: tuple[str, int], number: int) -> Iterator[list[socket.socket]]:
    socks = [socket.create_connection(address) for _ in range(number)]
    yield socks
    for sock in socks:
        sock.close()


# Descriptors.


@linux_only
@drivers
def test_who_has_the_last_descriptor_keeps_it_while_nobody_else_comes(driver: str) -> None:
    with ServerProcess("--driver", driver) as server, server.connect() as old:
        old.echo()
        allow_files(server, 1)
        with server.connect() as last:
            old.echo()
            old.echo()  # it was accepted by now, and has not said anything
            last.echo()


@linux_only
@drivers
def test_without_descriptors_the_others_go_on_and_it_recovers(driver: str) -> None:
    with ServerProcess("--driver", driver) as server, server.connect() as old:
        old.echo()
        allow_files(server, 10)
        wires: list[Wire] = []
        turned_away = 0
        while turned_away < 30:
            wire = speaks(server)
            old.echo()
            if wire is None:
                turned_away += 1
            else:
                wires.append(wire)
        assert len(wires) <= 10
        server.wait_line("out of file descriptors")
        lines = [line for line in server.lines if "out of file descriptors" in line]
        assert lines[0].endswith("WARNING out of file descriptors: no new connections for a while")
        # A line each ten seconds at most, however often it happens.
        assert len(lines) <= 3, lines
        for wire in wires:
            wire.echo()
            wire.close()
        recovered = eventually(lambda: speaks(server))
        recovered.echo()
        recovered.close()


@linux_only
@drivers
def test_silent_connections_give_their_descriptors_to_those_who_speak(driver: str) -> None:
    with ServerProcess("--driver", driver) as server, server.connect() as old:
        old.echo()
        allow_files(server, 10)
        with silent(server.address, 50):
            for _ in range(5):
                with eventually(lambda: speaks(server)) as wire:
                    old.echo()
                    wire.echo()
        server.wait_line("never said anything")
        lines = [line for line in server.lines if "never said anything" in line]
        assert 1 <= len(lines) <= 3, lines
        assert "127.0.0.1" in lines[0]


# Silence.


@drivers
def test_who_never_says_anything_is_closed_after_the_limit(driver: str, caplog: pytest.LogCaptureFixture) -> None:
    with Server(driver=driver, silent_limit=0.3) as server:
        address = (server.host, server.port)
        with Wire(address) as early:
            early.echo()
            with silent(address, 50) as socks:
                for sock in socks:
                    sock.settimeout(LIMIT)
                    assert sock.recv(1) == b""
            early.echo()
            eventually(lambda: len(server.connections()) == 1)
    lines = [record.getMessage() for record in caplog.records if "never said anything" in record.getMessage()]
    assert len(lines) == 1
    assert "127.0.0.1" in lines[0]


@drivers
def test_by_default_silence_is_no_reason(driver: str) -> None:
    with Server(driver=driver) as server, silent((server.host, server.port), 10) as socks:
        eventually(lambda: len(server.connections()) == 10)
        with Wire((server.host, server.port)) as other:
            end = time.monotonic() + 1.5  # the sweeps, if there were any, come once a second
            while time.monotonic() < end:
                other.echo()
        wire = Wire(socks[0])
        wire.echo()


@drivers
def test_silent_connections_make_room_for_others(driver: str) -> None:
    with Server(driver=driver, max_connections=5) as server:
        address = (server.host, server.port)
        with silent(address, 5) as socks:
            eventually(lambda: len(server.connections()) == 5)
            wires = [Wire(address) for _ in range(5)]
            for wire in wires:
                wire.echo()
            for sock in socks:
                sock.settimeout(LIMIT)
                assert sock.recv(1) == b""
            with Wire(address) as refused:
                assert refused.at_end()
            for wire in wires:
                wire.echo()
                wire.close()


@drivers
def test_refused_connections_do_not_fill_the_log(driver: str, caplog: pytest.LogCaptureFixture) -> None:
    with Server(driver=driver, max_connections=1) as server:
        address = (server.host, server.port)
        with Wire(address) as only:
            only.echo()
            for _ in range(300):
                with Wire(address) as refused:
                    assert refused.at_end()
            only.echo()
    lines = [record for record in caplog.records if "too many connections" in record.getMessage()]
    assert 1 <= len(lines) <= 3


# Queued bytes.


@drivers
def test_above_the_ceiling_submissions_are_refused_and_everything_else_goes_on(driver: str) -> None:
    with Server(driver=driver, max_queued="1M") as server, Wire((server.host, server.port)) as client:
        data = bytes(100_000)
        taken = 0
        while True:
            client.send(Command.SUBMIT_JOB_BG, b"f", b"", data)
            got = client.get()
            assert isinstance(got, Packet)
            if got.command == Command.ERROR:
                break
            taken += 1
        assert got.args[0] == b"QUEUE_ERROR"
        assert 5 <= taken <= 10
        client.echo()
        with Wire((server.host, server.port)) as worker:
            worker.can_do(b"f")
            handle, workload = worker.grab()
            assert workload == data
            worker.complete(handle)
            worker.echo()
        assert client.submit(b"f", data, background=True)


# Storms.


def do_jobs(address: tuple[str, int], function: bytes, number: int, done: list[int]) -> None:
    with Wire(address) as client, Wire(address) as worker:
        worker.can_do(function)
        for n in range(number):
            handle = client.submit(function, b"%d" % n)
            assert worker.grab() == (handle, b"%d" % n)
            worker.complete(handle, b"done")
            assert client.result(handle) == b"done"
        done.append(number)


def storm(address: tuple[str, int], stop: threading.Event, connected: list[int]) -> None:
    """Connections that come and go as fast as one thread can: silent ones, some that ask, some that are reset."""
    number = 0
    while not stop.is_set():
        number += 1
        with socket.create_connection(address) as sock:
            if number % 3 == 0:
                sock.sendall(b"version\n")
            if number % 2:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    connected.append(number)


@linux_only
@drivers
def test_jobs_are_done_amid_a_storm_of_connections(driver: str) -> None:
    with ServerProcess("--driver", driver) as server:
        before = open_files(server)
        stop = threading.Event()
        done: list[int] = []
        connected: list[int] = []
        storms = [threading.Thread(target=storm, args=(server.address, stop, connected)) for _ in range(3)]
        pairs = [threading.Thread(target=do_jobs, args=(server.address, b"f%d" % n, 50, done)) for n in range(4)]
        for thread in (*storms, *pairs):
            thread.start()
        for thread in pairs:
            thread.join()
        stop.set()
        for thread in storms:
            thread.join()
        assert done == [50] * 4
        assert sum(connected) > 100
        eventually(lambda: open_files(server) == before, "all descriptors are given back")
        assert "WARNING" not in server.log


# The log.


def provoke(server: ServerProcess) -> None:
    """Something that is worth a line."""
    with Wire(server.address) as bad:
        bad.sock.sendall(b"\0BAD" + bytes(8))
        assert bad.at_end()


@linux_only
@drivers
def test_a_log_that_cannot_grow_is_gone_on_with_when_it_can(driver: str, tmp_path: Path) -> None:
    path = tmp_path / "server.log"
    path.write_text("x" * 100_000 + "\n")
    with ServerProcess("--driver", driver, "--log-file", str(path), "--port", "0", listeners=0) as server:
        found = eventually(lambda: re.search(r"Listening on 127.0.0.1:(\d+)\n", path.read_text()))
        server.labels = [f"127.0.0.1:{found[1]}"]
        pid = server.process.pid
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (path.stat().st_size + 10, resource.RLIM_INFINITY))
        for _ in range(3):
            provoke(server)
        server.wait_line("cannot write the log .*server.log: File too large")
        with server.connect() as wire:
            wire.echo()
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        eventually(lambda: path.read_text().count("protocol failure") == 3, "the lines that waited are written")
        server.signal("SIGTERM")
        assert server.wait() == 0
        assert sum("cannot write the log" in line for line in server.lines) == 1
    assert path.read_text().endswith("INFO Shutdown complete\n")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_for_the_log_harms_no_job() -> None:
    with ServerProcess("--log-file", "/dev/full", listeners=0) as server:
        server.wait_line("cannot write the log /dev/full: No space left on device")
        server.signal("SIGTERM")
        assert server.wait() == 0


def run_server(*flags: str, stderr: int | None) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "gearfast", "server", "--port", "0", *flags]
    closing = ["sh", "-c", 'exec "$@" 2>&-', "sh", *command]
    return subprocess.Popen(closing if stderr is None else command, stderr=stderr)


@linux_only
@drivers
def test_a_standard_error_that_nobody_reads_stops_nothing(driver: str) -> None:
    reading, writing = os.pipe()
    with contextlib.suppress(BlockingIOError):
        os.set_blocking(writing, False)
        while True:
            os.write(writing, b"x" * 4096)  # full from the start
    os.set_blocking(writing, True)
    process = run_server("--driver", driver, stderr=writing)
    try:
        port = eventually(lambda: listening_port(process.pid))
        with Wire(("127.0.0.1", port)) as wire:
            for _ in range(500):
                with Wire(("127.0.0.1", port)) as bad:
                    bad.sock.sendall(b"\0BAD" + bytes(8))
                    assert bad.at_end()
                wire.echo()
        process.terminate()
        assert process.wait(LIMIT) == 0
    finally:
        process.kill()
        process.wait()
        os.close(reading)
        os.close(writing)


@linux_only
@drivers
def test_without_standard_error_no_peer_gets_the_log(driver: str) -> None:
    process = run_server("--driver", driver, stderr=None)
    try:
        port = eventually(lambda: listening_port(process.pid))
        with Wire(("127.0.0.1", port)) as first, Wire(("127.0.0.1", port)) as bad:
            bad.sock.sendall(b"\0BAD" + bytes(8))
            assert bad.at_end()
            first.send(Command.ECHO_REQ, b"mine")
            assert first.packet(Command.ECHO_RES).args == (b"mine",)
        process.terminate()
        assert process.wait(LIMIT) == 0
    finally:
        process.kill()
        process.wait()


def test_a_log_file_is_opened_again_on_sighup(tmp_path: Path) -> None:
    path = tmp_path / "server.log"
    with ServerProcess("--log-file", str(path), listeners=0) as server:
        eventually(lambda: path.exists() and "Listening on" in path.read_text())
        path.rename(tmp_path / "old.log")
        server.signal("SIGHUP")
        eventually(lambda: path.exists() and "Configuration reloaded" in path.read_text())
        server.signal("SIGTERM")
        assert server.wait() == 0
    assert "Shutdown complete" in path.read_text()


def test_a_log_file_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    with ServerProcess("--log-file", str(tmp_path), listeners=0) as server:
        assert server.wait() == 3
        assert f"cannot open the log file {tmp_path}: Is a directory" in server.log

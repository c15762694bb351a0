# SPDX-License-Identifier: BSD-3-Clause
"""What the tests of the server share: a raw connection, a server process, and waiting with a deadline."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from gearfast._codec import Decoder, Packet
from gearfast.protocol import Command

T = TypeVar("T")

SLOW = float(os.environ.get("GEARFAST_TEST_SLOW", "1"))
LIMIT = 20.0 * SLOW
"""Seconds after which a test gives up waiting."""
DRIVERS = ("reactor", "stream") if sys.platform == "linux" else ("stream",)
HAS_UNIX = hasattr(socket, "AF_UNIX")


def eventually(look: Callable[[], T], what: str = "") -> T:
    """The first true value of `look()`; there is no event to wait for, so it looks again and again."""
    end = time.monotonic() + LIMIT
    pause = 0.001
    while True:
        value = look()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"did not come to pass in {LIMIT:g} s: {what or look}")
        time.sleep(pause)
        pause = min(pause * 2, 0.05)


@contextlib.contextmanager
def socket_path() -> Iterator[str]:
    """A path for a Unix socket; pytest's own folders may be too long for one."""
    with tempfile.TemporaryDirectory(prefix="gf") as folder:
        yield os.path.join(folder, "s")


class Wire:
    """A blocking connection that speaks packets and text lines."""

    def __init__(self, address: tuple[str, int] | str | socket.socket) -> None:
        if isinstance(address, socket.socket):
            self.sock = address
        elif isinstance(address, str):
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.connect(address)
        else:
            self.sock = socket.create_connection(address)
        self.sock.settimeout(LIMIT)
        self._decoder = Decoder()
        self._got: list[Packet | bytes] = []

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        self.sock.close()

    def send(self, command: Command, *args: bytes) -> None:
        self.sock.sendall(Packet(command, args).encode())

    def get(self) -> Packet | bytes:
        """The next packet or line; EOFError at the end."""
        while not self._got:
            data = self.sock.recv(1 << 20)
            if not data:
                raise EOFError
            self._got += self._decoder.receive(data)
        return self._got.pop(0)

    def packet(self, command: Command) -> Packet:
        """The next packet, which must be of this command."""
        got = self.get()
        assert isinstance(got, Packet), got
        assert got.command == command, got
        return got

    def line(self, text: str) -> bytes:
        """The first line of the answer to a text command."""
        self.sock.sendall(text.encode() + b"\n")
        got = self.get()
        assert isinstance(got, bytes), got
        return got

    def lines(self, text: str) -> list[bytes]:
        """The answer to a text command that ends in a dot."""
        lines = [self.line(text)]
        while lines[-1] != b".":
            got = self.get()
            assert isinstance(got, bytes), got
            lines.append(got)
        return lines[:-1]

    def at_end(self) -> bool:
        """Waits for the end of the connection; False if data comes instead."""
        try:
            self.get()
        except (EOFError, ConnectionError):
            return True
        return False

    # A client's and a worker's usual steps.

    def echo(self, data: bytes = b"hello") -> None:
        self.send(Command.ECHO_REQ, data)
        assert self.packet(Command.ECHO_RES).args == (data,)

    def submit(self, function: bytes, data: bytes = b"", unique: bytes = b"", *, background: bool = False) -> bytes:
        command = Command.SUBMIT_JOB_BG if background else Command.SUBMIT_JOB
        self.send(command, function, unique, data)
        return self.packet(Command.JOB_CREATED).args[0]

    def can_do(self, function: bytes) -> None:
        """Registers and waits until the server has it."""
        self.send(Command.CAN_DO, function)
        self.echo()

    def grab(self) -> tuple[bytes, bytes]:
        """Handle and workload of the next job, sleeping until there is one."""
        while True:
            self.send(Command.GRAB_JOB)
            got = self.get()
            assert isinstance(got, Packet), got
            if got.command == Command.JOB_ASSIGN:
                return got.args[0], got.args[2]
            assert got.command == Command.NO_JOB, got
            self.send(Command.PRE_SLEEP)
            self.packet(Command.NOOP)

    def complete(self, handle: bytes, result: bytes = b"") -> None:
        self.send(Command.WORK_COMPLETE, handle, result)

    def result(self, handle: bytes) -> bytes:
        got = self.packet(Command.WORK_COMPLETE)
        assert got.args[0] == handle, got
        return got.args[1]


class ServerProcess:
    """`gearfast server` as a process. `labels`: what it said that it listens on. `wrap`: a command to run it with."""

    def __init__(
        self,
        *flags: str,
        listeners: int = 1,
        environ: dict[str, str] | None = None,
        wrap: tuple[str, ...] = (),
    ) -> None:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("GEARFAST_")}
        command = [*wrap, sys.executable, "-W", "error", "-m", "gearfast", "server", *flags]
        if not any(flag.startswith(("--port", "--unix", "--listen")) for flag in flags):
            command += ["--port", "0"]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=clean | (environ or {}))
        self.lines: list[str] = []
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.labels = [self.wait_line(r"Listening on (\S+)", nth)[1] for nth in range(listeners)]

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._changed:
                self.lines.append(line.rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self.lines.append("<end of log>")
            self._changed.notify_all()

    def wait_line(self, pattern: str, nth: int = 0) -> re.Match[str]:
        """The nth log line with a match of `pattern`."""

        def find() -> re.Match[str] | None:
            found = [match for line in self.lines if (match := re.search(pattern, line))]
            return found[nth] if len(found) > nth else None

        with self._changed:
            self._changed.wait_for(lambda: find() or self.lines[-1:] == ["<end of log>"], LIMIT)
            match = find()
        assert match is not None, f"no line {pattern!r} in {self.lines}"
        return match

    @property
    def log(self) -> str:
        return "\n".join(self.lines)

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = self.labels[0].rpartition(":")
        return host.strip("[]"), int(port)

    def connect(self) -> Wire:
        return Wire(self.address)

    def signal(self, name: str) -> None:
        """With SIGSTOP all its threads stand still when this returns."""
        self.process.send_signal(getattr(signal, name))
        if name == "SIGSTOP":
            os.waitid(os.P_PID, self.process.pid, os.WSTOPPED)

    def wait(self) -> int:
        """Exit status, once it has ended and all its lines are here."""
        status = self.process.wait(LIMIT)
        self._reader.join(LIMIT)
        return status

    def __enter__(self) -> ServerProcess:
        return self

    def __exit__(self, *error: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(LIMIT)
        self._reader.join(LIMIT)
        assert self.process.stderr is not None
        self.process.stderr.close()


def wait_for_restore(wire: Wire) -> None:
    """Returns once all jobs of the server's store are back: until then it does not say that a job is unknown."""
    wire.send(Command.GET_STATUS, b"H:nobody:1")
    wire.packet(Command.STATUS_RES)


def take_all(wire: Wire, function: bytes, *, finish: bool) -> list[bytes]:
    """Workloads of all jobs of a function, in the order in which a worker gets them. `finish`: they are done, too."""
    taken = []
    grab = Packet(Command.GRAB_JOB, ()).encode()
    wire.send(Command.CAN_DO, function)
    wire.sock.sendall(grab)
    while True:
        got = wire.get()
        assert not isinstance(got, bytes)
        if got.command != Command.JOB_ASSIGN:
            return taken
        taken.append(got.args[2])
        # In one piece: the second of two small ones would wait for the acknowledgement of the first.
        end = Packet(Command.WORK_COMPLETE, (got.args[0], b"")).encode() if finish else b""
        wire.sock.sendall(end + grab)

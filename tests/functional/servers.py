# SPDX-License-Identifier: BSD-3-Clause
"""Real job servers in processes of their own, on free loopback ports: Debian's gearmand and gearfast.

No test waits by sleeping: a server is ready when its port is known and answers, and `wait_until` looks at what it is
waiting for until a deadline.
"""

from __future__ import annotations

import collections
import contextlib
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, NamedTuple, TypeVar

import gearfast

HOST = "127.0.0.1"
# Only a hang ever takes so long; a loaded machine does not.
PATIENCE = 30.0 * float(os.environ.get("GEARFAST_TEST_SLOW", "1"))
_PAUSE = 0.004
_LISTENING = re.compile(r"Listening on .*:(\d+)\s*$")

T = TypeVar("T")


class ServerFailed(AssertionError):
    """A job server did not come up, or died under a test. Its last log lines are in the text."""


class FunctionCount(NamedTuple):
    """One line of `status`."""

    total: int
    running: int
    workers: int


def wait_until(look: Callable[[], T], what: str, seconds: float = PATIENCE) -> T:
    """Calls `look` until it gives something true, and returns that. Raises AssertionError after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {what}")
        time.sleep(_PAUSE)
    return found


def clean_environment() -> dict[str, str]:
    """This process's environment without the variables that add or set up job servers.

    Python in child processes finds the gearfast that is tested here, installed or not.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("GEARMAN", "GEARFAST_"))}
    return {**kept, "PYTHONPATH": str(Path(gearfast.__file__).parents[1])}


class LineReader:
    """Reads lines of a pipe in a thread, so that waiting for one has a deadline."""

    def __init__(self, pipe: IO[bytes], keep: int = 10_000) -> None:
        self._lines: collections.deque[str] = collections.deque(maxlen=keep)
        self._changed = threading.Condition()
        self._ended = False
        self._thread = threading.Thread(target=self._read, args=(pipe,), daemon=True)
        self._thread.start()

    def _read(self, pipe: IO[bytes]) -> None:
        with pipe:
            for line in pipe:
                with self._changed:
                    self._lines.append(line.decode("utf-8", "replace").rstrip("\n"))
                    self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def take(self, seconds: float = PATIENCE) -> str | None:
        """The next line; None at the end of the pipe or after `seconds`."""
        with self._changed:
            self._changed.wait_for(lambda: self._lines or self._ended, seconds)
            return self._lines.popleft() if self._lines else None

    def __contains__(self, text: str) -> bool:
        """Whether a line that was read and not taken holds this text."""
        with self._changed:
            return any(text in line for line in self._lines)

    def tail(self) -> str:
        """What was read and not taken."""
        with self._changed:
            return "\n".join(list(self._lines)[-30:])

    def join(self) -> None:
        self._thread.join(PATIENCE)


class ServerProcess:
    """A running job server. `kind`: "gearmand" or "gearfast"."""

    host = HOST

    def __init__(self, kind: str, command: list[str], environment: dict[str, str] | None = None) -> None:
        self.kind = kind
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**clean_environment(), **(environment or {})},
        )
        assert self.process.stderr is not None
        self.log = LineReader(self.process.stderr)
        self.pid = self.process.pid
        try:
            self.port = self._announced_port() if kind == "gearfast" else self._bound_port()
            self.admin("version")
        except BaseException:
            self.stop()
            raise

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    def _announced_port(self) -> int:
        said = []
        while (line := self.log.take()) is not None:
            said.append(line)
            if match := _LISTENING.search(line):
                return int(match[1])
        raise ServerFailed(f"gearfast did not listen, exit status {self.process.poll()}\n" + "\n".join(said))

    def _bound_port(self) -> int:
        # gearmand binds port 0 but does not tell which port it got.
        def look() -> int:
            if self.process.poll() is not None:
                raise ServerFailed(f"gearmand ended with {self.process.poll()}\n{self.log.tail()}")
            return listening_port(self.pid)

        return wait_until(look, "gearmand listens")

    def connect(self, seconds: float = PATIENCE) -> socket.socket:
        return socket.create_connection((self.host, self.port), seconds)

    def admin(self, command: str) -> str:
        """Sends one text command; returns the reply, the lines of a list up to and including its dot."""
        with self.connect() as connection, connection.makefile("rb") as replies:
            connection.sendall(command.encode() + b"\r\n")
            first = replies.readline()
            lines = [first]
            if command.startswith(("status", "prioritystatus", "workers", "show")) and not first.startswith(b"ERR"):
                while lines[-1] not in (b".\n", b""):
                    lines.append(replies.readline())
        if not lines[-1]:
            raise ServerFailed(f"{self.kind} closed the connection at {command!r}\n{self.log.tail()}")
        return b"".join(lines).decode("utf-8", "backslashreplace")

    def function(self, name: str) -> FunctionCount:
        """The line of `status` for one function; all zero if there is none."""
        for line in self.admin("status").splitlines():
            found, *counts = line.split("\t")
            if found == name and len(counts) == 3:
                return FunctionCount(*map(int, counts))
        return FunctionCount(0, 0, 0)

    def waiting(self, unique: str) -> int:
        """How many clients wait for the job with this unique, by GET_STATUS_UNIQUE."""
        body = unique.encode()
        with self.connect() as connection, connection.makefile("rb") as replies:
            connection.sendall(struct.pack(">4sII", b"\0REQ", 41, len(body)) + body)
            size = struct.unpack(">4sII", replies.read(12))[2]
            return int(replies.read(size).split(b"\0")[5])

    def wait_for_clients(self, unique: str, number: int) -> None:
        """Waits until that many clients wait for the job with this unique."""
        wait_until(lambda: self.waiting(unique) == number, f"{number} clients wait for {unique}")

    def wait_for(
        self, name: str, *, total: int | None = None, running: int | None = None, workers: int | None = None
    ) -> None:
        """Waits until the function `name` has these counts."""
        wanted = FunctionCount(*(-1 if n is None else n for n in (total, running, workers)))

        def look() -> bool:
            counts = self.function(name)
            return all(want in (-1, have) for want, have in zip(wanted, counts, strict=True))

        wait_until(look, f"{name} has (total, running, workers) {wanted}, -1 for any")

    def resident(self) -> int:
        """Bytes of memory that the server holds now."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        match = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert match is not None
        return int(match[1]) * 1024

    def check(self) -> None:
        """Raises ServerFailed if the server is no longer there, does not answer, or has logged an exception."""
        if self.process.poll() is not None:
            raise ServerFailed(f"{self.kind} ended with {self.process.returncode}\n{self.log.tail()}")
        self.admin("version")
        if "Traceback" in self.log:
            raise ServerFailed(f"{self.kind} logged an exception\n{self.log.tail()}")

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(PATIENCE)

    def stop(self) -> None:
        """Ends the server whatever it is doing, and reaps it."""
        # The first signal lets running jobs finish, the next one does not; two at once can arrive as one.
        for _ in range(5):
            if self.process.poll() is not None:
                break
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(0.3)
        self.kill()
        self.log.join()


def listening_port(pid: int) -> int:
    """The TCP port that a process listens on, 0 if none yet."""
    inodes = set()
    with contextlib.suppress(OSError):
        for entry in os.scandir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                inodes.add(os.readlink(entry.path))
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == "0A" and f"socket:[{fields[9]}]" in inodes:
            return int(fields[1].rsplit(":", 1)[1], 16)
    return 0


def start_gearmand(*options: str) -> ServerProcess:
    """Debian's gearmand with its defaults and `options`."""
    # Debian puts it where the PATH of plain users does not look.
    program = shutil.which("gearmand", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin")
    return ServerProcess("gearmand", [program or "gearmand", "-L", HOST, "-p", "0", "--log-file", "stderr", *options])


def start_gearfast(*options: str, environment: dict[str, str] | None = None) -> ServerProcess:
    """gearfast's job server with its defaults and `options`."""
    command = [sys.executable, "-m", "gearfast", "server", "--listen", HOST, "--port", "0", *options]
    return ServerProcess("gearfast", command, environment)


START: dict[str, Callable[..., ServerProcess]] = {"gearmand": start_gearmand, "gearfast": start_gearfast}


@contextlib.contextmanager
def running(kind: str, *options: str) -> Iterator[ServerProcess]:
    """A job server that is stopped at the end."""
    server = START[kind](*options)
    try:
        yield server
    finally:
        server.stop()

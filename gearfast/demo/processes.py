# SPDX-License-Identifier: BSD-3-Clause
"""Child processes, with their output in log files, none of which outlives the demo."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType

__all__ = ["Child", "ChildError", "Family", "free_port", "wait_until"]

_LISTENING: Final = re.compile(rb"Listening on (\S+:\d+)")


class ChildError(Exception):
    """A child process did not start, or ended when it should not. The text has its last lines."""


class Child:
    """A process. `name`: for people and its log file; `address`: "host:port" once it said where it listens."""

    def __init__(self, name: str, command: list[str], log: Path) -> None:
        self.name = name
        self.address = ""
        self._last: deque[bytes] = deque(maxlen=8)
        self._heard = threading.Event()
        # Its own session, so that Ctrl-C in a terminal reaches only the demo, which then ends all in order.
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=os.name == "posix",
        )
        self._reader = threading.Thread(target=self._read, args=(log,), name=f"log of {name}", daemon=True)
        self._reader.start()

    def _read(self, log: Path) -> None:
        assert self.process.stderr is not None
        with log.open("ab") as out:
            for line in self.process.stderr:
                out.write(line)
                out.flush()
                self._last.append(line)
                found = _LISTENING.search(line)
                if found and not self.address:
                    self.address = found[1].decode()
                    self._heard.set()
        self._heard.set()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    @property
    def running(self) -> bool:
        """It has not ended."""
        return self.process.poll() is None

    def listening(self, timeout: float = 20.0) -> str:
        """Waits until it says where it listens; returns "host:port". Raises ChildError if it ends or says nothing."""
        self._heard.wait(timeout)
        if not self.address:
            raise self.error("did not say where it listens")
        return self.address

    def error(self, what: str) -> ChildError:
        """The exception for trouble with this process."""
        words = b"".join(self._last).decode("utf-8", "replace").rstrip()
        return ChildError(f"{self.name} {what}" + (f"; its last lines:\n{words}" if words else ""))

    def freeze(self) -> bool:
        """Stops it where it is (SIGSTOP) and waits until it stands. False where the system cannot do that."""
        if not (hasattr(signal, "SIGSTOP") and hasattr(os, "waitid")):
            return False
        os.kill(self.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        return True

    def thaw(self) -> None:
        """Lets it go on after freeze()."""
        os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """Ends it at once: SIGKILL, which it cannot see coming."""
        self.process.kill()
        self.close()

    def close(self) -> None:
        """Waits for its end and for the last line of its log."""
        self.process.wait()
        self._reader.join()
        for pipe in (self.process.stdin, self.process.stderr):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()


class Family:
    """All children of the demo. Leaving the context ends every one: SIGTERM, and SIGKILL for those who stay."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self.children: list[Child] = []
        logs.mkdir(parents=True, exist_ok=True)

    def start(self, name: str, command: list[str]) -> Child:
        """Starts a command under a name. Raises ChildError if it cannot be started."""
        try:
            child = Child(name, command, self._logs / f"{name.replace(' ', '-')}.log")
        except OSError as exc:
            raise ChildError(f"{name} cannot be started: {exc}") from exc
        self.children.append(child)
        return child

    def python(self, name: str, module: str, *arguments: str) -> Child:
        """Starts `python -m MODULE ARGUMENTS` with this interpreter."""
        return self.start(name, [sys.executable, "-m", module, *arguments])

    def job_server(self, name: str, *options: str, port: str = "0") -> Child:
        """Starts gearfast's own job server; port "0": any that is free."""
        arguments = ("server", "--listen", "127.0.0.1", "--port", port, *options)
        return self.python(name, "gearfast.demo.leash", *arguments)

    def check(self, *expected_dead: Child) -> None:
        """Raises ChildError if a child has ended that is not among `expected_dead`."""
        for child in self.children:
            if child not in expected_dead and not child.running:
                child.close()
                raise child.error(f"ended by itself (exit status {child.process.returncode})")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self, patience: float = 3.0) -> None:
        """Ends all; at most `patience` seconds of waiting for the polite way."""
        # Workers were started after the servers; ending them first spares the logs their complaints.
        running = [child for child in reversed(self.children) if child.running]
        for child in running:
            child.process.terminate()
        deadline = time.monotonic() + patience
        for child in running:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.process.wait(max(0.0, deadline - time.monotonic()))
            if child.running:
                child.process.kill()
        for child in self.children:
            child.close()


def free_port() -> int:
    """A TCP port of the loopback interface that was free a moment ago, for servers that cannot choose one."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(condition: Callable[[], bool], what: str, *, timeout: float = 20.0, pause: float = 0.01) -> None:
    """Asks again until the condition holds. Raises ChildError(what) if it does not in `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise ChildError(what)
        time.sleep(pause)

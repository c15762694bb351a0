# SPDX-License-Identifier: BSD-3-Clause
"""Clients and workers of other people, each a process of its own that is driven by lines of JSON.

All client scripts take the same requests, so that one test runs with each of them: PHP's extension, Perl's
Gearman::Client and gearfast's own. `submit` runs a list of jobs at once and tells what came of each (`Outcome`).

All worker scripts offer the same functions, behind a prefix that keeps tests on a shared server apart:

- `echo` and `reverse` return the workload, `reverse` backwards;
- `act` does what its workload says: a JSON list of actions, `["status", 1, 4]`, `["data", BASE64]`,
  `["warning", BASE64]`, `["note", TEXT]` (an event for the test), `["complete", BASE64]`,
  `["repeat", BASE64, TIMES]` (completes with that many copies), `["fail"]`, `["exception", BASE64]`;
- `hold` tells the test that it has started and then takes its actions, one at a time, from the test.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import hashlib
import itertools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from ..servers import PATIENCE, LineReader, ServerProcess, clean_environment

_FOLDER = Path(__file__).parent
_CLIENTS: dict[str, list[str]] = {
    "php": ["php", str(_FOLDER / "client.php")],
    "perl": ["perl", str(_FOLDER / "client.pl")],
    "gearfast": [sys.executable, str(_FOLDER / "client_gearfast.py"), "sync"],
    "gearfast-aio": [sys.executable, str(_FOLDER / "client_gearfast.py"), "aio"],
}
_WORKERS: dict[str, list[str]] = {
    "php": ["php", str(_FOLDER / "worker.php")],
    "perl": ["perl", str(_FOLDER / "worker.pl")],
    "gearfast": [sys.executable, str(_FOLDER / "worker_gearfast.py"), "sync"],
    "gearfast-aio": [sys.executable, str(_FOLDER / "worker_gearfast.py"), "aio"],
}
# Client and worker: each of them with one of another kind.
PAIRS = [
    ("php", "perl"),
    ("perl", "php"),
    ("gearfast", "php"),
    ("php", "gearfast"),
    ("gearfast-aio", "perl"),
    ("perl", "gearfast-aio"),
]
PAIR_IDS = ["-".join(pair) for pair in PAIRS]
EVERY_BYTE = bytes(range(256))
_numbers = itertools.count(1)


def unused(stem: str = "f") -> str:
    """A name that no other test of this run uses on a shared server."""
    return f"{stem}{os.getpid()}x{next(_numbers)}"


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


@dataclasses.dataclass(frozen=True)
class Request:
    """One job. The workload is `workload` repeated `times` times, so that large ones need no large line."""

    function: str
    workload: bytes = b""
    times: int = 1
    unique: str | None = None
    priority: str = "normal"
    background: bool = False

    def line(self) -> dict[str, Any]:
        return {**dataclasses.asdict(self), "workload": b64(self.workload)}


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a client saw of a job. `state`: complete, fail, exception, created (background), none."""

    state: str
    result: bytes = b""
    length: int = 0
    md5: str = ""
    data: tuple[bytes, ...] = ()
    warnings: tuple[bytes, ...] = ()
    statuses: tuple[tuple[int, int], ...] = ()
    exception: bytes = b""
    handle: str = ""

    @classmethod
    def of(cls, reply: dict[str, Any]) -> Outcome:
        return cls(
            state=reply["state"],
            result=base64.b64decode(reply["result"]),
            length=reply["length"],
            md5=reply["md5"],
            data=tuple(map(base64.b64decode, reply["data"])),
            warnings=tuple(map(base64.b64decode, reply["warnings"])),
            statuses=tuple((n, d) for n, d in reply["statuses"]),
            exception=base64.b64decode(reply["exception"]),
            handle=reply["handle"],
        )

    def is_bytes(self, expected: bytes) -> bool:
        """Whether the job completed with these bytes, however many they are."""
        return self.state == "complete" and self.md5 == hashlib.md5(expected).hexdigest()


class Script:
    """A child process that reads and writes lines of JSON."""

    def __init__(self, command: list[str], *arguments: object) -> None:
        self.process = subprocess.Popen(
            [*command, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=clean_environment(),
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self._stdin = self.process.stdin
        self._lines = LineReader(self.process.stdout)
        self.errors = LineReader(self.process.stderr)

    def send(self, message: object) -> None:
        self._stdin.write(json.dumps(message).encode() + b"\n")
        self._stdin.flush()

    def receive(self) -> Any:
        """The next message. AssertionError with the child's complaints if none comes."""
        line = self._lines.take()
        if line is None:
            raise AssertionError(f"{self.process.args!r} is silent ({self.process.poll()}): {self.errors.tail()}")
        return json.loads(line)

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def kill(self) -> None:
        """SIGKILL: the process gets no chance to say goodbye."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(PATIENCE)

    def stop(self) -> None:
        self.kill()
        with contextlib.suppress(BrokenPipeError):
            self._stdin.close()
        self._lines.join()
        self.errors.join()


class Client(Script):
    """A client process of one language, connected to one job server."""

    def __init__(self, language: str, server: ServerProcess) -> None:
        super().__init__(_CLIENTS[language], server.host, server.port)
        self.language = language

    def begin(self, *requests: Request, exceptions: bool = True) -> None:
        """Submits jobs; `outcomes` waits for what becomes of them."""
        self.send({"op": "submit", "requests": [r.line() for r in requests], "exceptions": exceptions})

    def outcomes(self) -> list[Outcome]:
        reply = self.receive()
        assert "outcomes" in reply, reply
        return [Outcome.of(outcome) for outcome in reply["outcomes"]]

    def submit(self, *requests: Request, exceptions: bool = True) -> list[Outcome]:
        self.begin(*requests, exceptions=exceptions)
        return self.outcomes()

    def call(self, op: str, request: Request | None = None, **more: object) -> Any:
        self.send({"op": op, **(request.line() if request else {}), **more})
        reply = self.receive()
        assert "unknown request" not in str(reply.get("error")), f"{self.language} cannot {op}"
        return reply

    def run(self, request: Request) -> bytes:
        """The library's simplest call: one job, its result."""
        return base64.b64decode(self.call("run", request)["result"])

    def background(self, request: Request) -> str:
        """Submits in the background; returns the handle."""
        reply = self.call("background", request)
        assert reply.get("handle"), reply
        return str(reply["handle"])

    def status(self, handle: str) -> tuple[int, ...]:
        """Known, running, numerator, denominator."""
        return tuple(self.call("status", handle=handle)["status"])


class Worker(Script):
    """A worker process of one language with the functions `echo`, `reverse`, `act` and `hold`."""

    def __init__(self, language: str, server: ServerProcess, prefix: str, timeout: int = 0) -> None:
        super().__init__(_WORKERS[language], server.host, server.port, prefix, timeout)
        self.language = language

    def event(self, name: str) -> dict[str, Any]:
        """The next event with this name; others before it are dropped."""
        while True:
            event: dict[str, Any] = self.receive()
            if event["event"] == name:
                return event

    def poll(self) -> dict[str, Any] | None:
        """The next event of a worker that has ended, None after the last."""
        line = self._lines.take()
        return None if line is None else json.loads(line)

    def order(self, *actions: list[Any]) -> None:
        """What the job in `hold` does next."""
        for action in actions:
            self.send(action)


def completing(result: bytes) -> list[Any]:
    return ["complete", b64(result)]


def acting(*actions: list[Any]) -> bytes:
    """A workload for `act`."""
    return json.dumps(actions).encode()


def command(name: str, server: ServerProcess, *arguments: str, data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Runs `gearman` or `gearadmin` against a job server to its end."""
    return subprocess.run(
        [name, "-h", server.host, "-p", str(server.port), *arguments],
        input=data,
        capture_output=True,
        timeout=PATIENCE,
        env=clean_environment(),
    )


class CommandWorker:
    """`gearman -w`: a worker whose functions are a shell command."""

    def __init__(self, server: ServerProcess, *arguments: str) -> None:
        self.process = subprocess.Popen(
            ["gearman", "-h", server.host, "-p", str(server.port), "-w", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=clean_environment(),
            start_new_session=True,
        )
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self.output = LineReader(self.process.stdout)
        self.errors = LineReader(self.process.stderr)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(PATIENCE)

    def stop(self) -> None:
        # With what its command has started, which a killed worker leaves behind.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(PATIENCE)
        self.output.join()
        self.errors.join()

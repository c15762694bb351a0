# SPDX-License-Identifier: BSD-3-Clause
"""One chaos run: a server, those who use it, those who misuse it, and somebody who kills them.

Rounds of chaos alternate with drains, in which nothing new is asked for: then every job must come to its end by itself.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from .check import Totals, check
from .link import PLAIN, History, Route, Setup

ROOT = Path(__file__).resolve().parents[2]
DRAIN_LIMIT = 45.0 * float(os.environ.get("GEARFAST_TEST_SLOW", "1"))
ROUND = 10.0
KILLABLE = ("client", "worker", "library client", "library worker")
MODULES = {name: [f"tests.chaos.{name}"] for name in ("client", "worker", "proxy", "pests")} | {
    "library client": ["tests.chaos.library"],
    "library worker": ["tests.chaos.library"],
}
TROUBLE = re.compile(r"Traceback|Exception ignored|Fatal Python|Segmentation|assert", re.IGNORECASE)


class Outcome(NamedTuple):
    """What came of a run. `faults`: empty if all is proven."""

    faults: list[str]
    totals: Totals
    kills: int
    stops: int
    seconds: float
    memory: tuple[int, int]
    settings: list[str]


class Member:
    """A process that takes part."""

    def __init__(self, kind: str, name: str, setup: Setup) -> None:
        self.kind = kind
        self.name = name
        self.idle = False
        self.resume_at = 0.0
        more = [kind.split()[1]] if kind.startswith("library") else []
        self.errors = Path(setup.history).with_suffix(".err")
        self.letter = ""
        with self.errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *MODULES[kind], setup.encode(), *more],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=ROOT,
            )
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline()) if kind == "proxy" else 0
        os.set_blocking(self.process.stdout.fileno(), False)

    def order(self, letter: str) -> None:
        if letter == self.letter:
            return  # a client tells once a drain that it is idle: to forget that would be to wait for ever
        self.letter = letter
        self.idle = False
        assert self.process.stdin is not None and self.process.stdout is not None
        with contextlib.suppress(OSError):
            self.process.stdout.read()
            self.process.stdin.write(letter.encode())
            self.process.stdin.flush()

    def is_idle(self) -> bool:
        """A client has told that all is answered since the last order."""
        assert self.process.stdout is not None
        self.idle = self.idle or bool(self.process.stdout.read())
        return self.idle

    def end(self) -> None:
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


class Server:
    """The job server under test, its addresses and its log."""

    def __init__(
        self, folder: Path, python: str, driver: str, options: list[str], certificate: str | None, most_files: int
    ) -> None:
        self.log_path = folder / "server.log"
        self.unix = str(folder / "s")
        listen = ["--listen", "gearman://127.0.0.1:0", "--unix", self.unix]
        if certificate:
            listen += ["--listen", "gearmans://127.0.0.1:0", "--tls-cert", certificate]
        command = [python, "-m", "gearfast", "server", "--driver", driver, *listen, *options]
        if driver == "hosted":
            command = [python, "-m", "tests.chaos.host", "--unix", self.unix, *options]
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=log, cwd=ROOT)
        deadline = time.monotonic() + 20
        while len(ports := re.findall(r"Listening on 127.0.0.1:(\d+)", self.log())) < 1 + bool(certificate):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"the server did not start:\n{self.log()}")
            time.sleep(0.01)
        self.port = int(ports[0])
        if most_files:
            resource.prlimit(self.process.pid, resource.RLIMIT_NOFILE, (most_files, most_files))
        self.tls_port = int(ports[1]) if certificate else 0

    def log(self) -> str:
        return self.log_path.read_text("utf-8", "replace")

    def ask(self, command: str) -> list[str]:
        """The lines of a text command that answers with a list. Raises OSError."""
        with socket.create_connection(("127.0.0.1", self.port), 10) as sock, sock.makefile("rb") as replies:
            sock.sendall(f"{command}\n".encode())
            lines = []
            while (line := replies.readline()) != b".\n":
                if not line:
                    raise OSError("no whole answer")
                lines.append(line.decode("latin-1").rstrip("\n"))
            return lines

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def memory(self) -> int:
        """Resident bytes."""
        pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGESIZE")


class Run:
    """A chaos run in `folder`, all choices from `seed`. `python` runs the server."""

    def __init__(
        self, folder: Path, seed: int, driver: str, clients: int, workers: int, python: str = sys.executable
    ) -> None:
        self.folder = folder
        self.seed = seed
        self.driver = driver
        self.choices = choices = random.Random(seed)
        self.options = [
            *("--order", choices.choice(("priority", "priority", "function", "function-rotate"))),
            *("--wakeup", choices.choice(("0", "0", "1", "2"))),
            *("--job-retries", choices.choice(("5", "5", "-1", "2"))),
            *("--high-water", choices.choice(("1M", "64K"))),
            *("--stall-limit", "2"),
            *(["--max-connections", "150"] if choices.random() < 0.2 else []),
            *(["--max-packet", "1M", "--max-unsent", "1M"] if choices.random() < 0.3 else []),
            *(["--exceptions"] if choices.random() < 0.3 else []),
        ]
        self.certificate = self.make_certificate() if choices.random() < 0.5 and driver != "hosted" else None
        most_files = 130 if choices.random() < 0.25 else 0
        self.faults: list[str] = []
        self.kills = self.stops = self.count = 0
        self.members: list[Member] = []
        self.server = Server(folder, python, driver, self.options, self.certificate, most_files)
        self.settings = ["--driver", driver, *self.options, *(["TLS"] if self.certificate else [])]
        self.settings += [f"{most_files} files"] if most_files else []
        self.tool = shutil.which("gearman")
        self.shots: list[tuple[str, subprocess.Popen[bytes]]] = []
        self.history = History(str(folder / "tool.jsonl"))
        tcp = Route("tcp", "127.0.0.1", self.server.port)
        proxy = self.spawn("proxy", "p0", [tcp])
        self.sound = [tcp, Route("unix", self.server.unix, 0)]
        if self.certificate:
            self.sound.append(Route("tls", "127.0.0.1", self.server.tls_port))
        self.routes = [*self.sound, Route("proxy", "127.0.0.1", proxy.port), Route("proxy", "127.0.0.1", proxy.port)]
        self.spawn("pests", "a0", self.sound)
        for number in range(clients):
            self.spawn("client", f"c{number}.0", self.routes)
        for number in range(workers):
            self.spawn("worker", f"w{number}.0", self.routes)
        self.spawn("library client", "l0.0", self.routes)
        self.spawn("library worker", "m0.0", self.routes)

    def make_certificate(self) -> str | None:
        try:
            import trustme
        except ImportError:
            return None
        path = str(self.folder / "cert.pem")
        trustme.CA().issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(path)
        return path

    def spawn(self, kind: str, name: str, routes: list[Route]) -> Member:
        member = Member(kind, name, Setup(self.seed, name, str(self.folder / f"{name}.jsonl"), routes))
        self.members.append(member)
        return member

    # Chaos

    def respawn(self, member: Member) -> None:
        """The next one of its kind takes its place."""
        member.process.wait()
        member.end()
        self.members.remove(member)
        base, generation = member.name.split(".")
        self.spawn(member.kind, f"{base}.{int(generation) + 1}", self.routes)

    def strike(self) -> None:
        if self.choices.random() < 0.08:
            # The server itself is stopped: for it, time jumps.
            self.server.process.send_signal(signal.SIGSTOP)
            time.sleep(self.choices.uniform(0.05, 1.5))
            self.server.process.send_signal(signal.SIGCONT)
        elif self.choices.random() < 0.05 and self.driver != "hosted":
            self.server.process.send_signal(signal.SIGHUP)
        victim = self.choices.choice([member for member in self.members if member.kind in KILLABLE])
        if self.choices.random() < 0.6:
            self.kills += 1
            victim.process.send_signal(signal.SIGKILL)
            self.respawn(victim)
        elif not victim.resume_at:
            self.stops += 1
            victim.process.send_signal(signal.SIGSTOP)
            victim.resume_at = time.monotonic() + self.choices.uniform(0.05, 2.5)

    def resume(self, *, everybody: bool) -> None:
        for member in self.members:
            if member.resume_at and (everybody or member.resume_at < time.monotonic()):
                member.process.send_signal(signal.SIGCONT)
                member.resume_at = 0.0

    def shoot(self) -> None:
        """Debian's command line client asks for one job."""
        if self.tool is None:
            return
        self.count += 1
        request = f"tool-{self.count}"
        function = self.choices.choice(PLAIN)
        self.history.write("ask", request, -1, True, function, "")
        command = [self.tool, "-h", "127.0.0.1", "-p", str(self.server.port), "-f", function, f"{request}:ok:"]
        self.shots.append((request, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)))

    def collect(self, *, everything: bool) -> None:
        for request, process in list(self.shots):
            if process.poll() is None and not everything:
                continue
            try:
                out, _ = process.communicate(timeout=DRAIN_LIMIT)
            except subprocess.TimeoutExpired:
                self.faults.append(f"the gearman tool got no answer to {request}")
                process.kill()
                out, _ = process.communicate()
            if process.returncode == 0 and out:  # it also exits so when it was refused
                self.history.write("result", request, "complete", out.decode("latin-1")[:200])
            self.shots.remove((request, process))

    def rage(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        strike = time.monotonic() + 0.5
        for member in self.members:
            member.order("g")
        while time.monotonic() < end and self.alive():
            self.resume(everybody=False)
            self.collect(everything=False)
            if time.monotonic() > strike:
                self.strike()
                if self.choices.random() < 0.15:
                    self.shoot()
                strike = time.monotonic() + self.choices.uniform(0.05, 0.7)
            time.sleep(0.02)
        self.resume(everybody=True)

    def alive(self) -> bool:
        if self.server.process.poll() is not None:
            fault = f"the server ended with {self.server.process.returncode}"
            if fault not in self.faults:
                self.faults.append(fault)
            return False
        for member in self.members:
            if member.process.poll() is not None:
                self.faults.append(f"{member.name} ended: {member.errors.read_text()[-2000:]}")
                self.members.remove(member)
                return False
        return True

    # Rest

    def waits_for(self) -> Iterator[str]:
        """What is not yet at rest in a drain."""
        for member in self.members:
            if member.kind.endswith("client") and not member.is_idle():
                yield f"{member.name} waits for answers"
        yield from (f"job {line}" for line in self.server.ask("show jobs"))

    def drain(self) -> None:
        for member in self.members:
            member.order("d")
        deadline = time.monotonic() + DRAIN_LIMIT
        left = [""]
        while self.alive() and time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                left = list(self.waits_for())
                if not left:
                    break
            time.sleep(0.1)
        else:
            state = self.server.ask("status") + self.server.ask("workers") if self.alive() else []
            self.faults.append(f"not at rest {DRAIN_LIMIT:g} s after the last request: {left[:8]}\n" + "\n".join(state))
            return
        self.collect(everything=True)
        for line in self.server.ask("status"):
            if line.split("\t")[1:3] != ["0", "0"]:
                self.faults.append(f"status of an idle server: {line!r}")

    def dismiss(self) -> None:
        """All leave; the server must then be as at its beginning."""
        for member in self.members:
            member.order("q")
            member.end()
        for member in self.members:
            try:
                member.process.wait(20)
            except subprocess.TimeoutExpired:
                self.faults.append(f"{member.name} does not end")
                member.process.kill()
                member.process.wait()
            if said := member.errors.read_text():
                self.faults.append(f"{member.name} said: {said[-2000:]}")

    def settle(self, descriptors: int) -> None:
        deadline = time.monotonic() + 10
        while len(self.server.ask("workers")) > 1 or self.server.descriptors() > descriptors:
            if time.monotonic() > deadline:
                self.faults.append(f"left over: {self.server.ask('workers')}, {self.server.descriptors()} descriptors")
                break
            time.sleep(0.05)
        for line in self.server.ask("status"):
            if line.split("\t")[1:] != ["0", "0", "0"]:
                self.faults.append(f"status of an empty server: {line!r}")
        if jobs := self.server.ask("show jobs"):
            self.faults.append(f"jobs left over: {jobs}")

    def stop_server(self) -> None:
        if self.server.process.poll() is None:
            self.server.process.send_signal(signal.SIGTERM)
            try:
                if self.server.process.wait(15) != 0:
                    self.faults.append(f"exit status {self.server.process.returncode}")
            except subprocess.TimeoutExpired:
                self.faults.append("the server does not end at SIGTERM")
                self.server.process.kill()
                self.server.process.wait()
        trouble = [line for line in self.server.log().splitlines() if TROUBLE.search(line)]
        if trouble:
            self.faults.append(f"the server's log: {trouble[:5]}")

    def go(self, seconds: float, spare_memory: int) -> Outcome:
        begun = time.monotonic()
        descriptors = self.server.descriptors()
        memory = [0]
        try:
            first = min(ROUND, seconds / 2)
            self.rage(first)
            self.drain()
            memory = [self.server.memory() if self.alive() else 0]
            while not self.faults and (left := seconds - (time.monotonic() - begun)) > 0:
                self.rage(min(left, self.choices.uniform(0.5, 1.5) * ROUND))
                self.drain()
        finally:
            self.resume(everybody=True)
            self.dismiss()
        if self.server.process.poll() is None:
            # Connections of the members that came before the count are no more there either.
            self.settle(min(descriptors, self.idle_descriptors))
            memory.append(self.server.memory())
            if memory[-1] > memory[0] + spare_memory:
                self.faults.append(f"memory grew from {memory[0]} to {memory[-1]} bytes")
        self.stop_server()
        found, totals = check(self.folder, self.server.log())
        elapsed = time.monotonic() - begun
        return Outcome(
            self.faults + found, totals, self.kills, self.stops, elapsed, (memory[0], memory[-1]), self.settings
        )

    @property
    def idle_descriptors(self) -> int:
        """Standard ones, epoll, a pair that wakes the loop, a spare one, listeners; and some slack."""
        return 3 + 4 + 4 + 3 + 4

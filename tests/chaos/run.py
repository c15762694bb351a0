# SPDX-License-Identifier: BSD-3-Clause
"""One chaos run: a server, those who use it, those who misuse it, and somebody who kills them.

Rounds of chaos alternate with drains, in which nothing new is asked for: then every job must come to its end by itself.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from .check import Totals, check
from .link import PLAIN, History, Route, Setup, make_workload
from .target import PATIENCE, ROOT, Program, Server

DRAIN_LIMIT = 45.0 * PATIENCE
ROUND = 10.0
IDLE_DESCRIPTORS = 3 + 4 + 4 + 3 + 4
"""Standard ones, epoll, a pair that wakes the loop, a spare one, listeners; and some slack."""
KILLABLE = ("client", "worker", "library client", "library worker")
MODULES = {name: [f"tests.chaos.{name}"] for name in ("client", "worker", "proxy", "pests")} | {
    "library client": ["tests.chaos.library"],
    "library worker": ["tests.chaos.library"],
}


class Outcome(NamedTuple):
    """What came of a run. `faults`: empty if all is proven."""

    faults: list[str]
    totals: Totals
    kills: int
    stops: int
    restarts: int
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


class Run:
    """A chaos run in `folder`, all choices from `seed`. `python` runs the server; `restarts`: it is killed as well."""

    def __init__(
        self,
        folder: Path,
        seed: int,
        driver: str,
        clients: int,
        workers: int,
        python: str = sys.executable,
        *,
        restarts: bool = False,
    ) -> None:
        self.folder = folder
        self.seed = seed
        self.driver = driver
        self.choices = random.Random(seed)
        self.faults: list[str] = []
        self.kills = self.stops = self.restarts = self.count = 0
        self.baseline = 0
        self.members: list[Member] = []
        self.program = self.choose_program(python, [] if not restarts else ["--shutdown-limit", "1"])
        self.server = Server(folder, self.program)
        self.restart_at = time.monotonic() + 3 if restarts else float("inf")
        self.tool = shutil.which("gearman")
        self.shots: list[tuple[str, subprocess.Popen[bytes]]] = []
        self.history = History(str(folder / "tool.jsonl"))
        self.routes = self.open_routes()
        for number in range(clients):
            self.spawn("client", f"c{number}.0", self.routes)
        for number in range(workers):
            self.spawn("worker", f"w{number}.0", self.routes)
        self.spawn("library client", "l0.0", self.routes)
        self.spawn("library worker", "m0.0", self.routes)

    def choose_program(self, python: str, options: list[str]) -> Program:
        choices = self.choices
        options = [
            *("--order", choices.choice(("priority", "priority", "function", "function-rotate"))),
            *("--wakeup", choices.choice(("0", "0", "1", "2"))),
            *("--job-retries", choices.choice(("5", "5", "-1", "2"))),
            *("--high-water", choices.choice(("1M", "64K"))),
            *("--stall-limit", "2"),
            *(["--max-connections", "150"] if choices.random() < 0.2 else []),
            *(["--max-packet", "1M", "--max-unsent", "1M"] if choices.random() < 0.3 else []),
            *(["--max-queued", choices.choice(("100K", "1M"))] if choices.random() < 0.3 else []),
            *(["--exceptions"] if choices.random() < 0.3 else []),
            *options,
        ]
        certificate = self.make_certificate() if choices.random() < 0.5 and self.driver != "hosted" else None
        most_files = 130 if choices.random() < 0.25 else 0
        watched = choices.random() < 0.5 or self.driver == "hosted"
        return Program(python, self.driver, options, watched, certificate, most_files)

    @property
    def settings(self) -> list[str]:
        program = self.program
        more = ["watched"] * program.watched + ["TLS"] * bool(program.certificate)
        files = [f"{program.most_files} files"] if program.most_files else []
        return ["--driver", program.driver, *program.options, *more, *files]

    def open_routes(self) -> list[Route]:
        """All ways to the server; half of them lead through a proxy."""
        tcp = Route("tcp", "127.0.0.1", self.server.port)
        unix = Route("unix", self.server.unix, 0)
        sound = [tcp, unix]
        proxies = [Route("proxy", "127.0.0.1", self.spawn("proxy", "p0", [tcp, unix]).port)] * 2
        if self.program.certificate:
            tls = Route("tls", "127.0.0.1", self.server.tls_port)
            sound.append(tls)
            proxies.append(Route("proxy tls", "127.0.0.1", self.spawn("proxy", "p1", [tls]).port))
        self.spawn("pests", "a0", sound)
        return sound + proxies

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

    def restart(self) -> None:
        """The server itself is killed or stopped, and started again: what is in its memory is lost."""
        self.restarts += 1
        self.resume(everybody=True)
        self.history.write("down")
        number = self.choices.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGTERM))
        if wrong := self.server.stop(number):
            self.faults.append(wrong)
        time.sleep(self.choices.uniform(0, 0.5))
        try:
            self.server.start()
        except AssertionError as error:
            self.faults.append(str(error))
        self.history.write("up")
        self.baseline = 0
        self.restart_at = time.monotonic() + self.choices.uniform(5, 20)

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
        workload = make_workload(request, "ok").decode()
        command = [self.tool, "-h", "127.0.0.1", "-p", str(self.server.port), "-f", function, workload]
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
            if time.monotonic() > self.restart_at:
                self.restart()
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
        self.history.write("drained")
        self.baseline = self.baseline or self.server.memory()
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
        if self.server.process.poll() is None and (wrong := self.server.stop(signal.SIGTERM)):
            self.faults.append(wrong)
        if trouble := self.server.troubles():
            self.faults.append(f"the server's log: {trouble[:5]}")

    def go(self, seconds: float, spare_memory: int) -> Outcome:
        begun = time.monotonic()
        memory = 0
        try:
            self.rage(min(ROUND, seconds / 2))
            self.drain()
            while not self.faults and (left := seconds - (time.monotonic() - begun)) > 0:
                self.rage(min(left, self.choices.uniform(0.5, 1.5) * ROUND))
                self.drain()
        finally:
            self.resume(everybody=True)
            self.dismiss()
        if self.server.process.poll() is None:
            self.settle(IDLE_DESCRIPTORS)
            memory = self.server.memory()
            if memory > self.baseline + spare_memory:
                self.faults.append(f"memory grew from {self.baseline} to {memory} bytes")
        self.stop_server()
        found, totals = check(self.folder, self.server.log())
        return Outcome(
            self.faults + found,
            totals,
            self.kills,
            self.stops,
            self.restarts,
            time.monotonic() - begun,
            (self.baseline, memory),
            self.settings,
        )

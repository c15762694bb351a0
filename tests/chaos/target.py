# SPDX-License-Identifier: BSD-3-Clause
"""The job server under test, as a process of its own."""

from __future__ import annotations

import os
import re
import resource
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = float(os.environ.get("GEARFAST_TEST_SLOW", "1"))
TROUBLE = re.compile(
    r"Traceback|Exception ignored|Fatal Python|Segmentation|assert|Sanitizer|runtime error", re.IGNORECASE
)


class Program(NamedTuple):
    """What is run: `python`'s gearfast with a driver and its options; `watched`: it checks its own records."""

    python: str
    driver: str
    options: list[str]
    watched: bool = False
    certificate: str | None = None
    most_files: int = 0


class Server:
    """A job server, its addresses and its log. Started again, it has the same ones."""

    def __init__(self, folder: Path, program: Program) -> None:
        self.log_path = folder / "server.log"
        self.unix = str(folder / "s")
        self.program = program
        self.port = self.tls_port = self.listening = 0
        self.start()

    def command(self) -> list[str]:
        program = self.program
        if program.driver == "hosted":
            host = [program.python, "-m", "tests.chaos.host"]
            return [*host, "--port", str(self.port), "--unix", self.unix, *program.options]
        listen = ["--listen", f"gearman://127.0.0.1:{self.port}", "--unix", self.unix]
        if program.certificate:
            listen += ["--listen", f"gearmans://127.0.0.1:{self.tls_port}", "--tls-cert", program.certificate]
        module = ["tests.chaos.watched"] if program.watched else ["gearfast", "server"]
        return [program.python, "-m", *module, "--driver", program.driver, *listen, *program.options]

    def start(self) -> None:
        """Starts it and waits until it listens. Raises AssertionError if it does not."""
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stderr=log, cwd=ROOT)
        deadline = time.monotonic() + 20 * PATIENCE
        wanted = self.listening + 1 + bool(self.program.certificate)
        while len(ports := re.findall(r"Listening on 127.0.0.1:(\d+)", self.log())) < wanted:
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"the server did not start:\n{self.log()}")
            time.sleep(0.01)
        self.listening = wanted
        self.port = int(ports[0])
        self.tls_port = int(ports[1]) if self.program.certificate else 0
        if self.program.most_files:
            resource.prlimit(self.process.pid, resource.RLIMIT_NOFILE, (self.program.most_files,) * 2)

    def stop(self, number: int) -> str:
        """Ends it by a signal; what was wrong with that, or nothing."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            status = self.process.wait(15 * PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return f"the server does not end at {signal.Signals(number).name}"
        expected = -number if number == signal.SIGKILL else 0
        return "" if status == expected else f"the server ended with {status}"

    def log(self) -> str:
        return self.log_path.read_text("utf-8", "replace")

    def troubles(self) -> list[str]:
        """Lines of the log that should not be there."""
        return [line for line in self.log().splitlines() if TROUBLE.search(line)]

    def ask(self, command: str) -> list[str]:
        """The lines of a text command that answers with a list. Raises OSError."""
        with socket.create_connection(("127.0.0.1", self.port), 10 * PATIENCE) as sock, sock.makefile("rb") as replies:
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

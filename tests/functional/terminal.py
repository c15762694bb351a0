# SPDX-License-Identifier: BSD-3-Clause
"""Runs what a page shows in a terminal: the commands of its console blocks, in a folder of its own, by bash.

A command that ends in ` &` stays in the background until the page ends; `%1`, `%2`, … in others are the processes of
the first, second, … of them. `gearfast server` listens on a free port in place of the one that the page names.
`gearfast admin` is asked again until it answers what is shown, as what it tells of may take a moment.
"""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

from .page import DATABASE, Block, Command, blocks, commands, pattern
from .servers import PATIENCE, clean_environment, wait_until

LISTENING = re.compile(r"Listening on .*:(\d+)\s*$", re.MULTILINE)
SERVER = re.compile(r"gearfast server\b")


def _read_all(screen: IO[bytes]) -> bytes:
    """What a command writes to its terminal until it, and all that it has started, have left that."""
    data = b""
    end = time.monotonic() + 2 * PATIENCE
    while (left := end - time.monotonic()) > 0:
        if not select.select((screen,), (), (), left)[0]:
            break
        try:
            data += screen.read(65536)
        except OSError:  # Linux says so at the end
            return data
    raise AssertionError(f"it does not end: {data!r}")


ALL_JOBS = "$(jobs -p)"
"""What a page kills by this has to end: the commands that it has started in the background."""


class Terminal:
    """A terminal in `folder`. `database`: the URL of a store that is meant where pages say DATABASE."""

    def __init__(self, folder: Path, database: str = "") -> None:
        self._folder = folder
        self._database = database
        self._ports: dict[str, str] = {}
        self._files: dict[str, str] = {}
        self._jobs: list[subprocess.Popen[bytes]] = []
        self._logs = folder / ".logs"
        programs = folder / ".bin"
        for path in (self._logs, programs):
            path.mkdir()
        for name, command in (("python", ""), ("gearfast", " -m gearfast"), ("pytest", " -m pytest")):
            program = programs / name
            program.write_text(f'#!/bin/sh\nexec "{sys.executable}"{command} "$@"\n')
            program.chmod(0o755)
        path = f"{programs}{os.pathsep}{os.environ['PATH']}"
        self._environment = {
            **clean_environment(),
            "PATH": path,
            "COLUMNS": "100",
            "PYTHONUNBUFFERED": "1",
            "NO_COLOR": "1",
        }

    def run(self, block: Block) -> None:
        """Does what a block shows. Raises AssertionError where it went otherwise."""
        if block.mark.startswith("file "):
            self._files[block.mark.removeprefix("file ").strip()] = block.text
            self._write_files()
        elif block.language == "console" and not block.reason:
            for command in commands(block):
                self._run(block, command)

    def close(self) -> None:
        """Ends what still runs."""
        for job in self._jobs:
            if job.poll() is None:
                os.killpg(job.pid, signal.SIGKILL)
            job.wait()

    def _run(self, block: Block, command: Command) -> None:
        where = f"{block.page}:{command.line}: {command.text}"
        if command.is_background:
            self._start(where, command)
            return
        expected = pattern(command.output)
        deadline = time.monotonic() + PATIENCE
        while True:
            status, output = self._finish(command.text)
            if expected.fullmatch(output):
                break
            again = command.text.startswith("gearfast admin") and time.monotonic() < deadline
            assert again, f"{where}\nexit status {status}, output:\n{output}\n--- the page shows:\n" + "\n".join(
                command.output
            )

    def _finish(self, text: str) -> tuple[int, str]:
        """Exit status and output of a command."""
        for number, job in enumerate(self._jobs, 1):
            text = re.sub(rf"%{number}\b", str(job.pid), text)
        ends_all = ALL_JOBS in text
        left = " ".join(str(job.pid) for job in self._jobs if job.poll() is None)
        text = text.replace(ALL_JOBS, left)
        # A terminal of its own, as some commands write something else where nobody looks.
        ours, theirs = pty.openpty()
        with open(ours, "rb", buffering=0) as screen:
            process = subprocess.Popen(
                ["bash", "-c", self._real(text)],
                stdin=subprocess.DEVNULL,
                stdout=theirs,
                stderr=theirs,
                cwd=self._folder,
                env=self._environment,
            )
            os.close(theirs)
            shown = _read_all(screen)
            status = process.wait(2 * PATIENCE)
        if ends_all:
            for job in self._jobs:
                job.wait(PATIENCE)
        output = self._shown(shown.decode().replace("\r\n", "\n"))
        return status, output if output.endswith("\n") or not output else f"{output}\n"

    def _start(self, where: str, command: Command) -> None:
        text = command.text.removesuffix(" &")
        named = re.search(r"--port (\d+)", text)
        port = named[1] if named else "4730"
        if SERVER.match(text):
            text = text.replace(named[0] if named else "", "") + f" --port {self._ports.get(port, '0')}"
        log = self._logs / str(len(self._jobs))
        with log.open("wb") as stream:
            job = subprocess.Popen(
                ["bash", "-c", f"exec {self._real(text)}"],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                cwd=self._folder,
                env=self._environment,
                start_new_session=True,
            )
        self._jobs.append(job)
        if SERVER.match(text):

            def listening() -> re.Match[str] | None:
                assert job.poll() is None, f"{where}\nit has ended: {log.read_text()}"
                return LISTENING.search(log.read_text())

            self._ports[port] = wait_until(listening, where)[1]
            if port == "4730":
                self._environment["GEARFAST_SERVERS"] = f"127.0.0.1:{self._ports[port]}"
            self._write_files()

    def _write_files(self) -> None:
        for name, text in self._files.items():
            path = self._folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(self._real(text), encoding="utf-8")

    def _real(self, text: str) -> str:
        for shown, real in self._ports.items():
            text = re.sub(rf"(127\.0\.0\.1:){shown}\b", rf"\g<1>{real}", text)
        return text.replace(DATABASE, f"'{self._database}'")

    def _shown(self, text: str) -> str:
        for shown, real in self._ports.items():
            text = text.replace(f":{real}", f":{shown}")
        return text


def run_page(path: Path, folder: Path, database: str = "") -> None:
    """All that a page shows in a terminal, from top to bottom. `database`: as for `Terminal`."""
    terminal = Terminal(folder, database)
    try:
        for block in blocks(path):
            terminal.run(block)
    finally:
        terminal.close()

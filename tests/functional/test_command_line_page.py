# SPDX-License-Identifier: BSD-3-Clause
"""docs/command-line.md: its program is written to a file, its commands are run by one shell, its outputs come.

A command is a line behind `$ `; the lines behind it are what it prints, where `…` stands for any text.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gearfast import Server

from .servers import PATIENCE, LineReader, clean_environment

PAGE = Path(__file__).resolve().parents[2] / "docs" / "command-line.md"
MARK = "-- the command has ended --"

pytestmark = [
    pytest.mark.skipif(not PAGE.exists(), reason="needs docs/ of a checkout"),
    pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX shell"),
]


def commands(text: str) -> Iterator[tuple[str, list[str]]]:
    """Each command with its output."""
    for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL):
        for command in block.split("$ ")[1:] if block.startswith("$ ") else ():
            line, *output = command.removesuffix("\n").split("\n")
            yield line, output


def programs(text: str) -> dict[str, str]:
    return dict(re.findall(r"`(\w+\.py)`:\n\n```python\n(.*?)```", text, re.DOTALL))


@pytest.fixture
def shell(tmp_path: Path, require: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A shell that finds the gearfast that is tested here, with a server of its own."""
    require.program("rev", "bsdextrautils")
    tool = tmp_path / "bin" / "gearfast"
    tool.parent.mkdir()
    tool.write_text(f'#!/bin/sh\nexec "{sys.executable}" -W error -m gearfast "$@"\n')
    tool.chmod(0o755)
    work = tmp_path / "work"
    work.mkdir()
    for name, code in programs(PAGE.read_text()).items():
        (work / name).write_text(code)
    with Server() as server:
        environ = clean_environment() | {
            "PATH": f"{tool.parent}{os.pathsep}{os.environ['PATH']}",
            "GEARFAST_SERVERS": f"{server.host}:{server.port}",
            "LC_ALL": "C",
        }
        shell = subprocess.Popen(
            ["sh"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environ,
            cwd=work,
            start_new_session=True,
        )
        yield shell
        with contextlib.suppress(ProcessLookupError):
            os.killpg(shell.pid, signal.SIGKILL)  # whatever has not ended by itself
        shell.wait(PATIENCE)
        assert shell.stdin is not None
        shell.stdin.close()


def test_every_command_prints_what_the_page_says(shell: subprocess.Popen[bytes]) -> None:
    assert shell.stdin is not None
    assert shell.stdout is not None
    lines = LineReader(shell.stdout)
    found = list(commands(PAGE.read_text()))
    assert len(found) > 20
    for command, expected in found:
        shell.stdin.write(f"{command}\necho; echo '{MARK}'\n".encode())
        shell.stdin.flush()
        said: list[str] = []
        while (line := lines.take()) != MARK:
            assert line is not None, f"{command!r} goes on after {said}"
            said.append(line)
        pattern = "\n".join(".*".join(map(re.escape, line.split("…"))) for line in expected)
        assert re.fullmatch(pattern, "\n".join(said).rstrip("\n")), (command, said)
    shell.stdin.write(b"exit\n")
    shell.stdin.flush()
    assert lines.take() is None


def test_every_option_is_on_the_page_or_in_the_help() -> None:
    """Options that the page names exist."""
    text = PAGE.read_text()
    help_texts = ""
    for name in ("submit", "worker", "admin", "migrate"):
        done = subprocess.run(
            [sys.executable, "-m", "gearfast", name, "--help"], capture_output=True, text=True, env=clean_environment()
        )
        assert done.returncode == 0
        help_texts += done.stdout
    from gearfast.cli.admin import VERBS

    known = set(re.findall(r"--[a-z-]+", help_texts)) | {verb.flag for verb in VERBS} | {"--graceful", "--tls-"}
    known |= {name for verb in VERBS for name, _ in verb.arguments}
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", text))
    assert named - known == set()

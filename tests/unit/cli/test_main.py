# SPDX-License-Identifier: BSD-3-Clause
"""The command `gearfast`: its face, and that it stays light."""

from __future__ import annotations

import subprocess
import sys

import pytest

from gearfast.cli import COMMANDS, USAGE, main


def test_help_names_all_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    for name, summary in COMMANDS.items():
        assert name in text
        assert summary in text


def test_without_a_command_the_usage_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == USAGE
    assert "usage: gearfast" in capsys.readouterr().err


def test_unknown_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["srever"]) == USAGE
    assert capsys.readouterr().err.endswith("; did you mean server?\n")


@pytest.mark.parametrize("words", [["submit", "--zzz", "f"], ["worker", "--zzz"], ["admin", "--zzz", "status"]])
def test_complaints_are_one_line(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == USAGE
    line = f"gearfast {words[0]}: unrecognized arguments: --zzz; see gearfast {words[0]} --help\n"
    assert capsys.readouterr().err == line


def test_unknown_option_gets_a_near_match(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["server", "--prot=1"]) == USAGE
    assert "did you mean --port?" in capsys.readouterr().err


def test_an_option_before_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--check", "server"]) == USAGE
    assert capsys.readouterr().err.endswith(": --check; its place is in `gearfast server [options]`\n")


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    from gearfast._version import __version__

    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"gearfast {__version__}\n"


@pytest.mark.parametrize(
    "words", [["--help"], ["server", "--help"], ["submit", "--help"], ["admin", "--help"], ["worker", "--help"]]
)
def test_help_imports_nothing_heavy(words: list[str]) -> None:
    script = (
        "import sys\n"
        "from gearfast.cli import main\n"
        f"status = main({words!r})\n"
        "heavy = {'asyncio', 'ssl', 'logging', 'gearfast.dispatch', 'gearfast.sync', 'subprocess'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "sys.exit(status)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "usage: gearfast" in done.stdout


def test_python_dash_m() -> None:
    done = subprocess.run([sys.executable, "-m", "gearfast", "--help"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert "usage: gearfast" in done.stdout

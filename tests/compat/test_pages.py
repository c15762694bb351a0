# SPDX-License-Identifier: BSD-3-Clause
"""The Python of docs/coming-from-*.md runs as it stands, and type checkers accept it."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import gearfast

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = Path(gearfast.__file__).parents[1]


def blocks() -> list[object]:
    found = []
    for page in sorted((ROOT / "docs").glob("coming-from-*.md")):
        programs = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
        found += [pytest.param(code, id=f"{page.stem}-{number}") for number, code in enumerate(programs, 1)]
    return found


def run(*command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE)}
    return subprocess.run(command, capture_output=True, text=True, timeout=100, cwd=folder, env=environment)


@pytest.mark.parametrize("code", blocks())
def test_a_block_runs(code: str, tmp_path: Path) -> None:
    path = tmp_path / "program.py"
    path.write_text(code)
    done = run(sys.executable, "-W", "error", str(path), folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout and not done.stderr


if importlib.util.find_spec("mypy"):  # the environment of `make lint`

    @pytest.mark.parametrize("code", [block for block in blocks() if "install(" not in str(block)])
    def test_mypy_accepts_a_block(code: str, tmp_path: Path) -> None:
        path = tmp_path / "program.py"
        path.write_text(code)
        done = run(sys.executable, "-m", "mypy", "--strict", "--no-incremental", str(path), folder=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr

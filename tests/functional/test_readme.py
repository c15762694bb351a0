# SPDX-License-Identifier: BSD-3-Clause
"""The Python in the README and in docs/testing.md runs as it stands, and prints what the page says behind `print`."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from .servers import clean_environment

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "docs" / "testing.md"]
TOLD = re.compile(r"^ *print\(.*\)  # (.+)$", re.MULTILINE)


def blocks() -> list[tuple[Path, str]]:
    found = [(page, page.read_text(encoding="utf-8")) for page in PAGES if page.exists()]
    return [(page, code) for page, text in found for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL)]


@pytest.mark.parametrize(
    ("page", "code"), blocks(), ids=lambda value: value.stem if isinstance(value, Path) else is_test(value)
)
def test_a_block_runs(page: Path, code: str, tmp_path: Path) -> None:
    path = tmp_path / "test_block.py"
    path.write_text(code, encoding="utf-8")
    command = [sys.executable, "-W", "error"]
    if is_test(code) == "test":
        registered = any(point.value == "gearfast.pytest_plugin" for point in entry_points(group="pytest11"))
        plugin = [] if registered else ["-p", "gearfast.pytest_plugin"]
        command += ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:asyncio", *plugin]
    command.append(str(path))
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, cwd=tmp_path, check=False, env=clean_environment()
    )
    assert done.returncode == 0, done.stdout + done.stderr
    if is_test(code) == "program":
        assert "b'stressed'" in done.stdout or page.name != "README.md"
        assert page.name == "README.md" or done.stdout.splitlines() == TOLD.findall(code)


def is_test(code: str) -> str:
    """What kind of block it is."""
    return "test" if "def test_" in code else "program"

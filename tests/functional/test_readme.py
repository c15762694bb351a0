# SPDX-License-Identifier: BSD-3-Clause
"""The README's Python runs as it stands."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).resolve().parents[2] / "README.md"


def blocks() -> list[str]:
    if not README.exists():
        return []
    return re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)


@pytest.mark.parametrize("code", blocks(), ids=lambda code: "test" if "def test_" in code else "program")
def test_a_block_runs(code: str, tmp_path: Path) -> None:
    path = tmp_path / "test_block.py"
    path.write_text(code)
    command = [sys.executable, "-W", "error"]
    if "def test_" in code:
        command += ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:asyncio"]
    command.append(str(path))
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    if "def test_" not in code:
        assert "b'stressed'" in done.stdout

# SPDX-License-Identifier: BSD-3-Clause
"""gear and aiogear under their old names: the very modules that all other tests use, in programs as they stand."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import gearfast

from .programs import installed

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = Path(gearfast.__file__).parents[1]
SUBMODULES = {
    "gear": ["acl", "constants"],
    "aiogear": ["admin", "callback_client", "client", "exception", "mixin", "packet", "response", "worker"],
}


@pytest.mark.parametrize("name", SUBMODULES)
def test_the_same_modules(name: str) -> None:
    with installed(name):
        assert importlib.import_module(name) is importlib.import_module(f"gearfast.compat.{name}")
        for submodule in SUBMODULES[name]:
            old = importlib.import_module(f"{name}.{submodule}")
            assert old is importlib.import_module(f"gearfast.compat.{name}.{submodule}")


@pytest.mark.skipif(not (ROOT / "docs").is_dir(), reason="needs docs/ of a checkout")
@pytest.mark.parametrize("name", SUBMODULES)
def test_a_program_with_its_old_import(name: str, tmp_path: Path) -> None:
    page = (ROOT / "docs" / f"coming-from-{name}.md").read_text(encoding="utf-8")
    program = re.findall(r"```python\n(.*?)```", page, re.DOTALL)[0]
    old = program.replace(f"from gearfast.compat import {name}  # was: import {name}", f"import {name}")
    assert old != program
    (tmp_path / "program.py").write_text(old)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "gearfast.compat", "program.py"],
        env={**os.environ, "PYTHONPATH": str(PACKAGE)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "stressed" in done.stdout

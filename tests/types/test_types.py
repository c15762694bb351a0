# SPDX-License-Identifier: BSD-3-Clause
"""mypy and pyright accept what is right, with the types that are expected, and reject what is wrong."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SETTINGS = {
    "pythonVersion": "3.11",
    "typeCheckingMode": "strict",
    "reportUnusedExpression": False,
    "reportMissingModuleSource": False,
    "reportPrivateUsage": False,
    "reportUnnecessaryIsInstance": False,
}
UNTYPED = ("reportUnknown", "reportMissingParameterType", "reportUnusedFunction")
"""What strict mode says of functions without types, and of functions that only a decorator uses: not our subject."""


def mypy(folder: Path) -> dict[str, set[int]]:
    """Lines with errors by file."""
    command = ["-m", "mypy", "--strict", "--no-error-summary", "--hide-error-context", "--show-absolute-path"]
    command += ["--cache-dir", str(ROOT / ".mypy_cache"), "--explicit-package-bases", "right.py", "wrong.py"]
    environ = {"MYPYPATH": str(ROOT), "PATH": ""}
    done = subprocess.run([sys.executable, *command], cwd=folder, capture_output=True, text=True, env=environ)
    found: dict[str, set[int]] = {"right.py": set(), "wrong.py": set()}
    for line in done.stdout.splitlines():
        match = re.match(r"(.*\.py):(\d+): (error|note): ", line)
        assert match, done.stdout + done.stderr
        if match[3] == "error":
            found[Path(match[1]).name].add(int(match[2]))
    assert not done.stderr, done.stderr
    return found


def pyright(folder: Path) -> dict[str, set[int]]:
    settings = SETTINGS | {"include": [str(folder)], "extraPaths": [str(ROOT)], "executionEnvironments": []}
    (folder / "pyrightconfig.json").write_text(json.dumps(settings))
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    found: dict[str, set[int]] = {"right.py": set(), "wrong.py": set()}
    report: dict[str, Any] = json.loads(done.stdout)
    for entry in report["generalDiagnostics"]:
        if entry["severity"] == "error" and not entry.get("rule", "").startswith(UNTYPED):
            found[Path(entry["file"]).name].add(entry["range"]["start"]["line"] + 1)
    assert report["summary"]["filesAnalyzed"] == 2
    return found


def marked(text: str) -> set[int]:
    return {number for number, line in enumerate(text.splitlines(), 1) if line.endswith("# wrong")}


@pytest.mark.parametrize("checker", [mypy, pyright])
def test_right_and_wrong(checker: Any, tmp_path: Path, require: Any) -> None:
    require.module("mypy", "mypy")
    require.module("pyright", "pyright[nodejs]")
    for name in ("right.py", "wrong.py"):
        (tmp_path / name).write_text((HERE / name).read_text())
    found = checker(tmp_path)
    wanted = marked((HERE / "wrong.py").read_text())
    assert found["right.py"] == set(), "right, and rejected"
    assert found["wrong.py"] - wanted == set(), "right, and rejected"
    assert wanted - found["wrong.py"] == set(), "wrong, and accepted"

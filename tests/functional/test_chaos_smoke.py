# SPDX-License-Identifier: BSD-3-Clause
"""A short chaos run with each driver; `make chaos` is the long one."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from .server_tools import DRIVERS

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="needs Linux: /proc, SIGSTOP, Unix sockets"),
    pytest.mark.timeout(300),
]


@pytest.mark.parametrize("driver", DRIVERS)
def test_every_job_has_its_end_whatever_happens(
    driver: str, tmp_path: Path, patience: Callable[[float], float]
) -> None:
    command = [sys.executable, "-m", "tests.chaos", "--seconds", "5", "--seed", "7", "--driver", driver]
    done = subprocess.run(
        [*command, "--clients", "3", "--workers", "3", "--keep", str(tmp_path)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=patience(120),
    )
    assert done.returncode == 0, done.stdout[-6000:]
    assert "0 faults" in done.stdout

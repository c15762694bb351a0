# SPDX-License-Identifier: BSD-3-Clause
"""Collects bench_*.py, so that `pytest --benchmark-only benchmarks` is enough and the tests never run them."""

from __future__ import annotations

from pathlib import Path

import pytest


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    """A module of benchmarks, unless it was named on the command line: pytest collects that itself."""
    if file_path.match("bench_*.py") and not parent.session.isinitpath(file_path):
        module: pytest.Module = pytest.Module.from_parent(parent, path=file_path)
        return module
    return None

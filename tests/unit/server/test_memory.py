# SPDX-License-Identifier: BSD-3-Clause
"""How much memory the process may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gearfast.server.memory import usable_memory

HERE = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 0
pytestmark = pytest.mark.skipif(not HERE, reason="needs sysconf")


def groups(folder: Path, membership: str, **limits: str) -> tuple[Path, Path]:
    """A /proc/self and a /sys/fs/cgroup; `limits`: file's path, with `__` for a slash, and content."""
    proc, root = folder / "proc", folder / "groups"
    proc.mkdir()
    (proc / "cgroup").write_text(membership)
    for name, content in limits.items():
        path = root / name.replace("__", "/").replace("_in_bytes", ".limit_in_bytes").replace("_max", ".max")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return proc, root


def test_the_machine_without_groups(tmp_path: Path) -> None:
    assert usable_memory(tmp_path, tmp_path) == HERE


def test_version_2_the_least_of_all_above(tmp_path: Path) -> None:
    limits = {"a__b__memory_max": "max\n", "a__memory_max": "1048576\n", "memory_max": "2097152\n"}
    assert usable_memory(*groups(tmp_path, "0::/a/b\n", **limits)) == 1048576


def test_version_1(tmp_path: Path) -> None:
    membership = "5:cpu:/x\n4:memory:/x\n0::/\n"
    assert usable_memory(*groups(tmp_path, membership, memory__x__memory_in_bytes="3000000\n")) == 3000000


def test_a_container_whose_group_is_the_root(tmp_path: Path) -> None:
    assert usable_memory(*groups(tmp_path, "0::/docker/1234\n", memory_max="4000000\n")) == 4000000


def test_no_limit_means_the_machines(tmp_path: Path) -> None:
    assert usable_memory(*groups(tmp_path, "0::/a\n", a__memory_max="max\n")) == HERE
    other = tmp_path / "other"
    other.mkdir()
    huge = {"memory__memory_in_bytes": "9223372036854771712\n"}
    assert usable_memory(*groups(other, "4:memory:/\n", **huge)) == HERE

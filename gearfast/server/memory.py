# SPDX-License-Identifier: BSD-3-Clause
"""How much memory this process may use: the machine's, or less where its control group says so."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path, PurePosixPath

__all__ = ["usable_memory"]


def usable_memory(proc: Path = Path("/proc/self"), groups: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes, the least of the machine's memory and the limits of all control groups above; 0 if nothing is known.

    `proc`, `groups`: where the process and the control groups (version 1 or 2) are found.
    """
    limits = []
    with contextlib.suppress(AttributeError, ValueError, OSError):
        limits.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    limits += _group_limits(proc, groups)
    return min((limit for limit in limits if limit > 0), default=0)


def _group_limits(proc: Path, groups: Path) -> list[int]:
    found: list[int] = []
    try:
        lines = (proc / "cgroup").read_text().splitlines()
    except (OSError, ValueError):
        return found
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, name = rest.partition(":")
        if controllers == "":
            folder, file = groups, "memory.max"
        elif "memory" in controllers.split(","):
            folder, file = groups / "memory", "memory.limit_in_bytes"
        else:
            continue
        path = PurePosixPath(name.lstrip("/"))
        # In a container the group may be mounted as the root; its own name then leads nowhere.
        for part in (path, *path.parents):
            with contextlib.suppress(OSError, ValueError):
                found.append(int((folder / part / file).read_text()))  # "max" is no number
    return found

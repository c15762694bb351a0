# SPDX-License-Identifier: BSD-3-Clause
"""CPU time of processes with all their children, those that have ended included (Linux)."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path

__all__ = ["ended_children", "members", "tree_cpu"]


def members(pid: int) -> list[int]:
    """The process `pid` and all that descend from it and are still there, by /proc; empty if it is gone."""
    found = []
    waiting = [pid]
    while waiting:
        one = waiting.pop()
        children: list[int] = []
        try:
            with os.scandir(f"/proc/{one}/task") as tasks:  # closed too if a task ends just now
                for task in tasks:
                    children += map(int, Path(task.path, "children").read_text().split())
        except OSError:
            if not Path(f"/proc/{one}").exists():
                continue
        found.append(one)
        waiting += children
    return found


def ended_children(stat: str) -> int:
    """Clock ticks of the children that have ended and were waited for, theirs included; `stat` is /proc/PID/stat."""
    words = stat.rpartition(")")[2].split()
    return int(words[13]) + int(words[14])  # cutime and cstime: proc(5) counts them 16 and 17


def _one(pid: int) -> float:
    # The clock of a process (clock_getcpuclockid) has all its threads, the ended ones too, in nanoseconds.
    own = time.clock_gettime((~pid << 3) | 2)
    return own + ended_children(Path(f"/proc/{pid}/stat").read_text()) / os.sysconf("SC_CLK_TCK")


def tree_cpu(pids: Iterable[int]) -> float:
    """CPU seconds so far, user and system, of the processes `pids` and all that descend from them.

    Of children that have ended the kernel tells clock ticks (10 ms), of the others nanoseconds. Read it while no child
    begins or ends. Raises ProcessLookupError if one of `pids` is gone.
    """
    total = 0.0
    for pid in pids:
        family = members(pid)
        if not family:
            raise ProcessLookupError(f"process {pid} is gone")
        for one in family:
            try:
                total += _one(one)
            except OSError:
                if one == pid:
                    raise ProcessLookupError(f"process {pid} is gone") from None
    return total

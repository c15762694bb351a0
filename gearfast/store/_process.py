# SPDX-License-Identifier: BSD-3-Clause
"""Whether a process that was here once has ended: so that nobody waits for the lease of a server that was killed.

A process is named by what no other one ever has: the kernel's boot, its namespace of process ids, its id there and when
it began. Where Linux's /proc is not there, or another namespace's, and for processes of other machines, or that are
hidden from this user (hidepid), nothing is known.
"""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["has_ended", "this_process"]


def _where() -> str:
    """The boot and the namespace of process ids. Raises OSError if /proc is another one's."""
    if os.readlink("/proc/self") != str(os.getpid()):
        raise OSError("the ids in /proc are not those of this process's namespace")
    boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    return f"{boot}/{os.readlink('/proc/self/ns/pid')}"


def _began(pid: int) -> str:
    """When a process began, in ticks of the kernel; empty if it has ended, or waits for its parent to notice.

    Raises OSError if it is hidden.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError) as error:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return ""
        raise error from None
    return "" if fields[0] in "ZX" else fields[19]


def this_process() -> str:
    """Its name for `has_ended`; empty where there is none."""
    try:
        return f"{_where()}/{os.getpid()}/{_began(os.getpid())}"
    except (OSError, IndexError):
        return ""


def has_ended(process: str) -> bool:
    """Whether it is known that a process of this name has ended."""
    where, _, name = process.rpartition("/")
    where, _, pid = where.rpartition("/")
    try:
        return bool(name) and where == _where() and _began(int(pid)) != name
    except (OSError, ValueError, IndexError):
        return False

# SPDX-License-Identifier: BSD-3-Clause
"""When a worker process has done enough: so many jobs, so much memory, or nothing left to do."""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING, Any

from gearfast.errors import ConnectError, GearfastError, UsageError
from gearfast.session.routing import Servers, parse_servers
from gearfast.sync.admin import AdminClient

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["bytes_of", "has_queued_jobs", "resident_bytes"]

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def bytes_of(text: str) -> int:
    """Bytes of `300M`, `1.5G` (binary units) or a plain number. Raises UsageError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:I?B)?", text.strip().upper())
    if match is None or not float(match[1]):
        raise UsageError(f"an amount of memory is written 300M or 1.5G, not {text!r}")
    return int(float(match[1]) * _UNITS[match[2]])


def resident_bytes() -> int:
    """Memory that this process holds: by psutil if it is installed, else by /proc, else the most that it ever held."""
    try:
        import psutil
    except ImportError:
        pass
    else:
        return int(psutil.Process().memory_info().rss)
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError, AttributeError):
        pass
    try:
        import resource
    except ImportError:
        return 0  # Windows without psutil
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def has_queued_jobs(servers: Servers, functions: Collection[str], context: Any) -> bool:
    """Whether a server has a job of these functions that no worker has yet. Servers that are away are passed over.

    Raises ConnectError if all of them are.
    """
    reasons: dict[str, str] = {}
    addresses = parse_servers(servers)
    for address in addresses:
        scheme = "unix://" if address.path else "gearmans://" if address.tls else "gearman://"
        try:
            with AdminClient(scheme + (address.path or address.label), timeout=5.0, ssl=context) as admin:
                for row in admin.priority_status():
                    if row.function in functions and row.high + row.normal + row.low:
                        return True
        except GearfastError as error:
            reasons[address.label] = str(error)
    if len(reasons) == len(addresses):
        raise ConnectError(f"no job server answers: {'; '.join(reasons.values())}", reasons)
    return False

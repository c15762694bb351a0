# SPDX-License-Identifier: BSD-3-Clause
"""Functions for a worker's child processes, which import them by name from here."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from gearfast import Fail, current_job

MEGABYTE = 1 << 20
ROOM = 64 * MEGABYTE


def pid(job: Any) -> str:
    assert current_job() is job
    return str(os.getpid())


def talk(job: Any) -> bytes:
    job.send_status(1, 2)
    job.send_data(b"part")
    job.send_warning("careful")
    return b" ".join([job.workload, job.unique, job.function.encode(), job.handle.encode()])


def boom(job: Any) -> None:
    raise ValueError("boom")


def fail(job: Any) -> None:
    raise Fail("will not")


def number(job: Any) -> Any:
    return 5


def starve(job: Any) -> None:
    """Takes memory until there is no more, which is soon, where the system can say so."""
    maps = Path("/proc/self/maps")
    if not maps.exists() or "libasan" in maps.read_text("utf-8", "replace"):  # AddressSanitizer would end the process
        raise MemoryError
    import resource

    pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + ROOM, hard))
    taken = []
    try:
        while True:
            taken.append(bytearray(MEGABYTE))
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def die(job: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def leave(job: Any) -> None:
    sys.exit(3)


def fork(job: Any) -> bytes:
    if os.fork() == 0:
        return b"child"
    os.wait()
    return b"parent"


def hang(job: Any) -> None:
    job.send_data(str(os.getpid()))
    threading.Event().wait()


def until_cancelled(job: Any) -> None:
    job.send_data(b"begun")
    while True:
        job.check()
        threading.Event().wait(0.01)

# SPDX-License-Identifier: BSD-3-Clause
"""A queue that is larger than memory: submitted, killed with SIGKILL, and done by a worker, which looks at the order.

    python -m gearfast.bench.ceiling [JOBS] [CEILING]

JOBS of 1 KiB (default: 1,000,000) go to a server with `--store-memory CEILING` (default: 2G), which is then killed; its
successor gives them to one worker. Prints what both took: jobs a second, and the most memory that the server had.
"""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Final

from gearfast._codec import encode
from gearfast.bench.durable import FUNCTION, IN_FLIGHT, Link, running, temporary
from gearfast.bench.servers import ServerError
from gearfast.protocol import Command

__all__ = ["larger_than_memory"]

SIZE: Final = 1024
AHEAD: Final = 256
"""GRABs in flight."""
_LOOK: Final = 0.05


class Watch:
    """The most resident memory that a process has had, in bytes."""

    def __init__(self, server: subprocess.Popen[bytes]) -> None:
        self.most = 0
        self._path = Path(f"/proc/{server.pid}/statm")
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._over.wait(_LOOK):
            try:
                self.look()
            except (OSError, IndexError):
                return

    def look(self) -> int:
        """What it has now."""
        size = int(self._path.read_text().split()[1]) * resource.getpagesize()
        self.most = max(self.most, size)
        return size

    def end(self) -> int:
        """The most that was seen."""
        self._over.set()
        self._thread.join()
        return self.most


def larger_than_memory(jobs: int, ceiling: str) -> tuple[float, int, float, int]:
    """Jobs a second submitted, and done; each with the most bytes of memory that the server had.

    The workloads are `jobs` numbers, filled up. Raises ServerError if one is missing, or not in its turn.
    """
    with temporary() as folder:
        with running(folder, "--store-memory", ceiling) as (server, link):
            watch = Watch(server)
            start = time.perf_counter()
            submit(link, 0, jobs)
            submitted = jobs / (time.perf_counter() - start)
            before = watch.end()
            server.send_signal(signal.SIGKILL)
            server.wait()
        with running(folder, "--store-memory", ceiling) as (server, link):
            watch = Watch(server)
            start = time.perf_counter()
            do(link, 0, jobs)
            done = jobs / (time.perf_counter() - start)
            return submitted, before, done, watch.end()


def submit(link: Link, first: int, end: int, in_flight: int = IN_FLIGHT) -> None:
    """Background jobs of these numbers, some in flight at a time, until all are acknowledged."""
    fill = bytes(SIZE - 16)
    for begin in range(first, end, in_flight):
        numbers = range(begin, min(begin + in_flight, end))
        link.sock.sendall(
            b"".join(encode(Command.SUBMIT_JOB_BG, FUNCTION, b"u%d" % n, b"%016d" % n + fill) for n in numbers)
        )
        for _ in numbers:
            if link.read().command != Command.JOB_CREATED:
                raise ServerError("a background job was refused")


def do(link: Link, first: int, end: int) -> None:
    """Does the jobs of these numbers; raises ServerError for the first one that is not in its turn."""
    link.sock.sendall(encode(Command.CAN_DO, FUNCTION) + encode(Command.GRAB_JOB_UNIQ) * AHEAD)
    turn = first
    waiting = AHEAD
    while turn < end:
        packet = link.read()
        if packet.command == Command.JOB_ASSIGN_UNIQ:
            if int(packet.args[3][:16]) != turn:
                raise ServerError(f"job {int(packet.args[3][:16])} came instead of job {turn}")
            turn += 1
            link.sock.sendall(encode(Command.WORK_COMPLETE, packet.args[0], b"") + encode(Command.GRAB_JOB_UNIQ))
        elif packet.command == Command.NO_JOB:
            waiting -= 1
            if waiting == 0:
                link.sock.sendall(encode(Command.PRE_SLEEP))
        elif packet.command == Command.NOOP:
            waiting = AHEAD
            link.sock.sendall(encode(Command.GRAB_JOB_UNIQ) * AHEAD)


def main(arguments: list[str]) -> None:
    jobs = int(arguments[0].replace(",", "")) if arguments else 1_000_000
    ceiling = arguments[1] if len(arguments) > 1 else "2G"
    submitted, before, done, after = larger_than_memory(jobs, ceiling)
    print(f"{jobs:,} jobs of {SIZE} bytes, ceiling {ceiling}")
    print(f"submitted: {submitted:,.0f}/s, at most {before / 2**20:,.0f} MiB")
    print(f"after SIGKILL, done in order: {done:,.0f}/s, at most {after / 2**20:,.0f} MiB")


if __name__ == "__main__":
    main(sys.argv[1:])

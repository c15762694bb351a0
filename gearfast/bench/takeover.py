# SPDX-License-Identifier: BSD-3-Clause
"""How soon a server has the jobs of another one, which shares its store and is not heard of any more.

    python -m gearfast.bench.takeover postgresql://… [--jobs 100000] [--lease 3]

The jobs go to a server that then stands still (SIGSTOP), so that nobody can see whether it has ended. Timed is from the
end of its lease until all of its jobs are in the memory of the other one, which may give them out. The store has to be
empty.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Sequence
from typing import Final

from gearfast.bench.durable import IN_FLIGHT, PATIENCE, Link, count_jobs, running, temporary
from gearfast.bench.servers import ServerError

__all__ = ["lease_end", "takeover"]

MOST: Final = 3.0
"""The bar, in seconds."""


def _servers(link: Link) -> list[list[bytes]]:
    """The rows of the text command `cluster`."""
    link.sock.sendall(b"cluster\n")
    text = b""
    while not text.endswith(b".\n"):
        text += link.sock.recv(65536)
    return [line.split(b"\t") for line in text.splitlines()[:-1]]


def lease_end(link: Link, pid: int, lease: float) -> float:
    """When the lease of a server that stands still ends, by time.monotonic(), once the other one has looked at it.

    On a busy machine it may have ended before: then what was seen last counts, which is not too late.
    """
    deadline = time.monotonic() + PATIENCE
    ends: float | None = None
    while time.monotonic() < deadline:
        found = [row for row in _servers(link) if int(row[2]) == pid]
        if not found and ends is not None:
            return ends
        for row in found:
            ends = time.monotonic() + float(row[5])
            if float(row[6]) > lease / 3:
                return ends
        time.sleep(0.01)
    raise ServerError("the other server does not notice that one stands still")


def takeover(store: str, jobs: int, lease: float = 3.0) -> float:
    """Seconds from the end of a server's lease until another one has its jobs. Raises ServerError, OSError."""
    flags = ("--lease", f"{lease:g}")
    with (
        temporary() as here,
        temporary() as there,
        running(here, *flags, store=store) as (server, link),
        running(there, *flags, store=store) as (_, other),
    ):
        for done in range(0, jobs, IN_FLIGHT):
            link.submit(min(IN_FLIGHT, jobs - done))
        server.send_signal(signal.SIGSTOP)
        ends = lease_end(other, server.pid, lease)
        while count_jobs(other.sock) < jobs:
            if time.monotonic() > ends + PATIENCE:
                raise ServerError("the jobs were not taken over")
            time.sleep(0.005)
        return time.monotonic() - ends


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 1: it took more than three seconds."""
    parser = argparse.ArgumentParser(prog="python -m gearfast.bench.takeover", description=__doc__.split("\n\n")[0])
    parser.add_argument("store", help="URL of a store that servers can share, with no job in it")
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--lease", type=float, default=3.0, help="seconds")
    args = parser.parse_args(arguments)
    try:
        seconds = takeover(args.store, args.jobs, args.lease)
    except (OSError, ServerError) as error:
        print(f"gearfast.bench.takeover: {error}", file=sys.stderr)
        return 2
    print(f"{args.jobs:,} jobs were there {seconds:.2f} s after the end of the lease")
    return 0 if seconds <= MOST else 1


if __name__ == "__main__":
    sys.exit(main())

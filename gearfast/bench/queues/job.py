# SPDX-License-Identifier: BSD-3-Clause
"""The job that all libraries do, its payload, and what the environment says to the processes that do it."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from typing import Any, Final

__all__ = ["BROKER", "RESULTS", "broker", "keeps_results", "noop", "payloads", "redis_url"]

BROKER: Final = "GEARFAST_BENCH_BROKER"
"""Environment variable: HOST:PORT of the broker."""
RESULTS: Final = "GEARFAST_BENCH_RESULTS"
"""Environment variable: 1 if results are kept; else there is no result backend."""


def noop(payload: dict[str, Any]) -> int:
    """Does nothing, but tells the UDP port `last` of this machine that the last job has come; returns its `id`."""
    if payload["last"]:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"%d" % payload["id"], ("127.0.0.1", payload["last"]))
    number: int = payload["id"]
    return number


def payloads(count: int, port: int = 0) -> Iterator[dict[str, Any]]:
    """`count` payloads, the last of which tells the UDP port `port` that it was done; 0: none does."""
    for number in range(count):
        last = port if number == count - 1 else 0
        yield {"id": number, "to": "reader@example.org", "size": [640, 480], "last": last}


def broker() -> str:
    """HOST:PORT of the broker. Raises KeyError outside of a measurement."""
    return os.environ[BROKER]


def redis_url() -> str:
    """The same as Redis' libraries want it."""
    return f"redis://{broker()}/0"


def keeps_results() -> bool:
    """Whether results are kept, for a measurement of latency."""
    return os.environ.get(RESULTS) == "1"

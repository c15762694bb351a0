# SPDX-License-Identifier: BSD-3-Clause
"""`gearfast server` with every record of its dispatcher checked while it runs: lists, heaps, tables, counters, metrics.

Its arguments are the command line's. A promise that is broken ends the process, with what was wrong in its log.
"""

from __future__ import annotations

import asyncio
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from typing import Any

from gearfast.cli import main
from gearfast.dispatch._check import check
from gearfast.server.listen import Listener
from gearfast.server.service import Service

MOST = 1 << 50
"""A counter beyond it went below zero."""
PAUSE = 0.1
"""Seconds between two looks; between a tick's end and the next one all promises hold."""


def numbers(tree: Any, name: str = "metrics") -> Iterator[tuple[str, float]]:
    """Every number of a snapshot, by its path."""
    if isinstance(tree, dict):
        for key, each in tree.items():
            yield from numbers(each, f"{name}.{key}")
    elif isinstance(tree, list):
        for key, each in enumerate(tree):
            yield from numbers(each, f"{name}.{key}")
    else:
        yield name, tree


def check_metrics(now: dict[str, Any], before: dict[str, Any]) -> None:
    """No counter is below zero or went down, and what was asked for is where it has to be. Raises AssertionError."""
    for name, number in numbers(now):
        assert 0 <= number < MOST or ".bounds." in name, f"{name} is {number}"
    for name in ("connected", "received_bytes", "answered_bytes", "text_commands", "bad_bytes", "overflows"):
        assert now["server"][name] >= before.get("server", {}).get(name, 0), f"{name} went down"
    for name, each in now["functions"].items():
        ended = each["completed"] + each["failed"] + each["exceptions"] + each["dropped"]
        held = sum(each["queued"].values()) + each["running"]
        # Jobs that nobody wanted any more when they were met are none of these.
        assert each["submitted"] >= ended + held, f"{name}: {each['submitted']} jobs, {ended} ended, {held} there"
    assert now["server"]["jobs"] >= now["server"]["running"] + now["server"]["delayed"], "jobs"


async def watch(service: Service) -> None:
    before: dict[str, Any] = {}
    while True:
        try:
            check(service.dispatcher)
            metrics = service.dispatcher.metrics()
            check_metrics(metrics, before)
            before = metrics
        except AssertionError:
            traceback.print_exc()
            os.abort()
        await asyncio.sleep(PAUSE)


def watch_services() -> None:
    """Every service that starts from now on is watched."""
    start = Service.start

    async def start_watched(self: Service, listeners: Sequence[Listener]) -> None:
        await start(self, listeners)
        watchers[self] = asyncio.ensure_future(watch(self))

    watchers: dict[Service, asyncio.Task[None]] = {}
    Service.start = start_watched  # type: ignore[method-assign]


if __name__ == "__main__":
    watch_services()
    sys.exit(main(["server", *sys.argv[1:]]))

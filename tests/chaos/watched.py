# SPDX-License-Identifier: BSD-3-Clause
"""`gearfast server` with every record of its dispatcher checked while it runs: lists, counters, heaps, tables.

Its arguments are the command line's. A promise that is broken ends the process, with what was wrong in its log.
"""

from __future__ import annotations

import asyncio
import os
import sys
import traceback
from collections.abc import Sequence

from gearfast.cli import main
from gearfast.dispatch._check import check
from gearfast.server.listen import Listener
from gearfast.server.service import Service

PAUSE = 0.1
"""Seconds between two looks; between a tick's end and the next one all promises hold."""


async def watch(service: Service) -> None:
    while True:
        try:
            check(service.dispatcher)
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

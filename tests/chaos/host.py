# SPDX-License-Identifier: BSD-3-Clause
"""A program with the job server inside, in its own event loop: another driver for the same chaos.

Its arguments are flags of `gearfast server` with values. The loop has other work too, a thread wants the GIL, and the
dispatcher's records are checked all the time.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

from gearfast import Server
from gearfast.server.log import configure

from .watched import watch_services


def settings(arguments: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for flag, value in pairwise([*arguments, "--"]):
        if flag.startswith("--"):
            found[flag[2:].replace("-", "_")] = True if value.startswith("--") else value
    return found


def bother(end: threading.Event) -> None:
    while not end.is_set():
        sum(range(20_000))
        time.sleep(0.002)


async def serve() -> None:
    given = settings(sys.argv[1:])
    unix, port = Path(str(given.pop("unix"))), int(given.pop("port"))
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    end = threading.Event()
    thread = threading.Thread(target=bother, args=(end,))
    thread.start()
    try:
        async with Server(unix=unix, port=port, **given):
            while not stop.is_set():
                sum(range(1000))
                await asyncio.sleep(0.001)
    finally:
        end.set()
        thread.join()


if __name__ == "__main__":
    configure("info", "text")
    watch_services()
    asyncio.run(serve(), debug=False)

# SPDX-License-Identifier: BSD-3-Clause
"""A child process that ends when its parent does, however the parent ends: the pipe at its stdin closes.

As a program it runs the command `gearfast` like that: `python -m gearfast.demo.leash server --port 0`.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading

__all__ = ["hold"]


def _wait_for_end(descriptor: int) -> None:
    while os.read(descriptor, 4096):
        pass
    os._exit(1)


def hold() -> None:
    """From now on this process ends at once when its stdin is closed. Ctrl-C is left to the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # A raw read of a copy: a thread that holds sys.stdin's lock would disturb the interpreter's end.
    descriptor = os.dup(sys.stdin.fileno())
    threading.Thread(target=_wait_for_end, args=(descriptor,), name="leash", daemon=True).start()


if __name__ == "__main__":
    hold()
    sys.argv[0] = "gearfast"
    runpy.run_module("gearfast", run_name="__main__", alter_sys=True)

# SPDX-License-Identifier: BSD-3-Clause
"""The process that is measured: `python -m gearfast.bench.library.process PROGRAM ADDRESS FUNCTION`.

It says `{"ready": true}`. A client then takes orders, one JSON object a line, and answers each with one:

    {"seconds": S}      does jobs for about S seconds; answers {"jobs": N}

A worker works until it is stopped.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from typing import Any

from gearfast.bench.library.table import GROUPS, PROGRAMS

__all__ = ["main"]


def _say(**answer: Any) -> None:
    print(json.dumps(answer), flush=True)


def main(argv: list[str]) -> int:
    """Does as it is told until its standard input ends."""
    name, address, function = argv
    program = PROGRAMS[name]
    module, _, called = program.call.partition(":")
    make = getattr(importlib.import_module(f"gearfast.bench.library.{module}"), called)
    if any(group.side == "worker" for group in GROUPS if program in group.programs):
        _say(ready=True)
        make(address, function)
        return 0
    do = make(address, function)
    _say(ready=True)
    for line in sys.stdin:
        deadline = time.monotonic() + json.loads(line)["seconds"]
        jobs = 0
        while not jobs or time.monotonic() < deadline:
            do(program.batch)
            jobs += program.batch
        _say(jobs=jobs)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

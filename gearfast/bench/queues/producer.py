# SPDX-License-Identifier: BSD-3-Clause
"""The process that submits jobs: `python -m gearfast.bench.queues.producer LIBRARY`.

It takes orders from its standard input, one JSON object a line, and answers each with one:

    {"jobs": N, "port": P}    submits N jobs, of which the last tells UDP port P; answers {"submitted": N}
    {"waits": N}              runs N jobs one after the other; answers {"seconds": [...]}
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

from gearfast.bench.queues.job import payloads
from gearfast.bench.queues.libraries import LIBRARIES

__all__ = ["main", "wait_times"]


def wait_times(run: Callable[[dict[str, Any]], Any], work: Iterable[dict[str, Any]]) -> list[float]:
    """Seconds that each job took, one after the other. Raises RuntimeError on a wrong result."""
    found = []
    for payload in work:
        start = time.perf_counter()
        result = run(payload)
        found.append(time.perf_counter() - start)
        if result != payload["id"]:
            raise RuntimeError(f"the result of job {payload['id']} is {result!r}")
    return found


def main(argv: list[str]) -> int:
    """Does as it is told until its standard input ends."""
    library = LIBRARIES[argv[0]]
    module = importlib.import_module(f"gearfast.bench.queues.{library.module}")
    enqueue, run = (getattr(module, name) for name in library.calls)
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        if "jobs" in order:
            enqueue(payloads(order["jobs"], order["port"]))
            answer: dict[str, Any] = {"submitted": order["jobs"]}
        else:
            answer = {"seconds": wait_times(run, payloads(order["waits"]))}
        print(json.dumps(answer), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

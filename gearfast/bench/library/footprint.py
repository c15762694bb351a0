# SPDX-License-Identifier: BSD-3-Clause
"""What gearfast costs before it does anything: time to import, what it imports, and a worker's memory (Linux)."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from gearfast.bench.library.runner import LibraryError
from gearfast.bench.load import Loader, LoadError, Meter
from gearfast.bench.servers import Server, ServerError, cpu_seconds
from gearfast.bench.traffic import Traffic

__all__ = ["import_ms", "unwanted_modules", "worker_memory"]

PACKAGE: Final = "import gearfast"
NAMES: Final = "from gearfast import Client, Worker"
"""What `import gearfast` alone leaves for later: the names are imported when they are first used."""
REPEATS: Final = 5
"""Starts of a sample, of which the median counts."""
UNWANTED: Final = ("asyncio", "ssl")
_BARE: Final = "print(flush=True); input()"
_WORKER: Final = (
    "from gearfast import Worker; w = Worker({!r}); w.register('idle-0', lambda job: job.workload); w.run()"
)


def _environment() -> dict[str, str]:
    """That of the processes, which keep bytecode as where gearfast is installed: compiling takes time and memory."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def _python(statement: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", statement], capture_output=True, text=True, check=False, env=_environment()
    )
    if done.returncode:
        raise LibraryError(f"{statement} has failed:\n{done.stderr}")
    return done.stdout


def import_ms(samples: int = 11, statement: str = NAMES) -> list[float]:
    """Wall time in ms that `statement` adds to a fresh process that does nothing, medians of pairs.

    Raises LibraryError if it fails.
    """
    found = []
    _python(statement)  # writes its bytecode
    for _ in range(samples):
        more = []
        for _ in range(REPEATS):
            times = []
            for one in ("pass", statement):
                start = time.perf_counter()
                _python(one)
                times.append(time.perf_counter() - start)
            more.append((times[1] - times[0]) * 1e3)
        found.append(sorted(more)[REPEATS // 2])
    return found


def unwanted_modules(statement: str = NAMES) -> list[str]:
    """Modules that `statement` brings and should not: asyncio, ssl, and whatever is not of the standard library.

    Only what an importer found counts: Cython's extensions put two modules of their own making beside it. Raises
    LibraryError if the statement fails.
    """
    listing = "import json, sys; print(json.dumps([n for n, m in sys.modules.items() if getattr(m, '__spec__', None)]))"
    before, after = (set(json.loads(_python(f"{one}\n{listing}"))) for one in ("pass", statement))
    known = sys.stdlib_module_names - set(UNWANTED) | {"gearfast"}
    return sorted(name for name in after - before if name.partition(".")[0] not in known)


def private_bytes(pid: int) -> int:
    """Memory that the process `pid` shares with nobody, in RAM: Private_Clean and Private_Dirty. Raises OSError."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return 1024 * sum(int(line.split()[1]) for line in lines if line.startswith(("Private_Clean:", "Private_Dirty:")))


@contextlib.contextmanager
def _running(statement: str, *, says: bool) -> Iterator[int]:
    process = subprocess.Popen(
        [sys.executable, "-c", statement], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=_environment()
    )
    try:
        assert process.stdout is not None
        if says and not process.stdout.readline():
            raise LibraryError("a bare Python has failed")
        yield process.pid
    finally:
        process.kill()
        process.communicate()


def worker_memory() -> float:
    """MB (10^6 bytes) of private memory of an idle blocking worker beyond a bare Python's, both alive.

    The worker has done one job. Raises LibraryError, OSError.
    """
    try:
        _python(NAMES)  # writes its bytecode
        with (
            Server("gearfast") as server,
            _running(_BARE, says=True) as bare,
            _running(_WORKER.format(server.address), says=False) as worker,
            Loader(server.address, Traffic(workers=0, limit=1), prefix="idle") as loader,
        ):
            loader.sample(30.0, Meter(lambda: cpu_seconds(worker)))
            return (private_bytes(worker) - private_bytes(bare)) / 1e6
    except (ServerError, LoadError) as error:
        raise LibraryError(str(error)) from None

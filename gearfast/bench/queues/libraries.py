# SPDX-License-Identifier: BSD-3-Clause
"""The libraries that are compared, as data: what they need, how their workers start, how much a sample of each is."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

__all__ = ["LIBRARIES", "PEERS", "Library", "missing", "redis_server", "versions"]


@dataclass(frozen=True, slots=True)
class Library:
    """One library in one setting."""

    name: str
    title: str
    module: str
    """The module of this package that talks to it."""
    worker: tuple[str, ...]
    """Its worker's command behind `python -m`; `{broker}` is HOST:PORT."""
    producer: str
    """How jobs are submitted, in words."""
    packages: tuple[str, ...] = ()
    """Names on the package index; modules have the same with underscores. Celery's transport imports packaging."""
    jobs: int = 500
    """Jobs in a sample of CPU, about half a second."""
    waits: int = 100
    """Jobs in a sample of latency."""
    peer: bool = True
    """Whether gearfast is compared with it."""
    calls: tuple[str, str] = ("enqueue", "run")
    """The module's functions that submit many jobs and that run one."""

    @property
    def redis(self) -> bool:
        """Whether its broker is Redis."""
        return self.peer


_HERE: Final = "gearfast.bench.queues"
_GEARFAST: Final = ("gearfast", "worker", f"{_HERE}.with_gearfast:worker", "--server", "{broker}",
                    "--log-level", "warning")  # fmt: skip
_RQ: Final = ("rq.cli", "worker", "--url", "redis://{broker}/0", "--quiet")

LIBRARIES: Final[dict[str, Library]] = {
    library.name: library
    for library in (
        Library("gearfast", "gearfast", "with_gearfast", _GEARFAST, "`Client.map_background`",
                jobs=20_000, waits=300, peer=False),
        Library("gearfast-one", "gearfast, each submission waits", "with_gearfast", _GEARFAST,
                "`Client.submit_background`, one after the other", jobs=5_000, waits=300, peer=False,
                calls=("enqueue_singly", "run")),
        Library("celery", "Celery + Redis", "with_celery",
                ("celery", "-A", f"{_HERE}.with_celery:app", "worker", "-P", "prefork", "-c", "1"),
                "`task.delay`, JSON, `ignore_result`", ("celery[redis]", "packaging", "redis"), jobs=300),
        Library("rq", "RQ", "with_rq", _RQ, "`queue.enqueue`, `result_ttl=0`", ("rq", "redis"), jobs=40, waits=20),
        Library("rq-simple", "RQ, SimpleWorker", "with_rq", (*_RQ, "--worker-class", "rq.worker.SimpleWorker"),
                "`queue.enqueue`, `result_ttl=0`", ("rq", "redis"), jobs=120, waits=50),
        Library("dramatiq", "dramatiq + Redis", "with_dramatiq",
                ("dramatiq", f"{_HERE}.with_dramatiq", "-p", "1", "-t", "8"), "`actor.send`", ("dramatiq", "redis"),
                jobs=600),
        Library("taskiq", "taskiq + Redis", "with_taskiq",
                ("taskiq", "worker", f"{_HERE}.with_taskiq:broker", "--workers", "1", "--log-level", "WARNING"),
                "`await task.kiq`, `RedisStreamBroker`", ("taskiq", "taskiq-redis", "redis"), jobs=300, waits=10),
        Library("taskiq-list", "taskiq + Redis, list broker", "with_taskiq",
                ("taskiq", "worker", f"{_HERE}.with_taskiq:list_broker", "--workers", "1", "--log-level", "WARNING"),
                "`await task.kiq`, `ListQueueBroker`", ("taskiq", "taskiq-redis", "redis"), jobs=300, waits=10,
                calls=("enqueue_list", "run_list")),
        Library("huey", "Huey + Redis", "with_huey",
                ("huey.bin.huey_consumer", f"{_HERE}.with_huey.huey", "-k", "thread", "-w", "1", "-q"),
                "`task(…)`, `results=False`", ("huey", "redis"), jobs=800),
    )
}  # fmt: skip
"""All by name, gearfast first."""
PEERS: Final = tuple(name for name, library in LIBRARIES.items() if library.peer)


def redis_server() -> str | None:
    """The path of redis-server; None: it is not installed."""
    return shutil.which("redis-server") or shutil.which("redis-server", path="/usr/sbin:/usr/local/sbin")


def _module(package: str) -> str:
    return package.partition("[")[0].replace("-", "_")


def missing(names: Iterable[str] = LIBRARIES) -> str:
    """What the libraries `names` lack here, with the commands that install it; empty: nothing."""
    libraries = [LIBRARIES[name] for name in names]
    packages = dict.fromkeys(package for library in libraries for package in library.packages)
    absent = [package for package in packages if importlib.util.find_spec(_module(package)) is None]
    lines = [f"{', '.join(absent)} (pip install {shlex.join(absent)})"] if absent else []
    if redis_server() is None and any(library.redis for library in libraries):
        lines.append("redis-server (Debian: apt-get install redis-server)")
    return " and ".join(lines)


def versions(names: Iterable[str] = LIBRARIES) -> dict[str, str]:
    """Versions of what the libraries `names` use, as far as it is installed."""
    found = {}
    for package in dict.fromkeys(package for name in names for package in LIBRARIES[name].packages):
        try:
            found[package.partition("[")[0]] = importlib.metadata.version(package.partition("[")[0])
        except importlib.metadata.PackageNotFoundError:
            continue
    program = redis_server()
    if program is not None:
        said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
        match = re.search(r"v=(\S+)", said)
        found["redis-server"] = match[1] if match else "unknown"
    return found

# SPDX-License-Identifier: BSD-3-Clause
"""gearfast's clients and workers beside those of pygearman, and the embedded server's start.

One foreground job at a time, against the same server in the same run. The other end is always the load generator, so
that only one Python process is measured at a time: a client against its workers, a worker against its clients.

`python -m gearfast.bench.peers ROLE LIBRARY ADDRESS` is the process that is measured.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from gearfast.bench.harness import cpus
from gearfast.bench.load import Loader, LoadError, Meter, pinned
from gearfast.bench.servers import Server, ServerError, cpu_seconds
from gearfast.bench.stats import paired_ratios
from gearfast.bench.traffic import Traffic

__all__ = ["Comparison", "PeerError", "compare", "embedded_start", "interleaved"]

LIBRARIES: Final = ("gearfast", "compat", "pygearman")
"""gearfast's own, gearfast in pygearman's place, and pygearman."""
MODULES: Final = {"compat": "gearfast.compat.gearman", "pygearman": "gearman"}
"""Where those with pygearman's names are imported from."""
PAYLOAD: Final = b"x" * 32
CLIENT_FUNCTION: Final = "bench-0"
WORKER_FUNCTIONS: Final = {"gearfast": 1, "pygearman": 2, "compat": 3}
"""Number of the function that each library's worker does, so that none takes another's jobs."""


class PeerError(RuntimeError):
    """The comparison cannot be made; the text says what is missing."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """CPU per job in µs of each library's client and worker, samples in the order of the rounds."""

    client: dict[str, list[float]]
    worker: dict[str, list[float]]

    def client_ratios(self, library: str = "gearfast") -> list[float]:
        """A library's client to pygearman's, pair by pair."""
        return paired_ratios(self.client[library], self.client["pygearman"])

    def worker_ratios(self, library: str = "gearfast") -> list[float]:
        """A library's worker to pygearman's, pair by pair."""
        return paired_ratios(self.worker[library], self.worker["pygearman"])


class _Side:
    """The process of one library's client or worker."""

    def __init__(self, role: str, library: str, address: str, cpu_set: set[int] | None) -> None:
        self.name = f"{library} {role}"
        with pinned(cpu_set):
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gearfast.bench.peers", role, library, address],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        self._answer()

    def _answer(self) -> dict[str, float]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise PeerError(f"the {self.name} ended")
        answer: dict[str, float] = json.loads(line)
        return answer

    def order(self, seconds: float) -> float:
        """Lets a client run jobs for `seconds`; returns how many."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{seconds}\n")
        self.process.stdin.flush()
        return self._answer()["jobs"]

    def cpu(self) -> float:
        return cpu_seconds(self.process.pid)

    def close(self) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        self.process.terminate()
        self.process.wait()
        self.process.stdout.close()


def interleaved(samples: int, take: dict[str, Callable[[], float]]) -> dict[str, list[float]]:
    """Samples of each in rounds, A B C C B A, after one that does not count."""
    values: dict[str, list[float]] = {name: [] for name in take}
    for first in take.values():
        first()
    for turn in range(samples):
        for name in list(take)[:: 1 if turn % 2 == 0 else -1]:
            values[name].append(take[name]())
    return values


def _measure_clients(server: Server, samples: int, seconds: float, pin: str) -> dict[str, list[float]]:
    mine, others = cpus(pin)
    with contextlib.ExitStack() as stack:
        stack.enter_context(Loader(server.address, Traffic(clients=0, workers=1), others))
        take: dict[str, Callable[[], float]] = {}
        for library in LIBRARIES:
            side = _Side("client", library, server.address, mine)
            stack.callback(side.close)

            def sample(side: _Side = side) -> float:
                before = side.cpu()
                jobs = side.order(seconds)
                return (side.cpu() - before) / jobs * 1e6

            take[library] = sample
        return interleaved(samples, take)


def _measure_workers(server: Server, samples: int, seconds: float, pin: str) -> dict[str, list[float]]:
    mine, others = cpus(pin)
    with contextlib.ExitStack() as stack:
        take: dict[str, Callable[[], float]] = {}
        for library in LIBRARIES:
            side = _Side("worker", library, server.address, mine)
            stack.callback(side.close)
            traffic = Traffic(clients=1, workers=0, target=WORKER_FUNCTIONS[library])
            loader = stack.enter_context(Loader(server.address, traffic, others))

            def sample(loader: Loader = loader, side: _Side = side) -> float:
                meter = Meter(side.cpu)
                jobs = loader.sample(seconds, meter).jobs
                return meter.seconds / jobs * 1e6

            take[library] = sample
        return interleaved(samples, take)


def compare(samples: int = 11, seconds: float = 0.3, *, server: str = "gearfast", pin: str = "one") -> Comparison:
    """CPU per job of all libraries' clients and workers, one foreground job of 32 bytes at a time.

    `pin`: see `gearfast.bench.harness.PINS`; with "split" the measured process has a CPU to itself. Raises PeerError
    if pygearman or the server is missing or a side fails.
    """
    try:
        importlib.import_module("gearman")
    except ImportError:
        raise PeerError("the comparison needs pygearman: pip install pygearman==0.2.6") from None
    try:
        with Server(server, cpus(pin)[1]) as running:
            clients = _measure_clients(running, samples, seconds, pin)
        with Server(server, cpus(pin)[1]) as running:
            return Comparison(clients, _measure_workers(running, samples, seconds, pin))
    except (ServerError, LoadError) as error:
        raise PeerError(str(error)) from None


def embedded_start(samples: int = 11) -> list[float]:
    """Seconds from starting an embedded server to its first finished job, each in a new process, imports not counted.

    Raises PeerError if a process fails.
    """
    found = []
    for _ in range(samples):
        done = subprocess.run(
            [sys.executable, "-m", "gearfast.bench.peers", "embedded", "gearfast", "-"],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise PeerError(f"the embedded server failed:\n{done.stderr}")
        found.append(float(done.stdout))
    return found


# ---- in the process that is measured ---------------------------------------------------------------------------


def _say(**answer: float) -> None:
    print(json.dumps(answer), flush=True)


def _be_client(library: str, address: str) -> None:
    run: Callable[[], object]
    if library == "gearfast":
        from gearfast import Client

        client = Client(address)

        def run() -> bytes:
            return client.run(CLIENT_FUNCTION, PAYLOAD)

    else:
        gearman = importlib.import_module(MODULES[library])

        peer = gearman.GearmanClient([address])

        def run() -> bytes:
            # Without a time-out 0.2.6 does not wait for the result.
            result: bytes = peer.submit_job(CLIENT_FUNCTION, PAYLOAD, poll_timeout=30.0).result
            return result

    _say(ready=1)
    for line in sys.stdin:
        deadline = time.monotonic() + float(line)
        jobs = 0
        while time.monotonic() < deadline:
            if run() != PAYLOAD:
                raise RuntimeError("a wrong result")
            jobs += 1
        _say(jobs=jobs)


def _be_worker(library: str, address: str) -> None:
    function = f"bench-{WORKER_FUNCTIONS[library]}"
    _say(ready=1)
    if library == "gearfast":
        from gearfast import Worker

        worker = Worker(address)
        worker.register(function, lambda job: job.workload)
        worker.run()
    else:
        gearman = importlib.import_module(MODULES[library])

        peer = gearman.GearmanWorker([address])
        peer.register_task(function.encode(), lambda worker, job: job.data)
        peer.work()


def _be_embedded() -> None:
    """Prints the seconds from the start of an embedded server to its first finished job."""
    import asyncio  # noqa: F401

    from gearfast import Client, Server, Worker

    start = time.perf_counter()
    with Server() as server:
        worker = Worker(server.url)
        worker.register(CLIENT_FUNCTION, lambda job: job.workload)
        thread = threading.Thread(target=worker.run)
        thread.start()
        with Client(server.url) as client:
            result = client.run(CLIENT_FUNCTION, PAYLOAD)
        seconds = time.perf_counter() - start
        worker.stop()
        thread.join()
    if result != PAYLOAD:
        raise RuntimeError("a wrong result")
    print(seconds)


def main(argv: list[str]) -> int:
    """One measured process: ROLE ("client", "worker", "embedded"), LIBRARY and HOST:PORT."""
    role, library, address = argv
    if role == "client":
        _be_client(library, address)
    elif role == "worker":
        _be_worker(library, address)
    else:
        _be_embedded()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

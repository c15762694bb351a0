# SPDX-License-Identifier: BSD-3-Clause
"""Measures the libraries: broker, worker and producer of each as processes, samples interleaved A B B A (Linux).

Each library has a broker of its own: `gearfast server`, or a redis-server that writes nothing to disk. All of them
listen at 127.0.0.1. A worker that is not measured waits for jobs meanwhile.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles
from typing import Any, Final

from gearfast.bench.harness import cpus
from gearfast.bench.load import pinned
from gearfast.bench.queues.job import BROKER, RESULTS
from gearfast.bench.queues.libraries import LIBRARIES, PEERS, Library, missing, redis_server
from gearfast.bench.queues.trees import members, tree_cpu
from gearfast.bench.servers import Server, ServerError
from gearfast.bench.stats import paired_ratios, summarize

__all__ = ["Measured", "QueueError", "figures", "measure"]

START_SECONDS: Final = 60.0
JOB_SECONDS: Final = 120.0
"""How long a sample may take."""
STOP_SECONDS: Final = 2.0
REST_SECONDS: Final = 0.02
"""After the last job: those beside it in other threads end."""


class QueueError(RuntimeError):
    """The comparison cannot be made; the text says what is missing or has failed."""


@dataclass(slots=True)
class Measured:
    """What was measured, by library, samples in the order of the rounds."""

    cpu: dict[str, list[float]] = field(default_factory=dict)
    """CPU of producer, broker and worker a job, in µs."""
    waits: dict[str, list[list[float]]] = field(default_factory=dict)
    """Seconds of each job, one at a time."""


def figures(measured: Measured) -> dict[str, list[float]]:
    """The named figures: µs; medians sample by sample, the 99th percentile over all samples; ratios pair by pair."""
    found: dict[str, list[float]] = {}
    for name, values in measured.cpu.items():
        found[f"queues-cpu-{name}"] = list(values)
    for name, samples in measured.waits.items():
        found[f"queues-p50-{name}"] = [summarize(sample).median * 1e6 for sample in samples]
        pooled = [value for sample in samples for value in sample]
        if len(pooled) > 1:
            found[f"queues-p99-{name}"] = [quantiles(pooled, n=100, method="inclusive")[98] * 1e6]
    peers = [name for name in PEERS if name in measured.cpu]
    if peers and "gearfast" in measured.cpu:
        best = min(peers, key=lambda name: summarize(measured.cpu[name]).median)
        found["queues-cpu-ratio"] = paired_ratios(measured.cpu[best], measured.cpu["gearfast"])
    if "gearfast" in measured.waits and "celery" in measured.waits:
        found["queues-p50-ratio"] = paired_ratios(found["queues-p50-gearfast"], found["queues-p50-celery"])
    return found


class _Redis:
    """A redis-server that keeps all in memory; a context manager like `Server`."""

    def __init__(self, pin: set[int] | None) -> None:
        program = redis_server()
        if program is None:
            raise QueueError(f"missing: {missing()}")
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            port = sock.getsockname()[1]
        self.address = f"127.0.0.1:{port}"
        self._folder = tempfile.TemporaryDirectory(prefix="gearfast-redis-")
        command = [program, "--bind", "127.0.0.1", "--port", str(port), "--dir", self._folder.name, "--save", "",
                   "--appendonly", "no"]  # fmt: skip
        with pinned(pin):
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        self.pid = self._process.pid
        try:
            self._wait_ready(port)
        except BaseException:
            self.close()
            raise

    def _wait_ready(self, port: int) -> None:
        end = time.monotonic() + START_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return
            except OSError as error:
                if self._process.poll() is not None or time.monotonic() > end:
                    raise QueueError(f"redis-server does not listen: {error}") from None
            time.sleep(0.005)

    def close(self) -> None:
        """Stops it at once."""
        self._process.kill()
        self._process.wait()
        self._folder.cleanup()


class _Side:
    """Broker, worker and producer of one library; `ready` before anything else, `close` at the end."""

    def __init__(self, library: Library, results: bool, pins: tuple[set[int] | None, set[int] | None]) -> None:
        self.library = library
        self._stack = contextlib.ExitStack()
        try:
            self._start(results, *pins)
        except BaseException:
            self._stack.close()
            raise

    def _start(self, results: bool, broker_pin: set[int] | None, pin: set[int] | None) -> None:
        broker = _Redis(broker_pin) if self.library.redis else Server("gearfast", broker_pin)
        self._stack.callback(broker.close)
        folder = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="gearfast-queues-"))
        self._log = Path(folder, "log")
        self._port = self._stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        self._port.bind(("127.0.0.1", 0))
        environment = {**os.environ, BROKER: broker.address, RESULTS: "1" if results else "0"}
        words = [word.replace("{broker}", broker.address) for word in self.library.worker]
        with pinned(pin), self._log.open("wb") as log:
            self._worker = subprocess.Popen(
                [sys.executable, "-m", *words], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment,
                start_new_session=True,
            )  # fmt: skip
            self._stack.callback(self._end_worker)
            self._producer = subprocess.Popen(
                [sys.executable, "-m", "gearfast.bench.queues.producer", self.library.name],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env=environment, text=True,
            )  # fmt: skip
            self._stack.callback(self._end_producer)
        assert broker.pid is not None
        self._pids = (broker.pid, self._worker.pid, self._producer.pid)

    def _fail(self, what: str) -> QueueError:
        lines = self._log.read_text(errors="replace").splitlines()[-15:]
        return QueueError("\n".join([f"{self.library.title}: {what}", *lines]))

    def _answer(self) -> dict[str, Any]:
        assert self._producer.stdout is not None
        line = self._producer.stdout.readline()
        if not line:
            raise self._fail("the producer ended")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _order(self, **order: int) -> dict[str, Any]:
        assert self._producer.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # _answer says what happened
            self._producer.stdin.write(f"{json.dumps(order)}\n")
            self._producer.stdin.flush()
        return self._answer()

    def _submit(self, jobs: int, seconds: float) -> None:
        """Submits `jobs` and waits until the last was done."""
        self._order(jobs=jobs, port=self._port.getsockname()[1])
        end = time.monotonic() + seconds
        while True:
            self._port.settimeout(1.0)
            try:
                self._port.recv(100)
                break
            except TimeoutError:
                if self._worker.poll() is not None:
                    raise self._fail(f"the worker ended with status {self._worker.returncode}") from None
                if time.monotonic() > end:
                    raise self._fail(f"the last of {jobs} jobs was not done in {seconds:g} s") from None
        time.sleep(REST_SECONDS)

    def ready(self, jobs: int) -> None:
        """Waits until its worker works, and lets it do `jobs` to be warm."""
        self._answer()
        self._submit(1, START_SECONDS)
        self._submit(jobs, JOB_SECONDS)

    def cpu(self, jobs: int) -> float:
        """CPU of all its processes a job, in µs."""
        before = tree_cpu(self._pids)
        self._submit(jobs, JOB_SECONDS)
        return (tree_cpu(self._pids) - before) / jobs * 1e6

    def waits(self, jobs: int) -> list[float]:
        """Seconds of each of `jobs`, submitted one after the other."""
        seconds: list[float] = self._order(waits=jobs)["seconds"]
        return seconds

    def stop(self) -> None:
        """Asks its worker to end, so that all workers end at the same time."""
        if self._worker.poll() is None:
            self._worker.terminate()

    def _end_worker(self) -> None:
        """Ends the worker's processes, by force if they take long: no job of theirs is worth anything."""
        family = members(self._worker.pid)
        self.stop()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._worker.wait(STOP_SECONDS)
        if self._worker.poll() is None or len(family) > 1:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._worker.pid, signal.SIGKILL)  # it leads a session of its own
        self._worker.wait()

    def _end_producer(self) -> None:
        assert self._producer.stdin is not None and self._producer.stdout is not None
        self._producer.kill()
        self._producer.wait()
        with contextlib.suppress(BrokenPipeError):
            self._producer.stdin.close()
        self._producer.stdout.close()

    def close(self) -> None:
        """Ends all its processes."""
        self._stack.close()


def _amount(number: int, scale: float) -> int:
    return max(2, round(number * scale))


def _measure_all(names: list[str], samples: int, results: bool, pin: str, scale: float, measured: Measured) -> None:
    """Adds all samples of CPU, or of latency if `results`."""
    with contextlib.ExitStack() as stack:
        sides = []
        for name in names:
            side = _Side(LIBRARIES[name], results, cpus(pin))
            stack.callback(side.close)
            sides.append(side)
        for side in sides:
            side.ready(_amount(side.library.jobs, scale / 4))
        for turn in range(samples):
            for side in sides[:: 1 if turn % 2 == 0 else -1]:
                library = side.library
                if results:
                    seconds = side.waits(_amount(library.waits, scale))
                    measured.waits.setdefault(library.name, []).append(seconds)
                else:
                    measured.cpu.setdefault(library.name, []).append(side.cpu(_amount(library.jobs, scale)))
        for side in sides:
            side.stop()


def measure(samples: int = 11, *, pin: str = "one", names: Iterable[str] = LIBRARIES, scale: float = 1.0) -> Measured:
    """CPU and latency of the libraries `names`, `samples` times each in turn, forwards and backwards.

    pin: see `gearfast.bench.harness.PINS`; the broker is the server, worker and producer are the load. scale: times
    the jobs of a sample. Raises QueueError if something is missing or fails.
    """
    names = list(names)
    lacking = missing(names)
    if lacking:
        raise QueueError(f"the comparison needs {lacking}")
    measured = Measured()
    try:
        for results in (False, True):
            _measure_all(names, samples, results, pin, scale, measured)
    except (ServerError, ProcessLookupError) as error:
        raise QueueError(str(error)) from None
    return measured

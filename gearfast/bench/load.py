# SPDX-License-Identifier: BSD-3-Clause
"""The two processes that make the traffic, and the parent's handle on them.

`python -m gearfast.bench.load ROLE SETTINGS` is one of them: it connects, says `ready`, and then takes orders, one JSON
object a line, on its standard input and answers each with one line. Clients know `run`; workers know `settle`, `take`,
`pause` and `resume`, and work while they wait. Both end with their standard input.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from gearfast.bench.traffic import KINDS, Traffic

__all__ = ["Counts", "LoadError", "Loader", "Meter", "connect", "pinned", "raise_file_limit"]


class LoadError(RuntimeError):
    """The traffic broke: a connection was lost, a reply was missing, or the server answered with ERROR."""


@dataclass(frozen=True, slots=True)
class Counts:
    """What one sample of traffic counted."""

    jobs: int
    wall: float
    """Seconds of the part that counts."""
    p50: float
    """Seconds from a request to its answer, median."""
    p99: float
    load_cpu: float
    """Seconds of CPU that the clients and the workers took; of a submit phase, the clients alone."""


@contextlib.contextmanager
def pinned(cpus: set[int] | None) -> Iterator[None]:
    """Children that are started in the block run on `cpus` only; None: on any."""
    if cpus is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def connect(address: str) -> Any:
    """A connected stream socket; `address` is HOST:PORT or the path of a Unix socket. Raises OSError.

    With `tls:` before HOST:PORT it is a TlsLink, which only `Load` and `close` can use.
    """
    if address.startswith("tls:"):
        from gearfast.bench._tls_link import TlsLink

        return TlsLink(connect(address.removeprefix("tls:")))
    if address.startswith("/"):
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.connect(address)
        except OSError:
            sock.close()
            raise
        return sock
    host, _, port = address.rpartition(":")
    return socket.create_connection((host.strip("[]"), int(port)), timeout=10)


def raise_file_limit() -> None:
    """Lets this process, and its children, open as many files as it may."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class Meter:
    """What is read before and after the part of a sample that counts: the server's CPU time."""

    def __init__(self, read: Callable[[], float]) -> None:
        self._read = read
        self._at = 0.0
        self.seconds = 0.0

    def start(self) -> None:
        """Begins to count."""
        self._at = self._read()

    def stop(self) -> None:
        """`seconds` is what was used since `start`."""
        self.seconds = self._read() - self._at


class _Child:
    """One process of the traffic."""

    def __init__(self, role: str, address: str, traffic: Traffic, prefix: str) -> None:
        settings = json.dumps({"address": address, "traffic": traffic.as_dict(), "prefix": prefix})
        self.process = subprocess.Popen(
            [sys.executable, "-m", "gearfast.bench.load", role, settings],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.cpu = 0.0

    def wait(self) -> dict[str, Any]:
        """Its next answer. Raises LoadError if it has failed."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise LoadError("a process of the load generator ended")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise LoadError(answer["error"])
        self.cpu = answer["cpu"]
        return answer

    def order(self, **order: Any) -> dict[str, Any]:
        """Sends an order and waits for the answer. Raises LoadError if it has failed."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(order).encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise LoadError("a process of the load generator ended") from None
        return self.wait()

    def close(self) -> None:
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Loader:
    """Clients and workers of one row, connected to one server; a context manager.

    address: HOST:PORT or the path of a Unix socket. cpus: where both processes run, None for anywhere. prefix: how the
    names of the functions begin, so that loads on one server keep apart. Raises LoadError if the server cannot be
    reached.
    """

    def __init__(self, address: str, traffic: Traffic, cpus: set[int] | None = None, prefix: str = "bench") -> None:
        self.traffic = traffic
        self._finished = 0
        self._workers: _Child | None = None
        self._clients: _Child | None = None
        try:
            with pinned(cpus):
                if traffic.workers:
                    self._workers = _Child("workers", address, traffic, prefix)
                if traffic.clients:
                    self._clients = _Child("clients", address, traffic, prefix)
            for child in self._children():
                child.wait()
        except BaseException:
            self.close()
            raise

    def _children(self) -> list[_Child]:
        return [child for child in (self._workers, self._clients) if child is not None]

    def __enter__(self) -> Loader:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends both processes."""
        for child in self._children():
            child.close()

    def settle(self, jobs: int) -> None:
        """Waits until the workers have finished `jobs` more and sleep. Raises LoadError."""
        if self._workers is not None:
            self._finished += jobs
            self._workers.order(order="settle", target=self._finished)

    def _run(self, seconds: float) -> dict[str, Any]:
        assert self._clients is not None
        traffic = self.traffic
        counted = self._clients.order(order="run", seconds=seconds, limit=traffic.limit, rate=traffic.rate)
        if counted["wrong"]:
            raise LoadError(f"{counted['wrong']} results were wrong, came twice or were not ours")
        return counted

    def fill(self, jobs: int) -> None:
        """Submits `jobs` background jobs that stay queued: the workers wait. Raises LoadError."""
        assert self._clients is not None
        if self._workers is not None:
            self._workers.order(order="pause")
        counted = self._clients.order(order="run", seconds=3600.0, limit=jobs, rate=0.0)
        if counted["jobs"] != jobs:
            raise LoadError(f"{counted['jobs']} of {jobs} jobs were queued")

    def take(self, jobs: int, meter: Meter) -> int:
        """Lets the waiting workers finish `jobs` queued jobs, and no more; returns how many. `meter` is read around."""
        assert self._workers is not None
        meter.start()
        finished: int = self._workers.order(order="take", jobs=jobs)["finished"]
        meter.stop()
        done = finished - self._finished
        self._finished = finished
        return done

    def resume(self) -> None:
        """Lets workers that were paused go on with all that is queued. Raises LoadError."""
        assert self._workers is not None
        self._workers.order(order="resume")

    def sample(self, seconds: float, meter: Meter) -> Counts:
        """Sends traffic for `seconds` and until all of it is finished. `meter` is read around the part that counts."""
        phase, workers = self.traffic.phase, self._workers
        # Workers that only take submissions away afterwards are no part of what is measured.
        counting = [child for child in self._children() if phase != "submit" or child is self._clients]
        before = sum(child.cpu for child in counting)
        if phase != "whole" and workers is not None:
            workers.order(order="pause")
        if phase != "drain":
            meter.start()
        start = time.monotonic()
        counted = self._run(seconds)
        jobs = counted["jobs"]
        wall = counted["wall_ns"] / 1e9
        if phase == "submit":
            meter.stop()
        elif phase == "drain":
            meter.start()
            start = time.monotonic()
        if phase != "whole" and workers is not None:
            self.resume()
        self.settle(0 if self.traffic.kind == "echo" else jobs)
        if phase != "submit":
            meter.stop()
            if phase == "drain" or self.traffic.kind == "background":
                wall = time.monotonic() - start
        cpu = sum(child.cpu for child in counting) - before
        return Counts(jobs, wall, counted["p50_ns"] / 1e9, counted["p99_ns"] / 1e9, cpu)


# ---- in the child ----------------------------------------------------------------------------------------------


def _answer(**answer: Any) -> None:
    answer["cpu"] = time.process_time()
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def _orders() -> Iterator[dict[str, Any]]:
    """Orders as they come; the generator blocks for the next one. Ends with the standard input."""
    pending = b""
    while chunk := os.read(0, 65536):
        pending += chunk
        while b"\n" in pending:
            line, _, pending = pending.partition(b"\n")
            yield json.loads(line)


def _be_clients(address: str, traffic: Traffic, prefix: bytes) -> None:
    from gearfast.bench._clients import Clients, percentile

    idle = [connect(address) for _ in range(traffic.idle)]
    load = Clients(
        [connect(address) for _ in range(traffic.clients)],
        0,
        kind=KINDS.index(traffic.kind),
        window=traffic.window,
        payload=traffic.payload,
        answer=traffic.answer,
        function=b"%s-%d" % (prefix, traffic.target),
        uniques=traffic.uniques,
        priority=traffic.priority,
    )
    _answer(ready=True)
    for order in _orders():
        counted = load.run(order["seconds"], order["limit"], order["rate"])
        histogram = counted["histogram"]
        _answer(
            jobs=counted["jobs"],
            wall_ns=counted["wall_ns"],
            wrong=counted["wrong"],
            p50_ns=percentile(histogram, 0.50),
            p99_ns=percentile(histogram, 0.99),
        )
    load.close()
    for sock in idle:
        sock.close()


def _be_workers(address: str, traffic: Traffic, prefix: bytes) -> None:
    from gearfast.bench._workers import Workers

    load = Workers(
        [connect(address) for _ in range(traffic.workers)],
        0,
        grabs=traffic.grabs,
        grab=traffic.grab,
        answer=traffic.answer,
        functions=traffic.functions,
        prefix=prefix,
        credits=traffic.credits,
    )
    load.fence()
    others = (
        Workers([connect(address)], functions=traffic.others, prefix=b"%s-other" % prefix) if traffic.others else None
    )
    if others is not None:
        others.fence()
    _answer(ready=True)
    load.serve()
    for order in _orders():
        if order["order"] == "settle":
            load.settle(order["target"])
        elif order["order"] == "pause":
            load.pause()
        elif order["order"] == "take":
            load.take(order["jobs"])
        else:
            load.resume()
        _answer(finished=load.finished_jobs)
        load.serve()
    load.close()
    if others is not None:
        others.close()


def main(argv: list[str]) -> int:
    """One process of the traffic: ROLE ("clients" or "workers") and its settings as JSON."""
    settings = json.loads(argv[1])
    traffic = Traffic.from_dict(settings["traffic"])
    raise_file_limit()
    try:
        (_be_clients if argv[0] == "clients" else _be_workers)(
            settings["address"], traffic, settings["prefix"].encode()
        )
    except (OSError, RuntimeError) as error:
        _answer(error=f"{argv[0]}: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

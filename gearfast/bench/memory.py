# SPDX-License-Identifier: BSD-3-Clause
"""The memory of functions, registrations, idle connections and queued jobs, and grabbing from a long queue.

Memory is what is in RAM (RSS) by the kernel's count, before and after; each figure is of so many things that what a
server allocates besides does not show.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Final

from gearfast._codec import encode
from gearfast.bench.harness import cpus
from gearfast.bench.load import Loader, Meter, connect
from gearfast.bench.servers import Server
from gearfast.bench.traffic import Traffic
from gearfast.protocol import Command

__all__ = ["connection_memory", "function_memory", "queue_grabs", "queue_memory"]

FUNCTIONS: Final = 20_000
CONNECTIONS: Final = 10_000
WORKERS: Final = 4
"""Further workers whose registrations are counted."""
SAID: Final = 2_000
"""Bytes of the ECHO that an idle connection has sent."""
SHALLOW: Final = 1_000
"""Jobs in the queue that a long one is compared with."""
SETTLE_SECONDS: Final = 5.0
"""How long a server gets to give memory back."""


def function_memory(name: str = "gearfast", functions: int = FUNCTIONS) -> tuple[float, float]:
    """Bytes a function and bytes a worker's registration of one. Raises ServerError, LoadError.

    The first worker brings functions and registrations, the others registrations alone.
    """
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(Server(name))
        sizes = [server.resident()]
        for _ in range(1 + WORKERS):
            stack.enter_context(Loader(server.address, Traffic(clients=0, functions=functions)))
            sizes.append(server.resident())
    registration = (sizes[-1] - sizes[1]) / WORKERS / functions
    return (sizes[1] - sizes[0]) / functions - registration, registration


def connection_memory(name: str = "gearfast", connections: int = CONNECTIONS) -> float:
    """Bytes of an idle connection that has sent an ECHO of 2,000 bytes and got it back. Raises ServerError, OSError.

    What a server keeps of its buffers is part of it, so each connection must have used them.
    """
    packet = encode(Command.ECHO_REQ, b"." * SAID)
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(Server(name))
        before = server.resident()
        for _ in range(connections):
            sock = stack.enter_context(contextlib.closing(connect(server.address)))
            sock.sendall(packet)
            left = len(packet)
            while left:
                data = sock.recv(left)
                if not data:
                    raise ConnectionResetError(f"{name} closed a connection")
                left -= len(data)
        return (server.resident() - before) / connections


class _Queue:
    """A server whose queue is filled and emptied on order; a context manager."""

    def __init__(self, name: str, pin: str, uniques: bool = False) -> None:
        self._stack = contextlib.ExitStack()
        self._cpus = cpus(pin)
        self._traffic = Traffic(clients=4, workers=4, window=64, kind="background", uniques=uniques)
        self._name = name
        self.queued = 0

    def __enter__(self) -> _Queue:
        with contextlib.ExitStack() as stack:
            self.server = stack.enter_context(Server(self._name, self._cpus[0]))
            self.loader = stack.enter_context(Loader(self.server.address, self._traffic, self._cpus[1]))
            self._stack = stack.pop_all()
        self.meter = Meter(self.server.cpu)
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def fill(self, jobs: int) -> float:
        """Queues `jobs`; returns the memory of each in bytes."""
        before = self.server.resident()
        self.loader.fill(jobs)
        self.queued += jobs
        return (self.server.resident() - before) / jobs

    def grab(self, jobs: int) -> float:
        """Finishes `jobs`; returns the CPU of each in seconds. Workers hold one GRAB_JOB each."""
        done = self.loader.take(jobs, self.meter)
        self.queued -= done
        return self.meter.seconds / done

    def drain(self) -> None:
        """Finishes all that is queued, with workers that hold 64 GRAB_JOBs."""
        with Loader(self.server.address, Traffic(clients=0, workers=4, grabs=64), self._cpus[1]) as loader:
            loader.settle(self.queued)
        self.queued = 0

    def resident_at_rest(self) -> int:
        """Bytes in RAM, when they do not fall any more."""
        sizes = [self.server.resident()]
        end = time.monotonic() + SETTLE_SECONDS
        while time.monotonic() < end and (len(sizes) < 10 or min(sizes[-10:]) < sizes[-10]):
            time.sleep(0.1)
            sizes.append(self.server.resident())
        return min(sizes)


def queue_memory(name: str, jobs: int, *, uniques: bool = False, pin: str = "one") -> float:
    """Bytes a queued 32-byte background job. Raises ServerError, LoadError."""
    with _Queue(name, pin, uniques) as queue:
        return queue.fill(jobs)


def _shallow(queue: _Queue, jobs: int) -> float:
    """Seconds of CPU for each of `jobs` jobs, grabbed from a queue of at most `SHALLOW`."""
    seconds, rounds = 0.0, max(jobs // SHALLOW, 1)
    for _ in range(rounds):
        queue.fill(SHALLOW)
        seconds += queue.grab(SHALLOW)
    return seconds / rounds


def _deep(queue: _Queue, jobs: int) -> float:
    """The same from a long queue, in portions of the same size."""
    portion = min(SHALLOW, jobs)
    rounds = max(jobs // portion, 1)
    return sum(queue.grab(portion) for _ in range(rounds)) / rounds


def queue_grabs(
    name: str, jobs: int, *, samples: int = 11, taken: int = 10_000, pin: str = "one", drain: bool = True
) -> Iterator[tuple[str, float]]:
    """Measures a queue of `jobs` background jobs; gives names and values as they are known.

    "" bytes a job; "grab" CPU of a job that is grabbed from it to that of one from a queue of 1,000 on another process
    of the same server, `samples` pairs of `taken` jobs, A B B A; "grab-us" the same in µs; "given-back" the share of
    the memory that is given back when all jobs are finished, if they are (`drain`). Raises ServerError, LoadError.
    """
    with _Queue(name, pin) as deep, _Queue(name, pin) as shallow:
        before = deep.server.resident()
        yield "", deep.fill(jobs)
        full = deep.server.resident()
        _shallow(shallow, min(taken, SHALLOW))
        for turn in range(samples):
            if turn % 2:
                few = _shallow(shallow, taken)
                many = _deep(deep, taken)
            else:
                many = _deep(deep, taken)
                few = _shallow(shallow, taken)
            yield "grab-us", many * 1e6
            yield "grab", many / few
        if drain:
            deep.drain()
            yield "given-back", (full - deep.resident_at_rest()) / (full - before)

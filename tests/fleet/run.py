# SPDX-License-Identifier: BSD-3-Clause
"""A run: load on all servers, troubles drawn from a seed, peace, and what the histories say."""

from __future__ import annotations

import math
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.functional.server_tools import SLOW

from .check import figures
from .history import load
from .machines import KEPT, LEASE, Fleet, Node, Site
from .parties import Both, Doer, Ledger, Submitter, probe
from .switch import Way

__all__ = ["TROUBLES", "Outcome", "play"]

DRAIN_LIMIT = 40.0 * SLOW


def _wait(rng: random.Random, least: float, most: float) -> None:
    """Some leases."""
    time.sleep(LEASE * rng.uniform(least, most))


def cut_off(fleet: Fleet, node: Node, rng: random.Random) -> None:
    """The server and the database do not reach each other; only time-outs tell."""
    with fleet.network.cut(0, node.number):
        _wait(rng, 0.2, 3)


def cut_one_way(fleet: Fleet, node: Node, rng: random.Random) -> None:
    """What the server sends arrives, and no answer does; or the other way round."""
    way = rng.choice([(0, node.number), (node.number, 0)])
    fleet.network.set_way(*way, Way(cut=True))
    _wait(rng, 0.2, 2)
    fleet.network.set_way(*way, Way())


def alone(fleet: Fleet, node: Node, rng: random.Random) -> None:
    """The server is cut off from everybody."""
    others = [number for number in range(len(fleet.nodes) + 1) if number != node.number]
    for other in others:
        fleet.network.set_ways(node.number, other, Way(cut=True))
    _wait(rng, 0.2, 3)
    for other in others:
        fleet.network.set_ways(node.number, other, Way())


def unplugged(fleet: Fleet, node: Node, rng: random.Random) -> None:
    """The same, and its machine knows."""
    fleet.network.unplug(node.number)
    _wait(rng, 0.2, 2)
    fleet.network.plug(node.number)


def slow(fleet: Fleet, node: Node, rng: random.Random) -> None:
    """The way to the database takes its time, and loses packets."""
    fleet.network.set_ways(0, node.number, Way(delay=rng.uniform(0.005, 0.2), loss=rng.choice([0, 0, 0.05, 0.2])))
    _wait(rng, 0.5, 2)
    fleet.network.set_ways(0, node.number, Way())


def stopped(fleet: Fleet, node: Node, rng: random.Random) -> None:
    """The server stands still, for less than its lease or longer."""
    node.pause()
    _wait(rng, 0.1, 2.5)
    node.go_on()


def killed(fleet: Fleet, node: Node, rng: random.Random) -> None:
    """The server is killed and started again."""
    node.kill()
    _wait(rng, 0, 0.7)
    node.start()


def left(fleet: Fleet, node: Node, rng: random.Random) -> None:
    """The server is stopped as it should be, and started again."""
    node.leave()
    _wait(rng, 0, 0.3)
    node.start()


def wrong_clock(fleet: Fleet, node: Node, rng: random.Random) -> None:
    """The wall clock of the server's machine is set, twice."""
    node.clock.jump(rng.randrange(-600, 600))
    _wait(rng, 0.1, 0.5)
    node.clock.jump(rng.randrange(-600, 600))


def database_stands(fleet: Fleet, node: Node, rng: random.Random) -> None:
    """The database's machine stands still."""
    fleet.database.signal(signal.SIGSTOP)
    _wait(rng, 0.1, 1.5)
    fleet.database.signal(signal.SIGCONT)


def database_killed(fleet: Fleet, node: Node, rng: random.Random) -> None:
    """The database is killed and started again."""
    fleet.database.kill()
    _wait(rng, 0, 0.5)
    fleet.database.start()


Trouble = Callable[[Fleet, Node, random.Random], None]
OF_THE_DATABASE: tuple[Trouble, ...] = (database_stands, database_killed)
TROUBLES: tuple[Trouble, ...] = (
    cut_off,
    cut_one_way,
    alone,
    unplugged,
    slow,
    stopped,
    killed,
    left,
    wrong_clock,
    *OF_THE_DATABASE,
)


@dataclass
class Outcome:
    """What a run has shown. `troubles`: how many of them there were."""

    seed: int
    seconds: float = 0.0
    troubles: int = 0
    figures: dict[str, int] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        counts = ", ".join(f"{count} {name}" for name, count in self.figures.items())
        return (
            f"seed {self.seed}: {self.troubles} troubles in {self.seconds:.0f} s, {counts}, {len(self.faults)} faults"
        )


class Nemesis:
    """Gives trouble to one server, or to two at once: each has a thread, so that theirs may overlap."""

    def __init__(self, fleet: Fleet, seed: int) -> None:
        self.fleet = fleet
        self.rng = random.Random(seed)
        self.count = 0

    def give(self, trouble: Trouble, node: Node, seed: int) -> None:
        """One trouble, noted."""
        self.fleet.notes.add("trouble", time.monotonic_ns(), trouble.__name__, node.number)
        self.count += 1
        try:
            trouble(self.fleet, node, random.Random(seed))
        except BaseException as error:
            self.fleet.faults.append(f"{trouble.__name__} of node {node.number}: {error!r}")
            raise
        self.fleet.notes.add("over", time.monotonic_ns(), trouble.__name__, node.number)

    def drawn(self) -> Iterator[list[tuple[Trouble, Node]]]:
        """What happens at once, for ever."""
        while True:
            nodes = self.rng.sample(self.fleet.nodes, self.rng.choice([1, 1, 2]))
            yield [(self.rng.choice(TROUBLES), node) for node in nodes]

    def run(self, rounds: Iterator[list[tuple[Trouble, Node]]], seconds: float) -> None:
        """All rounds, or as many as begin in time."""
        end = time.monotonic() + seconds
        for together in rounds:
            seeds = [self.rng.getrandbits(32) for _ in together]
            # The database ends with the thread that has started it, and there is only one of it.
            mine = [(*one, seed) for one, seed in zip(together, seeds, strict=True) if one[0] in OF_THE_DATABASE]
            others = [(*one, seed) for one, seed in zip(together, seeds, strict=True) if one[0] not in OF_THE_DATABASE]
            threads = [threading.Thread(target=self.give, args=each, daemon=True) for each in others]
            for thread in threads:
                thread.start()
            for each in mine:
                self.give(*each)
            for thread in threads:
                thread.join()
            if time.monotonic() > end:
                return
            _wait(self.rng, 0, 0.5)


def _parties(fleet: Fleet, ledger: Ledger, stop: threading.Event, ended: threading.Event, seed: int) -> list[Doer]:
    """Clients and workers, started: at each server, and from afar."""
    count = len(fleet.nodes)
    rng = random.Random(seed)
    workers = []
    for node in fleet.nodes:
        far = node.number % count + 1
        for home in (node.number, far):
            Submitter(fleet, home, node, ledger, stop, rng.getrandbits(32)).start()
        Both(fleet, node.number, node, ledger, stop, rng.getrandbits(32)).start()
        for home in (node.number, node.number, far):
            workers.append(Doer(fleet, home, node, ledger, ended, rng.getrandbits(32)))
            workers[-1].start()
    return workers


def _left_in(node: Node) -> int:
    with node.connect() as wire:
        return sum(int(line.split(b"\t")[1]) for line in wire.lines("status"))


def _settle(fleet: Fleet, ledger: Ledger) -> None:
    """Waits until everything is as it should be again, or for long enough."""
    end = time.monotonic() + DRAIN_LIMIT
    waiting: list[Node] = list(fleet.nodes)
    problem: object = ""
    while time.monotonic() < end:
        if not waiting and ledger.is_drained and not sum(map(_left_in, fleet.nodes)):
            return
        if waiting:
            try:
                probe(fleet, waiting[0], ledger)
                waiting.pop(0)
            except (OSError, EOFError) as error:
                problem = error
        time.sleep(0.02)
    left = {node.number: _left_in(node) for node in fleet.nodes}
    fleet.faults.append(f"not drained: {len(ledger.open)} jobs, {left} in servers; {problem!r}")


def all_once(nemesis: Nemesis) -> Iterator[list[tuple[Trouble, Node]]]:
    """Every trouble once: as many at once as there are servers, each at another one; the database's alone."""
    nodes = nemesis.fleet.nodes
    troubles = [trouble for trouble in TROUBLES if trouble not in OF_THE_DATABASE]
    nemesis.rng.shuffle(troubles)
    for first in range(0, len(troubles), len(nodes)):
        together = troubles[first : first + len(nodes)]
        yield list(zip(together, nemesis.rng.sample(nodes, len(together)), strict=True))
    for trouble in OF_THE_DATABASE:
        yield [(trouble, nodes[0])]


def play(site: Site, folder: Path, seed: int, seconds: float | None = None, flags: tuple[str, ...] = ()) -> Outcome:
    """One run, with troubles for so many seconds, or with each of them once."""
    outcome = Outcome(seed)
    began = time.monotonic()
    with Fleet(site, folder, *flags) as fleet:
        ledger, stop, ended = Ledger(fleet.notes), threading.Event(), threading.Event()
        workers = _parties(fleet, ledger, stop, ended, seed)
        nemesis = Nemesis(fleet, seed)
        nemesis.run(all_once(nemesis) if seconds is None else nemesis.drawn(), seconds or math.inf)
        fleet.heal()
        stop.set()
        _settle(fleet, ledger)
        ended.set()
        for worker in workers:
            worker.join()
        outcome.faults = fleet.check()
    outcome.figures = figures(load(folder, KEPT))
    outcome.troubles = nemesis.count
    outcome.seconds = time.monotonic() - began
    return outcome

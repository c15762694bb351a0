# SPDX-License-Identifier: BSD-3-Clause
"""The round without a client: its jobs are in the store of a job server that is killed halfway and started again."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Final

from gearfast import AdminClient, Client
from gearfast.demo.ledger import ended
from gearfast.demo.report import counted

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gearfast.demo.plan import Round
    from gearfast.demo.processes import Child, Family

__all__ = ["Keeper", "hand_over", "watch"]

KILL_AT: Final = 0.5
"""Part of the jobs after which the server is killed."""
PATIENCE: Final = 30.0
"""Seconds without the end of a job after which the round is given up."""
_TURN: Final = 0.05
"""Seconds between two looks."""


class Keeper:
    """A job server with a store. `child`: its process; `killed`: the one before, None until it was killed."""

    def __init__(self, family: Family, store: Path) -> None:
        self._family = family
        self._store = store
        self.killed: Child | None = None
        self.child = self._start("0")

    def _start(self, port: str) -> Child:
        return self._family.job_server("server 3", "--store", str(self._store), port=port)

    @property
    def address(self) -> str:
        """Where it listens, the same after its death."""
        return (self.killed or self.child).address

    @property
    def dead(self) -> tuple[Child, ...]:
        """Processes that ended because they were killed."""
        return (self.killed,) if self.killed is not None else ()

    def jobs(self) -> int:
        """How many jobs it has, those that run included."""
        with AdminClient(self.address) as admin:
            return sum(line.total for line in admin.status())

    def kill(self) -> str:
        """SIGKILL, and a new process on the same port and store; returns what there is to tell."""
        left, victim = self.jobs(), self.child
        victim.kill()
        self.killed = victim
        began = time.monotonic()
        self.child = self._start(victim.address.rpartition(":")[2])
        self.child.listening()
        seconds = time.monotonic() - began
        return (
            f"SIGKILL for {victim.name} (pid {victim.pid}, {victim.address}) with {counted(left, 'job')} in "
            f"{self._store.name}; started again (pid {self.child.pid}), it listens after {seconds:.1f} s"
        )


def hand_over(address: str, work: Round) -> int:
    """Submits all jobs of a round in the background; returns how many the server has acknowledged, all being well."""
    count = 0
    with Client(address) as client:
        for photo in work.photos:
            for job in work.chained_jobs(photo):
                client.submit_background(job.function, job.workload, unique=job.key)
                count += 1
    return count


def watch(
    keeper: Keeper, work: Round, ledger: Path, turn: Callable[[Counter[str]], None], tell: Callable[[str], None]
) -> list[str]:
    """Waits until the server has no job left; kills it on the way. Returns what went wrong.

    `turn(done)` is called many times a second with the jobs that the workers ended, by function.
    """
    functions = {job.key: job.function for job in work.jobs}
    done: set[str] = set()
    last = time.monotonic()
    while True:
        before, done = len(done), functions.keys() & ended(ledger, f"{work.name}/")
        turn(Counter(functions[key] for key in done))
        if not keeper.dead and len(done) >= KILL_AT * len(functions):
            tell(keeper.kill())
        left = keeper.jobs()
        if not left:
            break
        if len(done) > before:
            last = time.monotonic()
        elif time.monotonic() - last > PATIENCE:
            return [f"{counted(left, 'job')} are left at {keeper.child.name} and none ended in {PATIENCE:.0f} seconds"]
        time.sleep(_TURN)
    # Read again: the last ones may have ended after the look and before the server was asked.
    missing = functions.keys() - ended(ledger, f"{work.name}/")
    problems = [f"job {key} was acknowledged and never done" for key in sorted(missing)]
    return problems if keeper.dead else [*problems, "the job server with the store was not killed"]

# SPDX-License-Identifier: BSD-3-Clause
"""The bad luck of the last round: a worker and a job server are killed, each while it has something to lose."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from gearfast.demo.ledger import Held, held_by, holders, starts
from gearfast.demo.report import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from gearfast.demo.processes import Child

__all__ = ["Losses"]

WORKER_AT: Final = 0.2
"""Part of the jobs after which the worker is killed …"""
SERVER_AT: Final = 0.45
"""… and the job server. While the killed worker's job waits in a server, the other one is killed."""


class Losses:
    """Kills one worker that holds a job, and later the server on which most of the client's jobs are.

    `worker`, `server`: who was killed, None before. `job`: what the worker held. `jobs_on_server`: how many
    unfinished jobs of the client the server had.
    """

    def __init__(
        self, ledger: Path, workers: Sequence[Child], servers: Sequence[Child], say: Callable[[str], None]
    ) -> None:
        self._ledger = ledger
        self._workers = {child.name: child for child in workers}
        self._servers = {child.address: child for child in servers}
        self._say = say
        self.worker: Child | None = None
        self.job: Held | None = None
        self.server: Child | None = None
        self.jobs_on_server = 0

    @property
    def victims(self) -> tuple[Child, ...]:
        """Those that were killed."""
        return tuple(child for child in (self.worker, self.server) if child is not None)

    def step(self, part_done: float, places: Callable[[], dict[str, str]]) -> None:
        """Kills whoever's turn it is. `places()`: the client's unfinished jobs, the server's address by key."""
        if self.worker is None:
            if part_done >= WORKER_AT:
                self._kill_worker()
        elif self.server is None and part_done >= SERVER_AT:
            self._kill_server(places())

    def _begun_again(self) -> bool:
        assert self.job is not None
        return starts(self._ledger, self.job.key)[self.job.key] > 1

    def _kill_worker(self) -> None:
        for name in holders(self._ledger):
            child = self._workers[name]
            # A frozen worker cannot finish its job between the look into its ledger and the kill.
            frozen = child.freeze()
            job = held_by(self._ledger, name)
            if job is None:
                if frozen:
                    child.thaw()
                continue
            child.kill()
            self.job = held_by(self._ledger, name)
            if self.job is None:
                raise child.error("had just finished its job when it was killed; please run the demo again")
            self.worker = child
            self._say(f"SIGKILL for {name} (pid {child.pid}) in the middle of job {job.handle}, {job.key}")
            return

    def _kill_server(self, places: dict[str, str]) -> None:
        assert self.job is not None
        spared = None if self._begun_again() else places.get(self.job.key)
        here = Counter(address for address in places.values() if address in self._servers and address != spared)
        if not here:
            return
        ((address, self.jobs_on_server),) = here.most_common(1)
        self.server = self._servers[address]
        self.server.kill()
        jobs = counted(self.jobs_on_server, "job")
        self._say(f"SIGKILL for {self.server.name} (pid {self.server.pid}, {address}) with {jobs} on it")

    def problems(self) -> list[str]:
        """What did not happen although it should have."""
        missing = []
        if self.worker is None:
            missing.append("no worker was killed in the middle of a job")
        elif not self._begun_again():
            assert self.job is not None
            missing.append(f"the job of the killed worker, {self.job.key}, was not begun again")
        if self.server is None:
            missing.append("no job server was killed")
        return missing

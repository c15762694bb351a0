# SPDX-License-Identifier: BSD-3-Clause
"""The client of the demo: submits a photo's jobs, and its mails as soon as its images are made."""

from __future__ import annotations

import time
from collections import Counter
from concurrent.futures import FIRST_COMPLETED, wait
from typing import TYPE_CHECKING

from gearfast import GearfastError, Priority
from gearfast.demo.plan import MAIL, JobSpec, Round

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gearfast import Client
    from gearfast.sync.future import JobFuture

__all__ = ["Stalled", "Uploader"]

_TURN = 0.02
"""Seconds between two looks at the children while no job ends."""


class Stalled(Exception):
    """No job ended for a long time. The text says how many are open."""


class Uploader:
    """Does one round through a client.

    `done`: jobs that ended well, by function. `failures`: what jobs said that did not, and which.
    """

    def __init__(self, client: Client, work: Round) -> None:
        self._client = client
        self._work = work
        self._open: dict[JobFuture, JobSpec] = {}
        self._images_left = {photo.name: len(list(work.image_jobs(photo))) for photo in work.photos}
        self.total = sum(work.totals.values())
        self.done: Counter[str] = Counter()
        self.failures: list[str] = []

    def _submit(self, jobs: Iterable[JobSpec]) -> None:
        for job in jobs:
            # Mails first: whoever follows should not wait until the last photo is resized.
            priority = Priority.HIGH if job.function == MAIL else Priority.NORMAL
            future = self._client.submit(job.function, job.workload, unique=job.key, priority=priority)
            self._open[future] = job

    def _ended(self, future: JobFuture) -> None:
        job = self._open.pop(future)
        try:
            future.result()
        except GearfastError as exc:
            self.failures.append(f"job {job.key}: {type(exc).__name__}: {exc}")
            return
        self.done[job.function] += 1
        if job.function != MAIL:
            self._images_left[job.photo.name] -= 1
            if not self._images_left[job.photo.name]:
                self._submit(self._work.mail_jobs(job.photo))

    @property
    def part_done(self) -> float:
        """Which part of all jobs has ended well, 0 to 1."""
        return self.done.total() / self.total

    def places(self) -> dict[str, str]:
        """The server of each open job, by the job's key; jobs that no server took yet are left out."""
        return {
            job.key: future.handle.server for future, job in self._open.items() if not future.done() and future.handle
        }

    def run(self, turn: Callable[[Uploader], None], *, patience: float = 30.0) -> None:
        """Submits all and waits for all; calls `turn(self)` many times a second.

        Raises Stalled if for `patience` seconds no job ends.
        """
        for photo in self._work.photos:
            self._submit(self._work.image_jobs(photo))
        last = time.monotonic()
        while self._open:
            wait(self._open, timeout=_TURN, return_when=FIRST_COMPLETED)
            ended = [future for future in self._open if future.done()]
            for future in ended:
                self._ended(future)
            turn(self)
            if ended:
                last = time.monotonic()
            elif time.monotonic() - last > patience:
                raise Stalled(f"{len(self._open)} jobs are open and none ended in {patience:.0f} seconds")

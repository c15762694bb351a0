# SPDX-License-Identifier: BSD-3-Clause
"""As `test_journal_play.py`, of functions that keep results: what the store knows of is there again, as it was, and
nothing is both a job and a result."""

from __future__ import annotations

import pytest

from gearfast.dispatch import Dispatcher
from gearfast.dispatch.policy import Policies
from tests.protocol.script import PREFIX, Q

from .test_journal_play import STEPS, Play

KEEP = Policies.parse({"f*": {"keep_results": 10000, "keep_failed": 0}})
MANY = 3 * STEPS


class ResultPlay(Play):
    """Its workers' results tell the job's number, now and then in many bytes."""

    def __init__(self, seed: int) -> None:
        self.taken_with: dict[int, bytes | None] = {}  # results at the moment when the batch was taken
        self.safe: dict[int, bytes | None] = {}  # those in the store
        self.dropped: set[int] = set()
        self.came_back = 0
        super().__init__(seed, KEEP)

    def results(self) -> dict[int, bytes | None]:
        """Those of the server, by the numbers of their jobs."""
        return {result["number"]: result["data"] for result in self.server.results()}

    def crash(self) -> None:
        self.next_number = self.server.next_number + 100
        self.server = Dispatcher()
        self.start()
        jobs = {job["number"]: job["workload"] for job in self.server.jobs()}
        back = self.results()
        assert not set(jobs) & set(back), "both a job and a result"
        assert not self.disk.ended & {*jobs, *back}, "came back, though the store knew it to be gone"
        safe = {number: data for number, data in self.safe.items() if number not in self.dropped}
        assert safe.items() <= back.items(), "a result that was in the store is lost"
        lost = self.acknowledged - self.finished - set(jobs) - set(back)
        assert not lost, f"acknowledged, not done, and not back: {lost}"
        self.finished -= set(jobs)
        self.dropped -= set(back)  # not stored
        self.safe = self.taken_with = back
        self.came_back += len(back)

    def work(self) -> None:
        if not self.workers or self.rng.random() < 0.1:
            peer = self.server.connect()
            self.workers[peer] = []
            self.server.receive(peer, Q.CAN_DO(b"f0") + Q.CAN_DO(b"f1"))
        peer = self.rng.choice(list(self.workers))
        running = self.workers[peer]
        if running and self.rng.random() < 0.7:
            number = running.pop(self.rng.randrange(len(running)))
            handle = PREFIX + b":%d" % number
            known = {job["number"] for job in self.server.jobs()}
            result = b"%d" % number + bytes(self.rng.choice((0, 10, 50_000)))
            ends = (Q.WORK_FAIL(handle), Q.WORK_EXCEPTION(handle, result), Q.WORK_COMPLETE(handle, result))
            self.server.receive(peer, self.rng.choice(ends))
            if number in known:
                self.finished.add(number)
        else:
            self.server.receive(peer, Q.GRAB_JOB())
        self.collect()

    def bring_out(self) -> None:
        """A result is dropped, or asked for, or a job is cancelled."""
        admin = self.server.connect()
        results = list(self.results())
        jobs = [job["number"] for job in self.server.jobs() if not job["ignored"]]
        if results and self.rng.random() < 0.5:
            number = self.rng.choice(results)
            self.server.receive(admin, b"results drop %s:%d\n" % (PREFIX, number))
            self.dropped.add(number)
            self.brought_out += 1
        elif jobs and self.rng.random() < 0.3:
            number = self.rng.choice(jobs)
            self.server.receive(admin, b"cancel job %s:%d\n" % (PREFIX, number))
            self.finished.add(number)
        elif results:
            number = self.rng.choice(results)
            self.server.receive(admin, Q.SUBMIT_JOB(b"gearfast.result", b"", b"%s:%d" % (PREFIX, number)))
            assert b"%s:%d" % (PREFIX, number) in self.server.take_output(admin)
        self.server.disconnect(admin)
        self.collect()

    def commit(self) -> None:
        before = self.taken
        super().commit()
        if before is None:
            self.taken_with = {number: data for number, data in self.results().items() if number in self.acknowledged}
        elif before in self.disk.written:
            self.safe = self.taken_with


@pytest.mark.parametrize("seed", range(20))
def test_no_result_is_lost(seed: int) -> None:
    play = ResultPlay(seed)
    for _ in range(MANY):
        play.step()
    assert play.brought_out
    assert play.came_back
    play.crash()

# SPDX-License-Identifier: BSD-3-Clause
"""What is said of the round without a client when it does not go well, with a server that has what the test says."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from gearfast.demo import keeper
from gearfast.demo.keeper import watch
from gearfast.demo.ledger import Ledger
from gearfast.demo.plan import Photo, Round

WORK = Round("r", (Photo("photo-1", "uploads/1.jpg", "1", (10, 10)),))
KEYS = sorted(job.key for job in WORK.jobs)


class FakeKeeper:
    """Has the jobs that `left` tells, one figure a look; `kill` is noted."""

    def __init__(self, *left: int) -> None:
        self._left = list(left)
        self.dead: tuple[str, ...] = ()
        self.child = type("Child", (), {"name": "server 3"})

    def jobs(self) -> int:
        return self._left.pop(0) if len(self._left) > 1 else self._left[0]

    def kill(self) -> str:
        self.dead = ("server 3",)
        return "killed"


def end(folder: Path, *keys: str) -> None:
    with Ledger(folder, "w") as ledger:
        for key in keys:
            with ledger.holding(key, "H:x:1", "resize"):
                pass


def look(folder: Path, subject: FakeKeeper) -> tuple[list[str], list[Counter[str]], list[str]]:
    seen: list[Counter[str]] = []
    said: list[str] = []
    fake: Any = subject
    return watch(fake, WORK, folder, seen.append, said.append), seen, said


def test_it_is_killed_once_half_of_the_jobs_are_done(tmp_path: Path) -> None:
    half = len(KEYS) // 2
    end(tmp_path, *KEYS[:half])
    subject: Any = FakeKeeper(2, 2, 0)
    told: list[object] = []

    def turn(done: Counter[str]) -> None:
        told.append(done.total())
        if len(told) == 1:
            end(tmp_path, KEYS[half])
        elif len(told) == 2:
            end(tmp_path, *KEYS[half + 1 :])

    assert watch(subject, WORK, tmp_path, turn, told.append) == []
    assert told == [half, half + 1, "killed", len(KEYS)]


def test_jobs_that_end_just_before_the_server_is_asked_are_not_missed(tmp_path: Path) -> None:
    end(tmp_path, *KEYS[1:])
    subject: Any = FakeKeeper(0)

    def turn(done: Counter[str]) -> None:
        assert done.total() == len(KEYS) - 1
        end(tmp_path, KEYS[0])

    assert watch(subject, WORK, tmp_path, turn, lambda text: None) == []


def test_a_job_without_an_end_is_missed(tmp_path: Path) -> None:
    end(tmp_path, *KEYS[1:])
    problems, seen, said = look(tmp_path, FakeKeeper(1, 0))
    assert problems == [f"job {KEYS[0]} was acknowledged and never done"]
    assert seen[-1].total() == len(KEYS) - 1
    assert said == ["killed"]


def test_a_server_that_was_not_killed_is_no_proof(tmp_path: Path) -> None:
    problems, _, _ = look(tmp_path, FakeKeeper(0))
    assert problems[-1] == "the job server with the store was not killed"


def test_jobs_that_do_not_end_are_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "PATIENCE", 0.0)
    end(tmp_path, *KEYS)
    problems, _, _ = look(tmp_path, FakeKeeper(2))
    assert problems == ["2 jobs are left at server 3 and none ended in 0 seconds"]

# SPDX-License-Identifier: BSD-3-Clause
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gearfast.demo.ledger import Ledger
from gearfast.demo.losses import SERVER_AT, WORKER_AT, Losses


class FakeChild:
    """A child that does what it is told; `on_freeze` is what still happened before it stood."""

    def __init__(self, name: str, address: str = "", on_freeze: Any = None) -> None:
        self.name, self.address, self.pid = name, address, 1
        self.calls: list[str] = []
        self._on_freeze = on_freeze

    def freeze(self) -> bool:
        self.calls.append("freeze")
        if self._on_freeze:
            self._on_freeze()
        return True

    def thaw(self) -> None:
        self.calls.append("thaw")

    def kill(self) -> None:
        self.calls.append("kill")


def losses(folder: Path, *workers: FakeChild, servers: tuple[FakeChild, ...] = ()) -> tuple[Losses, list[str]]:
    said: list[str] = []
    return Losses(folder, workers, servers, said.append), said  # type: ignore[arg-type]


def nothing() -> dict[str, str]:
    return {}


def test_a_worker_is_killed_only_while_it_holds_a_job(tmp_path: Path) -> None:
    worker = FakeChild("w1")
    subject, said = losses(tmp_path, worker)
    subject.step(WORKER_AT, nothing)
    assert worker.calls == []
    with Ledger(tmp_path, "w1") as ledger, ledger.holding("r/1", "H:x:1", "resize"):
        subject.step(WORKER_AT / 2, nothing)
        assert worker.calls == []
        subject.step(WORKER_AT, nothing)
    assert worker.calls == ["freeze", "kill"]
    assert subject.victims == (worker,)
    assert subject.job is not None
    assert subject.job.key == "r/1"
    assert "H:x:1" in said[0]


def test_a_worker_that_ended_its_job_in_that_moment_goes_on(tmp_path: Path) -> None:
    with Ledger(tmp_path, "w1") as ledger:
        job = ledger.holding("r/1", "H:x:1", "resize")
        job.__enter__()
        worker = FakeChild("w1", on_freeze=lambda: job.__exit__(None, None, None))
        subject, _ = losses(tmp_path, worker)
        subject.step(1.0, nothing)
    assert worker.calls == ["freeze", "thaw"]
    assert subject.worker is None
    assert subject.problems() == ["no worker was killed in the middle of a job", "no job server was killed"]


@pytest.fixture
def after_worker(tmp_path: Path) -> tuple[Losses, tuple[FakeChild, FakeChild]]:
    servers = FakeChild("server 1", "127.0.0.1:1"), FakeChild("server 2", "127.0.0.1:2")
    subject, _ = losses(tmp_path, FakeChild("w1"), servers=servers)
    with Ledger(tmp_path, "w1") as ledger, ledger.holding("r/1", "H:x:1", "resize"):
        subject.step(1.0, nothing)
    return subject, servers


def begin_again(folder: Path) -> None:
    with Ledger(folder, "w2") as ledger, ledger.holding("r/1", "H:x:2", "resize"):
        pass


def test_the_server_with_most_jobs_is_killed(
    after_worker: tuple[Losses, tuple[FakeChild, FakeChild]], tmp_path: Path
) -> None:
    subject, (one, two) = after_worker
    begin_again(tmp_path)
    places = {"r/2": "127.0.0.1:1", "r/3": "127.0.0.1:2", "r/4": "127.0.0.1:2"}
    subject.step(SERVER_AT / 2, lambda: places)
    assert two.calls == []
    subject.step(SERVER_AT, lambda: places)
    assert (one.calls, two.calls) == ([], ["kill"])
    assert subject.jobs_on_server == 2
    assert subject.problems() == []


def test_the_server_that_has_the_lost_job_is_spared_until_the_job_is_begun_again(
    after_worker: tuple[Losses, tuple[FakeChild, FakeChild]],
) -> None:
    subject, (one, two) = after_worker
    subject.step(1.0, lambda: {"r/1": "127.0.0.1:1", "r/2": "127.0.0.1:1"})
    assert one.calls == two.calls == []
    subject.step(1.0, lambda: {"r/1": "127.0.0.1:1", "r/2": "127.0.0.1:1", "r/3": "127.0.0.1:2"})
    assert (one.calls, two.calls) == ([], ["kill"])
    assert subject.problems() == ["the job of the killed worker, r/1, was not begun again"]


def test_a_server_without_jobs_is_not_killed(
    after_worker: tuple[Losses, tuple[FakeChild, FakeChild]], tmp_path: Path
) -> None:
    subject, (one, two) = after_worker
    begin_again(tmp_path)
    subject.step(1.0, lambda: {"r/9": "elsewhere:1"})
    assert one.calls == two.calls == []
    assert subject.problems() == ["no job server was killed"]

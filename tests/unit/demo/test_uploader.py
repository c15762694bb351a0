# SPDX-License-Identifier: BSD-3-Clause
"""The order of the uploader's submissions, with a client that ends jobs when the test says so."""

from __future__ import annotations

import json
from concurrent.futures import Future
from typing import Any

import pytest

from gearfast.demo.plan import FOLLOWERS, MAIL, Photo, Round
from gearfast.demo.uploader import Stalled, Uploader
from gearfast.errors import JobFailed
from gearfast.types import Handle, Priority

PHOTOS = tuple(Photo(f"photo-{n}", f"uploads/{n}.jpg", str(n), (10, 10)) for n in (1, 2))


class FakeFuture(Future[bytes]):
    handle = Handle("")


class FakeClient:
    """Keeps what is submitted."""

    def __init__(self) -> None:
        self.jobs: dict[str, FakeFuture] = {}
        self.priorities: dict[str, Priority] = {}

    def submit(self, function: str, workload: bytes, *, unique: str, priority: Priority) -> FakeFuture:
        assert json.loads(workload)["key"] == unique
        assert unique not in self.jobs
        self.jobs[unique] = FakeFuture()
        self.priorities[function] = priority
        return self.jobs[unique]

    def open(self, part: str) -> list[str]:
        return [key for key, future in self.jobs.items() if part in key and not future.done()]

    def end(self, part: str) -> None:
        for key in self.open(part):
            self.jobs[key].set_result(b"")


def uploader(client: Any) -> Uploader:
    return Uploader(client, Round("r", PHOTOS))


def test_a_photos_mails_are_submitted_when_its_images_are_made() -> None:
    client = FakeClient()
    subject = uploader(client)
    seen: list[int] = []

    def turn(_: Uploader) -> None:
        mails = sum(key.endswith(tuple(f.name.lower() for f in FOLLOWERS)) for key in client.jobs)
        seen.append(mails)
        if not client.jobs["r/photo-1/800"].done():
            client.end("photo-2")
            client.end("photo-1/1600")
            client.end("photo-1/thumbnail")
            client.end("photo-1/800")
        elif "r/photo-2/ada" in client.jobs:
            client.end("photo-")

    subject.run(turn)
    assert seen[0] == 0
    assert len(FOLLOWERS) in seen
    assert sum(subject.done.values()) == subject.total == 14
    assert subject.part_done == 1.0
    assert subject.failures == []
    assert client.priorities[MAIL] is Priority.HIGH


def test_a_failed_job_is_told_and_its_photo_is_not_mailed() -> None:
    client = FakeClient()
    subject = uploader(client)

    def turn(_: Uploader) -> None:
        if not client.jobs["r/photo-1/400"].done():
            client.jobs["r/photo-1/400"].set_exception(JobFailed("worker said no"))
        client.end("")

    subject.run(turn)
    assert subject.failures == ["job r/photo-1/400: JobFailed: worker said no"]
    assert not any(key.endswith("ada") and "photo-1" in key for key in client.jobs)
    assert subject.done[MAIL] == len(FOLLOWERS)


def test_open_jobs_are_told_with_their_server() -> None:
    client = FakeClient()
    subject = uploader(client)
    counts: list[dict[str, str]] = []

    def turn(_: Uploader) -> None:
        if not counts:
            client.jobs["r/photo-1/400"].handle = Handle("H:x:1", "a:1")
            client.jobs["r/photo-1/800"].handle = Handle("H:x:2", "b:1")
            client.jobs["r/photo-2/800"].handle = Handle("H:x:3", "b:1")
            client.jobs["r/photo-2/400"].handle = Handle("H:x:4", "a:1")
            client.end("photo-2/400")
            counts.append(subject.places())
        client.end("")

    subject.run(turn)
    assert counts == [{"r/photo-1/400": "a:1", "r/photo-1/800": "b:1", "r/photo-2/800": "b:1"}]


def test_a_run_that_stands_still_ends() -> None:
    with pytest.raises(Stalled, match="8 jobs are open"):
        uploader(FakeClient()).run(lambda _: None, patience=0.01)

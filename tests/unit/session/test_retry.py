# SPDX-License-Identifier: BSD-3-Clause
"""When a job that failed is tried again, by the hub's clock."""

from __future__ import annotations

from typing import Any

import pytest

from gearfast._codec import encode
from gearfast.errors import (
    ConnectError,
    ConnectionLost,
    JobCancelled,
    JobException,
    JobFailed,
    JobTimeout,
    QueueFull,
    UsageError,
)
from gearfast.protocol import Command
from gearfast.session.calls import ClientCalls
from gearfast.session.hub import ClientHub, Link
from gearfast.session.requests import JobRequest, Timeout
from gearfast.session.retry import Backoff, Retry
from gearfast.types import Priority

FAIL = encode(Command.WORK_FAIL, b"H:1")
CREATED = encode(Command.JOB_CREATED, b"H:1")
COMPLETE = encode(Command.WORK_COMPLETE, b"H:1", b"r")


def test_delays_grow_up_to_a_limit_and_are_spread_over_their_upper_half() -> None:
    backoff = Backoff(2, factor=3, max=10)
    assert [backoff.delay(n, 0.0) for n in (1, 2, 3, 99)] == [1.0, 3.0, 5.0, 5.0]
    assert [backoff.delay(n, 1.0) for n in (1, 2, 3, 99)] == [2.0, 6.0, 10.0, 10.0]
    assert Backoff(0.5, factor=1).delay(10**9, 1.0) == 0.5
    assert Backoff(0).delay(10**6, 1.0) == 0.0
    assert repr(backoff) == "Backoff(2, factor=3, max=10)"


@pytest.mark.parametrize("bad", [{"first": -1}, {"factor": 0.5}, {"max": -1}, {"first": float("nan")}])
def test_backoffs_that_make_no_sense(bad: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="backoff"):
        Backoff(**bad)


def test_what_is_tried_again() -> None:
    retry = Retry(3, backoff=Backoff(1, factor=1), on=(JobFailed, QueueFull))
    failed = JobException("bad width")
    assert [retry.delay(failed, n, 1.0) for n in (1, 2, 3)] == [1.0, 1.0, None]
    assert retry.delay(ConnectError("refused"), 1, 1.0) is None
    assert Retry().delay(ConnectError("refused"), 1, 1.0) == pytest.approx(0.1)
    assert Retry().delay(failed, 1, 1.0) is None
    assert repr(retry) == "Retry(3, backoff=Backoff(1, factor=1, max=30), on=(JobFailed, QueueFull))"
    with pytest.raises(UsageError, match="attempts"):
        Retry(0)
    for bad in (5, (JobFailed, "x"), KeyboardInterrupt):
        with pytest.raises(UsageError, match="exceptions"):
            Retry(on=bad)  # type: ignore[arg-type]


class Bench:
    """A hub with one server, whose news are looked at as a front end does."""

    def __init__(self, retry: Retry, servers: str = "a", **options: Any) -> None:
        limits = Timeout(reply=30.0, health=None)
        self.calls = ClientCalls(
            servers, timeout=limits, exceptions=False, id=None, resubmit="never", prefix=b"p-", retry=retry, **options
        )
        self.hub: ClientHub = self.calls.make_hub()
        self.now = 0.0

    def job(self, timeout: float | None = None, **options: Any) -> JobRequest:
        job = self.calls.job("f", b"w", None, Priority.NORMAL, timeout, self.now, **options)
        self.hub.submit(job, self.now)
        self.hub.watch(job)
        return job

    def connect(self) -> Link:
        (link,) = self.hub.take_connects(self.now)
        self.hub.connected(link, self.now)
        return link

    def refuse(self) -> None:
        for link in self.hub.take_connects(self.now):
            self.hub.failed(link, self.now, 0.0, "refused")

    def answer(self, link: Link, *packets: bytes) -> None:
        self.hub.receive(link, b"".join(packets), self.now)

    def news(self) -> list[Any]:
        self.hub.retry_failed(self.now, 1.0)
        news, self.hub.news[:] = self.hub.news[:], []
        return news

    def pass_time(self, seconds: float) -> float | None:
        self.now += seconds
        return self.hub.tick(self.now)


def test_a_job_that_failed_is_submitted_again_after_its_delay() -> None:
    bench = Bench(Retry(3, backoff=Backoff(2), on=JobFailed))
    job = bench.job()
    link = bench.connect()
    assert link.session is not None
    first = link.session.take_output()
    bench.answer(link, CREATED, FAIL)
    assert bench.news() == [] and not job.done
    assert bench.pass_time(1.9) == 2.0
    assert not link.session.has_output
    bench.pass_time(0.1)
    assert link.session.take_output() == first
    bench.answer(link, CREATED, FAIL)
    assert bench.news() == []
    bench.pass_time(4.0)
    bench.answer(link, CREATED, COMPLETE)
    assert bench.news() == [job]
    assert (job.result, job.error, job.failures) == (b"r", None, 2)


def test_the_last_failure_is_told() -> None:
    bench = Bench(Retry(2, on=JobFailed))
    job = bench.job()
    link = bench.connect()
    bench.answer(link, CREATED, FAIL)
    assert bench.news() == []
    bench.pass_time(1.0)
    bench.answer(link, CREATED, FAIL)
    assert bench.news() == [job] and type(job.error) is JobFailed


def test_a_call_has_its_own_retry() -> None:
    bench = Bench(Retry(9, on=JobFailed))
    job = bench.job(retry=Retry(1))
    bench.answer(bench.connect(), CREATED, FAIL)
    assert bench.news() == [job]


def test_the_deadline_holds_over_all_attempts() -> None:
    bench = Bench(Retry(100, backoff=Backoff(4, factor=1), on=JobFailed))
    job = bench.job(timeout=10.0)
    link = bench.connect()
    for _ in range(2):
        bench.answer(link, CREATED, FAIL)
        assert bench.news() == []
        bench.pass_time(4.0)
    bench.answer(link, CREATED, FAIL)
    assert bench.news() == [job] and type(job.error) is JobFailed, "the third delay would end after the deadline"
    late = bench.job(timeout=10.0)
    bench.answer(link, CREATED, FAIL)
    assert bench.news() == []
    bench.pass_time(5.0)
    bench.answer(link, CREATED)
    bench.pass_time(5.0)
    assert bench.news() == [late] and isinstance(late.error, JobTimeout)


def test_connecting_is_tried_again() -> None:
    bench = Bench(Retry(3, backoff=Backoff(1)), "a,b")
    job = bench.job()
    bench.refuse()
    bench.refuse()
    assert bench.news() == []
    bench.pass_time(1.0)
    bench.refuse()
    bench.refuse()
    assert bench.news() == []
    bench.pass_time(2.0)
    link = bench.connect()
    bench.answer(link, CREATED, COMPLETE)
    assert bench.news() == [job] and job.result == b"r"


def test_nobody_waits_any_more() -> None:
    bench = Bench(Retry(3, on=JobFailed))
    job = bench.job()
    link = bench.connect()
    assert link.session is not None
    link.session.take_output()
    bench.answer(link, CREATED, FAIL)
    bench.news()
    bench.hub.abandon(job)
    assert bench.pass_time(100.0) is None
    assert not link.session.has_output


def test_a_cancelled_job_is_not_tried_again() -> None:
    bench = Bench(Retry(3, on=JobFailed))
    job = bench.job()
    link = bench.connect()
    bench.answer(link, CREATED)
    job.cancelling = True
    bench.answer(link, FAIL)
    assert bench.news() == [job] and isinstance(job.error, JobCancelled)


def test_closing_ends_what_is_to_be_tried_again() -> None:
    bench = Bench(Retry(3, on=JobFailed))
    job = bench.job()
    bench.answer(bench.connect(), CREATED, FAIL)
    bench.news()
    bench.hub.close()
    assert isinstance(job.error, ConnectionLost) and "'f'" in str(job.error) and "closed" in str(job.error)


def test_a_background_job_has_its_whole_timeout_for_all_attempts() -> None:
    bench = Bench(Retry(9, backoff=Backoff(4, factor=1), on=QueueFull))
    full = encode(Command.ERROR, b"QUEUE_ERROR", b"Job queue is full")
    job = bench.calls.background("f", b"", None, Priority.NORMAL, 7.0, 0.0)
    bench.hub.submit(job, 0.0)
    link = bench.connect()
    bench.answer(link, full)
    assert bench.news() == []
    bench.pass_time(4.0)
    bench.answer(link, full)
    assert bench.news() == [job] and isinstance(job.error, QueueFull)

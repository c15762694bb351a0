# SPDX-License-Identifier: BSD-3-Clause
"""Periodic jobs of the server in memory, with a clock that stands still until it is told."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from gearfast import AdminClient, UsageError
from gearfast.testing import FakeClock, MemoryServer
from gearfast.types import Priority

NIGHT = datetime(2026, 3, 28, 12, tzinfo=UTC)
NIGHTLY = {"nightly": {"function": "report", "cron": "30 2 * * *", "timezone": "Europe/Berlin", "priority": "low"}}


def test_days_in_a_moment() -> None:
    times = []
    with FakeClock(NIGHT) as clock, MemoryServer(clock=clock, schedules=NIGHTLY) as server:

        @server.function("report")
        def report(job: object) -> None:
            times.append(clock.now.strftime("%d. %H:%M"))

        for _ in range(3):
            clock.advance(24 * 3600)
            assert [(job.unique, job.priority) for job in server.jobs()] == [(b"nightly", Priority.LOW)]
            assert server.drain() == 1
        assert server.submissions == []
    assert times == ["29. 12:00", "30. 12:00", "31. 12:00"]


def test_at_its_time() -> None:
    """Inline the job is done when it is due, though the clock moves on."""
    times = []
    schedules = {"tick": {"function": "f", "every": "10m"}}
    with FakeClock(NIGHT) as clock, MemoryServer(clock=clock, schedules=schedules) as server:
        for minutes in (9, 1, 9, 1):
            clock.advance(60 * minutes)
            times.append(server.drain({"f": lambda job: None}))
    assert times == [0, 1, 0, 1]


def test_by_command() -> None:
    with FakeClock(NIGHT) as clock, MemoryServer(clock=clock) as server, AdminClient(server.url) as admin:
        admin.add_schedule("tick", "f", every="1h")
        clock.advance(1800)
        assert server.jobs() == []
        clock.advance(1800)
        assert [job.unique for job in server.jobs()] == [b"tick"]
        assert admin.schedules()[0].last == clock.time()


def test_a_full_queue() -> None:
    """A run that is refused is tried again every second."""
    schedules = {"tick": {"function": "f", "every": "1h", "overlap": True}}
    with (
        FakeClock(NIGHT) as clock,
        MemoryServer(clock=clock, schedules=schedules) as server,
        AdminClient(server.url) as admin,
    ):
        admin.create_function("f")
        admin.maxqueue("f", 1)
        clock.advance(3600)
        clock.advance(3600)
        assert len(server.jobs()) == 1
        admin.maxqueue("f")
        clock.advance(1)
        assert len(server.jobs()) == 2


def test_in_real_time() -> None:
    done = []
    with MemoryServer(schedules={"tick": {"function": "f", "every": "0.1s"}}, mode="manual") as server:
        with server._changed:
            assert server._changed.wait_for(lambda: bool(server.jobs()), 30)
        server.drain({"f": lambda job: done.append(1)})
    assert done == [1]


def test_wrong_ones() -> None:
    with pytest.raises(UsageError, match="schedules: a: every: 'soon' must be a time"):
        MemoryServer(schedules={"a": {"function": "f", "every": "soon"}})

# SPDX-License-Identifier: BSD-3-Clause
"""3.4 and #69: jobs for a time (EPOCH) and for the next match of a date (SCHED)."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from .conftest import MakeWire
from .script import START_WALL, Peer, Q, R, Wire, handle

HOUR = 3600


class TestEpoch:
    @pytest.mark.parametrize("when", [b"", b"0", b"1", b"-1", b"-9223372036854775808", b"soon", b"%d" % START_WALL])
    def test_none_past_and_negative_mean_now(self, wire: Wire, when: bytes) -> None:
        c, w = wire.peer("c"), wire.sleeper("w", b"f")
        c.send(Q.SUBMIT_JOB_EPOCH(b"f", b"u", when, b"x")).expect(R.JOB_CREATED(handle(1)))
        w.expect(R.NOOP())
        w.send(Q.GRAB_JOB_UNIQ()).expect(R.JOB_ASSIGN_UNIQ(handle(1), b"f", b"u", b"x"))
        w.send(Q.WORK_COMPLETE(handle(1), b"r")).expect_nothing()
        c.expect_nothing()

    def test_text_behind_the_digits_is_ignored(self, wire: Wire) -> None:
        c, w = wire.peer("c"), wire.sleeper("w", b"f")
        c.send(Q.SUBMIT_JOB_EPOCH(b"f", b"", b"%d and so" % (START_WALL + 10), b"x")).expect(R.JOB_CREATED(handle(1)))
        assert w.grab() is None
        w.sleep()
        wire.pass_time(10)
        w.expect(R.NOOP())

    def test_future_job_waits_and_wakes_at_its_time(self, wire: Wire) -> None:
        c, w = wire.peer("c"), wire.sleeper("w", b"f")
        job = c.submit_at(b"f", START_WALL + HOUR, b"x")
        c.leave()
        w.expect_nothing()
        assert w.status_of(b"f") == (1, 0, 1)
        assert w.known(job) == (b"1", b"0", b"0", b"0")
        assert w.table(b"show jobs") == [job + b"\t0\t0\t1"]
        wire.pass_time(HOUR - 1)
        assert w.grab() is None
        w.sleep()
        wire.pass_time(1)
        w.expect(R.NOOP())
        assert w.grab() == b"x"

    def test_the_deadline_is_told(self, wire: Wire) -> None:
        c, w = wire.peer("c"), wire.sleeper("w", b"f")
        assert wire.tick() == -1
        c.submit_at(b"f", START_WALL + 100, b"x")
        assert 0 < wire.tick() <= 100 * 10**9
        assert wire.pass_to_deadline(101) == pytest.approx(100, abs=1)
        w.expect(R.NOOP())

    def test_order_of_due_times(self, wire: Wire) -> None:
        c, w = wire.peer("c"), wire.worker("w", b"f")
        for wait in (300, 100, 200, 100_000, 5, 7_000_000):
            c.submit_at(b"f", START_WALL + wait, b"%d" % wait)
        done = []
        for step in (5, 95, 100, 100, 99_700, 6_900_000):
            wire.pass_time(step)
            done += w.grab_all()
        assert done == [b"5", b"100", b"200", b"300", b"100000", b"7000000"]

    def test_many_at_the_same_second(self, wire: Wire) -> None:
        c, w = wire.peer("c"), wire.sleeper("w", b"f")
        for n in range(100):
            c.submit_at(b"f", START_WALL + 60, b"%d" % n)
        wire.pass_time(60)
        w.expect(R.NOOP())
        assert sorted(w.grab_all(), key=int) == [b"%d" % n for n in range(100)]

    def test_wall_clock_that_jumps_ahead(self, wire: Wire) -> None:
        c, w = wire.peer("c"), wire.sleeper("w", b"f")
        c.submit_at(b"f", START_WALL + 10 * HOUR, b"x")
        wire.wall += 11 * HOUR * 10**9
        wire.tick()
        w.expect(R.NOOP())
        assert w.grab() == b"x"

    def test_wall_clock_that_is_set_back(self, wire: Wire) -> None:
        c, w = wire.peer("c"), wire.sleeper("w", b"f")
        c.submit_at(b"f", START_WALL + HOUR, b"x")
        wire.wall -= 10 * HOUR * 10**9
        wire.pass_time(HOUR)
        w.expect_nothing()
        assert w.grab() is None
        w.sleep()
        wire.pass_time(10 * HOUR)
        w.expect(R.NOOP())

    def test_a_jump_over_several_due_times_brings_all_of_them(self, wire: Wire) -> None:
        c, w = wire.peer("c"), wire.worker("w", b"f")
        for wait in (3 * HOUR, HOUR, 2 * HOUR, 9 * HOUR):
            c.submit_at(b"f", START_WALL + wait, b"%d" % wait)
        wire.wall += 5 * HOUR * 10**9
        wire.tick()
        # Jobs that are due wait in the order of their submission.
        assert w.grab_all() == [b"%d" % (hours * HOUR) for hours in (3, 1, 2)]
        # What was given out stays so when the clock is found to be wrong.
        wire.wall -= 5 * HOUR * 10**9
        wire.tick()
        assert w.grab() is None
        wire.pass_time(9 * HOUR)
        assert w.grab() == b"%d" % (9 * HOUR)

    def test_the_deadline_follows_the_wall_clock(self, wire: Wire) -> None:
        c, w = wire.peer("c"), wire.sleeper("w", b"f")
        c.submit_at(b"f", START_WALL + HOUR, b"x")
        wire.wall -= HOUR * 10**9
        assert HOUR * 10**9 < wire.tick() <= 2 * HOUR * 10**9
        wire.wall += 2 * HOUR * 10**9
        wire.tick()
        w.expect(R.NOOP())
        assert wire.tick() == -1

    def test_far_future(self, wire: Wire) -> None:
        c, w = wire.peer("c"), wire.worker("w", b"f")
        job = c.submit_at(b"f", 2**63 - 1, b"x")
        wire.pass_time(10**8)
        assert w.grab() is None
        assert c.known(job)[0] == b"1"

    def test_absorbs_an_immediate_job_of_its_unique(self, wire: Wire) -> None:
        back, front, w = wire.peer("back"), wire.peer("front"), wire.sleeper("w", b"f")
        job = back.submit_at(b"f", START_WALL + HOUR, b"later", b"u")
        assert front.submit(b"f", b"now", b"u") == job
        assert w.grab() is None
        w.sleep()
        wire.pass_time(HOUR)
        w.expect(R.NOOP())
        assert w.grab() == b"later"
        w.send(Q.WORK_COMPLETE(job, b"r"))
        front.expect(R.WORK_COMPLETE(job, b"r"))

    def test_survives_a_foreground_client_that_leaves(self, wire: Wire) -> None:
        back, front, w = wire.peer("back"), wire.peer("front"), wire.worker("w", b"f")
        back.submit_at(b"f", START_WALL + HOUR, b"later", b"u")
        front.submit(b"f", b"now", b"u")
        front.leave()
        wire.pass_time(HOUR)
        assert w.grab() == b"later"

    def test_can_be_cancelled(self, wire: Wire) -> None:
        c, w = wire.peer("c"), wire.sleeper("w", b"f")
        job = c.submit_at(b"f", START_WALL + HOUR, b"x", b"u")
        c.send(b"cancel job " + job + b"\n").expect(b"OK\r\n")
        wire.pass_time(2 * HOUR)
        w.expect_nothing()
        assert w.grab() is None
        assert c.submit(b"f", b"y", b"u") != job

    def test_lost_worker_does_not_bring_the_time_back(self, wire: Wire) -> None:
        c, w, other = wire.peer("c"), wire.worker("w", b"f"), wire.worker("other", b"f")
        c.submit_at(b"f", START_WALL + 10, b"x")
        wire.pass_time(10)
        assert w.grab() == b"x"
        w.leave()
        assert other.grab() == b"x"

    def test_normal_jobs_pass_it(self, wire: Wire) -> None:
        c, w = wire.peer("c"), wire.worker("w", b"f")
        c.submit_at(b"f", START_WALL + 10, b"later")
        c.submit(b"f", b"now")
        assert w.grab_all() == [b"now"]

    def test_keeps_its_place(self, wire: Wire) -> None:
        c, w = wire.peer("c"), wire.worker("w", b"f")
        c.submit_at(b"f", START_WALL + 10, b"first")
        c.submit(b"f", b"second")
        wire.pass_time(11)
        assert w.grab_all() == [b"first", b"second"]

    def test_prioritystatus_counts_it(self, wire: Wire) -> None:
        c = wire.peer("c")
        c.submit_at(b"f", START_WALL + 10, b"x")
        assert c.table(b"prioritystatus") == [b"f\t0\t1\t0\t0"]


def at(wire: Wire) -> datetime:
    """The wall clock of a wire."""
    return datetime.fromtimestamp(wire.wall // 10**9, UTC)


def schedule(c: Peer, *fields: bytes) -> bytes:
    """SUBMIT_JOB_SCHED (minute, hour, day, month, weekday) and its JOB_CREATED."""
    c.send(Q.SUBMIT_JOB_SCHED(b"f", b"", *fields, b"x"))
    return c.one("JOB_CREATED")[0]


class TestSched:
    """The clock starts on Thursday, 2026-01-01 00:00:00 UTC."""

    @pytest.mark.parametrize(
        ("fields", "wanted"),
        [
            ((b"30", b"12", b"*", b"*", b"*"), "2026-01-01 12:30"),
            ((b"30", b"12", b"", b"", b""), "2026-01-01 12:30"),
            ((b"5", b"*", b"*", b"*", b"*"), "2026-01-01 00:05"),
            ((b"59", b"23", b"31", b"12", b"*"), "2026-12-31 23:59"),
            ((b"0", b"0", b"*", b"*", b"0"), "2026-01-05 00:00"),  # Monday
            ((b"0", b"0", b"*", b"*", b"6"), "2026-01-04 00:00"),  # Sunday
            ((b"15", b"3", b"1", b"3", b"*"), "2026-03-01 03:15"),
            ((b"0", b"6", b"29", b"2", b"*"), "2028-02-29 06:00"),
            ((b"0", b"6", b"31", b"*", b"*"), "2026-01-31 06:00"),
        ],
    )
    def test_runs_once_at_the_next_match(self, wire: Wire, fields: tuple[bytes, ...], wanted: str) -> None:
        c, w = wire.peer("c"), wire.sleeper("w", b"f")
        job = schedule(c, *fields)
        due = datetime.fromisoformat(wanted).replace(tzinfo=UTC).timestamp()
        wire.pass_time(due - wire.wall / 10**9 - 1)
        w.expect_nothing()
        assert w.grab() is None
        w.sleep()
        wire.pass_time(1)
        assert f"{at(wire):%Y-%m-%d %H:%M}" == wanted
        w.expect(R.NOOP())
        assert w.grab() == b"x"
        w.send(Q.WORK_COMPLETE(job, b"")).expect_nothing()
        wire.pass_time(3 * 366 * 86_400)
        assert w.grab() is None, "once, not again"

    def test_is_a_background_job(self, wire: Wire) -> None:
        c = wire.peer("c")
        job = schedule(c, b"1", b"1", b"1", b"1", b"*")
        c.leave()
        other = wire.peer("other")
        assert other.table(b"show jobs") == [job + b"\t0\t0\t1"]
        other.send(b"cancel job " + job + b"\n").expect(b"OK\r\n")

    @pytest.mark.parametrize(
        "fields",
        [
            (b"60", b"*", b"*", b"*", b"*"),
            (b"-1", b"*", b"*", b"*", b"*"),
            (b"*", b"24", b"*", b"*", b"*"),
            (b"*", b"*", b"0", b"*", b"*"),
            (b"*", b"*", b"32", b"*", b"*"),
            (b"*", b"*", b"*", b"0", b"*"),
            (b"*", b"*", b"*", b"13", b"*"),
            (b"*", b"*", b"*", b"*", b"7"),
            (b"x", b"*", b"*", b"*", b"*"),
            (b"1" * 30, b"*", b"*", b"*", b"*"),
            (b"0", b"0", b"30", b"2", b"*"),
        ],
    )
    def test_what_is_no_date_is_refused(self, wire: Wire, fields: tuple[bytes, ...]) -> None:
        c = wire.peer("c")
        c.send(Q.SUBMIT_JOB_SCHED(b"f", b"", *fields, b"x")).refused(b"INVALID_ARGUMENT")
        assert c.table(b"show jobs") == []

    def test_the_calendar_can_be_the_servers(self, make_wire: MakeWire) -> None:
        asked: list[tuple[object, ...]] = []

        def next_match(*args: object) -> int:
            asked.append(args)
            return START_WALL + 77

        wire = make_wire(next_match=next_match)
        c, w = wire.peer("c"), wire.sleeper("w", b"f")
        schedule(c, b"30", b"4", b"*", b"*", b"2")
        assert asked == [(30, 4, None, None, 2, START_WALL)]
        wire.pass_time(76)
        w.expect_nothing()
        wire.pass_time(1)
        w.expect(R.NOOP())

    def test_a_calendar_that_refuses(self, make_wire: MakeWire) -> None:
        def next_match(*args: object) -> int:
            raise ValueError("never")

        c = make_wire(next_match=next_match).peer("c")
        c.send(Q.SUBMIT_JOB_SCHED(b"f", b"", b"1", b"1", b"1", b"1", b"1", b"x")).refused(b"INVALID_ARGUMENT")
        assert c.table(b"show jobs") == []

    def test_coalesces(self, wire: Wire) -> None:
        c = wire.peer("c")
        fields = (b"30", b"12", b"*", b"*", b"*")
        c.send(*[Q.SUBMIT_JOB_SCHED(b"f", b"u", *fields, b"x")] * 2)
        c.expect(R.JOB_CREATED(handle(1)), R.JOB_CREATED(handle(1)))

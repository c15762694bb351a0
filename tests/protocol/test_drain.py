# SPDX-License-Identifier: BSD-3-Clause
"""`drain()`: running jobs finish, and no more are given out."""

from __future__ import annotations

import pytest

from .script import START_WALL, Q, R, Wire


def test_running_jobs_finish(wire: Wire) -> None:
    c, w = wire.peer("c"), wire.worker("w", b"f")
    job = c.submit(b"f", b"x")
    assert w.grab() == b"x"
    wire.dispatcher.drain()
    w.send(Q.WORK_DATA(job, b"d"), Q.WORK_COMPLETE(job, b"r")).expect_nothing()
    c.expect(R.WORK_DATA(job, b"d"), R.WORK_COMPLETE(job, b"r"))
    assert wire.dispatcher.running_count == 0


@pytest.mark.parametrize("grab", ["GRAB_JOB", "GRAB_JOB_UNIQ", "GRAB_JOB_ALL"])
def test_nothing_more_is_given_out(wire: Wire, grab: str) -> None:
    c, w = wire.peer("c"), wire.worker("w", b"f")
    c.submit(b"f", b"waiting")
    wire.dispatcher.drain()
    w.send(getattr(Q, grab)()).expect(R.NO_JOB())
    w.sleep()
    c.submit(b"f", b"new")
    w.send(Q.CAN_DO(b"g"), Q.PRE_SLEEP()).expect_nothing()
    assert c.status_of(b"f") == (2, 0, 1)


def test_sleepers_are_left_alone(wire: Wire) -> None:
    c, w, asleep = wire.peer("c"), wire.worker("w", b"f"), wire.sleeper("asleep", b"f")
    c.submit(b"f", b"x")
    asleep.expect(R.NOOP())
    assert w.grab() == b"x"
    assert asleep.grab() is None
    asleep.sleep()
    c.submit_at(b"f", START_WALL + 10, b"later")
    wire.dispatcher.drain()
    w.leave()
    wire.pass_time(20)
    c.submit(b"f", b"new")
    asleep.expect_nothing()


def test_held_grabs_stay_held(wire: Wire) -> None:
    c, w = wire.peer("c"), wire.worker("w", b"f")
    w.send(Q.OPTION_REQ(b"all_yours"), Q.GRAB_JOB()).expect(R.OPTION_RES(b"all_yours"))
    wire.dispatcher.drain()
    c.submit(b"f", b"x")
    w.send(Q.CAN_DO(b"g"), Q.GRAB_JOB()).expect_nothing()
    w.send(Q.PRE_SLEEP()).expect(R.NO_JOB(), R.NO_JOB())

# SPDX-License-Identifier: BSD-3-Clause
"""1.2, numbers 37 to 40: jobs with a reducer."""

from __future__ import annotations

import pytest

from .script import Q, R, Wire, handle


def test_grab_all_tells_the_reducer(wire: Wire) -> None:
    c, w = wire.peer("c"), wire.worker("w", b"f")
    c.send(Q.SUBMIT_REDUCE_JOB(b"f", b"u", b"sum", b"ignored", b"a\0b")).expect(R.JOB_CREATED(handle(1)))
    w.send(Q.GRAB_JOB_ALL()).expect(R.JOB_ASSIGN_ALL(handle(1), b"f", b"u", b"sum", b"a\0b"))
    w.send(Q.WORK_COMPLETE(handle(1), b"r"))
    c.expect(R.WORK_COMPLETE(handle(1), b"r"))


def test_other_grabs_do_not(wire: Wire) -> None:
    c, w = wire.peer("c"), wire.worker("w", b"f")
    for unique in (b"u1", b"u2"):
        c.send(Q.SUBMIT_REDUCE_JOB(b"f", unique, b"sum", b"", b"data"))
    c.expect(R.JOB_CREATED(handle(1)), R.JOB_CREATED(handle(2)))
    w.send(Q.GRAB_JOB()).expect(R.JOB_ASSIGN(handle(1), b"f", b"data"))
    w.send(Q.GRAB_JOB_UNIQ()).expect(R.JOB_ASSIGN_UNIQ(handle(2), b"f", b"u2", b"data"))


def test_background(wire: Wire) -> None:
    c, w = wire.peer("c"), wire.sleeper("w", b"f")
    c.send(Q.SUBMIT_REDUCE_JOB_BACKGROUND(b"f", b"", b"sum", b"", b"data")).expect(R.JOB_CREATED(handle(1)))
    assert c.table(b"show jobs") == [handle(1) + b"\t0\t0\t1"]
    c.leave()
    w.expect(R.NOOP())
    w.send(Q.GRAB_JOB_ALL()).expect(R.JOB_ASSIGN_ALL(handle(1), b"f", b"", b"sum", b"data"))
    w.send(Q.WORK_COMPLETE(handle(1), b"")).expect_nothing()


def test_normal_priority(wire: Wire) -> None:
    c, w = wire.peer("c"), wire.worker("w", b"f")
    c.submit(b"f", b"low", kind="SUBMIT_JOB_LOW")
    c.send(Q.SUBMIT_REDUCE_JOB(b"f", b"", b"sum", b"", b"reduce")).expect(R.JOB_CREATED(handle(2)))
    c.submit(b"f", b"high", kind="SUBMIT_JOB_HIGH")
    assert w.grab_all() == [b"high", b"reduce", b"low"]


def test_coalesces_with_plain_jobs(wire: Wire) -> None:
    c, w = wire.peer("c"), wire.worker("w", b"f")
    job = c.submit(b"f", b"plain", b"u")
    c.send(Q.SUBMIT_REDUCE_JOB(b"f", b"u", b"sum", b"", b"reduce")).expect(R.JOB_CREATED(job))
    w.send(Q.GRAB_JOB_ALL()).expect(R.JOB_ASSIGN_UNIQ(job, b"f", b"u", b"plain"))


@pytest.mark.parametrize("unique", [b"u" * 64, b"", b"-"])
def test_largest_reducer_and_unique(wire: Wire, unique: bytes) -> None:
    c, w = wire.peer("c"), wire.worker("w", b"f")
    c.send(Q.SUBMIT_REDUCE_JOB(b"f", unique, b"r" * 64, b"x" * 300, b"d")).expect(R.JOB_CREATED(handle(1)))
    w.send(Q.GRAB_JOB_ALL()).expect(R.JOB_ASSIGN_ALL(handle(1), b"f", unique, b"r" * 64, b"d"))


def test_reducer_survives_a_lost_worker(wire: Wire) -> None:
    c, w, other = wire.peer("c"), wire.worker("w", b"f"), wire.worker("other", b"f")
    c.send(Q.SUBMIT_REDUCE_JOB(b"f", b"u", b"sum", b"", b"d")).expect(R.JOB_CREATED(handle(1)))
    w.send(Q.GRAB_JOB_ALL()).expect(R.JOB_ASSIGN_ALL(handle(1), b"f", b"u", b"sum", b"d"))
    w.leave()
    other.send(Q.GRAB_JOB_ALL()).expect(R.JOB_ASSIGN_ALL(handle(1), b"f", b"u", b"sum", b"d"))


def test_empty_reducer_is_none(wire: Wire) -> None:
    c, w = wire.peer("c"), wire.worker("w", b"f")
    c.send(Q.SUBMIT_REDUCE_JOB(b"f", b"u", b"", b"", b"d")).expect(R.JOB_CREATED(handle(1)))
    w.send(Q.GRAB_JOB_ALL()).expect(R.JOB_ASSIGN_UNIQ(handle(1), b"f", b"u", b"d"))

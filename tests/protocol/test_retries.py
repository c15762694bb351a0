# SPDX-License-Identifier: BSD-3-Clause
"""2.5, last lines: how often a job may be lost with its worker."""

from __future__ import annotations

import pytest

from .conftest import MakeWire
from .script import NOT_FOUND, Q, R
from .test_leaving import LOSSES, lose


@pytest.mark.parametrize("how", LOSSES)
@pytest.mark.parametrize(("setting", "losses"), [(0, 1), (1, 1), (2, 2), (3, 3), (5, 5)])
def test_the_nth_loss_fails_the_job(make_wire: MakeWire, how: str, setting: int, losses: int) -> None:
    wire = make_wire(job_retries=setting)
    a, b = wire.peer("a"), wire.peer("b")
    job = a.submit(b"f", b"x", b"u")
    b.submit(b"f", b"", b"u")
    for number in range(losses):
        assert a.table(b"show jobs") == [b"%s\t%d\t0\t0" % (job, number)]
        w = wire.worker("w", b"f")
        assert w.grab() == b"x"
        lose(w, how)
        if number + 1 < losses:
            a.expect_nothing()
            b.expect_nothing()
    a.expect(R.WORK_FAIL(job))
    b.expect(R.WORK_FAIL(job))
    assert a.table(b"show jobs") == []
    assert a.known(job)[0] == b"0"
    assert wire.worker("last", b"f").grab() is None
    notice = f"Dropped job due to max retry count: {job.decode()} u"
    assert ("NOTICE", notice) in wire.dispatcher.take_notices()


def test_no_limit(make_wire: MakeWire) -> None:
    wire = make_wire(job_retries=-1)
    c = wire.peer("c")
    job = c.submit(b"f", b"x")
    for _ in range(300):
        w = wire.worker("w", b"f")
        assert w.grab() == b"x"
        w.leave()
    assert c.table(b"show jobs") == [job + b"\t300\t0\t0"]
    c.expect_nothing()


def test_the_default_has_no_limit(make_wire: MakeWire) -> None:
    wire = make_wire()
    c = wire.peer("c")
    c.submit(b"f", b"x")
    for _ in range(10):
        w = wire.worker("w", b"f")
        assert w.grab() == b"x"
        w.leave()
    c.expect_nothing()


def test_a_time_out_is_a_loss(make_wire: MakeWire) -> None:
    wire = make_wire(job_retries=2)
    c, w = wire.peer("c"), wire.peer("w")
    w.send(Q.CAN_DO_TIMEOUT(b"f", b"1000"))
    job = c.submit(b"f", b"x")
    assert w.grab() == b"x"
    wire.pass_time(1.1)
    assert w.grab() == b"x"
    c.expect_nothing()
    wire.pass_time(1.1)
    c.expect(R.WORK_FAIL(job))
    w.send(Q.WORK_COMPLETE(job, b"late")).expect(NOT_FOUND)
    assert w.grab() is None


def test_work_fail_is_final(make_wire: MakeWire) -> None:
    wire = make_wire(job_retries=5)
    c, w = wire.peer("c"), wire.worker("w", b"f")
    job = c.submit(b"f", b"x")
    assert w.grab() == b"x"
    w.send(Q.WORK_FAIL(job))
    c.expect(R.WORK_FAIL(job))
    assert w.grab() is None


@pytest.mark.parametrize("how", LOSSES)
def test_background_job_is_gone_too(make_wire: MakeWire, how: str) -> None:
    wire = make_wire(job_retries=1)
    c, w = wire.peer("c"), wire.worker("w", b"f")
    c.submit(b"f", b"x", b"u", "SUBMIT_JOB_BG")
    assert w.grab() == b"x"
    lose(w, how)
    assert c.table(b"show jobs") == []
    assert c.submit(b"f", b"y", b"u", "SUBMIT_JOB_BG").endswith(b":2"), "its unique is free"
    assert c.status_of(b"f") is not None


def test_each_job_has_its_own_count(make_wire: MakeWire) -> None:
    wire = make_wire(job_retries=2)
    c, w = wire.peer("c"), wire.worker("w", b"f")
    first = c.submit(b"f", b"1")
    assert w.grab() == b"1"
    w.leave()
    second, w = c.submit(b"f", b"2"), wire.worker("w2", b"f")
    assert w.grab_all() == [b"1", b"2"]
    w.leave()
    c.expect(R.WORK_FAIL(first))
    assert c.table(b"show jobs") == [second + b"\t1\t0\t0"]


def test_nobody_is_woken_for_a_job_that_failed(make_wire: MakeWire) -> None:
    wire = make_wire(job_retries=1)
    c, w = wire.peer("c"), wire.worker("w", b"f")
    job = c.submit(b"f", b"x")
    assert w.grab() == b"x"
    sleeper = wire.sleeper("sleeper", b"f")
    w.leave()
    sleeper.expect_nothing()
    c.expect(R.WORK_FAIL(job))

# SPDX-License-Identifier: BSD-3-Clause
"""4 and #30: `cancel job`."""

from __future__ import annotations

import pytest

from .script import Q, R, Wire, handle
from .test_admin import unknown

OK = b"OK\r\n"
UNKNOWN_JOB = b"ERR UNKNOWN_JOB\r\n"


def test_queued_job(wire: Wire) -> None:
    a, b, w, admin = wire.peer("a"), wire.peer("b"), wire.worker("w", b"f"), wire.peer("admin")
    job = a.submit(b"f", b"x", b"u")
    b.submit(b"f", b"", b"u")
    admin.send(b"cancel job " + job + b"\r\n").expect(OK)
    a.expect(R.WORK_FAIL(job))
    b.expect(R.WORK_FAIL(job))
    assert w.grab() is None
    assert admin.table(b"show jobs") == []
    assert admin.status_of(b"f") == (0, 0, 1)


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_ways_to_write_it(wire: Wire, end: bytes) -> None:
    c = wire.peer("c")
    job = c.submit(b"f", b"x", kind="SUBMIT_JOB_BG")
    c.send(b"CANCEL Job " + job + end).expect(OK)


def test_again_is_unknown(wire: Wire) -> None:
    c = wire.peer("c")
    job = c.submit(b"f", b"x")
    c.send(b"cancel job " + job + b"\n").expect(R.WORK_FAIL(job), OK)
    c.send(b"cancel job " + job + b"\n").expect(UNKNOWN_JOB)


@pytest.mark.parametrize("job", [b"H:local:2", b"nonsense", b"H:local:", b"h:local:1", b"H:local:1x", b"x" * 8000])
def test_unknown_job(wire: Wire, job: bytes) -> None:
    c = wire.peer("c")
    c.submit(b"f")
    c.send(b"cancel job " + job + b"\n").expect(UNKNOWN_JOB)


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        (b"cancel x y", b"ERR UNKNOWN_ERROR\r\n"),
        (b"cancel jobs H:local:1", b"ERR UNKNOWN_ERROR\r\n"),
        (b"cancel job H:local:1 more", b"ERR UNKNOWN_ERROR\r\n"),
        (b"cancel x y z", b"ERR UNKNOWN_ERROR\r\n"),
        (b"cancel job", unknown(b"cancel")),
        (b"cancel", unknown(b"cancel")),
        (b"cancel x", unknown(b"cancel")),
    ],
)
def test_other_words(wire: Wire, line: bytes, wanted: bytes) -> None:
    c = wire.peer("c")
    job = c.submit(b"f", b"x")
    c.send(line + b"\n").expect(wanted)
    assert c.known(job)[0] == b"1"


def test_finished_job_is_unknown(wire: Wire) -> None:
    c, w = wire.peer("c"), wire.worker("w", b"f")
    job = c.submit(b"f", b"x")
    assert w.grab() == b"x"
    w.send(Q.WORK_COMPLETE(job, b""))
    c.expect(R.WORK_COMPLETE(job, b""))
    c.send(b"cancel job " + job + b"\n").expect(UNKNOWN_JOB)


@pytest.mark.parametrize("last", ["WORK_COMPLETE", "WORK_FAIL", "WORK_EXCEPTION"])
def test_running_job_frees_its_clients_and_its_result_is_swallowed(wire: Wire, last: str) -> None:
    c, w, admin = wire.peer("c"), wire.worker("w", b"f"), wire.peer("admin")
    job = c.submit(b"f", b"x", b"u")
    assert w.grab() == b"x"
    admin.send(b"cancel job " + job + b"\n").expect(OK)
    c.expect(R.WORK_FAIL(job))
    admin.send(b"cancel job " + job + b"\n").expect(UNKNOWN_JOB)
    w.send(Q.WORK_DATA(job, b"d"), Q.WORK_WARNING(job, b"d"), Q.WORK_STATUS(job, b"1", b"2")).expect_nothing()
    w.send(Q.WORK_FAIL(job) if last == "WORK_FAIL" else getattr(Q, last)(job, b"late")).expect_nothing()
    c.expect_nothing()
    assert admin.table(b"show jobs") == []
    assert admin.status_of(b"f") == (0, 0, 1)
    assert w.grab() is None


@pytest.mark.parametrize("kind", ["SUBMIT_JOB", "SUBMIT_JOB_BG"])
def test_the_worker_of_a_cancelled_job_learns_it_by_asking_for_its_status(wire: Wire, kind: str) -> None:
    c, w, admin = wire.peer("c"), wire.worker("w", b"f"), wire.peer("admin")
    job = c.submit(b"f", b"x", b"u", kind)
    assert w.grab() == b"x"
    w.send(Q.WORK_STATUS(job, b"1", b"2"))
    assert w.known(job) == (b"1", b"1", b"1", b"2")
    admin.send(b"cancel job " + job + b"\r\n").expect(OK)
    assert w.known(job) == admin.known(job) == (b"0", b"0", b"0", b"0")
    w.send(Q.WORK_STATUS(job, b"2", b"2")).expect_nothing()
    assert w.known(job) == (b"0", b"0", b"0", b"0")
    w.send(Q.WORK_COMPLETE(job, b"late")).expect_nothing()
    assert w.known(job) == (b"0", b"0", b"0", b"0")
    c.expect(R.WORK_STATUS(job, b"1", b"2") + R.WORK_FAIL(job) if kind == "SUBMIT_JOB" else b"")


@pytest.mark.parametrize("how", ["leave", "CANT_DO", "RESET_ABILITIES", "time"])
def test_cancelled_running_job_is_not_queued_again(wire: Wire, how: str) -> None:
    c, w, other = wire.peer("c"), wire.peer("w"), wire.worker("other", b"f")
    w.send(Q.CAN_DO_TIMEOUT(b"f", b"2000"))
    job = c.submit(b"f", b"x", kind="SUBMIT_JOB_BG")
    assert w.grab() == b"x"
    c.send(b"cancel job " + job + b"\n").expect(OK)
    if how == "leave":
        w.leave()
    elif how == "time":
        wire.pass_time(3)
    else:
        w.send(Q.CANT_DO(b"f") if how == "CANT_DO" else Q.RESET_ABILITIES())
    assert other.grab() is None
    total, running, _ = other.status_of(b"f") or (0, 0, 0)
    assert (total, running) == (0, 0)


@pytest.mark.parametrize("running", [False, True])
@pytest.mark.parametrize("kind", ["SUBMIT_JOB", "SUBMIT_JOB_BG"])
def test_unique_is_free_at_once(wire: Wire, running: bool, kind: str) -> None:
    c, w, w2 = wire.peer("c"), wire.worker("w", b"f"), wire.worker("w2", b"f")
    old = c.submit(b"f", b"old", b"u", "SUBMIT_JOB_BG")
    if running:
        assert w.grab() == b"old"
    c.send(b"cancel job " + old + b"\n").expect(OK)
    c.send(Q.GET_STATUS_UNIQUE(b"u")).expect(R.STATUS_RES_UNIQUE(b"u", b"0", b"0", b"0", b"0", b"0"))
    new = c.submit(b"f", b"new", b"u", kind)
    assert new != old
    assert w2.grab() == b"new"
    if running:
        w.send(Q.WORK_COMPLETE(old, b"late")).expect_nothing()
    w2.send(Q.WORK_COMPLETE(new, b"r")).expect_nothing()
    c.expect(R.WORK_COMPLETE(new, b"r") if kind == "SUBMIT_JOB" else b"")


def test_abandoned_job_may_be_cancelled(wire: Wire) -> None:
    gone, admin = wire.peer("gone"), wire.peer("admin")
    job = gone.submit(b"f", b"x")
    gone.leave()
    admin.send(b"cancel job " + job + b"\n")
    assert admin.take() in (OK, UNKNOWN_JOB)
    assert wire.worker("w", b"f").grab() is None


def test_others_of_the_list_stay(wire: Wire) -> None:
    c, w = wire.peer("c"), wire.worker("w", b"f")
    for n in range(5):
        c.submit(b"f", b"%d" % n)
    for n in (1, 3, 5):
        c.send(b"cancel job " + handle(n) + b"\n").expect(R.WORK_FAIL(handle(n)), OK)
    c.submit(b"f", b"5")
    assert w.grab_all() == [b"1", b"3", b"5"]

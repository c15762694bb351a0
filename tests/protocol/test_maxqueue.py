# SPDX-License-Identifier: BSD-3-Clause
"""4: `maxqueue`, and QUEUE_ERROR."""

from __future__ import annotations

import pytest

from .script import QUEUE_FULL, START_WALL, Peer, Q, R, Wire, handle
from .test_admin import incomplete

KINDS = ["SUBMIT_JOB_HIGH", "SUBMIT_JOB", "SUBMIT_JOB_LOW"]


def limited(wire: Wire, limits: bytes) -> Peer:
    """A client beside a function f with these limits."""
    c = wire.peer("c")
    c.send(b"create function f\r\n", b"maxqueue f" + limits + b"\n").expect(b"OK\r\n" * 2)
    return c


def room(c: Peer, kind: str, most: int = 5) -> int:
    """How many more jobs of this kind fit, up to `most`."""
    for n in range(most):
        c.send(getattr(Q, kind)(b"f", b"", b"x"))
        got = c.take()
        if got == QUEUE_FULL:
            return n
        assert got.startswith(R.JOB_CREATED(b"")[:8]), got
    return most


def test_full(wire: Wire) -> None:
    c = limited(wire, b" 2")
    assert [c.submit(b"f"), c.submit(b"f", kind="SUBMIT_JOB_BG")] == [handle(1), handle(2)]
    for kind in (*KINDS, "SUBMIT_JOB_BG", "SUBMIT_JOB_HIGH_BG", "SUBMIT_JOB_LOW_BG"):
        c.send(getattr(Q, kind)(b"f", b"", b"x")).expect(QUEUE_FULL)
    c.send(Q.SUBMIT_JOB_EPOCH(b"f", b"", b"%d" % (START_WALL + 60), b"x")).expect(QUEUE_FULL)
    c.send(Q.SUBMIT_REDUCE_JOB(b"f", b"", b"r", b"", b"x")).expect(QUEUE_FULL)
    c.send(Q.SUBMIT_REDUCE_JOB_BACKGROUND(b"f", b"", b"r", b"", b"x")).expect(QUEUE_FULL)
    assert c.status_of(b"f") == (2, 0, 0)
    c.submit(b"g")


def test_running_jobs_count(wire: Wire) -> None:
    c, w = limited(wire, b" 1"), wire.worker("w", b"f")
    job = c.submit(b"f", b"x")
    assert w.grab() == b"x"
    c.send(Q.SUBMIT_JOB(b"f", b"", b"y")).expect(QUEUE_FULL)
    w.send(Q.WORK_COMPLETE(job, b""))
    c.expect(R.WORK_COMPLETE(job, b""))
    c.submit(b"f", b"y")


def test_future_jobs_count(wire: Wire) -> None:
    c = limited(wire, b" 1")
    c.submit_at(b"f", START_WALL + 60)
    c.send(Q.SUBMIT_JOB(b"f", b"", b"")).expect(QUEUE_FULL)


def test_coalesced_requests_do_not(wire: Wire) -> None:
    c = limited(wire, b" 1")
    job = c.submit(b"f", b"", b"u")
    assert c.submit(b"f", b"", b"u") == job
    assert c.submit(b"f", b"", b"u", "SUBMIT_JOB_BG") == job
    c.send(Q.SUBMIT_JOB(b"f", b"v", b"")).expect(QUEUE_FULL)


def test_refused_job_leaves_no_trace(wire: Wire) -> None:
    c, w = limited(wire, b" 1"), wire.sleeper("w", b"f")
    c.submit(b"f", b"x", b"u")
    w.expect(R.NOOP())
    c.send(Q.SUBMIT_JOB(b"f", b"v", b"")).expect(QUEUE_FULL)
    c.send(Q.GET_STATUS_UNIQUE(b"v")).expect(R.STATUS_RES_UNIQUE(b"v", b"0", b"0", b"0", b"0", b"0"))
    assert w.grab_all() == [b"x"]


def test_requeued_job_is_not_refused(wire: Wire) -> None:
    c, w = limited(wire, b" 1"), wire.worker("w", b"f")
    c.submit(b"f", b"x")
    assert w.grab() == b"x"
    w.leave()
    assert wire.worker("w2", b"f").grab() == b"x"


@pytest.mark.parametrize(
    ("limits", "wanted"),
    [
        (b" 3", (3, 3, 3)),
        (b" 1 2 3", (1, 2, 3)),
        (b" 3 1 2", (3, 1, 2)),
        (b" 2 3", (2, 3, 5)),
        (b"", (5, 5, 5)),
        (b" 0", (5, 5, 5)),
        (b" -1", (5, 5, 5)),
        (b" many", (5, 5, 5)),
        (b" 2 x 0", (2, 5, 5)),
        (b" 2 -4 1", (2, 5, 1)),
    ],
)
@pytest.mark.parametrize("priority", [0, 1, 2])
def test_limit_of_each_priority(wire: Wire, limits: bytes, wanted: tuple[int, int, int], priority: int) -> None:
    assert room(limited(wire, limits), KINDS[priority]) == wanted[priority]


def test_limit_is_compared_with_the_total(wire: Wire) -> None:
    c = limited(wire, b" 3 2 1")
    assert room(c, "SUBMIT_JOB_LOW") == 1
    assert room(c, "SUBMIT_JOB") == 1
    assert room(c, "SUBMIT_JOB_HIGH") == 1
    assert c.table(b"prioritystatus") == [b"f\t1\t1\t1\t0"]


def test_can_be_changed_and_taken_away(wire: Wire) -> None:
    c = limited(wire, b" 1")
    assert room(c, "SUBMIT_JOB") == 1
    c.send(b"maxqueue f 3\r\n").expect(b"OK\r\n")
    assert room(c, "SUBMIT_JOB") == 2
    c.send(b"MAXQUEUE f\r\n").expect(b"OK\r\n")
    assert room(c, "SUBMIT_JOB") == 5


def test_unknown_function_is_ok_and_without_effect(wire: Wire) -> None:
    c = wire.peer("c")
    c.send(b"maxqueue f 1\n").expect(b"OK\r\n")
    assert c.table(b"status") == []
    assert room(c, "SUBMIT_JOB") == 5


def test_incomplete(wire: Wire) -> None:
    wire.peer("c").send(b"maxqueue\n").expect(incomplete(b"maxqueue"))


def test_other_functions_are_not_limited(wire: Wire) -> None:
    c = limited(wire, b" 1")
    c.submit(b"f")
    for _ in range(3):
        c.submit(b"F")

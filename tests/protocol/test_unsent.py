# SPDX-License-Identifier: BSD-3-Clause
"""Section 7, "endless output to a client that never reads": `max_unsent` bounds what is kept for one connection.

A driver that never takes the output stands for a client that never reads, so these use the dispatcher itself.
"""

from __future__ import annotations

import pytest

from gearfast.dispatch import Dispatcher
from gearfast.dispatch._check import check

from .script import PREFIX, Q, R, handle

LIMIT = 10_000


class Reader:
    """A dispatcher with the limit, and what its peers have unsent."""

    def __init__(self, limit: int = LIMIT) -> None:
        self.server = Dispatcher(handle_prefix=PREFIX, max_unsent=limit)

    def peer(self, *packets: bytes) -> int:
        peer = self.server.connect("192.0.2.5")
        self.server.receive(peer, b"".join(packets))
        return peer

    def unsent(self, peer: int) -> int:
        return next(int(row["unsent"]) for row in self.server.peers() if row["peer"] == peer)


def test_who_asks_for_more_than_it_reads_is_cut() -> None:
    reader = Reader()
    c = reader.peer()
    most, goes_on = 0, True
    while goes_on and most < 100 * LIMIT:
        goes_on = reader.server.receive(c, Q.ECHO_REQ(b"x" * 500))
        most += 512
    assert not goes_on
    assert most <= LIMIT + 512
    assert reader.server.closing(c)
    assert reader.unsent(c) <= LIMIT
    assert c in reader.server.take_dirty()
    assert any("192.0.2.5" in text for _, text in reader.server.take_notices())
    check(reader.server)


@pytest.mark.parametrize("line", [b"show jobs\n", b"show unique jobs\n", b"status\n", b"workers\n"])
def test_lists_are_bounded_within_one_read(line: bytes) -> None:
    reader = Reader()
    feeder = reader.peer()
    for n in range(50):
        reader.server.receive(feeder, Q.SUBMIT_JOB_BG(b"f%d" % n, b"unique %d" % n, b""))
        reader.server.take_output(feeder)
    c = reader.peer()
    assert reader.server.receive(c, line * 2000) is False
    assert reader.unsent(c) <= LIMIT
    assert reader.server.receive(feeder, Q.ECHO_REQ(b"undisturbed")) is True


def test_a_slow_client_does_not_disturb_its_worker() -> None:
    reader = Reader()
    c = reader.peer(*[Q.SUBMIT_JOB(b"f", b"u", b"x")] * 20)
    reader.server.take_output(c)
    w = reader.peer(Q.CAN_DO(b"f"), Q.GRAB_JOB())
    reader.server.take_output(w)
    assert reader.server.receive(w, Q.WORK_DATA(handle(1), b"d" * 1000))
    assert reader.unsent(c) <= LIMIT
    assert reader.server.closing(c)
    assert reader.server.receive(w, Q.WORK_COMPLETE(handle(1), b""))
    assert reader.server.take_output(w) == b""
    assert reader.server.job_count == 0
    reader.server.disconnect(c)
    check(reader.server)


def test_a_large_result_passes_if_nothing_is_unsent() -> None:
    reader = Reader()
    c = reader.peer(Q.SUBMIT_JOB(b"f", b"", b"x"))
    reader.server.take_output(c)
    w = reader.peer(Q.CAN_DO(b"f"), Q.GRAB_JOB())
    reader.server.take_output(w)
    reader.server.receive(w, Q.WORK_COMPLETE(handle(1), b"r" * 5 * LIMIT))
    assert reader.server.take_output(c) == R.WORK_COMPLETE(handle(1), b"r" * 5 * LIMIT)
    assert not reader.server.closing(c)


def test_who_reads_is_never_cut() -> None:
    reader = Reader()
    c = reader.peer()
    for _ in range(100):
        assert reader.server.receive(c, Q.ECHO_REQ(b"x" * (LIMIT - 100)))
        assert len(reader.server.take_output(c)) == LIMIT - 88


def test_no_limit_by_default() -> None:
    reader = Reader(0)
    c = reader.peer(*[Q.ECHO_REQ(b"x" * LIMIT)] * 50)
    assert reader.unsent(c) == 50 * (LIMIT + 12)

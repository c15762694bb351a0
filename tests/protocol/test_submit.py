# SPDX-License-Identifier: BSD-3-Clause
"""1.2 and 2.1: submissions, handles, and the three ways of grabbing."""

from __future__ import annotations

import pytest

from .conftest import MakeWire
from .script import NOT_FOUND, Q, R, Wire, handle

FOREGROUND = ["SUBMIT_JOB", "SUBMIT_JOB_HIGH", "SUBMIT_JOB_LOW"]
BACKGROUND = ["SUBMIT_JOB_BG", "SUBMIT_JOB_HIGH_BG", "SUBMIT_JOB_LOW_BG"]


@pytest.mark.parametrize("kind", FOREGROUND)
def test_foreground_job_from_end_to_end(wire: Wire, kind: str) -> None:
    c, w = wire.peer("c"), wire.worker("w", b"f")
    c.send(getattr(Q, kind)(b"f", b"u", b"data")).expect(R.JOB_CREATED(handle(1)))
    w.send(Q.GRAB_JOB()).expect(R.JOB_ASSIGN(handle(1), b"f", b"data"))
    w.send(Q.WORK_COMPLETE(handle(1), b"result")).expect_nothing()
    c.expect(R.WORK_COMPLETE(handle(1), b"result"))
    assert c.status_of(b"f") == (0, 0, 1)
    assert c.table(b"show jobs") == []
    w.send(Q.WORK_COMPLETE(handle(1), b"again")).expect(NOT_FOUND)


@pytest.mark.parametrize("kind", BACKGROUND)
def test_background_job_from_end_to_end(wire: Wire, kind: str) -> None:
    c, w = wire.peer("c"), wire.worker("w", b"f")
    c.send(getattr(Q, kind)(b"f", b"u", b"data")).expect(R.JOB_CREATED(handle(1)))
    c.leave()
    w.send(Q.GRAB_JOB()).expect(R.JOB_ASSIGN(handle(1), b"f", b"data"))
    w.send(Q.WORK_COMPLETE(handle(1), b"result")).expect_nothing()
    assert w.status_of(b"f") == (0, 0, 1)


def test_three_ways_of_grabbing(wire: Wire) -> None:
    c, w = wire.peer("c"), wire.worker("w", b"f")
    for unique in (b"u1", b"u2", b"u3", b""):
        c.submit(b"f", b"data", unique)
    w.send(Q.GRAB_JOB()).expect(R.JOB_ASSIGN(handle(1), b"f", b"data"))
    w.send(Q.GRAB_JOB_UNIQ()).expect(R.JOB_ASSIGN_UNIQ(handle(2), b"f", b"u2", b"data"))
    w.send(Q.GRAB_JOB_ALL()).expect(R.JOB_ASSIGN_UNIQ(handle(3), b"f", b"u3", b"data"))
    w.send(Q.GRAB_JOB_ALL()).expect(R.JOB_ASSIGN_UNIQ(handle(4), b"f", b"", b"data"))
    w.send(Q.GRAB_JOB(), Q.GRAB_JOB_UNIQ(), Q.GRAB_JOB_ALL()).expect(R.NO_JOB(), R.NO_JOB(), R.NO_JOB())


def test_several_grabs_in_one_read(wire: Wire) -> None:
    c, w = wire.peer("c"), wire.worker("w", b"f")
    c.submit(b"f", b"1")
    c.submit(b"f", b"2")
    w.send(*[Q.GRAB_JOB()] * 3)
    w.expect(R.JOB_ASSIGN(handle(1), b"f", b"1"), R.JOB_ASSIGN(handle(2), b"f", b"2"), R.NO_JOB())
    w.send(Q.WORK_COMPLETE(handle(2), b"b"), Q.WORK_COMPLETE(handle(1), b"a"))
    c.expect(R.WORK_COMPLETE(handle(2), b"b"), R.WORK_COMPLETE(handle(1), b"a"))


@pytest.mark.parametrize("grab", ["GRAB_JOB", "GRAB_JOB_UNIQ", "GRAB_JOB_ALL"])
def test_grab_of_one_who_can_do_nothing(wire: Wire, grab: str) -> None:
    c, w = wire.peer("c"), wire.peer("w")
    c.submit(b"f")
    w.send(getattr(Q, grab)()).expect(R.NO_JOB())


def test_only_registered_functions_are_grabbed(wire: Wire) -> None:
    c, w = wire.peer("c"), wire.worker("w", b"f", b"g")
    c.submit(b"F", b"another case")
    c.submit(b"g", b"mine")
    assert w.grab_all() == [b"mine"]
    w.send(Q.CANT_DO(b"g"), Q.CAN_DO(b"F"))
    assert w.grab() == b"another case"


def test_one_connection_is_client_and_worker(wire: Wire) -> None:
    both = wire.sleeper("both", b"f")
    both.send(Q.SUBMIT_JOB(b"f", b"", b"x")).expect(R.NOOP(), R.JOB_CREATED(handle(1)))
    both.send(Q.GRAB_JOB()).expect(R.JOB_ASSIGN(handle(1), b"f", b"x"))
    both.send(Q.WORK_COMPLETE(handle(1), b"y")).expect(R.WORK_COMPLETE(handle(1), b"y"))


def test_64_byte_unique_is_kept_whole(wire: Wire) -> None:
    c, w = wire.peer("c"), wire.worker("w", b"f")
    unique = bytes(range(1, 65))
    job = c.submit(b"f", b"data", unique)
    w.send(Q.GRAB_JOB_UNIQ()).expect(R.JOB_ASSIGN_UNIQ(job, b"f", unique, b"data"))
    assert c.submit(b"f", b"other", unique) == job


class TestHandles:
    def test_count_goes_on(self, make_wire: MakeWire) -> None:
        c = make_wire(handle_prefix=b"H:there", first_handle=998).peer("c")
        assert [c.submit(b"f") for _ in range(3)] == [b"H:there:998", b"H:there:999", b"H:there:1000"]

    def test_count_has_64_bits(self, make_wire: MakeWire) -> None:
        wire = make_wire(first_handle=1 << 40)
        c, w = wire.peer("c"), wire.worker("w", b"f")
        job = c.submit(b"f", b"x")
        assert job == handle(1 << 40)
        assert w.grab() == b"x"
        assert c.known(job) == (b"1", b"1", b"0", b"0")
        w.send(Q.WORK_COMPLETE(job, b"y"))
        c.expect(R.WORK_COMPLETE(job, b"y"))

    def test_handles_are_never_used_again(self, wire: Wire) -> None:
        c, w = wire.peer("c"), wire.worker("w", b"f")
        seen = set()
        for _ in range(50):
            job = c.submit(b"f", b"x")
            assert w.grab() == b"x"
            w.send(Q.WORK_COMPLETE(job, b""))
            c.take()
            seen.add(job)
        assert len(seen) == 50

    @pytest.mark.parametrize("size", [58, 61, 63, 64, 200])
    def test_long_prefix_never_gives_equal_or_long_handles(self, make_wire: MakeWire, size: int) -> None:
        try:
            wire = make_wire(handle_prefix=b"p" * size)
        except ValueError:
            return  # refused at once is as good
        c = wire.peer("c")
        handles = [c.submit(b"f") for _ in range(120)]
        assert len(set(handles)) == 120
        assert max(map(len, handles)) <= 63
        assert all(c.known(h)[0] == b"1" for h in handles)

    def test_status_by_handle(self, wire: Wire) -> None:
        c, w, other = wire.peer("c"), wire.worker("w", b"f"), wire.peer("other")
        job = c.submit(b"f", b"x")
        assert other.known(job) == (b"1", b"0", b"0", b"0")
        assert w.grab() == b"x"
        assert other.known(job) == (b"1", b"1", b"0", b"0")
        w.send(Q.WORK_STATUS(job, b"3", b"4"))
        c.expect(R.WORK_STATUS(job, b"3", b"4"))
        assert other.known(job) == (b"1", b"1", b"3", b"4")
        w.send(Q.WORK_COMPLETE(job, b""))
        c.expect(R.WORK_COMPLETE(job, b""))
        assert other.known(job) == (b"0", b"0", b"0", b"0")

    def test_nul_ends_the_handle(self, wire: Wire) -> None:
        c = wire.peer("c")
        job = c.submit(b"f")
        for tail in (b"\0", b"\0junk"):
            c.send(Q.GET_STATUS(job + tail)).expect(R.STATUS_RES(job, b"1", b"0", b"0", b"0"))

    @pytest.mark.parametrize(
        "text", [b"", b"H:local:", b"H:local:0", b"H:local:01", b"H:local:1x", b"h:local:1", b"1", b"H:local:+1"]
    )
    @pytest.mark.parametrize("more", [b"", b"8446744073709551617"])
    def test_what_is_no_handle_is_unknown(self, wire: Wire, text: bytes, more: bytes) -> None:
        c = wire.peer("c")
        c.submit(b"f")
        if text + more != handle(1):
            assert c.known(text + more) == (b"0", b"0", b"0", b"0")

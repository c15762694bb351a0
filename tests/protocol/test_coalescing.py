# SPDX-License-Identifier: BSD-3-Clause
"""2.3: submissions that meet a job of the same unique, and GET_STATUS_UNIQUE."""

from __future__ import annotations

import pytest

from .conftest import MakeWire
from .script import Peer, Q, R, Wire, handle

SUBMITS = ["SUBMIT_JOB", "SUBMIT_JOB_HIGH", "SUBMIT_JOB_LOW", "SUBMIT_JOB_BG", "SUBMIT_JOB_LOW_BG"]


def unique_status(peer: Peer, unique: bytes) -> tuple[bytes, ...]:
    """GET_STATUS_UNIQUE: the five words behind the unique."""
    peer.send(Q.GET_STATUS_UNIQUE(unique))
    args = peer.one("STATUS_RES_UNIQUE")
    assert args[0] == unique
    return args[1:]


UNKNOWN = (b"0", b"0", b"0", b"0", b"0")


@pytest.mark.parametrize("first", SUBMITS)
@pytest.mark.parametrize("second", SUBMITS)
@pytest.mark.parametrize("running", [False, True])
def test_same_function_and_unique_give_the_same_job(
    make_wire: MakeWire, first: str, second: str, running: bool
) -> None:
    wire = make_wire()
    a, b, w = wire.peer("a"), wire.peer("b"), wire.worker("w", b"f")
    job = a.submit(b"f", b"one", b"u", first)
    if running:
        assert w.grab() == b"one"
    assert b.submit(b"f", b"two", b"u", second) == job
    assert a.status_of(b"f") == (1, int(running), 1)
    if not running:
        assert w.grab() == b"one"
    assert w.grab() is None
    w.send(Q.WORK_COMPLETE(job, b"done")).expect_nothing()
    a.expect(b"" if "BG" in first else R.WORK_COMPLETE(job, b"done"))
    b.expect(b"" if "BG" in second else R.WORK_COMPLETE(job, b"done"))
    assert b.submit(b"f", b"two", b"u", second) == handle(2)


def test_data_and_priority_of_the_second_are_thrown_away(wire: Wire) -> None:
    c, w = wire.peer("c"), wire.worker("w", b"f")
    low = c.submit(b"f", b"low", b"u", "SUBMIT_JOB_LOW")
    c.submit(b"f", b"normal", b"v")
    assert c.submit(b"f", b"high", b"u", "SUBMIT_JOB_HIGH") == low
    assert w.grab_all() == [b"normal", b"low"]


def test_the_second_wakes_nobody(wire: Wire) -> None:
    c, w = wire.peer("c"), wire.worker("w", b"f")
    c.submit(b"f", b"x", b"u")
    assert w.grab() == b"x"
    w.sleep()
    c.submit(b"f", b"x", b"u")
    w.expect_nothing()


def test_each_request_is_one_entry(wire: Wire) -> None:
    c, w = wire.peer("c"), wire.worker("w", b"f")
    job = c.submit(b"f", b"x", b"u")
    assert c.submit(b"f", b"x", b"u") == job
    assert unique_status(c, b"u") == (b"1", b"0", b"0", b"0", b"2")
    assert w.grab() == b"x"
    w.send(Q.WORK_DATA(job, b"d"), Q.WORK_STATUS(job, b"1", b"2"), Q.WORK_COMPLETE(job, b"r"))
    c.expect(*[R.WORK_DATA(job, b"d")] * 2, *[R.WORK_STATUS(job, b"1", b"2")] * 2, *[R.WORK_COMPLETE(job, b"r")] * 2)


def test_one_read_with_two_requests_of_one_unique(wire: Wire) -> None:
    c = wire.peer("c")
    c.send(Q.SUBMIT_JOB(b"f", b"u", b"1"), Q.SUBMIT_JOB(b"f", b"u", b"2"))
    c.expect(R.JOB_CREATED(handle(1)), R.JOB_CREATED(handle(1)))


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((b"f", b"u"), (b"g", b"u")),
        ((b"f", b"u"), (b"f", b"U")),
        ((b"f", b"u"), (b"f", b"u ")),
        ((b"f", b"u"), (b"F", b"u")),
        ((b"f", b"gu"), (b"fg", b"u")),
        ((b"f", b""), (b"f", b"")),
        ((b"f", b"u" * 63), (b"f", b"u" * 64)),
    ],
)
def test_other_keys_are_other_jobs(wire: Wire, a: tuple[bytes, bytes], b: tuple[bytes, bytes]) -> None:
    c = wire.peer("c")
    assert c.submit(a[0], b"same", a[1]) != c.submit(b[0], b"same", b[1])


@pytest.mark.parametrize("unique", [b"#", b"--", b"-x", b"\xff\xfe", b"u" * 63, b"u" * 64])
def test_every_other_unique_is_only_bytes(wire: Wire, unique: bytes) -> None:
    c = wire.peer("c")
    job = c.submit(b"f", b"one", unique)
    assert c.submit(b"f", b"two", unique) == job


class TestDash:
    """The unique `-`: by equal data within the function."""

    def test_equal_data_is_one_job(self, wire: Wire) -> None:
        a, b, w = wire.peer("a"), wire.peer("b"), wire.worker("w", b"f")
        job = a.submit(b"f", b"same\0data", b"-")
        assert b.submit(b"f", b"same\0data", b"-") == job
        w.send(Q.GRAB_JOB_UNIQ()).expect(R.JOB_ASSIGN_UNIQ(job, b"f", b"-", b"same\0data"))
        w.send(Q.WORK_COMPLETE(job, b"r"))
        a.expect(R.WORK_COMPLETE(job, b"r"))
        b.expect(R.WORK_COMPLETE(job, b"r"))
        assert a.submit(b"f", b"same\0data", b"-") != job

    def test_other_data_or_function_is_another(self, wire: Wire) -> None:
        c = wire.peer("c")
        jobs = [c.submit(f, d, b"-") for f, d in ((b"f", b"1"), (b"f", b"2"), (b"g", b"1"), (b"f", b"1\0"))]
        assert len(set(jobs)) == 4

    @pytest.mark.parametrize("dash_first", [False, True])
    def test_data_is_no_unique(self, wire: Wire, dash_first: bool) -> None:
        c = wire.peer("c")
        requests = [(b"-", b"text"), (b"text", b"data")]
        if not dash_first:
            requests.reverse()
        assert len({c.submit(b"f", data, unique) for unique, data in requests}) == 2
        c.send(Q.GET_STATUS_UNIQUE(b"text"))
        assert c.one("STATUS_RES_UNIQUE")[1:] == (b"1", b"0", b"0", b"0", b"1")

    def test_empty_data_never(self, wire: Wire) -> None:
        c = wire.peer("c")
        assert c.submit(b"f", b"", b"-") != c.submit(b"f", b"", b"-")


class TestStatusByUnique:
    def test_life_of_a_job(self, wire: Wire) -> None:
        c, w, other = wire.peer("c"), wire.worker("w", b"f"), wire.peer("other")
        assert unique_status(other, b"u") == UNKNOWN
        job = c.submit(b"f", b"x", b"u")
        assert unique_status(other, b"u") == (b"1", b"0", b"0", b"0", b"1")
        assert w.grab() == b"x"
        w.send(Q.WORK_STATUS(job, b"5", b"9"))
        assert unique_status(other, b"u") == (b"1", b"1", b"5", b"9", b"1")
        other.submit(b"f", b"", b"u")
        assert unique_status(other, b"u") == (b"1", b"1", b"5", b"9", b"2")
        other.leave()
        assert unique_status(w, b"u") == (b"1", b"1", b"5", b"9", b"1")
        w.send(Q.WORK_COMPLETE(job, b""))
        c.expect(R.WORK_STATUS(job, b"5", b"9"), R.WORK_COMPLETE(job, b""))
        assert unique_status(c, b"u") == UNKNOWN

    def test_background_has_no_clients(self, wire: Wire) -> None:
        c = wire.peer("c")
        c.submit(b"f", b"x", b"u", "SUBMIT_JOB_BG")
        assert unique_status(c, b"u") == (b"1", b"0", b"0", b"0", b"0")

    def test_of_several_functions_the_newest_job_answers(self, wire: Wire) -> None:
        c, w = wire.peer("c"), wire.worker("w", b"g")
        c.submit(b"f", b"x", b"u", "SUBMIT_JOB_BG")
        c.submit(b"g", b"y", b"u")
        assert unique_status(c, b"u") == (b"1", b"0", b"0", b"0", b"1")
        assert w.grab() == b"y"
        assert unique_status(c, b"u") == (b"1", b"1", b"0", b"0", b"1")
        w.send(Q.WORK_COMPLETE(handle(2), b""))
        c.take()
        assert unique_status(c, b"u") == (b"1", b"0", b"0", b"0", b"0")

    @pytest.mark.parametrize("unique", [b"", b"-"])
    def test_no_unique_is_unknown(self, wire: Wire, unique: bytes) -> None:
        c = wire.peer("c")
        c.submit(b"f", b"x", unique)
        assert unique_status(c, unique) == UNKNOWN

    def test_numbers_after_a_loss_are_zero(self, wire: Wire) -> None:
        c, w = wire.peer("c"), wire.worker("w", b"f")
        job = c.submit(b"f", b"x", b"u")
        assert w.grab() == b"x"
        w.send(Q.WORK_STATUS(job, b"5", b"9"))
        c.expect(R.WORK_STATUS(job, b"5", b"9"))
        w.leave()
        assert unique_status(c, b"u") == (b"1", b"0", b"0", b"0", b"1")


def test_many_uniques(wire: Wire) -> None:
    c = wire.peer("c")
    jobs = {b"u%d" % n: c.submit(b"f", b"", b"u%d" % n, "SUBMIT_JOB_BG") for n in range(500)}
    assert len(set(jobs.values())) == 500
    for unique in list(jobs)[::50]:
        assert c.submit(b"f", b"", unique, "SUBMIT_JOB_BG") == jobs[unique]

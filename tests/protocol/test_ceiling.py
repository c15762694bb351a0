# SPDX-License-Identifier: BSD-3-Clause
"""`max_queued`: the bytes of all jobs together are bounded, and exactly accounted for until the last one has ended."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from .conftest import MakeWire
from .script import QUEUE_FULL, START_WALL, Peer, Q, R, Wire, handle

CEILING = 5000
DATA = b"d" * 1000
LATER = b"%d" % (START_WALL + 60)

SUBMISSIONS: dict[str, bytes] = {
    **{
        kind: getattr(Q, kind)(b"f", b"", DATA)
        for kind in (
            "SUBMIT_JOB",
            "SUBMIT_JOB_HIGH",
            "SUBMIT_JOB_LOW",
            "SUBMIT_JOB_BG",
            "SUBMIT_JOB_HIGH_BG",
            "SUBMIT_JOB_LOW_BG",
        )
    },
    "SUBMIT_JOB_EPOCH": Q.SUBMIT_JOB_EPOCH(b"f", b"", LATER, DATA),
    "SUBMIT_JOB_SCHED": Q.SUBMIT_JOB_SCHED(b"f", b"", b"30", b"*", b"*", b"*", b"*", DATA),
    "SUBMIT_REDUCE_JOB": Q.SUBMIT_REDUCE_JOB(b"f", b"", b"r", b"", DATA),
    "SUBMIT_REDUCE_JOB_BACKGROUND": Q.SUBMIT_REDUCE_JOB_BACKGROUND(b"f", b"", b"r", b"", DATA),
}


def queued_bytes(wire: Wire) -> int:
    return int(wire.dispatcher.metrics()["server"]["queued_bytes"])


def ceiling_notices(wire: Wire) -> int:
    """How many of the notices since the last look tell of the ceiling."""
    return sum("queued jobs take" in text for _, text in wire.dispatcher.take_notices())


def fill(wire: Wire, c: Peer, function: bytes = b"f", kind: str = "SUBMIT_JOB_BG") -> int:
    """Submits until there is no room; how many were taken."""
    for number in range(1000):
        c.send(getattr(Q, kind)(function, b"", DATA))
        got = c.take()
        if got == QUEUE_FULL:
            return number
        assert got.startswith(R.JOB_CREATED(b"")[:8]), got
    raise AssertionError("there is no ceiling")


@pytest.fixture
def full(make_wire: MakeWire) -> tuple[Wire, Peer]:
    """A wire whose jobs of f take all there is, and the client that submitted them."""
    wire = make_wire(max_queued=CEILING)
    c = wire.peer("c")
    assert fill(wire, c) == CEILING // (len(DATA) + 80)
    return wire, c


@pytest.mark.parametrize("kind", SUBMISSIONS)
def test_every_kind_is_refused(full: tuple[Wire, Peer], kind: str) -> None:
    wire, _ = full
    before = queued_bytes(wire), wire.dispatcher.job_count
    wire.peer("other").send(SUBMISSIONS[kind]).expect(QUEUE_FULL)
    assert (queued_bytes(wire), wire.dispatcher.job_count) == before


@pytest.mark.parametrize("kind", SUBMISSIONS)
def test_every_kind_counts(make_wire: MakeWire, kind: str) -> None:
    wire = make_wire(max_queued=CEILING)
    c = wire.peer("c")
    for _ in range(20):
        wire.tick()
        c.send(SUBMISSIONS[kind])
    answers = [seen.name for seen in c.seen()]
    taken = answers.index("ERROR")
    assert 3 <= taken <= 4
    assert answers == ["JOB_CREATED"] * taken + ["ERROR"] * (20 - taken)
    assert CEILING - 1200 < queued_bytes(wire) <= CEILING


@pytest.mark.parametrize("unique", [b"", b"u", b"u" * 64, b"-"])
@pytest.mark.parametrize("reducer", [b"", b"r", b"r" * 64])
def test_the_ceiling_is_never_passed_by_a_byte(make_wire: MakeWire, unique: bytes, reducer: bytes) -> None:
    """Whatever the ceiling and whatever a job is made of."""
    probe = make_wire()
    probe.peer("c").send(Q.SUBMIT_REDUCE_JOB_BACKGROUND(b"f", unique, reducer, b"", b"w" * 50)).one("JOB_CREATED")
    one = queued_bytes(probe)
    for ceiling, fits in ((one - 1, False), (one, True), (one + 1, True)):
        wire = make_wire(max_queued=ceiling)
        c = wire.peer("c").send(Q.SUBMIT_REDUCE_JOB_BACKGROUND(b"f", unique, reducer, b"", b"w" * 50))
        if fits:
            c.one("JOB_CREATED")
        else:
            c.expect(QUEUE_FULL)
        assert queued_bytes(wire) == (one if fits else 0)
        assert queued_bytes(wire) <= ceiling


def test_smaller_ones_still_fit(full: tuple[Wire, Peer]) -> None:
    _, c = full
    c.submit(b"f", b"small")
    c.send(Q.SUBMIT_JOB(b"f", b"", DATA)).expect(QUEUE_FULL)
    c.submit(b"f", b"small too")


@pytest.mark.parametrize("kind", ["SUBMIT_JOB", "SUBMIT_JOB_BG"])
def test_coalescing_goes_on(make_wire: MakeWire, kind: str) -> None:
    wire = make_wire(max_queued=CEILING)
    c = wire.peer("c")
    job = c.submit(b"f", b"x", b"u")
    by_data = c.submit(b"f", b"y", b"-")
    fill(wire, c)
    before = queued_bytes(wire)
    other = wire.peer("other")
    assert other.submit(b"f", DATA, b"u", kind) == job
    assert other.submit(b"f", b"y", b"-", kind) == by_data
    other.send(getattr(Q, kind)(b"f", b"v", DATA)).expect(QUEUE_FULL)
    other.send(getattr(Q, kind)(b"g", b"u", DATA)).expect(QUEUE_FULL)
    assert queued_bytes(wire) == before


def test_a_refused_unique_is_not_remembered(full: tuple[Wire, Peer]) -> None:
    _, c = full
    c.send(Q.SUBMIT_JOB(b"f", b"v", DATA)).expect(QUEUE_FULL)
    c.send(Q.GET_STATUS_UNIQUE(b"v")).expect(R.STATUS_RES_UNIQUE(b"v", b"0", b"0", b"0", b"0", b"0"))
    assert not c.closed


def test_refusals_leave_no_functions_behind(full: tuple[Wire, Peer]) -> None:
    """Names are memory too: who is refused must not fill it with ever new ones."""
    wire, c = full
    c.send(b"create function made\n").expect(b"OK\r\n")
    for name in (b"new", b"newer", b"made", b"f"):
        c.send(Q.SUBMIT_JOB_BG(name, b"", DATA)).expect(QUEUE_FULL)
    assert [row.split(b"\t")[0] for row in c.table(b"status")] == [b"f", b"made"]
    functions = wire.dispatcher.metrics()["functions"]
    assert functions["made"]["refused"] == 1
    assert functions["f"]["refused"] == 2  # with the one that found the ceiling


def test_everything_else_goes_on(full: tuple[Wire, Peer]) -> None:
    wire, c = full
    c.send(Q.ECHO_REQ(b"e" * CEILING)).expect(R.ECHO_RES(b"e" * CEILING))
    c.send(Q.OPTION_REQ(b"exceptions")).expect(R.OPTION_RES(b"exceptions"))
    assert c.known(handle(1)) == (b"1", b"0", b"0", b"0")
    assert c.status_of(b"f") == (4, 0, 0)
    assert len(c.table(b"show jobs")) == 4
    w = wire.worker("w", b"f", b"g", b"h")
    w.send(Q.SET_CLIENT_ID(b"me")).expect_nothing()
    assert w.grab() == DATA
    w.send(Q.WORK_STATUS(handle(1), b"1", b"2"), Q.WORK_DATA(handle(1), DATA * 10), Q.WORK_WARNING(handle(1), b""))
    w.expect_nothing()
    assert c.known(handle(1)) == (b"1", b"1", b"1", b"2")
    c.send(Q.SUBMIT_JOB(b"f", b"", DATA)).expect(QUEUE_FULL)
    w.send(Q.WORK_COMPLETE(handle(1), DATA * 20)).expect_nothing()
    c.submit(b"f", DATA)
    c.send(Q.SUBMIT_JOB(b"f", b"", DATA)).expect(QUEUE_FULL)


def test_workers_that_come_when_it_is_full_are_served(full: tuple[Wire, Peer]) -> None:
    wire, _ = full
    sleepy = wire.peer("sleepy").send(Q.PRE_SLEEP(), Q.CAN_DO(b"f")).expect(R.NOOP())
    assert sleepy.grab_all() == [DATA] * 4


def test_a_requeued_job_keeps_its_room(full: tuple[Wire, Peer]) -> None:
    wire, c = full
    before = queued_bytes(wire)
    w = wire.worker("w", b"f")
    for _ in range(3):
        assert w.grab() == DATA
        w.send(Q.RESET_ABILITIES(), Q.CAN_DO(b"f")).expect_nothing()
        assert queued_bytes(wire) == before
        c.send(Q.SUBMIT_JOB(b"f", b"", DATA)).expect(QUEUE_FULL)
    w.leave()
    assert queued_bytes(wire) == before
    assert wire.worker("w2", b"f").grab_all() == [DATA] * 4


def test_freed_room_is_taken_again(full: tuple[Wire, Peer]) -> None:
    wire, c = full
    w = wire.worker("w", b"f")
    for number in range(1, 30):
        w.send(Q.GRAB_JOB()).expect(R.JOB_ASSIGN(handle(number), b"f", DATA))
        w.send(Q.WORK_FAIL(handle(number)))
        c.submit(b"f", DATA, kind="SUBMIT_JOB_BG")
        c.send(Q.SUBMIT_JOB_BG(b"f", b"", DATA)).expect(QUEUE_FULL)
        assert queued_bytes(wire) <= CEILING


def test_a_log_is_told_once_a_crossing(full: tuple[Wire, Peer]) -> None:
    wire, c = full
    for _ in range(5):
        c.send(Q.SUBMIT_JOB_BG(b"f", b"", DATA)).expect(QUEUE_FULL)
    assert ceiling_notices(wire) == 1
    w = wire.worker("w", b"f")
    for _ in range(2):
        assert w.grab_all() == [DATA] * 4  # they run, and count
        assert c.send(Q.SUBMIT_JOB_BG(b"f", b"", DATA)).take() == QUEUE_FULL
        assert ceiling_notices(wire) == 0
        w.send(b"".join(Q.WORK_COMPLETE(job, b"") for job in running(wire)))
        assert fill(wire, c) == 4
        for _ in range(5):
            c.send(Q.SUBMIT_JOB_BG(b"f", b"", DATA)).expect(QUEUE_FULL)
        assert ceiling_notices(wire) == 1


def running(wire: Wire) -> list[bytes]:
    return [job["handle"].encode() for job in wire.dispatcher.jobs() if job["running"]]


def test_about_the_ceiling_a_log_is_not_told_again_and_again(make_wire: MakeWire) -> None:
    """A queue that stays full, a job out and a job in, is one crossing."""
    wire = make_wire(max_queued=50_000)
    c, w = wire.peer("c"), wire.worker("w", b"f")
    fill(wire, c)
    for _ in range(100):
        job, _, _ = w.send(Q.GRAB_JOB()).one("JOB_ASSIGN")
        w.send(Q.WORK_COMPLETE(job, b""))
        assert fill(wire, c) == 1
    assert ceiling_notices(wire) == 1


def test_larger_than_the_ceiling(make_wire: MakeWire) -> None:
    wire = make_wire(max_queued=CEILING)
    c = wire.peer("c")
    for _ in range(3):
        c.send(Q.SUBMIT_JOB(b"f", b"", b"x" * CEILING)).expect(QUEUE_FULL)
    assert wire.dispatcher.job_count == 0
    c.submit(b"f", DATA)


def test_no_ceiling_by_default(make_wire: MakeWire) -> None:
    wire = make_wire()
    c = wire.peer("c")
    for _ in range(100):
        c.submit(b"f", DATA)
    assert queued_bytes(wire) >= 100 * len(DATA)
    assert wire.dispatcher.metrics()["server"]["max_queued"] == 0


def test_the_ceiling_stands_beside_maxqueue(make_wire: MakeWire) -> None:
    wire = make_wire(max_queued=CEILING)
    c = wire.peer("c")
    c.send(b"create function g\nmaxqueue g 2\n").expect(b"OK\r\n" * 2)
    assert fill(wire, c, b"g") == 2
    assert fill(wire, c) == 2
    assert ceiling_notices(wire) == 1


def submit_all(c: Peer) -> None:
    """Jobs of all makes: with unique, reducer, both, neither, by their data, background or not, for later."""
    c.send(
        Q.SUBMIT_JOB(b"f", b"", b"plain"),
        Q.SUBMIT_JOB(b"f", b"unique", b""),
        Q.SUBMIT_JOB(b"f", b"unique", b""),  # coalesces
        Q.SUBMIT_JOB_BG(b"f", b"-", b"by data"),
        Q.SUBMIT_JOB_HIGH_BG(b"f", b"u" * 64, DATA),
        Q.SUBMIT_REDUCE_JOB(b"f", b"", b"reducer", b"", b"map"),
        Q.SUBMIT_REDUCE_JOB_BACKGROUND(b"f", b"both", b"r" * 64, b"aggregator", b"map"),
        Q.SUBMIT_JOB_LOW(b"f", b"", b"x" * 200_000),
        Q.SUBMIT_JOB_EPOCH(b"f", b"later", LATER, b"later"),
    )
    assert [seen.name for seen in c.seen()] == ["JOB_CREATED"] * 9


def complete(wire: Wire, c: Peer, w: Peer) -> None:
    wire.pass_time(61)
    w.take()
    w.send(Q.GRAB_JOB() * 8)
    w.send(b"".join(Q.WORK_COMPLETE(job, DATA) for job in running(wire)))


def fail(wire: Wire, c: Peer, w: Peer) -> None:
    wire.pass_time(61)
    w.send(Q.GRAB_JOB_ALL() * 8)
    w.send(b"".join(Q.WORK_FAIL(job) for job in running(wire)))


def raise_exceptions(wire: Wire, c: Peer, w: Peer) -> None:
    wire.pass_time(61)
    w.send(Q.GRAB_JOB_UNIQ() * 8)
    w.send(b"".join(Q.WORK_EXCEPTION(job, DATA) for job in running(wire)))


def cancel_queued(wire: Wire, c: Peer, w: Peer) -> None:
    c.send(b"".join(b"cancel job %s\n" % handle(n) for n in range(1, 9)))
    w.send(Q.GRAB_JOB())  # meets them


def cancel_running(wire: Wire, c: Peer, w: Peer) -> None:
    wire.pass_time(61)
    w.send(Q.GRAB_JOB() * 8)
    c.send(b"".join(b"cancel job %s\n" % handle(n) for n in range(1, 9)))
    assert queued_bytes(wire) > 0
    w.send(Q.RESET_ABILITIES())


def drop_function(wire: Wire, c: Peer, w: Peer) -> None:
    w.leave()
    c.send(b"drop function f\n")


def leave_and_be_met(wire: Wire, c: Peer, w: Peer) -> None:
    c.leave()
    complete(wire, c, w)


def leave_while_they_run(wire: Wire, c: Peer, w: Peer) -> None:
    wire.pass_time(61)
    w.send(Q.GRAB_JOB() * 8)
    c.leave()
    w.leave()
    complete(wire, c, wire.worker("another", b"f"))


def use_up_the_tries(wire: Wire, c: Peer, w: Peer) -> None:
    wire.pass_time(61)
    for _ in range(3):
        w.send(Q.GRAB_JOB() * 8).take()
        w.send(Q.RESET_ABILITIES(), Q.CAN_DO(b"f"))


def run_out_of_time(wire: Wire, c: Peer, w: Peer) -> None:
    wire.pass_time(61)
    for _ in range(3):
        w.send(Q.CANT_DO(b"f"), Q.CAN_DO_TIMEOUT(b"f", b"1000"))
        w.send(Q.GRAB_JOB() * 8).take()
        wire.pass_time(2)


Ending = Callable[[Wire, Peer, Peer], None]
ENDINGS: list[Ending] = [
    complete,
    fail,
    raise_exceptions,
    cancel_queued,
    cancel_running,
    drop_function,
    leave_and_be_met,
    leave_while_they_run,
    use_up_the_tries,
    run_out_of_time,
]


@pytest.mark.parametrize("end", ENDINGS, ids=lambda end: end.__name__)
def test_all_room_comes_back(make_wire: MakeWire, end: Ending) -> None:
    wire = make_wire(max_queued=1 << 20, job_retries=3)
    c, w = wire.peer("c"), wire.worker("w", b"f")
    submit_all(c)
    assert queued_bytes(wire) > 201_000
    wire.sound()
    end(wire, c, w)
    for peer in wire.everyone:
        peer.take()
    assert wire.dispatcher.job_count == 0
    assert queued_bytes(wire) == 0

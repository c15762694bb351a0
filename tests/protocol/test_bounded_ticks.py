# SPDX-License-Identifier: BSD-3-Clause
"""What one connection asks for is bounded: by what a tick may walk through, and by what the connection reads.

Nothing of it may show in the answers, which are the same as those of a dispatcher without such bounds.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest

from gearfast.dispatch import Dispatcher
from gearfast.dispatch._check import check

from .script import PREFIX, Q, R, handle

MANY = 20_000
HIGH_WATER = 10_000


class Driver:
    """A dispatcher as a driver sees it: bytes in, a tick, output out. `got`: what each peer has been sent."""

    def __init__(self, **settings: Any) -> None:
        self.server = Dispatcher(handle_prefix=PREFIX, **settings)
        self.got: dict[int, bytes] = {}
        self.now = 0

    def connect(self) -> int:
        peer = self.server.connect()
        self.got[peer] = b""
        return peer

    def send(self, peer: int, *packets: bytes) -> bool:
        return self.server.receive(peer, b"".join(packets))

    def take(self) -> set[int]:
        """Takes the output of all that have some."""
        touched = set()
        for peer in self.server.take_dirty():
            output = self.server.take_output(peer)
            self.got[peer] += output
            if output:
                touched.add(peer)
        return touched

    def tick(self) -> set[int]:
        """Those that got something by it."""
        self.now += 1000
        wait = self.server.tick(self.now, self.now)
        assert (wait == 0) is self.server.pending or not self.server.pending
        return self.take()

    def run(self, most: int = 100_000) -> int:
        """Ticks until nothing is pending; how many it took."""
        self.take()
        for number in range(most):
            if not self.server.pending:
                return number
            self.tick()
        raise AssertionError("pending without end")

    def partial(self, peer: int) -> int:
        return next(int(row["partial"]) for row in self.server.peers() if row["peer"] == peer)

    def unsent(self, peer: int) -> int:
        return next(int(row["unsent"]) for row in self.server.peers() if row["peer"] == peer)


def with_functions(driver: Driver, count: int = MANY) -> int:
    """A worker of that many functions."""
    w = driver.connect()
    driver.send(w, b"".join(Q.CAN_DO(b"f%d" % n) for n in range(count)))
    driver.tick()
    return w


@pytest.fixture
def crowded() -> Driver:
    driver = Driver()
    with_functions(driver)
    return driver


def status(driver: Driver) -> bytes:
    asker = driver.connect()
    driver.send(asker, b"status\n")
    driver.take()
    driver.server.disconnect(asker)
    return driver.got.pop(asker)


def ping(driver: Driver, peer: int, number: int) -> None:
    """An ECHO that comes between two ticks is answered before the next one."""
    before = len(driver.got[peer])
    driver.send(peer, Q.ECHO_REQ(b"%d" % number))
    assert driver.got[peer][before:] == b""
    driver.take()
    assert driver.got[peer][before:] == R.ECHO_RES(b"%d" % number)


def ticks_beside(driver: Driver, polite: int) -> int:
    """How many ticks it takes until no frame waits; before each of them another peer is answered."""
    number = 0
    while driver.server.pending:
        number += 1
        ping(driver, polite, number)
        driver.tick()
    return number


# Effort


def test_pipelined_status(crowded: Driver) -> None:
    one = status(crowded)
    assert one.count(b"\n") == MANY + 1
    greedy, polite = crowded.connect(), crowded.connect()
    crowded.send(greedy, b"status\n" * 50, Q.ECHO_REQ(b"end"))
    crowded.take()
    ticks = 0
    while crowded.server.pending:
        ticks += 1
        before = len(crowded.got[greedy])
        ping(crowded, polite, ticks)
        crowded.tick()
        assert len(crowded.got[greedy]) - before <= 2 * len(one) + 20
    assert ticks >= 25
    assert crowded.got[greedy] == one * 50 + R.ECHO_RES(b"end")
    check(crowded.server)


def test_pipelined_questions_by_unique(crowded: Driver) -> None:
    """GET_STATUS_UNIQUE asks every function."""
    greedy, polite = crowded.connect(), crowded.connect()
    crowded.send(polite, Q.SUBMIT_JOB(b"f19999", b"there", b""))
    crowded.take()
    crowded.got[polite] = b""
    keys = [b"there" if n % 7 == 0 else b"not %d" % n for n in range(300)]
    crowded.send(greedy, *(Q.GET_STATUS_UNIQUE(key) for key in keys))
    for number in range(1000):
        if not crowded.server.pending:
            break
        ping(crowded, polite, number)
        crowded.tick()
    assert number >= 100
    found = {False: (b"0", b"0", b"0", b"0", b"0"), True: (b"1", b"0", b"0", b"0", b"1")}
    assert crowded.got[greedy] == b"".join(R.STATUS_RES_UNIQUE(key, *found[key == b"there"]) for key in keys)


def test_pipelined_drops() -> None:
    driver = Driver()
    with_functions(driver, 15_000)
    greedy, polite = driver.connect(), driver.connect()
    for n in range(200):
        driver.send(polite, Q.SUBMIT_JOB_BG(b"mine %d" % n, b"", b""))
    driver.take()
    driver.got[polite] = b""
    lines = [
        b"drop function nothing\n",
        b"drop function f7\n",
        b"create function mine\n",
        b"drop function MINE\n",
    ]
    answers = [
        b"ERR function not found\r\n",
        b"ERR there are still connected workers or executing clients\r\n",
        b"OK\r\n",
        b"OK\r\n",
    ]
    driver.send(greedy, b"".join(lines) * 100)
    assert ticks_beside(driver, polite) >= 100
    assert driver.got[greedy] == b"".join(answers) * 100
    assert len(driver.server.functions()) == 15_200


@pytest.mark.parametrize("line", [b"show jobs\n", b"show unique jobs\n", b"workers\n", b"prioritystatus\n"])
def test_pipelined_lists(line: bytes) -> None:
    driver = Driver()
    with_functions(driver, 12_000)
    feeder, greedy, polite = driver.connect(), driver.connect(), driver.connect()
    driver.send(feeder, *(Q.SUBMIT_JOB_BG(b"f", b"u%d" % n, b"") for n in range(12_000)))
    driver.send(greedy, line)
    driver.run()
    one, driver.got[greedy] = driver.got[greedy], b""
    assert one.count(b"\n") > 3
    driver.send(greedy, line * 20)
    driver.take()
    assert ticks_beside(driver, polite) >= 8
    assert driver.got[greedy] == one * 20


def test_pipelined_sleeps_of_a_worker_of_many_functions() -> None:
    """PRE_SLEEP of a worker with credits looks at each of its functions."""
    driver = Driver()
    w, polite = with_functions(driver), driver.connect()
    driver.send(w, Q.OPTION_REQ(b"all_yours"))
    driver.take()
    driver.got[w] = b""
    driver.send(w, (Q.GRAB_JOB() + Q.PRE_SLEEP()) * 200)
    driver.take()
    assert ticks_beside(driver, polite) >= 90
    assert driver.got[w] == R.NO_JOB() * 200
    check(driver.server)


def test_pipelined_refusals_of_many_jobs() -> None:
    """CANT_DO looks at each job that the worker has."""
    driver = Driver()
    c, w, polite = driver.connect(), driver.connect(), driver.connect()
    driver.send(c, Q.SUBMIT_JOB_BG(b"f", b"", b"") * 10_000, Q.SUBMIT_JOB_BG(b"g", b"", b""))
    driver.send(w, Q.CAN_DO(b"f"), Q.GRAB_JOB() * 10_000)
    other = driver.connect()
    driver.send(other, Q.CAN_DO(b"g"), Q.GRAB_JOB())
    driver.run()
    driver.got[w] = b""
    driver.send(w, (Q.CAN_DO(b"g") + Q.CANT_DO(b"g")) * 100, Q.ECHO_REQ(b"end"))
    driver.take()
    assert ticks_beside(driver, polite) >= 30
    assert driver.got[w] == R.ECHO_RES(b"end")
    assert driver.server.running_count == 10_001


@pytest.mark.parametrize("wakeup", [1, 3])
def test_pipelined_grabs_of_a_worker_of_many_functions(wakeup: int) -> None:
    """Where not all are woken, one that was left asleep looks at all its functions."""
    driver = Driver(wakeup=wakeup)
    w, polite = with_functions(driver), driver.connect()
    driver.send(w, (Q.PRE_SLEEP() + Q.GRAB_JOB()) * 100)
    driver.take()
    assert ticks_beside(driver, polite) >= 50
    assert driver.got[w] == R.NO_JOB() * 100


def test_pipelined_schedules() -> None:
    """The calendar is Python's, so a schedule is dear."""
    driver = Driver()
    greedy, polite = driver.connect(), driver.connect()
    driver.send(greedy, Q.SUBMIT_JOB_SCHED(b"f", b"", b"59", b"23", b"29", b"2", b"6", b"") * 500)
    driver.take()
    assert ticks_beside(driver, polite) >= 20
    assert driver.got[greedy] == b"".join(R.JOB_CREATED(handle(n)) for n in range(1, 501))


def test_who_asks_for_little_is_done_at_once(crowded: Driver) -> None:
    """Cheap requests are no matter of ticks, however many come."""
    c = crowded.connect()
    crowded.send(c, Q.ECHO_REQ(b"x") * 50_000)
    assert not crowded.server.pending
    crowded.take()
    assert crowded.got[c] == R.ECHO_RES(b"x") * 50_000


def test_what_a_tick_spent_is_no_debt(crowded: Driver) -> None:
    greedy, polite = crowded.connect(), crowded.connect()
    crowded.send(greedy, b"status\n" * 3)
    crowded.send(polite, Q.ECHO_REQ(b"x") * 3)  # the first one at once, the others with the next tick at the latest
    crowded.take()
    assert crowded.got[polite].startswith(R.ECHO_RES(b"x"))
    crowded.run()
    crowded.got[polite] = b""
    crowded.tick()
    crowded.send(polite, Q.ECHO_REQ(b"y") * 1000)
    assert not crowded.server.pending
    crowded.take()
    assert crowded.got[polite] == R.ECHO_RES(b"y") * 1000


def test_several_are_served_in_turn(crowded: Driver) -> None:
    """None of them waits until another one is done, and a tick does not grow with their number."""
    one = status(crowded)
    peers = [crowded.connect() for _ in range(5)]
    for peer in peers:
        crowded.send(peer, b"status\n" * 6, Q.ECHO_REQ(b"%d" % peer))
    crowded.take()
    done = [len(crowded.got[peer]) // len(one) for peer in peers]
    while crowded.server.pending:
        crowded.tick()
        before, done = done, [len(crowded.got[peer]) // len(one) for peer in peers]
        assert sum(done) - sum(before) <= 2
        assert max(done) - min(done) <= 2, done
    for peer in peers:
        assert crowded.got[peer] == one * 6 + R.ECHO_RES(b"%d" % peer)
    check(crowded.server)


def test_leaving_while_pending(crowded: Driver) -> None:
    """In every place of the list of those that wait."""
    one = status(crowded)
    for gone in range(4):
        peers = [crowded.connect() for _ in range(4)]
        for peer in peers:
            crowded.send(peer, b"status\n" * 6)
        crowded.take()
        crowded.tick()
        crowded.server.disconnect(peers[gone])
        check(crowded.server)
        crowded.run()
        check(crowded.server)
        for peer in peers[:gone] + peers[gone + 1 :]:
            assert crowded.got[peer] == one * 6
            crowded.server.disconnect(peer)


def test_all_leave_while_pending(crowded: Driver) -> None:
    peers = [crowded.connect() for _ in range(5)]
    for peer in peers:
        crowded.send(peer, b"status\n" * 10)
    for peer in reversed(peers):
        assert crowded.server.pending
        crowded.server.disconnect(peer)
        check(crowded.server)
    assert not crowded.server.pending
    assert crowded.server.tick(1, 1) == -1


def test_a_dispatcher_may_go_with_frames_pending() -> None:
    driver = Driver()
    with_functions(driver)
    driver.send(driver.connect(), b"status\n" * 10)
    assert driver.server.pending
    del driver


@pytest.mark.parametrize("step", [1, 3, 6, 7, 11, 13, 4096])
def test_cut_at_any_byte(step: int) -> None:
    """A driver need not stop to read: what comes while frames wait is done behind them."""
    driver = Driver()
    with_functions(driver, 21_000)
    one = status(driver)
    c = driver.connect()
    stream = (b"status\n" + Q.ECHO_REQ(b"between") + b"version\r\n" + Q.GET_STATUS(b"?")) * 4
    wanted = (one + R.ECHO_RES(b"between") + b"OK 0\n" + R.STATUS_RES(b"?", b"0", b"0", b"0", b"0")) * 4
    for at in range(0, len(stream), step):
        driver.send(c, stream[at : at + step])
        if at % 3 == 0:
            driver.tick()
    check(driver.server)
    driver.run()
    assert driver.got[c] == wanted
    assert driver.partial(c) == 0


def test_an_unfinished_frame_waits_for_its_rest(crowded: Driver) -> None:
    one = status(crowded)
    c = crowded.connect()
    last = Q.ECHO_REQ(b"last")
    crowded.send(c, b"status\n" * 3, last[:-1])
    crowded.run()
    assert crowded.got[c] == one * 3
    assert crowded.partial(c) == len(last) - 1
    crowded.send(c, last[-1:])
    crowded.take()
    assert crowded.got[c] == one * 3 + R.ECHO_RES(b"last")


def test_bad_bytes_behind_pending_frames(crowded: Driver) -> None:
    """What came before is answered, then the connection ends."""
    one = status(crowded)
    c = crowded.connect()
    assert crowded.send(c, b"status\n" * 3, b"\0BAD" + bytes(8), b"status\n")
    while not crowded.server.closing(c):
        assert crowded.server.pending
        crowded.tick()
    crowded.tick()
    assert crowded.got[c] == one * 3
    assert not crowded.server.pending
    assert not crowded.send(c, b"version\n")
    crowded.server.complete(c)
    assert crowded.tick() == set()
    check(crowded.server)


def test_one_who_is_cut_while_pending() -> None:
    driver = Driver(max_unsent=1000)
    with_functions(driver)
    c = driver.connect()
    assert not driver.send(c, b"status\n" * 3)
    assert driver.server.closing(c)
    assert not driver.server.pending
    check(driver.server)


def test_what_is_pending_finds_the_state_of_its_tick(crowded: Driver) -> None:
    """Frames that wait are not done in advance: others may come between, as between any two packets."""
    c, other = crowded.connect(), crowded.connect()
    crowded.send(c, b"status\n" * 3, Q.GRAB_JOB(), Q.CAN_DO(b"late"), Q.GRAB_JOB())
    crowded.send(other, Q.SUBMIT_JOB_BG(b"late", b"", b"data"))
    crowded.run()
    assert crowded.got[c].endswith(R.NO_JOB() + R.JOB_ASSIGN(handle(1), b"late", b"data"))


def test_timers_run_while_frames_are_pending(crowded: Driver) -> None:
    c, w = crowded.connect(), crowded.connect()
    crowded.send(c, Q.SUBMIT_JOB_EPOCH(b"late", b"", b"1", b"data"))
    crowded.send(w, Q.CAN_DO(b"late"), Q.PRE_SLEEP())
    crowded.send(c, b"status\n" * 100)
    crowded.take()
    crowded.server.tick(10**9, 10**9)
    crowded.take()
    assert crowded.got[w] == R.NOOP()
    assert crowded.server.pending


def test_draining_while_frames_are_pending(crowded: Driver) -> None:
    c, w = crowded.connect(), crowded.connect()
    crowded.send(w, Q.CAN_DO(b"late"), b"status\n" * 3, Q.GRAB_JOB(), Q.ECHO_REQ(b"end"))
    crowded.send(c, Q.SUBMIT_JOB_BG(b"late", b"", b""))
    crowded.server.drain()
    crowded.run()
    assert crowded.got[w].endswith(b".\n" + R.NO_JOB() + R.ECHO_RES(b"end"))


# High water


def test_who_does_not_read_is_not_answered() -> None:
    driver = Driver(high_water=HIGH_WATER, max_unsent=2 * HIGH_WATER)
    c = driver.connect()
    packets = [Q.ECHO_REQ(b"%d" % n + b"x" * 400) for n in range(1000)]
    driver.send(c, *packets)
    for _ in range(5):
        assert HIGH_WATER < driver.unsent(c) <= HIGH_WATER + 420
        assert driver.partial(c) + driver.unsent(c) >= len(b"".join(packets)) - 420
        assert not driver.server.pending, "nothing is to be done by a tick until it reads"
        driver.server.tick(1, 1)
    assert driver.run() >= 30
    assert driver.got[c] == b"".join(b"\0RES" + packet[4:7] + b"\x11" + packet[8:] for packet in packets)
    assert not driver.server.closing(c)


@pytest.mark.parametrize("high_water", [1, 100, 511, 512, 513, 5000])
def test_nobody_is_cut_for_pipelining(high_water: int) -> None:
    """Whoever reads in the end gets everything, though a thousand answers pass max_unsent by far."""
    driver = Driver(high_water=high_water, max_unsent=high_water + 600)
    c = driver.connect()
    driver.send(c, Q.ECHO_REQ(b"e" * 500) * 1000)
    assert driver.unsent(c) <= high_water + 512
    driver.run()
    assert driver.got[c] == R.ECHO_RES(b"e" * 500) * 1000
    assert driver.server.metrics()["server"]["overflows"] == 0


def test_a_long_list_passes_the_high_water_once() -> None:
    driver = Driver(high_water=100)
    with_functions(driver, 1000)
    one = status(driver)
    c = driver.connect()
    driver.send(c, b"status\n" * 5)
    for number in range(1, 6):
        assert driver.unsent(c) == len(one)
        driver.take()
        assert driver.got[c] == one * number
        driver.tick() if number == 5 else driver.server.tick(number, number)
    assert not driver.server.pending


def test_only_who_does_not_read_waits() -> None:
    driver = Driver(high_water=HIGH_WATER)
    slow, polite = driver.connect(), driver.connect()
    driver.send(slow, Q.ECHO_REQ(b"x" * 500) * 100)
    for number in range(10):
        driver.send(polite, Q.ECHO_REQ(b"%d" % number))
        assert driver.server.take_output(polite) == R.ECHO_RES(b"%d" % number)
    assert driver.unsent(slow) > HIGH_WATER


def test_a_full_worker_keeps_its_jobs_and_gets_more() -> None:
    """What others do for it goes on: held grabs are served though its own frames wait."""
    driver = Driver(high_water=HIGH_WATER)
    c, w = driver.connect(), driver.connect()
    driver.send(w, Q.OPTION_REQ(b"all_yours"), Q.CAN_DO(b"f"), Q.GRAB_JOB() * 2)
    driver.take()
    driver.got[w] = b""
    driver.send(w, Q.ECHO_REQ(b"x" * 2 * HIGH_WATER), Q.WORK_COMPLETE(handle(1), b"r"), Q.GRAB_JOB(), Q.ECHO_REQ(b""))
    driver.send(c, Q.SUBMIT_JOB(b"f", b"", b"1"), Q.SUBMIT_JOB(b"f", b"", b"2"), Q.SUBMIT_JOB(b"f", b"", b"3"))
    assert driver.server.running_count == 2
    check(driver.server)
    driver.run()
    created = b"".join(R.JOB_CREATED(handle(n)) for n in (1, 2, 3))
    assert driver.got[c] == created + R.WORK_COMPLETE(handle(1), b"r")
    assert driver.got[w] == (
        R.ECHO_RES(b"x" * 2 * HIGH_WATER)
        + R.JOB_ASSIGN(handle(1), b"f", b"1")
        + R.JOB_ASSIGN(handle(2), b"f", b"2")
        + R.JOB_ASSIGN(handle(3), b"f", b"3")
        + R.ECHO_RES(b"")
    )


def test_a_full_worker_that_leaves_loses_its_jobs() -> None:
    driver = Driver(high_water=100)
    c, w = driver.connect(), driver.connect()
    driver.send(c, Q.SUBMIT_JOB(b"f", b"", b"1"))
    driver.send(w, Q.CAN_DO(b"f"), Q.GRAB_JOB(), Q.ECHO_REQ(b"x" * 200), Q.WORK_COMPLETE(handle(1), b""))
    assert driver.server.running_count == 1
    driver.server.disconnect(w)
    check(driver.server)
    assert (driver.server.running_count, driver.server.job_count) == (0, 1)


def test_full_and_closing() -> None:
    """Bad bytes behind frames that wait for room end the connection when they are met, not before."""
    driver = Driver(high_water=100)
    c = driver.connect()
    driver.send(c, Q.ECHO_REQ(b"x" * 200), Q.ECHO_REQ(b"y"), b"\0BAD" + bytes(8))
    assert not driver.server.closing(c)
    driver.run()
    assert driver.server.closing(c)
    assert driver.got[c] == R.ECHO_RES(b"x" * 200) + R.ECHO_RES(b"y")
    check(driver.server)


def test_shutdown_behind_frames_that_wait() -> None:
    driver = Driver(high_water=100)
    c = driver.server.connect(admin=True)
    driver.got[c] = b""
    driver.send(c, Q.ECHO_REQ(b"x" * 200), b"shutdown graceful\n")
    assert driver.server.take_notices() == []
    driver.run()
    assert driver.server.take_notices() == [("SHUTDOWN", "graceful")]
    assert driver.got[c] == R.ECHO_RES(b"x" * 200) + b"OK\r\n"


# complete()


def test_complete(crowded: Driver) -> None:
    """All that a half-closed connection sent is done at once, and nobody else's frames."""
    one = status(crowded)
    c, other = crowded.connect(), crowded.connect()
    for peer in (c, other):
        crowded.send(peer, b"status\n" * 5, Q.ECHO_REQ(b"end"))
    crowded.take()
    crowded.server.complete(c)
    crowded.take()
    assert crowded.got[c] == one * 5 + R.ECHO_RES(b"end")
    assert crowded.got[other].count(b".\n") < 5
    assert crowded.server.pending
    crowded.run()
    assert crowded.got[other] == one * 5 + R.ECHO_RES(b"end")
    check(crowded.server)


def test_complete_one_that_is_full() -> None:
    driver = Driver(high_water=100)
    c, other = driver.connect(), driver.connect()
    for peer in (c, other):
        driver.send(peer, Q.ECHO_REQ(b"x" * 200) * 10)
    driver.server.complete(c)
    assert driver.unsent(c) == 10 * 212
    assert driver.unsent(other) == 212
    driver.send(other, Q.ECHO_REQ(b"x" * 200))
    assert driver.unsent(other) == 212, "its bound holds again"
    check(driver.server)


@pytest.mark.parametrize("data", [b"", b"stat", Q.ECHO_REQ(b"x")[:-1], Q.ECHO_REQ(b"x")])
def test_complete_when_nothing_waits(data: bytes) -> None:
    driver = Driver(high_water=100)
    c = driver.connect()
    driver.send(c, data)
    driver.server.complete(c)
    driver.take()
    assert driver.got[c] == (R.ECHO_RES(b"x") if data == Q.ECHO_REQ(b"x") else b"")
    with pytest.raises(KeyError):
        driver.server.complete(c + 1)
    check(driver.server)


def test_complete_does_not_pass_max_unsent() -> None:
    """Not even one that has gone may make the server write without end."""
    driver = Driver(high_water=100, max_unsent=HIGH_WATER)
    c = driver.connect()
    driver.send(c, Q.ECHO_REQ(b"x" * 500) * 1000)
    driver.server.complete(c)
    assert driver.server.closing(c)
    assert driver.unsent(c) <= HIGH_WATER
    check(driver.server)


def test_complete_ends_with_bad_bytes(crowded: Driver) -> None:
    one = status(crowded)
    c = crowded.connect()
    crowded.send(c, b"status\n" * 3, b"\0BAD" + bytes(8), b"status\n")
    crowded.server.complete(c)
    crowded.take()
    assert crowded.server.closing(c)
    assert crowded.got[c] == one * 3


# Against a dispatcher without bounds


def requests(chance: random.Random) -> Iterator[bytes]:
    """What a connection may send, and what makes it wait."""
    for _ in range(chance.randrange(20, 60)):
        name = b"f%d" % chance.randrange(30)
        yield chance.choice(
            [
                b"status\n",
                b"prioritystatus\n",
                b"workers\n",
                b"show jobs\n",
                b"version\n",
                b"drop function %s\n" % name,
                b"nonsense\n",
                Q.ECHO_REQ(b"x" * chance.randrange(3000)),
                Q.SUBMIT_JOB_BG(name, b"", b"y" * chance.randrange(300)),
                Q.CAN_DO(name),
                Q.GRAB_JOB_UNIQ(),
                Q.GET_STATUS_UNIQUE(b"u"),
                Q.GET_STATUS(handle(chance.randrange(1, 30))),
                Q.RESET_ABILITIES(),
                Q.NOOP(),
            ]
        )


@pytest.mark.parametrize("seed", range(40))
def test_bounds_do_not_show(seed: int) -> None:
    """One connection, its bytes cut anywhere, ticks and reads at any time: the answers are those of no bounds."""
    chance = random.Random(seed)
    stream = b"".join(requests(chance))
    free = Driver()
    answers = b""
    c = free.connect()
    free.send(c, stream)
    free.run()
    answers = free.got[c]
    driver = Driver(high_water=chance.choice([1, 500, 4000]), max_unsent=1 << 20)
    c = driver.connect()
    at = 0
    while at < len(stream) or driver.server.pending or driver.unsent(c):
        step = chance.choice([1, 7, 100, 1000, 10_000])
        what = chance.randrange(4)
        if what == 0:
            assert driver.send(c, stream[at : at + step])
            at += step
        elif what == 1:
            driver.take()
        elif what == 2:
            driver.server.tick(at, at)
        elif chance.random() < 0.05:
            driver.server.complete(c)
        check(driver.server)
    assert driver.got[c] == answers
    assert driver.partial(c) == 0

# SPDX-License-Identifier: BSD-3-Clause
"""Policies: shares of high, normal and low jobs of a function, so that none of them waits for ever."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest

from gearfast.dispatch.policy import Policies

from .conftest import MakeWire
from .script import Peer, Q, R, Wire
from .test_all_yours import credited

PROFILES: list[dict[str, Any]] = [{}, {"order": "function"}, {"order": "function-rotate", "wakeup": 1}]
KINDS = {b"h": "SUBMIT_JOB_HIGH_BG", b"n": "SUBMIT_JOB_BG", b"l": "SUBMIT_JOB_LOW_BG"}


def weighted(weights: str, **more: Any) -> Policies:
    """The policy of f."""
    return Policies.parse({"f": {"weights": weights, **more}})


def put(client: Peer, priorities: bytes, function: bytes = b"f") -> None:
    """One job for each letter, which is its workload too."""
    for letter in (priorities[at : at + 1] for at in range(len(priorities))):
        client.submit(function, letter, kind=KINDS[letter])


def grabbed(worker: Peer, count: int) -> bytes:
    return b"".join(worker.grab_all(count))


@pytest.mark.parametrize("profile", PROFILES)
class TestShares:
    def test_they_follow_the_weights(self, make_wire: MakeWire, profile: dict[str, Any]) -> None:
        wire = make_wire(policies=weighted("8:4:1"), **profile)
        c, w = wire.peer("c"), wire.worker("w", b"f")
        put(c, b"hnl" * 30)
        for _ in range(3):
            assert Counter(grabbed(w, 13)) == Counter(b"h" * 8 + b"n" * 4 + b"l")

    def test_turns_are_spread(self, make_wire: MakeWire, profile: dict[str, Any]) -> None:
        wire = make_wire(policies=weighted("3:2:1"), **profile)
        c, w = wire.peer("c"), wire.worker("w", b"f")
        put(c, b"h" * 9 + b"n" * 9 + b"l" * 9)
        assert grabbed(w, 12) == b"hnhlnh" * 2

    def test_those_with_nothing_waiting_are_left_out(self, make_wire: MakeWire, profile: dict[str, Any]) -> None:
        wire = make_wire(policies=weighted("8:4:1"), **profile)
        c, w = wire.peer("c"), wire.worker("w", b"f")
        put(c, b"nl" * 20)
        assert Counter(grabbed(w, 10)) == Counter(b"n" * 8 + b"l" * 2)
        assert Counter(grabbed(w, 100)) == Counter(b"n" * 12 + b"l" * 18)

    def test_in_a_priority_the_oldest_is_first(self, make_wire: MakeWire, profile: dict[str, Any]) -> None:
        wire = make_wire(policies=weighted("1:1:1"), **profile)
        c, w = wire.peer("c"), wire.worker("w", b"f")
        for n in range(4):
            c.submit(b"f", b"h%d" % n, kind="SUBMIT_JOB_HIGH")
            c.submit(b"f", b"l%d" % n, kind="SUBMIT_JOB_LOW")
        assert w.grab_all() == [b"h0", b"l0", b"h1", b"l1", b"h2", b"l2", b"h3", b"l3"]

    def test_without_it_low_waits_for_all_others(self, make_wire: MakeWire, profile: dict[str, Any]) -> None:
        wire = make_wire(policies=weighted("0", tries=2), **profile)
        c, w = wire.peer("c"), wire.worker("w", b"f")
        put(c, b"lnh" * 9)
        assert grabbed(w, 27) == b"h" * 9 + b"n" * 9 + b"l" * 9

    def test_held_grabs(self, make_wire: MakeWire, profile: dict[str, Any]) -> None:
        wire = make_wire(policies=weighted("1:1:1", concurrency=1), **profile)
        c, w = wire.peer("c"), credited(wire)
        w.send(*[Q.GRAB_JOB()] * 9)
        put(c, b"hhnnll")
        given = b""
        for _ in range(6):
            handle, _, workload = w.one("JOB_ASSIGN")
            given += workload
            w.send(Q.WORK_COMPLETE(handle, b""))
        assert given == b"hhnlnl", "the first one had come when it was alone"

    def test_a_try_more_is_a_turn_too(self, make_wire: MakeWire, profile: dict[str, Any]) -> None:
        wire = make_wire(policies=weighted("1:1:1"), **profile)
        c, w = wire.peer("c"), wire.worker("w", b"f")
        put(c, b"hl")
        assert w.grab() == b"h"
        w.leave()
        assert grabbed(wire.worker("w2", b"f"), 2) == b"lh"


class TestNothingIsSavedUp:
    def test_low_comes_after_a_flood(self, make_wire: MakeWire) -> None:
        wire = make_wire(policies=weighted("8:4:1"))
        c, w = wire.peer("c"), wire.worker("w", b"f")
        for _ in range(100):
            put(c, b"h")
            assert w.grab() == b"h"
        put(c, b"h" * 40 + b"l" * 40)
        assert Counter(grabbed(w, 18)) == Counter(b"h" * 16 + b"l" * 2)

    def test_who_comes_one_at_a_time_has_its_share(self, make_wire: MakeWire) -> None:
        """Its queue is empty whenever it has had its turn, and it is there whenever a job is given out."""
        wire = make_wire(policies=weighted("8:4:1"))
        c, w = wire.peer("c"), wire.worker("w", b"f")
        put(c, b"h" + b"n" * 90)
        given = Counter[bytes]()
        for _ in range(120):
            letter = w.grab()
            assert letter is not None
            given[letter] += 1
            if letter == b"h":
                put(c, b"h")
        assert given == {b"h": 80, b"n": 40}

    @pytest.mark.parametrize("seed", range(5))
    def test_low_that_waits_has_a_turn_before_long(self, seed: int) -> None:
        """Whatever else comes and goes: at most twice the sum of all weights are given out before."""
        wire, chance = Wire(policies=weighted("8:4:1")), random.Random(seed)
        c, w = wire.peer("c"), wire.worker("w", b"f")
        put(c, b"l" * 300)
        since = 0
        for _ in range(2000):
            put(c, chance.choice((b"", b"h", b"n", b"hn", b"hhn", b"nn")))
            letter = w.grab()
            since = 0 if letter in (b"l", None) else since + 1
            assert since <= 26


class TestOtherThings:
    def test_jobs_that_nobody_wants_have_no_turns(self, make_wire: MakeWire) -> None:
        wire = make_wire(policies=weighted("1:1:1"))
        c, gone, w = wire.peer("c"), wire.peer("gone"), wire.worker("w", b"f")
        for kind in ("SUBMIT_JOB_LOW", "SUBMIT_JOB_LOW", "SUBMIT_JOB_HIGH"):
            gone.submit(b"f", b"x", kind=kind)
        put(c, b"nnhh")
        gone.leave()
        assert grabbed(w, 10) == b"hnhn"
        put(c, b"lh")
        assert grabbed(w, 10) == b"lh", "high had a turn more than normal, and still owes it"

    def test_a_limit_of_concurrency_and_a_time_to_live(self, make_wire: MakeWire) -> None:
        wire = make_wire(policies=weighted("2:1:1", concurrency=2, expire=5))
        c, w = wire.peer("c"), wire.worker("w", b"f")
        put(c, b"hhhnl")
        assert w.grab_all() == [b"h", b"n"]
        wire.pass_time(5)
        assert c.known(b"H:local:3")[:2] == (b"0", b"0"), "a high one that was next has expired"
        assert w.grab() is None

    @pytest.mark.parametrize("taken_away", [True, False])
    def test_changed_while_jobs_wait(self, make_wire: MakeWire, taken_away: bool) -> None:
        wire = make_wire(policies=weighted("1:1:1"))
        c, w = wire.peer("c"), wire.worker("w", b"f")
        put(c, b"h" * 9 + b"n" * 9 + b"l" * 9)
        assert grabbed(w, 2) == b"hn"
        c.send(b"policy set f tries=7\n").expect(b"OK\r\n")
        assert grabbed(w, 2) == b"lh", "the same weights go on as they were"
        c.send(b"policy set f weights=%s\n" % (b"" if taken_away else b"2:1:1")).expect(b"OK\r\n")
        assert grabbed(w, 4) == (b"hhhh" if taken_away else b"hnlh")
        c.send(b"policy set f weights=1:1:1\n").expect(b"OK\r\n")
        assert grabbed(w, 3) == b"hnl"


class TestSeveralFunctions:
    """Which of a worker's functions is served is decided by their most urgent waiting jobs, weights or not."""

    def test_less_urgent_functions_wait(self, make_wire: MakeWire) -> None:
        wire = make_wire(policies=weighted("2:1:1"))
        c, w = wire.peer("c"), wire.worker("w", b"g", b"f")
        put(c, b"nnnn", b"g")
        put(c, b"hhll")
        assert grabbed(w, 8) == b"hlh" + b"nnnn" + b"l"

    def test_a_turn_of_low_holds_up_no_high_job(self, make_wire: MakeWire) -> None:
        """As it would if a function counted as no more urgent than the job that has its turn."""
        wire = make_wire(policies=weighted("1:1:1"))
        c, w = wire.peer("c"), wire.worker("w", b"g", b"f")
        put(c, b"n" * 50, b"g")
        put(c, b"hhll")
        assert grabbed(w, 3) == b"hlh"

    def test_functions_of_one_level_take_turns(self, make_wire: MakeWire) -> None:
        wire = make_wire(policies=weighted("1:1:1"))
        c, w = wire.peer("c"), wire.worker("w", b"g", b"f")
        for letter in (b"1", b"2", b"3"):
            c.submit(b"g", letter, kind="SUBMIT_JOB_HIGH")
        put(c, b"hhl")
        assert grabbed(w, 6) in (b"h1l2h3", b"1h2l3h")

    def test_who_sleeps_is_woken_whatever_has_the_turn(self, make_wire: MakeWire) -> None:
        wire = make_wire(policies=weighted("1:1:1", concurrency=1))
        c, w, other = wire.peer("c"), wire.worker("w", b"f", b"g"), wire.worker("other", b"f", b"g")
        put(c, b"hl")
        assert w.grab() == b"h"
        other.sleep()
        w.send(Q.WORK_COMPLETE(b"H:local:1", b""))
        other.expect(R.NOOP())
        assert other.grab() == b"l"

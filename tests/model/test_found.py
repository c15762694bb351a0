# SPDX-License-Identifier: BSD-3-Clause
"""Histories that the model has got wrong, cut down; and that what mended it still notices what is wrong.

They are of sleepers that send PRE_SLEEP again while one of several is woken: their NOOP may come from either.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from gearfast.protocol import Command

from .doubt import Doubts, Waking, can_be
from .frames import request
from .play import Play, Step, replay
from .records import Wrong
from .rules import NOOP

FIRST, SECOND, CLIENT = 1, 2, 3
REGISTER, SLEEP = request(Command.CAN_DO, b"f"), request(Command.PRE_SLEEP)
SUBMIT = request(Command.SUBMIT_JOB_BG, b"f", b"", b"data")
GRAB = request(Command.GRAB_JOB)
ECHO = request(Command.ECHO_REQ, b"x" * 100)
TWO_SLEEP: list[Step] = [
    *(("connect", name, None) for name in (FIRST, SECOND, CLIENT)),
    *(("send", name, REGISTER + SLEEP) for name in (FIRST, SECOND)),
]


def in_one_step(*turns: Any) -> tuple[dict[str, Any], list[Step]]:
    """Settings and history; `turns`: peers and what they send."""
    return {"wakeup": 1}, [*TWO_SLEEP, ("send", *turns)]


def in_one_tick(*turns: Any) -> tuple[dict[str, Any], list[Step]]:
    """The same with frames that waited until output was taken."""
    reads = zip(turns[::2], turns[1::2], strict=True)
    return {"wakeup": 1, "high_water": 100}, [*TWO_SLEEP, *(("send", a, ECHO + b) for a, b in reads), ("go_on", 0, 0)]


@pytest.mark.parametrize("played", [in_one_step, in_one_tick])
@pytest.mark.parametrize("sleeper", [FIRST, SECOND])
@pytest.mark.parametrize("again", [SLEEP, SLEEP + GRAB, SLEEP + GRAB + SLEEP, GRAB + SLEEP, REGISTER + SLEEP + SLEEP])
def test_a_sleeper_asks_again_when_one_was_woken(played: Any, sleeper: int, again: bytes) -> None:
    replay(*played(CLIENT, SUBMIT, sleeper, again))


@pytest.mark.parametrize("played", [in_one_step, in_one_tick])
def test_both_sleepers_ask_again_when_one_was_woken(played: Any) -> None:
    replay(*played(CLIENT, SUBMIT, SECOND, SLEEP, FIRST, SLEEP + GRAB))
    replay(*played(CLIENT, SUBMIT, FIRST, SLEEP + GRAB, SECOND, SLEEP))
    replay(*played(FIRST, SUBMIT + SLEEP, SECOND, SLEEP + request(Command.WORK_FAIL, b"no job") + GRAB))


def test_how_many_frames_were_done_tells_whom_it_was() -> None:
    """Nine NOOPs fill the output of a sleeper, whatever the first of them is for: but other frames are left."""
    settings, steps = in_one_tick(CLIENT, SUBMIT, SECOND, 20 * SLEEP)
    replay(settings, [*steps, ("go_on", 0, 0), ("go_on", 0, 0)])


@pytest.mark.parametrize("sleeps_first", [True, False])
def test_a_sleeper_asks_again_beside_a_held_grab_of_many_functions(sleeps_first: bool) -> None:
    """Who sleeps first is woken in vain."""
    many = b"".join(request(Command.CAN_DO, b"f%d" % number) for number in range(33))
    holds = ("send", FIRST, request(Command.OPTION_REQ, b"all_yours") + many + REGISTER + GRAB)
    sleeps = ("send", SECOND, request(Command.CAN_DO, b"g") + REGISTER + SLEEP)
    other = request(Command.SUBMIT_JOB_BG, b"g", b"", b"data")
    connected = [("connect", name, None) for name in (FIRST, SECOND, CLIENT)]
    for wakeup in (0, 1):
        play = Play({"wakeup": wakeup})
        for step in [*connected, *([sleeps, holds] if sleeps_first else [holds, sleeps])]:
            play.do(step)
        play.do(("send", CLIENT, SUBMIT, SECOND, SLEEP, CLIENT, other))
        assert play.model.met["woken in vain"] == sleeps_first
        assert play.model.met["woken, or answered later"] == 1
        play.check()
        play.audit()


class OtherOutput(Play):
    """A dispatcher that says something else in the last step of a history."""

    def __init__(self, settings: dict[str, Any], noops: dict[int, int]) -> None:
        super().__init__(settings)
        self.noops = noops
        self.is_last = False

    def collect(self) -> dict[int, bytes]:
        seen = super().collect()
        for name, count in self.noops.items() if self.is_last else ():
            seen[name] = count * NOOP + seen.get(name, b"").replace(NOOP, b"")
        return seen


@pytest.mark.parametrize("played", [in_one_step, in_one_tick])
@pytest.mark.parametrize("noops", [(0, 0), (0, 1), (1, 0), (1, 1), (0, 2), (2, 0), (1, 2), (2, 1), (0, 3), (2, 2)])
def test_a_noop_too_many_or_too_few_is_noticed(played: Any, noops: tuple[int, int]) -> None:
    """One of both is woken by the job, which stays, and the second asks again."""
    settings, steps = played(CLIENT, SUBMIT, SECOND, SLEEP)
    play = OtherOutput(settings, dict(zip((FIRST, SECOND), noops, strict=True)))
    for step in steps[:-1]:
        play.do(step)
    play.is_last = True
    if noops in ((1, 1), (0, 2)):  # either may be the one
        play.do(steps[-1])
        return
    with pytest.raises(Wrong):
        play.do(steps[-1])


@pytest.mark.parametrize("woken", [0, 1, 2, 3])
def test_of_several_events_each_has_to_wake_one(woken: int) -> None:
    play = OtherOutput(
        {"wakeup": 1}, dict.fromkeys((FIRST, SECOND, 4), 0) | dict.fromkeys((FIRST, SECOND, 4)[:woken], 1)
    )
    for step in [*TWO_SLEEP, ("connect", 4, None), ("send", 4, REGISTER + SLEEP)]:
        play.do(step)
    play.is_last = True
    if woken == 2:
        play.do(("send", CLIENT, 2 * SUBMIT))
        return
    with pytest.raises(Wrong):
        play.do(("send", CLIENT, 2 * SUBMIT))


@pytest.mark.parametrize(
    ("wakings", "most", "possible"),
    [
        ([({1}, 0), ({2}, 0)], 1, True),
        ([({1, 2}, 0), ({2}, 0)], 1, True),
        ([({1, 2}, 0), ({1}, 0)], 1, True),
        ([({1, 2, 3}, 0), ({1, 3}, 0)], 1, False),  # of three two
        ([({1, 2}, 1), ({3}, 2)], 1, False),  # the second woke 3, the first only one
        ([({1, 2}, 1), ({3}, 2)], 2, False),  # the second wakes two
        ([({1, 2}, 1), ({3}, 0)], 2, True),
        ([({1}, 0), (set(), 1)], 1, False),  # the second has nobody to wake but who slept on
        ([({1}, 0), ({1}, 1)], 1, False),
        ([({1}, 0), ({1}, 0)], 1, True),  # the second had nobody to wake
        ([({1, 2}, 0), ({1, 2}, 0), ({1, 2}, 0)], 1, True),
        ([({n, n + 1} if n < 1199 else {n}, 0) for n in range(1200)], 1, True),
        ([(set(range(20)), 1)] * 19, 1, False),
        ([(set(range(20)), 1)] * 20, 1, True),
        ([(set(range(20)), 1)] * 21, 1, False),
    ],
)
def test_who_can_have_woken_whom(wakings: list[tuple[set[int], int]], most: int, possible: bool) -> None:
    assert can_be([Waking(frozenset(may), stay) for may, stay in wakings], most) == possible
    assert can_be([Waking(frozenset(may), stay, in_vain=True) for may, stay in wakings], most) >= possible


def test_all_answers_are_tried() -> None:
    doubts = Doubts()
    tried = []
    while True:  # the second question comes up only after a yes
        tried.append((True, doubts.ask()) if doubts.ask() else (False, doubts.ask(), doubts.ask()))
        if not doubts.turn():
            break
    assert tried == [(True, True), (True, False), *((False, a, b) for a in (True, False) for b in (True, False))]
    assert not Doubts().turn()


def test_a_model_is_what_it_was_after_a_wrong_answer() -> None:
    """Also one in which a very long way leads from peer to job to peer."""
    play = Play({"wakeup": 1})
    names = range(600)
    for name in names:
        play.do(("connect", name, None))
    for one, other in pairwise(names):
        play.do(("send", one, request(Command.SUBMIT_JOB, b"f", b"%d" % one, b"") + REGISTER))
        play.do(("send", other, request(Command.SUBMIT_JOB, b"f", b"%d" % one, b"")))
    model = play.model
    met = model.met
    before = model.state()
    assert before["functions"][b"f"] is not model.functions[b"f"]
    for _ in range(2):
        for peer in model.peers.values():
            peer.able.clear()
        model.jobs.clear()
        model.met["asleep"] += 1
        model.restore(before)
        play.audit()
        assert model.met is met
        assert model.met == before["met"]
        job = next(iter(model.jobs.values()))
        assert job.waiting == [model.peers[1], model.peers[0]] or job.waiting == [model.peers[0], model.peers[1]]
        assert job.function is model.functions[b"f"]
    play.do(("send", 0, SLEEP + GRAB))

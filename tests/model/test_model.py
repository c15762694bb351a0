# SPDX-License-Identifier: BSD-3-Clause
"""A part of what `python -m tests.model` does, with seeds that the long runs leave out; and that it would notice."""

from __future__ import annotations

import os
import signal
from collections import Counter
from typing import Any

import pytest

from .coverage import MET
from .draw import Draw
from .explore import FIRST_SEED, STEPS_A_RUN, apart, run
from .play import Step
from .records import Open, Wrong
from .shrink import as_test, shrink

RUNS = 100
"""More than 50,000 steps, so that everything is met."""
NUMBER_OF_STEPS = 20_000


@pytest.fixture(scope="module")
def met() -> Counter[str]:
    """How often everything was met."""
    total: Counter[str] = Counter()
    for seed in range(RUNS):
        outcome = run(seed)
        assert not outcome.wrong, f"`python -m tests.model --seed {seed} --steps 1` tells more: {outcome.wrong}"
        total.update(outcome.met)
        total["steps"] += outcome.steps
    return total


def test_the_dispatcher_does_what_the_model_does(met: Counter[str]) -> None:
    assert RUNS < FIRST_SEED
    assert met["steps"] >= NUMBER_OF_STEPS


def test_everything_was_met(met: Counter[str]) -> None:
    assert [name for name in MET if not met[name]] == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("order", "function"),
        ("wakeup", 1),
        ("retries", 1),
        ("exceptions", True),
        ("max_packet", 1000),
        ("draining", True),
        ("policies", {"f*": {"concurrency": 1}}),
        ("policies", {"f*": {"expire": 1}}),
        ("policies", {"f*": {"weights": [1, 1, 20]}}),
        ("policies", {"f*": {"keep_results": 5}}),
    ],
)
def test_another_rule_would_be_noticed(name: str, value: Any) -> None:
    """A model with one setting more than the dispatcher has is at odds with it before long."""
    for seed in range(0, RUNS, 3):
        draw = Draw(seed, STEPS_A_RUN)
        if draw.settings["max_unsent"]:
            continue
        setattr(draw.model, name, value)
        try:
            for step in draw.steps():
                draw.play.do(step)
        except Open:
            continue
        except Wrong:
            return
    pytest.fail("nothing was noticed")


def test_a_failing_run_is_cut_down_to_a_test() -> None:
    first, second = b"\0REQ" + bytes((0, 0, 0, 1, 0, 0, 0, 1)) + b"f", b"status\n"
    steps: list[Step] = [("connect", number, None) for number in range(40)]
    steps += [("send", 7, second + first + second, 9, second), ("go_on", 5, 5), ("leave", 7), ("leave", 8)]

    def fails(tried: list[Step]) -> bool:
        """Where 7 was connected, registered and left."""
        sent = [step for step in tried if step[0] == "send" and first in step[2::2][0]]
        return ("connect", 7, None) in tried and ("leave", 7) in tried and bool(sent)

    fewer = shrink(steps, fails)
    assert fewer == [("connect", 7, None), ("send", 7, first), ("leave", 7)]
    text = as_test("it", {}, fewer, "why")
    assert "CAN_DO 'f'" in text
    compile(text, "test", "exec")


@pytest.mark.skipif("not hasattr(os, 'fork')", reason="needs os.fork")
def test_a_crash_is_a_finding() -> None:
    assert apart(lambda: os.kill(os.getpid(), signal.SIGKILL)) == -signal.SIGKILL
    assert apart(lambda: signal.raise_signal(signal.SIGPROF)) == -signal.SIGPROF  # as what hangs
    assert apart(lambda: "fine") == "fine"

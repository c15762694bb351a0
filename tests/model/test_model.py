# SPDX-License-Identifier: BSD-3-Clause
"""A part of what `python -m tests.model` does: other seeds than the long runs, and everything has to have been met."""

from __future__ import annotations

from collections import Counter

import pytest

from .coverage import MET
from .explore import STEPS_A_RUN, apart, run, why
from .play import SETTINGS, Step
from .records import Wrong
from .shrink import shrink, split

SEEDS = 36
"""Runs; with STEPS_A_RUN steps each they have more than 20,000."""


@pytest.fixture(scope="module")
def met() -> Counter[str]:
    """How often everything was met."""
    total: Counter[str] = Counter()
    for seed in range(SEEDS):
        outcome = run(seed)
        assert not outcome.wrong, f"python -m tests.model --seed {seed} --steps 1   tells more: {outcome.wrong}"
        total.update(outcome.met)
        total["steps"] += outcome.steps
    return total


def test_the_dispatcher_does_what_the_model_does(met: Counter[str]) -> None:
    assert met["steps"] >= 20_000


def test_everything_was_met(met: Counter[str]) -> None:
    assert [name for name in MET if not met[name]] == []

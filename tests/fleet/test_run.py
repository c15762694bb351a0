# SPDX-License-Identifier: BSD-3-Clause
"""A short run with three servers and each trouble once; `make fleet` is the long one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from .__main__ import TITLE, read, row
from .machines import Site
from .run import TROUBLES, Outcome, play


@pytest.mark.timeout(300)
def test_nothing_is_lost_and_nothing_has_two_owners(site: Callable[[int], Site], tmp_path: Path) -> None:
    outcome = play(site(3), tmp_path, 1)
    assert outcome.faults == []
    assert outcome.troubles == len(TROUBLES)
    assert outcome.figures["acknowledged"] > 100
    assert outcome.figures["ends stored"] > 100
    assert outcome.figures["joined"] > 0


def test_the_log_says_where_to_go_on() -> None:
    names = ("acknowledged", "ends stored", "done again", "taken over", "leases", "joined")
    outcome = Outcome(7, 61.4, 30, dict(zip(names, range(10, 16), strict=True)), ["lost"])
    log = TITLE + row(outcome, "reactor", 3) + row(Outcome(8, 60.0, 1, outcome.figures), "stream", 2)
    assert read(log) == (8, 121)
    assert read(TITLE) == read("") == (0, 0)
    assert log.endswith("| 8 | stream | 2 | 1 | 10 | 11 | 12 | 13 | 14 | 15 | 60 | 0 |\n")

# SPDX-License-Identifier: BSD-3-Clause
"""What callgrind and strace write, the cost of a job from two runs, and the counts that are kept."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

import pytest

if sys.platform != "linux":
    pytest.skip("gearfast bench runs on Linux only", allow_module_level=True)

from gearfast.bench.instructions import (
    COUNTED,
    Cost,
    as_dict,
    changes,
    cost_table,
    differences,
    from_dict,
    misses,
    parse_calls,
    parse_profile,
)

KEPT = Path(__file__).resolve().parents[3] / "benchmarks" / "instructions.json"

PROFILE = """\
# callgrind format
events: Ir

fl=/src/floor.c
fn=run
17 40
fi=/usr/include/bits/string.h
30 7
fe=/src/floor.c
18 3
cfn=put
calls=5 90
19 1000

fl=/src/floor.c
fn=put
90 200

fl=/src/other.c
fn=put
12 1

totals: 1251
"""

CALLS = """\
    calls syscall
--------- ----------------
      125 sendto
       25 epoll_wait
--------- ----------------
      150 total
"""


def costs(floor: float, gearfast: float, calls: float = 2.0) -> dict[str, dict[str, Cost]]:
    return {"fg-4x4-64": {"floor": Cost(floor, {"sendto": 1.0}), "gearfast": Cost(gearfast, {"sendto": calls})}}


def test_a_function_counts_what_it_does_itself() -> None:
    assert parse_profile(PROFILE) == {"run (floor.c)": 50, "put (floor.c)": 200, "put (other.c)": 1}


def test_system_calls_are_counted_by_name() -> None:
    assert parse_calls(CALLS) == {"sendto": 125, "epoll_wait": 25}


def test_what_both_runs_did_once_is_no_cost_of_a_job() -> None:
    few = Counter({"start": 5_000, "submit": 1_000, "grab": 3_000})
    many = Counter({"start": 5_000, "submit": 11_000, "grab": 33_000, "new": 10_000})
    found = differences(few, many, (100, 1_100))
    assert found == {"grab": 30.0, "submit": 10.0, "new": 10.0}
    assert next(iter(found)) == "grab"


def test_counts_survive_json() -> None:
    before = costs(1_445.6, 2_764.1)
    assert from_dict(json.loads(json.dumps(as_dict(before)))) == before


def test_a_change_is_told_when_it_exceeds_the_tolerance() -> None:
    before = costs(1_000.0, 2_000.0)
    assert changes(before, costs(1_009.0, 1_991.0), 0.01) == []
    (fewer,) = changes(before, costs(1_000.0, 1_900.0), 0.01)
    assert "fg-4x4-64 on gearfast: 2000 instructions a job before, 1900 now" in fewer
    (more_calls,) = changes(before, costs(1_000.0, 2_000.0, calls=3.0), 0.01)
    assert "system calls" in more_calls
    assert len(changes({}, before)) == 2


def test_the_bar_is_twice_the_floor() -> None:
    assert misses(costs(1_000.0, 2_000.0)) == []
    assert "2.10 times" in misses(costs(1_000.0, 2_100.0))[0]
    assert misses({}) == []


def test_the_table_has_both_and_their_ratio() -> None:
    (_, line) = cost_table(costs(1_000.0, 1_500.0))
    assert line == ["fg-4x4-64", "1,000", "1,500", "1.50", "1.00", "2.00"]


def test_the_counts_that_are_kept_have_every_row_and_pass() -> None:
    kept = from_dict(json.loads(KEPT.read_text()))
    assert set(kept) == set(COUNTED)
    assert all(set(servers) == {"floor", "gearfast"} for servers in kept.values())
    assert misses(kept) == []

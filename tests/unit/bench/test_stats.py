# SPDX-License-Identifier: BSD-3-Clause
"""Medians, their intervals and paired ratios."""

from __future__ import annotations

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearfast.bench.stats import paired_ratios, summarize

FIGURES = st.lists(st.floats(min_value=1e-6, max_value=1e6), min_size=1, max_size=40)


@given(FIGURES)
def test_the_interval_holds_the_median(values: list[float]) -> None:
    summary = summarize(values)
    assert summary.smallest <= summary.low <= summary.median <= summary.high <= summary.largest
    assert summary.median == statistics.median(values)
    assert summary.count == len(values)


def test_eleven_values_use_the_second_from_each_end() -> None:
    summary = summarize(range(1, 12))
    assert (summary.low, summary.median, summary.high) == (2, 6, 10)
    assert summary.coverage == pytest.approx(1 - 2 * 12 / 2**11)


def test_more_values_narrow_the_interval() -> None:
    few, many = summarize(range(11)), summarize(range(101))
    assert many.spread < few.spread
    assert many.coverage >= 0.95


def test_five_values_cannot_reach_95_per_cent_and_say_so() -> None:
    summary = summarize([5.0, 1.0, 4.0, 2.0, 3.0])
    assert (summary.low, summary.high) == (1.0, 5.0)
    assert summary.coverage < 0.95


def test_no_values_are_refused() -> None:
    with pytest.raises(ValueError, match="no values"):
        summarize([])


def test_ratios_pair_by_position() -> None:
    assert paired_ratios([2.0, 9.0], [1.0, 3.0]) == [2.0, 3.0]


def test_a_zero_reference_makes_no_ratio() -> None:
    assert paired_ratios([2.0, 9.0], [0.0, 3.0]) == [3.0]


def test_lists_that_do_not_pair_are_refused() -> None:
    with pytest.raises(ValueError, match="do not pair"):
        paired_ratios([1.0], [1.0, 2.0])

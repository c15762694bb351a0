# SPDX-License-Identifier: BSD-3-Clause
"""Medians, paired ratios and their intervals. No distribution is assumed and no random number drawn.

The interval of a median is one of order statistics: between the k-th smallest and the k-th largest value, with the
largest k that still covers the true median with the wanted probability (sign test; David and Nagaraja, Order
Statistics, 7.1).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import comb
from statistics import median

__all__ = ["Summary", "paired_ratios", "summarize"]


@dataclass(frozen=True, slots=True)
class Summary:
    """A median with its interval."""

    median: float
    low: float
    high: float
    coverage: float
    """Probability that the interval holds the true median; below the wanted one if there are fewer than 6 values."""
    smallest: float
    largest: float
    count: int

    @property
    def spread(self) -> float:
        """Half the interval as a share of the median."""
        return (self.high - self.low) / 2 / self.median if self.median else 0.0


def _coverage(count: int, rank: int) -> float:
    """Probability that the median lies between the `rank`-th smallest and the `rank`-th largest of `count` values."""
    outside: int = sum(comb(count, i) for i in range(rank))
    return 1.0 - 2.0 * outside / 2.0**count


def summarize(values: Iterable[float], wanted: float = 0.95) -> Summary:
    """Median, interval and range of `values`. Raises ValueError if there are none."""
    ordered = sorted(values)
    count = len(ordered)
    if not count:
        raise ValueError("no values to summarize")
    rank = 1
    while rank < (count + 1) // 2 and _coverage(count, rank + 1) >= wanted:
        rank += 1
    return Summary(
        median=median(ordered),
        low=ordered[rank - 1],
        high=ordered[count - rank],
        coverage=max(0.0, _coverage(count, rank)),
        smallest=ordered[0],
        largest=ordered[-1],
        count=count,
    )


def paired_ratios(values: Sequence[float], reference: Sequence[float]) -> list[float]:
    """Each value divided by the one that was measured beside it. Raises ValueError if they do not pair up."""
    if len(values) != len(reference):
        raise ValueError(f"{len(values)} values do not pair with {len(reference)}")
    return [value / other for value, other in zip(values, reference, strict=True) if other > 0]

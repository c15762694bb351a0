# SPDX-License-Identifier: BSD-3-Clause
"""What cannot be seen where it happens, only by what follows: one answer after the other is tried, from a copy on."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, fields
from itertools import combinations
from typing import Any, Final

MOST_TRIED: Final = 5000


class Doubts:
    """Questions with yes or no for an answer. The same ones have to be asked again until one is answered otherwise."""

    def __init__(self) -> None:
        self.answers: list[bool] = []
        self.asked = 0

    def ask(self) -> bool:
        """First yes."""
        if self.asked == len(self.answers):
            self.answers.append(True)
        self.asked += 1
        return self.answers[self.asked - 1]

    def turn(self) -> bool:
        """Begins again, with other answers than ever before; False if there are none."""
        while self.answers and not self.answers[-1]:
            self.answers.pop()
        if self.answers:
            self.answers[-1] = False
        self.asked = 0
        return bool(self.answers)


def copy_of(state: dict[str, Any]) -> dict[str, Any]:
    """Deep, but no recursion from job to job: of each record of `state` there is a blank copy before any is filled."""
    records = [record for table in ("jobs", "gone", "functions", "peers") for record in state[table].values()]
    memo = {id(record): object.__new__(type(record)) for record in records}
    for record in records:
        for field in fields(record):
            setattr(memo[id(record)], field.name, deepcopy(getattr(record, field.name), memo))
    return deepcopy(state, memo)


@dataclass(frozen=True)
class Waking:
    """An event for which sleepers are woken: one of several in a phase, any of which may have woken who was."""

    may: frozenset[int]  # sleeps that ended with a NOOP: by this event, if not by one before it or behind it
    stay: int  # so many others sleep on
    in_vain: bool = False  # it may wake fewer than `wakeup`


def choices(waking: Waking, most: int, woken: frozenset[int], urgent: frozenset[int]) -> Iterator[frozenset[int]]:
    """Whom it may have woken, and `woken`; no later event can have woken who is `urgent`."""
    first = urgent - woken
    others = sorted(waking.may - woken - first)
    count = min(most, len(first) + len(others) + waking.stay)
    for some in range(count, -1 if waking.in_vain else count - 1, -1):
        for chosen in combinations(others, some - len(first)) if some >= len(first) else ():
            yield woken.union(first, chosen)


def can_be(wakings: list[Waking], most: int) -> bool:
    """Whether each sleep can have ended by one of the events, with each event waking `most`, or all if there are fewer.

    What takes too long to find out is taken to be possible as long as there are not too many or too few.
    """
    last = {sleep: number for number, waking in enumerate(wakings) for sleep in waking.may}
    urgent = [frozenset(sleep for sleep in waking.may if last[sleep] == n) for n, waking in enumerate(wakings)]
    least = sum(min(most, waking.stay) for waking in wakings if not waking.in_vain)
    if not least <= len(last) <= most * len(wakings):
        return False
    impossible: set[tuple[int, frozenset[int]]] = set()
    path = [(frozenset[int](), iter([frozenset[int]()]))]
    while path and len(impossible) < MOST_TRIED:
        woken = next(path[-1][1], None)
        number = len(path) - 1
        if woken is None:
            impossible.add((number - 1, path.pop()[0]))
        elif number == len(wakings):
            return True
        elif (number, woken) not in impossible:
            path.append((woken, choices(wakings[number], most, woken, urgent[number])))
    return bool(path)

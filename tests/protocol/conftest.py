# SPDX-License-Identifier: BSD-3-Clause
"""Fixtures of the byte scripts: each runs with every way of feeding, and `wire` with several settings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import pytest

from .script import FEEDS, Wire

# What must not change the outcome of a script that takes `wire`.
PROFILES: dict[str, dict[str, Any]] = {
    "default": {},
    "function-wake1": {"order": "function", "wakeup": 1},
    "rotate-wake2": {"order": "function-rotate", "wakeup": 2, "seed": 77},
}


class MakeWire(Protocol):
    """Makes a wire with settings of the dispatcher; at the end of the script nothing may be left unread on it."""

    def __call__(self, **settings: Any) -> Wire: ...


@pytest.fixture(params=FEEDS)
def make_wire(request: pytest.FixtureRequest) -> Iterator[MakeWire]:
    made: list[Wire] = []

    def make(**settings: Any) -> Wire:
        made.append(Wire(request.param, **settings))
        return made[-1]

    yield make
    for wire in made:
        wire.silent()
        wire.sound()


@pytest.fixture(params=list(PROFILES.values()), ids=list(PROFILES))
def wire(request: pytest.FixtureRequest, make_wire: MakeWire) -> Wire:
    return make_wire(**request.param)

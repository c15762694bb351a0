# SPDX-License-Identifier: BSD-3-Clause
"""Fleets of two and three servers, in namespaces that the tests of a process share."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from .machines import Fleet, Site, make_site
from .network import missing

MakeSite = Callable[[int], Site]
MakeFleet = Callable[..., Fleet]


@pytest.fixture(scope="session")
def site(
    require: Callable[[object, str], None],
    need_database: Callable[[str], ModuleType],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[MakeSite]:
    """`site(count)`: for so many servers."""
    lacks = missing()
    require(not lacks, lacks)
    compiler = require.program("gcc", "gcc")  # type: ignore[attr-defined]
    need_database("postgresql")
    with contextlib.ExitStack() as stack:
        made: dict[int, Site] = {}

        def make(count: int) -> Site:
            if count not in made:
                made[count] = stack.enter_context(make_site(tmp_path_factory.mktemp("site"), count, compiler))
            return made[count]

        yield make


@pytest.fixture
def make_fleet(site: MakeSite, tmp_path: Path) -> Iterator[MakeFleet]:
    """`make_fleet(count, *flags, lease=…)`: so many servers, which run."""
    with contextlib.ExitStack() as stack:

        def make(count: int, *flags: str, lease: float = 1.5) -> Fleet:
            return stack.enter_context(Fleet(site(count), tmp_path, *flags, lease=lease))

        yield make

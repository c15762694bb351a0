# SPDX-License-Identifier: BSD-3-Clause
"""Every kind of store, empty; `reopen` is what a new server process would get."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gearfast.store.base import Store
from gearfast.store.sqlite import SqliteStore

KINDS = ("sqlite",)


@pytest.fixture(params=KINDS)
def make_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Store]]:
    """Makes stores on the same data, one after the other: the one before is closed first."""
    made: list[Store] = []

    def make() -> Store:
        if made:
            made.pop().close()
        made.append(SqliteStore(tmp_path / "jobs.db"))
        return made[-1]

    yield make
    for store in made:
        store.close()

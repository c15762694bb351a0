# SPDX-License-Identifier: BSD-3-Clause
"""Every kind of store, empty; `make_store` is what a new server process would get, `rival` what another one has."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gearfast.store import mysql, postgres, redis, sqlite, urls
from gearfast.store.base import Store
from tests.conftest import DATABASES

KINDS = ("memory", "sqlite", *DATABASES)
counter = itertools.count()


@pytest.fixture(params=KINDS)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty store of each kind."""
    if request.param == "memory":
        return f"memory://{tmp_path.name}-{next(counter)}"
    if request.param == "sqlite":
        return str(tmp_path / "jobs.db")
    return request.getfixturevalue("database_url")(request.param)


@pytest.fixture
def make_store(url: str) -> Iterator[Callable[[], Store]]:
    """Makes stores on the same data, one after the other: the one before is closed first."""
    made: list[Store] = []

    def make() -> Store:
        if made:
            made.pop().close()
        made.append(urls.make_store(url))
        return made[-1]

    yield make
    for store in made:
        store.close()


@pytest.fixture
def rival(url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """One more store on the same data, which does not wait long for the other one to let go."""
    for module in (sqlite, postgres, mysql, redis):
        monkeypatch.setattr(module, "LOCK_WAIT", 0.1)
    store = urls.make_store(url)
    yield store
    store.close()

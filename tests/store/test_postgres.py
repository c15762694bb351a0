# SPDX-License-Identifier: BSD-3-Clause
"""What is PostgreSQL's own: its settings, and who has the lock."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from gearfast.store import postgres
from gearfast.store.base import StoreError, Write
from gearfast.store.urls import make_store

Url = Callable[[str], str]


def new(url: str) -> postgres.PostgresStore:
    store = make_store(url)
    assert isinstance(store, postgres.PostgresStore)
    return store


@pytest.fixture
def url(database_url: Url, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(postgres, "LOCK_WAIT", 0.1)
    return database_url("postgresql")


@pytest.fixture
def pair(url: str) -> Iterator[tuple[postgres.PostgresStore, postgres.PostgresStore]]:
    """Two servers' stores; the first one is open."""
    one, other = new(url), new(url)
    one.open()
    yield one, other
    one.close()
    other.close()


def ask(store: postgres.PostgresStore, sql: str) -> list[list[bytes]]:
    """In the session of the store."""
    assert store._link is not None
    return store._link.ask(sql)


def test_who_has_it_is_told(pair: tuple[postgres.PostgresStore, postgres.PostgresStore]) -> None:
    with pytest.raises(StoreError, match=r"in use by another server \(this machine, since 20..-"):
        pair[1].open()


@pytest.mark.parametrize("value", ["off", "local", "on", "remote_apply"])
def test_commits_wait_for_the_disk(database_url: Url, value: str) -> None:
    """Whatever the database's own setting is."""
    store = new(database_url("postgresql") + f"&options=-csynchronous_commit%3D{value}")
    store.open()
    expected = b"remote_apply" if value == "remote_apply" else b"on"
    assert ask(store, "SELECT current_setting('synchronous_commit')") == [[expected]]
    store.close()


def test_a_schema_whose_name_has_to_be_quoted(database_url: Url) -> None:
    store = new(database_url("postgresql") + "Order")
    store.open()
    store.write(Write(1, 2))
    assert store.open().batch == 1
    store.close()

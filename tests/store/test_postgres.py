# SPDX-License-Identifier: BSD-3-Clause
"""What is PostgreSQL's own: who may write, a database that hangs, dies or is set to lose jobs."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

from gearfast.store import postgres
from gearfast.store._libpq import DatabaseError
from gearfast.store.base import Contents, Section, SectionInfo, StoreError, Write
from gearfast.store.urls import make_store

Url = Callable[[str], str]


def section(id: int) -> Section:
    return Section(SectionInfo(id, id, id, 1, 3), b"job")


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


@pytest.fixture(scope="module")
def private(need_database: Callable[[str], ModuleType]) -> Iterator[Any]:
    """A database that tests may stop, kill and spoil."""
    with need_database("postgresql").Postgres() as database:
        yield database


def ask(store: postgres.PostgresStore, sql: str) -> list[list[bytes]]:
    """In the session of the store."""
    assert store._link is not None
    return store._link.ask(sql)


def test_who_has_it_is_told(pair: tuple[postgres.PostgresStore, postgres.PostgresStore]) -> None:
    with pytest.raises(StoreError, match=r"in use by another server \(this machine, since 20..-"):
        pair[1].open()


def test_who_lost_the_lock_and_its_place_writes_no_more(
    pair: tuple[postgres.PostgresStore, postgres.PostgresStore],
) -> None:
    """Its connection is still good: the database itself refuses it, and whatever it asks for later."""
    one, other = pair
    one.write(Write(1, 6, [section(1)]))
    ask(one, "SELECT pg_advisory_unlock_all()")
    other.open()
    with pytest.raises(StoreError, match="another server has taken it over"):
        one.write(Write(2, 7, [section(2)], drop=[1]))
    with pytest.raises(StoreError, match="in use by another server"):
        one.open()
    other.write(Write(5, 9))
    other.close()
    with pytest.raises(StoreError, match="another server has had it since"):
        one.open()
    assert other.open() == Contents(5, 9, [SectionInfo(1, 1, 1, 1, 3)], {})


def test_its_own_lost_connection_is_not_in_its_way(url: str) -> None:
    store = new(url)
    store.open()
    lost, store._link = store._link, None
    assert store.open().batch == 0
    assert lost is not None
    with pytest.raises(DatabaseError, match="terminating connection"):
        lost.ask("SELECT 1")
    lost.close()
    store.write(Write(1, 2))
    store.close()


def test_a_lost_connection_is_an_error_and_then_made_again(
    pair: tuple[postgres.PostgresStore, postgres.PostgresStore],
) -> None:
    one, _ = pair
    with pytest.raises(DatabaseError, match="terminating connection"):
        ask(one, "SELECT pg_terminate_backend(pg_backend_pid())")
    with pytest.raises(StoreError):
        one.write(Write(1, 2))
    with pytest.raises(StoreError):
        one.read([1])
    assert one.open().batch == 0
    one.write(Write(1, 2))


@pytest.mark.parametrize("value", ["off", "local", "on", "remote_apply"])
def test_commits_wait_for_the_disk(database_url: Url, value: str) -> None:
    """Whatever the database's own setting is."""
    store = new(database_url("postgresql") + f"&options=-csynchronous_commit%3D{value}")
    store.open()
    expected = b"remote_apply" if value == "remote_apply" else b"on"
    assert ask(store, "SELECT current_setting('synchronous_commit')") == [[expected]]
    store.close()


def test_a_newer_schema(pair: tuple[postgres.PostgresStore, postgres.PostgresStore]) -> None:
    ask(pair[0], "UPDATE gearfast_state SET version = 999")
    with pytest.raises(StoreError, match=r"newer gearfast \(schema 999"):
        pair[0].open()


def test_a_database_that_is_away_and_its_password() -> None:
    store = new("postgresql://me:very%20secret@127.0.0.1:1/jobs?schema=mine")
    assert store.name == "postgresql://me@127.0.0.1:1/jobs?schema=mine"
    with pytest.raises(StoreError, match="refused") as caught:
        store.open()
    assert "secret" not in str(caught.value)


def test_a_database_that_hangs(private: Any, patience: Callable[[float], float]) -> None:
    store = new(private.url("hangs") + f"&timeout={patience(2)}")
    store.open()
    private.signal(signal.SIGSTOP)
    try:
        with pytest.raises(StoreError, match="no answer within"):
            store.write(Write(1, 2, [section(1)]))
        with pytest.raises(StoreError):
            store.write(Write(1, 2, [section(1)]))
    finally:
        private.signal(signal.SIGCONT)
    assert store.open().batch in (0, 1)
    store.write(Write(2, 3, [section(2)]))
    store.close()


def test_a_database_that_is_killed(private: Any) -> None:
    store = new(private.url("killed"))
    store.open()
    store.write(Write(1, 2, [section(1)]))
    private.kill()
    with pytest.raises(StoreError):
        store.write(Write(2, 3, [section(2)]))
    with pytest.raises(StoreError):
        store.open()
    private.start()
    assert store.open() == Contents(1, 2, [SectionInfo(1, 1, 1, 1, 3)], {})
    store.write(Write(2, 3, [section(2)]))
    assert store.read([1, 2]) == [b"job", b"job"]
    store.close()


def test_a_database_that_does_not_sync(private: Any) -> None:
    with private.admin() as admin:
        admin.execute("ALTER SYSTEM SET fsync = off")
        admin.execute("SELECT pg_reload_conf()")
    try:
        url = private.url("unsafe")
        with pytest.raises(StoreError, match=r"fsync = off.*durability=relaxed"):
            while True:  # until the new setting has reached new sessions
                store = new(url)
                store.open()
                store.close()
        relaxed = new(url + "&durability=relaxed")
        assert relaxed.open().batch == 0
        relaxed.close()
    finally:
        with private.admin() as admin:
            admin.execute("ALTER SYSTEM RESET fsync")
            admin.execute("SELECT pg_reload_conf()")

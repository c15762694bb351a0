# SPDX-License-Identifier: BSD-3-Clause
"""What is Redis's own: its memory, who may look at its settings, and and its schema 1."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest

from gearfast.store import redis
from gearfast.store._numbers import pack_numbers
from gearfast.store.base import RANGE_BITS, Contents, Section, SectionInfo, StoreError, Write
from gearfast.store.redis import RedisStore
from gearfast.store.urls import make_store
from tests.conftest import DATABASES

from .claims import claim_beside


@pytest.fixture(scope="module")
def private(need_database: Callable[[str], ModuleType]) -> Iterator[Any]:
    """One whose settings tests may change."""
    with need_database("redis").Redis() as database:
        yield database


@pytest.fixture(autouse=True)
def usual(private: Any) -> Iterator[None]:
    yield
    private.ask("CONFIG", "SET", "maxmemory", "0")
    private.ask("CONFIG", "SET", "maxmemory-policy", "noeviction")


def section(id: int, size: int) -> Section:
    return Section(SectionInfo(id, id, id, 1, size), bytes(size))


FIRST = 17_958_172_152_473_083
"""The number of a job of a server that had derived it from the time."""


@pytest.fixture
def old(database_url: Callable[[str], str], monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[RedisStore, str]]:
    """A store of schema 1 with a section, its server, whose connection is there, and its URL."""
    url = database_url("redis")
    monkeypatch.setattr(redis, "LOCK_WAIT", 0.1)
    store = make_store(url)
    assert isinstance(store, RedisStore)
    store._connection = store._connect()
    state, sections, records, ended, losses, notes = store._keys[:6]
    client = store._ask("CLIENT", "ID")
    for words in (
        (state, "version", 1, "token", 3, "owner", "x", "client", client, "run", store._run_of_redis()),
        (state, "batch", 3, "next_number", FIRST + 8),
        (sections, 3, f"{FIRST} {FIRST + 1} 2 7 {FIRST + 7}"),
        (records, 3, "records"),
        (ended, 3, pack_numbers([FIRST])),
        (losses, FIRST + 1, 2),
        (notes, "key", "value"),
    ):
        store._ask("HSET", *words)
    yield store, url
    store._hang_up()


def test_a_server_of_an_older_gearfast_has_it(old: tuple[RedisStore, str]) -> None:
    with pytest.raises(StoreError, match=r"in use by another server \(.*/s:0\)"):
        make_store(old[1]).open()


def test_the_jobs_of_an_older_schema(old: tuple[RedisStore, str]) -> None:
    old[0]._hang_up()
    store = make_store(old[1])
    assert isinstance(store, RedisStore)
    contents = store.open()
    info = SectionInfo(3, FIRST, FIRST + 1, 2, 7, (FIRST + 7,), pack_numbers([FIRST]))
    assert contents.sections == [info]
    assert contents.losses == {FIRST + 1: 2}
    assert contents.notes == {"key": b"value"}
    assert store.seat << RANGE_BITS > FIRST + 10**10
    assert store.read([3]) == [b"records"]
    assert store._ask("HGET", store._keys[0], "token") is None, "which a server of schema 1 brings along"
    store.close()
    again = make_store(old[1])
    assert again.open().sections == [info]
    again.close()


def test_a_memory_that_is_full(private: Any) -> None:
    """Then nothing that adds a job is done, whatever is first in it; what makes room goes, and so does opening."""
    store = make_store(private.url("full"))
    store.open()
    store.write(Write(1, 3, [section(1, 100_000), section(2, 10)], losses={1: 1}))
    private.ask("CONFIG", "SET", "maxmemory", "100000")
    with pytest.raises(StoreError, match="maxmemory"):
        store.write(Write(2, 4, [section(3, 10)], drop=[1], losses={2: 1}))
    assert store.open() == Contents(1, 3, [section(1, 100_000).info, section(2, 10).info], {1: 1})
    store.write(Write(3, 5, drop=[1], ended={2: bytes(8)}, losses={2: 1}, forget=[1]))
    assert store.open() == Contents(3, 5, [replace(section(2, 10).info, ended=bytes(8))], {2: 1})
    store.close()


def test_more_than_redis_takes_in_one_value(private: Any) -> None:
    private.ask("CONFIG", "SET", "proto-max-bulk-len", "2000000")
    store = make_store(private.url("bulk"))
    store.open()
    try:
        store.write(Write(1, 2, [section(1, 2_000_000)]))
        with pytest.raises(StoreError, match=r"2000001 bytes .* CONFIG SET proto-max-bulk-len to more than 2000000"):
            store.write(Write(2, 3, [section(2, 2_000_001)]))
        store.write(Write(2, 3, [section(2, 1)]))
        assert len(store.open().sections) == 2
    finally:
        private.ask("CONFIG", "SET", "proto-max-bulk-len", "512mb")
        store.close()


def test_a_policy_that_throws_jobs_away(private: Any) -> None:
    url = private.url("evicts")
    private.ask("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    store = make_store(url)
    store.open()
    store.close()
    private.ask("CONFIG", "SET", "maxmemory", "1000000000")
    with pytest.raises(StoreError, match=r"maxmemory-policy to noeviction, or add durability=relaxed"):
        store.open()
    relaxed = make_store(url + "&durability=relaxed")
    assert relaxed.open().sections == []
    relaxed.close()


def test_a_user_who_may_not_see_the_settings(private: Any) -> None:
    private.ask("ACL", "SETUSER", "plain", "on", ">pw", "~*", "&*", "+@all", "-config")
    url = private.url("plain").replace("redis://", "redis://plain:pw@")
    with pytest.raises(StoreError, match="cannot be seen"):
        make_store(url).open()
    relaxed = make_store(url + "&durability=relaxed")
    assert relaxed.open().sections == []
    relaxed.close()


def test_a_script_that_redis_has_forgotten(private: Any) -> None:
    """As after SCRIPT FLUSH: an error, and opening it again is enough."""
    store = make_store(private.url("flushed"))
    store.open()
    private.ask("SCRIPT", "FLUSH")
    with pytest.raises(StoreError, match="No matching script"):
        store.write(Write(1, 2))
    assert store.open().sections == []
    store.write(Write(1, 2))
    store.close()


def test_a_version_without_claims(database_url: Callable[[str], str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A server of before goes on with it, until it has to connect again."""
    url = database_url("redis")
    before, store = make_store(url), make_store(url)
    assert isinstance(before, RedisStore)
    assert isinstance(store, RedisStore)
    newest = redis.SCHEMA
    monkeypatch.setattr(redis, "SCHEMA", 2)
    before.open()
    number = (before.seat << RANGE_BITS) + 1
    before.write(Write(number, number + 1, [section(number, 3)]))
    monkeypatch.setattr(redis, "SCHEMA", newest)
    claim_beside(before, store, number)
    assert store._version() == newest
    before.close()
    store.close()


def test_a_certificate_of_another_host(require: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is looked at by whatever version of the driver."""
    require.module(*DATABASES["redis"])
    store = make_store("rediss://localhost/0")
    assert isinstance(store, RedisStore)
    asked: list[dict[str, Any]] = []

    def look(**how: Any) -> None:
        asked.append(how)
        raise OSError("that was it")

    monkeypatch.setattr(store._redis, "SSLConnection", look)
    with pytest.raises(StoreError, match="that was it"):
        store.open()
    assert asked[0]["ssl_check_hostname"] is True

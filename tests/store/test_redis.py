# SPDX-License-Identifier: BSD-3-Clause
"""What is Redis's own: its memory, and who may look at its settings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest

from gearfast.store.base import Contents, Section, SectionInfo, StoreError, Write
from gearfast.store.urls import make_store


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
    assert relaxed.open().batch == 0
    relaxed.close()


def test_a_user_who_may_not_see_the_settings(private: Any) -> None:
    private.ask("ACL", "SETUSER", "plain", "on", ">pw", "~*", "&*", "+@all", "-config")
    url = private.url("plain").replace("redis://", "redis://plain:pw@")
    with pytest.raises(StoreError, match="cannot be seen"):
        make_store(url).open()
    relaxed = make_store(url + "&durability=relaxed")
    assert relaxed.open().batch == 0
    relaxed.close()


def test_who_has_it_is_told(private: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gearfast.store.redis.LOCK_WAIT", 0.1)
    one, other = make_store(private.url("who")), make_store(private.url("who"))
    one.open()
    with pytest.raises(StoreError, match=r"in use by another server \(.*/s:0\)"):
        other.open()
    one.close()


def test_a_script_that_redis_has_forgotten(private: Any) -> None:
    """As after SCRIPT FLUSH: an error, and opening it again is enough."""
    store = make_store(private.url("flushed"))
    store.open()
    private.ask("SCRIPT", "FLUSH")
    with pytest.raises(StoreError, match="No matching script"):
        store.write(Write(1, 2))
    assert store.open().batch == 0
    store.write(Write(1, 2))
    store.close()

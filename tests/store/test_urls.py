# SPDX-License-Identifier: BSD-3-Clause
"""From a URL to a store: what is wrong with one is said, without its password."""

from __future__ import annotations

import re
import sys
from typing import Any
from urllib.parse import urlsplit

import pytest

from gearfast.store._place import Place
from gearfast.store.memory import MemoryStore
from gearfast.store.urls import make_store
from tests.conftest import DATABASES


def test_memory() -> None:
    store = make_store("memory://name")
    assert isinstance(store, MemoryStore)
    assert store.name == "memory://name"


def test_without_a_name_it_goes_with_the_object() -> None:
    one, other = make_store("memory://"), make_store("memory://")
    one.open()
    assert other.open().sections == []


@pytest.mark.parametrize(
    ("url", "right"),
    [
        ("oracle://host/db", "oracle: no such kind of store: a store is a path, sqlite:///PATH"),
        ("oracle://[::1/db", "no such kind"),
        ("sqlite:jobs.db", "sqlite: is not followed by two slashes: a store is a path, sqlite:///PATH"),
        ("Redis:6379/0", "a file of that name is ./Redis:…"),
        ("memory://a/b", "memory://NAME"),
        ("memory://[::1/db", "not well formed"),
        ("postgresql://host/db?schema=a-b", "schema: 1 to 48 letters, digits and underscores"),
        ("mysql://host/db?prefix=1", "prefix: 1 to 48 letters"),
        ("mysql://host/db?schema=x", "no option schema of a store; there are prefix, durability, timeout, unix_socket"),
        ("mysql://host", "mysql://USER:PASSWORD@HOST/DATABASE"),
        ("mysql://host:port/db", "the port in the URL of the store is no number"),
        ("redis://host/db", "redis://USER:PASSWORD@HOST/NUMBER"),
        ("redis://host/0?durability=none", "durability: full or relaxed"),
        ("redis://host/0?timeout=0", "timeout: seconds, 0.1 to 3600"),
        ("redis://host/0?timeout=soon", "timeout: seconds"),
        ("redis://me:a#b@host/0", "'#' in the URL of a store has to be written %23"),
    ],
)
def test_what_would_be_right(url: str, right: str, require: Any) -> None:
    for module, package in DATABASES.values():
        require.module(module, package)
    with pytest.raises(ValueError, match=re.escape(right)):
        make_store(url)


@pytest.mark.parametrize(
    ("url", "extra"),
    [("postgres://host/db", "postgres"), ("mariadb://host/db", "mysql"), ("valkeys://host/0", "redis")],
)
def test_a_driver_that_is_missing(url: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module, _ in DATABASES.values():
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ValueError, match=re.escape(f"pip install 'gearfast[{extra}]'")):
        make_store(url)


@pytest.mark.parametrize(
    "url",
    [
        "oracle://me:secret@host/db",
        "memory://me:secret@[::1",
        "mysql://me:secret@host",
        "redis://me:secret@host/0?no=secret",
        "redis://me:secret@host/0#secret",
        "mysql://me:secret@host:port/db",
        "mysql://me:secret#secret@host/db",
        "redis://me:sec℀secret@host/0",
    ],
)
def test_passwords_are_not_told(url: str) -> None:
    with pytest.raises(ValueError) as caught:
        make_store(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "drivers"),
    [
        (
            "postgresql://me:pw@one:1,two:2/db?schema=s&sslmode=require",
            "postgresql://me:pw@one:1,two:2/db?sslmode=require",
        ),
        ("postgresql:///db?host=/run/postgresql&timeout=3", "postgresql:///db?host=/run/postgresql"),
        ("postgresql://host/db?durability=relaxed", "postgresql://host/db"),
    ],
)
def test_what_the_driver_is_told(url: str, drivers: str) -> None:
    place = Place.of(urlsplit(url), {"schema": "gearfast"}, drivers=None)
    assert place.url.replace("%2F", "/") == drivers


def test_what_is_shown() -> None:
    url = "postgresql://me:pw@host:1/db?schema=s&timeout=3&password=pw&sslpassword=pw"
    place = Place.of(urlsplit(url), {"schema": "gearfast"}, drivers=None)
    assert place.name == "postgresql://me@host:1/db?schema=s&timeout=3"
    assert place.clean("refused: me:pw@host") == "refused: me:***@host"

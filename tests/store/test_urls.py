# SPDX-License-Identifier: BSD-3-Clause
"""From a URL to a store: what is wrong with one is said, without its password."""

from __future__ import annotations

import pytest

from gearfast.store.memory import MemoryStore
from gearfast.store.urls import make_store


def test_memory() -> None:
    store = make_store("memory://name")
    assert isinstance(store, MemoryStore)
    assert store.name == "memory://name"


def test_without_a_name_it_goes_with_the_object() -> None:
    one, other = make_store("memory://"), make_store("memory://")
    one.open()
    assert other.open().batch == 0


@pytest.mark.parametrize(
    ("url", "right"),
    [
        ("oracle://host/db", "oracle: no such kind of store: a store is a path, sqlite:///PATH"),
        ("memory://a/b", "memory://NAME"),
        ("oracle://[::1/db", "no such kind"),
        ("memory://[::1/db", "not well formed"),
    ],
)
def test_what_would_be_right(url: str, right: str) -> None:
    with pytest.raises(ValueError, match=right.replace("[", r"\[")):
        make_store(url)


def test_passwords_are_not_told() -> None:
    for url in ("oracle://me:secret@host/db", "memory://me:secret@[::1"):
        with pytest.raises(ValueError) as caught:
            make_store(url)
        assert "secret" not in str(caught.value)

# SPDX-License-Identifier: BSD-3-Clause
"""What is MySQL's and MariaDB's own: settings that lose jobs, packets that are too small, parts of records."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gearfast.store import mysql
from gearfast.store.base import Section, SectionInfo, StoreError, Write
from gearfast.store.urls import make_store

Url = Callable[[str], str]


def test_packets_that_are_too_small(database_url: Url, monkeypatch: pytest.MonkeyPatch) -> None:
    store = make_store(database_url("mysql"))
    monkeypatch.setattr(mysql, "LEAST_PACKET", 1 << 40)
    with pytest.raises(StoreError, match="SET GLOBAL max_allowed_packet"):
        store.open()


def test_who_has_it_is_told(database_url: Url, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mysql, "LOCK_WAIT", 0.1)
    url = database_url("mysql")
    one, other = make_store(url), make_store(url)
    one.open()
    with pytest.raises(StoreError, match=r"in use by another server \(localhost\)"):
        other.open()
    one.close()


def test_more_than_a_packet(database_url: Url) -> None:
    """It is sent in several, and still all of it is there or nothing."""
    store = make_store(database_url("mysql"))
    assert isinstance(store, mysql.MysqlStore)
    store.open()
    store._packet = 3 << 20
    records = bytes(range(256)) * (16 << 10)
    info = SectionInfo(1, 1, 1, 1, len(records))
    store.write(Write(1, 2, [Section(info, records)]))
    with pytest.raises(StoreError, match="Duplicate"):
        store.write(Write(2, 3, [Section(SectionInfo(2, 2, 2, 1, len(records)), records), Section(info, b"")]))
    with pytest.raises(StoreError, match="max_allowed_packet"):
        store.write(Write(2, 3, ended={1: bytes(2 << 20)}))
    contents = store.open()
    assert (contents.batch, contents.sections) == (1, [info])
    assert store.read([1]) == [records]
    store.close()

# SPDX-License-Identifier: BSD-3-Clause
"""What is PostgreSQL's own: its settings, and the schema of before several servers might share it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from gearfast.store import postgres
from gearfast.store._numbers import pack_numbers
from gearfast.store.base import RANGE_BITS, SeatLost, Section, SectionInfo, StoreError, Write
from gearfast.store.urls import make_store

from .claims import claim_beside

Url = Callable[[str], str]


def new(url: str) -> postgres.PostgresStore:
    store = make_store(url)
    assert isinstance(store, postgres.PostgresStore)
    return store


@pytest.fixture
def url(database_url: Url, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(postgres, "LOCK_WAIT", 0.1)
    return database_url("postgresql")


def ask(store: postgres.PostgresStore, sql: str) -> list[list[bytes]]:
    """In the session of the store."""
    assert store._link is not None
    return store._link.ask(sql)


FIRST = 17_958_172_152_473_083
"""The number of a job of a server that had derived it from the time."""


@pytest.fixture
def old(url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[postgres.PostgresStore]:
    """A store of schema 1 with two sections, and its server, which still has the lock."""
    newest = postgres.SCHEMA
    monkeypatch.setattr(postgres, "SCHEMA", 1)
    store = new(url)
    store._link = link = store._connect()
    store._lock(link)
    link.run(f'CREATE SCHEMA "{store._schema}"')
    store._migrate_to(link, 1)
    for id, number, late in ((3, FIRST, ""), (4, FIRST + 5, pack_numbers([FIRST + 7]).hex())):
        link.run(f"INSERT INTO gearfast_section VALUES ({id}, {number}, {number + 1}, 2, '\\x{late}', 'records')")
    link.run(f"INSERT INTO gearfast_ended VALUES (3, '\\x{pack_numbers([FIRST]).hex()}')")
    link.run(f"INSERT INTO gearfast_loss VALUES ({FIRST + 1}, 2)")
    link.run(f"UPDATE gearfast_state SET batch = 4, next_number = {FIRST + 8}")
    link.ask("INSERT INTO gearfast_note VALUES ('key', 'value')")
    link.ask("SELECT pg_advisory_lock(1)")
    monkeypatch.setattr(postgres, "SCHEMA", newest)
    yield store
    store._hang_up()


def test_a_server_of_an_older_gearfast_has_it(old: postgres.PostgresStore, url: str) -> None:
    with pytest.raises(StoreError, match=r"in use by another server \(this machine, since 20..-"):
        new(url).open()


def test_the_jobs_of_an_older_schema(old: postgres.PostgresStore, url: str) -> None:
    old._hang_up()
    store = new(url)
    contents = store.open()
    assert contents.sections == [
        SectionInfo(3, FIRST, FIRST + 1, 2, 7, (), pack_numbers([FIRST])),
        SectionInfo(4, FIRST + 5, FIRST + 6, 2, 7, (FIRST + 7,)),
    ]
    assert contents.losses == {FIRST + 1: 2}
    assert contents.notes == {"key": b"value"}
    assert store.seat << RANGE_BITS > FIRST + 10**10
    assert store.read([3]) == [b"records"]
    number = contents.batch + 1
    store.write(Write(number, number + 1, [Section(SectionInfo(number, number, number, 1, 3), b"job")]))
    store.close()
    again = new(url)
    assert [info.id for info in again.open().sections] == [3, 4, number]
    again.close()


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


def test_a_schema_without_claims(url: str) -> None:
    """A server of before goes on with it, until it has to connect again."""
    before = new(url)
    before._link = link = before._connect()
    link.run(f'CREATE SCHEMA "{before._schema}"')
    before._migrate_to(link, 2)
    before._enter(link)
    link.prepare("write", postgres._WRITE)
    number = (before.seat << RANGE_BITS) + 1
    before.write(Write(number, number + 1, [Section(SectionInfo(number, number, number, 1, 3), b"job")]))
    store = new(url)
    claim_beside(before, store, number)
    before.close()
    store.close()


def test_a_large_write_may_take_longer(url: str) -> None:
    """Ten megabytes a second: the database itself would cancel it else. All of it is there or nothing, as ever."""
    store = new(url)
    store.open()
    ask(store, "CREATE TABLE seen (value text)")
    body = "BEGIN INSERT INTO seen VALUES (current_setting(''statement_timeout'')); RETURN NEW; END"
    ask(store, f"CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS '{body}'")
    ask(store, "CREATE TRIGGER note BEFORE INSERT ON gearfast_section FOR EACH ROW EXECUTE FUNCTION note()")

    def large(number: int, size: int, late: tuple[int, ...] = ()) -> Section:
        records = bytes(range(256)) * (size // 256)
        return Section(SectionInfo(number, number, number + 1, 2, len(records), late), records)

    first, second, third = large(1, 256), large(2, 20_480_000, (1, 7)), large(3, 256)
    for section in (first, second, third):
        number = section.info.id
        store.write(Write(number, number + 1, [section], {1: pack_numbers([number])}, notes={"key": b"%d" % number}))
    assert ask(store, "SELECT value FROM seen") == [[b"10s"], [b"12048ms"], [b"10s"]]
    with pytest.raises(StoreError, match="duplicate key"):
        store.write(Write(4, 5, [large(2, 20_480_000)], notes={"key": b"4"}))
    contents = store.open()
    assert [replace(info, ended=b"") for info in contents.sections] == [each.info for each in (first, second, third)]
    assert contents.sections[0].ended == pack_numbers([3])
    assert (contents.batch, contents.notes) == (3, {"key": b"3"})
    assert store.read([2, 1]) == [second.records, first.records]
    store._seat += 1  # whose place that is none
    with pytest.raises(SeatLost):
        store.write(Write(5, 6, [large(5, 20_480_000)]))
    store.close()


def test_more_than_postgresql_takes_in_one_value(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = new(url)
    store.open()
    monkeypatch.setattr(postgres, "MOST", 3)
    store.write(Write(1, 2, [Section(SectionInfo(1, 1, 1, 1, 3), b"job")]))
    with pytest.raises(StoreError, match="4 bytes of jobs at once are more than the 3 that PostgreSQL takes"):
        store.write(Write(2, 3, [Section(SectionInfo(2, 2, 2, 1, 4), b"jobs")]))
    store.close()

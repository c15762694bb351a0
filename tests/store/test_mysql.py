# SPDX-License-Identifier: BSD-3-Clause
"""What is MySQL's and MariaDB's own: settings that lose jobs, packets that are too small, parts of records,
and the schema of before several servers might share it."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import trustme

from gearfast.store import mysql
from gearfast.store._numbers import pack_numbers
from gearfast.store.base import RANGE_BITS, SeatLost, Section, SectionInfo, StoreError, UniquesTaken, Write
from gearfast.store.urls import make_store
from tests.conftest import DATABASES

from .claims import KEY, claim_beside

Url = Callable[[str], str]


def test_packets_that_are_too_small(database_url: Url, monkeypatch: pytest.MonkeyPatch) -> None:
    store = make_store(database_url("mysql"))
    monkeypatch.setattr(mysql, "LEAST_PACKET", 1 << 40)
    with pytest.raises(StoreError, match="SET GLOBAL max_allowed_packet"):
        store.open()


FIRST = 17_958_172_152_473_083
"""The number of a job of a server that had derived it from the time."""


@pytest.fixture
def old(database_url: Url, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[mysql.MysqlStore, str]]:
    """A store of schema 1 with a section, its server, which still has the lock, and its URL."""
    url = database_url("mysql")
    monkeypatch.setattr(mysql, "LOCK_WAIT", 0.1)
    store = make_store(url)
    assert isinstance(store, mysql.MysqlStore)
    store._db = store._connect()
    store._set_up()
    store._lock()
    store._migrate_to(1)
    late, ended = pack_numbers([FIRST + 7]).hex(), pack_numbers([FIRST]).hex()
    for sql in (
        f"INSERT INTO gearfast_section VALUES (3, {FIRST}, {FIRST + 1}, 2, 7, x'{late}')",
        "INSERT INTO gearfast_records VALUES (3, 0, 'records')",
        f"INSERT INTO gearfast_ended VALUES (3, x'{ended}')",
        f"INSERT INTO gearfast_loss VALUES ({FIRST + 1}, 2)",
        f"UPDATE gearfast_state SET batch = 3, next_number = {FIRST + 8}",
        "INSERT INTO gearfast_note VALUES ('key', 'value')",
    ):
        store._ask(sql)
    yield store, url
    store._hang_up()


def test_a_server_of_an_older_gearfast_has_it(old: tuple[mysql.MysqlStore, str]) -> None:
    with pytest.raises(StoreError, match=r"in use by another server \(localhost\)"):
        make_store(old[1]).open()


def test_the_jobs_of_an_older_schema(old: tuple[mysql.MysqlStore, str]) -> None:
    old[0]._hang_up()
    store = make_store(old[1])
    assert isinstance(store, mysql.MysqlStore)
    contents = store.open()
    info = SectionInfo(3, FIRST, FIRST + 1, 2, 7, (FIRST + 7,), pack_numbers([FIRST]))
    assert contents.sections == [info]
    assert contents.losses == {FIRST + 1: 2}
    assert contents.notes == {"key": b"value"}
    assert store.seat << RANGE_BITS > FIRST + 10**10
    assert store.read([3]) == [b"records"]
    store.close()
    again = make_store(old[1])
    assert again.open().sections == [info]
    again.close()


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


@pytest.mark.parametrize(
    ("options", "verified"), [("ssl_ca={0}", ssl.CERT_REQUIRED), ("ssl_cert={1}&ssl_key={1}", ssl.CERT_NONE)]
)
def test_a_certificate_of_another_authority(
    tmp_path: Path, options: str, verified: int, monkeypatch: pytest.MonkeyPatch, require: Any
) -> None:
    """Where the URL names one, no other may have signed the certificate of the database."""
    require.module(*DATABASES["mysql"])
    authority, own = tmp_path / "authority.pem", tmp_path / "own.pem"
    authority.write_bytes((ca := trustme.CA()).cert_pem.bytes())
    ca.issue_cert("me").private_key_and_cert_chain_pem.write_to_path(own)
    store = make_store(f"mysql://me@localhost/jobs?{options.format(authority, own)}")
    assert isinstance(store, mysql.MysqlStore)
    connect, made = store._driver.connect, []

    def look(**how: Any) -> Any:
        made.append(connect(**how))
        raise OSError("that was it")

    monkeypatch.setattr(store._driver, "connect", look)
    with pytest.raises(StoreError, match="that was it"):
        store.open()
    assert made[0].ctx.verify_mode == verified


def test_what_the_administrator_has_set_for_all_sessions(need_database: Callable[[str], ModuleType]) -> None:
    """A commit begins no transaction, all rows are found, and what is the database's own is no matter."""
    options = ("completion-type=1", "sql-safe-updates=1", "autocommit=0", "sql-mode=ANSI,NO_BACKSLASH_ESCAPES")
    options += ("transaction-isolation=READ-COMMITTED", "log-bin", "binlog-format=STATEMENT", "sync-binlog=1")
    with need_database("mysql").Mysql(*(f"--{option}" for option in options)) as database:
        with database.admin() as admin, admin.cursor() as cursor:
            cursor.execute("SET GLOBAL sql_select_limit = 1, max_join_size = 1")
        one, other = make_store(database.url("jobs")), make_store(database.url("jobs"))
        assert isinstance(one, mysql.MysqlStore)
        assert isinstance(other, mysql.MysqlStore)
        one.lease = other.lease = 600.0
        one.open()
        other.open()
        base = one.seat << RANGE_BITS
        numbers = range(base + 1, base + 4)
        for number in numbers:
            claims = {KEY: number} if number == base + 1 else {}
            info = SectionInfo(number, number, number, 1, 3)
            one.write(Write(number, number + 1, [Section(info, b"job")], claims=claims))
        one.renew(7)
        assert [server.jobs for server in other.look().servers] == [7, 0]
        with pytest.raises(UniquesTaken):
            other.write(Write((other.seat << RANGE_BITS) + 1, 1, claims={KEY: 1}))
        contents = other.take_over((one.seat,))
        assert contents is not None
        assert [info.id for info in contents.sections] == [*numbers]
        one.close()
        other.close()


def test_a_server_in_the_middle_of_a_write_holds_up_no_takeover(database_url: Url) -> None:
    """Nor does who takes over hold up the others."""
    url = database_url("mysql")
    stores: list[mysql.MysqlStore] = []
    for _ in range(4):
        store = make_store(url)
        assert isinstance(store, mysql.MysqlStore)
        store.lease = 600.0
        store.open()
        stores.append(store)
    first, heir, dead, last = stores
    for store in (first, last):
        store._run("START TRANSACTION")
        store._change(f"UPDATE gearfast_server SET jobs = 7 WHERE id = {store._seat}")
    number = (dead._seat << RANGE_BITS) + 1
    info = SectionInfo(number, number, number, 1, 3)
    dead.write(Write(number, number + 1, [Section(info, b"job")]))
    contents = heir.take_over((dead._seat,))
    assert contents is not None
    assert contents.sections == [info]
    for store in (first, last):
        store._run("COMMIT")
        store.renew(8)
    with pytest.raises(SeatLost):
        dead.renew(8)
    for store in stores:
        store.close()


def test_a_schema_without_claims(database_url: Url) -> None:
    """A server of before goes on with it, until it has to connect again."""
    url = database_url("mysql")
    before, store = make_store(url), make_store(url)
    assert isinstance(before, mysql.MysqlStore)
    assert isinstance(store, mysql.MysqlStore)
    before._db = before._connect()
    before._set_up()
    before._migrate_to(2)
    before._enter()
    number = (before.seat << RANGE_BITS) + 1
    before.write(Write(number, number + 1, [Section(SectionInfo(number, number, number, 1, 3), b"job")]))
    claim_beside(before, store, number)
    before.close()
    store.close()


def test_a_write_that_was_undone_to_end_a_deadlock_is_done_again(
    database_url: Url, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make_store(database_url("mysql"))
    assert isinstance(store, mysql.MysqlStore)
    store.open()
    mine = (store.seat << RANGE_BITS) + 1
    write = mysql.MysqlStore._write
    failures = [store._error(1213, "Deadlock found")] * (mysql.ATTEMPTS - 1)

    def fail_first(self: mysql.MysqlStore, what: Write) -> None:
        if failures:
            raise failures.pop()
        write(self, what)

    monkeypatch.setattr(mysql.MysqlStore, "_write", fail_first)
    store.write(Write(mine, mine + 1, claims={KEY: mine}))
    assert store.claimed([KEY[:8]]) == {KEY[:8]}
    failures[:] = [store._error(1213, "Deadlock found")] * mysql.ATTEMPTS
    with pytest.raises(StoreError, match="Deadlock found"):
        store.write(Write(mine + 1, mine + 2))
    store.close()

# SPDX-License-Identifier: BSD-3-Clause
"""What every store in a database does: lost connections, a database that is away, hangs or dies, and secrets."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import Any

import pytest

from gearfast.store import mysql, postgres, redis, urls
from gearfast.store.base import RANGE_BITS, Contents, SeatLost, Section, SectionInfo, SharedStore, StoreError, Write
from tests.conftest import DATABASES

Pair = tuple[Any, Any]


def section(id: int) -> Section:
    return Section(SectionInfo(id, id, id, 1, 3), b"job")


INFO = section(1).info


@pytest.fixture(params=DATABASES)
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    for module in (mysql, postgres, redis):
        monkeypatch.setattr(module, "LOCK_WAIT", 0.1)
    return str(request.param)


@pytest.fixture
def pair(kind: str, database_url: Callable[[str], str]) -> Iterator[Pair]:
    """Two servers' stores on the same data; the first one is open."""
    url = database_url(kind)
    one, other = urls.make_store(url), urls.make_store(url)
    one.open()
    yield one, other
    one.close()
    other.close()


@pytest.fixture
def shared(kind: str, database_url: Callable[[str], str]) -> Iterator[Pair]:
    """The same, both open."""
    url = database_url(kind)
    one, other = urls.make_store(url), urls.make_store(url)
    for store in (one, other):
        assert isinstance(store, SharedStore)
        store.lease = 600.0
        store.open()
    yield one, other
    one.close()
    other.close()


def cut(store: Any) -> None:
    """Ends its connection at the database's side."""
    with contextlib.suppress(Exception):  # each has an error of its own for this
        if isinstance(store, postgres.PostgresStore):
            assert store._link is not None
            store._link.ask("SELECT pg_terminate_backend(pg_backend_pid())")
        elif isinstance(store, mysql.MysqlStore):
            ((id,),) = store._ask("SELECT CONNECTION_ID()")
            store._ask(f"KILL CONNECTION {id}")
        else:
            killer = store._connect()
            killer.send_command("CLIENT", "KILL", "ID", store._ask("CLIENT", "ID"))
            killer.read_response()
            killer.disconnect()


def forget_connection(store: Any) -> Any:
    """As if the network had eaten it: neither end closes it. What is returned keeps it open."""
    name = {postgres.PostgresStore: "_link", mysql.MysqlStore: "_db"}.get(type(store), "_connection")
    connection = getattr(store, name)
    setattr(store, name, None)
    return connection


def test_a_lost_connection_of_a_shared_store(shared: Pair) -> None:
    """It finds its place again, and what is still under way on the old connection is refused."""
    one, other = shared
    base = one.seat << RANGE_BITS
    for n in range(1, 4):
        token = one._token
        lost = forget_connection(one)
        assert one.open().batch == base + n - 1
        lost.disconnect() if isinstance(one, redis.RedisStore) else lost.close()
        one.write(Write(base + n, base + n + 1))
        assert one._token > token
    one._token = token
    with pytest.raises(SeatLost):
        one.write(Write(base + 9, base + 10))
    assert other.open().sections == []


@pytest.mark.parametrize("kind", ["postgresql", "mysql"], indirect=True)
def test_servers_that_start_at_once_wait_for_the_one_that_makes_the_tables(
    kind: str, database_url: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long that takes, within the time that the database has for an answer."""
    monkeypatch.setattr(postgres, "LOCK_WAIT", 0.001)
    monkeypatch.setattr(mysql, "LOCK_WAIT", 0.001)
    url = database_url(kind)
    one, other = urls.make_store(url), urls.make_store(url)
    assert isinstance(one, postgres.PostgresStore | mysql.MysqlStore)
    assert isinstance(other, postgres.PostgresStore | mysql.MysqlStore)
    if isinstance(one, postgres.PostgresStore):
        one._link = one._connect()
        one._link.ask(f"SELECT pg_advisory_lock(hashtextextended('gearfast.{one._schema}', {postgres.LOCK_SEED}))")
        waits = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    else:
        one._db = one._connect()
        one._ask(f"SELECT GET_LOCK('{one._lock_name}', 0)")
        waits = "SELECT 1 FROM information_schema.processlist WHERE state = 'User lock'"
    with ThreadPoolExecutor(1) as pool:
        opened = pool.submit(other.open)
        ask = one._link.ask if isinstance(one, postgres.PostgresStore) and one._link is not None else one._ask
        seen = 0
        while seen < 100:
            assert not opened.done(), opened.result()
            seen += bool(ask(waits))
        one._hang_up()
        assert opened.result().sections == []
    other.close()


def lose_answer(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next time that it goes back to its place nobody hears that this was done."""
    where, name = {
        postgres.PostgresStore: (postgres.Link, "ask"),
        mysql.MysqlStore: (mysql.MysqlStore, "_change"),
        redis.RedisStore: (redis.RedisStore, "_fleet_do"),
    }[type(store)]
    do = getattr(where, name)

    def do_in_vain(self: Any, *words: Any) -> Any:
        answer = do(self, *words)
        if words[0] == "return" or "SET token" in words[0]:
            monkeypatch.setattr(where, name, do)
            raise postgres.DatabaseError("no answer") if isinstance(store, postgres.PostgresStore) else OSError()
        return answer

    monkeypatch.setattr(where, name, do_in_vain)


def test_who_does_not_hear_that_its_place_was_found_finds_it_again(
    shared: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = shared
    seat, base = one.seat, one.seat << RANGE_BITS
    one.write(Write(base + 1, base + 2))
    lose_answer(one, monkeypatch)
    with pytest.raises(StoreError):
        one.open()
    assert one.open().batch == base + 1
    assert one.seat == seat
    one.write(Write(base + 2, base + 3))
    assert len(other.look().servers) == 2


def test_a_lost_connection_is_an_error_and_then_made_again(pair: Pair) -> None:
    one, _ = pair
    before = one.open().batch
    cut(one)
    with pytest.raises(StoreError):
        one.write(Write(1, 2))
    with pytest.raises(StoreError):
        one.read([1])
    assert one.open().batch == before
    one.write(Write(1, 2))


def test_a_database_that_is_away_and_its_password(kind: str) -> None:
    store = urls.make_store(f"{kind}://me:very%20secret@127.0.0.1:1/0")
    assert store.name == f"{kind}://me@127.0.0.1:1/0" + SHOWN[kind]
    with pytest.raises(StoreError, match="refused") as caught:
        store.open()
    assert "secret" not in str(caught.value)


SHOWN = {"postgresql": "?schema=gearfast", "mysql": "?prefix=gearfast", "redis": "?prefix=gearfast"}


def test_a_newer_schema(pair: Pair) -> None:
    one, _ = pair
    if isinstance(one, postgres.PostgresStore):
        assert one._link is not None
        one._link.ask("UPDATE gearfast_state SET version = 999")
    elif isinstance(one, mysql.MysqlStore):
        one._ask("UPDATE gearfast_state SET version = 999")
    else:
        one._ask("HSET", one._keys[0], "version", "999")
    with pytest.raises(StoreError, match=r"newer gearfast \(schema 999"):
        one.open()


def unsafe(database: Any, kind: str, on: bool) -> None:
    """A setting with which it would lose jobs with the machine's power."""
    if kind == "postgresql":
        with database.admin() as admin:
            admin.execute("ALTER SYSTEM SET fsync = off" if on else "ALTER SYSTEM RESET fsync")
            admin.execute("SELECT pg_reload_conf()")
    elif kind == "mysql":
        with database.admin() as admin, admin.cursor() as cursor:
            cursor.execute(f"SET GLOBAL innodb_flush_log_at_trx_commit = {2 if on else 1}")
    else:
        database.ask("CONFIG", "SET", "appendfsync", "everysec" if on else "always")


UNSAFE = {
    "postgresql": r"fsync = off, .*durability=relaxed",
    "mysql": r"innodb_flush_log_at_trx_commit = 2, .*durability=relaxed",
    "redis": r"appendfsync everysec, .*durability=relaxed",
}


def refuse_what_is_unsafe(database: Any, kind: str) -> None:
    url = database.url("unsafe")
    unsafe(database, kind, True)
    with pytest.raises(StoreError, match=UNSAFE[kind]):
        while True:  # PostgreSQL tells its sessions by and by
            store = urls.make_store(url)
            store.open()
            store.close()
    relaxed = urls.make_store(url + "&durability=relaxed")
    assert relaxed.open().sections == []
    relaxed.close()
    unsafe(database, kind, False)


def test_a_database_that_is_unsafe_hangs_or_is_killed(
    kind: str, need_database: Callable[[str], ModuleType], patience: Callable[[float], float]
) -> None:
    """One after the other, since each kind takes seconds to start."""
    with need_database(kind).KINDS[kind]() as database:
        refuse_what_is_unsafe(database, kind)
        store = urls.make_store(database.url("jobs") + f"&timeout={patience(2)}")
        store.open()
        store.write(Write(1, 2, [section(1)]))
        database.signal(signal.SIGSTOP)
        try:
            with pytest.raises(StoreError, match=r"no answer within|timed out|Timeout"):
                store.write(Write(2, 3, losses={1: 1}))
            with pytest.raises(StoreError):
                store.write(Write(2, 3))
        finally:
            database.signal(signal.SIGCONT)
        assert store.open().batch in (1, 2)
        store.write(Write(3, 4, losses={1: 2}))
        database.kill()
        with pytest.raises(StoreError):
            store.write(Write(4, 5))
        with pytest.raises(StoreError):
            store.open()
        database.start()
        assert store.open() == Contents(3, 4, [INFO], {1: 2})
        store.write(Write(4, 5, [section(4)]))
        assert store.read([4, 1]) == [b"job", b"job"]
        store.close()

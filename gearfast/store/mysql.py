# SPDX-License-Identifier: BSD-3-Clause
"""Jobs in tables of a MySQL or MariaDB database (InnoDB).

What it promises: what was written is there after the job server, the database or the machine has died, as far as the
disk keeps what the database gave it: each write is one transaction, and a database that is set not to sync its log at
each commit is refused. One job server has the tables at a time, by a lock of its session (GET_LOCK). A lock ends with
its session, of which a server may learn late: so each opening also takes a new token, and a write that knows an older
one is refused by the database itself.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import secrets
import socket
from collections.abc import Iterable, Iterator, Sequence
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

from gearfast.store._numbers import pack_numbers, unpack_numbers
from gearfast.store.base import Contents, Section, SectionInfo, StoreError, Write

if TYPE_CHECKING:
    from gearfast.store._place import Place

__all__ = ["OPTIONS", "MysqlStore"]

OPTIONS: Final = ("unix_socket", "ssl_ca", "ssl_cert", "ssl_key")
"""Options of the URL that the driver takes."""
SCHEMA: Final = 1
"""The version of the schema; `sql/mysql-N.sql` brings one of version N - 1 to version N."""
LOCK_WAIT = 2.0
"""Seconds that a server which has the store, and may be about to end, is waited for."""
LEAST_PACKET: Final = 16 << 20
"""The least `max_allowed_packet`: what has ended of a large section is one value."""
PART: Final = 1 << 20
"""Bytes of records in one row."""
MANY: Final = 2000
"""Rows or numbers in one statement."""

_NOT_NULL: Final = 1048
"""The error of a column that may not be NULL: the token was another one."""
_SESSION: Final = (
    "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', wait_timeout = 2147483, autocommit = 1,"
    " innodb_lock_wait_timeout = {}"
)
_SECTIONS: Final = (
    "SELECT id, first_number, last_number, jobs, size, late, numbers FROM gearfast_section"
    " LEFT JOIN gearfast_ended ON section = id ORDER BY first_number, id"
)


def _lots(values: Sequence[str]) -> Iterator[str]:
    for at in range(0, len(values), MANY):
        yield ",".join(values[at : at + MANY])


def _hex(value: bytes) -> str:
    return f"x'{value.hex()}'"


def _statements(write: Write, token: int) -> Iterator[str]:
    """What a write is in SQL; the first one fails if the token is another server's by now."""
    yield "START TRANSACTION"
    yield (
        f"UPDATE gearfast_state SET batch = {write.batch}, next_number = {write.next_number},"
        f" token = IF(token = {token}, token, NULL) WHERE single = 1"
    )
    for lot in _lots(list(map(str, write.drop))):
        yield f"DELETE FROM gearfast_section WHERE id IN ({lot})"
        yield f"DELETE FROM gearfast_records WHERE section IN ({lot})"
        yield f"DELETE FROM gearfast_ended WHERE section IN ({lot})"
    for section in write.add:
        yield from _insertions(section)
    for id, numbers in write.ended.items():
        yield f"REPLACE INTO gearfast_ended (section, numbers) VALUES ({id}, {_hex(numbers)})"
    for lot in _lots([f"({number}, {losses})" for number, losses in write.losses.items()]):
        yield f"REPLACE INTO gearfast_loss (number, losses) VALUES {lot}"
    for lot in _lots(list(map(str, write.forget))):
        yield f"DELETE FROM gearfast_loss WHERE number IN ({lot})"
    for key, value in write.notes.items():
        name = _hex(key.encode("ascii"))
        if value is None:
            yield f"DELETE FROM gearfast_note WHERE name = {name}"
        else:
            yield f"REPLACE INTO gearfast_note (name, value) VALUES ({name}, {_hex(value)})"
    yield "COMMIT"


def _insertions(section: Section) -> Iterator[str]:
    info, records = section.info, section.records
    yield (
        "INSERT INTO gearfast_section (id, first_number, last_number, jobs, size, late) VALUES"
        f" ({info.id}, {info.first}, {info.last}, {info.count}, {len(records)}, {_hex(pack_numbers(info.late))})"
    )
    for part, at in enumerate(range(0, len(records) or 1, PART)):
        yield (
            "INSERT INTO gearfast_records (section, part, records) VALUES"
            f" ({info.id}, {part}, {_hex(records[at : at + PART])})"
        )


class MysqlStore:
    """`place`: `mysql://USER:PASSWORD@HOST:PORT/DATABASE?prefix=gearfast`. Raises StoreError from every method."""

    def __init__(self, place: Place) -> None:
        import pymysql  # type: ignore[import-untyped, unused-ignore]

        self._place = place
        self._prefix = place.option("prefix")
        self._driver: Any = pymysql
        self._error: type[Exception] = pymysql.Error
        name = f"gearfast.{place.database}.{self._prefix}"
        self._lock_name = "gearfast." + hashlib.sha256(name.encode()).hexdigest()[:40]
        self._owner = secrets.token_hex(8)
        self._token = 0
        self._db: Any = None
        self._session = 0
        self._packet = LEAST_PACKET

    @property
    def name(self) -> str:
        """The URL without its password."""
        return self._place.name

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Errors of the driver as StoreError."""
        try:
            yield
        except (self._error, OSError) as error:
            number = error.args[0] if error.args else 0
            text = str(error.args[1] if len(error.args) > 1 else error) or "the connection is lost"
            if number == _NOT_NULL and "token" in text:
                text = "another server has taken it over"
            raise StoreError(f"{self.name}: {self._place.clean(text)}") from None

    def open(self) -> Contents:
        """Connects, makes the tables if they are not there, and takes the lock.

        Raises StoreError if another server has it, or had it since this one did.
        """
        self.close()
        try:
            with self._told():
                self._db = self._connect()
                self._set_up()
                self._lock()
                self._migrate()
                self._own()
                return self._contents()
        except StoreError:
            self.close()
            raise

    def _connect(self) -> Any:
        place = self._place
        tls = {name: value for name, value in place.rest.items() if name != "unix_socket"}
        db = self._driver.connect(
            host=place.host or "localhost",
            user=place.user or None,
            password=place.password,
            database=place.database,
            charset="utf8mb4",
            autocommit=True,
            client_flag=self._driver.constants.CLIENT.MULTI_STATEMENTS,
            connect_timeout=place.timeout,
            read_timeout=place.timeout,
            write_timeout=place.timeout,
            defer_connect=True,
            **tls,
        )
        # The driver leaves a socket that it could not connect to the garbage collector.
        if "unix_socket" in place.rest:
            sock = socket.socket(socket.AF_UNIX)
        else:
            sock = socket.create_connection((place.host or "localhost", place.port or 3306), place.timeout)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        try:
            if "unix_socket" in place.rest:
                sock.settimeout(place.timeout)
                sock.connect(place.rest["unix_socket"])
            db.connect(sock)
        except BaseException:
            sock.close()
            raise
        return db

    def _ask(self, sql: str) -> list[tuple[Any, ...]]:
        with self._db.cursor() as cursor:
            cursor.execute(self._named(sql))
            return list(cursor.fetchall())

    def _run(self, sql: str) -> None:
        """One or more statements, in one round trip."""
        with self._db.cursor() as cursor:
            cursor.execute(sql)
            while cursor.nextset():
                pass

    def _named(self, sql: str) -> str:
        return sql if self._prefix == "gearfast" else sql.replace("gearfast_", f"{self._prefix}_")

    def _set_up(self) -> None:
        self._run(_SESSION.format(max(1, int(self._place.timeout / 2))))
        ((packet, flush, binlog, sync),) = self._ask(
            "SELECT @@max_allowed_packet, @@innodb_flush_log_at_trx_commit, @@log_bin, @@sync_binlog"
        )
        if packet < LEAST_PACKET:
            raise StoreError(
                f"{self.name}: the database takes packets of {packet} bytes only; SET GLOBAL max_allowed_packet ="
                f" {LEAST_PACKET} or more"
            )
        self._packet = packet
        if self._place.durability == "full":
            wrong = "" if flush == 1 else f"innodb_flush_log_at_trx_commit = {flush}"
            # With the binary log on it is that one which decides what was committed.
            wrong = wrong or ("" if sync == 1 or not binlog else f"log_bin and sync_binlog = {sync}")
            if wrong:
                raise StoreError(
                    f"{self.name}: the database runs with {wrong}, so that it may lose jobs with the machine's power;"
                    " set it to 1, or add durability=relaxed to the URL"
                )

    def _lock(self) -> None:
        holder = self._ask(f"SELECT IS_USED_LOCK('{self._lock_name}')")[0][0]
        if holder is not None and holder == self._session and self._is_ours():
            # Our own connection of before: the database does not know yet that it is lost.
            with contextlib.suppress(self._error):
                self._run(f"KILL CONNECTION {holder}")
        seconds = min(LOCK_WAIT, self._place.timeout / 2)
        if self._ask(f"SELECT GET_LOCK('{self._lock_name}', {seconds})")[0][0] != 1:
            hosts = self._ask(
                "SELECT host FROM information_schema.processlist"
                f" WHERE id = coalesce(IS_USED_LOCK('{self._lock_name}'), 0)"
            )
            raise StoreError(f"{self.name}: in use by another server" + (f" ({hosts[0][0]})" if hosts else ""))
        self._session = self._ask("SELECT CONNECTION_ID()")[0][0]

    def _is_ours(self) -> bool:
        return self._ask("SELECT owner FROM gearfast_state") == [(self._owner,)]

    def _migrate(self) -> None:
        version = 0
        if self._ask(
            "SELECT 1 FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = 'gearfast_state'"
        ):
            version = next((row[0] for row in self._ask("SELECT version FROM gearfast_state")), 0)
        if version > SCHEMA:
            raise StoreError(f"{self.name}: made by a newer gearfast (schema {version}, this one knows {SCHEMA})")
        for step in range(version + 1, SCHEMA + 1):
            text = files("gearfast.store").joinpath(f"sql/mysql-{step}.sql").read_text("utf-8")
            text = re.sub("--.*", "", text)
            self._run(self._named(f"{text}UPDATE gearfast_state SET version = {step}"))

    def _own(self) -> None:
        """A token of its own; whoever had the store before can write no more."""
        condition = f" AND owner = '{self._owner}'" if self._token else ""
        with self._db.cursor() as cursor:
            changed = cursor.execute(
                self._named(
                    f"UPDATE gearfast_state SET token = token + 1, owner = '{self._owner}' WHERE single = 1{condition}"
                )
            )
        if not changed:
            raise StoreError(f"{self.name}: another server has had it since; what it did is not known here")
        self._token = self._ask("SELECT token FROM gearfast_state")[0][0]

    def _contents(self) -> Contents:
        ((batch, next_number),) = self._ask("SELECT batch, next_number FROM gearfast_state")
        sections = [
            SectionInfo(id, first, last, count, size, unpack_numbers(late), ended or b"")
            for id, first, last, count, size, late, ended in self._ask(_SECTIONS)
        ]
        losses: dict[int, int] = dict(self._ask("SELECT number, losses FROM gearfast_loss"))
        notes = dict(self._ask("SELECT name, value FROM gearfast_note"))
        return Contents(batch, next_number, sections, losses, notes)

    def write(self, write: Write) -> None:
        """One transaction, in one round trip if it fits into a packet."""
        self._connected()
        limit = self._packet - 1024
        with self._told():
            try:
                together: list[str] = []
                size = 0
                for statement in _statements(write, self._token):
                    sql = statement if self._prefix == "gearfast" else self._renamed(statement)
                    if len(sql) > limit:
                        raise StoreError(f"{self.name}: more than max_allowed_packet ({self._packet} bytes) at once")
                    if size + len(sql) > limit:
                        self._run(";".join(together))
                        together, size = [], 0
                    together.append(sql)
                    size += len(sql) + 1
                self._run(";".join(together))
            except BaseException:
                # What of it was not committed goes with the connection, if it cannot go by itself.
                try:
                    self._run("ROLLBACK")
                except (self._error, OSError):
                    self.close()
                raise

    def _renamed(self, statement: str) -> str:
        """The table's name is near the front; what follows may be a megabyte."""
        return self._named(statement[:200]) + statement[200:]

    def read(self, sections: Iterable[int]) -> list[bytes]:
        """The records of these sections. Raises StoreError if one is not there."""
        self._connected()
        ids = list(sections)
        parts: dict[int, list[bytes]] = {}
        with self._told():
            for lot in _lots(list(map(str, ids))):
                for section, records in self._ask(
                    f"SELECT section, records FROM gearfast_records WHERE section IN ({lot}) ORDER BY section, part"
                ):
                    parts.setdefault(section, []).append(records)
        for id in ids:
            if id not in parts:
                raise StoreError(f"{self.name}: section {id} is missing")
        return [b"".join(parts[id]) for id in ids]

    def shrink(self) -> bool:
        """That is InnoDB's."""
        return False

    def _connected(self) -> None:
        if self._db is None:
            raise StoreError(f"{self.name}: not open")

    def close(self) -> None:
        """Closes the connection, with which the lock ends."""
        db, self._db = self._db, None
        if db is not None:
            with contextlib.suppress(self._error, OSError):
                db.close()

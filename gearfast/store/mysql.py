# SPDX-License-Identifier: BSD-3-Clause
"""Jobs in tables of a MySQL or MariaDB database (InnoDB).

What it promises: what was written is there after the job server, the database or the machine has died, as far as the
disk keeps what the database gave it: each write is one transaction, and a database that is set not to sync its log at
each commit is refused.

Several job servers may have the tables open. Each has a row, with a lease that ends by the database's clock, and ranges
of ids and numbers; whoever finds that a lease has ended makes the ranges its own, and the row as one that is gone, in
one transaction. A write renews the lease, and is refused by the database itself if the row is gone, or knows the token
of a newer connection.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import re
import socket
from collections.abc import Collection, Iterable, Iterator, Sequence
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

from gearfast.store._claims import FIRST, REST
from gearfast.store._numbers import pack_numbers, unpack_numbers
from gearfast.store.base import (
    LEASE,
    RANGE_BITS,
    Contents,
    Fleet,
    Member,
    SeatLost,
    Section,
    SectionInfo,
    ServerInfo,
    StoreError,
    UniquesTaken,
    Write,
)

if TYPE_CHECKING:
    from gearfast.store._place import Place

__all__ = ["OPTIONS", "MysqlStore"]

OPTIONS: Final = ("unix_socket", "ssl_ca", "ssl_cert", "ssl_key")
"""Options of the URL that the driver takes."""
SCHEMA: Final = 3
"""The version of the schema; `sql/mysql-N.sql` brings one of version N - 1 to version N."""
FLEETS: Final = 2
"""The schema since which there are several servers."""
LOCK_WAIT = 2.0
"""Seconds that a server is waited for which has tables of before several might."""
TAKE_WAIT: Final = 1
"""The same of a server whose lease has ended, and that writes: what this one has to write waits meanwhile."""
LEAST_PACKET: Final = 16 << 20
"""The least `max_allowed_packet`: what has ended of a large section is one value."""
PART: Final = 1 << 20
"""Bytes of records in one row."""
MANY: Final = 2000
"""Rows or numbers in one statement."""

_NOT_NULL: Final = 1048
"""The error of a column that may not be NULL: the token was another one, or a claim is another job's."""
_DEADLOCK: Final = 1213
"""That of a transaction that was undone, as it and another one waited for each other."""
ATTEMPTS: Final = 5
"""How often a write is begun that ended so."""
_SESSION: Final = (
    "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', wait_timeout = {}, autocommit = 1,"
    " innodb_lock_wait_timeout = {}, time_zone = '+00:00', completion_type = 0, sql_safe_updates = 0,"
    f" sql_big_selects = 1, sql_select_limit = {2**64 - 1};"
    "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ"
)
_NOW: Final = "CAST(UNIX_TIMESTAMP(NOW(6)) * 1000000 AS SIGNED)"
_SECTIONS: Final = (
    "SELECT id, first_number, last_number, jobs, size, late, numbers FROM gearfast_section"
    " LEFT JOIN gearfast_ended ON section = id WHERE {} ORDER BY first_number, id"
)
_FLEET: Final = (
    f"SELECT id, host, pid, addresses, process, ends - {_NOW}, {_NOW} - renewed, jobs"
    " FROM gearfast_server WHERE gone = 0 ORDER BY id"
)
_ORPHANS: Final = (
    "SELECT 1 FROM gearfast_range WHERE owner NOT IN (SELECT id FROM gearfast_server WHERE gone = 0) LIMIT 1"
)


def _lots(values: Sequence[str]) -> Iterator[str]:
    for at in range(0, len(values), MANY):
        yield ",".join(values[at : at + MANY])


def _hex(value: bytes) -> str:
    return f"x'{value.hex()}'"


def _quoted(text: str) -> str:
    """Text that may be anything."""
    return f"CONVERT({_hex(text.encode('utf-8', 'replace'))} USING utf8mb4)"


def _statements(write: Write, me: int, token: int) -> Iterator[str]:
    """What a write is in SQL; the first one fails if this server is gone, or has a newer connection."""
    yield "START TRANSACTION"
    yield (
        f"UPDATE gearfast_server SET batch = {write.batch}, next_number = {write.next_number}, renewed = {_NOW},"
        f" ends = {_NOW} + lease, token = IF(token = {token} AND gone = 0, token, NULL) WHERE id = {me}"
    )
    if write.claims:
        yield from _claims(write, me)
    names, pairs = [_hex(key) for key, _ in write.releases], [f"({_hex(key)}, {n})" for key, n in write.releases]
    for some, of_these in zip(_lots(names), _lots(pairs), strict=True):
        yield f"DELETE FROM gearfast_claim WHERE name IN ({some}) AND (name, number) IN ({of_these})"
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


def _claims(write: Write, me: int) -> Iterator[str]:
    """Claims in the order of their keys, as others make them; the last statement fails if one is another job's."""
    claims = sorted(write.claims.items())
    for lot in _lots([f"({_hex(key)}, {number})" for key, number in claims]):
        yield f"INSERT IGNORE INTO gearfast_claim (name, number) VALUES {lot}"
    for key, number in write.releases:
        if key in write.claims:
            yield (
                f"UPDATE gearfast_claim SET number = {write.claims[key]} WHERE name = {_hex(key)} AND number = {number}"
            )
    all_keys, all_numbers = [_hex(key) for key, _ in claims], [str(number) for _, number in claims]
    for keys, numbers in zip(_lots(all_keys), _lots(all_numbers), strict=True):
        yield (
            "UPDATE gearfast_server SET gone = IF(EXISTS (SELECT 1 FROM gearfast_claim"
            f" WHERE name IN ({keys}) AND number NOT IN ({numbers})), NULL, gone) WHERE id = {me}"
        )


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
        self._seat = self._token = 0
        self._fleet_prefix = ""
        self._db: Any = None
        self.lease = LEASE
        self.about = Member()
        self._packet = LEAST_PACKET
        self._lock_wait = max(1, int(place.timeout / 2))

    @property
    def name(self) -> str:
        """The URL without its password."""
        return self._place.name

    @property
    def seat(self) -> int:
        """This server's number; 0 while it has none."""
        return self._seat

    @property
    def prefix(self) -> str:
        """Of the handles of all servers."""
        return self._fleet_prefix

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Errors of the driver as StoreError."""
        try:
            yield
        except (self._error, OSError) as error:
            number = error.args[0] if error.args else 0
            text = str(error.args[1] if len(error.args) > 1 else error) or "the connection is lost"
            if number == _NOT_NULL and "token" in text:
                raise self._lost() from None
            raise StoreError(f"{self.name}: {self._place.clean(text)}") from None

    def open(self) -> Contents:
        """Connects, makes the tables if they are not there, and becomes one of their servers, or is still.

        Raises SeatLost if another server has taken its jobs over.
        """
        self._hang_up()
        try:
            with self._told():
                self._db = self._connect()
                self._set_up()
                self._migrate()
                self._enter()
                return self._contents()
        except StoreError:
            self._hang_up()
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
            # By itself the driver encrypts, and takes any certificate.
            ssl_verify_cert=True if "ssl_ca" in tls else None,
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
        # What a server that stands still has locked is free once its lease has ended.
        idle = max(5, math.ceil(self.lease))
        self._run(_SESSION.format(idle, self._lock_wait))
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
        """For one that makes the tables. Until schema 2 a server had this lock for as long as it ran."""
        # One of several servers that start at once makes the tables, and may take a while.
        most = 0.9 * self._place.timeout
        seconds = min(LOCK_WAIT, most) if self._version() == 1 else most
        if self._ask(f"SELECT GET_LOCK('{self._lock_name}', {seconds})")[0][0] != 1:
            hosts = self._ask(
                "SELECT host FROM information_schema.processlist"
                f" WHERE id = coalesce(IS_USED_LOCK('{self._lock_name}'), 0)"
            )
            raise StoreError(f"{self.name}: in use by another server" + (f" ({hosts[0][0]})" if hosts else ""))

    def _version(self) -> int:
        """Of the schema that is there; 0: none is."""
        version = 0
        if self._ask(
            "SELECT 1 FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = 'gearfast_state'"
        ):
            version = next((row[0] for row in self._ask("SELECT version FROM gearfast_state")), 0)
        if version > SCHEMA:
            raise StoreError(f"{self.name}: made by a newer gearfast (schema {version}, this one knows {SCHEMA})")
        return version

    def _migrate(self) -> None:
        if self._version() == SCHEMA:
            return
        self._lock()
        self._migrate_to(SCHEMA)
        self._ask(f"SELECT RELEASE_LOCK('{self._lock_name}')")

    def _migrate_to(self, schema: int) -> None:
        for step in range(self._version() + 1, schema + 1):
            text = files("gearfast.store").joinpath(f"sql/mysql-{step}.sql").read_text("utf-8")
            text = re.sub("--.*", "", text)
            self._run(self._named(f"{text}UPDATE gearfast_state SET version = {step}"))

    def _change(self, sql: str) -> int:
        """How many rows were changed."""
        with self._db.cursor() as cursor:
            return int(cursor.execute(self._named(sql)))

    @contextlib.contextmanager
    def _membership(self) -> Iterator[None]:
        """A transaction that changes who is there, or who has what: one at a time."""
        self._run("START TRANSACTION")
        try:
            self._ask("SELECT last_server FROM gearfast_fleet WHERE single = 1 FOR UPDATE")
            yield
            self._run("COMMIT")
        except BaseException:
            with contextlib.suppress(self._error, OSError):
                self._run("ROLLBACK")
            raise

    @contextlib.contextmanager
    def _patience(self, seconds: int) -> Iterator[None]:
        """So long others' locks are waited for."""
        self._run(f"SET SESSION innodb_lock_wait_timeout = {seconds}")
        try:
            yield
        finally:
            with contextlib.suppress(self._error, OSError):
                self._run(f"SET SESSION innodb_lock_wait_timeout = {self._lock_wait}")

    def _enter(self) -> None:
        """A row of its own, and what others have left; or the row that it has, with a new token."""
        lease = round(self.lease * 1e6)
        if self._seat:
            self._token += 1  # a greater one each time: the answer may be lost
            if not self._change(
                f"UPDATE gearfast_server SET token = {self._token}, lease = {lease}, renewed = {_NOW},"
                f" ends = {_NOW} + {lease} WHERE id = {self._seat} AND token < {self._token} AND gone = 0"
            ):
                raise self._lost()
        else:
            with self._membership():
                about = self.about
                prefix = _hex(about.prefix.encode("ascii"))
                self._change(
                    "UPDATE gearfast_fleet SET last_server = last_server + 1,"
                    f" prefix = IF(prefix = '', {prefix}, prefix) WHERE single = 1"
                )
                me = self._ask("SELECT last_server FROM gearfast_fleet")[0][0]
                first, end = me << RANGE_BITS, (me + 1) << RANGE_BITS
                texts = [_quoted(about.host[:250]), str(about.pid), _quoted(about.addresses[:1000])]
                self._change(
                    "INSERT INTO gearfast_server (id, token, gone, batch, next_number, lease, renewed, ends, jobs,"
                    f" host, pid, addresses, process) VALUES ({me}, 1, 0, {first}, {first + 1}, {lease}, {_NOW},"
                    f" {_NOW} + {lease}, 0, {', '.join(texts)}, {_quoted(about.process[:250])})"
                )
                self._change(f"INSERT INTO gearfast_range (low, high, owner) VALUES ({first}, {end}, {me})")
            self._seat, self._token = me, 1
            self._take(())
        self._fleet_prefix = str(self._ask("SELECT prefix FROM gearfast_fleet")[0][0])

    def _take(self, dead: Collection[int]) -> bool:
        """Makes the ranges of servers that are gone this one's; False if there are none."""
        me = self._seat
        with self._patience(TAKE_WAIT), self._membership():
            if not self._ask(
                f"SELECT 1 FROM gearfast_server WHERE id = {me} AND token = {self._token} AND gone = 0"
                " LOCK IN SHARE MODE"
            ):
                raise self._lost()
            ids = ", ".join(map(str, dead)) or "0"
            ended = f"gone = 0 AND id <> {me} AND (ends < {_NOW} OR id IN ({ids}))"
            # No row of others is locked: they are in the middle of writes, which may be long, and wait for nobody.
            for (id,) in self._ask(f"SELECT id FROM gearfast_server WHERE {ended}"):
                self._change(f"UPDATE gearfast_server SET gone = {me} WHERE id = {id} AND {ended}")
            # Who comes has to wait for us, and who leaves meanwhile is taken over next time.
            live = ", ".join(str(row[0]) for row in self._ask("SELECT id FROM gearfast_server WHERE gone = 0"))
            # Those with nothing in them, as most are some time, need no owner any more.
            self._change(
                f"DELETE FROM gearfast_range WHERE low NOT IN (0, {me << RANGE_BITS})"
                f" AND (owner = {me} OR owner NOT IN ({live}))"
                " AND NOT EXISTS (SELECT 1 FROM gearfast_section WHERE id >= low AND id < high)"
                " AND NOT EXISTS (SELECT 1 FROM gearfast_loss WHERE number >= low AND number < high)"
            )
            return self._change(f"UPDATE gearfast_range SET owner = {me} WHERE owner NOT IN ({live})") > 0

    def _lost(self) -> SeatLost:
        """This server is gone: the next `open` makes another one."""
        batch = 0
        with contextlib.suppress(self._error, OSError):
            batch = self._ask(f"SELECT batch FROM gearfast_server WHERE id = {self._seat}")[0][0]
        self._seat = 0
        return SeatLost(f"{self.name}: another server has taken it over", batch)

    def _contents(self) -> Contents:
        me = self._seat
        ((batch, next_number),) = self._ask(f"SELECT batch, next_number FROM gearfast_server WHERE id = {me}")
        ranges = self._ask(f"SELECT low, high FROM gearfast_range WHERE owner = {me}")
        mine = " OR ".join(f"({{0}} >= {low} AND {{0}} < {high})" for low, high in ranges)
        sections = [
            SectionInfo(id, first, last, count, size, unpack_numbers(late), ended or b"")
            for id, first, last, count, size, late, ended in self._ask(_SECTIONS.format(mine.format("id")))
        ]
        losses: dict[int, int] = dict(
            self._ask(f"SELECT number, losses FROM gearfast_loss WHERE {mine.format('number')}")
        )
        return Contents(batch, next_number, sections, losses, self._notes())

    def renew(self, jobs: int) -> None:
        """The lease lasts from now on again."""
        self._connected()
        with self._told():
            self._change(
                f"UPDATE gearfast_server SET renewed = {_NOW}, ends = {_NOW} + lease, jobs = {jobs},"
                f" addresses = {_quoted(self.about.addresses[:1000])},"
                f" token = IF(token = {self._token} AND gone = 0, token, NULL) WHERE id = {self._seat}"
            )

    def look(self) -> Fleet:
        """Who is there."""
        if self._db is not None:
            with self._told():
                return self._fleet()
        try:
            with self._told():
                self._db = self._connect()
                self._set_up()
                return self._fleet() if self._version() >= FLEETS else Fleet()
        finally:
            self._hang_up()

    def notes(self) -> dict[str, bytes]:
        """Those of all servers."""
        self._connected()
        with self._told():
            return self._notes()

    def _notes(self) -> dict[str, bytes]:
        return dict(self._ask("SELECT name, value FROM gearfast_note"))

    def _fleet(self) -> Fleet:
        servers = [
            ServerInfo(id, Member(host, pid, addresses, process), left / 1e6, lag / 1e6, jobs)
            for id, host, pid, addresses, process, left, lag, jobs in self._ask(_FLEET)
        ]
        return Fleet(tuple(servers), bool(self._ask(_ORPHANS)))

    def take_over(self, dead: Collection[int] = ()) -> Contents | None:
        """Makes the jobs of servers whose lease has ended this one's: all that is its own then; None if none came."""
        self._connected()
        with self._told():
            return self._contents() if self._take(dead) else None

    def write(self, write: Write) -> None:
        """One transaction, in one round trip if it fits into a packet."""
        self._connected()
        with self._told():
            for attempt in range(1, ATTEMPTS + 1):
                try:
                    self._write(write)
                    return
                except self._error as error:
                    if error.args[:1] != (_DEADLOCK,) or attempt == ATTEMPTS or self._db is None:
                        raise

    def _write(self, write: Write) -> None:
        limit = self._packet - 1024
        try:
            together: list[str] = []
            size = 0
            for statement in _statements(write, self._seat, self._token):
                sql = statement if self._prefix == "gearfast" else self._renamed(statement)
                if len(sql) > limit:
                    raise StoreError(f"{self.name}: more than max_allowed_packet ({self._packet} bytes) at once")
                if size + len(sql) > limit:
                    self._run(";".join(together))
                    together, size = [], 0
                together.append(sql)
                size += len(sql) + 1
            self._run(";".join(together))
        except BaseException as error:
            taken = self._taken(write) if self._is_taken(error) else {}
            # What of it was not committed goes with the connection, if it cannot go by itself.
            try:
                self._run("ROLLBACK")
            except (self._error, OSError):
                self._hang_up()
            if taken:
                raise UniquesTaken(f"{self.name}: uniques are other jobs'", taken) from None
            raise

    def _is_taken(self, error: BaseException) -> bool:
        return isinstance(error, self._error) and error.args[:1] == (_NOT_NULL,) and "gone" in str(error)

    def _taken(self, write: Write) -> dict[int, int]:
        """Of the transaction that has failed: jobs whose claims are others', and those others."""
        taken = {}
        for lot in _lots([_hex(key) for key in write.claims]):
            for key, number in self._ask(f"SELECT name, number FROM gearfast_claim WHERE name IN ({lot})"):
                if number != write.claims[key]:
                    taken[write.claims[key]] = number
        return taken

    def claimed(self, uniques: Collection[bytes]) -> set[bytes]:
        """Those of these uniques that any job has claimed."""
        self._connected()
        found: set[bytes] = set()
        ranges = [
            f"name BETWEEN {_hex(key.ljust(FIRST + REST, bytes(1)))} AND {_hex(key + REST * bytes([255]))}"
            for key in uniques
        ]
        with self._told():
            for at in range(0, len(ranges), MANY):
                where = " OR ".join(ranges[at : at + MANY])
                found.update(row[0][:FIRST] for row in self._ask(f"SELECT name FROM gearfast_claim WHERE {where}"))
        return found

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

    def _hang_up(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            with contextlib.suppress(self._error, OSError):
                db.close()

    def close(self) -> None:
        """Gives its jobs to whoever takes them, and closes the connection."""
        if self._db is not None and self._seat:
            with contextlib.suppress(self._error, OSError):
                self._change(
                    f"UPDATE gearfast_server SET gone = id"
                    f" WHERE id = {self._seat} AND token = {self._token} AND gone = 0"
                )
                self._seat = 0
        self._hang_up()

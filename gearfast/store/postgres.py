# SPDX-License-Identifier: BSD-3-Clause
"""Jobs in a schema of a PostgreSQL database.

What it promises: what was written is there after the job server, the database or the machine has died, as far as the
disk keeps what the database gave it: each write is one transaction with synchronous_commit, and a database that runs
with fsync off is refused.

Several job servers may have the schema open. Each has a row, with a lease that ends by the database's clock, and ranges
of ids and numbers; whoever finds that a lease has ended makes the ranges its own, and the row as one that is gone, in
one transaction. A write renews the lease, and is refused by the database itself if the row is gone, or knows the token
of a newer connection.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Collection, Iterable, Iterator
from importlib.resources import files
from typing import TYPE_CHECKING, Final

from gearfast.store._claims import REST
from gearfast.store._libpq import DatabaseError, Link, array_of_bytes, array_of_ints, int8
from gearfast.store._numbers import pack_numbers, unpack_numbers
from gearfast.store.base import (
    LEASE,
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

__all__ = ["PostgresStore"]

SCHEMA: Final = 3
"""The version of the schema; `sql/postgres-N.sql` brings one of version N - 1 to version N."""
FLEETS: Final = 2
"""The schema since which there are several servers."""
LOCK_WAIT = 2.0
"""Seconds that a server is waited for which has a schema of before several might."""
LARGE: Final = 10 << 20
"""Bytes of records that are sent by themselves, and for which the database has more time than for other statements."""
MOST: Final = 1_000_000_000
"""Bytes that a value may have, about."""
LOCK_SEED: Final = 0x67656172
"""Part of the number of the advisory lock, so that another program's locks are not met: "gear"."""

_LOCK_NOT_AVAILABLE: Final = "55P03"
_LOST: Final = "GF001"
"""The SQLSTATE of what is refused as the server is gone."""
_TAKEN: Final = "GF002"
"""That of a write that claims other jobs' uniques; the text has numbers of jobs."""
_WRITE: Final = "SELECT gearfast_write($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)"
_WRITE_CLAIMS: Final = f"SELECT gearfast_write_claims({', '.join(f'${number}' for number in range(1, 21))})"
_CLAIMED: Final = (
    "SELECT first FROM unnest($1::bytea[]) AS asked (first)"
    " WHERE EXISTS (SELECT 1 FROM gearfast_claim WHERE key >= first AND key <= first || $2::bytea)"
)
_SECTIONS: Final = (
    "SELECT id, first, last, count, octet_length(records)::int8, late, coalesce(numbers, '')"
    " FROM gearfast_range JOIN gearfast_section ON id >= low AND id < high LEFT JOIN gearfast_ended ON section = id"
    " WHERE owner = $1::int8 ORDER BY first, id"
)
_LOSSES: Final = (
    "SELECT number, losses FROM gearfast_range JOIN gearfast_loss ON number >= low AND number < high"
    " WHERE owner = $1::int8"
)
_RETURN: Final = (
    "UPDATE gearfast_server SET token = $2::int8, lease = $3::int8, renewed = clock_timestamp(),"
    " ends = clock_timestamp() + $3::int8 * interval '1 millisecond'"
    " WHERE id = $1::int8 AND token < $2::int8 AND gone = 0 RETURNING id"
)
_RENEW: Final = (
    "UPDATE gearfast_server SET renewed = clock_timestamp(),"
    " ends = clock_timestamp() + lease * interval '1 millisecond', jobs = $3::int8, addresses = $4::text"
    " WHERE id = $1::int8 AND token = $2::int8 AND gone = 0 RETURNING id"
)
_LEAVE: Final = "UPDATE gearfast_server SET gone = id WHERE id = $1::int8 AND token = $2::int8 AND gone = 0"
_FLEET: Final = (
    "SELECT id, host, pid, addresses, process, (extract(epoch FROM ends - clock_timestamp()) * 1000)::int8,"
    " (extract(epoch FROM clock_timestamp() - renewed) * 1000)::int8, jobs"
    " FROM gearfast_server WHERE gone = 0 ORDER BY id"
)
_ORPHANS: Final = (
    "SELECT 1 FROM gearfast_range WHERE NOT EXISTS"
    " (SELECT 1 FROM gearfast_server WHERE id = owner AND gone = 0) LIMIT 1"
)


_COPY: Final = "COPY gearfast_section (id, first, last, count, late, records) FROM STDIN (FORMAT binary)"
_COPY_HEAD: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_COPY_END: Final = b"\xff\xff"
_PIECE: Final = 1 << 18


def _rows(sections: Iterable[Section]) -> Iterator[bytes]:
    """Of gearfast_section, in the binary form of COPY, in pieces."""
    yield _COPY_HEAD
    for section in sections:
        info, late, records = section.info, pack_numbers(section.info.late), section.records
        yield struct.pack(">hiqiqiqiq", 6, 8, info.id, 8, info.first, 8, info.last, 8, info.count)
        yield struct.pack(">i", len(late)) + late + struct.pack(">i", len(records))
        for at in range(0, len(records), _PIECE):
            yield records[at : at + _PIECE]
    yield _COPY_END


def _int(value: bytes) -> int:
    return int.from_bytes(value, "big", signed=True)


class PostgresStore:
    """`place`: `postgresql://USER:PASSWORD@HOST:PORT/DATABASE?schema=gearfast`, and what libpq takes in such a URL.

    Raises StoreError from every method.
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        self._schema = place.option("schema")
        self._seat = self._token = 0
        self._prefix = ""
        self.lease = LEASE
        self.about = Member()
        self._link: Link | None = None
        self._session: list[bytes] = []

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
        return self._prefix

    def open(self) -> Contents:
        """Connects, makes the schema and its tables if they are not there, and becomes one of its servers, or is still.

        Raises SeatLost if another server has taken its jobs over.
        """
        self._hang_up()
        try:
            self._link = link = self._connect()
            self._migrate(link)
            self._enter(link)
            link.prepare("write", _WRITE)
            link.prepare("write_claims", _WRITE_CLAIMS)
            return self._contents(link)
        except DatabaseError as error:
            self._hang_up()
            raise self._failure(error) from None
        except StoreError:
            self._hang_up()
            raise

    def _connect(self) -> Link:
        timeout = self._place.timeout
        limit = str(round(timeout * 1000))
        settings = {
            "application_name": "gearfast",
            "tcp_user_timeout": limit,
            "keepalives_idle": "5",
            "keepalives_interval": "2",
            "keepalives_count": "3",
        }
        link = Link(self._place.url, timeout, self._place.missing(settings))
        try:
            self._set_up(link, limit)
        except BaseException:
            link.close()
            raise
        return link

    def _failure(self, error: Exception) -> StoreError:
        return StoreError(f"{self.name}: {self._place.clean(str(error))}")

    def _set_up(self, link: Link, limit: str) -> None:
        # The backend, too, notices that the machine of its job server is gone, and so frees what it has locked.
        link.run(
            f"SET statement_timeout = {limit}; SET lock_timeout = {limit}; "
            # What a server that stands still has locked is free once its lease has ended.
            f"SET idle_in_transaction_session_timeout = {max(1000, round(self.lease * 1000))};"
            f"SET client_encoding = 'UTF8'; SET client_min_messages = error; SET search_path TO \"{self._schema}\";"
            "SET default_transaction_isolation = 'read committed';"
            "SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 2; SET tcp_keepalives_count = 3;"
            # Tables that were small just now, or whose statistics are old, would be read from one end to the other.
            # What is read like that nevertheless counts as so expensive that it would be compiled first.
            "SET enable_seqscan = off; SET jit = off;"
            # remote_apply, which waits for standbys too, is more than we need, and may stay.
            "SELECT set_config('synchronous_commit',"
            " CASE current_setting('synchronous_commit') WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END, false)"
        )
        if self._place.durability == "full" and link.ask("SELECT current_setting('fsync')") != [[b"on"]]:
            raise StoreError(
                f"{self.name}: the database runs with fsync = off, so that it may lose jobs with the machine's power;"
                " turn it on, or add durability=relaxed to the URL"
            )

    def _lock(self, link: Link) -> None:
        """For one that makes the schema. Until schema 2 a server had this lock for as long as it ran."""
        number = f"hashtextextended('gearfast.{self._schema}', {LOCK_SEED})"
        # One of several servers that start at once makes the schema, and may take a while.
        most = 0.9 * self._place.timeout
        seconds = min(LOCK_WAIT, most) if self._version(link) == 1 else most
        link.run(f"SET lock_timeout = {round(seconds * 1000)}")
        try:
            link.ask(f"SELECT pg_advisory_lock({number})")
        except DatabaseError as error:
            if error.state != _LOCK_NOT_AVAILABLE:
                raise
            raise StoreError(f"{self.name}: in use by another server{self._who_has(link, number)}") from None
        link.run(f"SET lock_timeout = {round(self._place.timeout * 1000)}")

    def _who_has(self, link: Link, number: str) -> str:
        rows = link.ask(
            "SELECT coalesce(host(client_addr), 'this machine'), to_char(backend_start, 'YYYY-MM-DD HH24:MI:SS TZ')"
            " FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE locktype = 'advisory' AND granted AND objsubid = 1"
            f" AND ((classid::int8 << 32) | objid::int8) = {number}"
        )
        return f" ({rows[0][0].decode()}, since {rows[0][1].decode()})" if rows else ""

    def _version(self, link: Link) -> int:
        """Of the schema that is there; 0: none is."""
        if not link.ask("SELECT 1 WHERE to_regclass('gearfast_state') IS NOT NULL"):
            return 0
        version = _int(link.ask("SELECT version FROM gearfast_state")[0][0])
        if version > SCHEMA:
            raise StoreError(f"{self.name}: made by a newer gearfast (schema {version}, this one knows {SCHEMA})")
        return version

    def _migrate(self, link: Link) -> None:
        if self._version(link) == SCHEMA:
            return
        self._lock(link)
        if not link.ask(f"SELECT 1 FROM pg_namespace WHERE nspname = '{self._schema}'"):
            link.run(f'CREATE SCHEMA "{self._schema}"')
        self._migrate_to(link, SCHEMA)
        link.ask("SELECT pg_advisory_unlock_all()")

    def _migrate_to(self, link: Link, schema: int) -> None:
        for step in range(self._version(link) + 1, schema + 1):
            text = files("gearfast.store").joinpath(f"sql/postgres-{step}.sql").read_text("utf-8")
            link.run(f"BEGIN;\n{text}\nUPDATE gearfast_state SET version = {step};\nCOMMIT")

    def _enter(self, link: Link) -> None:
        """A row of its own, and what others have left; or the row that it has, with a new token."""
        lease = int8(round(self.lease * 1000))
        if self._session:
            # Our own backend of before may not know yet that its connection is lost.
            link.ask(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE pid = $1::int8 AND backend_start = $2::timestamptz",
                *self._session,
            )
        if self._seat:
            self._token += 1  # a greater one each time: the answer may be lost
            if not link.ask(_RETURN, int8(self._seat), int8(self._token), lease):
                raise self._lost(link)
        else:
            about = self.about
            ((seat,),) = link.ask(
                "SELECT gearfast_enter($1::text, $2::int8, $3::text, $4::int8, $5::text, $6::text)",
                about.prefix.encode(),
                lease,
                about.host.encode("utf-8", "replace"),
                int8(about.pid),
                about.addresses.encode("utf-8", "replace"),
                about.process.encode(),
            )
            self._seat, self._token = _int(seat), 1
            self._take(link, ())
        self._prefix = link.ask("SELECT prefix FROM gearfast_state")[0][0].decode()
        (self._session,) = link.ask(
            "SELECT pid::int8, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()"
        )

    def _take(self, link: Link, dead: Collection[int]) -> bool:
        ids = array_of_ints(list(dead))
        rows = link.ask(
            "SELECT gearfast_take_over($1::int8, $2::int8, $3::int8[])", int8(self._seat), int8(self._token), ids
        )
        return _int(rows[0][0]) > 0

    def _lost(self, link: Link) -> SeatLost:
        """This server is gone: the next `open` makes another one."""
        rows = link.ask("SELECT batch FROM gearfast_server WHERE id = $1::int8", int8(self._seat))
        self._seat = 0
        return SeatLost(f"{self.name}: another server has taken it over", _int(rows[0][0]) if rows else 0)

    def _contents(self, link: Link) -> Contents:
        me = int8(self._seat)
        batch, next_number = map(
            _int, link.ask("SELECT batch, next_number FROM gearfast_server WHERE id = $1::int8", me)[0]
        )
        sections = [
            SectionInfo(_int(id), _int(first), _int(last), _int(count), _int(size), unpack_numbers(late), ended)
            for id, first, last, count, size, late, ended in link.ask(_SECTIONS, me)
        ]
        losses = {_int(number): _int(times) for number, times in link.ask(_LOSSES, me)}
        return Contents(batch, next_number, sections, losses, self._notes(link))

    def renew(self, jobs: int) -> None:
        """The lease lasts from now on again."""
        link = self._connected()
        addresses = self.about.addresses.encode("utf-8", "replace")
        with self._told(link):
            if not link.ask(_RENEW, int8(self._seat), int8(self._token), int8(jobs), addresses):
                raise self._lost(link)

    def look(self) -> Fleet:
        """Who is there."""
        link = self._link
        if link is not None:
            with self._told(link):
                return self._fleet(link)
        try:
            link = self._connect()
            try:
                return self._fleet(link) if self._version(link) >= FLEETS else Fleet()
            finally:
                link.close()
        except DatabaseError as error:
            raise self._failure(error) from None

    def notes(self) -> dict[str, bytes]:
        """Those of all servers."""
        link = self._connected()
        with self._told(link):
            return self._notes(link)

    def _notes(self, link: Link) -> dict[str, bytes]:
        return {key.decode(): value for key, value in link.ask("SELECT key, value FROM gearfast_note")}

    def _fleet(self, link: Link) -> Fleet:
        servers = [
            ServerInfo(
                _int(id),
                Member(host.decode(), _int(pid), addresses.decode(), process.decode()),
                _int(left) / 1000,
                _int(lag) / 1000,
                _int(jobs),
            )
            for id, host, pid, addresses, process, left, lag, jobs in link.ask(_FLEET)
        ]
        return Fleet(tuple(servers), bool(link.ask(_ORPHANS)))

    def take_over(self, dead: Collection[int] = ()) -> Contents | None:
        """Makes the jobs of servers whose lease has ended this one's: all that is its own then; None if none came."""
        link = self._connected()
        with self._told(link):
            return self._contents(link) if self._take(link, dead) else None

    @contextlib.contextmanager
    def _told(self, link: Link) -> Iterator[None]:
        """Errors of the database as StoreError."""
        try:
            yield
        except DatabaseError as error:
            if error.state == _TAKEN:
                pairs = (pair.partition(":") for pair in str(error).split())
                taken = {int(number): int(other) for number, _, other in pairs}
                raise UniquesTaken(f"{self.name}: uniques are other jobs'", taken) from None
            if error.state != _LOST:
                raise self._failure(error) from None
            try:
                lost = self._lost(link)
            except DatabaseError as other:
                raise self._failure(other) from None
            raise lost from None

    def write(self, write: Write) -> None:
        """One transaction, in one round trip if it has no notes and is not large."""
        link = self._connected()
        size = sum(len(section.records) for section in write.add)
        if size > MOST:
            raise StoreError(
                f"{self.name}: {size} bytes of jobs at once are more than the {MOST} that PostgreSQL takes"
            )
        with self._told(link):
            if size < LARGE or {section.info.id for section in write.add} & set(write.drop):
                self._write(link, write)
                return
            self._set_time(link, size)
            try:
                self._write(link, write, size)
            finally:
                with contextlib.suppress(DatabaseError):
                    self._set_time(link, 0)

    def _set_time(self, link: Link, size: int) -> None:
        """So long may the database take for a statement."""
        link.run(f"SET statement_timeout = {round(link.seconds(size) * 1000)}")

    def _write(self, link: Link, write: Write, size: int = 0) -> None:
        """`size`: of the records, if they go by themselves: before all else, which locks what others need."""
        infos = [] if size else [section.info for section in write.add]
        values: list[bytes | None] = [
            int8(self._seat),
            int8(self._token),
            int8(write.batch),
            int8(write.next_number),
            array_of_ints(write.drop),
            array_of_ints([info.id for info in infos]),
            array_of_ints([info.first for info in infos]),
            array_of_ints([info.last for info in infos]),
            array_of_ints([info.count for info in infos]),
            array_of_bytes([pack_numbers(info.late) for info in infos]),
            array_of_bytes([] if size else [section.records for section in write.add]),
            array_of_ints(list(write.ended)),
            array_of_bytes(list(write.ended.values())),
            array_of_ints(list(write.losses)),
            array_of_ints(list(write.losses.values())),
            array_of_ints(write.forget),
        ]
        name = "write"
        if write.claims or write.releases:
            name = "write_claims"
            values += (
                array_of_bytes(list(write.claims)),
                array_of_ints(list(write.claims.values())),
                array_of_bytes([key for key, _ in write.releases]),
                array_of_ints([number for _, number in write.releases]),
            )
        if not write.notes and not size:
            link.call(name, values)
            return
        link.run("BEGIN")
        try:
            if size:
                link.copy_in(_COPY, _rows(write.add), size)
            link.call(name, values)
            self._note(link, write.notes)
            link.run("COMMIT", size)
        except DatabaseError:
            with contextlib.suppress(DatabaseError):
                link.run("ROLLBACK")
            raise

    def _note(self, link: Link, notes: dict[str, bytes | None]) -> None:
        for key, value in notes.items():
            link.ask("DELETE FROM gearfast_note WHERE key = $1::text", key.encode())
            if value is not None:
                link.ask("INSERT INTO gearfast_note (key, value) VALUES ($1::text, $2::bytea)", key.encode(), value)

    def claimed(self, uniques: Collection[bytes]) -> set[bytes]:
        """Those of these uniques that any job has claimed."""
        link = self._connected()
        with self._told(link):
            return {row[0] for row in link.ask(_CLAIMED, array_of_bytes(list(uniques)), b"\xff" * REST)}

    def read(self, sections: Iterable[int]) -> list[bytes]:
        """The records of these sections. Raises StoreError if one is not there."""
        link = self._connected()
        ids = list(sections)
        with self._told(link):
            rows = link.ask("SELECT id, records FROM gearfast_section WHERE id = ANY ($1::int8[])", array_of_ints(ids))
        found = {_int(id): records for id, records in rows}
        for id in ids:
            if id not in found:
                raise StoreError(f"{self.name}: section {id} is missing")
        return [found[id] for id in ids]

    def shrink(self) -> bool:
        """That is autovacuum's."""
        return False

    def _connected(self) -> Link:
        if self._link is None:
            raise StoreError(f"{self.name}: not open")
        return self._link

    def _hang_up(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            link.close()

    def close(self) -> None:
        """Gives its jobs to whoever takes them, and closes the connection."""
        if self._link is not None and self._seat:
            with contextlib.suppress(DatabaseError):
                self._link.ask(_LEAVE, int8(self._seat), int8(self._token))
                self._seat = 0
        self._hang_up()

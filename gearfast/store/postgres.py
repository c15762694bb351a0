# SPDX-License-Identifier: BSD-3-Clause
"""Jobs in a schema of a PostgreSQL database.

What it promises: what was written is there after the job server, the database or the machine has died, as far as the
disk keeps what the database gave it: each write is one transaction with synchronous_commit, and a database that runs
with fsync off is refused. One job server has the schema at a time, by an advisory lock of its session. A lock ends with
its session, of which a server may learn late: so each opening also takes a new token, and a write that knows an older
one is refused by the database itself.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterable
from importlib.resources import files
from typing import TYPE_CHECKING, Final

from gearfast.store._libpq import DatabaseError, Link, array_of_bytes, array_of_ints, int8
from gearfast.store._numbers import pack_numbers, unpack_numbers
from gearfast.store.base import Contents, SectionInfo, StoreError, Write

if TYPE_CHECKING:
    from gearfast.store._place import Place

__all__ = ["PostgresStore"]

SCHEMA: Final = 1
"""The version of the schema; `sql/postgres-N.sql` brings one of version N - 1 to version N."""
LOCK_WAIT = 2.0
"""Seconds that a server which has the store, and may be about to end, is waited for."""
LOCK_SEED: Final = 0x67656172
"""Part of the number of the advisory lock, so that another program's locks are not met: "gear"."""

_LOCK_NOT_AVAILABLE: Final = "55P03"
_WRITE: Final = "SELECT gearfast_write($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)"
_SECTIONS: Final = (
    "SELECT id, first, last, count, octet_length(records)::int8, late, coalesce(numbers, '')"
    " FROM gearfast_section LEFT JOIN gearfast_ended ON section = id ORDER BY first, id"
)


def _int(value: bytes) -> int:
    return int.from_bytes(value, "big", signed=True)


class PostgresStore:
    """`place`: `postgresql://USER:PASSWORD@HOST:PORT/DATABASE?schema=gearfast`, and what libpq takes in such a URL.

    Raises StoreError from every method.
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        self._schema = place.option("schema")
        self._owner = secrets.token_hex(8)
        self._token = 0
        self._link: Link | None = None
        self._session: list[bytes] = []

    @property
    def name(self) -> str:
        """The URL without its password."""
        return self._place.name

    def open(self) -> Contents:
        """Connects, makes the schema and its tables if they are not there, and takes the lock.

        Raises StoreError if another server has it, or had it since this one did.
        """
        self._hang_up()
        timeout = self._place.timeout
        limit = str(round(timeout * 1000))
        settings = {
            "application_name": "gearfast",
            "tcp_user_timeout": limit,
            "keepalives_idle": "5",
            "keepalives_interval": "2",
            "keepalives_count": "3",
        }
        try:
            self._link = link = Link(self._place.url, timeout, self._place.missing(settings))
            self._set_up(link, limit)
            self._lock(link)
            self._migrate(link)
            self._own(link)
            link.prepare("write", _WRITE)
            return self._contents(link)
        except DatabaseError as error:
            self._hang_up()
            raise self._failure(error) from None
        except StoreError:
            self._hang_up()
            raise

    def _failure(self, error: Exception) -> StoreError:
        return StoreError(f"{self.name}: {self._place.clean(str(error))}")

    def _set_up(self, link: Link, limit: str) -> None:
        # The backend, too, notices that the machine of its job server is gone, and so frees the lock.
        link.run(
            f"SET statement_timeout = {limit}; SET lock_timeout = {limit}; SET idle_in_transaction_session_timeout = 0;"
            f"SET client_encoding = 'UTF8'; SET client_min_messages = error; SET search_path TO \"{self._schema}\";"
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
        if self._session:
            # Our own backend of before may not know yet that its connection is lost.
            link.ask(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE pid = $1::int8 AND backend_start = $2::timestamptz",
                *self._session,
            )
        number = f"hashtextextended('gearfast.{self._schema}', {LOCK_SEED})"
        link.run(f"SET lock_timeout = {round(min(LOCK_WAIT, self._place.timeout / 2) * 1000)}")
        try:
            link.ask(f"SELECT pg_advisory_lock({number})")
        except DatabaseError as error:
            if error.state != _LOCK_NOT_AVAILABLE:
                raise
            raise StoreError(f"{self.name}: in use by another server{self._who_has(link, number)}") from None
        link.run(f"SET lock_timeout = {round(self._place.timeout * 1000)}")
        (self._session,) = link.ask(
            "SELECT pid::int8, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()"
        )

    def _who_has(self, link: Link, number: str) -> str:
        rows = link.ask(
            "SELECT coalesce(host(client_addr), 'this machine'), to_char(backend_start, 'YYYY-MM-DD HH24:MI:SS TZ')"
            " FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE locktype = 'advisory' AND granted AND objsubid = 1"
            f" AND ((classid::int8 << 32) | objid::int8) = {number}"
        )
        return f" ({rows[0][0].decode()}, since {rows[0][1].decode()})" if rows else ""

    def _migrate(self, link: Link) -> None:
        if not link.ask(f"SELECT 1 FROM pg_namespace WHERE nspname = '{self._schema}'"):
            link.run(f'CREATE SCHEMA "{self._schema}"')
        version = 0
        if link.ask("SELECT 1 WHERE to_regclass('gearfast_state') IS NOT NULL"):
            version = _int(link.ask("SELECT version FROM gearfast_state")[0][0])
        if version > SCHEMA:
            raise StoreError(f"{self.name}: made by a newer gearfast (schema {version}, this one knows {SCHEMA})")
        for step in range(version + 1, SCHEMA + 1):
            text = files("gearfast.store").joinpath(f"sql/postgres-{step}.sql").read_text("utf-8")
            link.run(f"BEGIN;\n{text}\nUPDATE gearfast_state SET version = {step};\nCOMMIT")

    def _own(self, link: Link) -> None:
        """A token of its own; whoever had the store before can write no more."""
        condition = f" WHERE owner = '{self._owner}'" if self._token else ""
        rows = link.ask(
            f"UPDATE gearfast_state SET token = token + 1, owner = '{self._owner}'{condition} RETURNING token"
        )
        if not rows:
            raise StoreError(f"{self.name}: another server has had it since; what it did is not known here")
        self._token = _int(rows[0][0])

    def _contents(self, link: Link) -> Contents:
        batch, next_number = map(_int, link.ask("SELECT batch, next_number FROM gearfast_state")[0])
        sections = [
            SectionInfo(_int(id), _int(first), _int(last), _int(count), _int(size), unpack_numbers(late), ended)
            for id, first, last, count, size, late, ended in link.ask(_SECTIONS)
        ]
        losses = {_int(number): _int(times) for number, times in link.ask("SELECT number, losses FROM gearfast_loss")}
        notes = {key.decode(): value for key, value in link.ask("SELECT key, value FROM gearfast_note")}
        return Contents(batch, next_number, sections, losses, notes)

    def write(self, write: Write) -> None:
        """One transaction, in one round trip if it has no notes."""
        link = self._connected()
        infos = [section.info for section in write.add]
        values = (
            int8(self._token),
            int8(write.batch),
            int8(write.next_number),
            array_of_ints(write.drop),
            array_of_ints([info.id for info in infos]),
            array_of_ints([info.first for info in infos]),
            array_of_ints([info.last for info in infos]),
            array_of_ints([info.count for info in infos]),
            array_of_bytes([pack_numbers(info.late) for info in infos]),
            array_of_bytes([section.records for section in write.add]),
            array_of_ints(list(write.ended)),
            array_of_bytes(list(write.ended.values())),
            array_of_ints(list(write.losses)),
            array_of_ints(list(write.losses.values())),
            array_of_ints(write.forget),
        )
        try:
            if not write.notes:
                link.call("write", values)
                return
            link.run("BEGIN")
            try:
                link.call("write", values)
                self._note(link, write.notes)
                link.run("COMMIT")
            except DatabaseError:
                with contextlib.suppress(DatabaseError):
                    link.run("ROLLBACK")
                raise
        except DatabaseError as error:
            raise self._failure(error) from None

    def _note(self, link: Link, notes: dict[str, bytes | None]) -> None:
        for key, value in notes.items():
            link.ask("DELETE FROM gearfast_note WHERE key = $1::text", key.encode())
            if value is not None:
                link.ask("INSERT INTO gearfast_note (key, value) VALUES ($1::text, $2::bytea)", key.encode(), value)

    def read(self, sections: Iterable[int]) -> list[bytes]:
        """The records of these sections. Raises StoreError if one is not there."""
        link = self._connected()
        ids = list(sections)
        try:
            rows = link.ask("SELECT id, records FROM gearfast_section WHERE id = ANY ($1::int8[])", array_of_ints(ids))
        except DatabaseError as error:
            raise self._failure(error) from None
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
        """Closes the connection, with which the lock ends."""
        self._hang_up()

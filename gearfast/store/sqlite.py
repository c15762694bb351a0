# SPDX-License-Identifier: BSD-3-Clause
"""Jobs in one file of SQLite: write-ahead log, synchronous FULL.

What it promises: what was written is there after the process or the machine has died, power included, as far as the
disk keeps what fsync gave it. One connection does everything: before SQLite 3.51.3 two of them could corrupt a file
when the log is reset (https://sqlite.org/wal.html#walresetbug). A second server on the same file is refused.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from zlib import crc32

from gearfast.store.base import Contents, Section, SectionDamaged, SectionInfo, StoreError, Write

__all__ = ["SqliteStore"]

SCHEMA = 3
"""The version of the schema; `sql/sqlite-N.sql` brings one of version N - 1 to version N."""
APPLICATION = 0x67656172
"""`PRAGMA application_id` of a file of ours: "gear"."""

MEMORY = ":memory:"
PIECE = 1 << 28
"""Bytes of records that one row has at most: SQLite takes a thousand million for a value."""
LOCK_WAIT = 2.0
"""Seconds that a server which has the file, and may be about to end, is waited for."""
FEW_PAGES = 1024
"""Free pages that are no trouble, and as many as are given back at a time."""
LOG_BYTES = 32 + 1000 * (24 + 4096)
"""Of a log with as many pages as SQLite lets it have before it begins anew from its start."""


def is_plain(write: Write) -> bool:
    """Whether there is nothing to do but to add one section of its own batch."""
    return (
        len(write.add) == 1
        and write.add[0].info.id == write.batch
        and len(write.add[0].records) <= PIECE
        and not (write.add[0].info.late or write.drop or write.ended or write.losses or write.forget or write.notes)
    )


def reserve_log(db: sqlite3.Connection) -> None:
    """Gives the log the room that it is going to have: to sync a file that grows takes twice as long.

    SQLite ends its log where a page's checksum is wrong, and overwrites what is behind it; zeros are nothing to it. The
    lock of a file is on the file itself, not on its log. Without room on the disk the log grows as it is written.
    """
    path: bytes = db.execute("SELECT CAST(file AS BLOB) FROM pragma_database_list").fetchone()[0]
    if not path:  # `:memory:`
        return
    with contextlib.suppress(OSError):
        log = os.open(path + b"-wal", os.O_RDWR | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0))
        try:
            size = os.lseek(log, 0, os.SEEK_END)
            if size >= LOG_BYTES:
                return
            try:
                while (here := os.lseek(log, 0, os.SEEK_CUR)) < LOG_BYTES:
                    os.write(log, bytes(LOG_BYTES - here))
                os.fsync(log)
            except OSError:
                os.ftruncate(log, size)
        finally:
            os.close(log)


def reason(path: str, error: BaseException) -> str:
    """What SQLite says, and why it is so as far as that can be seen from outside."""
    text = str(error) or "no memory"
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    folder = os.path.dirname(path)
    if code == sqlite3.SQLITE_BUSY:
        return f"{text}: another job server or program has it open"
    if code not in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY):
        return text
    if os.path.isdir(path):
        return f"{text}: it is a folder"
    if not os.path.isdir(folder):
        return f"{text}: there is no folder {folder}"
    try:
        os.close(os.open(path, os.O_RDWR))
    except FileNotFoundError:
        pass
    except OSError as why:
        return f"{text}: {why.strerror}"
    if not os.access(folder, os.W_OK):
        return f"{text}: files cannot be made in {folder}, where its log has to be too"
    return text


class SqliteStore:
    """The file at `path`; `:memory:` is for tests. Raises StoreError from every method."""

    def __init__(self, path: str | Path) -> None:
        self.path = str(path)
        # It is opened again after an error, and the program may have changed its working folder since.
        self._file = self.path if self.path == MEMORY else os.path.abspath(self.path)
        self._db: sqlite3.Connection | None = None
        self._more: dict[int, int] = {}  # of sections in several pieces: bytes behind the first one

    @property
    def name(self) -> str:
        """`sqlite` and the path."""
        return f"sqlite:///{self.path}"

    def open(self) -> Contents:
        """Opens the file, makes it if there is none. Raises StoreError if it is another program's, or in use."""
        self.close()
        try:
            self._db = db = sqlite3.connect(
                self._file, isolation_level=None, check_same_thread=False, timeout=LOCK_WAIT
            )
            self._prepare(db)
            reserve_log(db)
            return self._contents(db)
        except (sqlite3.Error, MemoryError) as error:
            self.close()
            raise StoreError(f"{self.name}: {reason(self._file, error)}") from error

    def _prepare(self, db: sqlite3.Connection) -> None:
        # An exclusive lock is kept until the end, so that no other server can begin; it also spares the shared memory
        # of the log's index.
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        version: int = db.execute("PRAGMA user_version").fetchone()[0]
        application: int = db.execute("PRAGMA application_id").fetchone()[0]
        tables: int = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if application != APPLICATION and (tables or application or version):
            raise StoreError(f"{self.name}: the file is not a store of gearfast")
        if version > SCHEMA:
            raise StoreError(f"{self.name}: made by a newer gearfast (schema {version}, this one knows {SCHEMA})")
        if not tables:
            db.execute("PRAGMA auto_vacuum = INCREMENTAL")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute(f"PRAGMA journal_size_limit = {LOG_BYTES}")  # one large job would leave it large for ever
        db.execute("PRAGMA synchronous = FULL")
        for step in range(version + 1, SCHEMA + 1):
            text = files("gearfast.store").joinpath(f"sql/sqlite-{step}.sql").read_text("utf-8")
            db.executescript(
                f"BEGIN IMMEDIATE;\n{text}\nPRAGMA application_id = {APPLICATION};\n"
                f"PRAGMA user_version = {step};\nCOMMIT;"
            )
        # The lock is taken by the first write: now, so that a file in use is noticed at the start.
        db.execute("UPDATE state SET batch = batch")

    def _contents(self, db: sqlite3.Connection) -> Contents:
        batch, next_number = db.execute(
            "SELECT max(batch, coalesce(max(id), 0)), max(next_number, coalesce(max(last), 0) + 1)"
            " FROM state LEFT JOIN section"
        ).fetchone()
        late: dict[int, list[int]] = {}
        for section, number in db.execute("SELECT section, number FROM late"):
            late.setdefault(section, []).append(number)
        self._more = dict(db.execute("SELECT section, sum(length(records)) FROM part GROUP BY section"))
        sections = [
            SectionInfo(id, first, last, count, size + self._more.get(id, 0), tuple(late.get(id, ())), ended)
            for id, first, last, count, size, ended in db.execute(
                "SELECT id, first, last, count, length(records), coalesce(numbers, x'')"
                " FROM section LEFT JOIN ended ON section = id ORDER BY first, id"
            )
        ]
        losses = dict(db.execute("SELECT number, losses FROM loss"))
        notes = dict(db.execute("SELECT key, value FROM note"))
        return Contents(batch, next_number, sections, losses, notes)

    def write(self, write: Write) -> None:
        """One transaction, with one fsync of the log."""
        db = self._connected()
        try:
            if is_plain(write):
                # The usual case of few clients: a statement of its own is its transaction. The state may stay behind,
                # as the section itself tells the same.
                self._add(db, write.add[0])
                return
            db.execute("BEGIN IMMEDIATE")
            try:
                self._write(db, write)
                db.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    db.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise StoreError(f"{self.name}: {error}") from error

    def _add(self, db: sqlite3.Connection, section: Section) -> None:
        info, size = section.info, len(section.records)
        records = memoryview(section.records)
        db.execute(
            "INSERT INTO section (id, first, last, count, records, crc) VALUES (?, ?, ?, ?, ?, ?)",
            (info.id, info.first, info.last, info.count, records[:PIECE], crc32(section.records)),
        )
        if size > PIECE:
            parts = ((info.id, at // PIECE, records[at : at + PIECE]) for at in range(PIECE, size, PIECE))
            db.executemany("INSERT INTO part (section, place, records) VALUES (?, ?, ?)", parts)
            self._more[info.id] = size - PIECE

    def _write(self, db: sqlite3.Connection, write: Write) -> None:
        if write.drop:
            dropped = [(id,) for id in write.drop]
            db.executemany("DELETE FROM section WHERE id = ?", dropped)
            db.executemany("DELETE FROM ended WHERE section = ?", dropped)
            db.executemany("DELETE FROM late WHERE section = ?", dropped)
            if self._more:
                db.executemany("DELETE FROM part WHERE section = ?", dropped)
        for section in write.add:
            self._add(db, section)
            if section.info.late:
                late = [(number, section.info.id) for number in section.info.late]
                db.executemany("INSERT OR REPLACE INTO late (number, section) VALUES (?, ?)", late)
        if write.ended:
            db.executemany("INSERT OR REPLACE INTO ended (section, numbers) VALUES (?, ?)", write.ended.items())
        if write.losses:
            db.executemany("INSERT OR REPLACE INTO loss (number, losses) VALUES (?, ?)", write.losses.items())
        if write.forget:
            db.executemany("DELETE FROM loss WHERE number = ?", [(number,) for number in write.forget])
        for key, value in write.notes.items():
            db.execute("DELETE FROM note WHERE key = ?", (key,))
            if value is not None:
                db.execute("INSERT INTO note (key, value) VALUES (?, ?)", (key, value))
        db.execute("UPDATE state SET batch = ?, next_number = ?", (write.batch, write.next_number))

    def read(self, sections: Iterable[int]) -> list[bytes]:
        """The records of these sections. Raises StoreError if one is not there, SectionDamaged if it is another."""
        db = self._connected()
        found: list[bytes] = []
        try:
            for id in sections:
                row = db.execute("SELECT records, crc FROM section WHERE id = ?", (id,)).fetchone()
                if row is None:
                    raise StoreError(f"{self.name}: section {id} is missing")
                records, crc = row
                if id in self._more:
                    parts = db.execute("SELECT CAST(records AS BLOB) FROM part WHERE section = ? ORDER BY place", (id,))
                    records = b"".join([records, *(part for (part,) in parts)]) if isinstance(records, bytes) else None
                if not isinstance(records, bytes) or (crc is not None and crc != crc32(records)):
                    raise SectionDamaged(f"{self.name}: section {id} is damaged", id)
                found.append(records)
        except sqlite3.Error as error:
            raise StoreError(f"{self.name}: {error}") from error
        return found

    def shrink(self) -> bool:
        """Gives some free pages back to the file system, while they are a quarter of the file or more."""
        db = self._connected()
        try:
            free: int = db.execute("PRAGMA freelist_count").fetchone()[0]
            pages: int = db.execute("PRAGMA page_count").fetchone()[0]
            if free < max(FEW_PAGES, pages // 4):
                return False
            db.execute(f"PRAGMA incremental_vacuum({FEW_PAGES})").fetchall()
        except sqlite3.Error as error:
            raise StoreError(f"{self.name}: {error}") from error
        return True

    def _connected(self) -> sqlite3.Connection:
        if self._db is None:
            raise StoreError(f"{self.name}: not open")
        return self._db

    def close(self) -> None:
        """Checkpoints the log into the file and closes it."""
        db, self._db = self._db, None
        if db is not None:
            with contextlib.suppress(sqlite3.Error):
                db.close()

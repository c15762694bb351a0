# SPDX-License-Identifier: BSD-3-Clause
"""`gearmand -q libsqlite3`."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from gearfast.gearmand_queue.row import QueueError, to_row

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gearfast.gearmand_queue.row import Row, Skipped

__all__ = ["TABLE", "read"]

TABLE = "gearman_queue"


def read(path: str, table: str = TABLE) -> Iterator[Row | Skipped]:
    """The jobs in the order in which they were stored. Raises QueueError."""
    _check(path)
    if Path(path + "-wal").exists() and not Path(path + "-shm").exists():
        # It would be made anew.
        yield from _of_a_copy(path, table)
        return
    begun = False
    try:
        for row in _rows(path, table):
            begun = True
            yield row
    except sqlite3.Error as error:
        if begun or not any(Path(path + end).exists() for end in ("-journal", "-wal")):
            raise QueueError(f"{path}: {error}") from error
        yield from _of_a_copy(path, table)


def _check(path: str) -> None:
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise QueueError(f"{path}: a queue of libsqlite3 is a file, and this is none")
        open(path, "rb").close()
    except (FileNotFoundError, NotADirectoryError):
        raise QueueError(f"{path}: there is no such file") from None
    except OSError as error:
        raise QueueError(f"{path}: {error.strerror}") from None


def _of_a_copy(path: str, table: str) -> Iterator[Row | Skipped]:
    """What a killed gearmand had begun to write can only be undone by writing: in a copy."""
    with tempfile.TemporaryDirectory(prefix="gearfast-") as folder:
        for end in ("", "-journal", "-wal"):
            if Path(path + end).exists():
                shutil.copy(path + end, Path(folder, "queue.db" + end))
        copy = str(Path(folder, "queue.db"))
        try:
            with contextlib.closing(sqlite3.connect(copy)) as db:
                db.execute("SELECT count(*) FROM sqlite_master").fetchone()
            yield from _rows(copy, table)
        except sqlite3.Error as error:
            raise QueueError(f"{path}: {error}") from error


def _in_wal_mode(path: str) -> bool:
    with open(path, "rb") as file:
        return file.read(20)[18:] == b"\2\2"


def _rows(path: str, table: str) -> Iterator[Row | Skipped]:
    # Who only reads a file in WAL mode makes the two beside it all the same, and gearmand may not use another's.
    alone = "&immutable=1" if _in_wal_mode(path) and not Path(path + "-wal").exists() else ""
    with contextlib.closing(sqlite3.connect(f"file:{quote(path)}?mode=ro{alone}", uri=True)) as db:
        db.text_factory = bytes
        name = table.replace('"', '""')
        columns = {column.decode() for _, column, *_ in db.execute(f'PRAGMA table_info("{name}")')}
        if not columns:
            raise QueueError(
                f"{path}: there is no table {table}; gearmand's is {TABLE} unless --libsqlite3-table says else"
            )
        # Tables of old versions have no time.
        when = "when_to_run" if "when_to_run" in columns else "0"
        query = f'SELECT unique_key, function_name, priority, data, {when} FROM "{name}" ORDER BY rowid'
        for row in db.execute(query):
            yield to_row(*row)

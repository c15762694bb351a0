# SPDX-License-Identifier: BSD-3-Clause
"""Files as gearmand, and time, may have left them."""

from __future__ import annotations

import builtins
import errno
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from gearfast.gearmand_queue.row import QueueError, Row
from gearfast.gearmand_queue.sqlite import read

TABLE = (
    "CREATE TABLE {} ( unique_key TEXT, function_name TEXT, priority INTEGER, data BLOB, when_to_run INTEGER,"
    " PRIMARY KEY (unique_key, function_name))"
)


def make(path: Path, table: str = "gearman_queue") -> sqlite3.Connection:
    db = sqlite3.connect(path)
    db.execute(TABLE.format(table))
    return db


def functions(path: Path, **options: str) -> list[str]:
    return [row.function for row in read(str(path), **options) if isinstance(row, Row)]


def test_the_order_in_which_they_were_stored(tmp_path: Path) -> None:
    with make(tmp_path / "q?ueue #1.db") as db:
        db.executemany(
            "INSERT INTO gearman_queue VALUES (?, ?, 1, x'00ff', 0)", [(f"u{n}", f"f{9 - n}") for n in range(5)]
        )
    db.close()
    assert functions(tmp_path / "q?ueue #1.db") == ["f9", "f8", "f7", "f6", "f5"]


def test_a_table_of_another_name_and_of_an_old_version(tmp_path: Path) -> None:
    path = tmp_path / "queue.db"
    db = sqlite3.connect(path)
    db.execute('CREATE TABLE "my ""queue" (unique_key TEXT, function_name TEXT, priority INTEGER, data BLOB)')
    db.execute("""INSERT INTO "my ""queue" VALUES ('u', 'f', 2, 'x')""")
    db.commit()
    db.close()
    assert functions(path, table='my "queue') == ["f"]
    with pytest.raises(QueueError, match="no table gearman_queue"):
        list(read(str(path)))


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "queue.db"
    path.write_text("hello " * 1000)
    with pytest.raises(QueueError, match=r"queue\.db: file is not a database"):
        list(read(str(path)))


def test_a_file_that_cannot_be_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As for who is not gearmand's user: who may not enter its folder, or not read its file."""
    with pytest.raises(QueueError, match=r"a queue of libsqlite3 is a file, and this is none"):
        list(read(str(tmp_path)))
    path = tmp_path / "queue.db"
    make(path).close()
    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", refused)
        with pytest.raises(QueueError, match=r"queue\.db: Permission denied"):
            list(read(str(path)))
    monkeypatch.setattr(builtins, "open", refused)
    with pytest.raises(QueueError, match=r"queue\.db: Permission denied"):
        list(read(str(path)))


def refused(path: object, *args: object, **options: object) -> object:
    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))


def test_a_transaction_that_was_cut_off(tmp_path: Path) -> None:
    """gearmand was killed while it wrote: what it had not committed is no job, and stays undone in the file itself."""
    path = tmp_path / "queue.db"
    make(path).close()
    script = (
        "import os, sqlite3, sys\n"
        "db = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "db.execute('INSERT INTO gearman_queue VALUES (?, ?, 1, ?, 0)', ('u', 'kept', b'x'))\n"
        "db.execute('PRAGMA cache_size = 1')\n"
        "db.execute('BEGIN')\n"
        "for n in range(50):\n"
        "    db.execute('INSERT INTO gearman_queue VALUES (?, ?, 1, ?, 0)', (str(n), 'cut', bytes(9000)))\n"
        "os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", script, str(path)], check=False)
    journal = path.with_name("queue.db-journal")
    before = path.read_bytes(), journal.read_bytes()
    assert len(before[1]) > 512
    assert functions(path) == ["kept"]
    assert (path.read_bytes(), journal.read_bytes()) == before
    assert sorted(one.name for one in tmp_path.iterdir()) == ["queue.db", "queue.db-journal"]


def files(folder: Path) -> dict[str, bytes]:
    return {one.name: one.read_bytes() for one in folder.iterdir()}


def test_a_file_in_wal_mode_stays_alone(tmp_path: Path) -> None:
    """SQLite's own files beside it would be this user's, and gearmand, as another, could not open its queue."""
    path = tmp_path / "queue.db"
    with make(path) as db:
        db.execute("INSERT INTO gearman_queue VALUES ('u', 'f', 1, 'x', 0)")
    assert db.execute("PRAGMA journal_mode = wal").fetchone() == ("wal",)
    db.close()
    before = files(tmp_path)
    assert list(before) == ["queue.db"]
    assert functions(path) == ["f"]
    assert files(tmp_path) == before


def test_a_write_ahead_log_of_a_gearmand_that_was_killed(tmp_path: Path) -> None:
    path = tmp_path / "killed" / "queue.db"
    path.parent.mkdir()
    script = (
        "import os, sqlite3, sys\n"
        "db = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "db.execute('PRAGMA journal_mode = wal')\n"
        f"db.execute('{TABLE.format('gearman_queue')}')\n"
        "db.execute('INSERT INTO gearman_queue VALUES (?, ?, 1, ?, 0)', ('u', 'logged', b'x'))\n"
        "os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", script, str(path)], check=False)
    before = files(path.parent)
    assert functions(path) == ["logged"]
    after = files(path.parent)
    # What is in the -shm is for those that are connected, and is made from the log.
    assert after.keys() == before.keys()
    assert (after["queue.db"], after["queue.db-wal"]) == (before["queue.db"], before["queue.db-wal"])
    path.with_name("queue.db-shm").unlink()
    before = files(path.parent)
    assert functions(path) == ["logged"]
    assert files(path.parent) == before

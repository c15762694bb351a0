# SPDX-License-Identifier: BSD-3-Clause
"""Files that are no stores, of a newer schema, or in use."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from gearfast.store import sqlite
from gearfast.store.base import Contents, Section, SectionDamaged, SectionInfo, StoreError, Write
from gearfast.store.sqlite import LOG_BYTES, SqliteStore
from gearfast.store.urls import make_store


def refuse(path: Path, match: str) -> None:
    before = path.read_bytes()
    store = SqliteStore(path)
    with pytest.raises(StoreError, match=match):
        store.open()
    store.close()
    assert path.read_bytes() == before


def test_another_programs_database(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE gearman (unique_key TEXT)")
    db.close()
    refuse(path, "not a store of gearfast")


def test_no_database(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_text("no database at all, but long enough to be taken for one: " * 100)
    refuse(path, "not a database")


def test_a_newer_schema(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    store = SqliteStore(path)
    store.open()
    store.close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 999")
    db.close()
    refuse(path, "newer gearfast")


def test_a_file_in_use(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "jobs.db")
    store.open()
    script = (
        "import sys\nfrom gearfast.store.sqlite import SqliteStore\nfrom gearfast.store.base import StoreError\n"
        "try:\n    SqliteStore(sys.argv[1]).open()\nexcept StoreError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, store.path], capture_output=True, text=True, check=True)
    assert "database is locked: another job server or program has it open" in done.stdout
    store.write(Write(1, 2))
    store.close()


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "no" / "jobs.db")
    with pytest.raises(StoreError, match=r"no/jobs\.db: unable to open database file: there is no folder /.*/no$"):
        store.open()


def test_a_folder_in_place_of_a_file(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"unable to open database file: it is a folder"):
        SqliteStore(tmp_path).open()


def test_a_folder_that_may_not_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a file that may be written SQLite says that it may only be read, since no log can be made beside it."""
    monkeypatch.setattr(os, "access", lambda path, mode: path != str(tmp_path))
    error = sqlite3.OperationalError("attempt to write a readonly database")
    error.sqlite_errorcode = sqlite3.SQLITE_READONLY
    text = sqlite.reason(str(tmp_path / "jobs.db"), error)
    assert text == f"{error}: files cannot be made in {tmp_path}, where its log has to be too"


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("jobs.db", "jobs.db"),
        ("/var/jobs.db", "/var/jobs.db"),
        ("sqlite:///jobs.db", "jobs.db"),
        ("sqlite:////var/a%20b.db", "/var/a b.db"),
    ],
)
def test_urls(url: str, path: str) -> None:
    store = make_store(url)
    assert isinstance(store, SqliteStore)
    assert store.path == path


@pytest.mark.parametrize("url", ["sqlite://jobs.db", "sqlite:///", "sqlite:///a?mode=ro"])
def test_urls_that_are_wrong(url: str) -> None:
    with pytest.raises(ValueError, match="sqlite:///PATH"):
        make_store(url)


def test_opening_again_keeps_everything(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "jobs.db")
    store.open()
    store.write(Write(5, 6, losses={1: 2}))
    assert store.open() == Contents(5, 6, [], {1: 2})
    store.close()


def test_a_section_that_is_not_what_was_written(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "jobs.db")
    store.open()
    for id in (1, 2):
        store.write(Write(id, id + 1, [Section(SectionInfo(id, id, id, 1, 7), b"records")]))
    store.close()
    with sqlite3.connect(store.path) as db:
        db.execute("UPDATE section SET records = x'52' WHERE id = 1")
    db.close()
    store.open()
    assert store.read([2]) == [b"records"]
    with pytest.raises(SectionDamaged, match="section 1 is damaged") as caught:
        store.read([2, 1])
    assert caught.value.section == 1
    store.close()


@pytest.mark.parametrize("size", [29, 30, 31, 95])
def test_more_than_a_value_may_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """Of SQLite: what is written at once goes in pieces, and comes back whole or as damaged."""
    monkeypatch.setattr(sqlite, "PIECE", 10)
    records = bytes(range(size))
    infos = [SectionInfo(1, 1, 1, 1, size), SectionInfo(2, 2, 2, 1, 7), SectionInfo(3, 3, 3, 1, size)]
    store = SqliteStore(tmp_path / "jobs.db")
    store.open()
    store.write(Write(1, 2, [Section(infos[0], records)]))
    store.write(Write(3, 4, [Section(infos[1], b"records"), Section(infos[2], records)], losses={1: 2}))
    for _ in range(2):
        assert store.read([1, 2, 3]) == [records, b"records", records]
        assert store.open().sections == infos
    store.write(Write(4, 4, [Section(SectionInfo(3, 3, 3, 1, 5), b"anew!")], drop=[1, 3]))
    for _ in range(2):
        assert store.read([2, 3]) == [b"records", b"anew!"]
        assert [info.size for info in store.open().sections] == [7, 5]
    store.write(Write(5, 6, [Section(SectionInfo(5, 5, 5, 1, size), records)]))
    store.close()
    with sqlite3.connect(store.path) as db:
        assert db.execute("SELECT sum(length(records)) FROM part").fetchone() == (size - 10,)
        db.execute("UPDATE part SET records = 'text' WHERE place = 1")
    db.close()
    store.open()
    with pytest.raises(SectionDamaged, match="section 5 is damaged"):
        store.read([5])
    store.close()


def test_late_jobs_cost_other_sections_nothing(tmp_path: Path) -> None:
    """Those of dead letters and results may be very many: no section that goes looks through all of them."""
    store = SqliteStore(tmp_path / "jobs.db")
    store.open()
    store.close()
    with sqlite3.connect(store.path) as db:
        plan = db.execute("EXPLAIN QUERY PLAN DELETE FROM late WHERE section = 1").fetchall()
    db.close()
    assert ["late_section" in row[3] for row in plan] == [True]


def log_of(store: SqliteStore) -> Path:
    return Path(f"{store.path}-wal")


def test_the_log_has_its_room_from_the_start(tmp_path: Path) -> None:
    """And what is behind its last commit is not taken for one when its process has died."""
    store = SqliteStore(tmp_path / "jobs.db")
    store.open()
    size = log_of(store).stat().st_size
    for id in range(1, 21):
        store.write(Write(id, id + 1, [Section(SectionInfo(id, id, id, 1, 7), b"records")]))
    assert log_of(store).stat().st_size == size == LOG_BYTES
    left = tmp_path / "left.db"
    left.write_bytes(Path(store.path).read_bytes())
    log_of(SqliteStore(left)).write_bytes(log_of(store).read_bytes())
    store.close()
    again = SqliteStore(left)
    assert len(again.open().sections) == 20
    again.close()
    assert not log_of(again).exists()


def test_a_disk_without_room_for_the_log(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource", reason="needs a limit of a file's size: resource.setrlimit")
    store = SqliteStore(tmp_path / "jobs.db")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LOG_BYTES // 2, hard))
    try:
        store.open()
        assert log_of(store).stat().st_size < LOG_BYTES // 2
        store.write(Write(1, 2))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert store.open().batch == 1
    store.close()


def test_the_log_is_not_left_as_large_as_its_largest_write(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "jobs.db")
    store.open()
    large = bytes(4 * LOG_BYTES)
    store.write(Write(1, 2, [Section(SectionInfo(1, 1, 1, 1, len(large)), large)]))
    assert log_of(store).stat().st_size > len(large)
    store.write(Write(2, 2, drop=[1]))
    for id in range(3, 2000):
        if log_of(store).stat().st_size == LOG_BYTES:
            break
        store.write(Write(id, id + 1, [Section(SectionInfo(id, id, id, 1, 7), b"records")]))
    assert log_of(store).stat().st_size == LOG_BYTES
    store.close()


def test_another_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that is opened again after an error is the one that it was."""
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path)
    store = SqliteStore("jobs.db")
    store.open()
    store.write(Write(5, 6))
    monkeypatch.chdir(tmp_path / "other")
    assert store.open().batch == 5
    store.close()
    assert list((tmp_path / "other").iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="paths are any bytes on Linux alone")
def test_a_path_that_is_no_utf_8(tmp_path: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))
    folder.mkdir()
    store = SqliteStore(folder / "jobs.db")
    store.open()
    store.write(Write(5, 6))
    assert log_of(store).stat().st_size == LOG_BYTES
    store.close()


def test_in_memory_there_is_no_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that happens to have such a name is left alone."""
    monkeypatch.chdir(tmp_path)
    other = tmp_path / "-wal"
    other.write_bytes(b"another program's")
    store = SqliteStore(":memory:")
    store.open()
    store.close()
    assert other.read_bytes() == b"another program's"

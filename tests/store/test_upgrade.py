# SPDX-License-Identifier: BSD-3-Clause
"""Files of earlier schemas open in this one. `data/sqlite-N.db` was written by a server of schema N, then killed."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest

import gearfast
from gearfast.store.sqlite import SCHEMA, SqliteStore

DATA = Path(__file__).parent / "data"
FIRST = 17958172152473083
"""The number of the first job in `sqlite-1.db`."""


def version(path: Path) -> int:
    db = sqlite3.connect(path)
    try:
        return int(db.execute("PRAGMA user_version").fetchone()[0])
    finally:
        db.close()


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "jobs.db"
    shutil.copy(DATA / "sqlite-1.db", path)
    assert version(path) == 1
    return path


def test_there_is_a_file_of_each_earlier_schema() -> None:
    assert sorted(DATA.glob("sqlite-*.db")) == [DATA / f"sqlite-{number}.db" for number in range(1, SCHEMA)]


def test_it_is_brought_up_to_date_once(old: Path) -> None:
    for _ in range(2):
        store = SqliteStore(old)
        contents = store.open()
        assert [info.count for info in contents.sections] == [1, 3, 1, 1, 1, 1, 1, 1]
        assert [info.first - FIRST for info in contents.sections] == [0, 1, 4, 5, 6, 7, 8, 9]
        assert contents.sections[1].ended == (FIRST + 1).to_bytes(8, "little")
        assert contents.losses == {FIRST + 9: 2}
        assert b"photo-1" in store.read([1])[0]
        store.close()
        assert version(old) == SCHEMA


def test_its_jobs_are_as_they_were(old: Path) -> None:
    with gearfast.Server(store=str(old), handle_prefix="H:frozen") as server, gearfast.Client(server.url) as client:
        assert client.status(f"H:frozen:{FIRST}").known
        assert not client.status(f"H:frozen:{FIRST + 1}").known  # it had ended
        done: list[tuple[str, str, bytes, bytes]] = []
        worker = gearfast.Worker(server.url)
        for function in ("resize", "done", "large", "lost", "mail"):

            @worker.function(function)
            def note(job: gearfast.Job) -> bytes:
                done.append((job.function, job.handle.rpartition(":")[2], job.unique, job.workload))
                if len(done) == 8:
                    worker.stop()
                return b""

        worker.run()
        left = {job.function for job in server.jobs()}
    large = bytes(range(256)) * 40
    assert [one for one in done if one[0] == "resize"] == [
        ("resize", str(FIRST + 5), b"", b"photo-high"),
        ("resize", str(FIRST), b"", b"photo-1"),
        ("resize", str(FIRST + 4), b"p/17", b"photo-17"),
        ("resize", str(FIRST + 6), b"", b"photo-low"),
    ]
    assert sorted(one for one in done if one[0] != "resize") == [
        ("done", str(FIRST + 2), b"", b"not ended"),
        ("done", str(FIRST + 3), b"", b"nor this"),
        ("large", str(FIRST + 8), b"", large),
        ("lost", str(FIRST + 9), b"", b"lost twice"),
    ]
    assert left == {"mail"}  # in the year 2100


def test_a_file_before_there_were_parts_of_sections(tmp_path: Path) -> None:
    """Of five jobs one had become a dead letter, one has left its result, and a schedule had been noted."""
    path = tmp_path / "jobs.db"
    shutil.copy(DATA / "sqlite-2.db", path)
    assert version(path) == 2
    store = SqliteStore(path)
    assert list(store.open().notes) == ["fired/nightly"]
    store.close()
    assert version(path) == SCHEMA
    with gearfast.Server(
        store=str(path), handle_prefix="H:frozen", functions={"f": {"keep_failed": 10, "keep_results": 10}}
    ) as server:
        with gearfast.AdminClient(server.url) as admin:
            (letter,) = admin.dead_letters()
            assert (letter.unique, letter.function) == (b"u0", "f")
        with gearfast.Client(server.url) as client:
            assert client.result("u1", function="f") == b"result"
        assert [job.workload for job in server.jobs()] == [b"workload %d" % n for n in range(2, 5)]

# SPDX-License-Identifier: BSD-3-Clause
"""`gearfast migrate` of queues that a real gearmand has left, in each of the things that it can keep them in."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from gearfast import Client, Job, Packet, Priority, Worker
from gearfast.cli.migrate import WINDOW, WINDOW_BYTES, _lot
from gearfast.demo.processes import free_port
from gearfast.gearmand_queue.row import Row
from gearfast.gearmand_queue.urls import read_queue
from gearfast.protocol import Command

from ..fault_proxy import Connection, ScriptedPeer
from ..servers import PATIENCE, ServerFailed, ServerProcess, running

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs gearmand")
EVERY_BYTE = bytes(range(256))


class Queue(NamedTuple):
    """`options`: of gearmand; `url`: of `gearfast migrate`; `fingerprint()`: everything in it."""

    kind: str
    options: list[str]
    url: str
    fingerprint: Callable[[], object]


@pytest.fixture
def sqlite_queue(tmp_path: Path) -> Queue:
    path = tmp_path / "gearmand.db"
    return Queue("libsqlite3", ["-q", "libsqlite3", "--libsqlite3-db", str(path)], str(path), path.read_bytes)


@pytest.fixture
def redis_queue(need_database: Callable[[str], Any], require: Any) -> Iterator[Queue]:
    redis = require.module("redis", "redis")
    port = free_port()
    with need_database("redis").Redis("--port", str(port), "--bind", "127.0.0.1"), redis.Redis(port=port) as client:

        def all_of_it() -> object:
            keys = sorted(client.keys("*"))
            return [(key, client.dump(key)) for key in keys]

        options = ["-q", "redis", "--redis-server", "127.0.0.1", "--redis-port", str(port)]
        yield Queue("redis", options, f"redis://127.0.0.1:{port}/0", all_of_it)


@pytest.fixture
def postgres_queue(need_database: Callable[[str], Any]) -> Iterator[Queue]:
    with need_database("postgresql").Postgres() as database:

        def all_of_it() -> object:
            with database.admin() as connection:
                return sorted(connection.execute("SELECT * FROM queue").fetchall())

        options = ["-q", "Postgres", "--libpq-conninfo", f"host={database.folder} user=gearfast dbname=postgres"]
        url = f"postgresql://gearfast@/postgres?host={database.folder}"
        yield Queue("Postgres", options, url, all_of_it)


@pytest.fixture
def mysql_queue(need_database: Callable[[str], Any]) -> Iterator[Queue]:
    port = free_port()
    with need_database("mysql").Mysql("--skip-networking=0", "--bind-address=127.0.0.1", f"--port={port}") as database:

        def all_of_it() -> object:
            with database.admin() as connection, connection.cursor() as cursor:
                cursor.execute("SELECT * FROM gearman_queue ORDER BY unique_key")
                return cursor.fetchall()

        options = ["-q", "MySQL", "--mysql-host", "127.0.0.1", "--mysql-port", str(port), "--mysql-user", "root"]
        url = f"mysql://root@127.0.0.1:{port}/jobs"
        yield Queue("MySQL", [*options, "--mysql-db", "jobs"], url, all_of_it)


@pytest.fixture(params=["sqlite_queue", "postgres_queue", "mysql_queue", "redis_queue"])
def queue(request: pytest.FixtureRequest, require: Any) -> Queue:
    require.program("gearmand", "gearman-job-server")
    found: Queue = request.getfixturevalue(request.param)
    return found


def migrate(queue: Queue, server: ServerProcess, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-m", "gearfast", "migrate", queue.url, *options]
    command += ["--server", f"{server.host}:{server.port}"]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)


def do_all(server: ServerProcess, functions: list[str], count: int) -> list[tuple[str, bytes, bytes]]:
    """Function, unique and workload of the first `count` jobs, in the order of a worker."""
    done: list[tuple[str, bytes, bytes]] = []
    worker = Worker(f"{server.host}:{server.port}")

    def note(job: Job) -> bytes:
        done.append((job.function, job.unique, job.workload))
        if len(done) == count:
            worker.stop()
        return b""

    for function in functions:
        worker.register(function, note)
    worker.run()
    return done


def test_what_a_gearmand_has_left(queue: Queue) -> None:
    with running("gearmand", *queue.options) as gearmand, Client(f"{gearmand.host}:{gearmand.port}") as client:
        client.submit_background("resize", b"third", unique="p/3", priority=Priority.LOW)
        client.submit_background("resize", b"second", unique="p/2")
        client.submit_background("resize", b"first", unique="p/1", priority=Priority.HIGH)
        # Redis' gearmand cuts a workload at its first NUL only when it reads it back.
        client.submit_background("mail", EVERY_BYTE, unique="m")
        client.submit_background("mail", b"by a client that makes uniques of its own")
        if queue.kind != "redis":
            client.submit_background("later", b"in 2037", unique="l", at=2_114_380_800)
        gearmand.stop()
    before = queue.fingerprint()
    later = {} if queue.kind == "redis" else {"later": 1}
    with running("gearfast") as server:
        counted = migrate(queue, server, "--dry-run", "--json")
        assert counted.returncode == 0, counted.stderr
        assert json.loads(counted.stdout) == {"functions": {**later, "mail": 2, "resize": 3}, "left": []}
        assert server.admin("status") == ".\n"
        result = migrate(queue, server)
        assert result.returncode == 0, result.stderr
        assert f"{5 + len(later)} jobs taken, 0 left where they are" in result.stdout
        assert queue.fingerprint() == before
        done = do_all(server, ["resize", "mail"], 5)
        assert [one for one in done if one[0] == "resize"] == [
            ("resize", b"p/1", b"first"),
            ("resize", b"p/2", b"second"),
            ("resize", b"p/3", b"third"),
        ]
        mails = {workload: unique for function, unique, workload in done if function == "mail"}
        assert mails.pop(EVERY_BYTE) == b"m"
        ((workload, unique),) = mails.items()
        assert workload == b"by a client that makes uniques of its own"
        assert unique
        if later:
            assert "later\t1\t0\t0" in server.admin("status")


def test_rows_that_gearmand_itself_cannot_start_with(sqlite_queue: Queue, require: Any) -> None:
    """An empty workload, which it writes as NULL, and a time of NULL, as in tables of old versions."""
    require.program("gearmand", "gearman-job-server")
    with running("gearmand", *sqlite_queue.options) as gearmand, Client(f"{gearmand.host}:{gearmand.port}") as client:
        client.submit_background("f", b"", unique="empty")
        client.submit_background("f", b"x", unique="timeless")
        gearmand.stop()
    with sqlite3.connect(sqlite_queue.url) as db:
        db.execute("UPDATE gearman_queue SET when_to_run = NULL WHERE unique_key = 'timeless'")
        db.execute("INSERT INTO gearman_queue VALUES ('u', NULL, 1, 'x', 0)")
        db.execute("INSERT INTO gearman_queue VALUES ('u', CAST(x'ff' AS TEXT), 1, 'x', 0)")
    db.close()
    # It ends by itself, some of the times after it has begun to listen.
    with pytest.raises((ServerFailed, OSError)), running("gearmand", *sqlite_queue.options) as gearmand:
        raise ServerFailed(f"it ended with {gearmand.process.wait(PATIENCE)}")
    with running("gearfast") as server:
        result = migrate(sqlite_queue, server)
        assert result.returncode == 1
        assert "2 jobs taken, 2 left where they are" in result.stdout
        assert "unique 'u': it has no function" in result.stderr
        assert "is not UTF-8" in result.stderr
        assert sorted(do_all(server, ["f"], 2)) == [("f", b"empty", b""), ("f", b"timeless", b"x")]


def migrated(options: list[str], url: str, *more: str) -> list[tuple[str, bytes, bytes]]:
    """What workers get of a job that a gearmand with these options left, whose names are not ASCII."""
    with running("gearmand", *options) as gearmand, Client(f"{gearmand.host}:{gearmand.port}") as client:
        client.submit_background("größe", EVERY_BYTE, unique="tür")
        gearmand.stop()
    with running("gearfast") as server:
        result = migrate(Queue("", options, url, lambda: None), server, *more)
        assert result.returncode == 0, result.stderr
        assert "1 jobs taken" in result.stdout
        return do_all(server, ["größe"], 1)


def test_a_database_of_postgres_that_is_not_utf8(need_database: Callable[[str], Any], require: Any) -> None:
    """And a table's name as it was given to gearmand, which PostgreSQL made lower case."""
    require.program("gearmand", "gearman-job-server")
    with need_database("postgresql").Postgres() as database:
        with database.admin() as connection:
            connection.autocommit = True
            connection.execute("CREATE DATABASE old ENCODING LATIN1 LOCALE 'C' TEMPLATE template0")
        options = ["-q", "Postgres", "--libpq-conninfo", f"host={database.folder} user=gearfast dbname=old"]
        url = f"postgresql://gearfast@/old?host={database.folder}"
        done = migrated([*options, "--libpq-table", "MyQueue"], url, "--table", "MyQueue")
    assert done == [("größe", "tür".encode(), EVERY_BYTE)]


def test_a_table_of_mysql_that_is_not_utf8(mysql_queue: Queue, require: Any) -> None:
    """MariaDB's library translates what gearmand sends into the character set of the table."""
    require.program("gearmand", "gearman-job-server")
    import pymysql

    port = int(mysql_queue.options[mysql_queue.options.index("--mysql-port") + 1])
    with pymysql.connect(host="127.0.0.1", port=port, user="root") as connection, connection.cursor() as cursor:
        cursor.execute("ALTER DATABASE jobs CHARACTER SET latin1")
    assert migrated(mysql_queue.options, mysql_queue.url) == [("größe", "tür".encode(), EVERY_BYTE)]


def test_functions_with_dashes_in_redis(redis_queue: Queue, require: Any) -> None:
    require.program("gearmand", "gearman-job-server")
    with running("gearmand", *redis_queue.options) as gearmand, Client(f"{gearmand.host}:{gearmand.port}") as client:
        client.submit_background("re-size", b"x", unique="p-1")
        gearmand.stop()
    with running("gearfast") as server:
        result = migrate(redis_queue, server)
        assert result.returncode == 1
        assert "name it with --function" in result.stderr
        result = migrate(redis_queue, server, "--function", "re-size")
        assert result.returncode == 0, result.stderr
        assert do_all(server, ["re-size"], 1) == [("re-size", b"p-1", b"x")]


def test_more_jobs_than_are_under_way_at_a_time(sqlite_queue: Queue) -> None:
    with sqlite3.connect(sqlite_queue.url) as db:
        db.execute(
            "CREATE TABLE gearman_queue (unique_key TEXT, function_name TEXT, priority INTEGER, data BLOB,"
            " when_to_run INTEGER, PRIMARY KEY (unique_key, function_name))"
        )
        rows = [(f"u{n}", b"%d" % n) for n in range(3000)]
        db.executemany("INSERT INTO gearman_queue VALUES (?, 'f', 1, ?, 0)", rows)
    db.close()
    with running("gearfast") as server:
        assert migrate(sqlite_queue, server).returncode == 0
        assert [workload for _, _, workload in do_all(server, ["f"], 3000)] == [b"%d" % n for n in range(3000)]


def test_a_job_server_that_is_away(sqlite_queue: Queue) -> None:
    with sqlite3.connect(sqlite_queue.url) as db:
        db.execute("CREATE TABLE gearman_queue (unique_key TEXT, function_name TEXT, priority, data, when_to_run)")
        db.execute("INSERT INTO gearman_queue VALUES ('u', 'f', 1, 'x', 0)")
    db.close()
    command = [sys.executable, "-m", "gearfast", "migrate", sqlite_queue.url, "--server", f"127.0.0.1:{free_port()}"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert result.returncode == 3
    assert "0 jobs taken" in result.stdout
    assert "Traceback" not in result.stderr


def make_sqlite(path: str, rows: list[tuple[str, bytes]]) -> None:
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE gearman_queue (unique_key TEXT, function_name TEXT, priority, data, when_to_run)")
        db.executemany("INSERT INTO gearman_queue VALUES (?, 'f', 1, ?, 0)", rows)
    db.close()


def test_a_queue_that_is_damaged_further_on(sqlite_queue: Queue) -> None:
    """Who runs it again knows how much is there twice, for jobs without a unique."""
    make_sqlite(sqlite_queue.url, [(f"u{n}", bytes(3000)) for n in range(600)])
    with Path(sqlite_queue.url).open("r+b") as file:
        file.seek(file.seek(0, os.SEEK_END) // 2)
        file.write(b"\xde" * 9000)
    with running("gearfast") as server:
        result = migrate(sqlite_queue, server)
        assert result.returncode == 1
        there = server.function("f").total
        assert there > 0
        assert f"{there} jobs taken, 0 left where they are" in result.stdout
        assert result.stderr == f"gearfast migrate: {sqlite_queue.url}: database disk image is malformed\n"


def test_ctrl_c_tells_what_was_taken(sqlite_queue: Queue) -> None:
    make_sqlite(sqlite_queue.url, [(f"u{n}", b"x") for n in range(WINDOW + 1)])
    one_more = threading.Event()

    def play(connection: Connection) -> None:
        connection.read("OPTION_REQ")
        connection.send(Packet(Command.OPTION_RES, [b"exceptions"]))
        for number in range(WINDOW):
            connection.read("SUBMIT_JOB_BG")
            connection.send(Packet(Command.JOB_CREATED, [b"H:it:%d" % number]))
        connection.read("SUBMIT_JOB_BG")
        one_more.set()
        connection.wait_for_end()

    command = [sys.executable, "-m", "gearfast", "migrate", sqlite_queue.url, "--server"]
    with (
        ScriptedPeer(play) as server,
        subprocess.Popen([*command, server.address], stdout=subprocess.PIPE, text=True) as process,
    ):
        assert one_more.wait(PATIENCE)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert f"{WINDOW} jobs taken, 0 left where they are" in output


def test_few_large_jobs_are_under_way_at_a_time() -> None:
    small, large = (Row("f", b"", bytes(size), Priority.NORMAL, 0, "") for size in (10, WINDOW_BYTES // 4))
    rows = iter([small] * (WINDOW + 1) + [large] * 5 + [small])
    lots = []
    while lot := _lot(rows):
        lots.append(len(lot))
    assert lots == [WINDOW, 5, 2]


@pytest.mark.parametrize("kind", ["postgres", "redis"])
def test_few_large_jobs_are_read_at_a_time(kind: str, request: pytest.FixtureRequest, require: Any) -> None:
    queue: Queue = request.getfixturevalue(f"{kind}_queue")
    if kind == "redis":
        with require.module("redis", "redis").Redis.from_url(queue.url) as client:
            for number in range(64):
                client.hset(f"_gear_-f-u{number}", mapping={"data": bytes(1 << 20), "priority": 1})
    else:
        with require.module("psycopg", "postgres").connect(queue.url) as connection:
            connection.execute(
                "CREATE TABLE queue AS SELECT 'u' || n AS unique_key, 'f' AS function_name, 1 AS priority,"
                " convert_to(repeat('x', 1 << 20), 'UTF8') AS data, 0 AS when_to_run FROM generate_series(1, 64) AS n"
            )
    tracemalloc.start()
    try:
        sizes = [len(row.workload) for row in read_queue(queue.url) if isinstance(row, Row)]
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert sizes == [1 << 20] * 64
    assert most < 56 << 20

# SPDX-License-Identifier: BSD-3-Clause
from __future__ import annotations

import socket

import pytest

from gearfast.gearmand_queue import row
from gearfast.gearmand_queue.mysql import _sent
from gearfast.gearmand_queue.redis import _names
from gearfast.gearmand_queue.row import QueueError, Row, Skipped, to_row
from gearfast.gearmand_queue.urls import read_queue
from gearfast.types import Priority

INFINITE = float("inf")


@pytest.mark.parametrize(
    ("columns", "row"),
    [
        ((b"u", b"f", 0, b"x", 0), Row("f", b"u", b"x", Priority.HIGH, 0, "'f', unique 'u'")),
        (("u", "f", 1, "x", 17), Row("f", b"u", b"x", Priority.NORMAL, 17, "'f', unique 'u'")),
        ((b"u", b"f", b"2", memoryview(b"x"), b"17"), Row("f", b"u", b"x", Priority.LOW, 17, "'f', unique 'u'")),
        # What stops gearmand itself: an empty workload, a time that is not there.
        ((b"u", b"f", 1, None, None), Row("f", b"u", b"", Priority.NORMAL, 0, "'f', unique 'u'")),
        # What no gearmand wrote.
        ((None, b"f", None, 12, -5), Row("f", b"", b"12", Priority.NORMAL, 0, "'f', unique ''")),
        ((b"u", b"f", 77, b"x", "soon"), Row("f", b"u", b"x", Priority.NORMAL, 0, "'f', unique 'u'")),
        ((b"u", b"f", INFINITE, b"x", -INFINITE), Row("f", b"u", b"x", Priority.NORMAL, 0, "'f', unique 'u'")),
        ((b"u", b"f", 1, b"x", INFINITE), Row("f", b"u", b"x", Priority.NORMAL, 1 << 63, "'f', unique 'u'")),
        # MySQL has a NUL behind 63 bytes.
        (
            (b"u" * 63 + b"\0", b"f", 1, b"", 0),
            Row("f", b"u" * 63, b"", Priority.NORMAL, 0, f"'f', unique '{'u' * 63}'"),
        ),
        ((b"u", "fü".encode(), 1, b"x", 0), Row("fü", b"u", b"x", Priority.NORMAL, 0, "'fü', unique 'u'")),
    ],
)
def test_columns(columns: tuple[object, ...], row: Row) -> None:
    assert to_row(*columns) == row


def test_what_is_no_job() -> None:
    assert to_row(b"u", None, 1, b"x", 0) == Skipped("'', unique 'u'", "it has no function")
    assert to_row(b"u", b"\xff", 1, b"x", 0) == Skipped("'\ufffd', unique 'u'", "the name of its function is not UTF-8")


UUID = b"7f0a1c2e-0000-11ee-8c99-0242ac120002"


@pytest.mark.parametrize(
    ("rest", "fields", "known", "names"),
    [
        (b"f-u", {}, [], (b"f", b"u")),
        (b"f-", {}, [], (b"f", b"")),
        (b"f--", {}, [], (b"f", b"-")),
        (b"f-" + UUID, {}, [], (b"f", UUID)),
        (b"a-b-" + UUID, {}, [], (b"a-b", UUID)),
        (b"a-b-0123456789abcdef-1f", {}, [], (b"a-b", b"0123456789abcdef-1f")),
        (b"a-b-c", {}, [], None),
        (b"a-b-c", {}, [b"a-b"], (b"a-b", b"c")),
        (b"a-b-c", {}, [b"a"], (b"a", b"b-c")),
        (b"a-b-c", {}, [b"a", b"a-b"], (b"a-b", b"c")),
        (b"a-b-c", {}, [b"x"], None),
        (b"f- " + b"u" * 63, {}, [], (b"f", b"u" * 63)),
        (b"a-b-c", {b"function": b"a", b"unique": b"b-c"}, [b"a-b"], (b"a", b"b-c")),
        (b"a-", {b"function": b"a"}, [], (b"a", b"")),
    ],
)
def test_keys_of_redis(
    rest: bytes, fields: dict[bytes, bytes], known: list[bytes], names: tuple[bytes, bytes] | None
) -> None:
    assert _names(rest, fields, known) == names


@pytest.mark.parametrize(
    ("url", "options", "words"),
    [
        ("oracle://h/db", {}, r"postgresql://….*redis://…"),
        ("queue.db", {"prefix": "x"}, "--prefix is for Redis"),
        ("redis://h", {"table": "x"}, "--table is for SQL"),
        ("no/such/file.db", {}, "no/such/file.db: there is no such file"),
        ("sqlite:////no/such.db", {}, "/no/such.db: there is no such file"),
        ("sqlite://such.db", {}, "sqlite://such.db: a queue of libsqlite3 is sqlite:///FILE, with three slashes"),
        ("mysql://h", {}, "names no database"),
        ("mysql://h/db?charset=x", {}, "unix_socket=PATH is the only option"),
    ],
)
def test_queues_that_cannot_be(url: str, options: dict[str, str], words: str) -> None:
    if url.startswith("mysql"):
        pytest.importorskip("pymysql")
    with pytest.raises(QueueError, match=words):
        list(read_queue(url, **options))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "raw", "sent"),
    [
        ("f", b"f", b"f"),
        ("tür", "tür".encode("latin-1"), "tür"),  # MariaDB's library, a table of Latin 1
        ("tÃ¼r", "tür".encode(), b"t\xc3\xbcr"),  # an old one of MySQL, the same
        (b"\xff", b"\xff", b"\xff"),  # a column of bytes
        (None, None, None),
    ],
)
def test_names_of_mysql(text: str | bytes | None, raw: bytes | None, sent: str | bytes | None) -> None:
    assert _sent(text, raw) == sent


@pytest.mark.parametrize(
    "url", ["mysql://u:s3/cret@h/db", "mysql://[u:s3cret@h/db", "redis://u:s3/cret@h/0", "sqlite://[s3"]
)
def test_a_url_that_is_none_is_told_without_its_password(url: str) -> None:
    with pytest.raises(QueueError, match="the URL is not well formed: a port is a number") as caught:
        list(read_queue(url))
    assert "s3" not in str(caught.value)


@pytest.mark.parametrize("url", ["mysql://u@127.0.0.1:{}/db", "redis://127.0.0.1:{}/0"])
def test_what_listens_there_says_nothing(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a Gearman server, and many another, does to whom waits for a greeting."""
    pytest.importorskip("pymysql" if url.startswith("mysql") else "redis")
    monkeypatch.setattr(row, "PATIENCE", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(QueueError, match=r"(?i)timed out|timeout"):
        list(read_queue(url.format(silent.getsockname()[1])))

# SPDX-License-Identifier: BSD-3-Clause
"""`gearmand -q MySQL`, on MySQL and MariaDB. Needs PyMySQL: `pip install "gearfast[mysql]"`."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from gearfast.gearmand_queue import row
from gearfast.gearmand_queue.row import QueueError, to_row

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gearfast.gearmand_queue.row import Row, Skipped

__all__ = ["TABLE", "read"]

TABLE = "gearman_queue"
_NO_SUCH_TABLE = 1146


def read(url: str, table: str = TABLE) -> Iterator[Row | Skipped]:
    """The jobs, in the table's own order. `url`: mysql://USER:PASSWORD@HOST:PORT/DATABASE, or ?unix_socket=PATH.

    Raises QueueError, without the password.
    """
    try:
        import pymysql  # type: ignore[import-untyped, unused-ignore]
        from pymysql.cursors import SSCursor  # type: ignore[import-untyped, unused-ignore]
    except ImportError:
        raise QueueError('MySQL needs PyMySQL: pip install "gearfast[mysql]"') from None
    parts = urlsplit(url)
    database = parts.path.strip("/")
    if not database:
        raise QueueError("a MySQL queue is mysql://USER:PASSWORD@HOST:PORT/DATABASE, and this names no database")
    name = ".".join("`" + part.replace("`", "``") + "`" for part in table.split("."))
    key, function = "unique_key, CAST(unique_key AS BINARY)", "function_name, CAST(function_name AS BINARY)"
    query = f"SELECT {key}, {function}, priority, data, when_to_run FROM {name}"
    try:
        connection = pymysql.connect(
            host=parts.hostname or "localhost",
            port=parts.port or 3306,
            user=unquote(parts.username) if parts.username else None,
            password=unquote(parts.password or ""),
            database=unquote(database),
            charset="utf8mb4",
            unix_socket=_socket(parts.query),
            connect_timeout=10,
            read_timeout=row.PATIENCE,
        )
        with connection, connection.cursor(SSCursor) as cursor:
            cursor.execute("START TRANSACTION READ ONLY, WITH CONSISTENT SNAPSHOT")
            cursor.execute(query)
            for key, raw_key, function, raw_function, *rest in cursor:
                yield to_row(_sent(key, raw_key), _sent(function, raw_function), *rest)
    except pymysql.Error as error:
        if error.args and error.args[0] == _NO_SUCH_TABLE:
            raise QueueError(
                f"there is no table {table}; gearmand's is {TABLE} unless --mysql-table says else"
            ) from None
        raise QueueError(f"MySQL: {error.args[-1] if error.args else error}") from error


def _sent(text: str | bytes | None, raw: bytes | None) -> str | bytes | None:
    """A name or a unique as gearmand got it. `text`: by a connection of UTF-8; `raw`: as it is in the table.

    gearmand's library takes its bytes as UTF-8 (MariaDB's) or as Latin 1 (old ones of MySQL), and a table of another
    character set has them translated from that, while one of the same has them as they are.
    """
    try:
        (raw or b"").decode("utf-8")
    except UnicodeDecodeError:
        return text
    return raw


def _socket(query: str) -> str | None:
    key, _, value = query.partition("=")
    if query and key != "unix_socket":
        raise QueueError(f"mysql://…?{key}: unix_socket=PATH is the only option")
    return unquote(value) or None

# SPDX-License-Identifier: BSD-3-Clause
"""`gearmand -q Postgres`. Needs psycopg: `pip install "gearfast[postgres]"`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gearfast.gearmand_queue.row import QueueError, to_row

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gearfast.gearmand_queue.row import Row, Skipped

__all__ = ["TABLE", "read"]

TABLE = "queue"
_CHUNK = 16
"""Rows that are in memory at a time, and each may be large."""


def read(url: str, table: str = TABLE) -> Iterator[Row | Skipped]:
    """The jobs, in the table's own order; `table` may be SCHEMA.TABLE. Raises QueueError, without the password."""
    try:
        import psycopg
        from psycopg import sql
    except ImportError:
        raise QueueError('PostgreSQL needs psycopg: pip install "gearfast[postgres]"') from None
    # As bytes: gearmand's connection has the database's encoding, so names and uniques are there as it got them.
    query = sql.SQL(
        "SELECT convert_to(unique_key, getdatabaseencoding()), convert_to(function_name, getdatabaseencoding()),"
        " priority, data, when_to_run FROM {}"
    )
    try:
        with psycopg.connect(url) as connection:
            connection.read_only = True
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            with connection.cursor("gearfast", binary=True) as cursor:
                cursor.itersize = _CHUNK
                for row in cursor.execute(query.format(sql.Identifier(*_found(connection, table).split(".")))):
                    yield to_row(*row)
    except psycopg.errors.UndefinedTable:
        raise QueueError(f"there is no table {table}; gearmand's is {TABLE} unless --libpq-table says else") from None
    except psycopg.Error as error:
        raise QueueError(f"PostgreSQL: {error}".strip()) from error


def _found(connection: Any, table: str) -> str:
    """gearmand writes the name without quotes: PostgreSQL makes it lower case, unless the table was made by others."""
    from psycopg import sql

    quoted = sql.Identifier(*table.split(".")).as_string(connection)
    (there,) = connection.execute("SELECT to_regclass(%s) IS NOT NULL", [quoted]).fetchone()
    return table if there else table.lower()

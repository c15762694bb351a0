# SPDX-License-Identifier: BSD-3-Clause
"""`gearmand -q Postgres`. Needs psycopg: `pip install "gearfast[postgres]"`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gearfast.gearmand_queue.row import QueueError, to_row

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gearfast.gearmand_queue.row import Row, Skipped

__all__ = ["TABLE", "read"]

TABLE = "queue"
_CHUNK = 500


def read(url: str, table: str = TABLE) -> Iterator[Row | Skipped]:
    """The jobs, in the table's own order; `table` may be SCHEMA.TABLE. Raises QueueError, without the password."""
    try:
        import psycopg
        from psycopg import sql
    except ImportError:
        raise QueueError('PostgreSQL needs psycopg: pip install "gearfast[postgres]"') from None
    query = sql.SQL("SELECT unique_key, function_name, priority, data, when_to_run FROM {}").format(
        sql.Identifier(*table.split("."))
    )
    try:
        with psycopg.connect(url) as connection:
            connection.read_only = True
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            with connection.cursor("gearfast", binary=True) as cursor:
                cursor.itersize = _CHUNK
                for row in cursor.execute(query):
                    yield to_row(*row)
    except psycopg.errors.UndefinedTable:
        raise QueueError(f"there is no table {table}; gearmand's is {TABLE} unless --libpq-table says else") from None
    except psycopg.Error as error:
        raise QueueError(f"PostgreSQL: {error}".strip()) from error

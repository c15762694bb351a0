# SPDX-License-Identifier: BSD-3-Clause
"""From the URL of a gearmand's queue to its jobs. What a kind needs is imported only when it is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import SplitResult, unquote, urlsplit

from gearfast.gearmand_queue.row import QueueError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from gearfast.gearmand_queue.row import Row, Skipped

__all__ = ["read_queue"]

_REDIS: Final = ("redis", "rediss", "unix")


def read_queue(
    url: str, *, table: str | None = None, prefix: str | None = None, functions: Collection[str] = ()
) -> Iterator[Row | Skipped]:
    """The jobs of `sqlite:///FILE` or a path, `postgresql://…`, `mysql://…`, or `redis://…`.

    `table`: of SQL, `prefix`: of Redis, None for gearmand's default. Raises QueueError, at once or while it is read.
    """
    scheme, separator, _ = url.partition("://")
    if prefix is not None and scheme not in _REDIS:
        raise QueueError("--prefix is for Redis; SQL has a --table")
    if table is not None and scheme in _REDIS:
        raise QueueError("--table is for SQL; Redis has a --prefix")
    if not separator or scheme == "sqlite":
        from gearfast.gearmand_queue import sqlite

        return sqlite.read(_path(url) if separator else url, table or sqlite.TABLE)
    if scheme in ("mysql", *_REDIS):  # libpq has URLs of its own
        _split(url)
    if scheme in ("postgresql", "postgres"):
        from gearfast.gearmand_queue import postgres

        return postgres.read(url, table or postgres.TABLE)
    if scheme == "mysql":
        from gearfast.gearmand_queue import mysql

        return mysql.read(url, table or mysql.TABLE)
    if scheme in _REDIS:
        from gearfast.gearmand_queue import redis

        return redis.read(url, prefix or redis.PREFIX, functions)
    raise QueueError(f"{scheme}://: a queue is a path or sqlite:///FILE, postgresql://…, mysql://… or redis://…")


def _path(url: str) -> str:
    parts = _split(url)
    path = unquote(parts.path).removeprefix("/")
    if parts.netloc or not path or parts.query or parts.fragment:
        raise QueueError(f"{url}: a queue of libsqlite3 is sqlite:///FILE, with three slashes before a relative path")
    return path


def _split(url: str) -> SplitResult:
    """Raises QueueError, also for a port that is none."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        # It would tell what it could not read, which may be half of a password.
        raise QueueError(
            f"{url.partition(':')[0]}://…: the URL is not well formed: a port is a number, and characters of a "
            "password that mean something in a URL are written %40 and the like"
        ) from None
    return parts

# SPDX-License-Identifier: BSD-3-Clause
"""From the URL of a store to the store. What a kind needs is imported only when it is asked for."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

from gearfast.store._place import Place
from gearfast.store.base import Store

__all__ = ["make_store"]


def make_store(url: str) -> Store:
    """The store that a URL, or a plain path, names.

    `jobs.db`, `sqlite:///jobs.db` (`sqlite:////var/lib/jobs.db` is absolute),
    `postgresql://USER:PASSWORD@HOST:PORT/DATABASE?schema=gearfast`,
    `mysql://USER:PASSWORD@HOST:PORT/DATABASE?prefix=gearfast`,
    `redis://USER:PASSWORD@HOST:PORT/NUMBER?prefix=gearfast`, `memory://NAME`.

    Raises ValueError, saying what would be right.
    """
    scheme, separator, _ = url.partition("://")
    if not separator:
        scheme, colon, _ = url.partition(":")
        if colon and scheme.lower() in _KINDS:
            raise ValueError(f"{scheme}: is not followed by two slashes: {_RIGHT}; a file of that name is ./{scheme}:…")
        return _sqlite_file(url)
    make = _KINDS.get(scheme.lower())
    if make is None:
        raise ValueError(f"{scheme}: no such kind of store: {_RIGHT}")
    return make(url, _split(url))


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:
        # It would tell what it could not read, which may be half of a password.
        raise ValueError(f"{url.partition(':')[0]}: the URL of the store is not well formed") from None


def _sqlite_file(path: str) -> Store:
    from gearfast.store.sqlite import SqliteStore

    return SqliteStore(path)


def _sqlite(url: str, parts: SplitResult) -> Store:
    path = unquote(parts.path).removeprefix("/")
    if parts.netloc or not path or parts.query or parts.fragment:
        raise ValueError(f"{url}: a SQLite store is sqlite:///PATH, with three slashes before a relative path")
    return _sqlite_file(path)


def _memory(url: str, parts: SplitResult) -> Store:
    from gearfast.store.memory import MemoryStore

    if parts.path or parts.query or parts.fragment:
        raise ValueError(f"{url}: a store in memory is memory://NAME")
    return MemoryStore(parts.netloc)


def _postgres(url: str, parts: SplitResult) -> Store:
    _need("psycopg", "postgresql", "postgres")
    from gearfast.store.postgres import PostgresStore

    return PostgresStore(Place.of(parts, {"schema": "gearfast"}, drivers=None))


def _mysql(url: str, parts: SplitResult) -> Store:
    _need("pymysql", "mysql", "mysql")
    from gearfast.store.mysql import OPTIONS, MysqlStore

    place = Place.of(parts, {"prefix": "gearfast"}, drivers=OPTIONS)
    if not place.database:
        raise ValueError("mysql: a store in MySQL or MariaDB is mysql://USER:PASSWORD@HOST/DATABASE")
    return MysqlStore(place)


def _redis(url: str, parts: SplitResult) -> Store:
    _need("redis", "redis", "redis")
    from gearfast.store.redis import OPTIONS, RedisStore

    place = Place.of(parts, {"prefix": "gearfast"}, drivers=OPTIONS)
    if not (place.database or "0").isdecimal():
        raise ValueError("redis: a store in Redis is redis://USER:PASSWORD@HOST/NUMBER")
    return RedisStore(place)


def _need(module: str, kind: str, extra: str) -> None:
    try:
        importlib.import_module(module)
    except ImportError as error:
        raise ValueError(
            f"{kind}: this store needs the module {module}, pip install 'gearfast[{extra}]' ({error})"
        ) from None


_KINDS: Final[dict[str, Callable[[str, SplitResult], Store]]] = {
    "sqlite": _sqlite,
    "postgresql": _postgres,
    "postgres": _postgres,
    "mysql": _mysql,
    "mariadb": _mysql,
    **dict.fromkeys(("redis", "rediss", "valkey", "valkeys"), _redis),
    "memory": _memory,
}
_RIGHT: Final = "a store is a path, sqlite:///PATH, postgresql://HOST/DATABASE, mysql://HOST/DATABASE, redis://HOST or memory://NAME"

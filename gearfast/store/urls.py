# SPDX-License-Identifier: BSD-3-Clause
"""From the URL of a store to the store. What a kind needs is imported only when it is asked for."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

from gearfast.store.base import Store

__all__ = ["make_store"]


def make_store(url: str) -> Store:
    """`sqlite:///jobs.db` (`sqlite:////var/lib/jobs.db` is absolute), or a plain path, which means SQLite.

    Raises ValueError, saying what would be right.
    """
    scheme, separator, _ = url.partition("://")
    if not separator:
        from gearfast.store.sqlite import SqliteStore

        return SqliteStore(url)
    parts = urlsplit(url)
    if scheme == "sqlite":
        path = unquote(parts.path).removeprefix("/")
        if parts.netloc or not path or parts.query or parts.fragment:
            raise ValueError(f"{url}: a SQLite store is sqlite:///PATH, with three slashes before a relative path")
        from gearfast.store.sqlite import SqliteStore

        return SqliteStore(path)
    raise ValueError(f"{url}: a store is a path or sqlite:///PATH")

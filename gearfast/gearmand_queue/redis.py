# SPDX-License-Identifier: BSD-3-Clause
"""`gearmand -q redis`. Needs redis: `pip install "gearfast[redis]"`.

A job is a hash at PREFIX-FUNCTION-UNIQUE (up to gearmand 1.1.15 a plain string). Only 2.x has fields for function and
unique; else the key is all there is, and both names may have dashes.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from gearfast.gearmand_queue import row
from gearfast.gearmand_queue.row import QueueError, Skipped, to_row

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from gearfast.gearmand_queue.row import Row

__all__ = ["PREFIX", "read"]

PREFIX: Final = "_gear_"
_CHUNK: Final = 16
"""Jobs that are in memory at a time, and each may be large."""
_KEYS: Final = 200
_MADE: Final = re.compile(
    rb"(.+)-([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{16}-[0-9a-f]+)", re.DOTALL | re.IGNORECASE
)
"""Uniques that libgearman and gearfast make for jobs without one."""


def read(url: str, prefix: str = PREFIX, functions: Collection[str] = ()) -> Iterator[Row | Skipped]:
    """The jobs, in no order. `functions`: names that tell where a key with several dashes is to be cut.

    Raises QueueError.
    """
    try:
        import redis
    except ImportError:
        raise QueueError('Redis needs redis: pip install "gearfast[redis]"') from None
    known = [name.encode() for name in functions]
    start = prefix.encode() + b"-"
    try:
        with redis.Redis.from_url(url, socket_connect_timeout=10, socket_timeout=row.PATIENCE) as client:
            keys: list[bytes] = []
            seen: set[bytes] = set()
            for key in client.scan_iter(match=re.sub(rb"([*?\[\]\\])", rb"\\\1", start) + b"*", count=_KEYS):
                # SCAN may tell a key twice.
                if key not in seen:
                    seen.add(key)
                    keys.append(key)
                if len(keys) == _CHUNK:
                    yield from _rows(client, keys, start, known)
                    keys.clear()
            yield from _rows(client, keys, start, known)
    except (redis.RedisError, ValueError) as error:
        raise QueueError(f"Redis: {error}") from error


def _rows(client: Any, keys: list[bytes], start: bytes, known: list[bytes]) -> Iterator[Row | Skipped]:
    with client.pipeline(transaction=False) as pipe:
        for key in keys:
            pipe.type(key)
        kinds = pipe.execute()
        for key, kind in zip(keys, kinds, strict=True):
            pipe.hgetall(key) if kind == b"hash" else pipe.get(key) if kind == b"string" else pipe.type(key)
        values = pipe.execute()
    for key, kind, value in zip(keys, kinds, values, strict=True):
        where = key.decode("utf-8", "replace")
        if kind == b"none":  # gone meanwhile
            continue
        if kind not in (b"hash", b"string"):
            yield Skipped(where, f"a {kind.decode()} is no job")
            continue
        fields = value if kind == b"hash" else {b"data": value}
        names = _names(key.removeprefix(start), fields, known)
        if names is None:
            yield Skipped(where, "where the function's name ends is not to be told; name it with --function")
            continue
        yield to_row(names[1], names[0], fields.get(b"priority"), fields.get(b"data"), 0)


def _names(rest: bytes, fields: dict[bytes, bytes], known: list[bytes]) -> tuple[bytes, bytes] | None:
    """Function and unique; None if several would be possible."""
    if b"function" in fields:
        return fields[b"function"], fields.get(b"unique", b"")
    found = [name for name in known if rest.startswith(name + b"-")]
    if found:
        name = max(found, key=len)
        return name, rest[len(name) + 1 :].lstrip(b" ")
    if match := _MADE.fullmatch(rest):
        return match[1], match[2]
    if rest.count(b"-") == 1:
        name, _, unique = rest.partition(b"-")
        return name, unique.lstrip(b" ")
    # A unique that is itself a dash, or none at all.
    if rest.count(b"-") == 2 and rest.endswith(b"--"):
        return rest[:-2], b"-"
    return None

# SPDX-License-Identifier: BSD-3-Clause
"""Jobs in hashes of a Redis or Valkey server.

What it promises: what was written is there after the job server, Redis or the machine has died, as far as the disk
keeps what Redis gave it: each write is one script, and a server that answers before its append-only file is synced is
refused. All of it is in Redis's memory too. One job server has the keys at a time: whose connection it was that took
them last is noted, and Redis asked whether it is still there. Each opening also takes a new token, and the script
refuses a write that knows an older one.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Iterable, Iterator
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

from gearfast.store.base import Contents, SectionInfo, StoreError, Write

if TYPE_CHECKING:
    from gearfast.store._place import Place

__all__ = ["OPTIONS", "RedisStore"]

OPTIONS: Final = ("unix_socket", "ssl_ca")
"""Options of the URL that the driver takes."""
SCHEMA: Final = 1
"""The version of what the keys hold."""
LOCK_WAIT = 2.0
"""Seconds that a server which has the store, and may be about to end, is waited for."""
PAUSE: Final = 0.05

_CLAIM: Final = """
-- HDEL: see redis-write.lua; with it this goes when memory is full, too.
if (redis.call('HGET', KEYS[1], 'token') or '0') ~= ARGV[1] then
    return 0
end
redis.call('HDEL', KEYS[1], 'nothing')
redis.call('HSET', KEYS[1], 'token', ARGV[2], 'owner', ARGV[3], 'client', ARGV[4], 'run', ARGV[5], 'version', ARGV[6])
redis.call('HSETNX', KEYS[1], 'batch', '0')
redis.call('HSETNX', KEYS[1], 'next_number', '1')
return 1
"""


def _info(info: SectionInfo, size: int) -> str:
    return " ".join(map(str, (info.first, info.last, info.count, size, *info.late)))


class RedisStore:
    """`place`: `redis://USER:PASSWORD@HOST:PORT/NUMBER?prefix=gearfast`, `rediss://` for TLS.

    Raises StoreError from every method.
    """

    def __init__(self, place: Place) -> None:
        import redis

        self._redis: Any = redis
        self._place = place
        # Braces: in a cluster all of them are on one node.
        self._keys = [
            f"{{{place.option('prefix')}}}:{key}" for key in ("state", "sections", "records", "ended", "loss", "notes")
        ]
        self._owner = secrets.token_hex(8)
        self._token = 0
        self._connection: Any = None
        self._script = ""

    @property
    def name(self) -> str:
        """The URL without its password."""
        return self._place.name

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Errors of the driver as StoreError."""
        try:
            yield
        except (self._redis.RedisError, OSError) as error:
            if not isinstance(error, self._redis.ResponseError):
                # The driver would connect again by itself, as somebody whom Redis does not know to have the store.
                self.close()
            text = str(error).removeprefix("FENCED ").removeprefix("TAKEN ")
            raise StoreError(f"{self.name}: {self._place.clean(text)}") from None

    def open(self) -> Contents:
        """Connects, looks at Redis's settings and takes the keys.

        Raises StoreError if another server has them, or had them since this one did.
        """
        self.close()
        try:
            with self._told():
                self._connection = self._connect()
                if self._place.durability == "full":
                    self._check_settings()
                self._lock()
                text = files("gearfast.store").joinpath("sql/redis-write.lua").read_text("utf-8")
                self._script = self._ask("SCRIPT", "LOAD", text)
                return self._contents()
        except StoreError:
            self.close()
            raise

    def _connect(self) -> Any:
        """A bare connection: the driver's clients would repeat what failed, and make another one by themselves."""
        place, redis = self._place, self._redis
        options: dict[str, Any] = {
            "db": int(place.database or 0),
            "username": place.user or None,
            "password": place.password or None,
            "socket_timeout": place.timeout,
            "client_name": "gearfast",
            "protocol": 2,
            "retry": redis.retry.Retry(redis.backoff.NoBackoff(), 0),
        }
        if "unix_socket" in place.rest:
            connection = redis.UnixDomainSocketConnection(path=place.rest["unix_socket"], **options)
        else:
            options |= {
                "host": place.host or "localhost",
                "port": place.port or 6379,
                "socket_connect_timeout": place.timeout,
                "socket_keepalive": True,
            }
            if place.parts.scheme.endswith("s"):
                connection = redis.SSLConnection(ssl_ca_certs=place.rest.get("ssl_ca"), **options)
            else:
                connection = redis.Connection(**options)
        connection.connect()
        return connection

    def _ask(self, *words: object) -> Any:
        self._connection.send_command(*words)
        return self._connection.read_response()

    def _table(self, *words: object) -> dict[bytes, bytes]:
        """An answer that is pairs."""
        answer = self._ask(*words)
        return dict(zip(answer[::2], answer[1::2], strict=True))

    def _setting(self, name: str) -> str:
        try:
            found = self._table("CONFIG", "GET", name)
        except self._redis.ResponseError as error:
            raise StoreError(
                f"{self.name}: whether Redis keeps what it acknowledges cannot be seen ({error}); let this user"
                " CONFIG GET, or add durability=relaxed to the URL"
            ) from None
        return _text(found.get(name.encode(), b""))

    def _check_settings(self) -> None:
        wrong = [
            f"{name} {found or 'unknown'}"
            for name, right in (("appendonly", "yes"), ("appendfsync", "always"))
            if (found := self._setting(name)) != right
        ]
        if wrong:
            raise StoreError(
                f"{self.name}: Redis runs with {' and '.join(wrong)}, so that it may lose jobs that it has"
                " acknowledged; set appendonly yes and appendfsync always, or add durability=relaxed to the URL"
            )
        if self._setting("maxmemory") != "0" and self._setting("maxmemory-policy").startswith("allkeys"):
            raise StoreError(
                f"{self.name}: Redis throws away any key when its memory is full; set maxmemory-policy to noeviction,"
                " or add durability=relaxed to the URL"
            )

    def _lock(self) -> None:
        """A token of its own; whoever had the keys before can write no more."""
        client = str(self._ask("CLIENT", "ID"))
        run = next(
            line.partition(":")[2].strip()
            for line in _text(self._ask("INFO", "server")).splitlines()
            if line.startswith("run_id:")
        )
        deadline = time.monotonic() + min(LOCK_WAIT, self._place.timeout / 2)
        while True:
            token, owner, holder, its_run, version = (
                _text(value or b"")
                for value in self._ask("HMGET", self._keys[0], "token", "owner", "client", "run", "version")
            )
            if int(version or 0) > SCHEMA:
                raise StoreError(f"{self.name}: made by a newer gearfast (schema {version}, this one knows {SCHEMA})")
            if owner == self._owner and its_run == run:
                # Our own connection of before: Redis does not know yet that it is lost.
                with contextlib.suppress(self._redis.ResponseError):
                    self._ask("CLIENT", "KILL", "ID", holder)
            elif its_run == run and (who := _text(self._ask("CLIENT", "LIST", "ID", holder))).strip():
                if time.monotonic() > deadline:
                    where = next((word[5:] for word in who.split() if word.startswith("addr=")), "")
                    raise StoreError(f"{self.name}: in use by another server ({where})")
                time.sleep(PAUSE)
                continue
            if self._token and owner != self._owner:
                raise StoreError(f"{self.name}: another server has had it since; what it did is not known here")
            mine = int(token or 0) + 1
            if self._ask("EVAL", _CLAIM, 1, self._keys[0], token or "0", mine, self._owner, client, run, SCHEMA):
                self._token = mine
                return

    def _contents(self) -> Contents:
        state, infos, _, ended, losses, notes = self._keys
        batch, next_number = map(int, self._ask("HMGET", state, "batch", "next_number"))
        gone = self._table("HGETALL", ended)
        sections = []
        for id, text in self._table("HGETALL", infos).items():
            first, last, count, size, *late = map(int, text.split())
            sections.append(SectionInfo(int(id), first, last, count, size, tuple(late), gone.get(id, b"")))
        sections.sort(key=lambda info: (info.first, info.id))
        lost = {int(number): int(times) for number, times in self._table("HGETALL", losses).items()}
        kept = {key.decode(): value for key, value in self._table("HGETALL", notes).items()}
        return Contents(batch, next_number, sections, lost, kept)

    def write(self, write: Write) -> None:
        """One script, whose effects Redis has synced when it answers."""
        self._connected()
        words: list[object] = [self._token, write.batch, write.next_number]
        erased = [key for key, value in write.notes.items() if value is None]
        noted = [(key, value) for key, value in write.notes.items() if value is not None]
        words += (len(write.drop), len(write.add), len(write.ended), len(write.losses), len(write.forget))
        words += (len(noted), len(erased))
        words += write.drop
        for section in write.add:
            words += (section.info.id, _info(section.info, len(section.records)), section.records)
        for pairs in (write.ended, write.losses):
            for pair in pairs.items():
                words += pair
        words += write.forget
        for note in noted:
            words += note
        words += erased
        with self._told():
            self._ask("EVALSHA", self._script, len(self._keys), *self._keys, *words)

    def read(self, sections: Iterable[int]) -> list[bytes]:
        """The records of these sections. Raises StoreError if one is not there."""
        self._connected()
        ids = list(sections)
        found: list[bytes] = []
        with self._told():
            values = self._ask("HMGET", self._keys[2], *ids) if ids else []
        for id, value in zip(ids, values, strict=True):
            if value is None:
                raise StoreError(f"{self.name}: section {id} is missing")
            found.append(value)
        return found

    def shrink(self) -> bool:
        """That is Redis's: it rewrites its file by itself."""
        return False

    def _connected(self) -> None:
        if self._connection is None:
            raise StoreError(f"{self.name}: not open")

    def close(self) -> None:
        """Closes the connection; the next one may have the keys then."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(self._redis.RedisError, OSError):
                connection.disconnect()


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)

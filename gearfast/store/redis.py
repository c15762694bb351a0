# SPDX-License-Identifier: BSD-3-Clause
"""Jobs in hashes of a Redis or Valkey server.

What it promises: what was written is there after the job server, Redis or the machine has died, as far as the disk
keeps what Redis gave it: each write is one script, and a server that answers before its append-only file is synced is
refused. All of it is in Redis's memory too.

Several job servers may have the keys. Each has a lease that ends by Redis's clock, and ranges of ids and numbers;
whoever finds that a lease has ended makes the ranges its own, and that server one that is gone, in one script. A write
renews the lease, and its script refuses it if the server is gone, or it knows the token of an older connection.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Collection, Iterable, Iterator
from dataclasses import asdict
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

from gearfast.store._claims import FIRST
from gearfast.store.base import (
    LEASE,
    RANGE_BITS,
    Contents,
    Fleet,
    Member,
    SeatLost,
    SectionInfo,
    ServerInfo,
    StoreError,
    UniquesTaken,
    Write,
)

if TYPE_CHECKING:
    from gearfast.store._place import Place

__all__ = ["OPTIONS", "RedisStore"]

OPTIONS: Final = ("unix_socket", "ssl_ca")
"""Options of the URL that the driver takes."""
SCHEMA: Final = 3
"""The version of what the keys hold."""
FLEETS: Final = 2
"""The version since which there are several servers."""
LOCK_WAIT = 2.0
"""Seconds that a server of before several might have the keys, and may be about to end, is waited for."""
PAUSE: Final = 0.05
MOST: Final = 512 << 20
"""Bytes that Redis takes in one value, unless its `proto-max-bulk-len` says otherwise."""
MARGIN: Final = 10**10
"""Numbers that such a server may have given to jobs since its last commit."""


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
            f"{{{place.option('prefix')}}}:{key}"
            for key in ("state", "sections", "records", "ended", "loss", "notes", "servers", "owners", "claims")
        ]
        self._seat = self._token = 0
        self._prefix = ""
        self._connection: Any = None
        self._script = self._fleet_script = ""
        self._most = MOST
        self.lease = LEASE
        self.about = Member()

    @property
    def name(self) -> str:
        """The URL without its password."""
        return self._place.name

    @property
    def seat(self) -> int:
        """This server's number; 0 while it has none."""
        return self._seat

    @property
    def prefix(self) -> str:
        """Of the handles of all servers."""
        return self._prefix

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Errors of the driver as StoreError."""
        try:
            yield
        except (self._redis.RedisError, OSError) as error:
            if not isinstance(error, self._redis.ResponseError):
                # The driver would connect again by itself, while what it sent before may still be under way.
                self._hang_up()
            text = str(error).removeprefix("TAKEN ")
            if text.startswith("FENCED "):
                raise self._lost() from None
            raise StoreError(f"{self.name}: {self._place.clean(text)}") from None

    def open(self) -> Contents:
        """Connects, looks at Redis's settings, and becomes one of the servers that have the keys, or is still.

        Raises SeatLost if another server has taken its jobs over.
        """
        self._hang_up()
        try:
            with self._told():
                self._connection = self._connect()
                if self._place.durability == "full":
                    self._check_settings()
                self._version()
                self._script = self._load("redis-write.lua")
                self._fleet_script = self._load("redis-fleet.lua")
                self._enter()
                return self._contents()
        except StoreError:
            self._hang_up()
            raise

    def _load(self, name: str) -> Any:
        return self._ask("SCRIPT", "LOAD", files("gearfast.store").joinpath(f"sql/{name}").read_text("utf-8"))

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
                # Older drivers take a certificate of any host.
                options["ssl_check_hostname"] = True
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
        self._most = int(self._setting("proto-max-bulk-len") or MOST)
        if self._setting("maxmemory") != "0" and self._setting("maxmemory-policy").startswith("allkeys"):
            raise StoreError(
                f"{self.name}: Redis throws away any key when its memory is full; set maxmemory-policy to noeviction,"
                " or add durability=relaxed to the URL"
            )

    def _run_of_redis(self) -> str:
        lines = _text(self._ask("INFO", "server")).splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("run_id:"))

    def _version(self) -> int:
        """Of what the keys hold; 0: nothing."""
        version = int(_text(self._ask("HGET", self._keys[0], "version") or b"0"))
        if version > SCHEMA:
            raise StoreError(f"{self.name}: made by a newer gearfast (schema {version}, this one knows {SCHEMA})")
        return version

    def _least(self) -> int:
        """The least number of the last server: above all numbers that servers of before have given to jobs.

        Until schema 2 one server had the keys, for as long as its connection was there.
        """
        deadline = time.monotonic() + min(LOCK_WAIT, self._place.timeout / 2)
        while self._version() == 1:
            holder, run = (_text(each or b"") for each in self._ask("HMGET", self._keys[0], "client", "run"))
            there = run and run == self._run_of_redis() and _text(self._ask("CLIENT", "LIST", "ID", holder)).strip()
            if not there:
                break
            if time.monotonic() > deadline:
                where = next((word[5:] for word in there.split() if word.startswith("addr=")), "")
                raise StoreError(f"{self.name}: in use by another server ({where})")
            time.sleep(PAUSE)
        batch, number = (int(_text(each or b"0")) for each in self._ask("HMGET", self._keys[0], "batch", "next_number"))
        return max(batch, number + MARGIN, time.time_ns() // 100) >> RANGE_BITS

    def _fleet_do(self, what: str, *words: object) -> Any:
        keys = (self._keys[0], *self._keys[6:8])
        return self._ask("EVALSHA", self._fleet_script, 3, *keys, what, self._seat, self._token, *words)

    def _about(self) -> str:
        return json.dumps(asdict(self.about))

    def _enter(self) -> None:
        """A place of its own, and what others have left; or the place that it has, with a new token."""
        lease = round(self.lease * 1000)
        if self._seat:
            self._token += 1  # a greater one each time: the answer may be lost
            self._fleet_do("return", lease)
        else:
            least = self._least()
            self._seat = int(self._fleet_do("enter", least, lease, self.about.prefix, self._about(), SCHEMA))
            self._token = 1
            self._fleet_do("take")
        self._prefix = _text(self._ask("HGET", self._keys[0], "prefix"))

    def _lost(self) -> SeatLost:
        """This server is gone: the next `open` makes another one."""
        seat, self._seat = self._seat, 0
        batch = 0
        with contextlib.suppress(self._redis.RedisError, OSError):
            batch = int(_text(self._ask("HGET", self._keys[6], f"{seat}:batch") or b"0") or 0)
        return SeatLost(f"{self.name}: another server has taken it over", batch)

    def _contents(self) -> Contents:
        """What is this server's. Ranges that have nothing in them need no owner any more."""
        _, infos, _, ended, losses, _, servers, owners, _ = self._keys
        me = self._seat
        owner_of = {int(range): int(owner) for range, owner in self._table("HGETALL", owners).items()}
        found = self._ask("HMGET", servers, f"{me}:batch", f"{me}:next_number")
        batch, next_number = (_text(each or b"") for each in found)
        gone = self._table("HGETALL", ended)
        sections = []
        full = {0, me}
        for key, text in self._table("HGETALL", infos).items():
            id = int(key)
            if owner_of.get(its := id >> RANGE_BITS, owner_of[0]) == me:
                first, last, count, size, *late = map(int, text.split())
                sections.append(SectionInfo(id, first, last, count, size, tuple(late), gone.get(key, b"")))
                full.add(its)
        sections.sort(key=lambda info: (info.first, info.id))
        lost = {}
        for key, times in self._table("HGETALL", losses).items():
            number = int(key)
            if owner_of.get(its := number >> RANGE_BITS, owner_of[0]) == me:
                lost[number] = int(times)
                full.add(its)
        empty = [range for range, owner in owner_of.items() if owner == me and range not in full]
        if empty:
            self._fleet_do("drop", *empty)
        first = me << RANGE_BITS
        return Contents(int(batch or first), int(next_number or first + 1), sections, lost, self._notes())

    def renew(self, jobs: int) -> None:
        """The lease lasts from now on again."""
        self._connected()
        with self._told():
            self._fleet_do("renew", jobs, self._about())

    def look(self) -> Fleet:
        """Who is there."""
        if self._connection is not None:
            with self._told():
                return self._fleet()
        try:
            with self._told():
                self._connection = self._connect()
                return self._fleet() if self._version() >= FLEETS else Fleet()
        finally:
            self._hang_up()

    def notes(self) -> dict[str, bytes]:
        """Those of all servers."""
        self._connected()
        with self._told():
            return self._notes()

    def _notes(self) -> dict[str, bytes]:
        return {key.decode(): value for key, value in self._table("HGETALL", self._keys[5]).items()}

    def _fleet(self) -> Fleet:
        seconds, micros = map(int, self._ask("TIME"))
        now = seconds * 1000 + micros // 1000
        servers: dict[int, dict[str, str]] = {}
        for key, value in self._table("HGETALL", self._keys[6]).items():
            id, _, name = _text(key).partition(":")
            servers.setdefault(int(id), {})[name] = _text(value)
        live = {id: server for id, server in sorted(servers.items()) if server["gone"] == "0"}
        infos = [
            ServerInfo(
                id,
                Member(**json.loads(server["about"])),
                (int(server["ends"]) - now) / 1000,
                (now - int(server["renewed"])) / 1000,
                int(server["jobs"]),
            )
            for id, server in live.items()
        ]
        owners = self._table("HGETALL", self._keys[7]).values()
        return Fleet(tuple(infos), any(int(owner) not in live for owner in owners))

    def take_over(self, dead: Collection[int] = ()) -> Contents | None:
        """Makes the jobs of servers whose lease has ended this one's: all that is its own then; None if none came."""
        self._connected()
        with self._told():
            ranges = {int(range) for range in self._fleet_do("take", *dead)}
            if not ranges:
                return None
            contents = self._contents()
        came = {info.id >> RANGE_BITS for info in contents.sections}
        came.update(number >> RANGE_BITS for number in contents.losses)
        return contents if came & ranges or 0 in ranges else None

    def write(self, write: Write) -> None:
        """One script, whose effects Redis has synced when it answers."""
        self._connected()
        if (size := max((len(section.records) for section in write.add), default=0)) > self._most:
            # It would do no more than end the connection.
            raise StoreError(
                f"{self.name}: {size} bytes of jobs at once are more than Redis takes; CONFIG SET proto-max-bulk-len to"
                f" more than {self._most}"
            )
        words: list[object] = [self._token, write.batch, write.next_number]
        erased = [key for key, value in write.notes.items() if value is None]
        noted = [(key, value) for key, value in write.notes.items() if value is not None]
        words += (len(write.drop), len(write.add), len(write.ended), len(write.losses), len(write.forget))
        words += (len(noted), len(erased), self._seat, len(write.claims), len(write.releases))
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
        for key, number in (*write.claims.items(), *write.releases):
            words += (key[:FIRST], key[FIRST:].hex(), number)
        with self._told():
            answer = self._ask("EVALSHA", self._script, 8, *self._keys[:7], self._keys[8], *words)
        if isinstance(answer, list):
            numbers = list(map(int, answer))
            taken = dict(zip(numbers[::2], numbers[1::2], strict=True))
            raise UniquesTaken(f"{self.name}: uniques are other jobs'", taken)

    def claimed(self, uniques: Collection[bytes]) -> set[bytes]:
        """Those of these uniques that any job has claimed."""
        self._connected()
        keys = list(uniques)
        with self._told():
            values = self._ask("HMGET", self._keys[8], *keys) if keys else []
        return {key for key, value in zip(keys, values, strict=True) if value}

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

    def _hang_up(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(self._redis.RedisError, OSError):
                connection.disconnect()

    def close(self) -> None:
        """Gives its jobs to whoever takes them, and closes the connection."""
        if self._connection is not None and self._seat:
            with contextlib.suppress(self._redis.RedisError, OSError):
                self._fleet_do("leave")
                self._seat = 0
        self._hang_up()


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)

# SPDX-License-Identifier: BSD-3-Clause
"""What the processes of a chaos run have in common: a raw connection, a history, and orders from the one that runs it.

A history is a file of JSON lines, each written with one system call before what it tells of is done, so that it is
right up to the moment at which its process is killed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import select
import socket
import ssl
import sys
import time
from collections.abc import Iterable
from typing import Any, NamedTuple

from gearfast._codec import Decoder, Packet, encode_into
from gearfast.errors import GearfastError

PLAIN = ("f0", "f1", "f2", "f3")
TIMED = ("t0", "t1")
"""Workers register these with a time-out of one second."""
RARE = ("r0", "r1")
"""Mostly without workers, so that they can be dropped."""
TIMEOUT_MS = b"1000"


class Lost(Exception):
    """The connection has ended."""


class Route(NamedTuple):
    """A way to the server: `kind` is tcp, unix (`host` is the path), tls, proxy, or `proxy tls`."""

    kind: str
    host: str
    port: int

    @property
    def tls(self) -> bool:
        return self.kind.endswith("tls")


class History:
    """A file of JSON lines."""

    def __init__(self, path: str) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def write(self, kind: str, *values: Any) -> None:
        line = json.dumps([kind, round(time.time(), 4), *values], separators=(",", ":")).encode("ascii") + b"\n"
        os.write(self._fd, line)


class Setup(NamedTuple):
    """What a process is told at its start, as JSON in its first argument."""

    seed: int
    name: str
    history: str
    routes: list[Route]

    def encode(self) -> str:
        return json.dumps(self._asdict())


def read_setup() -> tuple[Setup, random.Random, History]:
    """This process's setup, its choices and its history."""
    given = json.loads(sys.argv[1])
    given["routes"] = [Route(*route) for route in given["routes"]]
    setup = Setup(**given)
    return setup, random.Random(f"{setup.seed} {setup.name}"), History(setup.history)


class Orders:
    """Orders on standard input, one letter each: `g`o on, `d`rain (nothing new), `q`uit; its end means quit."""

    def __init__(self) -> None:
        self.current = "g"
        self.idle_told = False  # since the latest `g`, which need not be the latest order
        os.set_blocking(0, False)

    def look(self) -> str:
        """The latest order."""
        with contextlib.suppress(BlockingIOError):
            got = os.read(0, 100)
            self.current = got.decode()[-1] if got else "q"
            if b"g" in got:
                self.idle_told = False
        return self.current

    def tell_idle(self) -> None:
        """All is answered: said once a drain."""
        if not self.idle_told:
            self.idle_told = True
            os.write(1, b"i")


class Link:
    """A connection that never blocks: `send` queues, `poll` sends and receives."""

    def __init__(self, route: Route, timeout: float = 10.0) -> None:
        self.out = bytearray()
        self._decoder = Decoder()
        try:
            if route.kind == "unix":
                self.sock = socket.socket(socket.AF_UNIX)
                self.sock.settimeout(timeout)
                self.sock.connect(route.host)
            else:
                self.sock = socket.create_connection((route.host, route.port), timeout)
                self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if route.tls:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
                self.sock = context.wrap_socket(self.sock)
        except OSError as error:
            raise Lost(str(error)) from None
        self.sock.setblocking(False)

    def send(self, command: int, *args: bytes) -> None:
        encode_into(self.out, command, *args)

    def poll(self, seconds: float) -> list[Packet | bytes]:
        """Sends what goes, waits up to `seconds` and returns what came. Raises Lost."""
        try:
            if not self._push() and not self._has_input():
                select.select([self.sock], [self.sock] if self.out else [], [], seconds)
            self._push()
            return self._pull()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError):
            return []
        except OSError as error:
            raise Lost(str(error)) from None
        except GearfastError as error:
            raise AssertionError(f"the server sent what is no Gearman: {error}") from None

    def _has_input(self) -> bool:
        return isinstance(self.sock, ssl.SSLSocket) and self.sock.pending() > 0

    def _push(self) -> bool:
        if not self.out:
            return False
        with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError):
            sent = self.sock.send(self.out)
            del self.out[:sent]
            return sent > 0 and bool(self.out)
        return False

    def _pull(self) -> list[Packet | bytes]:
        data = self.sock.recv(1 << 18)
        if not data:
            raise Lost("end")
        return self._decoder.receive(data)

    def close(self, *, reset: bool = False) -> None:
        """Ends the connection; `reset`: the other side sees no orderly end."""
        with contextlib.suppress(OSError):
            if reset and self.sock.family != socket.AF_UNIX:
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
            self.sock.close()


def padding(seed: str, size: int) -> str:
    """So many letters that nobody else's are like."""
    block = hashlib.sha256(seed.encode()).hexdigest()
    return (block * (size // len(block) + 1))[:size]


def make_workload(request: str, behaviour: str, size: int = 0) -> bytes:
    return f"{request}:{behaviour}:{size}:{padding(request, size)}".encode()


def read_workload(data: bytes) -> tuple[str, str, bool]:
    """Request, behaviour, and whether every byte is as it was asked."""
    request, behaviour, size, rest = data.decode("latin-1").split(":", 3)
    return request, behaviour, rest == padding(request, int(size))


def make_answer(head: str, size: int = 0) -> str:
    """A result: `REQUEST|NONCE`, and more behind it if it is to be large."""
    return f"{head}|{size}|{padding(head, size)}" if size else head


def whole_answer(answer: str) -> bool:
    head, _, rest = answer.partition("|")
    nonce, _, rest = rest.partition("|")
    size, _, rest = rest.partition("|")
    return not size or rest == padding(f"{head}|{nonce}", int(size))


def text(data: bytes) -> str:
    return data.decode("latin-1")


def words(packet: Packet) -> list[str]:
    return [text(arg) for arg in packet.args]


def pick(choices: random.Random, weighted: Iterable[tuple[Any, float]]) -> Any:
    """One of the values, by weight."""
    values, weights = zip(*weighted, strict=True)
    return choices.choices(values, weights)[0]

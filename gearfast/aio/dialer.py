# SPDX-License-Identifier: BSD-3-Clause
"""How TCP connections are made on an asyncio loop: the addresses of a name race."""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from math import inf
from operator import itemgetter
from time import monotonic
from typing import Any, NamedTuple

from gearfast.frontend.sockets import all_failed, alternate, head_start, tune

__all__ = ["connect_tcp", "connect_to", "left"]


class Place(NamedTuple):
    """One address of a name, as the socket module has it."""

    family: int
    kind: int
    protocol: int
    where: Any


async def connect_tcp(loop: asyncio.AbstractEventLoop, host: str, port: int, deadline: float) -> socket.socket:
    """A socket connected to one of the addresses of a name. `deadline`: of `monotonic`. Raises OSError."""
    async with asyncio.timeout(left(deadline)):
        places = await _look_up(loop, host, port)
    sock = await _race(loop, places, deadline)
    try:
        tune(sock)
    except BaseException:
        sock.close()
        raise
    return sock


async def connect_to(loop: asyncio.AbstractEventLoop, sock: socket.socket, where: object) -> None:
    """Connect one socket, or close it and raise."""
    try:
        sock.setblocking(False)
        await loop.sock_connect(sock, where)  # type: ignore[arg-type]
    except BaseException:
        sock.close()
        raise


def left(deadline: float) -> float | None:
    """Seconds until a deadline of `monotonic`, None if there is none."""
    return None if deadline == inf else max(0.0, deadline - monotonic())


async def _look_up(loop: asyncio.AbstractEventLoop, host: str, port: int) -> list[Place]:
    try:  # an address in figures needs no look-up in a thread
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except ValueError as error:  # UnicodeError, or a NUL
        raise OSError(f"{host[:80]!r} is no name of a host") from error
    places = [Place(family, kind, protocol, where) for family, kind, protocol, _, where in found]
    return alternate(places, itemgetter(0))


async def _race(loop: asyncio.AbstractEventLoop, places: list[Place], deadline: float) -> socket.socket:
    """The first socket that connects; the others are closed. Raises OSError when all have failed or time is over.

    Each attempt begins a quarter of a second after the one before, sooner if there is little time, at once if that has
    failed (RFC 8305).
    """
    waiting = deque(places)
    under_way: dict[asyncio.Task[socket.socket | OSError], str] = {}
    failures: list[tuple[str, OSError]] = []
    latest: asyncio.Task[socket.socket | OSError] | None = None
    next_at = inf
    winner: socket.socket | None = None
    try:
        while waiting or under_way:
            now = monotonic()
            if waiting and (latest not in under_way or now >= next_at):
                place = waiting.popleft()
                latest = loop.create_task(_attempt(loop, place))
                under_way[latest] = str(place.where[0])
                next_at = now + head_start(deadline - now, len(waiting))
            elif now >= deadline:
                failures += [(where, TimeoutError("timed out")) for where in under_way.values()]
                break
            limit = left(min(deadline, next_at) if waiting else deadline)
            done, _ = await asyncio.wait(under_way, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
            for task in [task for task in under_way if task in done]:  # in the order in which they began
                outcome = task.result()
                where = under_way.pop(task)
                if isinstance(outcome, socket.socket):
                    winner = outcome
                    return winner
                failures.append((where, outcome))
        raise all_failed(failures)
    finally:
        await _give_up(list(under_way), winner)


async def _attempt(loop: asyncio.AbstractEventLoop, place: Place) -> socket.socket | OSError:
    """Returns its error, so that nobody misses it if it comes once another attempt has won."""
    try:
        sock = socket.socket(place.family, place.kind, place.protocol)
        await connect_to(loop, sock, place.where)
    except OSError as error:
        return error
    return sock


async def _give_up(losers: list[asyncio.Task[socket.socket | OSError]], winner: socket.socket | None) -> None:
    """Close what attempts have, or will have, connected; the winner too if nobody waits for it any more."""
    for task in losers:
        task.cancel()
        task.add_done_callback(_close)
    try:
        if losers:
            await asyncio.wait(losers)
    except BaseException:
        if winner is not None:
            winner.close()
        raise


def _close(task: asyncio.Task[socket.socket | OSError]) -> None:
    if not task.cancelled() and isinstance(sock := task.result(), socket.socket):
        sock.close()

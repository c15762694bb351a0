# SPDX-License-Identifier: BSD-3-Clause
"""After a fork: cuts the child's loops off from the parent's, and tells clients and workers.

A forked child has the parent's epoll, not a copy of it: what it registered or took out there, it would for the parent.
And what it read from the pair of sockets that wakes the loop would be the parent's wake-up. So a loop on which a client
or a worker of gearfast lives gets a selector and a pair of its own in the child. If it was running, it forgets all
other descriptors, which belong to what the parent is in the middle of; if not, it keeps them: the child may be meant to
use it.

uvloop and other loops without a selector of the standard library see to their own epoll.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import selectors
import socket
import threading
import weakref
from typing import Any, Protocol

__all__ = ["abandon", "is_running_here", "watch"]


class Forkable(Protocol):
    """What has to know of a fork."""

    def _fork_loop(self) -> asyncio.AbstractEventLoop | None:
        """The loop that it lives on, if it does."""

    def _after_fork(self) -> None:
        """In the child, once that loop is cut off."""


_watched: weakref.WeakSet[Any] = weakref.WeakSet()
_kept: list[object] = []
"""Selectors whose descriptors a child must not close: their numbers may be others' by now."""


def watch(one: Forkable) -> None:
    """Tell `one` of each fork, in the child, for as long as it lives."""
    _watched.add(one)


def is_running_here(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether the loop is run by this very thread; the others do not exist in a child."""
    return loop.is_running() and getattr(loop, "_thread_id", None) == threading.get_ident()


def abandon(number: int) -> None:
    """Let a descriptor lead nowhere: whoever has its number may go on to use and close it, and harms nobody."""
    null = os.open(os.devnull, os.O_RDWR)
    try:
        os.dup2(null, number, inheritable=False)
    finally:
        os.close(null)


def _cut_off(loop: Any) -> dict[int, selectors.SelectorKey]:
    """Give a loop its own selector and its own pair of sockets. Returns what the old selector watched."""
    old = getattr(loop, "_selector", None)
    if not isinstance(old, selectors.BaseSelector) or type(old).__module__ != "selectors":
        return {}
    keys = {key.fd: key for key in (old.get_map() or {}).values()}
    loop._selector = new = type(old)()
    if isinstance(old, getattr(selectors, "KqueueSelector", ())):
        _kept.append(old)  # a child has no kqueue of its parent's, so that number is free
    else:
        old.close()
    mine = socket.socketpair()
    for one, number in zip(mine, (loop._ssock.fileno(), loop._csock.fileno()), strict=True):
        one.setblocking(False)
        os.dup2(one.fileno(), number, inheritable=False)
        one.close()
    key = keys.pop(loop._ssock.fileno())
    new.register(key.fileobj, key.events, key.data)
    if is_running_here(loop):
        asyncio._set_running_loop(loop)  # that is known by the process
    return keys


def _after_fork() -> None:
    watched = list(_watched)
    loops = {id(loop): loop for one in watched if (loop := one._fork_loop()) is not None and not loop.is_closed()}
    known = [(loop, _cut_off(loop)) for loop in loops.values()]
    for one in watched:
        one._after_fork()  # closes its own sockets
    for loop, keys in known:
        for key in keys.values() if not loop.is_running() else ():
            with contextlib.suppress(OSError, ValueError):  # one of those
                loop._selector.register(key.fileobj, key.events, key.data)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)

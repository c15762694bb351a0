# SPDX-License-Identifier: BSD-3-Clause
"""Accepts the connections of the stream driver, with or without TLS.

`asyncio.Server` would do it in fewer lines, but keeps to itself why a handshake failed, and cannot take a new
certificate without closing its socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import select
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gearfast.server.log import Burst, logger

if TYPE_CHECKING:
    import socket
    import ssl

    from gearfast.server.listen import Listener
    from gearfast.server.stream import StreamPeer

__all__ = ["Acceptor"]

_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_CLOSED = (errno.EBADF, errno.EINVAL, errno.ENOTSOCK)
_BATCH = 16
_PAUSE = 0.1
SHUTDOWN_LIMIT = 1.0
"""Seconds that the other side gets to answer the end of TLS."""


class Acceptor:
    """Accepts from one listener until it is stopped.

    `factory` makes the protocol of a connection; `context` gives the TLS context for the next one, None for none.
    `make_place` closes a connection that nobody misses, if there is one, and says whether it did.
    """

    def __init__(
        self,
        listener: Listener,
        factory: Callable[[], StreamPeer],
        context: Callable[[], ssl.SSLContext | None],
        handshake_limit: float,
        make_place: Callable[[], bool] = lambda: False,
    ) -> None:
        self._listener = listener
        self._factory = factory
        self._context = context
        self._handshake_limit = handshake_limit
        self._make_place = make_place
        self._loop = asyncio.get_running_loop()
        self._greetings: dict[asyncio.Task[None], socket.socket] = {}
        self._again: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._exhausted = Burst("out of file descriptors: no new connections for a while", self._loop)
        self._spare = os.open(os.devnull, os.O_RDONLY)
        self._listen(True)

    async def stop(self) -> None:
        """Stops accepting; handshakes that are under way end. The listening socket stays open."""
        self._listen(False)
        if self._again is not None:
            self._again.cancel()
        self._exhausted.close()
        if self._spare >= 0:
            os.close(self._spare)
            self._spare = -1
        tasks = list(self._greetings)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _listen(self, on: bool) -> None:
        # Sockets are taken where no cancellation can come between: one that is accepted is never lost.
        try:
            if on:
                self._loop.add_reader(self._listener.sock, self._accept)
            else:
                self._loop.remove_reader(self._listener.sock)
        except NotImplementedError:  # Windows' proactor
            if self._task is not None:
                self._task.cancel()
            self._task = self._loop.create_task(self._accept_one_by_one()) if on else None

    async def _accept_one_by_one(self) -> None:
        while True:
            try:
                sock, address = await self._loop.sock_accept(self._listener.sock)
            except OSError as error:
                if error.errno in _CLOSED:
                    return
                await asyncio.sleep(_PAUSE)
                continue
            self._welcome(sock, address)

    def _accept(self) -> None:
        """Takes what waits, but so much at a time that the others get their turn."""
        for _ in range(_BATCH):
            try:
                sock, address = self._listener.sock.accept()
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionError:
                continue  # it went away before it was accepted
            except OSError as error:
                if error.errno in _CLOSED:
                    logger.error("%s accepts no more: %s", self._listener.label, error)
                    self._listen(False)
                    return
                if error.errno in _EXHAUSTED:
                    # The kernel looks for a descriptor first: with the last one taken, nobody need be waiting.
                    if _is_ready(self._listener.sock):
                        self._out_of_descriptors()
                    return
                continue  # Linux tells of the new connection's network errors here
            self._welcome(sock, address)

    def _welcome(self, sock: socket.socket, address: Any) -> None:
        sock.setblocking(False)
        task = self._loop.create_task(self._greet(sock, address))
        self._greetings[task] = sock
        task.add_done_callback(self._greeted)

    def _out_of_descriptors(self) -> None:
        """Turns one connection away by means of the spare descriptor, so that it learns of it; then waits a little.

        If there is a connection that has never said anything, that one goes instead.
        """
        if self._make_place():
            return  # its descriptor is free with the next turn of the loop
        if self._spare >= 0:
            os.close(self._spare)
            self._spare = -1
            with contextlib.suppress(OSError):
                self._listener.sock.accept()[0].close()
            with contextlib.suppress(OSError):
                self._spare = os.open(os.devnull, os.O_RDONLY)
        self._exhausted.add()
        self._listen(False)
        self._again = self._loop.call_later(_PAUSE, self._go_on)

    def _go_on(self) -> None:
        self._again = None
        if self._spare < 0:
            with contextlib.suppress(OSError):
                self._spare = os.open(os.devnull, os.O_RDONLY)
        self._listen(True)

    def _greeted(self, task: asyncio.Task[None]) -> None:
        sock = self._greetings.pop(task)
        if task.cancelled():
            # It may never have begun, and so never have reached a transport that would close it.
            sock.close()

    async def _greet(self, sock: socket.socket, address: Any) -> None:
        extra: dict[str, Any] = {}
        context = self._context()
        if context is not None:
            extra["ssl"] = context
            extra["ssl_handshake_timeout"] = self._handshake_limit or None
            extra["ssl_shutdown_timeout"] = SHUTDOWN_LIMIT
        try:
            await self._loop.connect_accepted_socket(self._factory, sock, **extra)
        except OSError as error:
            if context is not None:
                logger.info("TLS handshake with %s failed: %s", _name(address), error)
            # asyncio's frames point back at the error by a future: that cycle would keep the connection's buffers of
            # 256 KiB until the garbage collector comes by.
            error.__traceback__ = error.__context__ = None


def _is_ready(sock: socket.socket) -> bool:
    if not hasattr(select, "poll"):  # Windows, which does not come here
        return True
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))


def _name(address: object) -> str:
    if isinstance(address, tuple) and len(address) >= 2:
        return f"[{address[0]}]:{address[1]}" if ":" in str(address[0]) else f"{address[0]}:{address[1]}"
    return "unix"

# SPDX-License-Identifier: BSD-3-Clause
"""Accepts the connections of the stream driver, with or without TLS.

`asyncio.Server` would do it in fewer lines, but keeps to itself why a handshake failed, and cannot take a new
certificate without closing its socket.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gearfast.server.log import logger

if TYPE_CHECKING:
    import socket
    import ssl

    from gearfast.server.listen import Listener
    from gearfast.server.stream import StreamPeer

__all__ = ["Acceptor"]

_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_CLOSED = (errno.EBADF, errno.EINVAL, errno.ENOTSOCK)
_BATCH = 64
_PAUSE = 0.5
SHUTDOWN_LIMIT = 1.0
"""Seconds that the other side gets to answer the end of TLS."""


class Acceptor:
    """Accepts from one listener until it is stopped.

    `factory` makes the protocol of a connection; `context` gives the TLS context for the next one, None for none.
    """

    def __init__(
        self,
        listener: Listener,
        factory: Callable[[], StreamPeer],
        context: Callable[[], ssl.SSLContext | None],
        handshake_limit: float,
    ) -> None:
        self._listener = listener
        self._factory = factory
        self._context = context
        self._handshake_limit = handshake_limit
        self._loop = asyncio.get_running_loop()
        self._task = self._loop.create_task(self._run())
        self._greetings: dict[asyncio.Task[None], socket.socket] = {}

    async def stop(self) -> None:
        """Stops accepting; handshakes that are under way end. The listening socket stays open."""
        tasks = [self._task, *self._greetings]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self) -> None:
        exhausted = False
        accepted = 0
        while True:
            try:
                sock, address = await self._loop.sock_accept(self._listener.sock)
            except ConnectionError:
                continue  # it went away before it was accepted
            except OSError as error:
                if error.errno in _CLOSED:
                    logger.error("%s accepts no more: %s", self._listener.label, error)
                    return
                if error.errno not in _EXHAUSTED:
                    await asyncio.sleep(0)
                    continue  # Linux tells of the new connection's network errors here
                if not exhausted:
                    logger.warning("Connections wait to be accepted: %s", error.strerror)
                exhausted = True
                await asyncio.sleep(_PAUSE)
                continue
            exhausted = False
            task = self._loop.create_task(self._greet(sock, address))
            self._greetings[task] = sock
            task.add_done_callback(self._greeted)
            accepted += 1
            if accepted % _BATCH == 0:
                # Under a rush of connections sock_accept never waits; the others must get their turn.
                await asyncio.sleep(0)

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


def _name(address: object) -> str:
    if isinstance(address, tuple) and len(address) >= 2:
        return f"[{address[0]}]:{address[1]}" if ":" in str(address[0]) else f"{address[0]}:{address[1]}"
    return "unix"

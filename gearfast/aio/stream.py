# SPDX-License-Identifier: BSD-3-Clause
"""Connections on an asyncio loop, in two kinds with one face.

`ReaderStream` watches a plain socket by `add_reader`: about half the cost of a transport. `ProtocolStream` is a
transport and its protocol, for TLS and for loops without `add_reader` (Windows' Proactor loop). Both call `on_data`
with bytes and `on_lost` once with a reason, and never block: `write` keeps what the system does not take.

`Pump` carries the bytes of one `ClientHub`; what is written in one turn of the loop goes out in one piece.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import socket
from collections import deque
from collections.abc import Callable
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Final

from gearfast.aio.dialer import connect_tcp, connect_to, left
from gearfast.aio.fork import abandon
from gearfast.errors import ProtocolError
from gearfast.frontend.client_log import moved
from gearfast.frontend.sockets import reason_of
from gearfast.session.hub import ClientHub, Link
from gearfast.session.requests import JobRequest, Request
from gearfast.session.routing import ServerAddress

if TYPE_CHECKING:
    from ssl import SSLContext

__all__ = ["ProtocolStream", "Pump", "ReaderStream", "Stream", "connect"]

READ_SIZE: Final = 65536
CROWD: Final = 8
"""Jobs under way from which on those that are to go out may be held back for others to join them."""
TRICKLE: Final = 0.0005
"""Seconds since others went out within which they are."""
OnData = Callable[[bytes], None]
OnLost = Callable[[str], None]
sched_yield: Callable[[], None] = getattr(os, "sched_yield", lambda: None)


class ReaderStream:
    """A plain socket, watched by the loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, sock: socket.socket) -> None:
        self._loop = loop
        self._sock = sock
        self._fd = sock.fileno()
        self._unsent: deque[memoryview] = deque()
        self._on_data: OnData = _nobody
        self._on_lost: OnLost = _nobody_lost
        self._closed = False

    def start(self, on_data: OnData, on_lost: OnLost) -> None:
        """Begin to read. Raises NotImplementedError on a loop without `add_reader`."""
        self._on_data = on_data
        self._on_lost = on_lost
        self._loop.add_reader(self._fd, self._readable)

    def write(self, data: bytes) -> None:
        """Send, now or as soon as the system takes it."""
        if self._unsent:
            self._unsent.append(memoryview(data))
            return
        try:
            sent = self._sock.send(data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError as error:
            self._unsent.append(memoryview(data))
            self._loop.call_soon(self._fail, reason_of(error))
            return
        if sent < len(data) and not self._closed:
            self._unsent.append(memoryview(data)[sent:])
            self._loop.add_writer(self._fd, self._writable)

    @property
    def unsent_bytes(self) -> int:
        """How much the system has not taken yet."""
        return sum(map(len, self._unsent))

    @property
    def refused_bytes(self) -> int:
        """How much of the end of the output has surely not gone out, at the end of the connection."""
        return self.unsent_bytes

    def close(self) -> None:
        """Close the socket, whatever is still to be sent. `on_lost` is not called."""
        if not self._closed:
            self._closed = True
            self._loop.remove_reader(self._fd)
            self._loop.remove_writer(self._fd)
            self._sock.close()

    def forked(self) -> None:
        """In a forked child: close the descriptor; the loop and the connection stay the parent's."""
        self._closed = True
        self._sock.close()

    def _readable(self) -> None:
        try:
            data = self._sock.recv(READ_SIZE)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._lose(reason_of(error))
            return
        if data:
            self._on_data(data)
        else:
            self._lose("closed by the server")

    def _writable(self) -> None:
        unsent = self._unsent
        try:
            while unsent:
                sent = self._sock.send(unsent[0])
                if sent == len(unsent[0]):
                    unsent.popleft()
                else:
                    unsent[0] = unsent[0][sent:]
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._fail(reason_of(error))
            return
        self._loop.remove_writer(self._fd)

    def _fail(self, reason: str) -> None:
        """Sending failed, but the server may have sent results before it went."""
        with contextlib.suppress(OSError):
            while not self._closed and (data := self._sock.recv(READ_SIZE)):
                self._on_data(data)
        self._lose(reason)

    def _lose(self, reason: str) -> None:
        if not self._closed:
            self.close()
            self._on_lost(reason)


class ProtocolStream(asyncio.Protocol):
    """A transport and its protocol."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._early = b""
        self._on_data: OnData = self._keep
        self._on_lost: OnLost = self._keep_reason
        self._lost_early: str | None = None
        self._closed = False
        self.refused_bytes = 0

    def start(self, on_data: OnData, on_lost: OnLost) -> None:
        """Begin to give out what was read."""
        self._on_data = on_data
        self._on_lost = on_lost
        early, self._early = self._early, b""
        if early:
            on_data(early)
        if self._lost_early is not None:
            asyncio.get_running_loop().call_soon(on_lost, self._lost_early)

    def write(self, data: bytes) -> None:
        """Send, now or as soon as the system takes it."""
        assert self._transport is not None
        if self._transport.is_closing():  # it would drop them; of what it took before nobody knows how far it came
            self.refused_bytes += len(data)
        else:
            self._transport.write(data)

    @property
    def unsent_bytes(self) -> int:
        """How much the system has not taken yet."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    def close(self) -> None:
        """Close the connection, whatever is still to be sent. `on_lost` is not called."""
        self._closed = True
        if self._transport is not None:
            self._transport.abort()

    def forked(self) -> None:
        """In a forked child: let the descriptor go, without a word to the server."""
        self._closed = True
        transport = self._transport
        sock = None if transport is None else transport.get_extra_info("socket")
        if transport is not None and sock is not None and sock.fileno() != -1:
            abandon(sock.fileno())
            with contextlib.suppress(RuntimeError):  # the loop is closed, or another thread's that is gone
                transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._on_data(data)

    def connection_lost(self, exc: BaseException | None) -> None:
        if not self._closed:
            self._closed = True
            self._on_lost(reason_of(exc) if exc is not None else "closed by the server")

    def _keep(self, data: bytes) -> None:
        self._early += data

    def _keep_reason(self, reason: str) -> None:
        self._lost_early = reason


Stream = ReaderStream | ProtocolStream


def _nobody(data: bytes) -> None:
    """Before `start`."""


def _nobody_lost(reason: str) -> None:
    """Before `start`."""


async def connect(
    address: ServerAddress,
    timeout: float | None,  # noqa: ASYNC109
    context: SSLContext | None,
    on_data: OnData,
    on_lost: OnLost,
) -> Stream:
    """Connect to a job server and start to read. Arguments and errors as for `gearfast.sync.dialer.connect`."""
    if address.memory:
        from gearfast.frontend import memory

        there: Stream = memory.find(address.memory).open_async_stream(on_data, on_lost)
        return there
    loop = asyncio.get_running_loop()
    deadline = inf if timeout is None else monotonic() + timeout
    if not address.path:
        sock = await connect_tcp(loop, address.host, address.port, deadline)
    async with asyncio.timeout(left(deadline)):
        if address.path:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            await connect_to(loop, sock, address.path)
        try:
            if address.path or (context is None and not address.tls):
                plain = ReaderStream(loop, sock)
                with contextlib.suppress(NotImplementedError):
                    plain.start(on_data, on_lost)
                    return plain
                _, stream = await loop.create_connection(ProtocolStream, sock=sock)
            else:
                if context is None:
                    import ssl

                    context = ssl.create_default_context()
                name = address.host
                _, stream = await loop.create_connection(ProtocolStream, sock=sock, ssl=context, server_hostname=name)
        except ValueError as error:
            sock.close()
            raise error if isinstance(error, OSError) else OSError(str(error)) from error
        except BaseException:
            sock.close()
            raise
    stream.start(on_data, on_lost)
    return stream


class Pump:
    """Carries one hub's bytes over a loop's connections, and wakes those who wait for its requests.

    A request's `waiter` is an asyncio future without a value: whoever awaits it looks at the request. A waiter that has
    `settle` is told by it instead, also of new events.
    """

    def __init__(self, hub: ClientHub, *, context: SSLContext | None = None) -> None:
        self.hub = hub
        self.loop = asyncio.get_running_loop()
        self._context = context
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = inf
        self._flushing = False
        self._flushed_at = 0.0
        self._crowded = False
        self._quiet = 0
        self._in_flight = 0
        self._connecting: set[asyncio.Task[None]] = set()

    def start(self, job: JobRequest, now: float) -> None:
        """Submit a job that was not sent before; see to it that it goes out and ends in time."""
        hub = self.hub
        link = hub.start(job, now)
        limit = job.reply_by
        if self._flushing and link.session is not None and not hub.trials and (limit or 0.0) >= self._timer_at:
            self._in_flight += 1  # it goes out with the others, and the timer is set
        else:
            self._see_to(job, link)

    def sent(self, request: Request, link: Link) -> None:
        """A request was given to the hub; see to the same."""
        self.hub.watch(request)
        self._see_to(request, link)

    def _see_to(self, request: Request, link: Link) -> None:
        limit = request.reply_by
        if limit is not None and limit < self._timer_at:
            self._arm(limit)
        self._in_flight += 1
        if link.session is None or self.hub.trials:
            self._connect_due()
        if link.session is None:
            return
        if self._in_flight == 1 and not self._crowded:
            link.io.write(link.session.take_output())
        elif not self._flushing:
            self._flushing = True
            self.loop.call_soon(self._flush)

    def abandon(self, request: Request) -> None:
        """Nobody waits for the request any more."""
        if not request.done:
            self._in_flight -= 1
            self.hub.abandon(request)

    def close(self) -> None:
        """Close all connections; what is awaited fails. `wait_closed` waits for those that were being made."""
        for task in self._connecting:
            task.cancel()
        if self._timer is not None:
            self._timer.cancel()
        for link in self.hub.links:
            stream, link.io = link.io, None
            if stream is not None:
                stream.close()
        self.hub.close()
        self._tell()

    async def wait_closed(self) -> None:
        """Wait until nothing is left that `close` has cancelled."""
        if self._connecting:
            await asyncio.wait(self._connecting)

    def forked(self) -> None:
        """In a forked child: close the descriptors; the connections stay the parent's."""
        for link in self.hub.links:
            stream, link.io = link.io, None
            if stream is not None:
                stream.forked()

    def fail(self, reason: str) -> None:
        """Let everything fail that is still awaited; the connections are gone."""
        for task in self._connecting:
            task.cancel()
        if self._timer is not None:
            self._timer.cancel()
        self.hub.close(reason)
        self._tell()

    def _flush(self) -> None:
        self._crowded = self._in_flight >= CROWD
        if self._crowded and self._quiet < 2 and self._trickles():
            # Server and worker on this CPU had no turn yet since the last job went out. Results that come one by one,
            # each of which lets one job go out, would stay so for good, at several times the cost. So jobs wait while
            # more comes, and for two turns in which nothing does.
            self._quiet += 1
            self._flushing = True
            sched_yield()
            self.loop.call_soon(self._flush)
            return
        self._flushing = False
        self._quiet = 0
        if self._crowded:
            self._flushed_at = monotonic()
        for link in self.hub.links:
            session = link.session
            if session is not None and session.has_output:
                link.io.write(session.take_output())

    def _trickles(self) -> bool:
        """Few jobs are to go out, of many that are under way, right after others."""
        waiting = sum(link.session.unsent for link in self.hub.links if link.session is not None)
        return 2 * waiting < self._in_flight and monotonic() - self._flushed_at < TRICKLE

    def _connect_due(self) -> None:
        for link in self.hub.take_connects(monotonic()):
            task = self.loop.create_task(self._connect(link))
            self._connecting.add(task)
            task.add_done_callback(self._connecting.discard)

    async def _connect(self, link: Link) -> None:
        def on_data(data: bytes) -> None:
            self._received(link, data)

        def on_lost(reason: str) -> None:
            self._lost(link, reason)

        try:
            patience = self.hub.patience(link, monotonic())
            link.io = await connect(link.address, patience, self._context, on_data, on_lost)
        except OSError as error:
            self.hub.failed(link, monotonic(), random.random(), reason_of(error))
        else:
            self.hub.connected(link, monotonic())
        self._after()

    def _received(self, link: Link, data: bytes) -> None:
        hub = self.hub
        self._quiet = 0
        try:
            hub.receive(link, data, monotonic())
        except ProtocolError as error:
            self._lost(link, str(error), repeat=False)
        if hub.news:
            self._tell()
            hub.drop_done()  # workloads are not kept for as long as their time limits
        if link.session is not None and link.session.has_output and not self._flushing:
            self._flushing = True
            self.loop.call_soon(self._flush)

    def _lost(self, link: Link, reason: str, *, repeat: bool = True) -> None:
        self._drop(link, reason, repeat)
        self._after()

    def _drop(self, link: Link, reason: str, repeat: bool = True) -> None:
        stream, link.io = link.io, None
        unsent = 0
        if stream is not None:
            unsent = stream.refused_bytes
            stream.close()
        self.hub.lost(link, monotonic(), random.random(), reason, repeat=repeat, unsent=unsent)

    def _after(self) -> None:
        """What may follow of anything but an ordinary packet: output, connections, another deadline, news."""
        self._connect_due()
        self._tick()
        self._flush()

    def _tick(self) -> None:
        now = monotonic()
        deadline = self.hub.tick(now)
        for link in self.hub.take_dead():
            stream = link.io
            if stream is not None and stream.unsent_bytes:
                self.hub.spare(link, now)
            elif stream is not None:
                self._drop(link, "it does not answer")
            deadline = now  # once more
        self._arm(deadline)
        self._tell()

    def _arm(self, deadline: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._timer_at = inf
        if deadline is not None:
            self._timer_at = deadline
            self._timer = self.loop.call_later(max(0.0, deadline - monotonic()), self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._connect_due()
        self._tick()
        self._flush()

    def _tell(self) -> None:
        hub = self.hub
        if hub.moves:
            moved(hub.take_moves())
        if hub.retries and hub.news:
            told = len(hub.news)
            hub.retry_failed(monotonic(), random.random())
            if len(hub.news) < told:
                self._arm(monotonic())
        news, hub.news[:] = hub.news[:], []
        for request in news:
            waiter = request.waiter
            if waiter is None:
                continue
            if request.done:
                self._in_flight -= 1
                request.waiter = None
            if type(waiter) is asyncio.Future:
                if request.done and not waiter.done():
                    waiter.set_result(None)
            elif (settle := getattr(waiter, "settle", None)) is not None:
                settle(request)
            elif request.done and not waiter.done():
                waiter.set_result(None)

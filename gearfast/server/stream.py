# SPDX-License-Identifier: BSD-3-Clause
"""The stream driver: asyncio protocols that feed the dispatcher.

It serves all connections, TLS or not, where the reactor is not used. Bytes that arrive in one turn of the loop are
dispatched at once; the answers of all of them leave together at the start of the next turn, one write a connection. A
connection whose output piles up is no longer read from, and beyond a limit it is cut.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import sys
import time
from typing import TYPE_CHECKING, Any, cast

from gearfast.server.listen import set_options
from gearfast.server.log import Burst, logger

if sys.platform == "linux":
    from gearfast.server._liveness import look

if TYPE_CHECKING:
    from collections.abc import Callable

    from gearfast.dispatch import Dispatcher
    from gearfast.server.config import ServerConfig

__all__ = ["StreamDriver", "StreamPeer"]

BUFFER_SIZE = 256 * 1024
CLOSE_LIMIT = 2.0
"""Seconds that a connection which the server ends gets to take its last bytes."""
NEVER = 1e9
"""Seconds that stand for "no limit"."""
MAX_WAIT = 1.0
"""Longest sleep in seconds while something is due some day: if by the wall clock, that may be set meanwhile."""
SLICE = 256
"""Connections that are looked at in one go, whether they still answer."""
SLICE_PAUSE = 0.01
"""Seconds between two such goes of one round."""


class StreamDriver:
    """All connections of one loop that are asyncio transports. `on_turn`: called after each turn."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        dispatcher: Dispatcher,
        config: ServerConfig,
        *,
        on_turn: Callable[[], object] | None = None,
    ) -> None:
        self.loop = loop
        self.dispatcher = dispatcher
        self.config = config
        self.peers: dict[int, StreamPeer] = {}
        self.streams: set[StreamPeer] = set()  # all that are open, those included that are no peers any more
        # Shared by all connections: what arrives is dispatched before the next one is read.
        self.buffer = memoryview(bytearray(BUFFER_SIZE))
        self._ended: set[StreamPeer] = set()  # who sends no more, and has sent frames that still wait
        self._on_turn = on_turn
        self._scheduled = False
        self._timer: asyncio.TimerHandle | None = None
        self._empty: asyncio.Future[None] | None = None
        self.is_closed = False
        # Who has not sent a byte yet, oldest first, and since when.
        self._silent: dict[StreamPeer, float] = {}
        self._silent_timer: asyncio.TimerHandle | None = None
        self._never_spoke = Burst("closing a connection that never said anything", loop)
        self._too_many = Burst("too many connections: closing a new one", loop)
        # Who was sent to since all was known to be acknowledged, and since when there is doubt whether he lives.
        self._sent: dict[StreamPeer, float] = {}
        self._round: list[StreamPeer] = []
        self._sent_timer: asyncio.TimerHandle | None = None
        self._looks = sys.platform == "linux" and config.dead_peer_limit > 0

    def factory(self, admin: bool | None) -> Callable[[], StreamPeer]:
        """A protocol factory for `loop.create_server`. `admin`: as in `Dispatcher.connect`."""
        return lambda: StreamPeer(self, admin)

    @property
    def is_full(self) -> bool:
        """As many connections as are allowed are open."""
        limit = self.config.max_connections
        return 0 < limit <= self.dispatcher.peer_count

    def touch(self) -> None:
        """Bytes are about to be dispatched: the answers leave with the next turn of the loop."""
        if not self._scheduled and not self.is_closed:
            self._scheduled = True
            self.dispatcher.begin_tick(time.monotonic_ns(), time.time_ns())
            self.loop.call_soon(self._turn)

    def start(self) -> None:
        """Runs the dispatcher's timers from now on."""
        self.touch()

    def output(self, peer: int) -> None:
        """Writes what the dispatcher has for a connection, and closes it if it is to be closed."""
        stream = self.peers.get(peer)
        if stream is not None:
            stream.write_output()

    def _turn(self) -> None:
        self._scheduled = False
        wait = self.dispatcher.tick(time.monotonic_ns(), time.time_ns())
        for peer in self.dispatcher.take_dirty():
            self.output(peer)
        for stream in [stream for stream in self._ended if not stream.waits]:
            stream.end_input()
        if self._on_turn is not None:
            self._on_turn()
        if not self.is_closed:
            # What a connection asked for may have waited for the room that it has only now.
            self._arm(0 if self.dispatcher.pending else wait)

    def _arm(self, wait_ns: int) -> None:
        if wait_ns < 0:
            return  # a timer that is set still comes too early
        due = self.loop.time() + min(wait_ns / 1e9, MAX_WAIT)
        if self._timer is not None:
            # A timer that comes too early only looks again; so a busy server does not renew it at each turn.
            if self._timer.when() <= due:
                return
            self._timer.cancel()
        self._timer = self.loop.call_at(due, self._timed)

    def _timed(self) -> None:
        """Something is due. What has come in goes first: if this process stood still, it may have been in time.

        The loop looks for it between the two, and calls what it found before the second.
        """
        self._timer = None
        self.loop.call_soon(self.loop.call_soon, self._turn)

    def join(self, stream: StreamPeer, address: str, admin: bool | None) -> int:
        """A new connection; returns its number in the dispatcher."""
        peer = self.dispatcher.connect(address, admin=admin)
        self.peers[peer] = stream
        self.streams.add(stream)
        return peer

    # Who says nothing.

    def is_new(self, stream: StreamPeer) -> None:
        """It may have said nothing so far."""
        self._silent[stream] = self.loop.time()
        if self.config.silent_limit and self._silent_timer is None:
            self._silent_timer = self.loop.call_later(min(self.config.silent_limit, 1.0), self._sweep_silent)

    def spoke(self, stream: StreamPeer) -> None:
        """It has sent its first byte, or is gone."""
        self._silent.pop(stream, None)

    def _sweep_silent(self) -> None:
        self._silent_timer = None
        end = self.loop.time() - self.config.silent_limit
        while self._silent and next(iter(self._silent.values())) <= end:
            self.make_place()
        if self._silent:
            self._silent_timer = self.loop.call_later(min(self.config.silent_limit, 1.0), self._sweep_silent)

    def make_place(self) -> bool:
        """Closes the connection that has been silent for longest; False if there is none."""
        for stream in self._silent:
            self._never_spoke.add(stream.label)
            stream.give_up()
            return True
        return False

    def has_place(self) -> bool:
        """Whether one more connection is allowed; a silent one may have to go for it."""
        if self.is_full and not self.make_place():
            self._too_many.add()
            return False
        return True

    # Who does not answer.

    def sent(self, stream: StreamPeer) -> None:
        """Output is on its way: from time to time it is looked whether that was acknowledged."""
        if self._looks:
            self._sent.setdefault(stream, 0.0)
            if self._sent_timer is None:
                self._sent_timer = self.loop.call_later(self.config.dead_peer_limit / 10, self._sweep_sent)

    def _sweep_sent(self) -> None:
        """Looks at some of them; a round begins anew once all had their turn."""
        self._sent_timer = None
        if not self._round:
            self._round = list(self._sent)
        for _ in range(min(SLICE, len(self._round))):
            stream = self._round.pop()
            if stream in self._sent:
                answer, self._sent[stream] = stream.look(self._sent[stream])
                if answer == 0 and not stream.has_unsent:
                    del self._sent[stream]
        if self._sent and not self.is_closed:
            pause = SLICE_PAUSE if self._round else self.config.dead_peer_limit / 10
            self._sent_timer = self.loop.call_later(pause, self._sweep_sent)

    def part(self, peer: int) -> None:
        """The dispatcher has nothing more to do with a connection."""
        del self.peers[peer]
        self.touch()
        self.dispatcher.disconnect(peer)

    def ends_later(self, stream: StreamPeer) -> None:
        """It sends no more; what it has sent comes first."""
        self._ended.add(stream)

    def ended(self, stream: StreamPeer) -> None:
        """All that it had sent is done."""
        self._ended.discard(stream)

    def gone(self, stream: StreamPeer) -> None:
        """The connection is closed."""
        self._ended.discard(stream)
        self.streams.discard(stream)
        self._silent.pop(stream, None)
        self._sent.pop(stream, None)
        if not self.streams and self._empty is not None and not self._empty.done():
            self._empty.set_result(None)

    def cut(self, peer: int) -> bool:
        """Ends a connection at once, unsent output and all. False: there is no such connection."""
        stream = self.peers.get(peer)
        if stream is None:
            return False
        stream.abort()
        return True

    async def close(self, patience: float) -> None:
        """Ends all connections; those with unsent output get `patience` seconds to take it."""
        self._turn()
        self.is_closed = True
        for timer in (self._timer, self._silent_timer, self._sent_timer):
            if timer is not None:
                timer.cancel()
        self._timer = self._silent_timer = self._sent_timer = None
        self._never_spoke.close()
        self._too_many.close()
        if not self.streams:
            return
        self._empty = self.loop.create_future()
        for stream in list(self.streams):
            stream.finish(patience if stream.has_unsent else 0)
        await self._empty


class StreamPeer(asyncio.BufferedProtocol):
    """One connection. `label` is how log lines name it."""

    def __init__(self, driver: StreamDriver, admin: bool | None) -> None:
        self._driver = driver
        self._admin = admin
        self._transport: asyncio.Transport | None = None
        self._ending = False
        self._full = False
        self._end: asyncio.TimerHandle | None = None
        self._stall: asyncio.TimerHandle | None = None
        self._written = 0
        self._is_silent = True
        self.peer = -1
        self.label = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        driver = self._driver
        address, self.label = _names(transport)
        if driver.is_closed or not driver.has_place():
            self._transport.abort()
            return
        sock = transport.get_extra_info("socket")
        if sys.platform != "linux" and sock is not None and sock.family != getattr(socket, "AF_UNIX", None):
            # On Linux they are inherited from the listening socket.
            set_options(sock, driver.config)
        self._transport.set_write_buffer_limits(high=driver.config.high_water)
        self.peer = driver.join(self, address, self._admin)
        driver.is_new(self)
        logger.debug("Accepted connection from %s", self.label)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._driver.buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self._ending or self.peer < 0:
            return  # read only to be thrown away
        driver = self._driver
        if self._is_silent:
            self._is_silent = False
            driver.spoke(self)
        driver.touch()
        if not driver.dispatcher.receive(self.peer, driver.buffer[:nbytes]):
            # The last answers and the end come with the next turn.
            self._ending = True

    def eof_received(self) -> bool:
        if self.waits and self._transport is not None and self._transport.can_write_eof():
            self._driver.ends_later(self)
            return True
        if self.peer >= 0:
            self._driver.dispatcher.complete(self.peer)  # asyncio ends TLS at once
        self.end_input()
        return False

    @property
    def waits(self) -> bool:
        """It has sent frames that wait for the next tick, or until it takes its output."""
        return self.peer >= 0 and self._driver.dispatcher.waits(self.peer)

    def end_input(self) -> None:
        """The peer may have closed only its half: it still gets the answers to what it sent.

        But its jobs are others' now; whether it takes those answers may show late or never.
        """
        self._driver.ended(self)
        self.write_output(force=True)
        self._part()
        self.finish(self._driver.config.stall_limit or NEVER)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        for timer in (self._end, self._stall):
            if timer is not None:
                timer.cancel()
        if isinstance(exc, OSError) and exc.errno == errno.ETIMEDOUT:
            logger.warning("closing connection %s: it does not answer", self.label)
        logger.debug("Disconnected %s%s", self.label, f": {exc}" if exc else "")
        self._part()
        self._driver.gone(self)

    def _part(self) -> None:
        peer, self.peer = self.peer, -1
        if peer >= 0:
            self._driver.part(peer)

    def pause_writing(self) -> None:
        self._full = True
        self._pause()
        self._watch(-1)

    def resume_writing(self) -> None:
        self._full = False
        self._driver.touch()
        self.write_output()
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None
        if self._transport is not None:
            self._transport.resume_reading()

    def _pause(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def _watch(self, taken_before: int) -> None:
        """While too much is unsent: cuts the connection if it has taken nothing since the last look."""
        limit = self._driver.config.stall_limit
        if self._transport is None or limit <= 0:
            return
        unsent = self._transport.get_write_buffer_size()
        taken = self._written - unsent
        if taken == taken_before:
            self._cut("it takes no output", unsent)
        else:
            self._stall = self._driver.loop.call_later(limit, self._watch, taken)

    def _cut(self, why: str, unsent: int) -> None:
        logger.warning("closing connection %s: %s (%d bytes unsent)", self.label, why, unsent)
        self.abort()

    def write_output(self, *, force: bool = False) -> None:
        """Takes the dispatcher's output for this connection to the transport; ends it when that is due.

        What the transport has too much of already stays with the dispatcher, unless `force`.
        """
        transport = self._transport
        if transport is None or self.peer < 0:
            return
        dispatcher = self._driver.dispatcher
        if self._full and not force and not dispatcher.closing(self.peer):
            return
        output = dispatcher.take_output(self.peer)
        if output:
            self._written += len(output)
            transport.write(output)
            self._driver.sent(self)
            unsent = transport.get_write_buffer_size()
            if unsent > self._driver.config.max_unsent:
                self._cut("more output than it takes", unsent)
                return
        if dispatcher.closing(self.peer):
            self._leave(transport)

    def _leave(self, transport: asyncio.Transport) -> None:
        """Ends the connection from this side. To close it with unread input would destroy the last answers."""
        self._ending = True
        self._part()
        if not transport.can_write_eof():
            self.finish(CLOSE_LIMIT)
            return
        try:
            transport.write_eof()
        except OSError:  # the other side has reset the connection, which the loop has not noticed yet
            self.abort()
            return
        transport.resume_reading()
        self._end = self._driver.loop.call_later(CLOSE_LIMIT, self.abort)

    @property
    def has_unsent(self) -> bool:
        """There is output that the kernel has not taken yet."""
        return self._transport is not None and self._transport.get_write_buffer_size() > 0

    def finish(self, patience: float) -> None:
        """Closes once the output is sent, at the latest after `patience` seconds."""
        if self._transport is None:
            return
        self._ending = True
        self._transport.close()
        if self._end is not None:
            self._end.cancel()
        self._end = self._driver.loop.call_later(patience, self._out_of_patience)

    def _out_of_patience(self) -> None:
        if self._transport is not None and self.has_unsent:
            self._cut("it takes no output", self._transport.get_write_buffer_size())
        else:
            self.abort()

    def give_up(self) -> None:
        """Closes now; nobody will miss it."""
        self._driver.spoke(self)
        self._part()
        self.abort()

    def look(self, doubted: float) -> tuple[int, float]:
        """What `_liveness.look` says of it; a dead one is cut."""
        sock = None if self._transport is None else self._transport.get_extra_info("socket")
        if sys.platform != "linux" or sock is None or self._transport is None:
            return 0, 0.0
        driver = self._driver
        answer, doubted = look(sock.fileno(), driver.config.dead_peer_limit, driver.loop.time(), doubted)
        if answer == 2:
            self._cut("it does not answer", self._transport.get_write_buffer_size())
        return answer, doubted

    def abort(self) -> None:
        """Closes now."""
        self._ending = True
        if self._transport is not None:
            self._transport.abort()


def _names(transport: asyncio.BaseTransport) -> tuple[str, str]:
    """The peer's address as `workers` shows it, and as log lines do."""
    name: Any = transport.get_extra_info("peername")
    if isinstance(name, tuple) and len(name) >= 2:
        host, port = str(name[0]), name[1]
        return host, f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return "unix", "unix"

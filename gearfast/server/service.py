# SPDX-License-Identifier: BSD-3-Clause
"""A job server in an event loop: the dispatcher, its drivers and its listening sockets, from start to stop.

`Service` knows nothing of signals, threads or the command line; `app` and `embedded` do. Where the reactor is there,
it takes all connections: as the selector of a loop made by `new_loop`, or, in somebody else's loop, as a descriptor
watched with `add_reader`. Elsewhere they are asyncio transports of the stream driver. Both feed the one dispatcher.

Everything but the constructor and `new_loop` belongs to the loop's thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
import time
import zlib
from typing import TYPE_CHECKING

from gearfast._version import __version__
from gearfast.dispatch import Dispatcher
from gearfast.errors import UsageError
from gearfast.server.accept import Acceptor
from gearfast.server.log import level_number, logger
from gearfast.server.open_journal import open_journal
from gearfast.server.schedules import Scheduler, Timer
from gearfast.server.stream import NEVER, StreamDriver

if sys.platform == "linux":
    from gearfast.server._reactor import Reactor

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Sequence

    from gearfast.dispatch.policy import Policies
    from gearfast.server.accept import Acceptor
    from gearfast.server.config import ServerConfig
    from gearfast.server.journal import Journal
from gearfast.server.listen import Listener

__all__ = ["Service", "first_handle", "handle_prefix"]

MAX_PREFIX = 42
"""A handle is under 64 bytes: prefix, colon, and up to 20 digits."""
_POLL_FIRST = 0.0005
_POLL_LAST = 0.02
COMMIT_LIMIT = 10.0
"""Seconds that the last commits may take at the end."""
FLUSH_LIMIT = 1.0
"""Seconds that open connections get at the end to take their last bytes."""


def handle_prefix(nodename: str | None = None) -> str:
    """`H:` and the host's name as gearmand has it; of a name that is too long, its start and a checksum."""
    name = socket.gethostname() if nodename is None else nodename
    name = "".join(letter for letter in name if letter.isascii() and letter.isprintable() and not letter.isspace())
    prefix = f"H:{name or 'localhost'}"
    if len(prefix) > MAX_PREFIX:
        prefix = f"{prefix[: MAX_PREFIX - 9]}-{zlib.crc32(name.encode()):08x}"
    return prefix


def first_handle(now_ns: int | None = None) -> int:
    """The number of the first job: tenths of microseconds since 1970.

    No server takes ten million jobs a second, so a restarted one begins above all numbers of its predecessor, even
    after a crash.
    """
    return (time.time_ns() if now_ns is None else now_ns) // 100


def _first_number(journal: Journal | None) -> int:
    """Of the jobs of this start. Servers that share a store have ranges, which they keep to."""
    if journal is None:
        return first_handle()
    return journal.first_number if journal.share is not None else max(first_handle(), journal.first_number)


def _announce(listener: Listener) -> None:
    # The text alone, as it is what other programs wait for.
    logger.info("Listening on %s", listener.label, extra={"bare": True})
    if not listener.tls and not listener.is_loopback:
        logger.warning(
            "ANYONE who can reach %s may submit, take and administer jobs: it is open beyond this machine without TLS. "
            "Use TLS with client certificates, or keep to a loopback address or a Unix socket",
            listener.label,
        )


class Service:
    """A job server that runs in an event loop.

    `context`: for TLS listeners; a new value holds for new connections.
    `on_shutdown`: called in the loop's thread with "now" or "graceful" when a text command asked for it.
    Raises ConfigError if the store of `config` cannot be opened.
    """

    def __init__(
        self,
        config: ServerConfig,
        context: ssl.SSLContext | None = None,
        on_shutdown: Callable[[str], object] | None = None,
    ) -> None:
        self.config = config
        self.context = context
        self.on_shutdown = on_shutdown
        prefix = config.handle_prefix or handle_prefix()
        self.journal = journal = open_journal(config, prefix)
        self.dispatcher = Dispatcher(
            handle_prefix=((journal and journal.prefix) or prefix).encode("ascii"),
            first_handle=_first_number(journal),
            seed=int.from_bytes(os.urandom(16), "little"),
            max_packet=config.max_packet,
            max_unsent=config.max_unsent,
            high_water=config.high_water,
            max_queued=config.max_queued or 0,
            job_retries=config.job_retries,
            wakeup=config.wakeup,
            order=config.order,
            exceptions=config.exceptions,
            version=__version__,
            pid=os.getpid(),
            verbose=config.log_level.upper(),
            admin_writes=config.admin_writes == "all",
            policies=config.functions,
        )
        try:
            self.reactor: Reactor | None = self._make_reactor()
        except BaseException:
            if journal is not None:
                journal.close()
            raise
        self.scheduler = Scheduler(self.dispatcher, write=journal.note if journal is not None else None)
        self.schedule_timer = Timer(self.scheduler, lambda call: self._do(call, ()))
        self.listeners: list[Listener] = []
        self.stream: StreamDriver | None = None
        self._acceptors: dict[Listener, Acceptor] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_selector = False
        self._turning = False
        self._timer: asyncio.TimerHandle | None = None
        self._idle_waiters: list[asyncio.Future[None]] = []
        self._closed = False

    def _make_reactor(self) -> Reactor | None:
        driver = self.config.driver
        if driver == "stream":
            return None
        if sys.platform != "linux":
            if driver == "reactor":
                raise UsageError("driver reactor needs Linux (epoll); use auto or stream")
            return None
        config = self.config
        return Reactor(
            self.dispatcher,
            high_water=config.high_water,
            max_unsent=config.max_unsent,
            stall_time=config.stall_limit or NEVER,
            max_connections=config.max_connections,
            dead_peer_limit=config.dead_peer_limit,
            silent_limit=config.silent_limit,
        )

    def new_loop(self) -> asyncio.AbstractEventLoop:
        """An event loop for this service alone, with the reactor as its selector where there is one."""
        if self.reactor is None:
            return asyncio.new_event_loop()
        self._is_selector = True
        return asyncio.SelectorEventLoop(self.reactor)

    async def start(self, listeners: Sequence[Listener]) -> None:
        """Serves the listeners from now on; they are closed with the service."""
        loop = self._loop = asyncio.get_running_loop()
        self.listeners = list(listeners)
        reactor = self.reactor
        if reactor is None:
            self.stream = StreamDriver(loop, self.dispatcher, self.config, on_turn=self._after_turn)
        else:
            reactor.on_work = self._take_notices
            if self.journal is not None:
                reactor.on_batch = self.journal.take
            if not self._is_selector:
                loop.add_reader(reactor.fileno(), self._turn)
        if self.journal is not None:
            if reactor is not None:
                reactor.start_settling()
            settle = reactor.settle if reactor is not None else None
            addresses = ",".join(listener.label for listener in self.listeners)
            self.journal.start(self.dispatcher, self._post, settle, addresses)
        self._begin_schedules()
        for listener in self.listeners:
            self._serve(listener)
            _announce(listener)
        if self.stream is not None:
            self.stream.start()
        elif not self._is_selector:
            self._schedule_turn()
        self.schedule_timer.start()

    def _rights(self, listener: Listener) -> bool | None:
        """What the dispatcher calls `admin`: True may do all, None all but shut the server down, False only look."""
        allowed = self.config.admin_writes
        if allowed == "none" or (allowed == "unix" and not listener.path):
            return False
        return True if listener.is_loopback else None

    def _serve(self, listener: Listener) -> None:
        rights, limit = self._rights(listener), self.config.handshake_limit
        context = (lambda: self.context) if listener.tls else (lambda: None)
        if self.reactor is None:
            assert self.stream is not None
            self._acceptors[listener] = Acceptor(
                listener, self.stream.factory(rights), context, limit, self.stream.make_place
            )
        elif listener.tls:
            self.reactor.add_secure_listener(listener.sock, context=context, handshake_limit=limit, admin=rights)
        else:
            self.reactor.add_listener(listener.sock, admin=rights)

    # Turns of a reactor in somebody else's loop.

    def _schedule_turn(self) -> None:
        if not self._turning and self._loop is not None:
            self._turning = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._turning = False
        if self._closed or self.reactor is None or self._loop is None:
            return
        wait = self.reactor.run_once()
        if wait < 0:
            return
        due = self._loop.time() + wait / 1e9
        if self._timer is not None:
            # A timer that comes too early only looks again; so a busy server does not renew it at each turn.
            if self._timer.when() <= due:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(due, self._timed)

    def _timed(self) -> None:
        self._timer = None
        self._turn()

    def set_policies(self, policies: Policies) -> None:
        """What functions are allowed from now on. Connections stay."""
        self._do(setattr, (self.dispatcher, "policies", policies))

    def _take_notices(self) -> None:
        for level, text in self.dispatcher.take_notices():
            if level == "SHUTDOWN":
                if self.on_shutdown is not None and self._loop is not None:
                    self._loop.call_soon(self.on_shutdown, text)
            else:
                logger.log(level_number(level), "%s", text)

    def _begin_schedules(self) -> None:
        """With those of the configuration and of the store. Of several servers on one store one leads, and fires."""
        journal, file = self.journal, self.config.schedules or {}
        if journal is None:
            self.scheduler.begin(file, {})
            return
        self.scheduler.may_fire = lambda: journal.leads
        journal.on_lost = self.scheduler.take_back
        journal.on_heard = self.scheduler.hear
        self.scheduler.begin(file, dict(journal.notes), write=journal.leads)

    def _post(self, call: Callable[..., object], *args: object) -> None:
        """From any thread: a call in the loop's, and then what has come of it goes out."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to be told
                self._loop.call_soon_threadsafe(self._do, call, args)

    def _do(self, call: Callable[..., object], args: tuple[object, ...]) -> None:
        call(*args)
        if self.stream is not None:
            self.stream.touch()
        elif not self._is_selector:
            self._schedule_turn()

    def _after_turn(self) -> None:
        """The stream driver alone: what the reactor calls back for."""
        self._take_notices()
        if self.journal is not None and (self.dispatcher.batch_waits or self.dispatcher.wanted_waits):
            self.journal.take()
            if self.stream is not None:
                self.stream.touch()  # replies that waited for nothing but their turn
        if self._idle_waiters and self.dispatcher.idle:
            self._is_idle()

    # What is going on.

    async def wait_until(self, done: Callable[[], bool], limit: float | None) -> bool:
        """Looks again and again whether `done()`; False if it was not within `limit` seconds."""
        loop = asyncio.get_running_loop()
        end = None if limit is None else loop.time() + limit
        pause = _POLL_FIRST
        while not done():
            if end is not None and loop.time() >= end:
                return False
            await asyncio.sleep(pause)
            pause = min(pause * 2, _POLL_LAST)
        return True

    async def wait_idle(self, limit: float | None) -> bool:
        """Waits until no job is queued or running (future ones do not count); False if not within `limit` seconds.

        That is not so before all jobs are back from the store.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        if not await self.wait_until(lambda: not self.dispatcher.restoring, limit):
            return False
        if self.dispatcher.idle:
            return True
        if limit is not None:
            limit = max(began + limit - loop.time(), 0)
        waiter: asyncio.Future[None] = loop.create_future()
        self._idle_waiters.append(waiter)
        if self.reactor is not None:
            self.reactor.on_idle = self._is_idle
        try:
            await asyncio.wait((waiter,), timeout=limit)
        finally:
            if waiter in self._idle_waiters:
                self._idle_waiters.remove(waiter)
        return waiter.done()

    def _is_idle(self) -> None:
        waiters, self._idle_waiters = self._idle_waiters, []
        for waiter in waiters:
            waiter.set_result(None)

    # The end.

    async def stop_accepting(self) -> None:
        """Closes the listening sockets, and submits no more jobs of schedules; connections stay as they are.

        Calling it again does nothing.
        """
        self.schedule_timer.stop()
        for listener in self.listeners:
            acceptor = self._acceptors.pop(listener, None)
            if acceptor is not None:
                await acceptor.stop()
            elif self.reactor is not None and listener.sock.fileno() >= 0:
                self.reactor.remove_listener(listener.sock)
            listener.close()

    async def finish_running(self, limit: float) -> bool:
        """Gives running jobs `limit` seconds to finish; False if some are still running then."""
        return await self.wait_until(lambda: self.dispatcher.running_count == 0, limit)

    def cut(self, peer: int) -> bool:
        """Ends a connection at once. False: there is no such connection (any more)."""
        if self.stream is not None and self.stream.cut(peer):
            return True
        if self.reactor is None:
            return False
        try:
            self.reactor.close_peer(peer)
        except KeyError:
            return False
        if not self._is_selector:
            self._schedule_turn()
        return True

    async def close(self) -> None:
        """Ends all connections and gives everything back. Calling it again does nothing."""
        if self._closed:
            return
        await self.stop_accepting()
        if self.journal is not None:
            await self.wait_until(lambda: self.journal is None or self.journal.is_idle, COMMIT_LIMIT)
        await self.wait_until(lambda: self._unsent == 0, FLUSH_LIMIT)
        if self.stream is not None:
            await self.stream.close(FLUSH_LIMIT)
        self._closed = True
        if self.journal is not None:
            self.journal.close()
        self._take_notices()
        reactor = self.reactor
        if reactor is not None:
            reactor.stop_settling()
        if reactor is None:
            return
        reactor.on_work = reactor.on_idle = None
        if self._is_selector:
            # The loop still needs its selector, which it closes as its last act.
            for peer in self.dispatcher.peers():
                reactor.close_peer(peer["peer"])
            return
        if self._timer is not None:
            self._timer.cancel()
        if self._loop is not None:
            self._loop.remove_reader(reactor.fileno())
        reactor.close()

    @property
    def _unsent(self) -> int:
        """Bytes that the reactor has still to send."""
        if self.reactor is None:
            return 0
        unsent: int = sum(peer["unsent"] for peer in self.dispatcher.peers())
        return unsent + self.reactor.sealed_bytes

# SPDX-License-Identifier: BSD-3-Clause
"""Carries the bytes of one `ClientHub` over blocking connections. Whoever calls it does the waiting, in his thread."""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Final

from gearfast.errors import ConnectionLost, ProtocolError
from gearfast.frontend.client_log import moved
from gearfast.frontend.sockets import FORKED, jitter, reason_of
from gearfast.sync.dialer import Dialer
from gearfast.sync.stream import READ, READ_SIZE, WRITE, PlainStream, Stream, make_poller

if TYPE_CHECKING:
    from ssl import SSLContext

    from gearfast.session.hub import ClientHub, Link
    from gearfast.session.requests import JobRequest, Request

__all__ = ["Pump"]

PATIENCE: Final = 1.0
"""Seconds after which the short way of waiting gives up and the long one, which can do everything, goes on."""
SLOW: Final = 0.005
"""Seconds that a job may take before its exact deadline counts."""
CATCH_UP: Final = 0.02
"""Seconds that may be spent on what came in time, before a deadline that has passed is acted on."""


class Pump:
    """Carries one hub's bytes over its connections. Not thread-safe but for what `lock` guards.

    `lock`: held while the hub is touched, never while waiting, connecting or telling waiters.
    """

    def __init__(
        self,
        hub: ClientHub,
        *,
        context: SSLContext | None = None,
        lock: AbstractContextManager[object] | None = None,
    ) -> None:
        self.hub = hub
        self.poller = make_poller()
        self.idle_since = 0.0
        self.is_parents = False
        self._dialer: Dialer[Link] = Dialer(self.poller, context)
        self._lock: AbstractContextManager[object] = lock or contextlib.nullcontext()
        self.sleeps_until = 0.0
        self._links: dict[int, Link] = {}

    def run(self, job: JobRequest, now: float) -> None:
        """Submit one job and wait until it is done, or overdue.

        This is the short way, for a connection that is up and a job that is quick: one send, and reads that block.
        Everything else (connecting, large workloads, slow jobs, losses, time-outs) goes on in `drive`.
        """
        hub = self.hub
        link = hub.submit(job, now)
        session = link.session
        if session is not None and link.io.is_plain and not hub.trials:
            stream: PlainStream = link.io
            limit = job.reply_by
            patience = PATIENCE if limit is None or limit - now > PATIENCE else limit - now
            if stream.patience != patience:
                stream.set_patience(patience)
            try:
                if stream.flush(session.take_output()):
                    recv = stream.sock.recv
                    while True:
                        data = recv(READ_SIZE)
                        if not data:
                            self.lost(link)
                            break
                        session.receive(data)
                        if job.done:
                            break
                        if monotonic() - now > SLOW:
                            break
            except BlockingIOError:
                pass
            except (OSError, ProtocolError) as error:
                self.lost(link, error)
        if job.error is not None:
            self._retry()
        if hub.moves:
            self._log()
        hub.news.clear()
        if not job.done:
            hub.watch(job)
            self.drive(job)

    def drive(self, request: Request) -> None:
        """Wait until a request is done; overdue ones end by the hub's clock."""
        while not request.done:
            self.step()
            self.hub.news.clear()

    def refresh(self) -> None:
        """Take in what happened while nobody was looking: the server may have closed the connection."""
        self._take(self.poller.wait(0.0))
        self._tick(monotonic())
        self._log()
        self.hub.news.clear()

    def step(self, longest: float = inf) -> None:
        """One round: connect, send, wait (at most `longest` seconds) for the next thing to happen, take it in."""
        hub = self.hub
        if self.is_parents:  # an iterator of the parent's goes on in the child
            raise ConnectionLost(FORKED)
        with self._lock:
            now = monotonic()
            if hub.is_overdue(now):
                self._catch_up(now)
            due = hub.take_connects(now)
        for link in due:
            self._connected(link, self._dialer.start(link, link.address, hub.patience(link, now)))
        with self._lock:
            self._tick(monotonic())
            self.flush()
            self._retry()
            # Once more: a send that fails puts its connection on the list of those to be made, which must not wait.
            deadline = hub.tick(monotonic())
            seconds: float
            if hub.news or any(stream.has_buffered for stream in self._streams()):
                seconds = 0.0
            else:
                until = min(self._dialer.wake_at, inf if deadline is None else deadline)
                seconds = min(longest, max(0.0, until - monotonic()))
            self.sleeps_until = deadline if deadline is not None else inf
        if hub.moves:
            self._log()
        ready = self.poller.wait(None if seconds == inf else seconds)
        for link, outcome in self._dialer.take(ready):
            self._connected(link, outcome)
        with self._lock:
            self._take(ready)
            self._retry()
        if hub.moves:
            self._log()

    def _log(self) -> None:
        """Log what became of jobs. Without the lock: what a handler does is its own affair, and may be a job."""
        with self._lock:
            moves = self.hub.take_moves()
        moved(moves)

    def _retry(self) -> None:
        """Keep it from everybody that a job failed which is to be tried again. The lock is held all the while."""
        if self.hub.retries and self.hub.news:
            self.hub.retry_failed(monotonic(), jitter())

    def _tick(self, now: float) -> None:
        """End what is overdue, and connections whose servers are not there any more."""
        self.hub.tick(now)
        for link in self.hub.take_dead():
            if link.io is not None and link.io.unsent_bytes:
                self.hub.spare(link, now)
            elif link.io is not None:
                self.lost(link, OSError("it does not answer"))

    def flush(self) -> None:
        """Send what the sessions have for their servers, as far as it goes without blocking."""
        for link in self.hub.links:
            session = link.session
            if session is not None and (session.has_output or link.io.unsent):
                self.flush_link(link)

    def flush_link(self, link: Link) -> bool:
        """The same for one connection. Returns whether all of its output is out."""
        stream = link.io
        assert link.session is not None
        try:
            done: bool = stream.flush(link.session.take_output())
        except OSError as error:
            self._read_rest(link)
            self.lost(link, error)
            return True
        events = READ if done else READ | WRITE
        if stream.events != events:
            stream.events = events
            self.poller.watch(stream.fileno(), events)
        return done

    def lost(self, link: Link, error: OSError | ProtocolError | None = None) -> None:
        """Drop a connection, which ended with an error or was closed by the server, and tell the hub."""
        unsent = 0 if link.io is None else link.io.unsent_bytes
        self._drop(link)
        reason = reason_of(error) if error is not None else "closed by the server"
        repeat = not isinstance(error, ProtocolError)
        self.hub.lost(link, monotonic(), jitter(), reason, repeat=repeat, unsent=unsent)

    def close(self) -> None:
        """Close all connections; what is awaited fails."""
        self._dialer.close()
        for link in list(self.hub.links):
            self._drop(link)
        self.hub.close()

    def forked(self) -> None:
        """In a forked child: close the descriptors; the connections stay the parent's, and so do its jobs."""
        self._dialer.close(forked=True)
        for link in self.hub.links:
            stream, link.io = link.io, None
            if stream is not None:
                stream.close()
        self._links.clear()
        self.is_parents = True
        self.hub.close(FORKED)

    def _drop(self, link: Link) -> None:
        stream, link.io = link.io, None
        if stream is not None:
            self._links.pop(stream.fileno(), None)
            self.poller.forget(stream.fileno())
            stream.close()

    def _streams(self) -> list[Stream]:
        return [link.io for link in self.hub.links if link.io is not None]

    def _connected(self, link: Link, stream: Stream | OSError | None) -> None:
        if stream is None:
            return
        if isinstance(stream, OSError):
            with self._lock:
                self.hub.failed(link, monotonic(), jitter(), reason_of(stream))
                self._retry()
            return
        with self._lock:
            link.io = stream
            stream.events = READ
            self._links[stream.fileno()] = link
            self.poller.watch(stream.fileno(), READ)
            self.hub.connected(link, monotonic())

    def _take(self, ready: list[tuple[int, int]]) -> None:
        for fd, events in ready:
            link = self._links.get(fd)
            if link is not None:
                if events & READ:
                    self._read(link)
                if events & WRITE and link.session is not None:
                    self.flush_link(link)
        for stream in self._streams():
            if stream.has_buffered and self._links.get(stream.fileno()) is not None:
                self._read(self._links[stream.fileno()])

    def _catch_up(self, now: float) -> None:
        """Take in what is here already before something is called overdue: a caller may come back late."""
        while monotonic() < now + CATCH_UP:
            ready = [(fd, READ) for fd, events in self.poller.wait(0.0) if events & READ and fd in self._links]
            if not ready:
                return
            self._take(ready)

    def _read_rest(self, link: Link) -> None:
        """Sending failed, but the server may have sent results before it went."""
        with contextlib.suppress(OSError, ProtocolError):
            while data := link.io.try_recv():
                self.hub.receive(link, data, monotonic())

    def _read(self, link: Link) -> None:
        try:
            data = link.io.try_recv()
            if data is None:
                return
            if not data:
                self.lost(link)
                return
            self.hub.receive(link, data, monotonic())
        except (OSError, ProtocolError) as error:
            self.lost(link, error)

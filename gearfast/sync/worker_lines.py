# SPDX-License-Identifier: BSD-3-Clause
"""The connections of a blocking worker: made, read, written, dropped, and told of to its crew and to the log."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING

from gearfast.errors import ProtocolError
from gearfast.frontend import worker_log as report
from gearfast.frontend.sockets import jitter, reason_of
from gearfast.session._worker import Assignment
from gearfast.session.crew import Crew, CrewLink
from gearfast.sync.dialer import Dialer
from gearfast.sync.stream import READ, WRITE, Stream, make_poller

if TYPE_CHECKING:
    from ssl import SSLContext

__all__ = ["Lines"]

ANSWER_SECONDS = 0.1
"""A callable that wants to know whether its job is cancelled waits at most so long for the server's answer."""


class Lines:
    """A worker's connections and the poller that watches them. `wake` ends the poller's wait, from any thread.

    `timeout`: seconds for a connection to be made. The worker's lock is held in every method but `dial`, `take_dialled`
    and `await_answer`, which take it themselves.
    """

    def __init__(self, context: SSLContext | None, timeout: float | None, wake: Callable[[], None]) -> None:
        self.lock = threading.Lock()
        self.poller = make_poller()
        self.dialer: Dialer[CrewLink] = Dialer(self.poller, context)
        self._timeout = timeout
        self._wake = wake
        self._links: dict[int, CrewLink] = {}

    @property
    def wake_at(self) -> float:
        """When a connection that is being made needs to be looked at, whether or not anything happens."""
        return self.dialer.wake_at

    def dial(self, crew: Crew, link: CrewLink) -> None:
        """Begin to connect."""
        self._connected(crew, link, self.dialer.start(link, link.address, self._timeout))

    def take_dialled(self, crew: Crew, ready: list[tuple[int, int]]) -> None:
        """Take the connections that have come about, or failed."""
        for link, outcome in self.dialer.take(ready):
            self._connected(crew, link, outcome)

    def _connected(self, crew: Crew, link: CrewLink, stream: Stream | OSError | None) -> None:
        if stream is None:
            return
        if isinstance(stream, OSError):
            now = monotonic()
            with self.lock:
                again = crew.failed(link, now, jitter(), reason_of(stream))
            report.cannot_connect(link, reason_of(stream), again - now)
            return
        with self.lock:
            link.io = stream
            self._links[stream.fileno()] = link
            stream.events = READ
            self.poller.watch(stream.fileno(), READ)
            crew.connected(link, monotonic())
        report.connected(link)

    def drop(self, crew: Crew, link: CrewLink, reason: str) -> float:
        """Close a connection. Returns when it is made again."""
        stream, link.io = link.io, None
        if stream is not None:
            self._links.pop(stream.fileno(), None)
            self.poller.forget(stream.fileno())
            stream.close()
        return crew.lost(link, monotonic(), jitter(), reason)

    def lost(self, crew: Crew, link: CrewLink, reason: str) -> None:
        """A connection has ended."""
        now = monotonic()
        again = self.drop(crew, link, reason)
        report.connection_lost(link, reason, again - now)
        self._wake()

    def flush(self, crew: Crew) -> None:
        """Send what the sessions have, as far as it goes without blocking."""
        for link in crew.links:
            session = link.session
            if session is not None and (session.has_output or link.io.unsent):
                stream: Stream = link.io
                try:
                    events = READ if stream.flush(session.take_output()) else READ | WRITE
                except OSError as error:
                    self.lost(crew, link, reason_of(error))
                    continue
                if events != stream.events:
                    stream.events = events
                    self.poller.watch(stream.fileno(), events)
                    self._wake()

    def take(self, crew: Crew, fd: int, events: int) -> bool:
        """Read from the connection whose descriptor is ready. Returns whether it is one of these."""
        link = self._links.get(fd)
        if link is None:
            return False
        if events & READ:
            self._read(crew, link)
        return True

    def take_buffered(self, crew: Crew) -> None:
        """Read what TLS has decrypted already."""
        for link in crew.links:
            if link.io is not None and link.io.has_buffered:
                self._read(crew, link)

    def _read(self, crew: Crew, link: CrewLink) -> None:
        try:
            data = link.io.try_recv()
        except OSError as error:
            self.lost(crew, link, reason_of(error))
            return
        if data is not None:
            self.received(crew, link, data)

    def received(self, crew: Crew, link: CrewLink, data: bytes) -> None:
        """Bytes came in, or none: the end of the connection."""
        if not data:
            self.lost(crew, link, "closed by the server")
            return
        try:
            crew.receive(link, data, monotonic())
        except ProtocolError as error:
            self.lost(crew, link, reason_of(error))
            return
        if link.session is not None and link.session.refusals:
            report.refused(link)

    def await_answer(self, crew: Crew, link: CrewLink, assignment: Assignment) -> None:
        """Read one connection until its server has answered what it was asked of a job, for a short time."""
        stream, until = link.io, monotonic() + ANSWER_SECONDS
        poller = make_poller()
        while stream is not None and link.io is stream and assignment.session.unanswered:
            poller.watch(stream.fileno(), READ)
            left = until - monotonic()
            if left <= 0 or not poller.wait(left):
                return
            with self.lock:
                if link.io is stream:
                    self._read(crew, link)

    def close(self, crew: Crew, reason: str, *, forked: bool) -> None:
        """Close all connections, and those that are being made. The lock is not held."""
        self.dialer.close(forked=forked)
        with self.lock:
            for link in [*crew.links, *crew.take_retired()]:
                self.drop(crew, link, reason)

    def forked(self, crew: Crew) -> None:
        """In a forked child: the connections are the parent's."""
        self.lock = threading.Lock()
        for link in crew.links:
            if link.io is not None:
                link.io.close()

# SPDX-License-Identifier: BSD-3-Clause
"""A client as a whole, without I/O: its servers, their connections, deadlines, failover and repeated submissions.

A front end gives requests to a `ClientHub`, opens the connections that it asks for (`take_connects`), carries bytes
between sockets and the sessions of its links, tells it what happened (`connected`, `failed`, `lost`, `receive`) and
calls `tick` at the time that the last one returned. Requests that are done, or have new events, come out in `news`.

What happens to a job whose connection is lost:

- not sent yet: it goes to the next server, whatever the policy;
- sent, policy `same`: it is sent again, with the same unique, to the same server once that is back, so that the two
  become one job there if the first still exists;
- sent, policy `any`: it is sent again to the next server that can be reached, the same included;
- sent, policy `never`: it fails with SubmitUncertain (no JOB_CREATED yet) or ConnectionLost.

A job that was sent again may meet its own first self in a server that has already given it up (gearmand keeps the
unique of an abandoned job); so its status is asked for now and then, and when the server no longer knows it, it is sent
once more.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import Any, Final, Literal

from gearfast.errors import (
    ConnectError,
    ConnectionLost,
    DeadlineExceeded,
    GearfastError,
    JobTimeout,
    SubmitUncertain,
    UsageError,
)
from gearfast.protocol import MAX_PACKET
from gearfast.session.client import ClientSession
from gearfast.session.requests import JobRequest, OptionRequest, Request, StatusRequest, Timeout
from gearfast.session.routing import Router, ServerAddress

__all__ = ["ClientHub", "Link", "Resubmit"]

Resubmit = Literal["same", "any", "never"]

IDLE: Final = 0
WANTED: Final = 1
CONNECTING: Final = 2
UP: Final = 3

PROBE_SECONDS = 5.0
MAX_SUBMISSIONS = 8
"""A job that takes its server down each time must not do so for ever."""
SPARE_LIMITS = 256
"""How many time limits of requests that are done may be kept at least; more than half of them never are."""


class Link:
    """A hub's connection to one server, there or not. `io` belongs to the front end."""

    __slots__ = ("address", "connect_at", "index", "io", "label", "proven", "session", "state", "waiting")

    def __init__(self, index: int, address: ServerAddress) -> None:
        self.index = index
        self.address = address
        self.label = address.label
        self.session: ClientSession | None = None
        self.state = IDLE
        self.connect_at = 0.0
        self.proven = False
        self.waiting: list[Request] = []
        self.io: Any = None


class Probe(StatusRequest):
    """Asks whether the server still knows a job that was sent again."""

    __slots__ = ("job",)

    def __init__(self, job: JobRequest) -> None:
        super().__init__(job.handle)
        self.job = job


class ClientHub:
    """All connections of a client (one a server at most). Times are seconds of one monotonic clock.

    `router`: which servers; it may be shared by several hubs. `resubmit`: see above.
    """

    __slots__ = (
        "_client_id",
        "_crowded",
        "_exceptions",
        "_heap",
        "_max_packet",
        "_number",
        "_probes",
        "_resubmit",
        "_timeout",
        "links",
        "news",
        "router",
    )

    def __init__(
        self,
        router: Router,
        *,
        timeout: Timeout,
        resubmit: Resubmit = "same",
        exceptions: bool = True,
        client_id: bytes = b"",
        max_packet: int = MAX_PACKET,
    ) -> None:
        if resubmit not in ("same", "any", "never"):
            raise UsageError(f"resubmit is 'same', 'any' or 'never', not {resubmit!r}")
        self.router = router
        self.links = [Link(index, address) for index, address in enumerate(router.servers)]
        self.news: list[Request] = []
        self._timeout = timeout
        self._resubmit = resubmit
        self._exceptions = exceptions
        self._client_id = client_id
        self._max_packet = max_packet
        self._heap: list[tuple[float, int, Request, bool]] = []
        self._number = 0
        self._probes = 0
        self._crowded = SPARE_LIMITS

    # Requests

    def submit(self, job: JobRequest, now: float) -> Link:
        """Send a job to the server that its unique belongs to, or to the next one that is not away."""
        links = self.links
        link = links[0] if len(links) == 1 else links[self.router.order(job.unique, now)[0]]
        self._give(link, job, now)
        return link

    def send(self, request: Request, index: int, now: float) -> Link:
        """Send a request to the server of that index."""
        link = self.links[index]
        self._give(link, request, now)
        return link

    def watch(self, request: Request) -> None:
        """Let `tick` end the request at its `reply_by` (no answer yet) or `deadline`."""
        limit = _limit(request)
        if limit is not None:
            self._number += 1
            heappush(self._heap, (limit, self._number, request, False))
            if len(self._heap) > self._crowded:  # done requests must not be kept, with their results, for so long
                self._heap[:] = [entry for entry in self._heap if not entry[2].done]
                heapify(self._heap)
                self._crowded = max(SPARE_LIMITS, 2 * len(self._heap))

    def abandon(self, request: Request, error: GearfastError | None = None) -> None:
        """Nobody waits for the request any more. Its answer, should it come, is dropped; the connection stays good."""
        request.abandoned = True
        if not request.done:
            request.done = True
            request.error = error

    def _give(self, link: Link, request: Request, now: float) -> None:
        request.link = link
        session = link.session
        if session is not None:
            if type(request) is JobRequest:
                request.submissions += 1
                request.lost_handle = b""
            request.sent = True
            session.send(request)
            return
        link.waiting.append(request)
        if link.state == IDLE:
            link.state = WANTED
            link.connect_at = now

    # What the front end reports

    def take_connects(self, now: float) -> list[Link]:
        """Links to be connected now; answer each with `connected` or `failed`."""
        due = [link for link in self.links if link.state == WANTED and link.connect_at <= now]
        for link in due:
            link.state = CONNECTING
        return due

    def connected(self, link: Link, now: float) -> None:
        """The connection of `link` is made. What waited for it is in the session's output now."""
        link.state = UP
        link.proven = False
        link.session = ClientSession(
            link.label,
            exceptions=self._exceptions,
            client_id=self._client_id,
            max_packet=self._max_packet,
            news=self.news,
        )
        waiting, link.waiting = link.waiting, []
        for request in waiting:
            if not request.done:
                self._give(link, request, now)

    def failed(self, link: Link, now: float, jitter: float, reason: str) -> None:
        """The connection of `link` could not be made. `jitter`: any number from [0, 1)."""
        retry_at = self.router.down(link.index, now, jitter, reason)
        link.state = IDLE
        waiting, link.waiting = link.waiting, []
        for request in waiting:
            if request.done:
                continue
            if isinstance(request, JobRequest):
                self._next_server(request, link, now)
            else:
                message = f"{request.what}: cannot connect to {link.label}: {reason}"
                self._end(request, ConnectError(message, {link.label: reason}))
        if link.waiting:
            ends = [request.retry_by for request in link.waiting if isinstance(request, JobRequest)]
            link.state = WANTED
            link.connect_at = min(retry_at, *ends) if ends else retry_at

    def lost(self, link: Link, now: float, jitter: float, reason: str, *, repeat: bool = True) -> None:
        """The connection of `link` is gone. Its requests fail, or are sent again as the policy says.

        `repeat` False: the server broke the protocol, or sent more than fits; sending again would only repeat that.
        """
        session = link.session
        if session is None:
            return
        link.session = None
        link.state = IDLE
        self.router.down(link.index, now, jitter, reason)
        for request in list(session.pending()):
            if isinstance(request, Probe):
                self._probes -= 1
            elif request.done or isinstance(request, OptionRequest):
                continue
            elif isinstance(request, JobRequest):
                self._again(request, link, now, reason, repeat)
            else:
                message = f"{request.what}: connection to {link.label} lost: {reason}"
                self._end(request, ConnectionLost(message, server=link.label))

    def close(self, reason: str = "the client was closed") -> None:
        """Fail everything that is still awaited."""
        for link in self.links:
            session, link.session = link.session, None
            waiting, link.waiting = link.waiting, []
            link.state = IDLE
            for request in [*(session.pending() if session else ()), *waiting]:
                if not request.done and not isinstance(request, (OptionRequest, Probe)):
                    self._end(request, self._lost_error(request, link, reason))

    def receive(self, link: Link, data: bytes, now: float) -> None:
        """Bytes came in over `link`. Raises ProtocolError; then call `lost`."""
        session = link.session
        if session is not None:
            if not link.proven:
                # Only a server that says something is up; what stands before it may take connections in its place.
                link.proven = True
                self.router.up(link.index)
            session.receive(data)
            if self._probes:
                self._read_probes(now)

    def tick(self, now: float) -> float | None:
        """End what is overdue. Returns the time of the next call that is needed, None if there is none."""
        heap = self._heap
        while heap and (heap[0][0] <= now or heap[0][2].done):
            _, _, request, probe = heappop(heap)
            if request.done:
                continue
            if probe:
                self._probe(request, now)
            else:
                self._expire(request, now)
        times = [link.connect_at for link in self.links if link.state == WANTED]
        if heap:
            times.append(heap[0][0])
        return min(times) if times else None

    def is_overdue(self, now: float) -> bool:
        """`tick` would end a request, if what the servers have sent by now does not do so."""
        return bool(self._heap) and self._heap[0][0] <= now

    def patience(self, link: Link, now: float) -> float | None:
        """Seconds that connecting `link` may take, so that those who wait for it can still try another server.

        If there is no other one, nobody's haste cuts short what somebody else has time for.
        """
        longest = self._timeout.connect
        limits = [_limit(request) for request in link.waiting if not request.done]
        known = [limit for limit in limits if limit is not None]
        if len(self.links) == 1 or not known:
            return longest
        left = max(0.001, min(known) - now) / 2
        return left if longest is None else min(left, longest)

    def timed_out(self, request: Request, now: float) -> GearfastError:
        """The error of a request whose time is up; it depends on what it waited for."""
        server = request.link.label if request.link is not None else "any server"
        if isinstance(request, JobRequest) and request.deadline is not None and request.deadline <= now:
            return JobTimeout(f"{request.what}: no result from {server} in time", handle=request.handle_text)
        return DeadlineExceeded(f"{request.what}: no answer from {server} in time")

    # Inside

    def _end(self, request: Request, error: GearfastError) -> None:
        request.fail(error)
        self.news.append(request)

    def _expire(self, request: Request, now: float) -> None:
        limit = _limit(request)
        if limit is None or limit > now:  # it was answered, or begun anew, since this time was noted
            self.watch(request)
            return
        self.abandon(request, self.timed_out(request, now))
        self.news.append(request)

    def _next_server(self, job: JobRequest, link: Link, now: float) -> None:
        """`job` waited for `link`, which could not be connected."""
        if job.submissions and now >= job.retry_by:
            self._end(job, self._lost_error(job, link, self.router.reasons[link.index]))
            return
        if job.pinned:
            link.waiting.append(job)
            return
        tried = job.tried = [*(job.tried or ()), link.index]
        for index in self.router.order(job.unique, now):
            if index not in tried:
                self._give(self.links[index], job, now)
                return
        if job.submissions:  # "any": go round again until retry_by
            job.tried = None
            link.waiting.append(job)
            return
        reasons = {self.links[index].label: self.router.reasons[index] for index in tried}
        told = "; ".join(f"{label}: {reason}" for label, reason in reasons.items())
        self._end(job, ConnectError(f"function {job.function!r}: no job server can be reached: {told}", reasons))

    def _again(self, job: JobRequest, link: Link, now: float, reason: str, repeat: bool) -> None:
        """`job` was sent over `link`, which is lost."""
        again = job.submissions > 1
        hopeless = again and (job.submissions >= MAX_SUBMISSIONS or (not job.handle and now >= job.retry_by))
        if self._resubmit == "never" or hopeless or not repeat:
            self._end(job, self._lost_error(job, link, reason))
            return
        if job.handle or not again:
            job.retry_by = now + self._timeout.reconnect
        if job.handle:
            job.lost_handle, job.handle = job.handle, b""
        job.tried = None
        job.pinned = self._resubmit == "same"
        if self._timeout.reply is not None:
            job.reply_by = now + self._timeout.reconnect + self._timeout.reply
        target = link if job.pinned else self.links[self.router.order(job.unique, now)[0]]
        self._give(target, job, now)
        if again and target.state == WANTED:  # the first repetition is at once, the others wait as the server needs it
            target.connect_at = max(target.connect_at, self.router.down_until[target.index])
        self._number += 1
        heappush(self._heap, (now + PROBE_SECONDS, self._number, job, True))
        self.watch(job)

    def _probe(self, request: Request, now: float) -> None:
        link: Link = request.link
        if isinstance(request, JobRequest) and request.handle and link.session is not None:
            self._probes += 1
            self._give(link, Probe(request), now)
        self._number += 1
        heappush(self._heap, (now + PROBE_SECONDS, self._number, request, True))

    def _read_probes(self, now: float) -> None:
        """Send jobs again that their server has forgotten. Answers to probes are nobody else's news."""
        probes = [request for request in self.news if type(request) is Probe]
        if not probes:
            return
        self._probes -= len(probes)
        self.news[:] = [request for request in self.news if type(request) is not Probe]
        for probe in probes:
            job = probe.job
            # The server sends a job's last packet before it forgets the job, so that packet would be here already.
            if probe.result is not None and not probe.result.known and not job.done and job.handle == probe.handle:
                job.link.session.forget(job)
                job.handle = b""
                self._give(job.link, job, now)

    def _lost_error(self, request: Request, link: Link, reason: str) -> GearfastError:
        message = f"{request.what}: connection to {link.label} lost: {reason}"
        if isinstance(request, JobRequest):
            if request.lost_handle:  # the server had taken it, and it was not sent again yet
                handle = request.lost_handle.decode("utf-8", "replace")
                return ConnectionLost(message, server=link.label, handle=handle)
            if not request.handle:
                return SubmitUncertain(f"{message}; the job may or may not be queued", server=link.label)
            return ConnectionLost(message, server=link.label, handle=request.handle_text)
        return ConnectionLost(message, server=link.label)


def _limit(request: Request) -> float | None:
    """When a request is overdue: with its reply as long as there is none, with its result in any case."""
    reply_by, deadline = request.reply_by, request.deadline
    if isinstance(request, JobRequest) and request.handle:
        return deadline
    if reply_by is None or (deadline is not None and deadline < reply_by):
        return deadline
    return reply_by

# SPDX-License-Identifier: BSD-3-Clause
"""A client as a whole, without I/O: its servers, their connections, deadlines, failover and repeated submissions.

A front end gives requests to a `ClientHub`, opens the connections that it asks for (`take_connects`), carries bytes
between sockets and the sessions of its links, tells it what happened (`connected`, `failed`, `lost`, `receive`) and
calls `tick` at the time that the last one returned. Requests that are done, or have new events, come out in `news`.

What happens to a job whose connection is lost:

- not sent yet, as nothing of it went out: it is sent again, whatever the policy, to the next server if this one cannot
  be reached;
- sent, policy `unique`: with a unique of the caller's as `same`, without one as `never`;
- sent, policy `same`: it is sent again, with the same unique, to the same server once that is back, so that the two
  become one job there if the first still exists;
- sent, policy `any`: it is sent again to the next server that can be reached, the same included;
- sent, policy `never`: it fails with SubmitUncertain (no JOB_CREATED yet) or ConnectionLost.

A job that was sent again may meet its own first self in a server that has already given it up (gearmand keeps the
unique of an abandoned job); so its status is asked for now and then, and when the server no longer knows it, it is sent
once more.

A job that failed, and for which the caller has asked that, is submitted again by `retry_failed`, after a delay.

Each submission but the first, and that jobs go to another server than their own, is told by `take_moves`.

Over each connection ECHO_REQ asks every `Timeout.health` seconds whether its server is there. One from which nothing
at all came for as long again is handed to the front end by `take_dead`.

A server that was away is tried again, after its backoff, when there is a job for it; the job goes to another server
meanwhile, if there is one that is up. It gets jobs again once it has answered an ECHO_REQ.
"""

from __future__ import annotations

from heapq import heappop
from typing import Any, Final, Literal, get_args

from gearfast.errors import (
    ConnectError,
    ConnectionLost,
    DeadlineExceeded,
    GearfastError,
    SubmitUncertain,
    UsageError,
)
from gearfast.protocol import MAX_PACKET
from gearfast.session._client import LIMIT, JobRequest, QuickHub, Request, time_limit
from gearfast.session.client import ClientSession
from gearfast.session.moves import Moved, Past
from gearfast.session.requests import EchoRequest, OptionRequest, StatusRequest, Timeout, late
from gearfast.session.routing import Router, ServerAddress

__all__ = ["ClientHub", "Link", "Resubmit", "check_resubmit"]

Resubmit = Literal["unique", "same", "any", "never"]

IDLE: Final = 0
WANTED: Final = 1
CONNECTING: Final = 2
UP: Final = 3

PROBE: Final = 1
RETRY: Final = 2

PROBE_SECONDS = 5.0
MAX_SUBMISSIONS = 8
"""A job that takes its server down each time must not do so for ever."""


def check_resubmit(resubmit: str) -> None:
    """Raises UsageError for what is no policy."""
    if resubmit not in get_args(Resubmit):
        raise UsageError(f"resubmit is 'unique', 'same', 'any' or 'never', not {resubmit!r}")


class Link:
    """A hub's connection to one server, there or not. `io` belongs to the front end."""

    __slots__ = (
        "address", "connect_at", "index", "io", "label", "ping", "ping_at", "proven", "session", "state", "trial",
        "waiting",
    )  # fmt: skip

    def __init__(self, index: int, address: ServerAddress) -> None:
        self.index = index
        self.address = address
        self.label = address.label
        self.session: ClientSession | None = None
        self.state = IDLE
        self.connect_at = 0.0
        self.proven = False
        self.ping: Ping | None = None
        self.ping_at = 0.0
        self.trial = False
        self.waiting: list[Request] = []
        self.io: Any = None


class Probe(StatusRequest):
    """Asks whether the server still knows a job that was sent again."""

    __slots__ = ("job",)

    def __init__(self, job: JobRequest) -> None:
        super().__init__(job.handle)
        self.job = job


class Ping(EchoRequest):
    """Asks whether a server is still there."""

    __slots__ = ()

    def __init__(self, link: Link) -> None:
        super().__init__(b"gearfast")
        self.link = link


class ClientHub(QuickHub):
    """All connections of a client (one a server at most). Times are seconds of one monotonic clock.

    `router`: which servers; it may be shared by several hubs. `resubmit`: see above. `retries`: a job was submitted
    that may be tried again, so `news` is to be given to `retry_failed` first. `trials`: how many servers are being
    tried. `moves`: what `take_moves` will give.
    """

    __slots__ = (
        "_client_id",
        "_dead",
        "_exceptions",
        "_max_packet",
        "_probes",
        "_resubmit",
        "_timeout",
        "_told",
        "moves",
        "news",
        "retries",
        "router",
        "trials",
    )

    def __init__(
        self,
        router: Router,
        *,
        timeout: Timeout,
        resubmit: Resubmit = "unique",
        exceptions: bool = True,
        client_id: bytes = b"",
        max_packet: int = MAX_PACKET,
    ) -> None:
        check_resubmit(resubmit)
        self.router = router
        self.links = [Link(index, address) for index, address in enumerate(router.servers)]
        self.news: list[Request] = []
        self.moves: list[Moved] = []
        self._timeout = timeout
        self._resubmit = resubmit
        self._exceptions = exceptions
        self._client_id = client_id
        self._max_packet = max_packet
        self._dead: list[Link] = []
        self._told: dict[int, float] = {}
        self.retries = False
        self.trials = 0
        self._probes = 0

    # Requests

    def submit(self, job: JobRequest, now: float) -> Link:
        """Send a job to the server that its unique belongs to, or to the next one that is not away."""
        if job.retry is not None:
            self.retries = True
        links = self.links
        if len(links) == 1:
            link = links[0]
        else:
            link = self._choose(job.unique, now)
            if any(self.router.failures):
                self._passed_over(job, link)
        self._give(link, job, now)
        return link

    def _passed_over(self, job: JobRequest, link: Link) -> None:
        """Tell that `job` goes to `link`, if its own server is another one, which is away: of the first such job only.

        The next is told of when that server was tried again in vain; there may be many thousands a second.
        """
        home = self.router.rank(job.unique)[0]
        outage = self.router.down_until[home]  # another one after each attempt
        if home != link.index and job.past is None and self._told.get(home) != outage:  # a retry has a line of its own
            self._told[home] = outage
            self._moved(job, link, Past(self.links[home].label, "", self.router.reasons[home]))

    def _choose(self, unique: bytes, now: float) -> Link:
        """The link of the server for a unique. One that was away is tried without a job, if another one is up."""
        order = self.router.order(unique, now)
        failures = self.router.failures
        for index in order:
            if failures[index] and self.router.down_until[index] > now:
                break
            link = self.links[index]
            if not failures[index]:
                return link
            if not link.trial and not all(failures):
                self._try(link, now)
        return self.links[order[0]]

    def _try(self, link: Link, now: float) -> None:
        """See whether the server of `link` is there."""
        if link.state == UP:
            self._ask(link, now)
        elif link.state == IDLE:
            link.state = WANTED
            link.connect_at = now
        else:
            return  # it is being connected for somebody
        link.trial = True
        self.trials += 1

    def _end_trial(self, link: Link) -> None:
        if link.trial:
            link.trial = False
            self.trials -= 1

    def send(self, request: Request, index: int, now: float) -> Link:
        """Send a request to the server of that index."""
        link = self.links[index]
        self._give(link, request, now)
        return link

    def abandon(self, request: Request, error: GearfastError | None = None) -> None:
        """Nobody waits for the request any more. Its answer, should it come, is dropped; the connection stays good."""
        request.abandoned = True
        if not request.done:
            request.done = True
            request.error = error

    def retry_failed(self, now: float, jitter: float) -> None:
        """Take those out of `news` that failed but are to be tried again; `tick` submits them after their delay.

        `jitter`: any number from [0, 1).
        """
        self.news[:] = [request for request in self.news if not self._retry(request, now, jitter)]

    def _retry(self, request: Request, now: float, jitter: float) -> bool:
        if type(request) is not JobRequest or request.error is None or request.retry is None:
            return False
        if request.abandoned or request.cancelling:
            return False
        delay = request.retry.delay(request.error, request.failures + 1, jitter)
        if delay is None or (request.deadline is not None and now + delay >= request.deadline):
            return False
        request.past = Past(request.link.label, request.handle_text, type(request.error).__name__)
        request.begin_again()
        request.reply_by = None
        self.note(now + delay, request, RETRY)
        return True

    def _give(self, link: Link, request: Request, now: float) -> None:
        request.link = link
        session = link.session
        if session is not None:
            if type(request) is JobRequest:
                if request.submissions:
                    request.lost_handle = b""
                    self._moved(request, link)
                request.submissions += 1
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
        link.ping = None
        if self._timeout.health is not None:
            link.ping_at = now + self._timeout.health
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
        if link.trial:
            self._ask(link, now)

    def failed(self, link: Link, now: float, jitter: float, reason: str) -> None:
        """The connection of `link` could not be made. `jitter`: any number from [0, 1)."""
        retry_at = self.router.down(link.index, now, jitter, reason)
        self._end_trial(link)
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
        self._want(link, retry_at)

    def take_moves(self) -> list[Moved]:
        """What is to be logged of jobs that were sent again, or went to another server, since the last call."""
        moves, self.moves = self.moves, []
        return moves

    def lost(self, link: Link, now: float, jitter: float, reason: str, *, repeat: bool = True, unsent: int = 0) -> None:
        """The connection of `link` is gone. Its requests fail, or are sent again as the policy says.

        `repeat` False: the server broke the protocol, or sent more than fits; sending again would only repeat that.
        `unsent`: how many bytes at the end of its output the system has not taken.
        """
        session = link.session
        if session is None:
            return
        link.session = None
        link.state = IDLE
        self._end_trial(link)
        retry_at = self.router.down(link.index, now, jitter, reason)
        unwritten = session.unwritten(unsent)
        for request in list(session.pending()):
            if isinstance(request, Probe):
                self._probes -= 1
            elif request.done or isinstance(request, (OptionRequest, Ping)):
                request.done = True
            elif not isinstance(request, JobRequest):
                message = f"{request.what}: connection to {link.label} lost: {reason}"
                self._end(request, ConnectionLost(message, server=link.label, handle=request.handle_text))
            elif request in unwritten:
                self._never_sent(request, link, now, repeat)
            else:
                self._again(request, link, now, reason, repeat)
        self._want(link, retry_at)

    def close(self, reason: str = "the client was closed") -> None:
        """Fail everything that is still awaited."""
        for link in self.links:
            session, link.session = link.session, None
            waiting, link.waiting = link.waiting, []
            link.state = IDLE
            self._end_trial(link)
            for request in [*(session.pending() if session else ()), *waiting]:
                if not request.done and not isinstance(request, (OptionRequest, Ping, Probe)):
                    self._end(request, self._lost_error(request, link.label, reason))
        for _, _, request, what in self.heap:
            if what == RETRY and not request.done:
                assert isinstance(request, JobRequest)
                message = f"{request.what}: to be tried again: {reason}"
                self._end(request, ConnectionLost(message, server=request.link.label, function=request.function))
        self.heap.clear()

    def receive(self, link: Link, data: bytes, now: float) -> None:
        """Bytes came in over `link`. Raises ProtocolError; then call `lost`."""
        session = link.session
        if session is not None:
            if not link.proven:
                # Only a server that says something is up; what stands before it may take connections in its place.
                link.proven = True
                self.router.up(link.index)
                self._end_trial(link)
            session.receive(data)
            if self._probes:
                self._read_probes(now)

    def tick(self, now: float) -> float | None:
        """End what is overdue. Returns the time of the next call that is needed, None if there is none."""
        heap = self.heap
        self.drop_done()
        while heap and heap[0][0] <= now:
            _, _, request, what = heappop(heap)
            if request.done:
                continue
            if what == LIMIT:
                self._expire(request, now)
            elif what == PROBE:
                self._probe(request, now)
            else:
                self._submit_again(request, now)
            self.drop_done()
        times = [link.connect_at for link in self.links if link.state == WANTED]
        if self._timeout.health is not None:
            times += [self._ping(link, now) for link in self.links if link.state == UP]
        if heap:
            times.append(heap[0][0])
        return min(times) if times else None

    def take_dead(self) -> list[Link]:
        """Links whose servers did not answer ECHO_REQ: answer each with `lost`, or with `spare` if it may just wait."""
        dead, self._dead = self._dead, []
        return dead

    def spare(self, link: Link, now: float) -> None:
        """What is to be sent to the server of `link` is still on its way, so it could not answer yet."""
        if link.ping is not None and not link.ping.done:
            self._watch_ping(link, now)

    def is_overdue(self, now: float) -> bool:
        """`tick` would end a request, if what the servers have sent by now does not do so."""
        return bool(self.heap) and self.heap[0][0] <= now

    def patience(self, link: Link, now: float) -> float | None:
        """Seconds that connecting `link` may take, so that those who wait for it can still try another server.

        If there is no other one, nobody's haste cuts short what somebody else has time for.
        """
        longest = self._timeout.connect
        limits = [time_limit(request) for request in link.waiting if not request.done]
        known = [limit for limit in limits if limit is not None]
        if len(self.links) == 1 or not known:
            return longest
        left = max(0.001, min(known) - now) / 2
        return left if longest is None else min(left, longest)

    def timed_out(self, request: Request, now: float) -> GearfastError:
        """The error of a request whose time is up; it depends on what it waited for."""
        server = request.link.label if request.link is not None else ""
        message = f"{request.what}: no answer from {server or 'any server'} in time"
        if not isinstance(request, JobRequest):
            return DeadlineExceeded(message, server=server, handle=request.handle_text)
        if request.background or request.deadline is None or request.deadline > now:
            return DeadlineExceeded(message, server=server, function=request.function, handle=request.handle_text)
        return late(request, "no result")

    # Inside

    def _end(self, request: Request, error: GearfastError) -> None:
        request.fail(error)
        self.news.append(request)

    def _expire(self, request: Request, now: float) -> None:
        if isinstance(request, Ping):
            if request.link.proven:  # something came, if not the answer
                self._watch_ping(request.link, now)
            else:
                self._dead.append(request.link)
            return
        limit = time_limit(request)
        if limit is None or limit > now:  # it was answered, or begun anew, since this time was noted
            self.watch(request)
            return
        self.abandon(request, self.timed_out(request, now))
        self.news.append(request)

    def _submit_again(self, request: Request, now: float) -> None:
        """The delay of a job that failed is over."""
        assert isinstance(request, JobRequest)
        if self._timeout.reply is not None:
            request.reply_by = now + self._timeout.reply
        link = self.submit(request, now)
        if request.past is not None:
            self.moves.append(Moved(request.function, request.past, link.label, request.earlier))
        self.watch(request)

    def _ping(self, link: Link, now: float) -> float:
        """Ask the server of `link` whether it is there, if that is due. Returns when it is next."""
        health = self._timeout.health
        assert health is not None
        if link.ping_at <= now:
            link.ping_at = now + health
            if link.ping is None or link.ping.done:
                self._ask(link, now)
        return link.ping_at

    def _ask(self, link: Link, now: float) -> None:
        """ECHO_REQ over `link`."""
        assert link.session is not None
        link.ping = Ping(link)
        link.session.send(link.ping)
        self._watch_ping(link, now)

    def _watch_ping(self, link: Link, now: float) -> None:
        assert link.ping is not None
        link.proven = False
        limits = [limit for limit in (self._timeout.health, self._timeout.reply) if limit is not None]
        if limits:
            self.note(now + min(limits), link.ping, LIMIT)

    def _want(self, link: Link, retry_at: float) -> None:
        """Connect `link` again for those that wait for it, at `retry_at` or when the first of them gives up."""
        if link.waiting and link.state == IDLE:
            ends = [request.retry_by for request in link.waiting if isinstance(request, JobRequest)]
            link.state = WANTED
            link.connect_at = min(retry_at, *ends) if ends else retry_at

    def _next_server(self, job: JobRequest, link: Link, now: float) -> None:
        """`job` waited for `link`, which could not be connected."""
        if job.submissions and now >= job.retry_by:
            self._end(job, self._lost_error(job, link.label, self.router.reasons[link.index]))
            return
        if job.pinned:
            link.waiting.append(job)
            return
        tried = job.tried = [*(job.tried or ()), link.index]
        for index in self.router.order(job.unique, now):
            if index not in tried:
                if not job.submissions:
                    self._moved(job, self.links[index], Past(link.label, "", self.router.reasons[link.index]))
                self._give(self.links[index], job, now)
                return
        if job.submissions:  # "any": go round again until retry_by
            job.tried = None
            link.waiting.append(job)
            return
        reasons = {self.links[index].label: self.router.reasons[index] for index in tried}
        told = "; ".join(f"{label}: {reason}" for label, reason in reasons.items())
        message = f"function {job.function!r}: no job server can be reached: {told}"
        self._end(job, ConnectError(message, reasons, function=job.function))

    def _never_sent(self, job: JobRequest, link: Link, now: float, repeat: bool) -> None:
        """`job` was to be sent over `link`, which was lost before anything of it went out: no server can have it."""
        job.submissions -= 1
        job.unwritten += 1
        if job.submissions and job.past is not None:
            job.lost_handle = job.past.handle.encode()
        if repeat and job.unwritten == 1:  # the connection may only have been an old one
            self._give(link, job, now)
        else:
            self._next_server(job, link, now)

    def _again(self, job: JobRequest, link: Link, now: float, reason: str, repeat: bool) -> None:
        """`job` was sent over `link`, which is lost."""
        again = job.submissions > 1
        hopeless = again and (job.submissions >= MAX_SUBMISSIONS or (not job.handle and now >= job.retry_by))
        if not self._repeats(job) or hopeless or not repeat:
            self._end(job, self._lost_error(job, link.label, reason))
            return
        if job.handle or not again:
            job.retry_by = now + self._timeout.reconnect
        job.past = Past(link.label, job.handle_text, reason)
        if job.handle:
            job.lost_handle, job.handle = job.handle, b""
        job.tried = None
        job.pinned = job.pinned or self._resubmit != "any"
        if self._timeout.reply is not None:
            job.reply_by = now + self._timeout.reconnect + self._timeout.reply
        target = link if job.pinned else self.links[self.router.order(job.unique, now)[0]]
        self._give(target, job, now)
        if again and target.state == WANTED:  # the first repetition is at once, the others wait as the server needs it
            target.connect_at = max(target.connect_at, self.router.down_until[target.index])
        self.note(now + PROBE_SECONDS, job, PROBE)
        self.watch(job)

    def _repeats(self, job: JobRequest) -> bool:
        """The policy lets `job` be sent again though it may have run."""
        return job.keyed if self._resubmit == "unique" else self._resubmit != "never"

    def _moved(self, job: JobRequest, link: Link, past: Past | None = None) -> None:
        """Tell that `job` goes to `link`; `past` if it is not the job's own."""
        past = past or job.past
        if past is not None:
            self.moves.append(Moved(job.function, past, link.label, job.earlier + job.submissions))

    def _probe(self, request: Request, now: float) -> None:
        link: Link = request.link
        if isinstance(request, JobRequest) and request.handle and link.session is not None:
            self._probes += 1
            self._give(link, Probe(request), now)
        self.note(now + PROBE_SECONDS, request, PROBE)

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
                job.past = Past(job.link.label, job.handle_text, "its server does not know it any more")
                job.handle = b""
                self._give(job.link, job, now)

    def _lost_error(self, request: Request, server: str, reason: str) -> GearfastError:
        if not isinstance(request, JobRequest):
            message = f"{request.what}: connection to {server} lost: {reason}"
            return ConnectionLost(message, server=server, handle=request.handle_text)
        # Before it is sent again it is known by the handle that it had over the connection that was lost.
        handle = request.handle_text or request.lost_handle.decode("utf-8", "replace")
        named = handle or request.unique.decode("utf-8", "replace")
        message = f"job {named} of function {request.function!r}: connection to {server} lost: {reason}"
        if request.submissions and not handle:
            message = f"{message}; the job may or may not be queued"
            return SubmitUncertain(message, server=server, function=request.function)
        return ConnectionLost(message, server=server, function=request.function, handle=handle)

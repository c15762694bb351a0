# SPDX-License-Identifier: BSD-3-Clause
"""What functions are allowed, as the model knows it: plain numbers, and rules of their own for what a policy adds.

Waits before a try are without jitter here, since nobody could foresee them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from gearfast.protocol import Command

from .frames import response
from .records import Function, Job, Open, Peer
from .rules import NS, Rules

UNITS: Final = {"s": NS, "m": 60 * NS, "h": 3600 * NS}


@dataclass(frozen=True, slots=True)
class Allowed:
    """Of one function. Times in ns; 0: no limit."""

    timeout: int = 0
    tries: int = 0
    backoff: int = 0
    backoff_max: int = 0
    doubles: bool = True
    retry_on_fail: bool = False
    queue: tuple[int, int, int] = (0, 0, 0)
    drop_oldest: bool = False
    concurrency: int = 0
    interval: int = 0
    burst: int = 1
    expire: int = 0
    weights: tuple[int, ...] = ()
    keep_failed: int = 0
    keep_results: int = 0
    keep_size: int = 0  # bytes


def allowed(policies: dict[str, dict[str, Any]], name: bytes) -> Allowed | None:
    """From the name itself, then from `f*`, then from `*`; None if none of them says anything."""
    text = name.decode("latin-1")
    keys: dict[str, Any] = {}
    for pattern, matches in (("*", True), ("f*", text.startswith("f")), (text, True)):
        if matches and pattern in policies:
            keys.update(policies[pattern])
    if not keys:
        return None
    number, unit = keys.get("rate", "0/s").split("/")
    interval = (2 * UNITS[unit] // int(number) + 1) // 2 if int(number) else 0  # rounded
    queue = keys.get("max_queue", 0)
    return Allowed(
        timeout=int(keys.get("timeout", 0) * NS),
        tries=keys.get("tries", 0),
        backoff=int(keys.get("backoff", 0) * NS),
        backoff_max=int(keys.get("backoff_max", 300) * NS),
        doubles=keys.get("backoff_kind") != "fixed",
        retry_on_fail=keys.get("retry_on_fail", False),
        queue=tuple(queue) if isinstance(queue, list) else (queue, queue, queue),
        drop_oldest=keys.get("full") == "drop-oldest",
        concurrency=keys.get("concurrency", 0),
        interval=interval,
        burst=keys.get("burst", max(-(-int(number) * NS // UNITS[unit]), 1)),
        expire=int(keys.get("expire", 0) * NS),
        weights=tuple(keys.get("weights", ())),
        keep_failed=keys.get("keep_failed", 0),
        keep_results=keys.get("keep_results", 0),
        keep_size=keys.get("keep_results_size", 0),
    )


class Policies(Rules):
    """The rules, with policies."""

    def __init__(self, settings: dict[str, Any]) -> None:
        super().__init__(settings)
        self.policies: dict[str, dict[str, Any]] = settings.get("policies", {})
        self.guessed = False  # in this phase: which of several gates opened first, at one moment

    def function(self, name: bytes) -> Function:
        found = super().function(name)
        if found.allowed is None and self.policies:
            found.allowed = allowed(self.policies, name)
        return found

    # ---- tries ----------------------------------------------------------------------------------------------------

    def fails_when_lost(self, job: Job) -> bool:
        tries = job.function.allowed.tries if job.function.allowed else 0
        if tries:
            return 0 < tries <= job.retries + 1
        return super().fails_when_lost(job)

    def try_again(self, job: Job) -> bool:
        policy = job.function.allowed
        if not policy or not policy.retry_on_fail or not job.wanted or self.fails_when_lost(job):
            return False
        self.meet("tried again after a failure")
        self.requeue(job)
        return True

    def wait_before_try(self, job: Job) -> int:
        policy = job.function.allowed
        if not policy or not policy.backoff:
            return 0
        most = policy.backoff_max or 10**18
        return min(policy.backoff * (2 ** (job.retries - 1) if policy.doubles else 1), most)

    def put_back(self, job: Job) -> None:
        wait = self.wait_before_try(job)
        if not wait:
            super().put_back(job)
            return
        self.meet("waits for another try")
        job.since = self.now
        job.due = self.wall + wait
        job.function.delayed[job] = self.delayed[job] = None
        self.job_ended(job.function)

    def come_due(self, job: Job) -> None:
        if job.retries:
            self.meet("another try is due")
        super().come_due(job)

    def at_one_moment(self, jobs: list[Job]) -> None:
        gated = any(job.function.allowed and job.function.allowed.concurrency for job in jobs)
        self.guessed = self.guessed or (gated and len({job.function.name for job in jobs}) > 1)
        super().at_one_moment(jobs)

    def may_be_next(self, job: Job) -> bool:
        function, policy = job.function, job.function.allowed
        if not policy or (job.worker is None and function.open):
            return super().may_be_next(job)
        if job.worker is None:
            return True  # nobody gets anything for it
        fails = job.wanted and self.fails_when_lost(job)
        if fails and not self.is_told_failed(job):
            return False
        queues = [list(queue) for queue in function.queues]
        comes_back = job.wanted and not fails and not self.wait_before_try(job)
        if comes_back:
            queues[job.priority].append(job)
        makes_room = policy.concurrency == function.running
        if function.opens or not (makes_room or (comes_back and not 0 < policy.concurrency < function.running)):
            return True
        return self.is_given_out(function, function.first_queue(queues) if any(queues) else [])

    def is_given_out(self, function: Function, queue: list[Job]) -> bool:
        """Whether what the peers got next is the first job of this queue, if any of them waits for it."""
        holders = [peer for peer in function.able if peer.held]
        if not holders or not queue or self.draining:
            return True
        return any(self.gets_job(self.first_in_line(holders, job), job) for job in self.candidates(queue))

    # ---- gates ----------------------------------------------------------------------------------------------------

    def assign(self, peer: Peer, queue: list[Job], command: int) -> None:
        function = queue[0].function
        policy = function.allowed
        if policy and policy.weights:
            self.take_turn(function, policy.weights, function.queues.index(queue))
        if policy and policy.interval:
            function.ahead = max(function.ahead, self.now) + policy.interval
            opens = function.ahead - (policy.burst - 1) * policy.interval
            if opens > self.now:
                self.meet("a rate is used up")
                function.opens = opens
        super().assign(peer, queue, command)
        if policy and policy.concurrency == function.running:
            self.meet("as many run as may")

    def take_turn(self, function: Function, weights: tuple[int, ...], priority: int) -> None:
        """Each priority that has something waiting is given its weight, and the one with the turn pays for all."""
        waiting = [one for one in range(3) if function.queues[one]]
        for one in waiting:
            function.credit[one] += weights[one]
        function.credit[priority] -= sum(weights[one] for one in waiting)
        if priority != waiting[0]:
            self.meet("a less urgent job has its turn")

    def time_limit(self, peer: Peer, function: Function) -> int:
        limit = super().time_limit(peer, function)
        policy = function.allowed
        if policy and policy.timeout and (not limit or policy.timeout < limit):
            self.meet("a time-out by policy")
            return policy.timeout
        return limit

    def job_ended(self, function: Function) -> None:
        if function.allowed and function.allowed.concurrency == function.running + 1:
            self.reopen(function)

    def reopen(self, function: Function) -> None:
        """It may have jobs to give again: to those that hold GRABs, and for the rest sleepers are woken."""
        if self.draining or not function.ready:
            return
        self.meet("a gate opens before jobs")
        while function.ready and (holders := [peer for peer in function.able if peer.held]):
            self.serve(self.first_in_line(holders, function.first_queue()[0]), function)
        if function.ready:
            self.wake_sleepers(function)

    def open_gates(self, now: int) -> None:
        while late := [one for one in self.functions.values() if 0 < one.opens <= now]:
            first = min(one.opens for one in late)
            several = [one for one in late if one.opens == first]
            self.guessed = self.guessed or len(several) > 1
            function = next((one for one in several if self.opens_next(one)), several[0])
            function.opens = 0
            self.reopen(function)

    def opens_next(self, function: Function) -> bool:
        """Whether what the peers got next is what this gate brings them."""
        if function.allowed and 0 < function.allowed.concurrency <= function.running:
            return True
        return self.is_given_out(function, function.first_queue() if function.filled else [])

    # ---- queues ---------------------------------------------------------------------------------------------------

    def is_full(self, peer: Peer, function: Function, priority: int, size: int) -> bool:
        return super().is_full(peer, function, priority, size) or self.is_full_by_policy(peer, function, priority)

    def is_full_by_policy(self, peer: Peer, function: Function, priority: int) -> bool:
        limit = function.allowed.queue[priority] if function.allowed else 0
        ghosts = sum(job.priority == priority for job in function.ghosts)
        if not limit or self.queued(function, priority) + ghosts < limit:
            return False
        if function.allowed and function.allowed.drop_oldest:
            if ghosts or not self.floating.isdisjoint(function.queues[priority]):
                raise Open("which job makes room depends on ghosts, or on a place in the queue")
            return not self.make_room(function, priority, limit)
        if self.queued(function, priority) >= limit:
            self.meet("a queue full by policy")
            return True
        return self.look(peer).gets(response(Command.ERROR, b"QUEUE_ERROR", b"Job queue is full"))

    def make_room(self, function: Function, priority: int, limit: int) -> bool:
        dropped = 0
        while dropped < 2 and self.queued(function, priority) >= limit and function.queues[priority]:
            self.meet("the oldest makes room")
            self.fail(function.queues[priority][0])
            dropped += 1
        return dropped > 0

    @staticmethod
    def queued(function: Function, priority: int) -> int:
        return len(function.queues[priority]) + sum(job.priority == priority for job in function.delayed)

    def expires(self, job: Job) -> int:
        """When a queued job, or a ghost, does; 0 never."""
        policy = job.function.allowed
        return job.since + policy.expire if policy and policy.expire else 0

    def expiring(self) -> list[Job]:
        return [
            job
            for function in self.functions.values()
            if function.allowed and function.allowed.expire
            for queue in function.queues
            for job in queue
        ]

    def expire_jobs(self, now: int) -> None:
        while late := [job for job in self.expiring() if self.expires(job) <= now]:
            first = min(map(self.expires, late))
            several = [job for job in late if self.expires(job) == first]
            self.meet("a job expires")
            self.fail(next((job for job in several if self.is_told_failed(job)), several[0]))
        for job in [job for job in self.gone.values() if 0 < self.expires(job) <= now]:
            self.forget_ghost(job)

    def policy_waits(self, now: int) -> list[int]:
        opens = [one.opens - now for one in self.functions.values() if one.opens]
        return opens + [self.expires(job) - now for job in self.expiring()]

    def ghost_waits(self, now: int) -> list[int]:
        """A ghost that is still there may have a timer."""
        return [self.expires(job) - now for job in self.gone.values() if self.expires(job)]

    def forget_ghost(self, job: Job) -> None:
        del self.gone[job.handle], job.function.ghosts[job]

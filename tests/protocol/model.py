# SPDX-License-Identifier: BSD-3-Clause
"""A model of the job server that is small and plain enough to be believed: lists, searched from end to end.

Each method is one thing that a peer does; what the peers must get for it is added to `out`, byte for byte.
Not in it: text commands but `cancel job`, limits of queues, reducers, and which of the sleepers `wakeup=N` wakes.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from .script import NOT_FOUND, R, error, handle

GONE = {
    "WORK_DATA": error(b"JOB_NOT_FOUND", b"Job does not exist on server"),
    "WORK_WARNING": error(b"JOB_NOT_FOUND", b"Job does not exist on server"),
    "WORK_EXCEPTION": error(b"JOB_NOT_FOUND", b"An exception was received for a job that does not exist"),
}
ENDS = ("WORK_COMPLETE", "WORK_FAIL", "WORK_EXCEPTION")


def places(functions: list[bytes], order: str) -> list[tuple[bytes, int]]:
    """Where a worker looks for a job: functions (newest first, or rotated) and priorities, in their order."""
    if order == "priority":
        return [(f, p) for p in range(3) for f in functions]
    return [(f, p) for f in functions for p in range(3)]


def rotate(functions: list[bytes], function: bytes, order: str) -> None:
    """The function that gave a job goes to the end, unless the order is that of registration."""
    if order != "function":
        functions.remove(function)
        functions.append(function)


@dataclass(eq=False)
class Job:
    """A job that somebody wants, or that a worker still runs."""

    handle: bytes
    function: bytes
    unique: bytes
    data: bytes
    priority: int
    background: bool
    due: float = 0.0
    waiting: list[str] = field(default_factory=list)  # an entry for each request
    worker: str | None = None
    deadline: float = 0.0
    retries: int = 0
    cancelled: bool = False

    @property
    def wanted(self) -> bool:
        return not self.cancelled and (self.background or bool(self.waiting))


@dataclass(eq=False)
class Connection:
    """What the server knows of a peer."""

    functions: list[bytes] = field(default_factory=list)
    time_outs: dict[bytes, float] = field(default_factory=dict)
    asleep: bool = False
    woken: bool = False
    exceptions: bool = False
    all_yours: bool = False
    several: bool = False  # it has held more than one grab since it last held none


class Model:
    """The server. `order`, `job_retries`, `wakeup` are those of the dispatcher; `now` is in seconds since 1970.

    With `wakeup` not 0 only the NOOP that answers PRE_SLEEP is foretold; of others the script tells by `woken`.
    """

    def __init__(self, order: str, job_retries: int, wakeup: int, now: float) -> None:
        self.order = order
        self.wakeup = wakeup
        self.job_retries = job_retries
        self.now = now
        self.peers: dict[str, Connection] = {}
        self.jobs: list[Job] = []  # live ones; running ones that nobody wants any more too
        self.queues: dict[tuple[bytes, int], list[Job]] = {}
        self.credits: list[tuple[str, str]] = []  # held grabs, oldest first
        self.grabbed: dict[str, list[Job]] = {}
        self.number = 0
        self.known: set[bytes] = set()  # functions
        self.ghosts: dict[bytes, int] = {}  # most dead jobs that `status` may still count
        self.out: dict[str, bytes] = {}
        self.given: dict[bytes, str] = {}  # what the dispatcher has just assigned to whom: for what is left open

    def say(self, peer: str, packet: bytes) -> None:
        if peer in self.peers:
            self.out[peer] = self.out.get(peer, b"") + packet

    def connect(self, peer: str) -> None:
        self.peers[peer] = Connection()
        self.grabbed[peer] = []

    # ---- submission -------------------------------------------------------------------------------------------

    def match(self, function: bytes, unique: bytes) -> Job | None:
        """The job that a new one of this unique would meet, wanted or still running."""
        found = [j for j in self.jobs if unique and (j.function, j.unique) == (function, unique) and not j.cancelled]
        return found[-1] if found else None

    def submit(self, peer: str, job: Job, joins: bool) -> bytes:
        """`joins`: whether it met `match`. Returns the handle that JOB_CREATED carries."""
        self.known.add(job.function)
        met = self.match(job.function, job.unique) if joins else None
        if met is not None:
            met.background = met.background or job.background
        else:
            self.number += 1
            job.handle, met = handle(self.number), job
            self.jobs.append(job)
        if not job.background:
            met.waiting.append(peer)
        if met is job:
            self.enqueue(job)
        self.say(peer, R.JOB_CREATED(met.handle))
        return met.handle

    def enqueue(self, job: Job) -> None:
        """At the end of its list, where a job for later waits too, passed over until it is due."""
        self.queues.setdefault((job.function, job.priority), []).append(job)
        if job.due <= self.now:
            self.offer(job)

    def offer(self, job: Job) -> None:
        """To the oldest grab that can do it, or all who sleep for it are woken."""
        credits = [c for c in self.credits if job.function in self.peers[c[0]].functions]
        if any(self.peers[name].several for name, _ in credits):
            # Among workers that hold several grabs each, whose turn it is for which function is left open.
            credits.sort(key=lambda credit: credit[0] != self.given.get(job.handle))
        if credits:
            self.use(credits[0])
            return
        for name, peer in self.peers.items():
            if peer.asleep and not peer.woken and job.function in peer.functions:
                self.wake(name)

    def wake(self, name: str) -> None:
        if not self.wakeup:
            self.peers[name].woken = True
            self.say(name, R.NOOP())

    def use(self, credit: tuple[str, str]) -> bool:
        """Answers a held grab with a job if there is one."""
        if not self.take(*credit):
            return False
        self.credits.remove(credit)
        if not any(name == credit[0] for name, _ in self.credits):
            self.peers[credit[0]].several = False
        return True

    # ---- grabbing ---------------------------------------------------------------------------------------------

    def next_job(self, name: str) -> Job | None:
        """The job that this worker would get."""
        for place in places(self.peers[name].functions, self.order):
            ready = [job for job in self.queues.get(place, []) if job.due <= self.now]
            if any(job.due for job in ready) and any(job.retries for job in ready):
                # Whether a job that was lost stands before or behind one that came due is left open.
                ready.sort(key=lambda job: job.handle not in self.given)
            if ready:
                return ready[0]
        return None

    def take(self, name: str, form: str) -> bool:
        """Assigns a job if there is one."""
        job, peer = self.next_job(name), self.peers[name]
        if job is None:
            return False
        rotate(peer.functions, job.function, self.order)
        self.queues[job.function, job.priority].remove(job)
        job.worker = name
        limit = peer.time_outs.get(job.function, 0.0)
        job.deadline = self.now + limit if limit else 0.0
        self.grabbed[name].append(job)
        if form == "GRAB_JOB":
            self.say(name, R.JOB_ASSIGN(job.handle, job.function, job.data))
        else:
            self.say(name, R.JOB_ASSIGN_UNIQ(job.handle, job.function, job.unique, job.data))
        return True

    def grab(self, name: str, form: str) -> None:
        peer = self.peers[name]
        peer.asleep = peer.woken = False
        if self.take(name, form):
            return
        self.meet_ghosts(name)
        if peer.all_yours:
            peer.several = any(c[0] == name for c in self.credits)
            self.credits.append((name, form))
        else:
            self.say(name, R.NO_JOB())

    def pre_sleep(self, name: str) -> None:
        for credit in [c for c in self.credits if c[0] == name]:
            self.credits.remove(credit)
            self.say(name, R.NO_JOB())
        peer = self.peers[name]
        peer.several = False
        peer.asleep = self.next_job(name) is None
        peer.woken = False
        if peer.asleep:
            self.meet_ghosts(name)
        else:
            self.say(name, R.NOOP())

    def meet_ghosts(self, name: str) -> None:
        """Somebody looked through all lists of its functions: no dead job is left there."""
        for function in self.peers[name].functions:
            self.ghosts[function] = 0

    # ---- abilities --------------------------------------------------------------------------------------------

    def can_do(self, name: str, function: bytes, time_out: float = 0.0) -> None:
        peer = self.peers[name]
        self.known.add(function)
        peer.time_outs[function] = time_out
        if function in peer.functions:
            return
        peer.functions.insert(0, function)
        for credit in [c for c in self.credits if c[0] == name]:
            self.use(credit)
        if peer.asleep and not peer.woken and self.next_job(name) is not None:
            self.wake(name)

    def cant_do(self, name: str, function: bytes) -> None:
        peer = self.peers[name]
        if function in peer.functions:
            peer.functions.remove(function)
            self.lose([j for j in self.grabbed[name] if j.function == function])

    # ---- the end of things ------------------------------------------------------------------------------------

    def work(self, name: str, kind: str, job_handle: bytes, *more: bytes) -> None:
        """WORK_*: to every waiting client, from the worker that has it."""
        job = next((j for j in self.jobs if j.handle == job_handle and j.worker == name), None)
        if job is None:
            self.say(name, GONE.get(kind, NOT_FOUND))
            return
        for client in job.waiting:
            if kind == "WORK_EXCEPTION" and not self.peers[client].exceptions:
                self.say(client, R.WORK_FAIL(job.handle))
            else:
                self.say(client, getattr(R, kind)(job.handle, *more))
        if kind in ENDS:
            self.grabbed[name].remove(job)
            self.jobs.remove(job)

    def lose(self, jobs: list[Job]) -> None:
        """Their worker will not finish these; the one that it got last comes first."""
        for job in reversed(jobs):
            if job.worker is not None:
                self.grabbed[job.worker].remove(job)
            job.worker, job.deadline = None, 0.0
            job.retries += 1
            if not job.wanted:
                self.jobs.remove(job)
                self.ghosts[job.function] = self.ghosts.get(job.function, 0) + 1
            elif job.retries >= max(self.job_retries, 1) and self.job_retries >= 0:
                self.fail(job)
            else:
                self.enqueue(job)

    def fail(self, job: Job) -> None:
        for client in job.waiting:
            self.say(client, R.WORK_FAIL(job.handle))
        job.waiting.clear()
        self.jobs.remove(job)

    def bury(self, job: Job) -> None:
        """A queued or future job that nobody wants."""
        queue = self.queues.get((job.function, job.priority), [])
        if job in queue:
            queue.remove(job)
        self.jobs.remove(job)
        self.ghosts[job.function] = self.ghosts.get(job.function, 0) + 1

    def cancel(self, name: str, job_handle: bytes) -> None:
        job = next((j for j in self.jobs if j.handle == job_handle and not j.cancelled), None)
        assert job is not None
        for client in job.waiting:
            self.say(client, R.WORK_FAIL(job.handle))
        job.waiting.clear()
        job.background, job.cancelled = False, True
        if job.worker is None:
            self.bury(job)
        self.say(name, b"OK\r\n")

    def leave(self, name: str) -> None:
        del self.peers[name]
        self.out.pop(name, None)
        self.credits = [c for c in self.credits if c[0] != name]
        for job in list(self.jobs):
            if name in job.waiting:
                job.waiting = [c for c in job.waiting if c != name]
                if not job.wanted and job.worker is None:
                    self.bury(job)
        self.lose(self.grabbed[name])
        del self.grabbed[name]

    # ---- time -------------------------------------------------------------------------------------------------

    def pass_to(self, now: float) -> None:
        """Time-outs and due times, each at its moment."""
        while True:
            moments = [(j.deadline, j) for j in self.jobs if j.deadline]
            moments += [(j.due, j) for j in self.jobs if j.due > self.now and j.worker is None]
            due = [m for m in moments if m[0] <= now]
            if not due:
                break
            self.now, job = min(due, key=lambda m: m[0])
            if job.deadline:
                self.lose([job])
            else:
                self.offer(job)
        self.now = now

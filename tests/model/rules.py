# SPDX-License-Identifier: BSD-3-Clause
"""The rules of the queue, plain enough to be believed: submitted, given out, lost, ended.

The dispatcher goes first; the model then does the same and finds each byte that it says in what the peers got. So
where the rules leave something open (which sleeper of several, the place in a queue), it looks and follows; everything
else has to be as it says. What a job goes through is counted in `met`.
"""

from __future__ import annotations

from bisect import insort
from collections import Counter
from collections.abc import Iterable
from typing import Any, Final

from gearfast.protocol import HEADER_SIZE, MAX_UNIQUE, Command

from .coverage import MET
from .doubt import Doubts, Waking, can_be
from .frames import response
from .records import Function, Job, Open, Peer, Wrong

NS: Final = 10**9
FEW_FUNCTIONS: Final = 32
FORMS_KEPT: Final = 32
MOST_OF_A_JOB: Final = 200  # bytes of its record
LONGEST_TIMEOUT: Final = 4 * 10**12
NOOP: Final = response(Command.NOOP)
NO_JOB: Final = response(Command.NO_JOB)
GRABS: Final = (Command.GRAB_JOB, Command.GRAB_JOB_UNIQ, Command.GRAB_JOB_ALL)


class Rules:
    """A job server. `settings` are the dispatcher's; times are ns, `wall` since 1970."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.met = dict.fromkeys(MET, 0)
        self.prefix: bytes = settings["handle_prefix"] + b":"
        self.order: str = settings["order"]
        self.wakeup: int = settings["wakeup"]
        self.retries: int = settings["job_retries"]
        self.exceptions: bool = settings["exceptions"]
        self.max_packet: int = settings["max_packet"]
        self.max_unsent: int = settings["max_unsent"]
        self.max_queued: int = settings["max_queued"]
        self.high_water: int = settings["high_water"]
        self.now = self.wall = 0
        self.number: int = settings["first_handle"]
        self.draining = False
        self.turn = 0  # counts up; gives places in line
        self.peers: dict[int, Peer] = {}
        self.paused: dict[int, None] = {}  # peers whose frames wait for the next tick
        self.functions: dict[bytes, Function] = {}
        self.jobs: dict[bytes, Job] = {}  # by handle; what is wanted or runs
        self.gone: dict[bytes, Job] = {}  # ghosts, by handle
        self.timed: dict[Job, None] = {}
        self.delayed: dict[Job, None] = {}
        self.floating: set[Job] = set()  # queued jobs whose place in their queue is left open
        self.wakes: list[Waking] = []  # of this phase
        self.ended: dict[int, int] = {}  # by peer, sleeps that a NOOP ended in this phase, and nothing was said since
        self.turns: Counter[int] = Counter()  # of this phase, still to come: of whom frames are done how often
        self.doubts = Doubts()
        self.beliefs: dict[int, bool] = {}  # of sleepers until their turn: whether the NOOP they get woke them
        self.counts: Counter[str] = Counter()  # since the start
        self.errors: Counter[str] = Counter()
        self.packets: Counter[str] = Counter()

    def meet(self, what: str) -> None:
        self.met[what] += 1

    def count(self, function: Function, what: str) -> None:
        function.counts[what] += 1
        self.counts[what] += 1

    # ---- what is said ---------------------------------------------------------------------------------------------

    def say(self, peer: Peer, data: bytes, whole: bool = True) -> None:
        """`data` has to come next at this peer. `whole`: as one packet, of which the first may have any size."""
        self.ended.pop(peer.name, None)
        if peer.cut_off or (self.max_unsent and self.cuts_off(peer, data, whole)):
            return
        peer.unsent += len(data)
        self.counts["answered"] += len(data)
        if peer.hidden:
            return
        if not peer.seen.startswith(data, peer.at):
            raise Wrong(f"peer {peer.name} got {peer.seen[peer.at :]!r} instead of {data!r}")
        peer.at += len(data)

    @staticmethod
    def look(peer: Peer) -> Peer:
        """To be asked what it got, where that is left open."""
        if peer.hidden:
            raise Open("nobody sees what a peer got that was cut off")
        return peer

    def cuts_off(self, peer: Peer, data: bytes, whole: bool) -> bool:
        if whole and not peer.unsent:
            return False
        header = HEADER_SIZE if whole and data[:1] == b"\0" else 0
        if peer.unsent + len(data) - header <= self.max_unsent:
            return False
        self.meet("a peer is cut off, it does not read")
        self.counts["overflows"] += 1
        peer.cut_off = peer.closing = True
        peer.held.clear()
        return True

    def error(self, peer: Peer, code: bytes, text: bytes) -> None:
        self.errors[code.decode()] += 1
        self.say(peer, response(Command.ERROR, code, text))

    # ---- submission -----------------------------------------------------------------------------------------------

    def function(self, name: bytes) -> Function:
        found = self.functions.get(name)
        if found is None:
            found = self.functions[name] = Function(name)
        return found

    @staticmethod
    def key(unique: bytes, data: bytes) -> tuple[bool, bytes] | None:
        """By what it coalesces: nothing, its unique, or (unique `-`) its data."""
        if unique != b"-":
            return (False, unique) if unique else None
        return (True, data) if data else None

    def submit(
        self,
        peer: Peer,
        name: bytes,
        unique: bytes,
        data: bytes,
        priority: int = 1,
        background: bool = False,
        due: int = 0,
        reducer: bytes = b"",
    ) -> None:
        if len(unique) > MAX_UNIQUE or len(reducer) > MAX_UNIQUE:
            self.meet("unique too large")
            self.error(peer, b"ARGUMENT_TOO_LARGE", b"Unique value too large")
            return
        peer.is_client = True
        is_new = name not in self.functions
        function = self.function(name)
        key = self.key(unique, data)
        job = function.uniques.get(key) if key else None
        if job is not None:
            self.join(peer, job, background)
        elif self.is_full(peer, function, priority, len(unique) + len(data)):
            self.meet("queue full")
            function.counts["refused"] += 1
            if is_new:
                del self.functions[name]
            self.error(peer, b"QUEUE_ERROR", b"Job queue is full")
            return
        else:
            handle = self.prefix + b"%d" % self.number
            job = Job(self.number, handle, function, unique, reducer, data, priority, background, due)
            self.number += 1
            self.count(function, "submitted")
            self.jobs[handle] = job
            if key:
                function.uniques[key] = job
            if not background:
                job.waiting.append(peer)
                peer.waits.append(job)
            if due:
                self.meet("submitted for later")
                function.delayed[job] = self.delayed[job] = None
            else:
                self.enqueue(job)
        self.say(peer, response(Command.JOB_CREATED, job.handle))

    def is_full(self, peer: Peer, function: Function, priority: int, size: int) -> bool:
        """Ghosts may still count, and a job's own size is not known; then the answer shows."""
        limit = function.limits[priority]
        if (limit and limit <= function.live) or (self.max_queued and self.max_queued < self.bytes_of_jobs(0) + size):
            return True
        if limit and limit <= function.live + len(function.ghosts):
            self.meet("queue full, or not: ghosts")
        elif self.max_queued and self.max_queued < self.bytes_of_jobs(MOST_OF_A_JOB) + MOST_OF_A_JOB + size:
            self.meet("more bytes than may be queued, or not")
        else:
            return False
        return self.look(peer).gets(response(Command.ERROR, b"QUEUE_ERROR", b"Job queue is full"))

    def bytes_of_jobs(self, each: int) -> int:
        """Of uniques, reducers and workloads, and `each` for a job beside them; with ghosts if that is not 0."""
        jobs = [*self.jobs.values(), *self.gone.values()] if each else self.jobs.values()
        return sum(each + len(job.unique) + len(job.reducer) + len(job.data) for job in jobs)

    def join(self, peer: Peer, job: Job, background: bool) -> None:
        self.count(job.function, "coalesced")
        if job.worker is not None:
            self.meet("joined a running job")
        elif job in self.delayed:
            self.meet("joined a job for later")
        else:
            self.meet("joined a queued job by its data" if job.unique == b"-" else "joined a queued job")
        if background:
            if not job.background:
                self.meet("background joined foreground")
            job.background = True
        else:
            if job.background:
                self.meet("foreground joined background")
            if peer in job.waiting:
                self.meet("one peer waits twice for a job")
            job.waiting.append(peer)
            peer.waits.append(job)

    # ---- queueing and waking --------------------------------------------------------------------------------------

    def enqueue(self, job: Job) -> None:
        """At the end of its queue."""
        job.since = self.now
        job.function.queues[job.priority].append(job)
        self.offer(job)

    def offer(self, job: Job) -> None:
        """A job has become runnable: to who has waited longest with a held GRAB, else who sleeps is woken."""
        if self.draining or not job.function.open:
            return
        function = job.function
        holders = [peer for peer in function.able if peer.held]
        if not holders:
            self.wake_sleepers(function)
            return
        if any(peer.rank_open for peer in holders):
            self.wake_in_vain(function)
        self.serve(self.first_in_line(holders, job), function)

    def wake_in_vain(self, function: Function) -> None:
        """Beside a held GRAB of a worker with many functions, sleepers may be woken for a job that it gets."""
        sleepers = [peer for peer in function.able if peer.asleep and not peer.woken]
        for peer in [peer for peer in sleepers if self.is_woken(peer)]:
            self.meet("woken in vain")
            self.end_sleep(peer)
        self.note_waking(function, sleepers, in_vain=True)

    def first_in_line(self, holders: list[Peer], job: Job) -> Peer:
        function = job.function
        if any(peer.rank_open for peer in holders):
            self.meet("held grabs of workers with many functions")
            return next((peer for peer in holders if self.gets_job(peer, job)), holders[0])
        if len(holders) > 1:
            self.meet("several workers hold grabs")
        return min(holders, key=lambda peer: peer.rank[function])

    def gets_job(self, peer: Peer, job: Job) -> bool:
        return any(self.look(peer).gets(self.assignment(job, form)) for form in GRABS)

    def wake_sleepers(self, function: Function) -> None:
        sleepers = [peer for peer in function.able if peer.asleep and not peer.woken]
        if not self.wakeup:
            if sleepers:
                self.meet("all sleepers woken")
            for peer in sleepers:
                self.end_sleep(peer)
            return
        woken = [peer for peer in sleepers if self.is_woken(peer)]
        if sleepers:
            self.meet("some sleepers left asleep" if len(woken) < len(sleepers) else "as many as may be woken")
        for peer in woken:
            self.end_sleep(peer)
        self.note_waking(function, sleepers)

    def is_woken(self, peer: Peer) -> bool:
        """Whether the dispatcher chose this sleeper. Its NOOP may also come of what it sent and is done later."""
        if not self.look(peer).gets(NOOP):
            return False
        if not self.turns[peer.name]:
            return True
        if peer.name not in self.beliefs:
            self.meet("woken, or answered later")
            self.beliefs[peer.name] = self.doubts.ask()
        return self.beliefs[peer.name]

    def wake(self, peer: Peer) -> None:
        peer.woken = True
        self.say(peer, NOOP)

    def end_sleep(self, peer: Peer) -> None:
        self.wake(peer)
        self.turn += 1
        self.ended[peer.name] = self.turn

    def note_waking(self, function: Function, sleepers: list[Peer], in_vain: bool = False) -> None:
        """For check_wakes: who was woken in this phase and told nothing since may have been woken by this as well."""
        if self.wakeup:
            may = [self.ended[peer.name] for peer in function.able if peer.name in self.ended]
            self.wakes.append(Waking(frozenset(may), sum(not peer.woken for peer in sleepers), in_vain))

    def check_wakes(self) -> None:
        """Each event has to have woken as many as it should."""
        if self.wakes and not can_be(self.wakes, self.wakeup):
            raise Wrong(f"woken, or not, in other numbers than {self.wakeup}: {self.wakes}")

    # ---- grabbing -------------------------------------------------------------------------------------------------

    def next_queue(self, peer: Peer) -> list[Job] | None:
        """Where this worker's next job lies: priority before function, or function before priority."""
        ready = [function for function in peer.turns if function.ready]
        if not ready or self.draining:
            return None
        if self.order == "priority":
            return next(f for p in range(3) for f in ready if f.queues[p]).first_queue()
        return ready[0].first_queue()

    def candidates(self, queue: list[Job]) -> list[Job]:
        """The first job, and those whose place is left open."""
        if not self.floating or self.floating.isdisjoint(queue):
            return queue[:1]
        self.meet("a job whose place in the queue is left open")
        fixed = [job for job in queue if job not in self.floating][:1]
        return fixed + [job for job in queue if job in self.floating]

    def first_of(self, peer: Peer, queue: list[Job], command: int) -> Job:
        jobs = self.candidates(queue)
        if len(jobs) == 1:
            return jobs[0]
        return next((job for job in jobs if self.look(peer).gets(self.assignment(job, command))), jobs[0])

    def assignment(self, job: Job, command: int) -> bytes:
        name = job.function.name
        if command == Command.GRAB_JOB:
            return response(Command.JOB_ASSIGN, job.handle, name, job.data)
        if command == Command.GRAB_JOB_ALL and job.reducer:
            return response(Command.JOB_ASSIGN_ALL, job.handle, name, job.unique, job.reducer, job.data)
        return response(Command.JOB_ASSIGN_UNIQ, job.handle, name, job.unique, job.data)

    def assign(self, peer: Peer, queue: list[Job], command: int) -> None:
        job = self.first_of(peer, queue, command)
        function = job.function
        queue.remove(job)
        self.floating.discard(job)
        function.counts["given out"] += 1
        function.counts["waiting ns"] += self.now - job.since
        job.since = self.now
        job.worker = peer
        peer.running[job] = None
        function.running += 1
        if self.order != "function" and len(peer.turns) > 1:
            self.meet("rotation")
            peer.turns.remove(function)
            peer.turns.append(function)
        time_out = self.time_limit(peer, function)
        if time_out:
            job.deadline = self.now + time_out
            self.timed[job] = None
        if len(job.data) > 1 << 15:
            self.meet("a large workload given out")
        if command == Command.GRAB_JOB_ALL and job.reducer:
            self.meet("a reducer given out")
        self.say(peer, self.assignment(job, command))

    def time_limit(self, peer: Peer, function: Function) -> int:
        """ns that this worker has for a job of the function; 0: any time."""
        time_out = peer.able[function]
        return time_out * 10**6 if 0 < time_out < LONGEST_TIMEOUT else 0

    def serve(self, peer: Peer, function: Function) -> None:
        """Answers the oldest held GRAB with the function's next job."""
        self.meet("a held grab answered")
        queue = function.first_queue()
        command = peer.held.pop(0)
        if len(peer.held) >= FORMS_KEPT:
            self.meet("more held grabs than forms are kept")
            peer.held[FORMS_KEPT - 1] = peer.last_form
        if peer.held:
            self.turn += 1
            peer.rank[function] = self.turn
        self.assign(peer, queue, command)

    def grab(self, peer: Peer, command: int) -> None:
        queue = self.next_queue(peer)
        self.ended.pop(peer.name, None)
        peer.asleep = peer.woken = False
        if queue is not None:
            self.meet("grabbed")
            self.assign(peer, queue, command)
            return
        self.look_through(peer)
        if not peer.all_yours or peer.closing:
            self.meet("no job")
            self.say(peer, NO_JOB)
            return
        self.meet("a grab is held")
        if not peer.held:
            self.turn += 1
            peer.rank = dict.fromkeys(peer.turns, self.turn)
            peer.rank_open = len(peer.turns) > FEW_FUNCTIONS
        peer.held.append(command)
        peer.last_form = command

    def look_through(self, peer: Peer) -> None:
        """A worker found nothing: no ghost is left in the queues of its functions either."""
        if not self.draining:
            for function in peer.turns:
                if function.open:
                    self.forget_ghosts(function)

    def forget_ghosts(self, function: Function) -> None:
        for job in function.ghosts:
            del self.gone[job.handle]
        function.ghosts.clear()

    def pre_sleep(self, peer: Peer) -> None:
        for _ in peer.held:
            self.meet("a held grab ends without a job")
            self.say(peer, NO_JOB)
        peer.held.clear()
        self.ended.pop(peer.name, None)
        peer.asleep = self.next_queue(peer) is None
        peer.woken = False
        if peer.asleep:
            self.meet("asleep")
            self.look_through(peer)
        else:
            self.meet("no sleep beside a job")
            self.wake(peer)

    # ---- registration ---------------------------------------------------------------------------------------------

    def register(self, peer: Peer, name: bytes, time_out: int) -> None:
        peer.is_worker = True
        function = self.function(name)
        if function in peer.able:
            self.meet("registered again")
            peer.able[function] = time_out
            return
        peer.able[function] = time_out
        function.able[peer] = None
        peer.turns.insert(0, function)
        if peer.held:
            self.turn += 1
            peer.rank[function] = self.turn
            peer.rank_open = peer.rank_open or len(peer.turns) > FEW_FUNCTIONS
        if self.draining:
            return
        while peer.held and function.ready:
            self.meet("a registration answers a held grab")
            self.serve(peer, function)
        if peer.asleep and not peer.woken and function.ready:
            self.meet("a registration wakes its worker")
            self.wake(peer)

    def withdraw(self, peer: Peer, function: Function) -> None:
        """With `wakeup` the one that leaves may have been woken for others: another is woken."""
        del peer.able[function], function.able[peer]
        peer.turns.remove(function)
        if self.wakeup and function.ready and not self.draining:
            self.meet("another is woken for one that left")
            self.wake_sleepers(function)

    def unregister(self, peer: Peer, function: Function) -> None:
        self.withdraw(peer, function)
        self.lose([job for job in peer.running if job.function is function])

    def unregister_all(self, peer: Peer) -> None:
        for function in list(peer.able)[::-1]:
            self.withdraw(peer, function)
        self.lose(peer.running)

    # ---- the end of things ----------------------------------------------------------------------------------------

    def lose(self, jobs: Iterable[Job]) -> None:
        """Their worker will not finish these: the one that it got last is the first in the queue again."""
        for job in list(jobs)[::-1]:
            self.requeue(job)

    def stop(self, job: Job) -> None:
        """A running job leaves its worker."""
        assert job.worker is not None
        del job.worker.running[job]
        job.worker = None
        job.function.running -= 1
        job.deadline = 0
        self.timed.pop(job, None)

    def requeue(self, job: Job) -> None:
        self.stop(job)
        if not job.wanted:
            self.meet("a job lost that nobody wants")
            self.bury(job)
            self.job_ended(job.function)
            return
        fails = self.fails_when_lost(job)
        job.retries += 1
        if fails:
            self.meet("lost too often")
            self.fail(job)
            self.job_ended(job.function)
            return
        self.meet("requeued")
        self.count(job.function, "requeued")
        job.numerator = job.denominator = 0
        self.put_back(job)

    def put_back(self, job: Job) -> None:
        """A job that is to be tried again goes to the end of its queue; what it had kept others from is theirs."""
        job.displaced = True
        job.since = self.now
        job.function.queues[job.priority].append(job)
        if job.function.allowed:
            self.reopen(job.function)
        else:
            self.offer(job)

    def job_ended(self, function: Function) -> None:
        """One less runs. See `policies` for this and the next ones."""

    def reopen(self, function: Function) -> None:
        """It may have jobs to give again."""
        raise NotImplementedError

    def open_gates(self, now: int) -> None:
        raise NotImplementedError

    def expire_jobs(self, now: int) -> None:
        raise NotImplementedError

    def policy_waits(self, now: int) -> list[int]:
        raise NotImplementedError

    def ghost_waits(self, now: int) -> list[int]:
        raise NotImplementedError

    def forget(self, job: Job) -> None:
        """It is nowhere any more but in the lists of those who wait for it."""
        if job.worker is not None:
            self.stop(job)
        elif job in self.delayed:
            del self.delayed[job], job.function.delayed[job]
        elif job in job.function.queues[job.priority]:
            job.function.queues[job.priority].remove(job)
            self.floating.discard(job)
        self.leave_uniques(job)
        del self.jobs[job.handle]

    def release(self, job: Job) -> None:
        """Nobody waits for it any more."""
        for peer in job.waiting:
            peer.waits.remove(job)
        job.waiting.clear()

    def leave_uniques(self, job: Job) -> None:
        key = self.key(job.unique, job.data)
        if key and job.function.uniques.get(key) is job:
            del job.function.uniques[key]

    def tell(self, job: Job, data: bytes) -> None:
        for peer in job.waiting:
            self.say(peer, data)

    def fail(self, job: Job) -> None:
        """Who waits gets WORK_FAIL."""
        self.count(job.function, "dropped")
        self.tell(job, response(Command.WORK_FAIL, job.handle))
        self.release(job)
        self.forget(job)

    def bury(self, job: Job) -> None:
        """Nobody wants it and nobody runs it: it will never be given out, but may still be counted."""
        self.count(job.function, "unwanted")
        self.forget(job)
        job.function.ghosts[job] = None
        self.gone[job.handle] = job

    def finish(self, job: Job) -> None:
        job.function.counts["finished"] += 1
        job.function.counts["processing ns"] += self.now - job.since
        self.release(job)
        self.forget(job)
        self.job_ended(job.function)

    def cancel(self, job: Job) -> None:
        self.meet("cancelled while it runs" if job.worker is not None else "cancelled in the queue")
        self.tell(job, response(Command.WORK_FAIL, job.handle))
        self.release(job)
        job.background, job.cancelled = False, True
        self.leave_uniques(job)
        if job in self.delayed:
            self.meet("cancelled before its time")
            self.count(job.function, "dropped")
            self.forget(job)
        elif job.worker is None:
            self.bury(job)

    def leave(self, name: int) -> None:
        """A connection has ended: as a client first, so that what only it waited for is not given out again."""
        peer = self.peers[name]
        peer.held.clear()
        waits, peer.waits = peer.waits, []
        for job in waits:
            job.waiting.remove(peer)
            if job.wanted:
                self.meet("a client left, the job stays")
            else:
                self.leave_uniques(job)
                if job in self.delayed:
                    self.meet("the last client of a job left that waits for another try")
                    self.count(job.function, "dropped")
                    self.forget(job)
                elif job.worker is None:
                    self.meet("the last client of a queued job left")
                    self.bury(job)
                else:
                    self.meet("the last client of a running job left")
        if peer.running:
            self.meet("a worker left with jobs")
        self.unregister_all(peer)
        del self.peers[name]

    def drop_function(self, function: Function) -> None:
        self.meet("function dropped with jobs" if function.live else "function dropped")
        jobs = [*function.queues[0], *function.queues[1], *function.queues[2], *function.delayed]
        while jobs:  # in any order
            job = next((job for job in jobs if self.is_told_failed(job)), jobs[0])
            jobs.remove(job)
            self.fail(job)
        self.forget_ghosts(function)
        del self.functions[function.name]

    # ---- time -----------------------------------------------------------------------------------------------------

    def pass_to(self, now: int, wall: int, wait: int | None) -> None:
        """Time-outs first, then what has come due, each in its order. `wait`: what the dispatcher says is left."""
        while late := [job for job in self.timed if job.deadline <= now]:
            first = min(job.deadline for job in late)
            self.at_one_moment([job for job in late if job.deadline == first])
        while due := [job for job in self.delayed if job.due <= wall]:
            first = min(job.due for job in due)
            self.at_one_moment([job for job in due if job.due == first])
        self.expire_jobs(now)
        self.open_gates(now)
        waits = [job.deadline - now for job in self.timed] + [job.due - wall for job in self.delayed]
        waits += self.policy_waits(now)
        earlier = [ghost for ghost in self.ghost_waits(now) if ghost < min(waits, default=ghost + 1)]
        if wait is not None and wait != min(waits, default=-1) and wait not in earlier:
            raise Wrong(f"tick() returned {wait} instead of {min(waits, default=-1)}")

    def at_one_moment(self, jobs: list[Job]) -> None:
        """Their order is left open: the next is one that somebody got, if anybody can get one."""
        several = len(jobs) > 1
        while jobs:
            job = jobs[0]
            if several:
                job = next((job for job in jobs if self.may_be_next(job)), job)
            jobs.remove(job)
            if job.worker is None:
                self.come_due(job)
                continue
            self.meet("time-out")
            job.function.counts["timeouts"] += 1
            self.requeue(job)
            if several and job in job.function.queues[job.priority]:
                self.floating.add(job)

    def is_told_failed(self, job: Job) -> bool:
        told = response(Command.WORK_FAIL, job.handle)
        return all(peer.hidden or peer.gets(told) for peer in job.waiting)

    def may_be_next(self, job: Job) -> bool:
        """Whether what the peers got next is what this job's time-out or due time brings them."""
        if job.worker is not None and not job.wanted:
            return True
        if job.worker is not None and self.fails_when_lost(job):
            return self.is_told_failed(job)
        holders = [peer for peer in job.function.able if peer.held]
        if holders and not self.draining:
            return self.gets_job(self.first_in_line(holders, job), job)
        sleepers = [peer for peer in job.function.able if peer.asleep and not peer.woken]
        if not sleepers or self.draining:
            return True
        woken = [peer for peer in sleepers if peer.hidden or peer.gets(NOOP)]
        return bool(woken) if self.wakeup else woken == sleepers

    def fails_when_lost(self, job: Job) -> bool:
        return self.retries >= 0 and job.retries + 1 >= max(self.retries, 1)

    def come_due(self, job: Job) -> None:
        """In its queue by when it was submitted; among jobs that came back from lost workers, anywhere."""
        self.meet("its time has come")
        job.since = self.now
        del self.delayed[job], job.function.delayed[job]
        queue = job.function.queues[job.priority]
        if any(other.displaced for other in [*queue, *job.function.ghosts]):
            self.floating.add(job)
            job.displaced = True
            queue.append(job)
        else:
            insort(queue, job, key=lambda other: other.number)
        self.offer(job)

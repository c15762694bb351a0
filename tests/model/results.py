# SPDX-License-Identifier: BSD-3-Clause
"""What becomes of jobs that have ended, as the model knows it: results and dead letters, and who asks for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from gearfast.protocol import MAX_UNIQUE, Command

from .frames import Frame, response
from .packets import Packets
from .records import Function, Job, Open, Peer

ASK: Final = b"gearfast.result"
NOW: Final = b"gearfast.result.now"
RESERVED: Final = (ASK, NOW)
MOST_OF_AN_EXCEPTION: Final = 65536
WHY: Final = {
    "lost": b"LOST The job was lost with its workers, too often to be tried again",
    "timeout": b"TIMEOUT No worker ended the job in time",
    "expired": b"EXPIRED No worker took the job in time",
    "full": b"FULL The job had to make room in a full queue",
    "cancelled": b"CANCELLED The job was cancelled",
}


@dataclass(eq=False, slots=True)
class Kept:
    """A result, or a dead letter. `data`: None, there is none; `size`: what it has, or had."""

    job: Job
    outcome: str
    data: bytes | None
    size: int
    numerator: int
    denominator: int
    is_letter: bool


def told(outcome: str) -> str:
    """As it is counted."""
    return outcome if outcome in ("done", "failed", "cancelled") else "otherwise"


class Results(Packets):
    """The model, with what is left of jobs that have ended."""

    def __init__(self, settings: dict[str, Any]) -> None:
        super().__init__(settings)
        self.kept: dict[bytes, Kept] = {}  # by handle, in the order of their ends
        self.said: dict[Job, bytes] = {}  # the last exception of each job
        self.reason = ""  # why jobs fail now, if no worker ends them
        self.ending: tuple[str, bytes | None] = ("", None)  # how a worker ends one now
        self.hazy: set[Function] = set()  # in which order some of their jobs have ended is left open

    # ---- what is kept ---------------------------------------------------------------------------------------------

    def keep(self, job: Job, outcome: str, data: bytes | None) -> None:
        """The job ends; nobody has been told."""
        allowed = job.function.allowed
        is_letter = bool(allowed and allowed.keep_failed and outcome not in ("done", "cancelled"))
        if allowed is None or not job.wanted or not (is_letter or (allowed.keep_results and job.background)):
            return
        limit = allowed.keep_failed if is_letter else allowed.keep_results
        others = [kept for kept in self.kept.values() if kept.job.function is job.function]
        others = [kept for kept in others if kept.is_letter == is_letter]
        for kept in others[: min(2, max(len(others) - limit + 1, 0))]:
            self.meet("the oldest of what is kept goes")
            if job.function in self.hazy:
                raise Open("which of several results is the oldest is left open")
            del self.kept[kept.job.handle]
        self.meet("a dead letter is kept" if is_letter else f"a result is kept: {told(outcome)}")
        size = len(data or b"")
        fits = is_letter or not allowed.keep_size or size <= allowed.keep_size
        progress = (0, 0) if is_letter else (job.numerator, job.denominator)
        self.kept[job.handle] = Kept(job, outcome, data if fits else None, size, *progress, is_letter)

    def do_work_complete(self, peer: Peer, frame: Frame) -> None:
        self.ending = ("done", frame.args[1])
        super().do_work_complete(peer, frame)

    def do_work_fail(self, peer: Peer, frame: Frame) -> None:
        self.ending = ("failed", None)
        super().do_work_fail(peer, frame)

    def do_work_exception(self, peer: Peer, frame: Frame) -> None:
        job = self.jobs.get(frame.args[0])
        allowed = job.function.allowed if job is not None and job.worker is peer else None
        if job is not None and allowed is not None and (allowed.keep_failed or allowed.keep_results):
            self.said[job] = frame.args[1][:MOST_OF_AN_EXCEPTION]
        self.ending = ("failed", None)
        super().do_work_exception(peer, frame)

    def finish(self, job: Job) -> None:
        outcome, data = self.ending
        self.keep(job, outcome, self.said.get(job) if outcome == "failed" else data)
        super().finish(job)

    def forget(self, job: Job) -> None:
        self.said.pop(job, None)
        super().forget(job)

    def fail(self, job: Job) -> None:
        self.keep(job, self.reason, None)
        super().fail(job)

    def requeue(self, job: Job) -> None:
        self.reason = "timeout" if 0 < job.deadline <= self.now and self.timing_out else "lost"
        super().requeue(job)

    timing_out = False

    def at_one_moment(self, jobs: list[Job]) -> None:
        if len(jobs) > 1:
            self.hazy |= {job.function for job in jobs}
        self.timing_out = True
        super().at_one_moment(jobs)
        self.timing_out = False

    def expire_jobs(self, now: int) -> None:
        late = [job.function for job in self.expiring() if self.expires(job) <= now]
        self.hazy |= {function for function in late if late.count(function) > 1}
        self.reason = "expired"
        super().expire_jobs(now)

    def make_room(self, function: Function, priority: int, limit: int) -> bool:
        self.reason = "full"
        return super().make_room(function, priority, limit)

    def cancel(self, job: Job) -> None:
        self.keep(job, "cancelled", None)
        super().cancel(job)

    def drop_function(self, function: Function) -> None:
        super().drop_function(function)
        self.hazy.discard(function)
        for handle in [handle for handle, kept in self.kept.items() if kept.job.function is function]:
            del self.kept[handle]

    # ---- who asks -------------------------------------------------------------------------------------------------

    def submission(self, priority: int, background: bool) -> Callable[[Peer, Frame], None]:
        submit = super().submission(priority, background)

        def do(peer: Peer, frame: Frame) -> None:
            function, unique, data = frame.args
            if function in RESERVED and not background and len(unique) <= MAX_UNIQUE:
                self.ask(peer, data, waits=function == ASK)
            else:
                submit(peer, frame)

        return do

    def submit(self, peer: Peer, name: bytes, unique: bytes, data: bytes, *args: Any, **kwargs: Any) -> None:
        if name not in RESERVED or len(unique) > MAX_UNIQUE or len(kwargs.get("reducer", b"")) > MAX_UNIQUE:
            super().submit(peer, name, unique, data, *args, **kwargs)
            return
        self.meet("a question in the background")
        self.error(peer, b"INVALID_ARGUMENT", b"The server answers this function itself, in the foreground only")

    def register(self, peer: Peer, name: bytes, time_out: int) -> None:
        if name not in RESERVED:
            super().register(peer, name, time_out)

    def do_option_req(self, peer: Peer, frame: Frame) -> None:
        if frame.args[0].partition(b"\0")[0].lower() == b"results":
            self.say(peer, response(Command.OPTION_RES, frame.args[0]))
        else:
            super().do_option_req(peer, frame)

    def found(self, question: bytes) -> Job | Kept | None:
        """What the question is about."""
        job = self.jobs.get(question)
        if job is not None and job.wanted:
            return job
        if question in self.kept:
            return self.kept[question]
        name, nul, unique = question.partition(b"\0")
        functions = list(self.functions.values())
        if nul:
            functions = [function for function in functions if function.name == name]
        else:
            unique = question
        if unique in (b"", b"-"):
            return None
        live = [job for function in functions if (job := function.uniques.get((False, unique))) is not None]
        if live:
            return max(live, key=lambda job: job.number)
        ended = [kept for kept in self.kept.values() if kept.job.unique == unique and kept.job.function in functions]
        return max(ended, key=lambda kept: kept.job.number, default=None)

    def ask(self, peer: Peer, question: bytes, waits: bool) -> None:
        peer.is_client = True
        found = self.found(question)
        if isinstance(found, Job):
            self.ask_for_job(peer, found, waits)
            return
        if found is None:
            self.meet("a question about an unknown job")
            handle = self.prefix + b"%d" % self.number
            self.number += 1
            self.say(peer, response(Command.JOB_CREATED, handle))
            self.warn(peer, handle, b"UNKNOWN_JOB No job, result or dead letter is known by that")
            self.say(peer, response(Command.WORK_FAIL, handle))
            return
        handle = found.job.handle
        self.say(peer, response(Command.JOB_CREATED, handle))
        self.say_progress(peer, handle, found.numerator, found.denominator)
        takes_exceptions = self.exceptions or peer.exceptions
        self.meet(f"a question about one that has ended: {told(found.outcome)}")
        if found.outcome == "done" and found.data is not None:
            self.say(peer, response(Command.WORK_COMPLETE, handle, found.data))
            return
        if found.outcome == "failed" and found.data is not None and takes_exceptions:
            self.say(peer, response(Command.WORK_EXCEPTION, handle, found.data))
            return
        if found.outcome == "done":
            self.warn(peer, handle, b"TOO_LARGE %d bytes were not kept" % found.size)
        elif found.outcome == "failed" and found.data is None and found.size:
            self.warn(peer, handle, b"FAILED Its exception of %d bytes was not kept" % found.size)
        elif found.outcome in WHY:
            self.warn(peer, handle, WHY[found.outcome])
        self.say(peer, response(Command.WORK_FAIL, handle))

    def ask_for_job(self, peer: Peer, job: Job, waits: bool) -> None:
        if waits:
            self.meet("a question waits")
            job.waiting.append(peer)
            peer.waits.append(job)
        self.say(peer, response(Command.JOB_CREATED, job.handle))
        self.say_progress(peer, job.handle, job.numerator, job.denominator)
        if not waits:
            self.meet("a question that does not wait")
            state = b"runs" if job.worker is not None else b"is queued"
            self.warn(peer, job.handle, b"NOT_ENDED The job " + state)
            self.say(peer, response(Command.WORK_FAIL, job.handle))

    def say_progress(self, peer: Peer, handle: bytes, numerator: int, denominator: int) -> None:
        if numerator or denominator:
            self.say(peer, response(Command.WORK_STATUS, handle, b"%d" % numerator, b"%d" % denominator))

    def warn(self, peer: Peer, handle: bytes, text: bytes) -> None:
        self.say(peer, response(Command.WORK_WARNING, handle, b"gearfast.result: " + text))

# SPDX-License-Identifier: BSD-3-Clause
"""Many clients and workers, any order of packets, losses and time, against the plain model of `model.py`."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from .model import ENDS, Job, Model
from .script import START_WALL, Q, R, Wire, handle, show, split

FUNCTIONS = (b"f", b"g", b"h")
UNIQUES = (b"", b"", b"u", b"v")
KINDS = (
    ("SUBMIT_JOB_HIGH", 0, False),
    ("SUBMIT_JOB", 1, False),
    ("SUBMIT_JOB_LOW", 2, False),
    ("SUBMIT_JOB_HIGH_BG", 0, True),
    ("SUBMIT_JOB_BG", 1, True),
    ("SUBMIT_JOB_LOW_BG", 2, True),
)
RESULTS = ("WORK_COMPLETE", "WORK_COMPLETE", "WORK_FAIL", "WORK_EXCEPTION", "WORK_DATA", "WORK_WARNING", "WORK_STATUS")
MOST_PEERS = 6

functions = st.sampled_from(FUNCTIONS)
numbers = st.integers(0, 10**6)


class Server(RuleBasedStateMachine):
    """Every rule is done by the dispatcher and by the model; then every peer must have got the same bytes."""

    @initialize(
        order=st.sampled_from(["priority", "function", "function-rotate"]),
        retries=st.sampled_from([-1, 0, 2, 3]),
        wakeup=st.sampled_from([0, 0, 1, 2]),
        seed=numbers,
        asleep=st.lists(st.lists(functions, min_size=1, max_size=3, unique=True), max_size=4),
    )
    def start(self, order: str, retries: int, wakeup: int, seed: int, asleep: list[list[bytes]]) -> None:
        self.wire = Wire(order=order, job_retries=retries, wakeup=wakeup, seed=seed)
        self.model = Model(order, retries, wakeup, START_WALL)
        self.model.connect("monitor")
        self.peers = {"monitor": self.wire.peer("monitor")}
        self.count = 0
        self.due_times: set[int] = set()
        self.asked: Counter[tuple[str, bytes]] = Counter()  # foreground requests without their last packet
        for _ in range(max(3, len(asleep))):
            self.connect()
        for number, names in enumerate(asleep):
            self.go_to_sleep(number, names)

    # ---- helpers ----------------------------------------------------------------------------------------------

    def pick(self, number: int) -> str:
        """Any peer but the monitor, by number."""
        names = [n for n in self.peers if n != "monitor"]
        return names[number % len(names)]

    def check(self) -> None:
        """All peers got what the model says, and the clock goes on by a millisecond (so that no two moments meet)."""
        for name, peer in self.peers.items():
            got, wanted = peer.take(), self.model.out.pop(name, b"")
            if self.model.wakeup:
                got = self.without_noop(name, got, wanted)
            assert got == wanted, f"{name} got\n    {show(got)}\n  instead of\n    {show(wanted)}"
            assert not peer.closed
            for seen in split(got):
                if seen.name in ENDS:
                    self.asked[name, seen.args[0]] -= 1
        self.model.pass_to(round(self.model.now + 0.001, 3))
        self.wire.pass_time(0.001)

    def without_noop(self, name: str, got: bytes, wanted: bytes) -> bytes:
        """Takes a NOOP that the model does not foretell out of what a peer got: it must have slept for it."""
        if got == wanted or R.NOOP() not in got:
            return got
        peer = self.model.peers[name]
        assert peer.asleep and not peer.woken, f"{name} got a NOOP, but did not sleep"
        peer.woken = True
        return got.replace(R.NOOP(), b"", 1)

    def send(self, name: str, packet: bytes) -> None:
        self.peers[name].send(packet)
        self.look()

    def look(self) -> None:
        """Tells the model which jobs were given out just now, for what is left open."""
        seen = [(s, p.name) for p in self.peers.values() for s in split(p.unread)]
        self.model.given = {s.args[0]: name for s, name in seen if s.name.startswith("JOB_ASSIGN")}

    # ---- rules ------------------------------------------------------------------------------------------------

    @precondition(lambda self: len(self.peers) < MOST_PEERS)
    @rule()
    def connect(self) -> None:
        self.count += 1
        name = f"p{self.count}"
        self.peers[name] = self.wire.peer(name)
        self.model.connect(name)
        self.check()

    @precondition(lambda self: len(self.peers) > 2)
    @rule(who=numbers)
    def leave(self, who: int) -> None:
        name = self.pick(who)
        self.peers.pop(name).leave()
        self.look()
        self.model.leave(name)
        for key in [k for k in self.asked if k[0] == name]:
            del self.asked[key]
        self.check()

    @rule(who=numbers, function=functions, time_out=st.sampled_from([0, 0, 0, 1, 2]))
    def can_do(self, who: int, function: bytes, time_out: int) -> None:
        name = self.pick(who)
        self.send(name, Q.CAN_DO_TIMEOUT(function, b"%d" % (1000 * time_out)) if time_out else Q.CAN_DO(function))
        self.model.can_do(name, function, time_out)
        self.check()

    @rule(who=numbers, function=functions)
    def cant_do(self, who: int, function: bytes) -> None:
        name = self.pick(who)
        self.send(name, Q.CANT_DO(function))
        self.model.cant_do(name, function)
        self.check()

    @rule(who=numbers, option=st.sampled_from(["exceptions", "all_yours"]))
    def option(self, who: int, option: str) -> None:
        name = self.pick(who)
        self.send(name, Q.OPTION_REQ(option.encode()))
        assert self.peers[name].one("OPTION_RES") == (option.encode(),)
        setattr(self.model.peers[name], option, True)
        self.check()

    def submitted(self, name: str, packet: bytes, job: Job) -> None:
        """A submission. If its unique meets a running job that nobody wants, to join it or not are both right."""
        met = self.model.match(job.function, job.unique)
        self.send(name, packet)
        joins = met is not None and (met.wanted or self.peers[name].unread.endswith(met.handle))
        given = self.model.submit(name, job, joins)
        if not job.background:
            self.asked[name, given] += 1
        self.check()

    @rule(who=numbers, function=functions, unique=st.sampled_from(UNIQUES), kind=st.sampled_from(KINDS))
    def submit(self, who: int, function: bytes, unique: bytes, kind: tuple[str, int, bool]) -> None:
        data = b"data %d" % self.model.number
        job = Job(b"", function, unique, data, kind[1], kind[2])
        self.submitted(self.pick(who), getattr(Q, kind[0])(function, unique, data), job)

    @rule(who=numbers, function=functions, unique=st.sampled_from(UNIQUES), wait=st.integers(1, 5))
    def submit_at(self, who: int, function: bytes, unique: bytes, wait: int) -> None:
        when = int(self.model.now) + wait
        while when in self.due_times:  # two at one moment may run in any order
            when += 1
        self.due_times.add(when)
        job = Job(b"", function, unique, b"later", 1, True, float(when))
        self.submitted(self.pick(who), Q.SUBMIT_JOB_EPOCH(function, unique, b"%d" % when, b"later"), job)

    @rule(who=numbers, form=st.sampled_from(["GRAB_JOB", "GRAB_JOB_UNIQ", "GRAB_JOB_ALL"]))
    def grab(self, who: int, form: str) -> None:
        name = self.pick(who)
        self.send(name, getattr(Q, form)())
        self.model.grab(name, form)
        self.check()

    @rule(who=numbers)
    def pre_sleep(self, who: int) -> None:
        name = self.pick(who)
        self.send(name, Q.PRE_SLEEP())
        self.model.pre_sleep(name)
        self.check()

    @rule(who=numbers, names=st.lists(functions, min_size=1, max_size=3, unique=True))
    def go_to_sleep(self, who: int, names: list[bytes]) -> None:
        """What a worker does when it starts: registers, finds nothing, sleeps."""
        for function in names:
            self.can_do(who, function, 0)
        self.pre_sleep(who)

    @precondition(lambda self: any(p.woken for p in self.model.peers.values()))
    @rule(which=numbers, most=st.integers(1, 4))
    def answer_noop(self, which: int, most: int) -> None:
        """What a worker does when it is woken: grabs, until there is nothing or it is busy."""
        names = [n for n, p in self.model.peers.items() if p.woken]
        name = names[which % len(names)]
        for _ in range(most):
            had = len(self.model.grabbed[name])
            self.send(name, Q.GRAB_JOB())
            self.model.grab(name, "GRAB_JOB")
            self.check()
            if len(self.model.grabbed[name]) == had:
                break

    def work(self, name: str, kind: str, job: bytes) -> None:
        more = {"WORK_FAIL": (), "WORK_STATUS": (b"1", b"2")}.get(kind, (b"said of " + job,))
        self.send(name, getattr(Q, kind)(job, *more))
        self.model.work(name, kind, job, *more)
        self.check()

    @precondition(lambda self: any(self.model.grabbed.values()))
    @rule(which=numbers, kind=st.sampled_from(RESULTS))
    def work_of_its_own(self, which: int, kind: str) -> None:
        running = [(n, j) for n, jobs in self.model.grabbed.items() for j in jobs]
        name, job = running[which % len(running)]
        self.work(name, kind, job.handle)

    @rule(who=numbers, which=numbers, kind=st.sampled_from(RESULTS))
    def work_of_any(self, who: int, which: int, kind: str) -> None:
        self.work(self.pick(who), kind, handle(which % (self.model.number + 2)))

    @precondition(lambda self: any(j.wanted for j in self.model.jobs))
    @rule(who=numbers, which=numbers)
    def cancel(self, who: int, which: int) -> None:
        wanted = [j for j in self.model.jobs if j.wanted]
        name, job = self.pick(who), wanted[which % len(wanted)]
        self.send(name, b"cancel job " + job.handle + b"\n")
        self.model.cancel(name, job.handle)
        self.check()

    @rule(seconds=st.sampled_from([0.5, 1.0, 2.5]))
    def wait(self, seconds: float) -> None:
        """As a driver: to each deadline that the dispatcher tells, then to the end."""
        end = self.wire.monotonic + round(seconds * 10**9)
        for _ in range(1000):
            wait = self.wire.tick()
            if self.wire.monotonic >= end:
                break
            left = end - self.wire.monotonic
            self.wire.pass_time((left if wait < 0 else min(left, wait)) / 10**9)
        assert self.wire.monotonic == end
        self.look()
        self.model.pass_to(round(self.model.now + seconds, 3))
        self.check()

    # ---- what always holds ------------------------------------------------------------------------------------

    @invariant()
    def counts_are_those_of_the_model(self) -> None:
        monitor = self.peers["monitor"]
        rows = {}
        for line in monitor.table(b"status"):
            name, *counts = line.split(b"\t")
            rows[name] = tuple(int(n) for n in counts)
        assert set(rows) == self.model.known
        for function, (total, running, workers) in rows.items():
            jobs = [j for j in self.model.jobs if j.function == function]
            live = sum(j.wanted or (j.worker is not None and not j.cancelled) for j in jobs)
            at_work = sum(j.worker is not None and not j.cancelled for j in jobs)
            cut_off = sum(j.cancelled for j in jobs)
            assert live <= total <= live + cut_off + self.model.ghosts.get(function, 0)
            assert at_work <= running <= at_work + cut_off
            assert workers == sum(function in p.functions for p in self.model.peers.values())

    @invariant()
    def jobs_are_those_of_the_model(self) -> None:
        shown = set(self.peers["monitor"].table(b"show jobs"))
        live = [j for j in self.model.jobs if j.wanted]
        assert {b"%s\t%d\t0\t%d" % (j.handle, j.retries, j.background) for j in live} <= shown
        spare = sum(self.model.ghosts.values()) + sum(not j.wanted for j in self.model.jobs)
        assert len(shown) - len(live) <= spare

    @invariant()
    def records_agree(self) -> None:
        self.wire.sound()

    @invariant()
    def nobody_sleeps_beside_a_job(self) -> None:
        peers = self.model.peers
        for name, peer in peers.items():
            if not peer.asleep or peer.woken or self.model.next_job(name) is None:
                continue
            assert self.model.wakeup, f"{name} sleeps beside a job"
            for function in peer.functions:  # with `wakeup` another may have been woken in its stead, or be awake
                able = [p for p in peers.values() if function in p.functions]
                waits = any(j.due <= self.model.now for p in range(3) for j in self.model.queues.get((function, p), []))
                assert not waits or any(p.woken or not p.asleep for p in able), f"a job of {function!r} is forgotten"

    def teardown(self) -> None:
        """A worker that can do everything finishes what is left: every foreground request has had its one end."""
        if not hasattr(self, "wire"):
            return
        for name in [n for n, jobs in self.model.grabbed.items() if jobs or self.model.peers[n].all_yours]:
            self.send(name, Q.RESET_ABILITIES())
            self.send(name, Q.PRE_SLEEP())
        last = self.wire.worker("last", *FUNCTIONS)
        self.wire.pass_time(3600)
        last.send(*[Q.GRAB_JOB()] * (self.model.number + 1))
        for seen in last.seen():
            if seen.name == "JOB_ASSIGN":
                last.send(Q.WORK_COMPLETE(seen.args[0], b""))
        last.expect_nothing()
        for name, peer in self.peers.items():
            for seen in peer.seen():
                if seen.name in ENDS:
                    self.asked[name, seen.args[0]] -= 1
        assert not [k for k, n in self.asked.items() if n]
        assert self.wire.dispatcher.job_count == 0


profile: dict[str, Any] = {
    "deadline": None,
    "stateful_step_count": 50,
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.filter_too_much],
}
TestServer = Server.TestCase
TestServer.settings = settings(max_examples=200, **profile)

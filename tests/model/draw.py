# SPDX-License-Identifier: BSD-3-Clause
"""Draws the steps of a run from a seed. It looks at the model, so that what it draws makes sense most of the time:
who was woken grabs, who has a job ends it, and handles are mostly those of jobs that there are.

Runs differ in their settings, in their crowd (few functions and uniques that meet often; hundreds of functions and
peers; thousands of jobs; large workloads), and go through modes in which queues fill, empty, or peers come and go.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from random import Random
from typing import Any, Final, TypeVar

from gearfast.protocol import MAX_UNIQUE, Command

from .frames import request
from .malformed import malformed
from .play import Play, Step
from .records import Job, Peer
from .results import ASK, NOW
from .rules import GRABS, NS

T = TypeVar("T")
Action = Callable[[Peer], bytes]

SUBMISSIONS: Final = (
    *(Command.SUBMIT_JOB, Command.SUBMIT_JOB_HIGH, Command.SUBMIT_JOB_LOW),
    *(Command.SUBMIT_JOB_BG, Command.SUBMIT_JOB_HIGH_BG, Command.SUBMIT_JOB_LOW_BG),
)
ORDERS: Final = ("priority", "function", "function-rotate")
WAKEUPS: Final = (0, 1, 0, 2, 0, 7)
MODES: Final = ("mixed", "submit", "work", "workers", "mixed", "clients")
OTHER_LINES: Final = (
    *(b"status\n", b"STATUS\r\n", b"prioritystatus\r\n", b"workers\n", b"show jobs\n", b"show unique jobs\n"),
    *(b"show\n", b"show nothing\r\n", b"version\n", b"getpid\n", b"verbose\n", b"shutdown\n", b"shutdown graceful\n"),
    *(b"shutdown soon\n", b"drop\n", b"create function\r\n", b"maxqueue\n", b"cancel job\n", b"cancel the job\r\n"),
    *(b"\n", b" status\n", b"no such command\n", b"create a b\n", b"drop a b\n", b"one two three four five six\n"),
    *(b"show jobs now\n", b"status of things\n", b"Create Function   f9 \n"),
)
LISTS: Final = OTHER_LINES[:6]
KEYS: Final[dict[str, tuple[Any, ...]]] = {
    "timeout": (0, 0.5, 1.5, 4),
    "tries": (-1, 1, 2, 4),
    "backoff": (0, 0.25, 1, 3),
    "backoff_kind": ("fixed", "exponential"),
    "backoff_max": (0, 2),
    "retry_on_fail": (True, True, False),
    "max_queue": (0, 3, [1, 4, 2], 8),
    "full": ("refuse", "drop-oldest"),
    "concurrency": (0, 1, 2, 5),
    "burst": (1, 2, 5),
    "expire": (0, 1, 4, 20),
}
WEIGHTS: Final = ([8, 4, 1], [1, 1, 1], [2, 1, 3], [1, 1, 20])
RATES: Final = {"f0": ("1/s", "47/s"), "f1": ("3/s", "90/m"), "f2": ("7/s", "0/s")}


@dataclass(frozen=True)
class Crowd:
    """What a run is made of."""

    functions: int
    uniques: int
    peers: int
    batch: int  # most packets in one read
    large: float  # how many workloads have more than 32 KiB


CROWDS: Final = (
    Crowd(functions=2, uniques=3, peers=6, batch=4, large=0.002),
    Crowd(functions=4, uniques=8, peers=10, batch=8, large=0.001),
    Crowd(functions=3, uniques=2, peers=5, batch=3, large=0.05),
    Crowd(functions=12, uniques=200, peers=40, batch=60, large=0.001),
    Crowd(functions=5, uniques=3000, peers=12, batch=400, large=0.0),
    Crowd(functions=300, uniques=50, peers=30, batch=40, large=0.0),
    Crowd(functions=30, uniques=10, peers=250, batch=6, large=0.0),
)


def draw_settings(seed: int) -> dict[str, Any]:
    """The settings of a run; the more important ones go through all their values with the seed."""
    rng = Random(f"settings {seed}")
    wakeup = WAKEUPS[seed // 3 % len(WAKEUPS)]
    found = {
        "order": ORDERS[seed % 3],
        "wakeup": wakeup,
        "job_retries": rng.choice((-1, -1, 0, 1, 2, 3, 5)),
        "exceptions": rng.random() < 0.2,
        "max_unsent": rng.choice((200, 1000, 20_000)) if rng.random() < (0.1 if wakeup else 0.3) else 0,
        "max_queued": rng.choice((500, 5_000, 50_000)) if rng.random() < 0.12 else 0,
        "high_water": rng.choice((100, 1000, 10_000)) if rng.random() < 0.25 else 0,
        "max_packet": rng.choice((1 << 20, 1 << 20, 1 << 20, 1 << 20, 70_000, 300)),
        "admin_writes": rng.random() < 0.9,
        "seed": rng.getrandbits(128),
        "handle_prefix": rng.choice((b"H:m", b"H:m", b"", b"H:" + b"x" * 40)),
        "first_handle": rng.choice((1, 1, 509, 10**9, 2**63 - 1)),
    }
    return found | {"policies": draw_policies(seed, bool(found["max_queued"]))}


def draw_policies(seed: int, has_ceiling: bool) -> dict[str, dict[str, Any]]:
    """What functions are allowed, in a third of the runs. With jitter nobody could say what comes when.

    Each function has a rate of its own, so that hardly ever two of them may give out a job from the same moment on.
    """
    rng = Random(f"policies {seed}")
    keep = Random(f"keep {seed}")
    weights = Random(f"weights {seed}")
    if rng.random() < 0.65 or CROWDS[seed // 5 % len(CROWDS)].functions > 100:
        return {}
    found = {}
    for pattern in rng.sample(("*", "f*", "f0", "f1", "f2"), rng.choice((1, 1, 2, 3))):
        keys: dict[str, Any] = {"jitter": False}
        for key, values in KEYS.items():
            if rng.random() < 0.3:
                keys[key] = rng.choice(values)
        if keys.get("max_queue"):
            keys["full"] = rng.choice(("refuse", "drop-oldest"))
        if pattern in RATES and rng.random() < 0.5:
            keys["rate"] = rng.choice(RATES[pattern])
        if not has_ceiling:
            keys["keep_failed"] = keep.choice((0, 0, 0, 1, 5))
            keys["keep_results"] = keep.choice((0, 3, 40, 40))
            keys["keep_results_size"] = keep.choice((0, 0, 7))
        if weights.random() < 0.5:
            keys["weights"] = weights.choice(WEIGHTS)
        found[pattern] = keys
    return found


class Draw:
    """The steps of one run of about `length` steps."""

    def __init__(self, seed: int, length: int) -> None:
        self.rng = Random(f"steps {seed}")
        self.asks = Random(f"questions {seed}")
        self.random = self.rng.random
        self.length = length
        self.crowd = CROWDS[seed // 5 % len(CROWDS)]
        self.settings = draw_settings(seed)
        self.play = Play(self.settings)
        self.model = self.play.model
        self.functions = [b"f%d" % n for n in range(self.crowd.functions - 1)] + [b"F0"]
        self.uniques = [b"u%d" % n for n in range(self.crowd.uniques)]
        self.tails: dict[int, bytes] = {}  # what a peer has yet to send of what it has begun
        self.connected = 0
        self.number = 0
        self.drains = self.random() < 0.1
        self.tables = {mode: self.table(mode) for mode in MODES}
        self.mode = self.rng.choice(MODES)

    def table(self, mode: str) -> list[Action]:
        """Actions, each as often as its weight says."""
        clients, workers, ends = {
            "mixed": (10, 10, 10),
            "submit": (30, 3, 2),
            "work": (3, 15, 30),
            "workers": (6, 25, 6),
            "clients": (12, 4, 8),
        }[mode]
        weights: list[tuple[int, Action]] = [
            (5 * clients, self.submit),
            (clients, self.submit_later),
            (clients // 3 + 1, self.submit_reduce),
            (4 * workers, self.grab),
            (2 * workers, self.pre_sleep),
            (2 * workers, self.can_do),
            (workers // 2 + 1, self.cant_do),
            (5 * ends, self.work),
            (ends // 2 + 1, self.work_of_any),
            (4, self.get_status),
            (4, self.option),
            (2, self.set_client_id),
            (2, self.echo),
            (6, self.administer),
            (4, self.other_line),
            (6, self.any_command),
            (1, lambda _: request(Command.RESET_ABILITIES)),
            (1, lambda _: malformed(self.rng, self.settings["max_packet"])),
        ]
        return [action for weight, action in weights for _ in range(weight)]

    def one_of(self, things: list[T] | tuple[T, ...]) -> T:
        return things[int(self.random() * len(things))]

    # ---- steps ----------------------------------------------------------------------------------------------------

    def steps(self) -> Any:
        """The run; each step must have been played before the next is drawn."""
        for number in range(self.length):
            if number % 150 == 149:
                self.mode = self.one_of(MODES)
            if self.drains and number == self.length * 9 // 10:
                yield ("drain",)
            yield self.step()
        for name in list(self.model.peers):
            yield ("leave", name)

    def step(self) -> Step:
        if self.model.paused and self.random() < 0.75:
            return ("go_on", 0, 0) if self.random() < 0.9 else ("complete", next(iter(self.model.paused)))
        chance = self.random()
        count = len(self.model.peers)
        if count < 2 or (count < self.crowd.peers and chance < (0.3 if count < self.crowd.peers // 2 else 0.03)):
            return self.connect()
        if chance > 0.985 or (self.mode == "clients" and chance > 0.96) or count > 2 * self.crowd.peers:
            return (self.one_of(("leave", "leave", "complete")), self.one_of(list(self.model.peers)))
        if chance > 0.9:
            return self.pass_time()
        peers = list(self.model.peers.values())
        large = [name for name, tail in self.tails.items() if len(tail) > 10_000 and name in self.model.peers]
        if large and chance < 0.4:  # large frames come in pieces, between other things
            name = self.one_of(large)
            return ("send", name, self.read(self.model.peers[name]))
        if chance > 0.85:
            reads: list[Any] = []
            for _ in range(2 + int(self.random() * 5)):
                peer = self.one_of(peers)
                reads += [peer.name, self.read(peer)]
            return ("send", *reads)
        peer = self.one_of(peers)
        return ("send", peer.name, self.read(peer))

    def connect(self) -> Step:
        self.connected += 1
        name = self.connected
        if self.random() < 0.6:
            self.tails[name] = self.introduction()
        chance = self.random()
        return ("connect", name, True if chance < 0.1 else False if chance > 0.98 else None)

    def introduction(self) -> bytes:
        """What a worker says first."""
        packets = []
        if self.random() < 0.4:
            packets.append(request(Command.OPTION_REQ, b"all_yours"))
        if self.crowd.functions > 100 and self.random() < 0.7:
            names = self.rng.sample(self.functions, int(self.random() * 150))
        else:
            names = self.rng.sample(self.functions, min(len(self.functions), 1 + int(self.random() * 4)))
        packets += [request(Command.CAN_DO, name) for name in names]
        packets += [request(self.one_of(GRABS)) for _ in range(int(self.random() * 4))]
        if self.random() < 0.6:
            packets.append(request(Command.PRE_SLEEP))
        return b"".join(packets)

    def pass_time(self) -> Step:
        chance = self.random()
        if chance < 0.3:
            by = int(self.random() * 10**7)
        elif chance < 0.6:
            by = int(self.random() * NS)
        elif chance < 0.85:
            by = int(self.random() * 6 * NS)
        else:  # to the very moment
            moments = [job.deadline - self.model.now for job in islice(self.model.timed, 50)]
            moments += [job.due - self.model.wall for job in islice(self.model.delayed, 50)]
            moments += self.model.policy_waits(self.model.now)
            by = min(max(min(moments, default=1) - (chance > 0.95), 0), 100 * NS)
        if self.random() < 0.03:
            return ("go_on", by, int((self.random() - 0.4) * 20 * NS))
        return ("go_on", by, by)

    def read(self, peer: Peer) -> bytes:
        """What a peer sends: a packet, or several, or a part."""
        tail = self.tails.pop(peer.name, b"")
        data = tail if tail and self.random() < 0.7 else tail + self.packets(peer)
        if len(data) > 1 and self.random() < (0.06 if len(data) < 30_000 else 0.6):
            at = 1 + int(self.random() * (min(len(data), 30) if self.random() < 0.5 else len(data) - 1))
            data, self.tails[peer.name] = data[:at], data[at:]
        return data

    def packets(self, peer: Peer) -> bytes:
        data = self.some_packets(peer)
        if self.asks.random() > 0.05:
            return data
        # Drawn apart, so that what else a run does hardly depends on it.
        rng, self.rng, self.random = self.rng, self.asks, self.asks.random
        try:
            return data + self.ask(peer)
        finally:
            self.rng, self.random = rng, rng.random

    def some_packets(self, peer: Peer) -> bytes:
        table = self.tables[self.mode]
        if self.random() < 0.8:
            return self.packet(peer, table)
        if self.random() < 0.02:  # so much to look through that the dispatcher has to make a pause
            return self.one_of(LISTS) * min(25_000 // (len(self.model.functions) + len(self.model.jobs) + 1), 150)
        if self.random() < 0.2:  # the same again and again
            action = self.one_of(table)
            return b"".join([action(peer) for _ in range(int(self.random() * self.crowd.batch))])
        return b"".join([self.packet(peer, table) for _ in range(1 + int(self.random() * self.crowd.batch / 2))])

    def packet(self, peer: Peer, table: list[Action]) -> bytes:
        if peer.woken and self.random() < 0.6:
            return self.grab(peer)
        if peer.running and self.random() < 0.3:
            end = self.work(peer)
            return end + self.grab(peer) if self.random() < 0.5 else end
        return self.one_of(table)(peer)

    # ---- what packets are made of ---------------------------------------------------------------------------------

    def unique(self) -> bytes:
        chance = self.random()
        if chance < 0.5:
            return self.one_of(self.uniques)
        if chance < 0.8:
            return b""
        if chance < 0.95:
            return b"-"
        if chance < 0.98:
            return b"x" * MAX_UNIQUE
        return b"x" * (MAX_UNIQUE + 1) if chance < 0.985 else self.one_of(self.functions)

    def data(self) -> bytes:
        chance = self.random()
        self.number += 1
        if chance < self.crowd.large:
            size = int(32_600 + self.random() * (400 if self.random() < 0.5 else self.random() * 300_000))
            return b"%d " % self.number + b"l" * size
        if chance < 0.55:
            return b"data %d" % self.number
        if chance < 0.75:
            return b"same"
        if chance < 0.85:
            return b""
        if chance < 0.98:
            return b"%d\0and more\0" % self.number
        return b"%d" % self.number * int(self.random() * 1500)

    def handle(self) -> bytes:
        """Mostly of a job that there is, or has been."""
        chance = self.random()
        jobs = self.model.jobs
        if chance < 0.6 and jobs:
            at = int(self.random() * min(len(jobs), 100))
            return next(islice(jobs, at, None))
        if chance < 0.7 and self.model.gone:
            return next(iter(self.model.gone))
        if chance < 0.95:
            return self.model.prefix + b"%d" % max(self.model.number - int(self.random() * 40), 0)
        return self.one_of(
            (b"", b"H:m:", b"H:m:01", b"H:m:1x", b"H:other:1", b"x" * 64, b"x" * 64, b"H:m:99999999999999999999")
        )

    # ---- clients --------------------------------------------------------------------------------------------------

    def submit(self, _: Peer) -> bytes:
        return request(self.one_of(SUBMISSIONS), self.one_of(self.functions), self.unique(), self.data())

    def submit_later(self, _: Peer) -> bytes:
        function, unique = self.one_of(self.functions), self.unique()
        if self.random() < 0.7:
            now = self.model.wall // NS
            when = b"%d" % (now + int(self.random() * 12) - 2)
            if self.random() < 0.1:
                when = self.one_of((b"", b"0", b"-5", b" +12x", b"never", b"9" * 30, b"-" + b"9" * 30, b"9" * 18))
            return request(Command.SUBMIT_JOB_EPOCH, function, unique, when, self.data())
        fields = [b"%d" % (self.random() * 12), self.one_of((b"0", b"", b"*")), b"*", b"", b"*"]
        if self.random() < 0.2:
            fields[int(self.random() * 5)] = self.one_of((b"99", b"-1", b"x", b"6", b"\xff"))
        if self.random() < 0.1:
            fields[2:4] = [b"30", b"2"]
        return request(Command.SUBMIT_JOB_SCHED, function, unique, *fields, self.data())

    def submit_reduce(self, _: Peer) -> bytes:
        command = self.one_of((Command.SUBMIT_REDUCE_JOB, Command.SUBMIT_REDUCE_JOB_BACKGROUND))
        reducer = self.one_of((b"reducer", b"reducer", b"", b"r" * 64, b"r" * 65))
        return request(command, self.one_of(self.functions), self.unique(), reducer, b"aggregator", self.data())

    def get_status(self, _: Peer) -> bytes:
        if self.random() < 0.6:
            return request(Command.GET_STATUS, self.handle() + self.one_of((b"", b"", b"\0", b"\0x")))
        return request(Command.GET_STATUS_UNIQUE, self.unique() + self.one_of((b"", b"", b"\0")))

    def ask(self, _: Peer) -> bytes:
        """What became of a job that there is, or was."""
        chance = self.random()
        kept = self.model.kept
        if chance < 0.4 and kept:
            question = next(islice(kept, int(self.random() * min(len(kept), 100)), None))
        elif chance < 0.7:
            question = self.handle()
        else:
            question = self.unique() if chance < 0.85 else self.one_of(self.functions) + b"\0" + self.unique()
        name = self.one_of((ASK, ASK, NOW))
        chance = self.random()
        if chance < 0.04:
            return request(self.one_of((Command.CAN_DO, Command.CANT_DO)), name)
        if chance < 0.05:
            return request(Command.OPTION_REQ, b"results")
        if chance < 0.06:
            return b"create function " + name + b"\n"
        if chance < 0.08:
            return request(Command.SUBMIT_REDUCE_JOB, name, self.unique(), b"", b"", question)
        return request(self.one_of(SUBMISSIONS[:3] * 3 + SUBMISSIONS[3:]), name, self.unique(), question)

    def echo(self, _: Peer) -> bytes:
        return request(Command.ECHO_REQ, self.data())

    def option(self, _: Peer) -> bytes:
        options = (
            b"all_yours",
            b"all_yours",
            b"exceptions",
            b"exceptions",
            b"All_Yours\0",
            b"EXCEPTIONS\0x",
            b"",
            b"no",
        )
        return request(Command.OPTION_REQ, self.one_of(options) if self.random() < 0.98 else b"o" * 70)

    # ---- workers --------------------------------------------------------------------------------------------------

    def grab(self, _: Peer) -> bytes:
        grab = request(self.one_of(GRABS))
        chance = self.random()
        return grab if chance < 0.95 else grab * (2 + int(self.random() * (5 if chance < 0.99 else 45)))

    def pre_sleep(self, _: Peer) -> bytes:
        return request(Command.PRE_SLEEP)

    def can_do(self, _: Peer) -> bytes:
        function = self.one_of(self.functions)
        if self.random() < 0.5:
            return request(Command.CAN_DO, function)
        time_out = self.one_of((b"1000", b"1", b"1500", b"2500", b"3000", b"5000", b"0", b"-1", b"", b"2000 ms"))
        if self.random() < 0.03:
            time_out = self.one_of((b"9" * 15, b"9" * 30, b"-" + b"9" * 30, b"-9223372036854775808"))
        return request(Command.CAN_DO_TIMEOUT, function, time_out)

    def cant_do(self, peer: Peer) -> bytes:
        able = peer.turns if peer.turns and self.random() < 0.8 else None
        return request(Command.CANT_DO, self.one_of(able).name if able else self.one_of(self.functions))

    def set_client_id(self, _: Peer) -> bytes:
        return request(Command.SET_CLIENT_ID, self.one_of((b"me", b"you", b"", b"a\0b", b"i" * 127, b"i" * 200)))

    def work(self, peer: Peer) -> bytes:
        jobs: list[Job] = list(islice(peer.running, 50))
        return self.word(self.one_of(jobs).handle) if jobs else self.grab(peer)

    def work_of_any(self, _: Peer) -> bytes:
        return self.word(self.handle())

    def word(self, handle: bytes) -> bytes:
        chance = self.random()
        if chance < 0.5:
            return request(Command.WORK_COMPLETE, handle, self.data())
        if chance < 0.6:
            return request(Command.WORK_FAIL, handle + self.one_of((b"",) * 9 + (b"\0",)))
        if chance < 0.7:
            return request(Command.WORK_EXCEPTION, handle, self.data())
        if chance < 0.8:
            numbers = (b"1", b"50", b"100", b"-5", b"0.5", b"x", b"", b"99999999999", b"-99999999999999999999")
            return request(Command.WORK_STATUS, handle, self.one_of(numbers), self.one_of(numbers))
        return request(self.one_of((Command.WORK_DATA, Command.WORK_WARNING)), handle, self.data())

    # ---- administrators and others --------------------------------------------------------------------------------

    def administer(self, _: Peer) -> bytes:
        chance = self.random()
        function = self.one_of(self.functions)
        if chance < 0.4:
            return b"cancel job " + self.handle() + self.one_of((b"\n", b"\r\n"))
        if chance < 0.6:
            return b"drop function " + self.one_of((function, function.upper(), b"none")) + b"\n"
        if chance < 0.7:
            return b"create function " + function + b"\r\n"
        if chance < 0.9:
            limits = (b"", b" 0", b" 3", b" 1 5", b" 5 5 1", b" 2 x -1", b"  7  ", b" 99999999999999999999")
            return b"maxqueue " + function + self.one_of(limits) + b"\n"
        return self.one_of(LISTS)

    def other_line(self, _: Peer) -> bytes:
        return self.one_of(OTHER_LINES)

    def any_command(self, _: Peer) -> bytes:
        """Any command with the right number of arguments, or about; some as if a server had sent it."""
        command = self.one_of(list(Command))
        words = (self.one_of(self.functions), self.handle(), b"", b"1", b"all_yours")
        packet = request(command, *(self.one_of(words) for _ in range(self.one_of((0, 1, 1, 2, 3, 4, 5, 8)))))
        return b"\0RES" + packet[4:] if self.random() < 0.2 else packet

# SPDX-License-Identifier: BSD-3-Clause
"""A worker of a chaos run, speaking packets: several grabs and jobs at a time, with and without all_yours.

History: conn N KIND; grab N HANDLE FUNCTION REQUEST; final N HANDLE WHAT DATA; fence N HANDLE ACCEPTED; closed N;
stray N TEXT. Around the last packet of each job go two echoes, so that an ERROR between them is the answer to it.
"""

from __future__ import annotations

import heapq
import random
import time

from gearfast._codec import Packet
from gearfast.protocol import Command

from .link import (
    PLAIN,
    RARE,
    TIMED,
    TIMEOUT_MS,
    History,
    Link,
    Lost,
    Orders,
    Route,
    make_answer,
    pick,
    read_setup,
    read_workload,
    text,
)

GRABS = (Command.GRAB_JOB, Command.GRAB_JOB_UNIQ, Command.GRAB_JOB_ALL)
ASSIGNED = (Command.JOB_ASSIGN, Command.JOB_ASSIGN_UNIQ, Command.JOB_ASSIGN_ALL)
DELAY = {"slow": (0.02, 0.4), "stall": (1.2, 1.8)}


class Worker:
    def __init__(self, choices: random.Random, history: History, name: str) -> None:
        self.choices = choices
        self.history = history
        self.name = name
        self.conn = 0
        self.nonce = 0
        self.link: Link | None = None
        self.raging = True
        self.credits = choices.choice((1, 1, 2, 4, 16))
        self.all_yours = choices.random() < 0.4
        # Half of the workers serve everything, so that each function has somebody.
        number = int(name[1:].split(".")[0])
        self.functions = PLAIN + TIMED if number % 2 == 0 else tuple(choices.sample(PLAIN + TIMED, 3))

    def connect(self, route: Route) -> None:
        self.link = Link(route)
        self.conn += 1
        self.grabs = 0  # without an answer
        self.asleep = False
        self.jobs: list[tuple[float, int, bytes, str, str]] = []  # due, number, handle, request, behaviour
        self.between = b""  # the handle whose last packet is being answered
        self.refused = False
        self.rare = False
        self.withdrawn_until = 0.0
        self.history.write("conn", self.conn, route.kind)
        if self.all_yours:
            self.link.send(Command.OPTION_REQ, b"all_yours")
        self.link.send(Command.SET_CLIENT_ID, self.name.encode())
        self.register()

    def register(self) -> None:
        assert self.link is not None
        for function in self.functions:
            if function in TIMED:
                self.link.send(Command.CAN_DO_TIMEOUT, function.encode(), TIMEOUT_MS)
            else:
                self.link.send(Command.CAN_DO, function.encode())
        self.rare = False

    def fill(self) -> None:
        """Grabs for all credits that are free, unless asleep."""
        assert self.link is not None
        while not self.asleep and self.grabs + len(self.jobs) < self.credits:
            self.link.send(self.choices.choice(GRABS))
            self.grabs += 1

    def take(self, packet: Packet | bytes) -> None:
        assert self.link is not None
        if isinstance(packet, bytes):
            self.history.write("stray", self.conn, f"line {packet[:80]!r}")
        elif packet.command in ASSIGNED:
            self.assigned(packet)
        elif packet.command == Command.NO_JOB:
            self.grabs -= 1
            if self.grabs < 0:
                self.history.write("stray", self.conn, "NO_JOB for no grab")
            if self.grabs == 0:
                self.asleep = True
                self.link.send(Command.PRE_SLEEP)
        elif packet.command == Command.NOOP:
            self.asleep = False
        elif packet.command == Command.ECHO_RES:
            self.fenced(packet.args[0])
        elif packet.command == Command.ERROR:
            if packet.args[0] != b"JOB_NOT_FOUND":
                self.history.write("stray", self.conn, f"ERROR {packet.args!r}")
            self.refused = bool(self.between)
        elif packet.command != Command.OPTION_RES:
            self.history.write("stray", self.conn, packet.name)

    def assigned(self, packet: Packet) -> None:
        handle, function, workload = packet.args[0], packet.args[1], packet.args[-1]
        request, behaviour, sound = read_workload(workload)
        self.history.write("grab", self.conn, text(handle), text(function), request)
        if not sound:
            self.history.write("bad", f"{text(handle)}: the workload of {request} is not whole")
        self.grabs -= 1
        if self.grabs < 0:
            self.history.write("stray", self.conn, f"{packet.name} for no grab")
        if behaviour == "vanish" and self.raging and self.choices.random() < 0.5:
            raise Lost("wanted")
        low, high = DELAY.get(behaviour, (0.0, 0.01)) if self.raging else (0.0, 0.01)
        self.nonce += 1
        due = time.monotonic() + self.choices.uniform(low, high)
        heapq.heappush(self.jobs, (due, self.nonce, handle, request, behaviour))

    def fenced(self, data: bytes) -> None:
        if data[:1] == b"<":
            self.between, self.refused = data[1:], False
        elif data[:1] == b">":
            self.history.write("fence", self.conn, text(data[1:]), not self.refused)
            self.between = b""

    def finish(self, handle: bytes, number: int, request: str, behaviour: str) -> None:
        assert self.link is not None
        link = self.link
        size = self.choices.choice((70_000, 100_000, 500_000)) if behaviour == "large" else 0
        answer = make_answer(f"{request}|{self.name}.{number}", size)
        if behaviour == "parts":
            link.send(Command.WORK_STATUS, handle, b"1", b"2")
            link.send(Command.WORK_DATA, handle, b"part of " + answer.encode())
            link.send(Command.WORK_WARNING, handle, b"careful")
        what = behaviour if behaviour in ("fail", "exception") else "complete"
        self.history.write("final", self.conn, text(handle), what, answer[:200])
        link.send(Command.ECHO_REQ, b"<" + handle)
        if what == "fail":
            link.send(Command.WORK_FAIL, handle)
        else:
            link.send(Command.WORK_COMPLETE if what == "complete" else Command.WORK_EXCEPTION, handle, answer.encode())
        link.send(Command.ECHO_REQ, b">" + handle)

    def whims(self) -> None:
        """Now and then: registrations taken back, a rare function, a sleep with grabs in flight."""
        assert self.link is not None
        now = time.monotonic()
        if self.withdrawn_until and (not self.raging or now > self.withdrawn_until):
            self.withdrawn_until = 0.0
            self.register()
        if not self.raging:
            if not self.rare:
                self.rare = True
                for name in RARE:
                    self.link.send(Command.CAN_DO, name.encode())
            return
        if self.rare and self.choices.random() < 0.05:
            self.rare = False
            for name in RARE:
                self.link.send(Command.CANT_DO, name.encode())
        if self.choices.random() > 0.004:
            return
        whim = pick(self.choices, (("cant", 2), ("reset", 1), ("sleep", 1), ("rare", 2)))
        if whim == "cant":
            self.link.send(Command.CANT_DO, self.choices.choice(self.functions).encode())
        elif whim == "reset":
            self.link.send(Command.RESET_ABILITIES)
        elif whim == "sleep":
            # A PRE_SLEEP that meets held grabs gives them back; NOOP or a job may cross it.
            self.link.send(Command.PRE_SLEEP)
        else:
            rare = self.choices.choice(RARE).encode()
            self.link.send(Command.CAN_DO, rare)
            self.link.send(Command.CANT_DO, rare)
        if whim in ("cant", "reset"):
            self.withdrawn_until = now + self.choices.random()

    def turn(self, order: str) -> None:
        """One round of a living connection. Raises Lost."""
        assert self.link is not None
        now = time.monotonic()
        self.raging = order == "g"
        while self.jobs and self.jobs[0][0] <= now:
            _, number, handle, request, behaviour = heapq.heappop(self.jobs)
            self.finish(handle, number, request, behaviour)
        self.whims()
        self.fill()
        wait = max(0.0, min(self.jobs[0][0] - now, 0.1)) if self.jobs else 0.1
        for packet in self.link.poll(wait):
            self.take(packet)

    def lose(self) -> None:
        if self.link is not None:
            self.history.write("closed", self.conn)
            self.link.close(reset=self.choices.random() < 0.3)
            self.link = None


def main() -> None:
    setup, choices, history = read_setup()
    orders = Orders()
    worker = Worker(choices, history, setup.name)
    while (order := orders.look()) != "q":
        try:
            if worker.link is None:
                worker.connect(choices.choice(setup.routes))
            worker.turn(order)
        except Lost:
            worker.lose()
            time.sleep(0.02)
    history.write("end", worker.conn if worker.link is not None else 0)


if __name__ == "__main__":
    main()

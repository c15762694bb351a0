# SPDX-License-Identifier: BSD-3-Clause
"""A client of a chaos run, speaking packets: asks for jobs of all kinds, many at a time, and writes down each answer.

A workload is `REQUEST:BEHAVIOUR:SIZE:PADDING`; a worker's answer is `REQUEST|NONCE`, with the request of the submission
that made the job, and `|SIZE|PADDING` if it is large.

History: conn N KIND EXCEPTIONS; ask REQUEST N FOREGROUND FUNCTION UNIQUE; created REQUEST HANDLE; refused REQUEST CODE;
got N HANDLE WHAT DATA; part N HANDLE; stray N TEXT; closed N; idle N; end N.
"""

from __future__ import annotations

import random
import time
from collections import Counter, deque

from gearfast._codec import Packet
from gearfast.protocol import Command

from .link import (
    PLAIN,
    RARE,
    TIMED,
    History,
    Link,
    Lost,
    Orders,
    Route,
    make_workload,
    pick,
    read_setup,
    text,
    whole_answer,
    words,
)

FOREGROUND = (Command.SUBMIT_JOB, Command.SUBMIT_JOB_HIGH, Command.SUBMIT_JOB_LOW, Command.SUBMIT_REDUCE_JOB)
BACKGROUND = (Command.SUBMIT_JOB_BG, Command.SUBMIT_JOB_HIGH_BG, Command.SUBMIT_JOB_LOW_BG)
ENDINGS = {
    Command.WORK_COMPLETE: "complete",
    Command.WORK_FAIL: "fail",
    Command.WORK_EXCEPTION: "exception",
}
PARTS = (Command.WORK_DATA, Command.WORK_WARNING, Command.WORK_STATUS)
BEHAVIOURS = (
    ("ok", 60),
    ("parts", 12),
    ("fail", 5),
    ("exception", 5),
    ("slow", 12),
    ("stall", 1.5),
    ("vanish", 0.7),
    ("large", 3),
)


class Client:
    def __init__(self, choices: random.Random, history: History, name: str, orders: Orders) -> None:
        self.choices = choices
        self.orders = orders
        self.history = history
        self.name = name
        self.asked = 0
        self.conn = 0
        self.link: Link | None = None
        self.window = choices.choice((1, 2, 8, 32))

    def connect(self, route: Route) -> None:
        self.link = Link(route)
        self.conn += 1
        self.submitted: deque[str] = deque()  # requests without JOB_CREATED, in order
        self.foreground: set[str] = set()
        self.waiting: Counter[str] = Counter()  # foreground requests without an answer, by handle
        self.fence = b""
        self.fence_back = True
        exceptions = self.choices.random() < 0.5
        self.history.write("conn", self.conn, route.kind, exceptions)
        if exceptions:
            self.link.send(Command.OPTION_REQ, b"exceptions")
        if self.choices.random() < 0.3:
            self.link.send(Command.SET_CLIENT_ID, self.name.encode())

    def ask(self) -> None:
        assert self.link is not None
        choices = self.choices
        self.asked += 1
        request = f"{self.name}-{self.asked}"
        function = pick(choices, ((choices.choice(PLAIN), 6), (choices.choice(TIMED), 3), (choices.choice(RARE), 0.2)))
        behaviour = pick(choices, BEHAVIOURS)
        size = pick(choices, ((0, 10), (100, 5), (3000, 2), (70_000, 0.2), (200_000, 0.1), (900_000, 0.03)))
        workload = make_workload(request, behaviour, size)
        unique = pick(choices, (("", 5), (f"u{choices.randrange(40)}", 3), (request, 1)))
        if not unique and choices.random() < 0.1:
            unique = "-"
        foreground = choices.random() < 0.65
        epoch = not foreground and choices.random() < 0.15
        self.history.write("ask", request, self.conn, foreground, function, unique)
        self.submitted.append(request)
        args = [function.encode(), unique.encode()]
        if foreground:
            self.foreground.add(request)
            command = choices.choice(FOREGROUND)
            if command == Command.SUBMIT_REDUCE_JOB:
                args += [choices.choice((b"", b"sum")), b"0"]
        elif epoch:
            command = Command.SUBMIT_JOB_EPOCH
            args.append(b"%d" % (time.time() + choices.choice((-5, 0, 1, 2))))
        else:
            command = choices.choice(BACKGROUND)
        self.link.send(command, *args, workload)
        if choices.random() < 0.03:
            self.link.send(Command.GET_STATUS_UNIQUE, unique.encode())
            self.link.send(Command.GET_STATUS, b"H:none:1")

    def take(self, packet: Packet | bytes) -> None:
        conn, write = self.conn, self.history.write
        if isinstance(packet, bytes):
            write("stray", conn, f"line {packet[:80]!r}")
        elif packet.command == Command.JOB_CREATED:
            self.created(text(packet.args[0]))
        elif packet.command == Command.ERROR:
            request = self.submitted.popleft() if self.submitted else ""
            self.foreground.discard(request)
            write("refused", request, text(packet.args[0]))
        elif packet.command in ENDINGS:
            handle, *data = words(packet)
            write("got", conn, handle, ENDINGS[Command(packet.command)], data[0][:200] if data else "")
            if data and not whole_answer(data[0]):
                write("bad", f"{handle}: the answer {data[0][:200]!r} is not whole")
            if self.waiting[handle] == 0:
                write("stray", conn, f"{packet.name} {handle} that nobody waits for")
            self.waiting[handle] -= 1
            if self.waiting[handle] <= 0:
                del self.waiting[handle]
        elif packet.command in PARTS:
            if self.waiting[text(packet.args[0])] <= 0:
                write("stray", conn, f"{packet.name} {text(packet.args[0])} that nobody waits for")
        elif packet.command == Command.ECHO_RES:
            self.fence_back = packet.args[0] == self.fence
            if not self.fence_back:
                write("stray", conn, f"echo {packet.args[0]!r}")
        elif packet.command not in (Command.STATUS_RES, Command.STATUS_RES_UNIQUE, Command.OPTION_RES):
            write("stray", conn, f"{packet.name}")

    def created(self, handle: str) -> None:
        if not self.submitted:
            self.history.write("stray", self.conn, f"JOB_CREATED {handle} for nothing")
            return
        request = self.submitted.popleft()
        self.history.write("created", request, handle)
        if request in self.foreground:
            self.foreground.discard(request)
            self.waiting[handle] += 1

    def lose(self, *, reset: bool = False) -> None:
        if self.link is not None:
            self.history.write("closed", self.conn)
            self.link.close(reset=reset)
            self.link = None

    @property
    def outstanding(self) -> int:
        return len(self.submitted) + self.waiting.total()

    def tell_idle(self) -> None:
        """All is answered: once a drain, and only after an echo behind it."""
        if self.link is None or self.outstanding or self.orders.idle_told:
            return
        if not self.fence:
            self.fence, self.fence_back = b"fence %d" % time.monotonic_ns(), False
            self.link.send(Command.ECHO_REQ, self.fence)
        elif self.fence_back:
            self.history.write("idle", self.conn)
            self.orders.tell_idle()
            self.fence = b""

    def turn(self, order: str) -> None:
        """One round of a living connection. Raises Lost."""
        assert self.link is not None
        if order == "g":
            self.fence = b""
            while self.outstanding < self.window:
                self.ask()
                if self.choices.random() < 0.2:
                    break
            if self.choices.random() < 0.004:
                self.lose(reset=self.choices.random() < 0.5)
                return
        else:
            self.tell_idle()
        for packet in self.link.poll(0.05 if order == "g" else 0.2):
            self.take(packet)
        if order == "g" and self.choices.random() < 0.3:
            time.sleep(self.choices.random() * 0.06)


def main() -> None:
    setup, choices, history = read_setup()
    orders = Orders()
    client = Client(choices, history, setup.name, orders)
    while (order := orders.look()) != "q":
        try:
            if client.link is None:
                if order == "d" and orders.idle_told:
                    time.sleep(0.05)
                    continue
                client.connect(choices.choice(setup.routes))
            client.turn(order)
        except Lost:
            client.lose()
            time.sleep(0.05)
    history.write("end", client.conn if client.link is not None else 0)


if __name__ == "__main__":
    main()

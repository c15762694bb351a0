# SPDX-License-Identifier: BSD-3-Clause
"""Peers that misbehave, and an administrator that interferes, all in one process.

History: ask as a client's; cancel HANDLE and drop FUNCTION, both before they are sent; limit FUNCTION; bad TEXT: an
answer that cannot be; cut TEXT: a connection that ended early.
"""

from __future__ import annotations

import contextlib
import random
import socket
import ssl
import struct
import time
from collections.abc import Iterator

from gearfast._codec import encode
from gearfast.protocol import Command

from .link import PLAIN, RARE, TIMED, History, Link, Lost, Orders, Route, make_workload, pick, read_setup

MOST = 1_000_000
"""More than that many jobs there cannot be: a counter beyond it went below zero."""
GARBAGE = (
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"\0REQ\0\0\0\x07\xff\xff\xff\xff" + b"x" * 500,
    b"\0REQ\0\0\0\x63\0\0\0\0",
    b"\0RES\0\0\0\x06\0\0\0\0",
    b"\0REQ\0\0\0\x09\0\0\0\x05extra",
    b"\0REQ\0\0\0\x07\0\0\0\x03abc",
    b"\0REX",
    b"status\0\n",
    b"\n\r\n \t\n",
    b"cancel job\ncancel job H:\ncancel job H:x:99999999999999999999999\nmaxqueue\ndrop function\nshow\nshow x y z\n",
    b"shutdown later\nverbose\nworkers x\n" + b"a " * 900 + b"\n",
    encode(Command.WORK_COMPLETE, b"H:nobody:1", b"") + encode(Command.WORK_FAIL, b"") + encode(Command.GRAB_JOB),
)


class Pests:
    def __init__(self, choices: random.Random, history: History, routes: list[Route]) -> None:
        self.choices = choices
        self.history = history
        self.routes = routes
        self.kept: list[tuple[float, socket.socket]] = []
        self.until = 0.0
        self.asked = 0

    def open(self) -> socket.socket:
        route = self.choices.choice(self.routes)
        if route.kind == "unix":
            sock = socket.socket(socket.AF_UNIX)
            sock.settimeout(5)
            sock.connect(route.host)
            return sock
        return socket.create_connection((route.host, route.port), 5)

    def keep(self, sock: socket.socket, seconds: float) -> None:
        self.kept.append((time.monotonic() + seconds, sock))

    def sweep(self, *, all_of_them: bool) -> None:
        now = time.monotonic()
        for until, sock in self.kept:
            if all_of_them or until < now:
                if self.choices.random() < 0.4:
                    with contextlib.suppress(OSError):
                        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                sock.close()
        self.kept = [] if all_of_them else [(until, sock) for until, sock in self.kept if until >= now]

    # Pests

    def storm(self) -> None:
        for _ in range(self.choices.randint(50, 250)):
            sock = self.open()
            if self.choices.random() < 0.3:
                sock.send(encode(Command.ECHO_REQ, b"x"))
            if self.choices.random() < 0.2:
                self.keep(sock, self.choices.uniform(0, 2))
            else:
                sock.close()

    def half_open(self) -> None:
        for _ in range(20):
            sock = self.open()
            whole = encode(Command.SUBMIT_JOB, b"f0", b"", b"w" * 2000)
            sock.send(whole[: self.choices.randrange(len(whole))])
            if self.choices.random() < 0.3:
                sock.shutdown(socket.SHUT_WR)
            self.keep(sock, self.choices.uniform(0.1, 4))

    def deaf(self) -> None:
        """Asks for much and never reads."""
        for _ in range(3):
            sock = self.open()
            sock.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                for _ in range(60):
                    sock.send(encode(Command.ECHO_REQ, b"z" * 100_000))
            with contextlib.suppress(BlockingIOError):
                sock.send(b"status\nworkers\nshow jobs\n" * 50)
            self.keep(sock, self.choices.uniform(1, 6))

    def crowd(self) -> None:
        """Asks for one job hundreds of times, and takes none of the large answers; or for lists, as often."""
        sock = self.open()
        sock.setblocking(False)
        self.asked += 1
        request, function = f"a0-{self.asked}", self.choices.choice(PLAIN)
        self.history.write("ask", request, -1, True, function, request)
        workload = make_workload(request, "large")
        with contextlib.suppress(BlockingIOError):
            if self.choices.random() < 0.5:
                sock.send(encode(Command.SUBMIT_JOB, function.encode(), request.encode(), workload) * 400)
            else:
                sock.send(b"show jobs\nstatus\nshow unique jobs\n" * 3000)
        self.keep(sock, self.choices.uniform(1, 5))

    def deaf_worker(self) -> None:
        """Takes jobs and is never heard of again, asleep or not."""
        sock = self.open()
        function = self.choices.choice(PLAIN + TIMED).encode()
        sock.send(encode(Command.CAN_DO_TIMEOUT, function, b"1000"))
        if self.choices.random() < 0.5:
            sock.send(encode(Command.OPTION_REQ, b"all_yours"))
        sock.send(encode(Command.GRAB_JOB_UNIQ) * self.choices.randint(1, 5))
        if self.choices.random() < 0.3:
            sock.send(encode(Command.PRE_SLEEP))
        self.keep(sock, self.choices.uniform(0.01, 2.5))

    def garbage(self) -> None:
        for _ in range(10):
            sock = self.open()
            if self.choices.random() < 0.3:
                data = self.choices.randbytes(self.choices.randint(1, 3000))
                # Random text must not be a command by chance.
                data = b"\xff" + data
            else:
                data = self.choices.choice(GARBAGE)
            sock.sendall(encode(Command.ECHO_REQ, b"before") + data)
            self.keep(sock, self.choices.uniform(0, 0.5))

    def tls_pest(self) -> None:
        for route in self.routes:
            if route.kind == "tls":
                with contextlib.suppress(ssl.SSLError, Lost):
                    link = Link(route)
                    link.send(Command.ECHO_REQ, b"q" * 50_000)
                    link.poll(0)
                    link.close(reset=True)

    # The administrator

    def ask(self, *commands: str) -> list[list[str]]:
        """Sends text commands in one piece, so that they see one state; the answers' lines."""
        with self.open() as sock, sock.makefile("rb") as replies:
            sock.sendall("".join(f"{command}\n" for command in commands).encode())
            return [list(self.answer(command, replies)) for command in commands]

    def answer(self, command: str, replies: object) -> Iterator[str]:
        is_list = command.startswith(("status", "prioritystatus", "workers", "show"))
        while True:
            line: bytes = replies.readline()  # type: ignore[attr-defined]
            if not line:
                raise EOFError(f"no whole answer to {command!r}")
            if is_list and line == b".\n":
                return
            yield line.decode("latin-1").rstrip("\r\n")
            if not is_list:
                return

    def look(self) -> None:
        """Counters that belong together, from one moment."""
        status, priorities, _ = self.ask("status", "prioritystatus", "workers")
        by_name = {line.split("\t")[0]: [int(word) for word in line.split("\t")[1:]] for line in priorities}
        for line in status:
            name, *counts = line.split("\t")
            total, running, workers = map(int, counts)
            high, normal, low, workers2 = by_name[name]
            if max(total, running, workers, high, normal, low) > MOST or workers != workers2:
                self.history.write("bad", f"{line!r} with {by_name[name]}")
            if total != running + high + normal + low:
                self.history.write("bad", f"{name}: total {total} is not running {running} + {high} + {normal} + {low}")

    def cancel(self) -> None:
        (jobs,) = self.ask("show jobs")
        if jobs:
            handle = self.choices.choice(jobs).split("\t")[0]
            self.history.write("cancel", handle)
            self.ask(f"cancel job {handle}")

    def drop(self) -> None:
        function = self.choices.choice(RARE)
        self.history.write("drop", function)
        self.ask(f"drop function {function}")
        if self.choices.random() < 0.5:
            self.ask(f"create function {function}")

    def limit(self) -> None:
        function = self.choices.choice(PLAIN + RARE)
        self.history.write("limit", function)
        self.ask(f"maxqueue {function} {self.choices.randint(1, 20)}")
        self.until = time.monotonic() + self.choices.uniform(0.1, 1)

    def unlimit(self) -> None:
        self.until = 0.0
        self.ask(*(f"maxqueue {function}" for function in PLAIN + RARE))

    def turn(self) -> None:
        deeds = (
            (self.storm, 1),
            (self.half_open, 1),
            (self.deaf, 0.7),
            (self.crowd, 0.7),
            (self.deaf_worker, 1.5),
            (self.garbage, 2),
            (self.tls_pest, 1),
            (self.look, 6),
            (self.cancel, 1.5),
            (self.drop, 2),
            (self.limit, 0.7),
        )
        pick(self.choices, deeds)()


def main() -> None:
    setup, choices, history = read_setup()
    pests = Pests(choices, history, setup.routes)
    orders = Orders()
    while (order := orders.look()) != "q":
        try:
            pests.sweep(all_of_them=order != "g")
            if pests.until and (order != "g" or time.monotonic() > pests.until):
                pests.unlimit()
            if order == "g":
                pests.turn()
            else:
                pests.look()
        except (OSError, EOFError) as error:
            # A server that is out of order shows elsewhere; what is cut here may be this side's doing.
            history.write("cut", str(error))
        time.sleep(choices.uniform(0, 0.3))


if __name__ == "__main__":
    main()

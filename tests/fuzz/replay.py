# SPDX-License-Identifier: BSD-3-Clause
"""The fuzz targets once more, over the Python faces and without a sanitizer: for the corpus in the tests, and to look
at a failure in a debugger. `targets.pyx` and `program.pyx` say what the inputs mean; keep both alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from gearfast import Decoder, Packet, encode
from gearfast.dispatch import Dispatcher
from gearfast.dispatch._check import check
from gearfast.errors import ProtocolError
from gearfast.protocol import Command

__all__ = ["TARGETS", "Program"]

LIMIT: Final = 70_000
PACKET_LIMIT: Final = 1 << 20
MANY: Final = 127
CHECK_EVERY: Final = 6
SUBMISSIONS: Final = (7, 21, 33, 18, 32, 34, 36, 35, 37, 38)
WORKS: Final = (28, 29, 12, 13, 14, 25)
SIZES: Final = (0, 1, 5, 600)
LARGE_COMMANDS: Final = (16, 7, 18, 21, 13, 28, 25, 29)
CEILINGS: Final = (0, 0, 3000, 300_000)
HIGH_WATER: Final = 200
ROOM: Final = 2048
ORDERS: Final = ("priority", "function", "function-rotate", "priority")
RANKS: Final = {"high": 0, "normal": 1, "low": 2}
PRELUDE: Final = (
    encode(Command.CAN_DO, b"resize")
    + encode(Command.CAN_DO_TIMEOUT, b"mail", b"5000")
    + encode(Command.SET_CLIENT_ID, b"an-id")
    + encode(Command.SUBMIT_JOB_BG, b"resize", b"u1", b"w")
    + encode(Command.SUBMIT_JOB, b"resize", b"", b"x")
    + encode(Command.SUBMIT_JOB_BG, b"mail", b"u2", b"y")
    + 2 * encode(Command.GRAB_JOB)
    + encode(Command.SUBMIT_JOB_HIGH_BG, b"mail", b"", b"z")
)


# decoder


def _decode(chunks: list[bytes]) -> tuple[list[Packet | bytes], bool]:
    decoder = Decoder(LIMIT)
    found: list[Packet | bytes] = []
    for chunk in chunks:
        try:
            found += decoder.receive(chunk)
        except ProtocolError as error:
            found += error.packets
    return found, decoder.failed


def run_decoder(data: bytes) -> None:
    """Whole and cut give the same frames, and a packet survives being encoded. AssertionError otherwise."""
    if len(data) < 3:
        return
    stream = data[2:]
    cut = min(len(stream), data[0] | data[1] << 8)
    whole, failed = _decode([stream])
    assert _decode([stream[:cut], stream[cut:]]) == (whole, failed)
    for packet in whole:
        if isinstance(packet, Packet):
            assert Decoder(LIMIT).receive(packet.encode()) == [packet]


# admin


def _answers(chunks: list[bytes]) -> list[tuple[bytes, bool]]:
    dispatcher = Dispatcher(handle_prefix=b"H", max_packet=LIMIT, version="1", pid=1)
    worker = dispatcher.connect("10.0.0.1", fd=5)
    dispatcher.receive(worker, PRELUDE)
    peer = dispatcher.connect("10.0.0.2", fd=6, admin=True)
    dispatcher.tick(1, 1)
    for chunk in chunks:
        dispatcher.receive(peer, chunk)
        check(dispatcher)
    answers = [(dispatcher.take_output(each), dispatcher.closing(each)) for each in (worker, peer)]
    dispatcher.disconnect(worker)
    dispatcher.disconnect(peer)
    check(dispatcher)
    return answers


def run_admin(data: bytes) -> None:
    """A stream of text and packets is answered alike whole and cut, and leaves the records right."""
    if len(data) < 3:
        return
    stream = data[2:]
    first = data[0] % len(stream)
    second = min(len(stream), first + data[1])
    assert _answers([stream]) == _answers([stream[:first], stream[first:second], stream[second:]])


# dispatcher


class Program:
    """One input of the target `dispatcher`: its first two bytes are settings, the others operations of eight peers."""

    def __init__(self, data: bytes) -> None:
        self.data = data[2:]
        self.at = 0
        self.ids: dict[int, int] = {}
        self.crowd: list[int] = []
        self.cut = 0
        self.gather = 0
        self.gatherer = 0
        self.batch = b""
        self.draining = False
        self.order = ORDERS[data[0] & 3]
        self.high_water = HIGH_WATER if data[1] & 16 else 0
        self.monotonic = 1
        self.wall = 1_700_000_000 * 10**9
        self.dispatcher = Dispatcher(
            handle_prefix=b"H",
            order=self.order,
            wakeup=(0, 0, 1, 2)[data[0] >> 2 & 3],
            exceptions=bool(data[0] & 16),
            admin_writes=not data[0] & 32,
            job_retries=(-1, 0, 1, 3)[data[0] >> 6],
            seed=data[1],
            max_packet=4096 if data[1] & 1 else PACKET_LIMIT,
            max_unsent=300 if data[1] & 2 else 0,
            max_queued=CEILINGS[data[1] >> 2 & 3],
            high_water=HIGH_WATER if data[1] & 16 else 0,
        )
        self.dispatcher.tick(self.monotonic, self.wall)

    def run(self) -> None:
        """Runs to the end, lets all peers leave, and checks on the way. Raises AssertionError for what is wrong."""
        steps = 0
        while self.at < len(self.data):
            operation = self.byte()
            OPERATIONS[operation & 31](self, operation >> 5)
            steps += 1
            if steps % CHECK_EVERY == 0:
                check(self.dispatcher)
        check(self.dispatcher)
        for who in sorted(self.ids):
            self.leave(who)
        self.crowd_leave(0)
        check(self.dispatcher)
        assert self.dispatcher.running_count == 0
        assert self.dispatcher.peer_count == 0
        assert all(job["clients"] == 0 for job in self.dispatcher.jobs())

    # The program's bytes

    def byte(self) -> int:
        self.at += 1
        return self.data[self.at - 1] if self.at <= len(self.data) else 0

    def take(self, most: int = 255) -> bytes:
        size = self.byte() & most
        found = self.data[self.at : self.at + size]
        self.at += len(found)
        return found

    # Peers, names, handles

    def peer(self, who: int) -> int:
        if who not in self.ids:
            admin = True if who == 7 else False if who == 6 else None
            self.ids[who] = self.dispatcher.connect("10.1.1.1", fd=who, admin=admin)
        return self.ids[who]

    def leave(self, who: int) -> None:
        if self.gather and self.gatherer == who:
            self.flush()
        self.dispatcher.disconnect(self.ids.pop(who))

    def flush(self) -> None:
        """What was gathered is sent."""
        batch, self.batch, self.gather = self.batch, b"", 0
        if batch:
            self.dispatcher.receive(self.peer(self.gatherer), batch)

    def send(self, who: int, data: bytes) -> None:
        if self.gather and who == self.gatherer:
            if len(self.batch) + len(data) <= ROOM:
                self.batch += data
                self.gather -= 1
                if not self.gather:
                    self.flush()
                return
            self.flush()
        pieces = [data[: self.cut], data[self.cut :]]
        self.cut = 0
        for piece in filter(None, pieces):
            self.dispatcher.receive(self.peer(who), piece)

    def packet(self, who: int, command: int, *arguments: bytes) -> None:
        body = b"\0".join(arguments)
        self.send(who, b"\0REQ" + command.to_bytes(4, "big") + len(body).to_bytes(4, "big") + body)

    def recent(self) -> bytes:
        """The handle of the job that was submitted so many jobs before the last one as the next byte says."""
        return b"H:%d" % max(self.dispatcher.stats()["submitted"] - self.byte(), 0)

    def own(self, who: int, which: int) -> bytes | None:
        """The handle of one of a worker's running jobs, oldest first."""
        peer = self.peer(who)
        own = [job["number"] for job in self.dispatcher.jobs() if job["worker"] == peer]
        return b"H:%d" % own[which % len(own)] if own else None

    # Operations

    def connect(self, who: int) -> None:
        if who in self.ids:
            self.leave(who)
        else:
            self.peer(who)

    def raw(self, who: int) -> None:
        self.send(who, self.take())

    def line(self, who: int) -> None:
        self.send(who, self.take(63) + b"\n")

    def tick(self, who: int) -> None:
        how = self.byte()
        step = 1 << min(how & 63, 57)
        if self.monotonic < 1 << 61:
            self.monotonic += step
        if how & 64:
            self.wall = max(self.wall - step, 0)
        elif not how & 128 and self.wall < 1 << 61:
            self.wall += step
        assert self.dispatcher.tick(self.monotonic, self.wall) >= -1

    def output(self, who: int) -> None:
        self.dispatcher.take_output(self.peer(who))

    def submit(self, who: int) -> None:
        command = SUBMISSIONS[self.byte() % 10]
        names = self.byte()
        middle: list[bytes] = []
        if command == Command.SUBMIT_JOB_EPOCH:
            middle = [b"%d" % (self.wall // 10**9 + self.byte())]
        elif command == Command.SUBMIT_JOB_SCHED:
            middle = [b"%d" % (self.byte() % 61), b"*", b"*", b"*", b"*"]
        elif command >= Command.SUBMIT_REDUCE_JOB:
            middle = [b"reducer", b"aggregator"]
        self.packet(who, command, function(names), unique(names), *middle, workload(names))

    def best(self, who: int) -> int | None:
        """The priority of the most urgent job that a worker could be given, None if there is none."""
        peer = self.known(who)
        if self.draining or peer["closing"] or peer["partial"] or self.gather:
            return None
        if self.high_water and peer["unsent"] > self.high_water:
            return None
        ready = (job for job in self.dispatcher.jobs() if not job["running"] and not job["ignored"] and not job["due"])
        return min((RANKS[job["priority"]] for job in ready if job["function"] in peer["functions"]), default=None)

    def known(self, who: int) -> dict[str, Any]:
        """What the dispatcher tells about a peer."""
        peer = self.peer(who)
        (found,) = (each for each in self.dispatcher.peers() if each["peer"] == peer)
        return found

    def grab(self, who: int) -> None:
        best = self.best(who)
        mine = self.running(who)
        self.packet(who, (Command.GRAB_JOB, Command.GRAB_JOB_UNIQ, Command.GRAB_JOB_ALL)[self.byte() % 3])
        if best is not None and not self.known(who)["closing"]:
            (given,) = (rank for number, rank in self.running(who).items() if number not in mine)
            assert given == best or self.order != "priority"

    def running(self, who: int) -> dict[int, int]:
        """Numbers and priorities of a worker's jobs."""
        peer = self.peer(who)
        return {job["number"]: RANKS[job["priority"]] for job in self.dispatcher.jobs() if job["worker"] == peer}

    def pre_sleep(self, who: int) -> None:
        best = self.best(who)
        self.packet(who, Command.PRE_SLEEP)
        if best is not None:
            peer = self.known(who)
            assert peer["closing"] or not peer["asleep"]

    def can_do(self, who: int) -> None:
        self.packet(who, Command.CAN_DO, function(self.byte()))

    def cant_do(self, who: int) -> None:
        self.packet(who, Command.CANT_DO, function(self.byte()))

    def can_do_timeout(self, who: int) -> None:
        self.packet(who, Command.CAN_DO_TIMEOUT, function(self.byte()), b"%d" % (250 * self.byte()))

    def reset(self, who: int) -> None:
        self.packet(who, Command.RESET_ABILITIES)

    def work(self, who: int, kind: int, handle: bytes) -> None:
        command = WORKS[kind % 6]
        if command == Command.WORK_STATUS:
            self.packet(who, command, handle, b"1", b"4294967295")
        elif command == Command.WORK_FAIL:
            self.packet(who, command, handle)
        else:
            self.packet(who, command, handle, workload(kind))

    def work_own(self, who: int) -> None:
        kind = self.byte()
        self.work(who, kind, self.own(who, self.byte()) or b"H:0")

    def work_recent(self, who: int) -> None:
        kind = self.byte()
        self.work(who, kind, self.recent())

    def status(self, who: int) -> None:
        self.packet(who, Command.GET_STATUS, self.recent())

    def status_unique(self, who: int) -> None:
        self.packet(who, Command.GET_STATUS_UNIQUE, unique(self.byte()))

    def option(self, who: int) -> None:
        self.packet(who, Command.OPTION_REQ, (b"all_yours", b"exceptions", b"other")[self.byte() % 3])

    def cancel(self, who: int) -> None:
        back = self.byte()
        for i in range(16 if back & 128 else 1):
            number = max(self.dispatcher.stats()["submitted"] - (back & 127) - 3 * i, 0)
            self.send(who, b"cancel job H:%d\n" % number)

    def admin(self, who: int) -> None:
        verb = self.byte() % 8
        names = self.byte()
        name = function(names)
        lines = (b"create function " + name, b"drop function " + name, b"maxqueue %s %d" % (name, names >> 3))
        plain = (b"show jobs", b"show unique jobs", b"workers", b"prioritystatus", b"status")
        self.send(who, (*lines, *plain)[verb] + b"\n")

    def client_id(self, who: int) -> None:
        self.packet(who, Command.SET_CLIENT_ID, self.take())

    def cut_next(self, who: int) -> None:
        count = self.byte()
        if count & 128:
            self.flush()
            self.gather, self.gatherer = 2 + (count & 7), who
        else:
            self.cut = count

    def large(self, who: int) -> None:
        kind = self.byte()
        size = 24576 + 512 * self.byte()
        peer = self.peer(who)
        head = b""
        if kind & 7 in (1, 2, 3):
            head = function(kind) + b"\0" + (b"", b"-", b"large")[(kind & 7) - 1] + b"\0"
        elif kind & 7:
            head = (self.own(who, 0) or b"H:0") + b"\0"
        body = head + bytes(97 + i % 23 for i in range(size))
        packet = b"\0REQ" + LARGE_COMMANDS[kind & 7].to_bytes(4, "big") + len(body).to_bytes(4, "big") + body
        step = 600 if kind & 16 else 5000
        for at in range(0, len(packet), step):
            if kind & 32 and at > len(packet) // 2:
                self.leave(who)
                return
            self.dispatcher.receive(peer, packet[at : at + step])

    def check(self, who: int) -> None:
        if who == 7:
            self.draining = True
            self.dispatcher.drain()
        elif who == 6 and 5 in self.ids:
            self.dispatcher.complete(self.ids[5])
        check(self.dispatcher)

    def any_packet(self, who: int) -> None:
        command = self.byte()
        body = self.take()
        magic = b"\0RES" if command & 128 else b"\0REQ"
        self.send(who, magic + (command & 127).to_bytes(4, "big") + len(body).to_bytes(4, "big") + body)

    def many_can_do(self, who: int) -> None:
        for i in range(self.byte() & MANY):
            self.packet(who, Command.CAN_DO, b"b%d" % i)

    def many_submit(self, who: int) -> None:
        count = self.byte()
        for i in range(count & MANY):
            if count & 128:
                due = b"%d" % (self.wall // 10**9 + 1 + 37 * i % 101)
                self.packet(who, Command.SUBMIT_JOB_EPOCH, b"f0", b"n%d" % i, due, b"w")
            else:
                self.packet(who, Command.SUBMIT_JOB_BG, b"f0", b"n%d" % i, b"w")

    def many_functions(self, who: int) -> None:
        for i in range(self.byte() & MANY):
            self.packet(who, Command.SUBMIT_JOB_LOW if i & 1 else Command.SUBMIT_JOB_HIGH, b"b%d" % i, b"", b"w")

    def many_grab(self, who: int) -> None:
        for _ in range(self.byte() & MANY):
            self.packet(who, Command.GRAB_JOB_ALL)

    def many_complete(self, who: int) -> None:
        for _ in range(self.byte() & MANY):
            handle = self.own(who, 0)
            if handle is None:
                break
            self.packet(who, Command.WORK_COMPLETE, handle, b"r")

    def grow_crowd(self, who: int) -> None:
        for i in range(self.byte() & MANY):
            if len(self.crowd) == 256:
                break
            self.crowd.append(self.dispatcher.connect())
            self.dispatcher.receive(self.crowd[-1], encode(Command.CAN_DO, function(i)) + encode(Command.PRE_SLEEP))

    def crowd_leave(self, who: int) -> None:
        for peer in self.crowd:
            self.dispatcher.disconnect(peer)
        self.crowd.clear()

    def drain(self, who: int) -> None:
        """Bytes of output cannot be taken one by one over this face, so all of them are."""
        peer = self.peer(who)
        self.dispatcher.take_dirty()
        if self.byte():
            self.dispatcher.take_output(peer)


def function(names: int) -> bytes:
    return b"f%d" % (names & 7)


def unique(names: int) -> bytes:
    number = names >> 3 & 7
    return (b"", b"-")[number] if number < 2 else b"u%d" % number


def workload(names: int) -> bytes:
    return b"w" * SIZES[names >> 6 & 3]


# By the low five bits of an operation's byte.
OPERATIONS: Final[tuple[Callable[[Program, int], None], ...]] = (
    Program.connect,
    Program.raw,
    Program.line,
    Program.tick,
    Program.output,
    Program.submit,
    Program.grab,
    Program.pre_sleep,
    Program.can_do,
    Program.cant_do,
    Program.can_do_timeout,
    Program.reset,
    Program.work_own,
    Program.work_recent,
    Program.status,
    Program.status_unique,
    Program.option,
    Program.cancel,
    Program.admin,
    Program.client_id,
    Program.cut_next,
    Program.large,
    Program.check,
    Program.any_packet,
    Program.many_can_do,
    Program.many_submit,
    Program.many_functions,
    Program.many_grab,
    Program.many_complete,
    Program.grow_crowd,
    Program.crowd_leave,
    Program.drain,
)


def run_dispatcher(data: bytes) -> None:
    """Runs one program; see Program.run."""
    if len(data) >= 2:
        Program(data).run()


TARGETS: Final[dict[str, Callable[[bytes], None]]] = {
    "decoder": run_decoder,
    "admin": run_admin,
    "dispatcher": run_dispatcher,
}

# SPDX-License-Identifier: BSD-3-Clause
"""The language of the byte scripts: a `Wire` with named peers around one dispatcher.

    wire = Wire(order="priority")
    worker = wire.worker("w", b"resize")             # connected, and CAN_DO sent
    client = wire.peer("c")
    client.send(Q.SUBMIT_JOB(b"resize", b"", b"photo"))
    client.expect(R.JOB_CREATED(b"H:local:1"))       # all that came, byte for byte
    worker.send(Q.GRAB_JOB()).expect(R.JOB_ASSIGN(b"H:local:1", b"resize", b"photo"))

`Q` builds packets with the magic of requests, `R` with that of responses, from `gearfast.protocol`'s table alone: the
codec is under test too and must not vouch for itself. Bytes that no `expect` asked for fail the script at its end.

The same script can be fed in three ways (`FEEDS`): each `send` whole; byte by byte; or in one piece between two
ECHO_REQs, whose answers must then enclose what the `send` itself brought about.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from gearfast import protocol
from gearfast.dispatch import Dispatcher
from gearfast.dispatch._check import check

FEEDS: Final = ("whole", "bytewise", "pipelined")
PREFIX: Final = b"H:local"
START_MONOTONIC: Final = 5_000 * 10**9
START_WALL: Final = 1_767_225_600  # 2026-01-01 00:00:00 UTC, a Thursday
_BEFORE: Final = b"<pipelined before>"
_AFTER: Final = b"<pipelined behind>"


class Builder:
    """Packets by name: `Q.SUBMIT_JOB(b"f", b"", b"data")`. `raw` builds those that the table would not allow."""

    def __init__(self, magic: bytes) -> None:
        self.magic = magic

    def raw(self, number: int, body: bytes = b"") -> bytes:
        return self.magic + struct.pack(">II", number, len(body)) + body

    def __getattr__(self, name: str) -> Callable[..., bytes]:
        spec = protocol.COMMANDS[protocol.Command[name] - 1]

        def build(*args: bytes) -> bytes:
            if len(args) != len(spec.fields):
                raise TypeError(f"{name} takes {spec.fields}, got {args!r}")
            return self.raw(spec.command, b"\0".join(args))

        return build


Q: Final = Builder(protocol.MAGIC_REQUEST)
R: Final = Builder(protocol.MAGIC_RESPONSE)


def error(code: bytes, text: bytes) -> bytes:
    """The ERROR packet."""
    return R.ERROR(code, text)


NOT_FOUND: Final = error(b"JOB_NOT_FOUND", b"Job given in work result not found")
TOO_LARGE: Final = error(b"ARGUMENT_TOO_LARGE", b"Unique value too large")
NOT_EXPECTED: Final = error(b"INVALID_COMMAND", b"Command not expected")
QUEUE_FULL: Final = error(b"QUEUE_ERROR", b"Job queue is full")


def handle(number: int) -> bytes:
    """The handle of the job with this number."""
    return b"%s:%d" % (PREFIX, number)


class Seen(NamedTuple):
    """One thing that a peer received: a packet, or a line of text (name `text`, its bytes with the line's end)."""

    name: str
    args: tuple[bytes, ...]

    def __str__(self) -> str:
        shown = ", ".join(repr(a) if len(a) <= 80 else f"{a[:40]!r}… {len(a)} bytes" for a in self.args)
        return f"{self.name}({shown})"


def split(stream: bytes) -> list[Seen]:
    """What a peer received, taken apart; bytes that are neither packet nor line become one `rest`."""
    seen: list[Seen] = []
    while stream:
        if stream[:1] != b"\0":
            line, newline, stream = stream.partition(b"\n")
            seen.append(Seen("text", (line + newline,)))
            continue
        if len(stream) < protocol.HEADER_SIZE:
            return [*seen, Seen("rest", (stream,))]
        number, size = struct.unpack(">II", stream[4:12])
        body, known = stream[12 : 12 + size], 1 <= number <= len(protocol.COMMANDS)
        if len(body) < size or not known or stream[:4] != protocol.MAGIC_RESPONSE:
            return [*seen, Seen("rest", (stream,))]
        spec = protocol.COMMANDS[number - 1]
        count = len(spec.fields)
        seen.append(Seen(spec.command.name, tuple(body.split(b"\0", count - 1)) if count else (body,) if body else ()))
        stream = stream[12 + size :]
    return seen


def show(stream: bytes) -> str:
    """`split`, as text for people."""
    return "\n    ".join(str(s) for s in split(stream)) or "(nothing)"


class Peer:
    """One connection of a script. `unread` holds what the dispatcher sent and no `expect` has taken yet."""

    def __init__(self, wire: Wire, name: str, peer_id: int) -> None:
        self.wire = wire
        self.name = name
        self.id = peer_id
        self.unread = b""
        self.closed = False

    def __repr__(self) -> str:
        return f"<{self.name}>"

    def send(self, *packets: bytes) -> Peer:
        """Sends complete packets or lines in the wire's way of feeding."""
        data = b"".join(packets)
        if self.wire.feed == "pipelined":
            self._send_pipelined(data)
        elif self.wire.feed == "bytewise":
            for at in range(len(data)):
                if not self.closed:
                    self.wire.receive(self, data[at : at + 1])
        else:
            self.wire.receive(self, data)
        return self

    def send_raw(self, data: bytes) -> Peer:
        """Sends bytes as one read, whatever the wire's way of feeding: for halves of packets."""
        self.wire.receive(self, data)
        return self

    def _send_pipelined(self, data: bytes) -> None:
        earlier, self.unread = self.unread, b""
        self.wire.receive(self, Q.ECHO_REQ(_BEFORE) + data + Q.ECHO_REQ(_AFTER))
        got, before, after = self.unread, R.ECHO_RES(_BEFORE), R.ECHO_RES(_AFTER)
        assert got.startswith(before), f"{self}: the packet before got no answer first:\n    {show(got)}"
        got = got[len(before) :]
        if not self.closed:
            assert got.endswith(after), f"{self}: the packet behind got no answer last:\n    {show(got)}"
            got = got[: -len(after)]
        self.unread = earlier + got

    def take(self) -> bytes:
        """All that came and was not yet read."""
        got, self.unread = self.unread, b""
        return got

    def expect(self, *packets: bytes) -> Peer:
        """Exactly these packets or lines came since the last look, in this order, and the connection is open."""
        self._compare(b"".join(packets))
        assert not self.closed, f"{self} was closed"
        return self

    def expect_nothing(self) -> Peer:
        """Nothing came."""
        return self.expect()

    def expect_closed(self, *packets: bytes) -> None:
        """Exactly these packets came, then the dispatcher had the connection closed."""
        self._compare(b"".join(packets))
        assert self.closed, f"{self} was not closed"

    def _compare(self, wanted: bytes) -> None:
        got = self.take()
        assert got == wanted, f"{self} got\n    {show(got)}\n  instead of\n    {show(wanted)}\n  {got!r}\n  {wanted!r}"

    def seen(self) -> list[Seen]:
        """All that came and was not yet read, taken apart."""
        return split(self.take())

    def one(self, name: str) -> tuple[bytes, ...]:
        """The arguments of the one packet that came, which is `name`."""
        seen = self.seen()
        assert [s.name for s in seen] == [name], f"{self} got {[str(s) for s in seen]} instead of one {name}"
        return seen[0].args

    def refused(self, code: bytes) -> None:
        """One ERROR came, with this code and some text."""
        got, text = self.one("ERROR")
        assert got == code and text, (got, text)
        assert not self.closed

    def submit(self, function: bytes, data: bytes = b"", unique: bytes = b"", kind: str = "SUBMIT_JOB") -> bytes:
        """Submits, expects JOB_CREATED alone, and returns the handle."""
        self.send(getattr(Q, kind)(function, unique, data))
        return self.one("JOB_CREATED")[0]

    def submit_at(self, function: bytes, when: int, data: bytes = b"", unique: bytes = b"") -> bytes:
        """The same with SUBMIT_JOB_EPOCH."""
        self.send(Q.SUBMIT_JOB_EPOCH(function, unique, b"%d" % when, data))
        return self.one("JOB_CREATED")[0]

    def grab(self) -> bytes | None:
        """Grabs, expects JOB_ASSIGN or NO_JOB alone, and returns the workload or None."""
        self.send(Q.GRAB_JOB())
        seen = self.seen()
        assert len(seen) == 1 and seen[0].name in ("JOB_ASSIGN", "NO_JOB"), f"{self} got {[str(s) for s in seen]}"
        return seen[0].args[2] if seen[0].name == "JOB_ASSIGN" else None

    def grab_all(self, limit: int = 1000) -> list[bytes]:
        """Grabs until NO_JOB; the workloads in their order."""
        got: list[bytes] = []
        while len(got) < limit and (data := self.grab()) is not None:
            got.append(data)
        return got

    def known(self, job: bytes) -> tuple[bytes, ...]:
        """GET_STATUS: the four words behind the handle."""
        self.send(Q.GET_STATUS(job))
        args = self.one("STATUS_RES")
        assert args[0] == job
        return args[1:]

    def table(self, line: bytes) -> list[bytes]:
        """Sends a text command that is answered by a list; its lines, sorted, without the last dot."""
        self.send(line + b"\n")
        got = self.take()
        assert got == b".\n" or got.endswith(b"\n.\n"), f"{self}: no list:\n    {show(got)}"
        return sorted(got[:-2].split(b"\n")[:-1]) if got != b".\n" else []

    def status_of(self, function: bytes) -> tuple[int, int, int] | None:
        """TOTAL, RUNNING and WORKERS of a function by the text command `status`; None if it is not listed."""
        rows = [line.split(b"\t") for line in self.table(b"status")]
        found = [tuple(int(n) for n in row[1:]) for row in rows if row[0] == function]
        assert len(found) <= 1, rows
        return (found[0][0], found[0][1], found[0][2]) if found else None

    def sleep(self) -> Peer:
        """PRE_SLEEP, which finds nothing to do."""
        return self.send(Q.PRE_SLEEP()).expect_nothing()

    def leave(self) -> None:
        """The connection ends from its far side."""
        if not self.closed:
            self.closed = True
            self.wire.everyone.remove(self)
            self.wire.end(self)


class Wire:
    """A dispatcher, its peers, and its clock. `feed`: one of FEEDS; the rest goes to the dispatcher."""

    def __init__(self, feed: str = "whole", **settings: Any) -> None:
        self.feed = feed
        self.monotonic = START_MONOTONIC
        self.wall = START_WALL * 10**9
        self.dispatcher = Dispatcher(**{"handle_prefix": PREFIX, "version": "9.8.7", "pid": 4321, **settings})
        self.peers: dict[int, Peer] = {}
        self.everyone: list[Peer] = []
        self.tick()

    def peer(self, name: str, address: str = "127.0.0.1", **more: Any) -> Peer:
        """A new connection that has said nothing yet."""
        peer = Peer(self, name, self.dispatcher.connect(address, **more))
        assert peer.id not in self.peers, "two connections with one id"
        self.peers[peer.id] = peer
        self.everyone.append(peer)
        return peer

    def worker(self, name: str, *functions: bytes) -> Peer:
        """A connection that can do these functions."""
        return self.peer(name).send(*(Q.CAN_DO(f) for f in functions)).expect_nothing()

    def sleeper(self, name: str, *functions: bytes) -> Peer:
        """The same, asleep."""
        return self.worker(name, *functions).sleep()

    def receive(self, peer: Peer, data: bytes) -> None:
        """One read of one connection."""
        if peer.closed:
            return
        goes_on = self.dispatcher.receive(peer.id, data)
        self._collect()
        assert goes_on is not peer.closed, "receive() and closing() disagree"

    def end(self, peer: Peer) -> None:
        """The connection is gone."""
        del self.peers[peer.id]
        self.dispatcher.disconnect(peer.id)
        self._collect()

    def tick(self) -> int:
        """Runs what is due; nanoseconds until the next deadline, -1 if there is none."""
        wait = self.dispatcher.tick(self.monotonic, self.wall)
        self._collect()
        return wait

    def pass_time(self, seconds: float) -> int:
        """Both clocks go on by this much in one step; then as `tick`."""
        self.monotonic += round(seconds * 10**9)
        self.wall += round(seconds * 10**9)
        return self.tick()

    def pass_to_deadline(self, most: float) -> float:
        """Goes on from deadline to deadline, as a driver does, until a peer has output; the seconds that went by."""
        start = self.monotonic
        for _ in range(10_000):
            wait = self.tick()
            if any(p.unread for p in self.peers.values()):
                break
            assert wait >= 0, "no deadline, and yet nothing came"
            self.pass_time(max(wait, 1) / 10**9)
            assert self.monotonic - start <= most * 10**9, "nothing came in time"
        else:
            raise AssertionError("deadlines that bring nothing about")
        return (self.monotonic - start) / 10**9

    def _collect(self) -> None:
        """Takes the output of all peers that the dispatcher named; closes those that it wants closed."""
        dirty = self.dispatcher.take_dirty()
        assert len(dirty) == len(set(dirty)), f"a peer twice in take_dirty(): {dirty}"
        for peer_id in dirty:
            peer = self.peers.get(peer_id)
            if peer is None:
                continue
            peer.unread += self.dispatcher.take_output(peer_id)
            if self.dispatcher.closing(peer_id):
                peer.closed = True
                self.end(peer)
        for peer_id in list(self.peers):
            assert self.dispatcher.take_output(peer_id) == b"", "output of a peer that take_dirty() did not name"

    def sound(self) -> None:
        """The dispatcher's records agree with each other."""
        check(self.dispatcher)

    def silent(self) -> None:
        """Nobody got anything that was not read."""
        left = {p.name: show(p.unread) for p in self.everyone if p.unread}
        assert not left, "nobody asked for\n  " + "\n  ".join(f"{n}: {t}" for n, t in left.items())

# SPDX-License-Identifier: BSD-3-Clause
"""The whole model: connections, their bytes, and what a phase (some reads, then all output taken) brought them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import dropwhile
from typing import Any, Final

from .doubt import Doubts, copy_of
from .frames import Fault, Frame, read
from .lines import Lines
from .records import Open, Peer, Wrong
from .rules import NOOP

FIXED: Final = ("commands", "verbs", "doubts")  # what a phase does not change


def unfinished(data: bytes, at: int, max_packet: int) -> bool:
    """Whether what is at `at` may still become a frame."""
    try:
        return read(data, at, max_packet) is None
    except Fault:
        return False


class Model(Lines):
    """Does what the dispatcher has done; raises Wrong where that was not right."""

    def connect(self, name: int, admin: bool | None) -> None:
        self.counts["connected"] += 1
        self.peers[name] = Peer(name, admin)

    def receive(self, name: int, data: bytes, left: int = 0) -> None:
        """One read of a connection. `left`: so many bytes did the dispatcher leave to its next tick."""
        peer = self.peers[name]
        self.begin_turn(name)
        if peer.closing:
            return
        self.counts["received"] += len(data)
        if peer.partial:
            self.meet("a frame in several reads")
        peer.partial += data
        if not peer.full and not peer.paused:
            self.go_on(peer, left)

    def go_on(self, peer: Peer, left: int = 0, high_water: int | None = None) -> None:
        """Does whole frames until none is there, until the peer has to take output first, or up to the last `left`."""
        data = peer.partial
        at = frames = 0
        if high_water is None:
            high_water = self.high_water
        try:
            while not peer.closing:
                if high_water and peer.unsent > high_water and at < len(data):
                    self.meet("frames wait until output is taken")
                    peer.may_wait = False
                    peer.full = True
                    break
                if 0 < len(data) - at <= left and (at or peer.may_wait):
                    self.pause(peer, unfinished(data, at, self.max_packet))
                    break
                found = read(data, at, self.max_packet)
                if found is None:
                    break
                item, at = found
                frames += 1
                peer.may_wait = False
                if isinstance(item, Frame):
                    self.do_packet(peer, item)
                else:
                    self.counts["lines"] += 1
                    self.do_line(peer, item)
        except Fault as fault:
            self.met[f"closed: {fault}"] += 1
            self.counts["faults"] += 1
            self.close(peer)
        if frames > 1:
            self.meet("several frames in one read")
        peer.partial = b"" if peer.closing else data[at:]

    def pause(self, peer: Peer, perhaps: bool = False) -> None:
        """Its frames wait for the next tick. `perhaps`: it has no whole one, so whether it waits cannot be seen."""
        if not perhaps:
            self.meet("frames wait for the next tick")
        if not peer.may_wait:
            self.paused.pop(peer.name, None)
            self.paused[peer.name] = None
        peer.full = False
        peer.may_wait = perhaps
        peer.paused = not perhaps

    def taken(self, names: list[int]) -> None:
        """Their output was taken, in this order: who was full may go on with the next tick."""
        for name in names:
            if self.peers[name].full:
                self.pause(self.peers[name])

    def complete(self, name: int) -> None:
        """It sends no more: its frames wait for nothing."""
        peer = self.peers[name]
        if (peer.full or peer.paused) and not peer.closing:
            self.meet("frames done at the end of input")
            self.paused.pop(name, None)
            peer.full = peer.paused = peer.may_wait = False
            self.go_on(peer, high_water=0)

    def tick(self, now: int, wall: int, wait: int, pending: bool = False, left: dict[int, int] | None = None) -> None:
        """Frames that waited for it go on first. `left`: as for `receive`, by peer; `pending`: some wait again."""
        self.now, self.wall = now, wall
        waiting, self.paused = self.paused, {}
        not_reached = {}
        for name in waiting:
            peer = self.peers[name]
            self.begin_turn(name)
            full = self.high_water and peer.unsent > self.high_water
            if pending and peer.paused and not full and (left or {}).get(name) == len(peer.partial):
                self.meet("frames wait for one tick more")
                not_reached[name] = waiting[name]
                continue
            if peer.paused and not peer.closing:
                self.meet("frames go on with the next tick")
            goes_on = (peer.paused or peer.may_wait) and not peer.closing
            peer.paused = peer.may_wait = False
            if goes_on:
                self.go_on(peer, (left or {}).get(name, 0))
        self.paused = {**not_reached, **self.paused}
        self.pass_to(now, wall, None if pending else wait)
        if pending and wait:
            raise Wrong(f"tick() returned {wait}, but frames wait for the next")

    def leave(self, name: int) -> None:
        self.paused.pop(name, None)
        super().leave(name)

    def phase(
        self, events: list[tuple[Any, ...]], seen: dict[int, bytes], closing: list[int], audit: Callable[[], None]
    ) -> None:
        """Does all that was done since output was last taken. Where it is not clear by what a sleeper got its NOOP, any
        explanation will do in which every byte comes right and `audit` finds the peers as they are.
        """
        turns = [name for event in events for name in self.turns_in(event)]
        self.doubts = Doubts()
        before = self.state() if self.may_doubt(turns, seen) else None
        failure: Exception | None = None
        while True:
            try:
                self.begin(seen, closing)
                self.turns = Counter(turns)
                for event in events:
                    getattr(self, event[0])(*event[1:])
                self.end(closing)
                if self.doubts.answers:
                    audit()
                return
            except (Wrong, Open) as found:
                failure = found if failure is None or isinstance(found, Open) else failure
            if before is None or not self.doubts.turn():
                if self.guessed and isinstance(failure, Wrong):
                    raise Open(f"several gates may have opened in another order: {failure}") from None
                raise failure
            self.restore(before)

    def turns_in(self, event: tuple[Any, ...]) -> list[int]:
        """Whose frames it does, in this order."""
        return [event[1]] if event[0] == "receive" else list(self.paused) if event[0] == "tick" else []

    def begin_turn(self, name: int) -> None:
        self.turns[name] -= 1
        self.beliefs.pop(name, None)

    def may_doubt(self, turns: list[int], seen: dict[int, bytes]) -> bool:
        """Whether anybody who got a NOOP has a turn after another peer's."""
        return any(NOOP in seen.get(name, b"") for name in dropwhile(lambda name: name == turns[0], turns))

    def state(self) -> dict[str, Any]:
        return copy_of({name: value for name, value in vars(self).items() if name not in FIXED})

    def restore(self, before: dict[str, Any]) -> None:
        met = self.met
        vars(self).update(copy_of(before))
        met.update(self.met)
        self.met = met  # which others look at

    def begin(self, seen: dict[int, bytes], closing: list[int]) -> None:
        """A phase: what the peers got in it, and who is to be closed now."""
        self.wakes.clear()
        self.ended.clear()
        self.guessed = False
        for name, peer in self.peers.items():
            peer.unsent = peer.at = 0
            peer.seen = seen.get(name, b"")
            peer.hidden = bool(self.max_unsent) and name in closing and not peer.seen

    def end(self, closing: list[int]) -> None:
        """All that the peers got has been said, and who is to be closed is."""
        self.check_wakes()
        for name, peer in self.peers.items():
            if peer.at != len(peer.seen):
                if not peer.cut_off:
                    raise Wrong(f"peer {name} got {peer.seen[peer.at :]!r} for nothing")
                raise Wrong(f"peer {name} got {peer.seen!r}, but was to be cut off")
            if peer.hidden and peer.unsent and not peer.cut_off:
                raise Wrong(f"peer {name} was closed without what it was told")
            if peer.closing != (name in closing):
                raise Wrong(f"peer {name} is {'not ' if peer.closing else ''}closed")

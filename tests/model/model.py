# SPDX-License-Identifier: BSD-3-Clause
"""The whole model: connections, their bytes, and what a phase (some reads, then all output taken) brought them."""

from __future__ import annotations

from .frames import Fault, Frame, read
from .lines import Lines
from .records import Peer, Wrong


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

    def begin(self, seen: dict[int, bytes], closing: list[int]) -> None:
        """A phase: what the peers got in it, and who is to be closed now."""
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

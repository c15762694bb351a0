# SPDX-License-Identifier: BSD-3-Clause
"""The whole model: connections, their bytes, and what a phase (some reads, then all output taken) brought them."""

from __future__ import annotations

from .frames import Fault, Frame, read
from .lines import Lines
from .records import Peer, Wrong


class Model(Lines):
    """Does what the dispatcher has done; raises Wrong where that was not right."""

    def connect(self, name: int, admin: bool | None) -> None:
        self.counts["connected"] += 1
        self.peers[name] = Peer(name, admin)

    def receive(self, name: int, data: bytes) -> None:
        """One read of a connection."""
        peer = self.peers[name]
        if peer.closing:
            return
        if peer.partial:
            self.meet("a frame in several reads")
            data = peer.partial + data
        at = 0
        frames = 0
        try:
            while not peer.closing and (found := read(data, at, self.max_packet)) is not None:
                item, at = found
                frames += 1
                if isinstance(item, Frame):
                    self.do_packet(peer, item)
                else:
                    self.do_line(peer, item)
        except Fault as fault:
            self.met[f"closed: {fault}"] += 1
            self.close(peer)
        if frames > 1:
            self.meet("several frames in one read")
        peer.partial = b"" if peer.closing else data[at:]

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

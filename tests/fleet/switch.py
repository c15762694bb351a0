# SPDX-License-Identifier: BSD-3-Clause
"""Carries packets between namespaces: it has their tun devices, and may delay or lose what goes from one to another.

    python -m tests.fleet.switch FD …        device N is that of 10.78.0.(N + 1)

On stdin are lines of JSON: from, to, and what is to happen to packets from now on; each is answered by a line. This
takes no module of the kernel but tun, where netem may be missing.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import json
import os
import random
import select
import sys
import time
from dataclasses import dataclass

__all__ = ["NET", "Way", "make_device"]

NET = "10.78.0."
LARGEST = 65536
_TUNSETIFF = 0x400454CA
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000


@dataclass(frozen=True)
class Way:
    """From one namespace to another. `delay`: seconds; `loss`: share of packets."""

    cut: bool = False
    delay: float = 0.0
    loss: float = 0.0


def make_device(name: str) -> int:
    """A tun device in the namespace of this thread: its descriptor."""
    import fcntl
    import struct

    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(fd, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TUN | _IFF_NO_PI))
    return fd


class Switch:
    """`devices`: by the last byte of their addresses."""

    def __init__(self, devices: dict[int, int]) -> None:
        self.devices = devices
        self.ways: dict[tuple[int, int], Way] = {}
        self.late: list[tuple[float, int, int, bytes]] = []
        self.order = itertools.count()
        self.rng = random.Random(1)

    def packet(self, packet: bytes) -> None:
        """One of IPv4; all others go nowhere."""
        if len(packet) < 20 or packet[0] >> 4 != 4 or packet[19] not in self.devices:
            return
        way = self.ways.get((packet[15], packet[19]))
        if way is None:
            self.out(packet[19], packet)
        elif not way.cut and self.rng.random() >= way.loss:
            heapq.heappush(self.late, (time.monotonic() + way.delay, next(self.order), packet[19], packet))

    def out(self, to: int, packet: bytes) -> None:
        """A device that is down, or full, loses it."""
        with contextlib.suppress(OSError):
            os.write(self.devices[to], packet)

    def deliver(self) -> float | None:
        """What is due; seconds until more is."""
        now = time.monotonic()
        while self.late and self.late[0][0] <= now:
            _, _, to, packet = heapq.heappop(self.late)
            self.out(to, packet)
        return max(self.late[0][0] - now, 0) if self.late else None

    def order_line(self, line: str) -> None:
        """One that came by stdin. What is under way arrives, unless its way was cut."""
        source, to, cut, delay, loss = json.loads(line)
        self.ways[(source, to)] = way = Way(cut, delay, loss)
        if way.cut:
            self.late = [item for item in self.late if (item[3][15], item[2]) != (source, to)]
            heapq.heapify(self.late)
        elif way == Way():
            del self.ways[(source, to)]

    def run(self) -> None:
        """Until stdin ends."""
        poll = select.epoll()
        for fd in (0, *self.devices.values()):
            poll.register(fd, select.EPOLLIN)
        wait = self.deliver()
        rest = b""
        while True:
            for fd, _ in poll.poll(wait):
                if fd:
                    with contextlib.suppress(OSError):
                        for _ in range(64):
                            self.packet(os.read(fd, LARGEST))
                    continue
                data = os.read(0, LARGEST)
                if not data:
                    return
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    self.order_line(line.decode())
                    os.write(1, b"done\n")
            wait = self.deliver()


if __name__ == "__main__":
    Switch({number: int(fd) for number, fd in enumerate(sys.argv[1:], 1)}).run()

# SPDX-License-Identifier: BSD-3-Clause
"""Network namespaces that all reach each other, by ways each of which can be cut, slowed, made lossy and healed.

A way that is cut loses packets, and nobody is told: only time-outs notice. A namespace that is unplugged notices at
once. What is local to a namespace goes on in both cases. 0 is the database's namespace, the others are job servers'.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from tests.functional import network

from .switch import NET, Way, make_device

__all__ = ["Network", "missing"]

T = TypeVar("T")
ROOT = Path(__file__).resolve().parents[2]
_numbers = itertools.count()


def missing() -> str:
    """What is not here and is needed; empty if nothing is."""
    lacks = network.missing()
    return lacks or ("" if os.access("/dev/net/tun", os.W_OK) else "/dev/net/tun (the kernel's tun devices)")


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}"


class Network:
    """So many namespaces; use it as a context manager."""

    def __init__(self, count: int) -> None:
        base = f"gf{os.getpid()}n{next(_numbers)}"
        self._lock = threading.Lock()
        self.names = [f"{base}.{number}" for number in range(count)]

    def __enter__(self) -> Network:
        devices = []
        try:
            for number, name in enumerate(self.names):
                _ip("netns", "add", name)
                devices.append(network.inside(name, lambda: make_device("wire")))
                _ip("-n", name, "address", "add", f"{self.address(number)}/24", "dev", "wire")
                for link in ("lo", "wire"):
                    _ip("-n", name, "link", "set", link, "up")
            self._switch = subprocess.Popen(
                [sys.executable, "-m", "tests.fleet.switch", *map(str, devices)],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                pass_fds=devices,
            )
        except BaseException:
            self._delete()
            raise
        finally:
            for device in devices:
                os.close(device)
        return self

    def __exit__(self, *error: object) -> None:
        with self._switch:
            self._switch.kill()
        self._delete()

    def _delete(self) -> None:
        for name in self.names:
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)

    @staticmethod
    def address(number: int) -> str:
        """Of a namespace."""
        return f"{NET}{number + 1}"

    def wrap(self, number: int) -> tuple[str, ...]:
        """Runs a command in a namespace, as the same process."""
        return ("nsenter", f"--net=/run/netns/{self.names[number]}")

    def set_way(self, source: int, to: int, way: Way) -> None:
        """What happens to packets of this direction from now on."""
        assert self._switch.stdin is not None and self._switch.stdout is not None
        line = json.dumps([source + 1, to + 1, way.cut, way.delay, way.loss])
        with self._lock:
            self._switch.stdin.write(line.encode() + b"\n")
            self._switch.stdin.flush()
            assert self._switch.stdout.readline() == b"done\n", "the switch has ended"

    def set_ways(self, one: int, other: int, way: Way) -> None:
        """Both directions."""
        self.set_way(one, other, way)
        self.set_way(other, one, way)

    def unplug(self, number: int) -> None:
        """The namespace's interface goes down, which its programs notice."""
        _ip("-n", self.names[number], "link", "set", "wire", "down")

    def plug(self, number: int) -> None:
        """And up again."""
        _ip("-n", self.names[number], "link", "set", "wire", "up")

    def heal(self) -> None:
        """All is as at the beginning."""
        for number in range(len(self.names)):
            self.plug(number)
        for one, other in itertools.combinations(range(len(self.names)), 2):
            self.set_ways(one, other, Way())

    def enter(self, number: int) -> None:
        """The thread that calls is in the namespace from now on; so are the sockets that it makes."""
        network.enter(self.names[number])

    def inside(self, number: int, function: Callable[[], T]) -> T:
        """`function()` in the namespace; the sockets that it makes stay there."""
        return network.inside(self.names[number], function)

    @contextlib.contextmanager
    def cut(self, one: int, other: int) -> Iterator[None]:
        """Both directions, for as long as this lasts."""
        self.set_ways(one, other, Way(cut=True))
        try:
            yield
        finally:
            self.set_ways(one, other, Way())

# SPDX-License-Identifier: BSD-3-Clause
"""Two network namespaces joined by a cable that can be pulled."""

from __future__ import annotations

import ctypes
import itertools
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from .server_tools import LIMIT, eventually

T = TypeVar("T")

_CLONE_NEWNET = 0x40000000
_numbers = itertools.count()


def missing() -> str:
    """What is not here and is needed for network namespaces; empty if nothing is missing."""
    if sys.platform != "linux":
        return "Linux (network namespaces)"
    if os.geteuid() != 0:
        return "root (to make network namespaces)"
    return "" if shutil.which("ip") else "ip (Debian: apt-get install iproute2)"


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}"


class Cable:
    """Namespaces `near` and `far`, joined by a pair of interfaces; use as a context manager."""

    near_address = "10.77.0.1"
    far_address = "10.77.0.2"

    def __init__(self) -> None:
        name = f"gf{os.getpid()}x{next(_numbers)}"
        self.near, self.far = f"{name}a", f"{name}b"

    def __enter__(self) -> Cable:
        for name in (self.near, self.far):
            _ip("netns", "add", name)
            _ip("-n", name, "link", "set", "lo", "up")
        _ip("link", "add", "cable", "netns", self.near, "type", "veth", "peer", "name", "cable", "netns", self.far)
        for name, address in ((self.near, self.near_address), (self.far, self.far_address)):
            _ip("-n", name, "address", "add", f"{address}/24", "dev", "cable")
            _ip("-n", name, "link", "set", "cable", "up")
        return self

    def __exit__(self, *error: object) -> None:
        for name in (self.near, self.far):
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)

    def pull(self, end: str) -> None:
        """Sets the interface of a namespace down: nothing comes through any more, and nobody is told."""
        _ip("-n", end, "link", "set", "cable", "down")

    def connect(self, name: str, port: int, receive_buffer: int = 0) -> socket.socket:
        """A connection from a namespace to the near end's address."""

        def make() -> socket.socket:
            sock = socket.socket()
            if receive_buffer:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            sock.settimeout(LIMIT)
            # A cable is not found to be plugged in at once.
            eventually(lambda: sock.connect_ex((self.near_address, port)) == 0, "the cable carries")
            return sock

        return inside(name, make)


def enter(name: str) -> None:
    """The thread that calls is in the namespace from now on."""
    libc = ctypes.CDLL(None, use_errno=True)
    handle = os.open(Path("/run/netns") / name, os.O_RDONLY)
    try:
        if libc.setns(handle, _CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")
    finally:
        os.close(handle)


def inside(name: str, function: Callable[[], T]) -> T:
    """`function()` in a thread that is in the namespace; the sockets that it makes stay there."""
    found: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            enter(name)
            found.append(function())
        except BaseException as error:  # noqa: BLE001  (it is the caller's)
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return found[0]

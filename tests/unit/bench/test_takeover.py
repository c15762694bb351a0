# SPDX-License-Identifier: BSD-3-Clause
"""When the lease of a server that stands still ends, from what another server says of it."""

from __future__ import annotations

import socket
import sys
import threading
import time

import pytest

if sys.platform != "linux":
    pytest.skip("gearfast bench runs on Linux only", allow_module_level=True)

from gearfast.bench.durable import Link
from gearfast.bench.takeover import lease_end

OTHER = b"2\there\t22\t127.0.0.1:2\t0\t3.000\t0.000\n"
PID = 11


def row(left: float, lag: float) -> bytes:
    return f"1\there\t{PID}\t127.0.0.1:1\t5\t{left:.3f}\t{lag:.3f}\n".encode()


def end_of(tmp_path_factory: pytest.TempPathFactory, *answers: bytes) -> float:
    """How many seconds from now, when the text command `cluster` is answered with these rows, one after the other."""
    path = tmp_path_factory.mktemp("peer") / "s"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def answer() -> None:
            peer, _ = listener.accept()
            with peer:
                for rows in answers:
                    assert peer.recv(100) == b"cluster\n"
                    peer.sendall(rows + OTHER + b".\n")

        thread = threading.Thread(target=answer)
        thread.start()
        link = Link(str(path))
        try:
            return lease_end(link, PID, 3.0) - time.monotonic()
        finally:
            link.sock.close()
            thread.join()


def test_what_counts_is_said_after_it_stands_still(tmp_path_factory: pytest.TempPathFactory) -> None:
    assert end_of(tmp_path_factory, row(2.9, 0.1), row(1000.0, 1.1)) == pytest.approx(1000, abs=500)


def test_it_ended_before_anybody_looked(tmp_path_factory: pytest.TempPathFactory) -> None:
    assert end_of(tmp_path_factory, row(1000.0, 0.1), b"") == pytest.approx(1000, abs=500)

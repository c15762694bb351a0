# SPDX-License-Identifier: BSD-3-Clause
"""Socket options of clients and workers."""

from __future__ import annotations

import socket
import sys

import pytest

from gearfast._sockets import TCP_RTO_MAX_MS, tune

TCP = socket.IPPROTO_TCP


def test_a_connection_is_probed_when_it_is_idle() -> None:
    with socket.socket() as sock:
        tune(sock)
        assert sock.getsockopt(TCP, socket.TCP_NODELAY)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's socket options")
def test_a_lost_server_is_noticed_in_time() -> None:
    with socket.socket() as sock:
        tune(sock)
        names = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
        idle, interval, count = (sock.getsockopt(TCP, name) for name in names)
        assert idle + interval * count == 9
        try:
            longest = sock.getsockopt(TCP, TCP_RTO_MAX_MS)
        except OSError:  # before Linux 6.15
            assert sock.getsockopt(TCP, socket.TCP_USER_TIMEOUT) == 30_000
        else:
            assert longest == 1000
            assert sock.getsockopt(TCP, socket.TCP_USER_TIMEOUT) == 0

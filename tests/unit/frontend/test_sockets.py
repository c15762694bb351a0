# SPDX-License-Identifier: BSD-3-Clause
"""Socket options of clients and workers."""

from __future__ import annotations

import socket
import sys

import pytest

from gearfast.frontend.sockets import TCP_RTO_MAX_MS, alternate, tune

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


@pytest.mark.parametrize(
    ("found", "tried"),
    [
        (["6a", "6b", "6c", "4a", "4b"], ["6a", "4a", "6b", "4b", "6c"]),
        (["4a", "6a", "6b"], ["4a", "6a", "6b"]),
        (["4a", "4b"], ["4a", "4b"]),
        ([], []),
    ],
)
def test_the_families_of_a_names_addresses_take_turns(found: list[str], tried: list[str]) -> None:
    assert alternate(found, lambda address: address[0]) == tried

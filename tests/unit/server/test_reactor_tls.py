# SPDX-License-Identifier: BSD-3-Clause
"""How the reactor bounds handshakes: their number, their time, and what they leave behind."""

from __future__ import annotations

import contextlib
import logging
import socket
import ssl
import sys
from collections.abc import Callable, Iterator

import pytest
import trustme

from gearfast.dispatch import Dispatcher

if sys.platform != "linux":
    pytest.skip("needs Linux (epoll)", allow_module_level=True)

from gearfast.server._reactor import Reactor

TURNS = 2_000
HELLO = b"\x16\x03\x01\x02\x00"  # the first bytes of a record that is not whole


class Door:
    """A reactor with one TLS listener, driven by hand."""

    def __init__(self, context: ssl.SSLContext | None, *, places: int = 0, **settings: float) -> None:
        self.dispatcher = Dispatcher()
        self.reactor = Reactor(self.dispatcher, max_connections=places)
        self.listener = socket.create_server(("127.0.0.1", 0))
        limits = {"handshake_limit": 0.0, **settings}
        self.reactor.add_secure_listener(self.listener, context=lambda: context, **limits)  # type: ignore[arg-type]

    def knock(self, data: bytes = b"") -> socket.socket:
        sock = socket.create_connection(self.listener.getsockname())
        sock.settimeout(20)
        if data:
            sock.sendall(data)
        return sock

    def until(self, done: Callable[[], bool]) -> None:
        """Lets the reactor turn until something is so."""
        for _ in range(TURNS):
            if done():
                return
            self.reactor.select(0.01)
        raise AssertionError("did not come to pass")

    def close(self) -> None:
        self.reactor.close()
        self.listener.close()


@pytest.fixture(scope="module")
def context() -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(made)
    return made


@pytest.fixture
def door(context: ssl.SSLContext) -> Iterator[Door]:
    made = Door(context, most_handshakes=2)
    yield made
    made.close()


def test_silence_begins_no_handshake(door: Door) -> None:
    silent = [door.knock() for _ in range(40)]
    door.until(lambda: door.reactor.handshakes == (40, 0))
    assert door.reactor.peer_count == 0
    for sock in silent:
        sock.close()
    door.until(lambda: door.reactor.handshakes == (0, 0))


def test_a_bounded_number_is_under_way(door: Door, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "gearfast.server")
    first, second, third, fourth = (door.knock(HELLO) for _ in range(4))
    door.until(lambda: door.reactor.handshakes == (4, 2))
    first.close()
    door.until(lambda: door.reactor.handshakes == (3, 2))
    # Nobody leaves: the one that has taken the longest has to, after a while.
    door.until(lambda: door.reactor.handshakes == (2, 2))
    assert any("others wait" in record.getMessage() for record in caplog.records)
    door.until(lambda: second.recv(100) == b"")
    for sock in (third, fourth):
        sock.close()
    door.until(lambda: door.reactor.handshakes == (0, 0))
    second.close()


def test_one_that_waits_for_its_turn_may_leave(door: Door) -> None:
    first, second, third = (door.knock(HELLO) for _ in range(3))
    door.until(lambda: door.reactor.handshakes == (3, 2))
    third.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    third.close()  # by a reset: of an end alone it would learn when its turn has come
    door.until(lambda: door.reactor.handshakes == (2, 2))
    first.close()
    second.close()


def test_time_is_up_for_the_oldest_first(context: ssl.SSLContext, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "gearfast.server")
    door = Door(context, handshake_limit=0.05)
    silent, begun = door.knock(), door.knock(HELLO)
    for sock in (silent, begun):
        ports = f"127.0.0.1:{sock.getsockname()[1]}"
        door.until(lambda ports=ports: any(ports in record.getMessage() for record in caplog.records))  # type: ignore[misc]
        assert sock.recv(100) == b""
        sock.close()
    assert all("longer than 0.05 s" in record.getMessage() for record in caplog.records)
    assert door.reactor.handshakes == (0, 0)
    door.close()


def test_without_a_listener_its_greetings_end(door: Door) -> None:
    silent, begun = door.knock(), door.knock(HELLO)
    door.until(lambda: door.reactor.handshakes == (2, 1))
    door.reactor.remove_listener(door.listener)
    assert door.reactor.handshakes == (0, 0)
    for sock in (silent, begun):
        with contextlib.suppress(ConnectionResetError):  # what it said was not read
            assert sock.recv(100) == b""
        sock.close()


def test_closing_ends_greetings_too(context: ssl.SSLContext) -> None:
    door = Door(context)
    silent = door.knock()
    door.until(lambda: door.reactor.handshakes == (1, 0))
    door.close()
    assert silent.recv(100) == b""
    silent.close()


def test_a_context_that_is_not_there(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever fails in Python is one connection's matter."""
    caplog.set_level(logging.INFO, "gearfast.server")
    door = Door(None)
    knocking = door.knock(HELLO)
    door.until(lambda: door.reactor.handshakes == (0, 0) and bool(caplog.records))
    assert "TLS handshake with 127.0.0.1" in caplog.text
    knocking.close()
    door.close()


def test_an_interruption_reaches_the_caller() -> None:
    """What a signal's handler raises while `ssl` is at work must not be lost."""

    def interrupted() -> ssl.SSLContext:
        raise KeyboardInterrupt

    door = Door(None)
    door.reactor.remove_listener(door.listener)
    door.reactor.add_secure_listener(door.listener, context=interrupted, handshake_limit=0)
    knocking = door.knock(HELLO)
    with pytest.raises(KeyboardInterrupt):
        door.until(lambda: False)
    assert door.reactor.handshakes == (0, 0)
    knocking.close()
    door.close()


def test_the_oldest_that_said_nothing_gives_its_place_to_a_new_one(context: ssl.SSLContext) -> None:
    door = Door(context, places=2)
    begun, silent, late = door.knock(HELLO), door.knock(), door.knock()
    door.until(lambda: door.reactor.handshakes == (2, 1))
    assert silent.recv(100) == b""
    begun.setblocking(False)
    with pytest.raises(BlockingIOError):
        begun.recv(100)
    for sock in (begun, silent, late):
        sock.close()
    door.close()

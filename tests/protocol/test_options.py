# SPDX-License-Identifier: BSD-3-Clause
"""1.2: OPTION_REQ, SET_CLIENT_ID, ECHO_REQ, ALL_YOURS."""

from __future__ import annotations

import pytest

from .script import NOT_EXPECTED, Q, R, Wire, error


@pytest.mark.parametrize("option", [b"exceptions", b"EXCEPTIONS", b"Exceptions", b"exceptions\0", b"exceptions\0more"])
def test_exceptions_is_echoed(wire: Wire, option: bytes) -> None:
    c, w = wire.peer("c"), wire.worker("w", b"f")
    c.send(Q.OPTION_REQ(option)).expect(R.OPTION_RES(option))
    job = c.submit(b"f", b"x")
    assert w.grab() == b"x"
    w.send(Q.WORK_EXCEPTION(job, b"why"))
    c.expect(R.WORK_EXCEPTION(job, b"why"))


def test_unknown_option_sets_nothing(wire: Wire) -> None:
    c, w = wire.peer("c"), wire.worker("w", b"f")
    c.send(Q.OPTION_REQ(b"exceptions ")).expect(error(b"UNKNOWN_OPTION", b"Server does not recognize given option"))
    job = c.submit(b"f", b"x")
    assert w.grab() == b"x"
    w.send(Q.WORK_EXCEPTION(job, b"why"))
    c.expect(R.WORK_FAIL(job))


@pytest.mark.parametrize("data", [b"", b"x", b"\0", b"a\0b", bytes(range(256)) * 200])
def test_echo(wire: Wire, data: bytes) -> None:
    wire.peer("c").send(Q.ECHO_REQ(data)).expect(R.ECHO_RES(data))


def test_all_yours_packet_is_refused(wire: Wire) -> None:
    wire.worker("w", b"f").send(Q.ALL_YOURS()).expect(NOT_EXPECTED)


class TestClientId:
    def workers(self, wire: Wire, client_id: bytes | None) -> bytes:
        w = wire.peer("w", "10.1.2.3", fd=33)
        if client_id is not None:
            w.send(Q.SET_CLIENT_ID(client_id)).expect_nothing()
        (line,) = w.table(b"workers")
        return line

    def test_default(self, wire: Wire) -> None:
        assert self.workers(wire, None) == b"33 10.1.2.3 - :"

    def test_is_shown(self, wire: Wire) -> None:
        assert self.workers(wire, b"me@host") == b"33 10.1.2.3 me@host :"

    def test_first_127_bytes_are_kept(self, wire: Wire) -> None:
        assert self.workers(wire, b"a" * 127) == b"33 10.1.2.3 " + b"a" * 127 + b" :"

    def test_the_rest_is_cut(self, wire: Wire) -> None:
        assert self.workers(wire, b"a" * 127 + b"b" * 500) == b"33 10.1.2.3 " + b"a" * 127 + b" :"

    def test_can_be_changed(self, wire: Wire) -> None:
        w = wire.peer("w", "10.1.2.3", fd=4)
        w.send(Q.SET_CLIENT_ID(b"a-longer-name"), Q.SET_CLIENT_ID(b"me"))
        assert w.table(b"workers") == [b"4 10.1.2.3 me :"]

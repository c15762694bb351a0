# SPDX-License-Identifier: BSD-3-Clause
"""1.1: how packets are found in the stream, and what is too long or does not fit together."""

from __future__ import annotations

import struct

import pytest

from gearfast import protocol

from .conftest import MakeWire
from .script import NOT_EXPECTED, Q, R, Wire, handle

DATA_WITH_NULS = b"\0\0a\0REQ\0RES\0"


def test_replies_keep_the_order_of_requests(wire: Wire) -> None:
    c = wire.peer("c")
    c.send(
        Q.ECHO_REQ(b"1"),
        Q.GET_STATUS(b"H:nowhere:1"),
        b"version\n",
        Q.SUBMIT_JOB(b"f", b"", b""),
        Q.OPTION_REQ(b"exceptions"),
        b"getpid\r\n",
        Q.ECHO_REQ(b"2"),
    )
    c.expect(
        R.ECHO_RES(b"1"),
        R.STATUS_RES(b"H:nowhere:1", b"0", b"0", b"0", b"0"),
        b"OK 9.8.7\n",
        R.JOB_CREATED(handle(1)),
        R.OPTION_RES(b"exceptions"),
        b"OK 4321\n",
        R.ECHO_RES(b"2"),
    )


def test_every_split_of_a_stream_gives_the_same() -> None:
    stream = (
        Q.CAN_DO(b"f")
        + b"getpid\n"
        + Q.SUBMIT_JOB(b"f", b"u", DATA_WITH_NULS)
        + Q.GRAB_JOB_UNIQ()
        + b"version\r\n"
        + Q.WORK_COMPLETE(handle(1), b"")
    )
    wanted = (
        b"OK 4321\n"
        + R.JOB_CREATED(handle(1))
        + R.JOB_ASSIGN_UNIQ(handle(1), b"f", b"u", DATA_WITH_NULS)
        + b"OK 9.8.7\n"
        + R.WORK_COMPLETE(handle(1), b"")
    )
    for at in range(len(stream) + 1):
        peer = Wire().peer("both")
        peer.send_raw(stream[:at]).send_raw(stream[at:]).expect(wanted)


def test_data_may_hold_anything(wire: Wire) -> None:
    c, w = wire.peer("c"), wire.worker("w", b"f")
    c.submit(b"f", DATA_WITH_NULS)
    w.send(Q.GRAB_JOB()).expect(R.JOB_ASSIGN(handle(1), b"f", DATA_WITH_NULS))
    w.send(Q.WORK_COMPLETE(handle(1), DATA_WITH_NULS))
    c.expect(R.WORK_COMPLETE(handle(1), DATA_WITH_NULS))


def test_nul_in_the_last_plain_argument_is_part_of_it(wire: Wire) -> None:
    c, w = wire.peer("c"), wire.worker("w", b"ab\0")
    c.submit(b"ab", b"not for it")
    w.send(Q.GRAB_JOB()).expect(R.NO_JOB())
    w.send(Q.CAN_DO(b"ab"), Q.CANT_DO(b"ab\0"), Q.GRAB_JOB()).expect(R.JOB_ASSIGN(handle(1), b"ab", b"not for it"))


@pytest.mark.parametrize("text", [b"", b"\0", b"\0\0x"])
def test_empty_function_unique_and_data_are_accepted(wire: Wire, text: bytes) -> None:
    c, w = wire.peer("c"), wire.worker("w", b"")
    c.send(Q.SUBMIT_JOB(b"", b"", text)).expect(R.JOB_CREATED(handle(1)))
    w.send(Q.GRAB_JOB_UNIQ()).expect(R.JOB_ASSIGN_UNIQ(handle(1), b"", b"", text))


@pytest.mark.parametrize("number", [3, 4, 9, 30, 39])
def test_body_of_a_command_without_arguments_is_ignored(wire: Wire, number: int) -> None:
    w = wire.worker("w", b"f")
    w.send(Q.raw(number, b"what\0ever"))
    w.expect(R.NO_JOB() if number in (9, 30, 39) else b"")


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("SUBMIT_JOB", b""),
        ("SUBMIT_JOB", b"f"),
        ("SUBMIT_JOB", b"f\0u"),
        ("SUBMIT_JOB_BG", b"f\0u"),
        ("SUBMIT_JOB_EPOCH", b"f\0u\x001"),
        ("SUBMIT_JOB_SCHED", b"f\0u\x001\x001\x001\x001\x001"),
        ("SUBMIT_REDUCE_JOB", b"f\0u\0r\0a"),
        ("CAN_DO_TIMEOUT", b"f"),
        ("WORK_STATUS", b"H:local:1\x001"),
        ("WORK_COMPLETE", b"H:local:1"),
        ("WORK_EXCEPTION", b"H:local:1"),
        ("WORK_DATA", b"H:local:1"),
        ("WORK_WARNING", b"H:local:1"),
    ],
)
def test_too_few_arguments_close(wire: Wire, name: str, body: bytes) -> None:
    peer, other = wire.peer("p"), wire.peer("other")
    peer.send(Q.raw(protocol.Command[name], body))
    peer.expect_closed()
    assert other.table(b"show jobs") == []
    assert other.status_of(b"f") is None


@pytest.mark.parametrize("name", ["WORK_COMPLETE", "WORK_EXCEPTION", "WORK_DATA", "WORK_WARNING"])
def test_result_without_nul_behind_the_handle_closes_and_requeues(wire: Wire, name: str) -> None:
    c, w, other = wire.peer("c"), wire.worker("w", b"f"), wire.worker("other", b"f")
    job = c.submit(b"f", b"x")
    assert w.grab() == b"x"
    w.send(Q.raw(protocol.Command[name], job), Q.ECHO_REQ(b"never"))
    w.expect_closed()
    assert other.grab() == b"x"
    other.send(Q.WORK_COMPLETE(job, b"y"))
    c.expect(R.WORK_COMPLETE(job, b"y"))


def test_too_few_nuls_do_not_eat_the_next_packet(wire: Wire) -> None:
    c, other = wire.peer("c"), wire.peer("other")
    c.send(Q.ECHO_REQ(b"kept"), Q.raw(7, b"f"), Q.SUBMIT_JOB(b"g", b"", b""))
    c.expect_closed(R.ECHO_RES(b"kept"))
    assert other.table(b"show jobs") == []


class TestLengths:
    """Arguments that end in a NUL: 8191 bytes. Last plain arguments: 8192. Lines: 8191 and a newline."""

    def test_longest_arguments_pass(self, make_wire: MakeWire) -> None:
        wire, name = make_wire(), b"f" * 8191
        c, w = wire.peer("c"), wire.worker("w", name)
        c.submit(name, b"x")
        w.send(Q.GRAB_JOB()).expect(R.JOB_ASSIGN(handle(1), name, b"x"))
        wire.worker("w2", b"g" * 8192)
        assert c.status_of(b"g" * 8192) == (0, 0, 1)

    @pytest.mark.parametrize("name", ["CAN_DO", "CANT_DO", "GET_STATUS", "OPTION_REQ", "SET_CLIENT_ID", "WORK_FAIL"])
    def test_last_plain_argument_too_long_closes(self, make_wire: MakeWire, name: str) -> None:
        c = make_wire().peer("c")
        c.send(getattr(Q, name)(b"x" * 8193))
        c.expect_closed()

    def test_argument_before_a_nul_too_long_closes(self, make_wire: MakeWire) -> None:
        wire = make_wire()
        for packet in (
            Q.SUBMIT_JOB(b"f" * 8192, b"", b""),
            Q.SUBMIT_JOB_BG(b"f", b"u" * 8192, b"d"),
            Q.WORK_COMPLETE(b"h" * 8192, b""),
            Q.WORK_STATUS(handle(1), b"1" * 8192, b"1"),
        ):
            c = wire.peer("c")
            c.send(packet)
            c.expect_closed()

    def test_line_of_8191_bytes_is_read_and_a_longer_one_closes(self, make_wire: MakeWire) -> None:
        wire = make_wire()
        word = b"x" * 8191
        wire.peer("c").send(word + b"\n").expect(b"ERR UNKNOWN_COMMAND Unknown+server+command" + word + b"\r\n")
        c = wire.peer("long")
        c.send(b"x" * 8192 + b"\n")
        c.expect_closed()

    def test_line_that_never_ends_closes(self, wire: Wire) -> None:
        c = wire.peer("c")
        c.send_raw(b"x" * 9000)
        c.expect_closed()

    def test_line_that_never_ends_in_small_reads_closes(self, wire: Wire) -> None:
        c = wire.peer("c")
        for _ in range(90):
            c.send_raw(b"x" * 100)
        c.expect_closed()

    def test_function_name_of_10_mb_closes(self) -> None:
        for body in (b"f" * 10_000_000, b"f" * 10_000_000 + b"\0\0data"):
            wire = Wire()
            c = wire.peer("c")
            c.send_raw(Q.raw(1 if body[-1:] == b"f" else 7, body))
            c.expect_closed()

    def test_20_mb_of_data_arrive(self) -> None:
        wire, data = Wire(), bytes(range(256)) * 80_000
        c, w = wire.peer("c"), wire.worker("w", b"f")
        packet = Q.SUBMIT_JOB(b"f", b"", data)
        for at in range(0, len(packet), 65_536):
            c.send_raw(packet[at : at + 65_536])
        c.expect(R.JOB_CREATED(handle(1)))
        w.send(Q.GRAB_JOB())
        assert w.take() == R.JOB_ASSIGN(handle(1), b"f", data)
        w.send(Q.WORK_COMPLETE(handle(1), data))
        assert c.take() == R.WORK_COMPLETE(handle(1), data)


class TestBounds:
    """What a header announces is not believed until it has come."""

    def test_header_over_the_limit_closes_at_once(self, make_wire: MakeWire) -> None:
        c = make_wire(max_packet=1 << 20).peer("c")
        c.send(Q.ECHO_REQ(b"a"))
        c.expect(R.ECHO_RES(b"a"))
        c.send_raw(b"\0REQ" + struct.pack(">II", 7, 1 << 20))
        c.expect_closed()

    def test_header_of_4_gib_closes_at_once(self, wire: Wire) -> None:
        c = wire.peer("c")
        c.send_raw(b"\0REQ" + struct.pack(">II", 7, 0xFFFFFFFF))
        c.expect_closed()

    def test_largest_packet_passes(self, make_wire: MakeWire) -> None:
        c = make_wire(max_packet=4096).peer("c")
        data = b"x" * (4096 - protocol.HEADER_SIZE)
        c.send(Q.ECHO_REQ(data)).expect(R.ECHO_RES(data))
        c.send(Q.ECHO_REQ(data + b"x"))
        c.expect_closed()

    def test_unfinished_packet_waits(self, wire: Wire) -> None:
        c = wire.peer("c")
        packet = Q.ECHO_REQ(b"x" * 100)
        for at in range(0, len(packet) - 1, 7):
            c.send_raw(packet[at : min(at + 7, len(packet) - 1)]).expect_nothing()
        c.send_raw(packet[-1:]).expect(R.ECHO_RES(b"x" * 100))

    def test_unfinished_packet_goes_with_its_connection(self, wire: Wire) -> None:
        c = wire.peer("c")
        c.send_raw(Q.SUBMIT_JOB(b"f", b"", b"x" * 100)[:-1])
        c.leave()
        assert wire.peer("d").table(b"show jobs") == []


def test_empty_read_changes_nothing(wire: Wire) -> None:
    c = wire.peer("c")
    c.send_raw(b"").expect_nothing()
    c.send_raw(b"\0RE").send_raw(b"").send_raw(Q.raw(10)[3:]).expect(NOT_EXPECTED)

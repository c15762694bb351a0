# SPDX-License-Identifier: BSD-3-Clause
"""The text command `policy`, and what a change means for functions that are there and those to come."""

from __future__ import annotations

import pytest

from gearfast.dispatch.policy import Policies

from .conftest import MakeWire
from .script import Peer, Q, R, Wire


def policies(wire: Wire) -> bytes:
    return b"".join(b"%s|" % line for line in wire.peer("reader").table(b"policy"))


def test_set_get_unset(make_wire: MakeWire) -> None:
    wire = make_wire()
    a = wire.peer("admin")
    a.send(b"policy\n").expect(b".\n")
    a.send(b"policy set resize* timeout=30 rate=100/s burst=20 max_queue=high:1,low:2 full=drop-oldest\n")
    a.expect(b"OK\r\n")
    a.send(b"POLICY Set resize concurrency=4 jitter=off\r\n").expect(b"OK\r\n")
    first = b"resize*\ttimeout=30 max_queue=high:1,normal:0,low:2 full=drop-oldest rate=100/s burst=20\n"
    a.send(b"policy\n").expect(first, b"resize\tjitter=false concurrency=4\n.\n")
    a.send(b"policy get resize\n").expect(
        b"resize\ttimeout=30 jitter=false max_queue=high:1,normal:0,low:2 full=drop-oldest concurrency=4"
        b" rate=100/s burst=20\n.\n"
    )
    a.send(b"policy get other\n").expect(b".\n")
    a.send(b"policy set resize* timeout=0.5 rate= burst= full=\n").expect(b"OK\r\n")
    a.send(b"policy unset resize\n").expect(b"OK\r\n")
    a.send(b"policy\n").expect(b"resize*\ttimeout=0.5 max_queue=high:1,normal:0,low:2\n.\n")
    a.send(b"policy set resize* timeout= max_queue=\n", b"policy\n").expect(b"OK\r\n.\n")


def test_weights_and_dispatch(make_wire: MakeWire) -> None:
    a = make_wire().peer("admin")
    a.send(b"policy set f* weights=8:4:1 dispatch=round-robin\n").expect(b"OK\r\n")
    a.send(b"policy set f1 weights=0\n").expect(b"OK\r\n")
    a.send(b"policy get f1\n").expect(b"f1\tweights=0 dispatch=round-robin\n.\n")
    a.send(b"policy set f* weights=high:3,normal:2,low:1 dispatch=\n", b"policy unset f1\n").expect(b"OK\r\n" * 2)
    a.send(b"policy\n").expect(b"f*\tweights=3:2:1\n.\n")
    a.send(b"policy set f weights=1:2\n")
    assert a.take().startswith(b"ERR INVALID_ARGUMENTS weights:+'1:2'+must+be+such+as+8:4:1,")


def test_the_log_tells_of_changes_alone(make_wire: MakeWire) -> None:
    wire = make_wire()
    a = wire.peer("a")
    a.send(b"policy set f tries=2\n").expect(b"OK\r\n")
    a.send(b"policy\n").expect(b"f\ttries=2\n.\n")
    a.send(b"policy unset f\n").expect(b"OK\r\n")
    told = [("INFO", "Text command: policy set f tries=2"), ("INFO", "Text command: policy unset f")]
    assert wire.dispatcher.take_notices() == told


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (b"policy set f timout=3", b"unknown+key+timout;+did+you+mean+timeout?"),
        (b"policy set f timeout=x", b"timeout:+'x'+must+be+a+number+of+seconds"),
        (b"policy set f timeout", b"'timeout'+is+not+KEY=VALUE"),
        (b"policy unset f", b"f+has+no+policy"),
    ],
)
def test_errors_change_nothing(make_wire: MakeWire, line: bytes, text: bytes) -> None:
    wire = make_wire(policies=Policies.parse({"g": {"tries": 2}}))
    wire.peer("a").send(line + b"\n").expect(b"ERR INVALID_ARGUMENTS " + text + b"\r\n")
    assert policies(wire) == b"g\ttries=2|"


@pytest.mark.parametrize("line", [b"policy set", b"policy set f", b"policy get", b"policy get a b", b"policy unset",
                                  b"policy unset a b", b"policy show"])  # fmt: skip
def test_incomplete_lines_are_told_how(make_wire: MakeWire, line: bytes) -> None:
    a: Peer = make_wire().peer("a")
    a.send(line + b"\n")
    assert a.take().startswith(b"ERR INVALID_ARGUMENTS policy,+policy+get+FUNCTION,")


def test_other_words_are_other_commands(make_wire: MakeWire) -> None:
    make_wire().peer("a").send(b"policys\n").expect(b"ERR UNKNOWN_COMMAND Unknown+server+commandpolicys\r\n")


def test_who_may_not_change_things_may_look(make_wire: MakeWire) -> None:
    wire = make_wire(admin_writes=False, policies=Policies.parse({"g": {"tries": 2}}))
    a = wire.peer("a")
    for line in (b"policy set g tries=3\n", b"policy unset g\n"):
        a.send(line).expect(b"ERR PERMISSION_DENIED This+connection+may+not+change+anything\r\n")
    a.send(b"policy\n", b"policy get g\n").expect(b"g\ttries=2\n.\n" * 2)


def test_a_change_holds_for_functions_that_are_there(make_wire: MakeWire) -> None:
    wire = make_wire()
    c, w = wire.peer("c"), wire.worker("w", b"f")
    c.submit(b"f", b"1")
    c.submit(b"f", b"2")
    c.send(b"policy set f concurrency=1\n").expect(b"OK\r\n")
    assert w.grab_all() == [b"1"]
    w.sleep()
    c.send(b"policy set f concurrency=2\n").expect(b"OK\r\n")
    w.expect(R.NOOP())
    assert w.grab_all() == [b"2"]


def test_a_held_grab_is_answered_by_a_change(make_wire: MakeWire) -> None:
    wire = make_wire(policies=Policies.parse({"f": {"concurrency": 1}}))
    c, w = wire.peer("c"), wire.worker("w", b"f")
    w.send(Q.OPTION_REQ(b"all_yours"), *[Q.GRAB_JOB()] * 2).expect(R.OPTION_RES(b"all_yours"))
    first, second = c.submit(b"f", b"1"), c.submit(b"f", b"2")
    w.expect(R.JOB_ASSIGN(first, b"f", b"1"))
    c.send(b"policy unset f\n").expect(b"OK\r\n")
    w.expect(R.JOB_ASSIGN(second, b"f", b"2"))


def test_a_change_holds_for_functions_to_come(make_wire: MakeWire) -> None:
    wire = make_wire()
    c = wire.peer("c")
    c.send(b"policy set x* concurrency=1\n").expect(b"OK\r\n")
    w = wire.worker("w", b"x1", b"x2", b"y")
    for name in (b"x1", b"x2", b"y"):
        for _ in range(3):
            c.submit(name, name)
    assert sorted(w.grab_all()) == [b"x1", b"x2", b"y", b"y", b"y"]


def test_names_that_are_no_text(make_wire: MakeWire) -> None:
    wire = make_wire()
    c = wire.peer("c")
    c.send(b"policy set \xff\xfe* concurrency=1\n").expect(b"OK\r\n")
    w = wire.worker("w", b"\xff\xfe\xfd")
    c.submit(b"\xff\xfe\xfd", b"1")
    c.submit(b"\xff\xfe\xfd", b"2")
    assert w.grab_all() == [b"1"]
    c.send(b"policy\n").expect(b"\xff\xfe*\tconcurrency=1\n.\n")


def test_drained_servers_give_nothing_out_for_a_change(make_wire: MakeWire) -> None:
    wire = make_wire(policies=Policies.parse({"f": {"concurrency": 1}}))
    c, w = wire.peer("c"), wire.worker("w", b"f")
    c.submit(b"f", b"1")
    c.submit(b"f", b"2")
    assert w.grab() == b"1"
    w.sleep()
    wire.dispatcher.drain()
    c.send(b"policy unset f\n").expect(b"OK\r\n")
    w.expect_nothing()


def test_a_policy_is_no_reason_to_keep_a_function(make_wire: MakeWire) -> None:
    wire = make_wire(policies=Policies.parse({"f": {"max_queue": 1}}))
    c, w = wire.peer("c"), wire.worker("w", b"f")
    w.leave()
    c.send(b"drop function f\n").expect(b"OK\r\n")
    assert wire.dispatcher.functions() == []
    wire.sound()

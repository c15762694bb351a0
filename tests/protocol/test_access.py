# SPDX-License-Identifier: BSD-3-Clause
"""#37 and #40: who may administer, and `shutdown`."""

from __future__ import annotations

import pytest

from .conftest import MakeWire
from .script import Q, R, Wire
from .test_admin import incomplete, unknown

DENIED = b"ERR PERMISSION_DENIED This+connection+may+not+change+anything\r\n"
READS = [b"status", b"prioritystatus", b"workers", b"show jobs", b"show unique jobs", b"version", b"getpid", b"verbose"]


def watched(wire: Wire) -> bytes:
    """The handle of a job of the function f, beside which things are tried."""
    return wire.peer("owner").submit(b"f", b"x")


@pytest.mark.parametrize("line", [b"cancel job %s", b"drop function f", b"maxqueue f 1", b"create function g"])
def test_who_may_only_look_changes_nothing(make_wire: MakeWire, line: bytes) -> None:
    wire = make_wire()
    job, reader = watched(wire), wire.peer("reader", admin=False)
    reader.send((line % job if b"%s" in line else line) + b"\n").expect(DENIED)
    reader.send(b"show jobs\n").expect(job + b"\t0\t0\t0\n.\n")
    reader.send(b"status\n").expect(b"f\t1\t0\t0\n.\n")
    reader.submit(b"f", b"a second one")


def test_who_may_only_look_sees_everything(make_wire: MakeWire) -> None:
    wire = make_wire(admin_writes=False)
    watched(wire)
    reader = wire.peer("reader")
    for line in READS:
        reader.send(line + b"\n")
        assert not reader.take().startswith(b"ERR")
    reader.send(b"create\n").expect(incomplete(b"create"))
    reader.send(b"cancel job H:local:1\n").expect(DENIED)


def test_right_of_one_connection_stands_over_the_setting(make_wire: MakeWire) -> None:
    wire = make_wire(admin_writes=False)
    job, admin = watched(wire), wire.peer("admin", admin=True)
    owner = wire.everyone[0]
    admin.send(b"cancel job " + job + b"\n").expect(b"OK\r\n")
    owner.expect(R.WORK_FAIL(job))


@pytest.mark.parametrize("admin", [None, False])
@pytest.mark.parametrize("line", [b"shutdown\n", b"shutdown graceful\r\n"])
def test_shutdown_is_unknown_to_others(make_wire: MakeWire, admin: bool | None, line: bytes) -> None:
    wire = make_wire()
    wire.peer("c", admin=admin).send(line).expect(unknown(b"shutdown"))
    assert "SHUTDOWN" not in dict(wire.dispatcher.take_notices())


@pytest.mark.parametrize(("line", "how"), [(b"shutdown\n", "now"), (b"Shutdown Graceful\r\n", "graceful")])
def test_shutdown_of_an_administrator(make_wire: MakeWire, line: bytes, how: str) -> None:
    wire = make_wire()
    wire.peer("c", admin=True).send(line).expect(b"OK\r\n")
    assert ("SHUTDOWN", how) in wire.dispatcher.take_notices()
    assert "SHUTDOWN" not in dict(wire.dispatcher.take_notices()), "told once"


def test_other_words_behind_shutdown(make_wire: MakeWire) -> None:
    wire = make_wire()
    wire.peer("c", admin=True).send(b"shutdown please\n").expect(incomplete(b"shutdown"))
    assert "SHUTDOWN" not in dict(wire.dispatcher.take_notices())


def test_work_goes_on_for_who_may_only_look(make_wire: MakeWire) -> None:
    wire = make_wire(admin_writes=False)
    c, w = wire.peer("c"), wire.worker("w", b"f")
    job = c.submit(b"f", b"x")
    assert w.grab() == b"x"
    w.send(Q.WORK_COMPLETE(job, b"r"))
    c.expect(R.WORK_COMPLETE(job, b"r"))

# SPDX-License-Identifier: BSD-3-Clause
from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from gearfast import AdminClient, AsyncAdminClient
from gearfast._codec import Decoder, Packet, encode
from gearfast.errors import UsageError
from gearfast.protocol import Command
from gearfast.session.calls import ClientCalls, make_epoch
from gearfast.session.requests import EchoRequest, Timeout, make_timeout
from gearfast.types import Handle, Priority


def calls(servers: str = "a,b", timeout: float | Timeout | None = Timeout()) -> ClientCalls:  # noqa: B008
    return ClientCalls(servers, timeout=timeout, exceptions=True, id=None, resubmit="same", prefix=b"p-")


def decoded(data: bytes) -> Packet:
    (packet,) = Decoder().receive(data)
    assert isinstance(packet, Packet)
    return packet


def test_uniques_are_made_and_never_twice() -> None:
    one = calls()
    made = {one.job("f", b"", None, Priority.NORMAL, None, 0.0).unique for _ in range(100)}
    assert len(made) == 100 and all(unique.startswith(b"p-") for unique in made)
    one.restart(b"q-")
    assert one.job("f", b"", None, Priority.NORMAL, None, 0.0).unique.startswith(b"q-")


@pytest.mark.parametrize(
    ("priority", "foreground", "background"),
    [
        (Priority.HIGH, Command.SUBMIT_JOB_HIGH, Command.SUBMIT_JOB_HIGH_BG),
        (Priority.NORMAL, Command.SUBMIT_JOB, Command.SUBMIT_JOB_BG),
        (Priority.LOW, Command.SUBMIT_JOB_LOW, Command.SUBMIT_JOB_LOW_BG),
    ],
)
def test_priorities(priority: Priority, foreground: Command, background: Command) -> None:
    one = calls()
    job = one.job("ä", memoryview(b"w"), "ü", priority, None, 0.0)
    assert job.packet == encode(foreground, "ä".encode(), "ü".encode(), b"w")
    job = one.background("f", bytearray(b"w"), b"u", priority, None, 0.0)
    assert job.packet == encode(background, b"f", b"u", b"w")


def test_a_job_at_a_time() -> None:
    job = calls().background("f", b"w", "u", Priority.NORMAL, None, 0.0, at=1000.2)
    assert decoded(job.packet).args == (b"f", b"u", b"1001", b"w")
    assert make_epoch(datetime(1970, 1, 2, tzinfo=UTC)) == 86400
    with pytest.raises(UsageError, match="time zone"):
        make_epoch(datetime(2030, 1, 1))
    with pytest.raises(UsageError, match="normal priority"):
        calls().background("f", b"", None, Priority.HIGH, None, 0.0, at=5.0)


@pytest.mark.parametrize(
    ("timeout", "own", "reply_by", "deadline"),
    [
        (Timeout(), None, 130.0, None),
        (Timeout(), 5.0, 105.0, 105.0),
        (Timeout(), 50.0, 130.0, 150.0),
        (Timeout(reply=None), None, None, None),
        (Timeout(reply=None), 7.0, 107.0, 107.0),
        (9.0, None, 109.0, 109.0),
        (None, None, None, None),
    ],
)
def test_time_limits(
    timeout: float | Timeout | None, own: float | None, reply_by: float | None, deadline: float | None
) -> None:
    job = calls(timeout=timeout).job("f", b"", None, Priority.NORMAL, own, 100.0)
    assert (job.reply_by, job.deadline) == (reply_by, deadline)


def test_timeouts_as_a_number() -> None:
    """None and a number, as the table of docs/client.md has them."""
    assert make_timeout(3) == Timeout(3, 3, 3, 3)
    assert make_timeout(None) == Timeout(connect=None, reply=None, job=None, reconnect=10.0, health=None)
    assert make_timeout(Timeout(connect=2)) == Timeout(2, 30.0, None, 10.0, 30.0)
    with pytest.raises(UsageError):
        make_timeout(0)


@pytest.mark.parametrize(
    ("function", "workload", "unique", "priority"),
    [
        ("f", "text", None, Priority.NORMAL),
        (b"f", b"", None, Priority.NORMAL),
        ("f", b"", "u" * 65, Priority.NORMAL),
        ("f", b"", "", Priority.NORMAL),
        ("f\0", b"", None, Priority.NORMAL),
        ("f" * 10_000_000, b"", None, Priority.NORMAL),
        ("f", b"", None, "high"),
        ("f", 5, None, Priority.NORMAL),
    ],
)
def test_what_cannot_be_sent(function: str, workload: bytes, unique: str | None, priority: Priority) -> None:
    with pytest.raises(UsageError) as caught:
        calls().job(function, workload, unique, priority, None, 0.0)
    assert len(str(caught.value)) < 300
    with pytest.raises(UsageError):
        calls().background(function, workload, unique, priority, None, 0.0)


@pytest.mark.parametrize("timeout", [0, -1])
def test_time_limits_are_above_zero(timeout: float) -> None:
    with pytest.raises(UsageError):
        calls().job("f", b"", None, Priority.NORMAL, timeout, 0.0)
    with pytest.raises(UsageError):
        calls().background("f", b"", None, Priority.NORMAL, timeout, 0.0)


@pytest.mark.parametrize("bad", ["5", Timeout(job=1), True, [], float("nan")])
def test_a_timeout_that_is_no_number(bad: Any) -> None:
    for priority in (Priority.NORMAL, Priority.HIGH):
        for make in (calls().job, calls().background):
            with pytest.raises(UsageError, match="timeout is a number of seconds above 0, not"):
                make("f", b"", None, priority, bad, 0.0)
    with pytest.raises(UsageError, match="timeout is a number"):
        calls().limit(EchoRequest(b""), bad, 0.0)
    if not isinstance(bad, Timeout):
        with pytest.raises(UsageError, match="a timeout is a number"):
            make_timeout(bad)
        with pytest.raises(UsageError, match="connect of a Timeout is a number"):
            make_timeout(Timeout(connect=bad))
        for admin in (AdminClient, AsyncAdminClient):
            with pytest.raises(UsageError, match="timeout is a number"):
                admin("a", timeout=bad)


@pytest.mark.parametrize("id", ["", "a b", "ä", "x" * 128, "a\n"])
def test_names_that_lists_could_not_show(id: str) -> None:
    with pytest.raises(UsageError, match="id is"):
        ClientCalls("a", timeout=None, exceptions=True, id=id, resubmit="same", prefix=b"")


def test_settings_are_checked() -> None:
    with pytest.raises(UsageError, match="resubmit"):
        ClientCalls("a", timeout=None, exceptions=True, id=None, resubmit="maybe", prefix=b"")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="one of them"):
        calls().status(None, None)
    with pytest.raises(UsageError, match="one of them"):
        calls().status("H:1", "u")
    with pytest.raises(UsageError):
        calls().status("H" * 9000, None)


def test_a_handle_is_looked_up_at_its_own_server() -> None:
    one = calls("a,b,c")
    assert one.places(Handle("H:1", "b:4730"), 0.0) == [1]
    assert sorted(one.places("H:1", 0.0)) == [0, 1, 2]
    assert sorted(one.places(Handle("H:1", "gone:1"), 0.0)) == [0, 1, 2]

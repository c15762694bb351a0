# SPDX-License-Identifier: BSD-3-Clause
"""A worker without I/O: one connection byte for byte, and the crew that shares slots among several."""

from __future__ import annotations

import pytest

from gearfast._codec import Decoder, Packet, encode
from gearfast.errors import ProtocolError, UsageError
from gearfast.protocol import Command
from gearfast.session._worker import WorkerSession
from gearfast.session.crew import LEAVE_SECONDS, RECHECK_SECONDS, Crew, check_function_name
from gearfast.session.routing import parse_servers


def names(data: bytes) -> list[str]:
    return [packet.name for packet in Decoder().receive(data) if isinstance(packet, Packet)]


def assign(handle: bytes, function: bytes = b"f", workload: bytes = b"w") -> bytes:
    return encode(Command.JOB_ASSIGN_UNIQ, handle, function, b"u", workload)


NO_JOB = encode(Command.NO_JOB)
NOOP = encode(Command.NOOP)


def crew(servers: str = "a", concurrency: int = 1, now: float = 0.0) -> Crew:
    """A crew with function `f`, connected to all servers, its greeting sent."""
    one = Crew(parse_servers(servers), concurrency=concurrency, abilities={b"f": 0})
    for link in one.take_connects(now):
        one.connected(link, now)
    return one


def out(one: Crew, index: int = 0) -> list[str]:
    session = one.links[index].session
    assert session is not None
    return names(session.take_output())


def feed(one: Crew, data: bytes, index: int = 0, now: float = 0.0) -> None:
    one.receive(one.links[index], data, now)


# One connection


def test_the_greeting_names_the_worker_and_its_abilities() -> None:
    session = WorkerSession("s", abilities={b"f": 0, b"g": 1500}, worker_id=b"w1")
    packets = Decoder().receive(session.take_output())
    assert packets == [
        Packet(Command.SET_CLIENT_ID, [b"w1"]),
        Packet(Command.CAN_DO, [b"f"]),
        Packet(Command.CAN_DO_TIMEOUT, [b"g", b"1500"]),
    ]


@pytest.mark.parametrize("cut", [1, 5, 13, 1000])
def test_the_three_forms_of_assignment(cut: int) -> None:
    session = WorkerSession("s", limit=3)
    session.grab(3)
    assert names(session.take_output()) == ["GRAB_JOB_ALL"] * 3
    stream = (
        encode(Command.JOB_ASSIGN, b"H:1", b"f", b"a\0b")
        + encode(Command.JOB_ASSIGN_UNIQ, b"H:2", b"g", b"u", b"")
        + encode(Command.JOB_ASSIGN_ALL, b"H:3", b"h", b"v", b"r", b"d")
    )
    for at in range(0, len(stream), cut):
        session.receive(stream[at : at + cut])
    found = [(job.handle, job.function, job.unique, job.reducer, job.workload) for job in session.ready]
    assert found == [
        (b"H:1", b"f", b"", b"", b"a\0b"),
        (b"H:2", b"g", b"u", b"", b""),
        (b"H:3", b"h", b"v", b"r", b"d"),
    ]
    assert session.grabs == 0


def test_what_a_job_sends() -> None:
    session = WorkerSession("s")
    session.grab()
    session.receive(assign(b"H:1"))
    job = session.ready[0]
    session.take_output()
    session.status(job, 1, 2)
    session.data(job, b"d")
    session.warning(job, b"w")
    session.complete(job, b"r")
    assert Decoder().receive(session.take_output()) == [
        Packet(Command.WORK_STATUS, [b"H:1", b"1", b"2"], b"\0REQ"),
        Packet(Command.WORK_DATA, [b"H:1", b"d"], b"\0REQ"),
        Packet(Command.WORK_WARNING, [b"H:1", b"w"], b"\0REQ"),
        Packet(Command.WORK_COMPLETE, [b"H:1", b"r"], b"\0REQ"),
    ]
    assert job.over and session.jobs == {}


def test_failures() -> None:
    session = WorkerSession("s", limit=2)
    session.grab(2)
    session.receive(assign(b"H:1") + assign(b"H:2"))
    session.take_output()
    session.fail(session.ready[0])
    session.exception(session.ready[1], b"boom")
    assert names(session.take_output()) == ["WORK_FAIL", "WORK_EXCEPTION"]


def test_the_error_of_a_late_result_answers_no_grab() -> None:
    session = WorkerSession("s")
    session.grab()
    session.receive(encode(Command.ERROR, b"JOB_NOT_FOUND", b"Job given in work result not found") + assign(b"H:2"))
    assert session.refusals == [(b"JOB_NOT_FOUND", b"Job given in work result not found")]
    assert [job.handle for job in session.ready] == [b"H:2"]
    assert session.grabs == 0


def test_a_server_that_does_not_know_the_newest_grab_gets_an_older_one() -> None:
    session = WorkerSession("s")
    session.grab()
    session.take_output()
    session.receive(encode(Command.ERROR, b"INVALID_COMMAND", b"?"))
    assert names(session.take_output()) == ["GRAB_JOB_UNIQ"]
    session.receive(encode(Command.ERROR, b"INVALID_COMMAND", b"?"))
    assert names(session.take_output()) == ["GRAB_JOB"]
    session.receive(encode(Command.ERROR, b"INVALID_COMMAND", b"?"))
    assert session.refusals == [(b"INVALID_COMMAND", b"?")]


@pytest.mark.parametrize("bad", [NO_JOB, assign(b"H:1"), b"text\n", encode(Command.JOB_CREATED, b"H:1"), b"\0REX"])
def test_a_server_out_of_line(bad: bytes) -> None:
    with pytest.raises(ProtocolError):
        WorkerSession("s").receive(bad)


# The crew


def test_one_slot_goes_round() -> None:
    one = crew()
    assert out(one) == ["OPTION_REQ", "CAN_DO", "GRAB_JOB_ALL"]
    feed(one, assign(b"H:1"), now=3.0)
    assert out(one) == []
    (job,) = one.ready
    one.ready.clear()
    assert job.assigned_at == 3.0
    one.complete(job, b"r")
    assert out(one) == ["WORK_COMPLETE", "GRAB_JOB_ALL"]
    feed(one, NO_JOB)
    assert out(one) == ["PRE_SLEEP"]
    feed(one, NOOP)
    assert out(one) == ["GRAB_JOB_ALL"]


def test_slots_fill_up_by_doubling() -> None:
    one = crew(concurrency=8)
    assert out(one) == ["OPTION_REQ", "CAN_DO", "GRAB_JOB_ALL"]
    feed(one, assign(b"H:1"))
    assert out(one) == ["GRAB_JOB_ALL"] * 2
    feed(one, assign(b"H:2") + assign(b"H:3"))
    assert len(out(one)) == 5  # 3 jobs in hand, 5 slots left
    feed(one, assign(b"H:4") + NO_JOB * 4)
    assert out(one) == ["PRE_SLEEP"]
    assert (one.in_hand, len(one.ready)) == (4, 4)


def test_never_more_jobs_than_slots() -> None:
    one = crew(concurrency=2)
    feed(one, assign(b"H:1"))
    feed(one, assign(b"H:2"))
    out(one)
    first, second = one.ready
    one.fail(first)
    assert out(one) == ["WORK_FAIL", "GRAB_JOB_ALL"]
    one.exception(second, b"x")
    assert out(one) == ["WORK_EXCEPTION", "GRAB_JOB_ALL"]


def test_a_job_that_ends_while_the_connection_sleeps_asks_nothing() -> None:
    one = crew(concurrency=2)
    feed(one, assign(b"H:1"))
    feed(one, NO_JOB)
    out(one)
    one.complete(one.ready[0], b"")
    assert out(one) == ["WORK_COMPLETE"]


def test_servers_are_asked_in_turn() -> None:
    one = crew("a,b")
    assert (out(one, 0), out(one, 1)) == (["CAN_DO", "GRAB_JOB_ALL"], ["CAN_DO"])
    feed(one, assign(b"H:1"), 0)
    one.complete(one.ready.pop(), b"")
    assert (out(one, 0), out(one, 1)) == (["WORK_COMPLETE"], ["GRAB_JOB_ALL"])
    feed(one, assign(b"H:1"), 1)
    one.complete(one.ready.pop(), b"")
    assert (out(one, 0), out(one, 1)) == (["GRAB_JOB_ALL"], ["WORK_COMPLETE"])
    feed(one, NO_JOB, 0)
    assert (out(one, 0), out(one, 1)) == (["PRE_SLEEP"], ["GRAB_JOB_ALL"])
    feed(one, NO_JOB, 1)
    assert (out(one, 0), out(one, 1)) == ([], ["PRE_SLEEP"])
    feed(one, NOOP, 1)
    assert (out(one, 0), out(one, 1)) == ([], ["GRAB_JOB_ALL"])


def test_a_noop_that_comes_while_all_slots_are_taken_is_remembered() -> None:
    one = crew("a,b")
    feed(one, NO_JOB, 0)
    feed(one, assign(b"H:1"), 1)
    out(one, 0)
    out(one, 1)
    feed(one, NOOP, 0)
    assert out(one, 0) == []
    one.complete(one.ready.pop(), b"")
    assert (out(one, 0), out(one, 1)) == (["GRAB_JOB_ALL"], ["WORK_COMPLETE"])


def test_many_slots_are_shared_among_servers() -> None:
    one = crew("a,b", concurrency=4)
    given = [0, 0]
    for number in range(4):
        asking = [link.index for link in one.links if link.session is not None and link.session.grabs]
        index = min(asking, key=given.__getitem__)
        given[index] += 1
        feed(one, assign(b"H:%d" % number), index)
    assert one.in_hand == 4 and min(given) >= 1
    assert not any(link.session.grabs for link in one.links if link.session is not None)


def test_a_lost_server_takes_its_jobs_back() -> None:
    one = crew(concurrency=2)
    feed(one, assign(b"H:1"))
    running = one.ready.pop()
    feed(one, assign(b"H:2"))
    assert one.in_hand == 2
    link = one.links[0]
    again = one.lost(link, 10.0, 0.5, "reset")
    assert again == pytest.approx(10.075)
    assert (one.ready, one.in_hand, running.lost) == ([], 1, True)
    one.complete(running, b"r")
    assert one.in_hand == 0
    assert one.take_connects(10.0) == []
    assert one.tick(10.0) == again
    assert one.take_connects(again) == [link]
    one.connected(link, again)
    assert out(one) == ["OPTION_REQ", "CAN_DO", "GRAB_JOB_ALL"]


def test_a_server_that_hangs_up_at_once_is_asked_less_and_less_often() -> None:
    one = crew()
    link, now, waits = one.links[0], 0.0, []
    for _ in range(4):
        again = one.lost(link, now, 0.0, "closed")
        waits.append(again - now)
        now = again
        one.take_connects(now)
        one.connected(link, now)
    assert waits == pytest.approx([0.05, 0.1, 0.2, 0.4])
    feed(one, NO_JOB)
    assert one.lost(link, now, 0.0, "closed") - now == pytest.approx(0.05)


def test_leaving_finishes_what_is_in_hand_and_under_way() -> None:
    one = crew(concurrency=2)
    feed(one, assign(b"H:1"))
    out(one)
    one.leave(0.0)
    assert not one.has_left(0.0)
    feed(one, assign(b"H:2"))
    first, second = one.ready
    one.complete(first, b"")
    assert not one.has_left(0.0)
    one.complete(second, b"")
    assert out(one) == ["WORK_COMPLETE", "WORK_COMPLETE"]
    assert one.has_left(0.0)
    assert one.take_connects(99.0) == []


def test_leaving_does_not_wait_for_a_server_that_never_answers() -> None:
    one = crew()
    one.leave(5.0)
    assert one.tick(5.0) == 5.0 + LEAVE_SECONDS
    assert not one.has_left(5.0)
    assert one.has_left(5.0 + LEAVE_SECONDS)


def test_a_sleeper_asks_again_once_in_a_while() -> None:
    one = crew()
    feed(one, NO_JOB, now=1.0)
    out(one)
    assert one.tick(2.0) == 1.0 + RECHECK_SECONDS
    assert out(one) == []
    one.tick(1.0 + RECHECK_SECONDS)
    assert out(one) == ["GRAB_JOB_ALL"]


def test_abilities_change_while_connected() -> None:
    one = crew()
    feed(one, NO_JOB)
    out(one)
    one.register(b"g", 2000)
    assert out(one) == ["CAN_DO_TIMEOUT", "GRAB_JOB_ALL"]
    one.unregister(b"f")
    assert out(one) == ["CANT_DO"]
    assert one.abilities == {b"g": 2000}


def test_a_crew_without_abilities_asks_nothing() -> None:
    one = Crew(parse_servers("a"))
    one.connected(one.take_connects(0.0)[0], 0.0)
    assert out(one) == ["OPTION_REQ"]


# Grabs as credits


ALL_YOURS = encode(Command.OPTION_RES, b"all_yours")


def test_a_server_that_agrees_holds_the_grabs() -> None:
    """No doubling, no sleep: all slots are asked for at once and wait at the server."""
    one = crew(concurrency=3)
    out(one)
    feed(one, ALL_YOURS)
    assert out(one) == ["GRAB_JOB_ALL"] * 2
    feed(one, assign(b"H:1"))
    one.complete(one.ready.pop(), b"r")
    assert out(one) == ["WORK_COMPLETE", "GRAB_JOB_ALL"]


def test_a_server_that_refuses_is_served_as_ever() -> None:
    one = crew()
    out(one)
    feed(one, encode(Command.ERROR, b"UNKNOWN_OPTION", b"Server does not recognize given option") + NO_JOB)
    assert out(one) == ["PRE_SLEEP"]
    session = one.links[0].session
    assert session is not None
    assert session.refusals == []


def test_leaving_asks_for_held_grabs_back() -> None:
    one = crew(concurrency=2)
    feed(one, ALL_YOURS)
    out(one)
    one.leave(10.0)
    assert out(one) == ["PRE_SLEEP"]
    assert not one.has_left(10.0)
    feed(one, NO_JOB * 2)
    assert one.has_left(10.0)


def test_with_several_servers_nobody_is_asked_for_credits() -> None:
    one = crew("a,b")
    assert out(one) == ["CAN_DO", "GRAB_JOB_ALL"]


def test_arguments() -> None:
    with pytest.raises(UsageError):
        Crew(parse_servers("a"), concurrency=0)
    for name in ("", "a\0", "x" * 8192, b"f"):
        with pytest.raises(UsageError):
            check_function_name(name)  # type: ignore[arg-type]
    assert check_function_name("ä") == "ä".encode()

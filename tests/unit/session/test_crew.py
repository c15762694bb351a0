# SPDX-License-Identifier: BSD-3-Clause
"""The crew beyond one slot and one server: limits, prefetch, pausing, leaving in time, deadlines, cancelling."""

from __future__ import annotations

from math import inf

import pytest

from gearfast._codec import Packet, encode
from gearfast.errors import ProtocolError, UsageError
from gearfast.protocol import Command
from gearfast.session._worker import Assignment
from gearfast.session.crew import CHECK_SECONDS, OVERDUE_SECONDS, RECHECK_SECONDS, Crew
from gearfast.session.routing import parse_servers

from .test_worker import ALL_YOURS, NO_JOB, NOOP, assign, crew, feed, out


def status_res(handle: bytes, known: bytes = b"0") -> bytes:
    return encode(Command.STATUS_RES, handle, known, known, b"0", b"0")


def limited(servers: str = "a", concurrency: int = 4, limit: int = 1) -> Crew:
    """A crew with function `f`, and `g` that has a limit; connected, greetings sent."""
    one = Crew(parse_servers(servers), concurrency=concurrency, abilities={b"f": 0})
    one.register(b"g", limit=limit)
    for link in one.take_connects(0.0):
        one.connected(link, 0.0)
    for index in range(len(one.links)):
        out(one, index)
    return one


def connect(one: Crew) -> None:
    for link in one.take_connects(0.0):
        one.connected(link, 0.0)


# Limits


def test_a_function_with_a_limit_has_a_connection_of_its_own() -> None:
    one = Crew(parse_servers("a"), concurrency=4, abilities={b"f": 0})
    one.register(b"g", limit=1)
    connect(one)
    assert [out(one, 0), out(one, 1)] == [["CAN_DO", "GRAB_JOB_ALL"], ["CAN_DO", "GRAB_JOB_ALL"]]


def test_a_function_at_its_limit_is_not_asked_for_and_nothing_is_taken_back() -> None:
    one = limited()
    feed(one, assign(b"H:1", b"g"), 1)
    feed(one, assign(b"H:2", b"f"), 0)
    assert (one.in_hand, out(one, 1)) == (2, [])
    assert "CANT_DO" not in out(one, 0)
    job = next(job for job in one.ready if job.function == b"g")
    one.complete(job, b"")
    assert out(one, 1) == ["WORK_COMPLETE", "GRAB_JOB_ALL"]


def test_a_limit_holds_over_all_servers() -> None:
    one = limited("a,b", concurrency=8, limit=2)
    of_g = [index for index, link in enumerate(one.links) if b"g" in link.group.abilities]
    for index in of_g:
        feed(one, assign(b"H:%d" % index, b"g"), index)
    assert len(one.ready) == 2
    assert [link.session.grabs for index in of_g if (link := one.links[index]).session is not None] == [0, 0]


def test_functions_of_a_pool_share_its_limit() -> None:
    one = Crew(parse_servers("a"), concurrency=8)
    one.register(b"f", limit=1, pool="p")
    one.register(b"g", limit=1, pool="p")
    connect(one)
    (link,) = one.links
    assert out(one) == ["OPTION_REQ", "CAN_DO", "CAN_DO", "GRAB_JOB_ALL"]
    feed(one, ALL_YOURS + assign(b"H:1", b"g"))
    assert out(one) == [] and link.session is not None and link.session.grabs == 0


def test_a_limit_that_the_worker_has_anyway_needs_no_connection() -> None:
    one = Crew(parse_servers("a"), concurrency=2, abilities={b"f": 0})
    one.register(b"g", limit=2)
    assert len(one.links) == 1


def test_a_limit_may_come_and_go_while_connected() -> None:
    one = crew(concurrency=4)
    feed(one, ALL_YOURS + assign(b"H:1"))
    out(one)
    one.register(b"g", limit=1)
    assert out(one) == ["PRE_SLEEP"]  # grabs that the server holds would keep the slots from g
    assert len(one.links) == 2
    feed(one, NO_JOB * 3)
    connect(one)
    assert out(one, 1) == ["CAN_DO", "GRAB_JOB_ALL"]
    feed(one, NOOP)
    assert out(one) == ["GRAB_JOB_ALL", "PRE_SLEEP"]  # with credits, asked so that the server need not hold it
    feed(one, NO_JOB)
    feed(one, NO_JOB, 1)
    one.unregister(b"g")
    (retired,) = one.take_retired()
    assert retired.session is not None and len(one.links) == 1
    one.lost(retired, 0.0, 0.0, "not needed")
    assert out(one)[-1] == "GRAB_JOB_ALL"


def test_a_function_that_gets_a_limit_moves() -> None:
    one = Crew(parse_servers("a"), concurrency=4, abilities={b"f": 0, b"g": 0})
    connect(one)
    out(one)
    one.register(b"g", 1000, limit=1)
    assert out(one)[:1] == ["CANT_DO"]
    connect(one)
    assert out(one, 1) == ["CAN_DO_TIMEOUT", "GRAB_JOB_ALL"]
    assert one.abilities == {b"f": 0, b"g": 1000}


def test_a_link_that_is_not_needed_any_more_when_it_is_made_is_closed() -> None:
    one = Crew(parse_servers("a"), concurrency=4, abilities={b"f": 0})
    one.register(b"g", limit=1)
    links = one.take_connects(0.0)
    one.unregister(b"g")
    assert one.take_retired() == [links[1]]
    for link in links:
        one.connected(link, 0.0)
    assert one.take_retired() == [links[1]]


# Prefetch


def test_prefetched_jobs_are_held_beyond_the_slots() -> None:
    one = Crew(parse_servers("a"), prefetch=3, abilities={b"f": 0})
    connect(one)
    feed(one, ALL_YOURS)
    assert out(one).count("GRAB_JOB_ALL") == 4


def test_nothing_is_prefetched_while_a_function_has_a_time_out() -> None:
    one = Crew(parse_servers("a"), prefetch=3, abilities={b"f": 0})
    one.register(b"g", 5000)
    connect(one)
    feed(one, ALL_YOURS)
    assert out(one).count("GRAB_JOB_ALL") == 1
    one.unregister(b"g")
    feed(one, assign(b"H:1"))
    assert out(one)[-1] == "GRAB_JOB_ALL"


# Pausing and leaving


def test_a_pause_asks_held_grabs_back_and_resuming_asks_again() -> None:
    one = crew(concurrency=2)
    feed(one, ALL_YOURS)
    out(one)
    one.pause()
    one.pause()
    assert out(one) == ["PRE_SLEEP"]
    one.resume()  # before the answers are here
    assert out(one) == []  # both slots are still under way
    feed(one, NO_JOB * 2)
    assert out(one) == ["GRAB_JOB_ALL"] * 2
    feed(one, assign(b"H:1"))
    assert one.in_hand == 1


def test_a_paused_crew_does_not_hear_the_noop_and_remembers_it() -> None:
    one = crew()
    feed(one, NO_JOB)
    out(one)
    one.pause()
    feed(one, NOOP)
    one.tick(RECHECK_SECONDS * 2)
    assert out(one) == []
    one.resume()
    assert out(one) == ["GRAB_JOB_ALL"]


def test_a_job_that_comes_during_a_pause_is_done_and_no_other_asked_for() -> None:
    one = crew()
    one.pause()
    feed(one, assign(b"H:1"))
    out(one)
    one.complete(one.ready.pop(), b"")
    assert out(one) == ["WORK_COMPLETE"]


@pytest.mark.parametrize("rest", ["pause", "leave"])
def test_a_server_that_agrees_to_credits_while_the_crew_rests_gives_the_grab_back(rest: str) -> None:
    one = crew()
    out(one)
    one.pause() if rest == "pause" else one.leave(0.0)
    assert out(one) == []
    feed(one, ALL_YOURS)
    assert out(one) == ["PRE_SLEEP"]
    feed(one, NO_JOB)
    assert one.links[0].session is not None and one.links[0].session.grabs == 0


def test_leaving_with_a_limit() -> None:
    one = crew()
    feed(one, assign(b"H:1"))
    one.leave(10.0, 3.0)
    one.leave(11.0)
    assert one.tick(11.0) == 13.0
    assert not one.has_left(12.9) and not one.gave_up(12.9)
    assert one.has_left(13.0) and one.gave_up(13.0)


# Deadlines


def test_a_job_has_the_deadline_of_its_function() -> None:
    one = Crew(parse_servers("a"), abilities={b"f": 5000})
    connect(one)
    feed(one, assign(b"H:1"), now=100.0)
    (job,) = one.ready
    assert job.deadline == 105.0
    assert one.tick(100.0) == 105.0 + OVERDUE_SECONDS
    assert one.take_overdue(105.9) == []
    assert one.take_overdue(106.0) == [job]
    assert one.take_overdue(107.0) == []


def test_no_server_takes_less_than_a_second() -> None:
    one = Crew(parse_servers("a"), abilities={b"f": 200})
    connect(one)
    feed(one, assign(b"H:1"), now=1.0)
    assert one.ready[0].deadline == 2.0


def test_a_job_that_ended_or_was_lost_is_not_overdue() -> None:
    one = Crew(parse_servers("a"), concurrency=2, abilities={b"f": 1000, b"g": 0})
    connect(one)
    feed(one, assign(b"H:1"))
    feed(one, assign(b"H:2"))
    one.complete(one.ready.pop(0), b"")
    one.lost(one.links[0], 0.0, 0.0, "gone")
    assert one.take_overdue(inf) == []


# Cancelling


def looking(one: Crew) -> Assignment:
    feed(one, assign(b"H:1"), now=10.0)
    out(one)
    job = one.ready[0]
    one.watch(job)
    return job


def test_the_server_is_asked_about_a_job_that_is_watched() -> None:
    one = crew()
    job = looking(one)
    assert one.tick(10.0) == 10.0 + CHECK_SECONDS
    assert out(one) == []
    assert one.ask(10.0 + CHECK_SECONDS)
    session = one.links[0].session
    assert session is not None and session.unanswered == 1
    assert session.take_output() == Packet(Command.GET_STATUS, [b"H:1"]).encode()
    feed(one, status_res(b"H:1", b"1"))
    assert not job.cancelled and session.unanswered == 0
    assert not one.ask(10.1 + CHECK_SECONDS)
    one.tick(10.0 + 2 * CHECK_SECONDS)
    assert out(one) == ["GET_STATUS"]
    feed(one, status_res(b"H:1", b"0"))
    assert job.cancelled
    one.tick(10.0 + 3 * CHECK_SECONDS)
    assert out(one) == []


def test_an_answer_for_a_job_that_has_ended_changes_nothing() -> None:
    one = crew()
    job = looking(one)
    one.tick(20.0)
    one.complete(job, b"")
    feed(one, status_res(b"H:1"))
    assert not job.cancelled
    one.watch(job)
    assert one.unsure == {}


def test_an_answer_that_nobody_asked_for() -> None:
    with pytest.raises(ProtocolError, match="STATUS_RES"):
        feed(crew(), status_res(b"H:1"))


def test_a_lost_job_frees_its_slot_for_the_next_connection() -> None:
    one = crew()
    feed(one, assign(b"H:1"))
    job = one.ready.pop()
    one.lost(one.links[0], 0.0, 0.0, "gone")
    one.connected(one.take_connects(99.0)[0], 99.0)
    assert out(one) == ["OPTION_REQ", "CAN_DO"]
    one.complete(job, b"")
    assert out(one) == ["GRAB_JOB_ALL"]


def test_a_job_that_was_lost_before_it_began_is_forgotten() -> None:
    one = crew()
    feed(one, assign(b"H:1"))
    job = one.ready.pop()
    one.lost(one.links[0], 0.0, 0.0, "gone")
    one.forget(job)
    assert (one.in_hand, job.over) == (0, True)


def test_arguments() -> None:
    with pytest.raises(UsageError):
        Crew(parse_servers("a"), prefetch=-1)

# SPDX-License-Identifier: BSD-3-Clause
"""Servers that do not answer any more, and servers that come back."""

from __future__ import annotations

import pytest

from gearfast._codec import Decoder, Packet, encode
from gearfast.errors import ConnectError, UsageError
from gearfast.protocol import Command
from gearfast.session.calls import ClientCalls
from gearfast.session.hub import ClientHub, Link
from gearfast.session.requests import JobRequest, Timeout, make_timeout
from gearfast.types import Priority

ECHO = encode(Command.ECHO_RES, b"gearfast")


class Bench:
    def __init__(self, servers: str = "a", health: float | None = 20.0, reply: float | None = 8.0) -> None:
        limits = Timeout(reply=reply, health=health)
        self.calls = ClientCalls(servers, timeout=limits, exceptions=False, id=None, resubmit="same", prefix=b"p-")
        self.hub: ClientHub = self.calls.make_hub()

    def job(self, now: float = 0.0, unique: str | None = None) -> JobRequest:
        job = self.calls.background("f", b"", unique, Priority.NORMAL, None, now)
        self.hub.submit(job, now)
        return job

    def connect(self, now: float = 0.0) -> Link:
        (link,) = self.hub.take_connects(now)
        self.hub.connected(link, now)
        return link


def sent(link: Link) -> list[str]:
    assert link.session is not None
    return [p.name for p in Decoder().receive(link.session.take_output()) if isinstance(p, Packet)]


def up(bench: Bench) -> Link:
    """A connection that has served a job."""
    bench.job()
    link = bench.connect()
    bench.hub.receive(link, encode(Command.JOB_CREATED, b"H:1"), 0.0)
    assert sent(link) == ["SUBMIT_JOB_BG"]
    return link


def test_a_server_that_answers_is_asked_again_and_again() -> None:
    bench = Bench()
    link = up(bench)
    for now in (20.0, 40.0, 60.0):
        assert bench.hub.tick(now - 0.1) == now
        assert sent(link) == []
        assert bench.hub.tick(now) == now + 8.0
        assert sent(link) == ["ECHO_REQ"]
        bench.hub.receive(link, ECHO, now + 0.5)
        assert bench.hub.tick(now + 8.0) == now + 20.0
        assert bench.hub.take_dead() == []


def test_a_server_that_says_nothing_is_dead() -> None:
    bench = Bench()
    link = up(bench)
    bench.hub.tick(20.0)
    bench.hub.tick(27.9)
    assert bench.hub.take_dead() == []
    bench.hub.tick(28.0)
    assert bench.hub.take_dead() == [link]
    bench.hub.lost(link, 28.0, 0.5, "it does not answer")
    assert bench.hub.tick(28.0) is None
    assert bench.calls.router.reasons == ["it does not answer"]


def test_a_job_in_flight_is_sent_again_once_its_server_is_dead() -> None:
    bench = Bench(reply=None)
    up(bench)
    job = bench.calls.job("f", b"", None, Priority.NORMAL, None, 1.0)
    link = bench.hub.submit(job, 1.0)
    bench.hub.receive(link, encode(Command.JOB_CREATED, b"H:2"), 1.0)
    bench.hub.tick(20.0)
    bench.hub.tick(40.0)
    assert bench.hub.take_dead() == [link]
    bench.hub.lost(link, 40.0, 0.5, "it does not answer")
    bench.connect(40.0)
    assert sent(link) == ["SUBMIT_JOB"]


def test_whatever_comes_proves_that_a_server_is_there() -> None:
    bench = Bench()
    link = up(bench)
    bench.hub.tick(20.0)
    bench.hub.receive(link, ECHO[:1], 27.0)
    bench.hub.tick(28.0)
    assert bench.hub.take_dead() == []
    bench.hub.tick(36.0)
    assert bench.hub.take_dead() == [link]


def test_a_server_that_has_not_been_sent_everything_is_spared() -> None:
    bench = Bench()
    link = up(bench)
    bench.hub.tick(20.0)
    bench.hub.tick(28.0)
    assert bench.hub.take_dead() == [link]
    bench.hub.spare(link, 28.0)
    bench.hub.tick(35.9)
    assert bench.hub.take_dead() == []
    bench.hub.tick(36.0)
    assert bench.hub.take_dead() == [link]


def test_nobody_is_asked_where_that_is_switched_off() -> None:
    bench = Bench(health=None)
    link = up(bench)
    assert bench.hub.tick(1e6) is None
    assert sent(link) == []


@pytest.mark.parametrize("health", [20.0, None])
def test_a_server_that_was_away_is_tried_beside_the_jobs(health: float | None) -> None:
    bench = Bench("a,b", health)
    first = bench.job(unique="u").link
    bench.hub.take_connects(0.0)
    bench.hub.failed(first, 0.0, 0.5, "refused")
    second = bench.connect()
    assert second is not first and sent(second) == ["SUBMIT_JOB_BG"]
    assert bench.job(0.01, "u").link is second and bench.hub.trials == 0, "it is left alone for a while"
    assert bench.job(5.0, "u").link is second and bench.hub.trials == 1
    assert bench.job(5.0, "u").link is second and bench.hub.trials == 1
    assert bench.connect(5.0) is first
    assert sent(first) == ["ECHO_REQ"]
    assert bench.job(5.1, "u").link is second
    bench.hub.receive(first, ECHO, 5.2)
    assert bench.hub.trials == 0
    assert bench.job(5.3, "u").link is first


def test_a_server_that_is_still_away_costs_no_job_anything() -> None:
    bench = Bench("a,b")
    first = bench.job(unique="u").link
    bench.hub.take_connects(0.0)
    bench.hub.failed(first, 0.0, 0.5, "refused")
    second = bench.connect()
    now = 0.0
    for _ in range(4):
        now = bench.calls.router.down_until[first.index]
        assert bench.job(now, "u").link is second
        assert bench.hub.take_connects(now) == [first]
        bench.hub.failed(first, now, 0.5, "refused")
        assert bench.hub.trials == 0
    assert bench.calls.router.down_until[first.index] > now + 1.0, "it is tried less and less often"


def test_a_server_that_takes_connections_but_does_not_answer_is_not_used() -> None:
    bench = Bench("a,b")
    first = bench.job(unique="u").link
    bench.hub.take_connects(0.0)
    bench.hub.failed(first, 0.0, 0.5, "refused")
    second = bench.connect()
    bench.job(5.0, "u")
    assert bench.connect(5.0) is first
    bench.hub.tick(13.0)
    assert bench.hub.take_dead() == [first]
    bench.hub.lost(first, 13.0, 0.5, "it does not answer")
    assert bench.job(13.01, "u").link is second and bench.hub.trials == 0


def test_what_another_connection_has_lost_is_tried_over_this_one() -> None:
    bench = Bench("a,b")
    first = bench.job(unique="u").link
    bench.hub.connected(*bench.hub.take_connects(0.0), 0.0)
    bench.hub.receive(first, encode(Command.JOB_CREATED, b"H:1"), 0.0)
    sent(first)
    bench.calls.router.down(first.index, 0.0, 0.5, "another hub's words")
    assert bench.job(5.0, "u").link is not first
    assert sent(first) == ["ECHO_REQ"]
    bench.hub.receive(first, ECHO, 5.0)
    assert bench.job(5.0, "u").link is first


def test_if_all_are_away_the_job_itself_tries() -> None:
    bench = Bench("a,b")
    for now in (0.0, 60.0):
        job = bench.job(now)
        for _ in range(2):
            for link in bench.hub.take_connects(now):
                bench.hub.failed(link, now, 0.5, "refused")
        assert isinstance(job.error, ConnectError)
        assert bench.hub.trials == 0


def test_closing_in_the_middle() -> None:
    bench = Bench("a,b")
    first = bench.job(unique="u").link
    bench.hub.take_connects(0.0)
    bench.hub.failed(first, 0.0, 0.5, "refused")
    bench.connect()
    bench.job(5.0, "u")
    bench.hub.close()
    assert bench.hub.trials == 0 and bench.hub.tick(100.0) is None


def test_limits_are_above_zero() -> None:
    assert make_timeout(None).health is None
    assert make_timeout(5).health == Timeout().health
    assert make_timeout(Timeout(reconnect=0)).reconnect == 0
    for bad in (Timeout(connect=0), Timeout(health=-1), Timeout(reconnect=-1), Timeout(job=float("nan"))):
        with pytest.raises(UsageError, match="above 0"):
            make_timeout(bad)

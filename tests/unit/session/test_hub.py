# SPDX-License-Identifier: BSD-3-Clause
"""A client without I/O: connections asked for, failover, repeated submissions, deadlines."""

from __future__ import annotations

from typing import Any

import pytest

from gearfast._codec import Decoder, Packet, encode
from gearfast.errors import (
    ConnectError,
    ConnectionLost,
    DeadlineExceeded,
    JobTimeout,
    SubmitUncertain,
    UsageError,
)
from gearfast.protocol import Command
from gearfast.session.calls import ClientCalls
from gearfast.session.hub import MAX_SUBMISSIONS, PROBE_SECONDS, ClientHub, Link
from gearfast.session.requests import EchoRequest, JobRequest, Timeout
from gearfast.types import Priority

LIMITS = Timeout(connect=5.0, reply=30.0, job=None, reconnect=10.0, health=None)


class Bench:
    """A hub whose connections are made and lost by hand."""

    def __init__(self, servers: str = "a", resubmit: Any = "same", timeout: Timeout = LIMITS) -> None:
        self.calls = ClientCalls(servers, timeout=timeout, exceptions=False, id=None, resubmit=resubmit, prefix=b"p-")
        self.hub: ClientHub = self.calls.make_hub()

    def job(self, now: float = 0.0, *, unique: str | None = None, timeout: float | None = None) -> JobRequest:
        job = self.calls.job("f", b"w", unique, Priority.NORMAL, timeout, now)
        self.hub.submit(job, now)
        self.hub.watch(job)
        return job

    def connect(self, now: float = 0.0) -> list[Link]:
        links = self.hub.take_connects(now)
        for link in links:
            self.hub.connected(link, now)
        return links

    def refuse(self, now: float = 0.0) -> list[Link]:
        links = self.hub.take_connects(now)
        for link in links:
            self.hub.failed(link, now, 0.5, "refused")
        return links

    def lose(self, link: Link, now: float, reason: str, *, repeat: bool = True) -> None:
        """The connection is lost after all of the output has gone out."""
        if link.session is not None:
            link.session.take_output()
        self.hub.lost(link, now, 0.5, reason, repeat=repeat)

    def sent(self, link: Link) -> list[str]:
        assert link.session is not None
        return [p.name for p in Decoder().receive(link.session.take_output()) if isinstance(p, Packet)]

    def answer(self, link: Link, *packets: bytes, now: float = 0.0) -> None:
        self.hub.receive(link, b"".join(packets), now)


def created(handle: bytes) -> bytes:
    return encode(Command.JOB_CREATED, handle)


def complete(handle: bytes, result: bytes = b"r") -> bytes:
    return encode(Command.WORK_COMPLETE, handle, result)


def test_nothing_is_connected_before_the_first_request() -> None:
    bench = Bench()
    assert bench.hub.take_connects(0.0) == []
    assert bench.hub.tick(0.0) is None
    job = bench.job(7.0)
    (link,) = bench.connect(7.0)
    assert bench.hub.take_connects(7.0) == []
    assert bench.sent(link) == ["SUBMIT_JOB"]
    bench.answer(link, created(b"H:1"), complete(b"H:1"))
    assert (job.result, job.server, bench.hub.news) == (b"r", "a:4730", [job])


def test_equal_uniques_meet_at_one_server() -> None:
    bench = Bench("a,b,c,d")
    links = {bench.job(unique="same").link.label for _ in range(5)}
    assert len(links) == 1
    assert len({bench.job(unique=f"u{n}").link.label for n in range(50)}) == 4


def test_a_server_that_is_down_is_passed_over() -> None:
    bench = Bench("a,b")
    job = bench.job()
    first = job.link
    assert bench.refuse() == [first]
    second = job.link
    assert second is not first and not job.done
    bench.connect()
    assert bench.sent(second) == ["SUBMIT_JOB"]
    assert [(move.past.server, move.new) for move in bench.hub.take_moves()] == [(first.label, second.label)]
    later = [bench.job(0.01) for _ in range(20)]
    assert {request.link for request in later} == {second}
    theirs = [request for request in later if bench.hub.router.rank(request.unique)[0] == first.index]
    (move,) = bench.hub.take_moves()  # of the first of them; the others' way is the same
    assert 1 < len(theirs) < len(later)
    assert (move.past.server, move.past.reason, move.new, move.submissions) == (first.label, "refused", second.label, 0)
    more = [bench.job(0.02) for _ in range(20)]
    assert {request.link for request in more} == {second} and bench.hub.take_moves() == []


def test_no_server_at_all() -> None:
    bench = Bench("a,b")
    job = bench.job()
    bench.refuse()
    bench.refuse()
    assert isinstance(job.error, ConnectError)
    assert job.error.servers == {"a:4730": "refused", "b:4730": "refused"}
    assert "'f'" in str(job.error) and "a:4730" in str(job.error)
    again = bench.job(0.02)
    bench.refuse(0.02)
    bench.refuse(0.02)
    assert isinstance(again.error, ConnectError)


def test_a_request_to_one_server_does_not_go_to_another() -> None:
    bench = Bench("a,b")
    echo = EchoRequest(b"x")
    bench.hub.send(echo, 1, 0.0)
    bench.refuse()
    assert isinstance(echo.error, ConnectError) and "ECHO_REQ" in str(echo.error)


def test_policy_same_sends_again_to_the_same_server() -> None:
    bench = Bench("a,b")
    first, second = bench.job(unique="u"), bench.job(unique="u")
    (link,) = bench.connect()
    bench.answer(link, created(b"H:1"))
    bench.lose(link, 1.0, "reset")
    assert (first.link, second.link, first.done, second.done) == (link, link, False, False)
    assert bench.refuse(1.0) == [link]
    assert not first.done
    retry = bench.hub.tick(1.0)
    assert retry is not None
    assert bench.connect(retry) == [link]
    assert bench.sent(link) == ["SUBMIT_JOB", "SUBMIT_JOB"]
    bench.answer(link, created(b"H:7"), created(b"H:7"), complete(b"H:7"), complete(b"H:7"))
    assert (first.result, second.result) == (b"r", b"r")
    assert bench.hub.news.count(first) == 1


def test_policy_same_gives_up_in_the_end() -> None:
    bench = Bench()
    before, after = bench.job(), bench.job()
    (link,) = bench.connect()
    bench.answer(link, created(b"H:1"))
    now: float | None = 1.0
    bench.lose(link, 1.0, "reset")
    while not (before.done and after.done):
        assert now is not None
        bench.refuse(now)
        now = bench.hub.tick(now)
    assert type(before.error) is ConnectionLost and before.error.handle == "H:1"
    assert isinstance(after.error, SubmitUncertain)
    assert "refused" in str(after.error) and after.error.server == "a:4730"


@pytest.mark.parametrize("background", [False, True])
def test_policy_never(background: bool) -> None:
    bench = Bench("a,b", "never")
    known, unknown = bench.job(unique="u"), bench.job(unique="u")
    unknown.background = background
    (link,) = bench.connect()
    bench.answer(link, created(b"H:1"))
    bench.lose(link, 1.0, "reset")
    assert type(known.error) is ConnectionLost
    assert (known.error.server, known.error.handle) == (link.label, "H:1")
    assert type(unknown.error) is SubmitUncertain
    assert bench.hub.take_connects(1.0) == []


def test_policy_any_goes_on_at_another_server() -> None:
    bench = Bench("a,b", "any")
    job = bench.job()
    (link,) = bench.connect()
    bench.answer(link, created(b"H:1"))
    bench.lose(link, 1.0, "reset")
    other = job.link
    assert other is not link
    bench.connect(1.0)
    assert bench.sent(other) == ["SUBMIT_JOB"]
    bench.answer(other, created(b"H:9"), complete(b"H:9"))
    assert (job.result, job.server) == (b"r", other.label)


def test_policy_any_goes_round_until_its_time_is_up() -> None:
    bench = Bench("a,b", "any")
    job = bench.job()
    (link,) = bench.connect()
    bench.lose(link, 1.0, "reset")
    now: float | None = 1.0
    tried = []
    while not job.done:
        assert now is not None
        tried += [link.label for link in bench.refuse(now)]
        if not job.done:
            now = bench.hub.tick(now)
    assert set(tried) == {"a:4730", "b:4730"} and len(tried) > 4
    assert isinstance(job.error, SubmitUncertain)
    assert now is not None and 11.0 <= now <= 12.0


def test_a_server_that_hangs_up_each_time_is_not_asked_for_ever() -> None:
    bench = Bench(timeout=LIMITS._replace(reconnect=1e9))
    job = bench.job()
    now = 0.0
    for _ in range(MAX_SUBMISSIONS):
        now = max(now, job.link.connect_at)
        bench.connect(now)
        bench.answer(job.link, created(b"H:1"))
        bench.lose(job.link, now, "reset")
    assert isinstance(job.error, ConnectionLost)
    assert now > 0.1


def test_a_job_that_was_never_sent_may_go_anywhere_whatever_the_policy() -> None:
    bench = Bench("a,b", "never")
    job = bench.job()
    bench.refuse()
    bench.connect()
    bench.answer(job.link, created(b"H:1"), complete(b"H:1"))
    assert job.result == b"r"


def test_a_broken_protocol_is_not_tried_again() -> None:
    bench = Bench("a,b", "any")
    job = bench.job()
    (link,) = bench.connect()
    bench.lose(link, 1.0, "no Gearman", repeat=False)
    assert isinstance(job.error, SubmitUncertain)


def test_other_requests_fail_with_the_connection() -> None:
    bench = Bench()
    echo = EchoRequest(b"x")
    bench.hub.send(echo, 0, 0.0)
    (link,) = bench.connect()
    bench.lose(link, 0.0, "reset")
    assert isinstance(echo.error, ConnectionLost)
    bench.lose(link, 0.0, "twice")


def test_reply_in_time_then_result_in_time() -> None:
    bench = Bench()
    job = bench.job(timeout=50.0)
    (link,) = bench.connect()
    assert bench.hub.tick(0.0) == 30.0
    bench.answer(link, created(b"H:1"))
    assert bench.hub.tick(30.0) == 50.0
    assert bench.hub.tick(50.0) is None
    assert isinstance(job.error, JobTimeout) and job.error.handle == "H:1"
    bench.answer(link, complete(b"H:1"))
    assert bench.hub.news == [job]
    after = bench.job(60.0)
    bench.answer(link, created(b"H:2"), complete(b"H:2"))
    assert after.result == b"r"


def test_no_reply_in_time() -> None:
    bench = Bench()
    job = bench.job()
    bench.connect()
    bench.hub.tick(29.9)
    assert not job.done
    bench.hub.tick(30.0)
    assert type(job.error) is DeadlineExceeded and "a:4730" in str(job.error)


def test_a_deadline_that_comes_while_nothing_can_be_connected() -> None:
    bench = Bench()
    job = bench.job(timeout=2.0)
    (link,) = bench.connect()
    bench.lose(link, 1.0, "reset")
    bench.refuse(1.0)
    bench.hub.tick(1.9)
    assert not job.done
    bench.hub.tick(2.0)
    assert isinstance(job.error, JobTimeout)


def test_a_repeated_job_has_time_for_its_reply_again() -> None:
    bench = Bench()
    job = bench.job()
    (link,) = bench.connect()
    bench.lose(link, 29.0, "reset")
    bench.connect(29.0)
    bench.hub.tick(31.0)
    assert not job.done
    bench.answer(link, created(b"H:1"), complete(b"H:1"))
    assert job.result == b"r"


def test_finished_jobs_leave_no_deadline_behind() -> None:
    bench = Bench()
    job = bench.job()
    (link,) = bench.connect()
    bench.answer(link, created(b"H:1"), complete(b"H:1"))
    assert job.done and bench.hub.tick(1.0) is None


def test_a_forgotten_job_is_sent_once_more() -> None:
    """gearmand gives a repeated unique to a job that it has abandoned, and then tells nobody of its end."""
    bench = Bench()
    job = bench.job()
    (link,) = bench.connect()
    bench.lose(link, 1.0, "reset")
    bench.connect(1.0)
    bench.answer(link, created(b"H:1"), now=1.0)
    assert bench.sent(link) == ["SUBMIT_JOB"]
    bench.hub.tick(1.0 + PROBE_SECONDS)
    assert bench.sent(link) == ["GET_STATUS"]
    bench.answer(link, encode(Command.STATUS_RES, b"H:1", b"1", b"1", b"0", b"0"))
    assert bench.sent(link) == []
    bench.hub.tick(1.0 + 2 * PROBE_SECONDS)
    assert bench.sent(link) == ["GET_STATUS"]
    bench.answer(link, encode(Command.STATUS_RES, b"H:1", b"0", b"0", b"0", b"0"))
    assert bench.sent(link) == ["SUBMIT_JOB"]
    bench.answer(link, created(b"H:2"), complete(b"H:2"))
    assert job.result == b"r"
    assert bench.hub.news == [job]


def test_a_probe_that_is_late_changes_nothing() -> None:
    bench = Bench()
    job = bench.job()
    (link,) = bench.connect()
    bench.lose(link, 1.0, "reset")
    bench.connect(1.0)
    bench.answer(link, created(b"H:1"))
    bench.hub.tick(1.0 + PROBE_SECONDS)
    bench.sent(link)
    bench.answer(link, complete(b"H:1"), encode(Command.STATUS_RES, b"H:1", b"0", b"0", b"0", b"0"))
    assert job.result == b"r" and bench.sent(link) == []


def test_closing_fails_what_is_awaited() -> None:
    bench = Bench("a,b")
    sent, waiting = bench.job(unique="x"), None
    bench.connect()
    while waiting is None or waiting.link is sent.link:
        waiting = bench.job()
    bench.answer(sent.link, created(b"H:1"))
    bench.hub.close()
    assert type(sent.error) is ConnectionLost
    assert isinstance(waiting.error, ConnectionLost)


def test_abandoning_keeps_the_connection_good() -> None:
    bench = Bench()
    first, second = bench.job(), bench.job()
    (link,) = bench.connect()
    bench.hub.abandon(first)
    bench.answer(link, created(b"H:1"), created(b"H:2"), complete(b"H:1"), complete(b"H:2", b"two"))
    assert second.result == b"two" and first.result == b"" and bench.hub.news == [second]


def test_an_abandoned_job_is_not_sent_at_all_if_it_still_can_be_kept_back() -> None:
    bench = Bench()
    first, second = bench.job(), bench.job()
    bench.hub.abandon(first)
    (link,) = bench.connect()
    assert bench.sent(link) == ["SUBMIT_JOB"]
    bench.answer(link, created(b"H:1"), complete(b"H:1"))
    assert second.result == b"r"


def test_patience_for_a_connection_leaves_time_for_another_server() -> None:
    one, two = Bench(), Bench("a,b")
    assert one.hub.patience(one.hub.links[0], 0.0) == 5.0
    assert one.hub.patience(one.job(timeout=3.0).link, 0.0) == 5.0
    assert two.hub.patience(two.job(timeout=3.0).link, 0.0) == 1.5
    endless = Bench(timeout=Timeout(None, None, None))
    assert endless.hub.patience(endless.job().link, 0.0) is None


def test_policies_are_checked() -> None:
    bench = Bench()
    with pytest.raises(UsageError, match="resubmit"):
        ClientHub(bench.calls.router, timeout=LIMITS, resubmit="maybe")  # type: ignore[arg-type]


@pytest.mark.parametrize("background", [False, True])
def test_policy_unique_repeats_only_what_has_a_unique_of_the_callers(background: bool) -> None:
    bench = Bench("a,b", "unique")
    known, unknown = bench.job(unique=None), bench.job(unique=None)
    keyed = bench.job(unique="u")
    for job in (unknown, keyed):
        job.background = background
    bench.connect()
    bench.answer(known.link, created(b"H:1"))
    lost = {job.link for job in (known, unknown, keyed)}
    home = keyed.link
    for link in lost:
        bench.lose(link, 1.0, "reset")
    assert type(known.error) is (ConnectionLost if known.handle else SubmitUncertain)
    assert type(unknown.error) is SubmitUncertain
    assert not keyed.done and keyed.link is home
    bench.connect(1.0)
    assert bench.sent(home) == ["SUBMIT_JOB"]


def test_policy_unique_is_the_default() -> None:
    calls = Bench(resubmit="unique").calls
    hub = ClientHub(calls.router, timeout=LIMITS)
    job = calls.job("f", b"w", None, Priority.NORMAL, None, 0.0)
    hub.submit(job, 0.0)
    (link,) = hub.take_connects(0.0)
    hub.connected(link, 0.0)
    assert link.session is not None and link.session.take_output()
    hub.lost(link, 1.0, 0.5, "reset")
    assert type(job.error) is SubmitUncertain


@pytest.mark.parametrize("resubmit", ["unique", "same", "any", "never"])
def test_what_never_went_out_is_sent_again_whatever_the_policy(resubmit: str) -> None:
    bench = Bench("a", resubmit)
    sent = bench.job()
    (link,) = bench.connect()
    bench.sent(link)
    refused, kept = bench.job(), bench.job()
    assert link.session is not None
    unsent = len(refused.packet)
    assert len(link.session.take_output()) == len(refused.packet) + len(kept.packet)
    later = bench.job()
    bench.hub.lost(link, 1.0, 0.5, "reset", unsent=unsent + len(kept.packet))
    assert not refused.done and not kept.done and not later.done
    assert sent.done == (resubmit in ("unique", "never"))
    bench.connect(1.0)
    assert bench.sent(link) == ["SUBMIT_JOB"] * (3 if sent.done else 4)
    assert (refused.submissions, kept.submissions, later.submissions) == (1, 1, 1)


def test_what_went_out_in_part_may_be_there() -> None:
    bench = Bench("a", "unique")
    job = bench.job()
    (link,) = bench.connect()
    bench.sent(link)
    bench.hub.lost(link, 1.0, 0.5, "reset", unsent=len(job.packet) - 1)
    assert type(job.error) is SubmitUncertain


def test_what_never_goes_out_is_not_tried_for_ever() -> None:
    bench = Bench("a,b", "unique")
    job = bench.job()
    tried = []
    while not job.done:
        (link,) = bench.connect(1.0)
        tried.append(link.label)
        bench.hub.lost(link, 1.0, 0.5, "reset")
    assert isinstance(job.error, ConnectError)
    assert set(job.error.servers) == {"a:4730", "b:4730"} and len(tried) == 3


def test_a_repetition_that_never_went_out_leaves_the_handle_known() -> None:
    bench = Bench("a", "unique", LIMITS._replace(reconnect=0.0))
    job = bench.job(unique="u")
    (link,) = bench.connect()
    bench.answer(link, created(b"H:1"))
    bench.lose(link, 1.0, "reset")
    bench.connect(1.0)
    bench.hub.lost(link, 1.0, 0.5, "reset")  # nothing was taken
    bench.refuse(1.0)
    assert type(job.error) is ConnectionLost and job.error.handle == "H:1"
    assert "H:1" in str(job.error)

# SPDX-License-Identifier: BSD-3-Clause
"""A client that asks for a job's result, without I/O: whom it asks, in which order, and what it makes of answers."""

from __future__ import annotations

from typing import Any

import pytest

from gearfast._codec import Decoder, Packet, encode
from gearfast.errors import ConnectError, ConnectionLost, JobFailed, JobNotFound, JobTimeout, UnknownOption
from gearfast.protocol import Command
from gearfast.session.calls import ClientCalls
from gearfast.session.fetch import Fetch
from gearfast.session.hub import ClientHub, Link
from gearfast.session.requests import JobRequest, Request, Timeout
from gearfast.types import Handle

LIMITS = Timeout(connect=5.0, reply=30.0, job=None, reconnect=10.0, health=None)
YES = encode(Command.OPTION_RES, b"results")
NO = encode(Command.ERROR, b"UNKNOWN_OPTION", b"Server does not recognize given option")


def created(handle: bytes = b"H:1") -> bytes:
    return encode(Command.JOB_CREATED, handle)


def unknown(handle: bytes = b"H:9") -> bytes:
    warning = encode(Command.WORK_WARNING, handle, b"gearfast.result: UNKNOWN_JOB No such job")
    return created(handle) + warning + encode(Command.WORK_FAIL, handle)


class Bench:
    """A hub and one question over it; connections are made and lost by hand."""

    def __init__(self, servers: str = "a", job: Any = "u", resubmit: Any = "unique", **more: Any) -> None:
        self.calls = ClientCalls(servers, timeout=LIMITS, exceptions=False, id=None, resubmit=resubmit, prefix=b"p-")
        self.hub: ClientHub = self.calls.make_hub()
        self.fetch = Fetch(self.calls, job, more.get("function"), more.get("timeout"), 0.0)

    def next(self, now: float = 0.0) -> tuple[Link, Request] | None:
        """Sends the next request; the link to the server that it goes to."""
        request = self.fetch.next(now)
        if request is None:
            return None
        link = self.hub.send(request, self.fetch.index, now)
        self.hub.watch(request)
        for each in self.hub.take_connects(now):
            self.hub.connected(each, now)
        return link, request

    def sent(self, link: Link) -> list[Packet]:
        assert link.session is not None
        return [packet for packet in Decoder().receive(link.session.take_output()) if isinstance(packet, Packet)]

    def answer(self, packets: bytes, now: float = 0.0) -> Link:
        """The next request is answered so."""
        step = self.next(now)
        assert step is not None
        link, request = step
        self.hub.receive(link, packets, now)
        assert request.done
        return link


def test_first_whether_then_what() -> None:
    bench = Bench(job=b"u\xff", function="f")
    link = bench.answer(YES)
    assert [packet.args for packet in bench.sent(link)] == [(b"results",)]
    bench.answer(
        created() + encode(Command.WORK_STATUS, b"H:1", b"1", b"2") + encode(Command.WORK_COMPLETE, b"H:1", b"r")
    )
    (packet,) = bench.sent(link)
    assert (packet.name, packet.args[0], packet.args[2]) == ("SUBMIT_JOB", b"gearfast.result", b"f\0u\xff")
    assert bench.next() is None
    assert bench.fetch.result() == b"r"


def test_the_next_is_asked_if_one_does_not_know_it() -> None:
    bench = Bench("a,b,c")
    first = bench.answer(YES)
    assert bench.answer(unknown()) is first
    second = bench.answer(NO)
    third = bench.answer(YES)
    assert bench.answer(created() + encode(Command.WORK_COMPLETE, b"H:1", b"r")) is third
    assert len({first.index, second.index, third.index}) == 3
    assert [first.index, second.index, third.index] == bench.calls.router.rank(b"u"), "that of the unique first"
    assert bench.next() is None
    assert bench.fetch.result() == b"r"


@pytest.mark.parametrize(
    ("answers", "kind"),
    [
        ([NO, NO], UnknownOption),
        ([NO, YES, unknown()], JobNotFound),
        ([YES, unknown(), NO], JobNotFound),
        ([YES, unknown(), YES, unknown()], JobNotFound),
    ],
)
def test_which_of_several_errors(answers: list[bytes], kind: type[Exception]) -> None:
    bench = Bench("a,b")
    for answer in answers:
        bench.answer(answer)
    assert bench.next() is None
    with pytest.raises(kind):
        bench.fetch.result()


def test_one_that_could_not_be_asked_may_have_it() -> None:
    bench = Bench("a,b")
    request = bench.fetch.next(0.0)
    assert request is not None
    bench.hub.send(request, bench.fetch.index, 0.0)
    (link,) = bench.hub.take_connects(0.0)
    bench.hub.failed(link, 0.0, 0.5, "refused")
    assert request.done
    bench.answer(YES)
    bench.answer(unknown())
    assert bench.next() is None
    with pytest.raises(ConnectError):
        bench.fetch.result()


def test_a_failure_is_an_answer() -> None:
    bench = Bench("a,b")
    bench.answer(YES)
    bench.answer(created() + encode(Command.WORK_FAIL, b"H:1"))
    assert bench.next() is None
    with pytest.raises(JobFailed, match=r"^job H:1 .* failed$"):
        bench.fetch.result()


def test_a_workers_own_warning_says_nothing() -> None:
    bench = Bench("a,b")
    bench.answer(YES)
    warning = encode(Command.WORK_WARNING, b"H:1", b"UNKNOWN_JOB is what I say")
    bench.answer(created() + warning + encode(Command.WORK_FAIL, b"H:1"))
    assert bench.next() is None
    with pytest.raises(JobFailed, match=r"failed$"):
        bench.fetch.result()


def test_a_handle_is_asked_for_at_its_own_server() -> None:
    bench = Bench("a,b,c", Handle("H:1", "b:4730"))
    assert bench.answer(YES).label == "b:4730"
    bench.answer(unknown())
    assert bench.next() is None


@pytest.mark.parametrize("resubmit", ["unique", "same", "any"])
def test_after_a_lost_connection_the_same_server_is_asked_again(resubmit: str) -> None:
    """Whatever the policy says of jobs: another server knows nothing of it."""
    bench = Bench("a,b", resubmit=resubmit)
    link = bench.answer(YES)
    step = bench.next()
    assert step is not None
    _, request = step
    bench.hub.receive(link, created(), 0.0)
    bench.sent(link)
    bench.hub.lost(link, 1.0, 0.5, "closed")
    assert bench.hub.take_connects(1.0) == [link]
    bench.hub.connected(link, 1.0)
    assert [packet.name for packet in bench.sent(link)] == ["SUBMIT_JOB"]
    bench.hub.receive(link, created() + encode(Command.WORK_COMPLETE, b"H:1", b"r"), 1.0)
    assert request.done
    assert bench.next() is None
    assert bench.fetch.result() == b"r"


def test_not_if_nothing_is_ever_sent_again() -> None:
    bench = Bench("a", resubmit="never")
    link = bench.answer(YES)
    step = bench.next()
    assert step is not None
    _, request = step
    assert isinstance(request, JobRequest)
    bench.sent(link)
    bench.hub.lost(link, 1.0, 0.5, "closed")
    assert bench.next(1.0) is None
    with pytest.raises(ConnectionLost):
        bench.fetch.result()


def test_the_time_is_for_all_servers() -> None:
    bench = Bench("a,b", timeout=5.0)
    bench.answer(YES)
    step = bench.next(1.0)
    assert step is not None
    link, request = step
    bench.hub.receive(link, created(), 1.0)
    assert request.deadline == 5.0
    bench.hub.tick(5.0)
    assert request.done
    assert bench.next(5.0) is None
    with pytest.raises(JobTimeout, match="no result in time"):
        bench.fetch.result()


@pytest.mark.parametrize("servers", ["a", "a,b"])
def test_a_server_that_says_nothing_at_all_in_that_time(servers: str) -> None:
    """It is the job's result that did not come; what this client has asked first is nobody's business."""
    bench = Bench(servers, timeout=5.0)
    step = bench.next()
    assert step is not None
    bench.hub.tick(5.0)
    assert step[1].done
    assert bench.next(5.0) is None
    with pytest.raises(JobTimeout, match=r"^job u: no result in time$"):
        bench.fetch.result()

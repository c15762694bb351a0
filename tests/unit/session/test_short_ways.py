# SPDX-License-Identifier: BSD-3-Clause
"""The short ways of `session/_client` do as the long ways of the classes that inherit them, whatever comes."""

from __future__ import annotations

from collections import deque
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearfast._codec import encode
from gearfast.errors import GearfastError, UsageError
from gearfast.protocol import Command
from gearfast.session.calls import ClientCalls
from gearfast.session.client import ClientSession
from gearfast.session.hub import ClientHub
from gearfast.session.requests import EchoRequest, JobRequest, Request, Timeout
from gearfast.session.routing import Router, parse_servers
from gearfast.types import Priority

HANDLES = (b"H:1", b"H:2", b"H:3", b"H:1\0")
KEPT = 256
"""Time limits that are not looked through, be they of requests that are done."""
KINDS = ("job", "background", "with events", "abandoned", "echo")

packets = st.one_of(
    st.builds(lambda handle: encode(Command.JOB_CREATED, handle), st.sampled_from(HANDLES)),
    st.builds(lambda handle: encode(Command.WORK_COMPLETE, handle, b"r"), st.sampled_from(HANDLES[:3])),
    st.builds(lambda handle: encode(Command.WORK_DATA, handle, b"d"), st.sampled_from(HANDLES[:3])),
    st.builds(lambda handle: encode(Command.WORK_FAIL, handle), st.sampled_from(HANDLES)),
    st.builds(lambda handle: encode(Command.WORK_EXCEPTION, handle, b"e"), st.sampled_from(HANDLES[:3])),
    st.sampled_from(
        [encode(Command.ERROR, b"QUEUE_FULL", b"no"), encode(Command.ECHO_RES, b"x"), b"\0RE?", b"text\r\n"]
    ),
)


def make(kind: str) -> Request:
    if kind == "echo":
        return EchoRequest(b"x")
    command = Command.SUBMIT_JOB_BG if kind == "background" else Command.SUBMIT_JOB
    job = JobRequest(encode(command, b"f", b"u", b"w"), "f", b"u", kind == "background")
    job.abandoned = kind == "abandoned"
    if kind == "with events":
        job.events = deque()
    return job


def outcome(kinds: list[str], pieces: list[bytes | bytearray]) -> tuple[object, ...]:
    """All that can be seen of a session after these requests and what came for them."""
    session = ClientSession("server:1", exceptions=False)
    requests = [make(kind) for kind in kinds]
    for request in requests:
        session.send(request)
    error = ""
    for piece in pieces:
        try:
            session.receive(piece)
        except GearfastError as refused:
            error = str(refused)
            break
    seen = []
    for request in requests:
        more = (request.handle, request.server, list(request.events or ())) if isinstance(request, JobRequest) else ()
        seen.append((request.done, str(request.error), request.result, more))
    places = {id(request): place for place, request in enumerate(requests)}
    news = [places[id(request)] for request in session.news]
    return seen, news, [places[id(request)] for request in session.pending()], session.busy, error


@given(st.lists(st.sampled_from(KINDS), max_size=6), st.lists(packets, max_size=12), st.integers(1, 40))
def test_packets_are_taken_alike(kinds: list[str], stream: list[bytes], cut: int) -> None:
    whole = b"".join(stream)
    # The short way is for whole packets in bytes only.
    assert outcome(kinds, [whole]) == outcome(kinds, [bytearray(whole)])
    parts: list[bytes | bytearray] = [whole[at : at + cut] for at in range(0, len(whole), cut)]
    assert outcome(kinds, [whole]) == outcome(kinds, parts)


def calls(**settings: Any) -> ClientCalls:
    timeout = settings.pop("timeout", Timeout())
    return ClientCalls("a", timeout=timeout, exceptions=True, id=None, resubmit="same", prefix=b"p-", **settings)


def told(job: JobRequest) -> tuple[object, ...]:
    limits = job.deadline, job.reply_by
    return job.packet, job.function, job.unique, job.background, job.keyed, limits, job.retry, job.handle, job.result


@pytest.mark.parametrize("function", ["f", "größe", "f" * 8191, "f" * 8192, "a\0b", "", "\udc80", b"f", None])
@pytest.mark.parametrize("unique", [None, "u", b"u", "ü", "u" * 64, "u" * 65, b"a\0b", "", bytearray(b"u")])
@pytest.mark.parametrize("workload", [b"", b"w\0w", b"w" * 100, b"w" * 101, bytearray(b"w"), "text"])
def test_jobs_are_made_alike(function: Any, unique: Any, workload: Any) -> None:
    for timeout, own in ((Timeout(), None), (Timeout(), 5), (Timeout(job=9.0), None), (None, None), (3.0, 4.0)):
        for short, long in (("job", "make_job"), ("background", "make_background")):
            ways = []
            for name in (short, long):
                try:
                    one = calls(timeout=timeout, max_workload=100)
                    ways.append(told(getattr(one, name)(function, workload, unique, Priority.NORMAL, own, 100.0)))
                except UsageError as error:
                    ways.append((type(error),))
            assert ways[0] == ways[1]


def test_the_name_of_the_last_function_is_not_the_next_ones() -> None:
    one = calls()
    for function in ("f", "g", "f", "größe", "g"):
        job = one.job(function, b"", "u", Priority.NORMAL, None, 0.0)
        assert job.packet == encode(Command.SUBMIT_JOB, function.encode(), b"u", b"") and job.function == function


def test_time_limits_of_what_is_done_are_not_kept() -> None:
    hub = ClientHub(Router(parse_servers("a")), timeout=Timeout())
    hub.connected(hub.links[0], 0.0)
    one = calls()
    kept = one.job("f", b"", None, Priority.NORMAL, None, 0.0)
    hub.start(kept, 0.0)
    for _ in range(10 * KEPT):
        job = one.job("f", b"", None, Priority.NORMAL, None, 0.0)
        hub.start(job, 0.0)
        job.done = True
    assert len(hub.heap) <= KEPT + 1
    assert any(entry[2] is kept for entry in hub.heap)


@pytest.mark.parametrize("slow", [0, 1, 30, 2000])
def test_what_is_done_leaves_the_top_whatever_lies_below(slow: int) -> None:
    """`slow`: requests that are not done, with later time limits; and one of the fast ones is not, either."""
    hub = ClientHub(Router(parse_servers("a")), timeout=Timeout(health=None))
    hub.connected(hub.links[0], 0.0)
    one = calls()
    for _ in range(slow):
        hub.start(one.job("f", b"", None, Priority.NORMAL, 90.0, 50.0), 50.0)
    fast = [one.job("f", b"", None, Priority.NORMAL, None, 0.0) for _ in range(100)]
    for job in fast:
        hub.start(job, 0.0)
        job.done = job is not fast[60]
    assert hub.tick(1.0) == 30.0 and hub.heap[0][2] is fast[60]
    fast[60].done = True
    assert hub.tick(1.0) == (80.0 if slow else None) and len(hub.heap) == slow

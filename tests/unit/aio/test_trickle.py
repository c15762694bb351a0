# SPDX-License-Identifier: BSD-3-Clause
"""When jobs go out: at once, joined in a turn of the loop, or held back for two turns where they would trickle."""

from __future__ import annotations

import asyncio
from time import monotonic

import pytest

from gearfast._codec import encode
from gearfast.aio import stream
from gearfast.aio.stream import Pump
from gearfast.protocol import Command
from gearfast.session.calls import ClientCalls
from gearfast.types import Priority


class Sink:
    """A connection that takes everything."""

    unsent_bytes = refused_bytes = 0

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.pieces.append(data)

    def close(self) -> None:
        pass


async def turns_until_sent(jobs: int) -> int:
    """Turns of the loop that the next job waits for, when `jobs` are under way and one of them has just ended."""
    calls = ClientCalls(
        "a", timeout=None, exceptions=False, id=None, resubmit="unique", prefix=b"p-", max_result=1 << 20
    )
    pump = Pump(calls.make_hub())
    link = pump.hub.links[0]
    link.io = sink = Sink()
    pump.hub.connected(link, monotonic())
    loop = asyncio.get_running_loop()

    def submit() -> None:
        job = calls.job("f", b"", None, Priority.NORMAL, None, monotonic())
        job.waiter = loop.create_future()
        pump.start(job, monotonic())

    for _ in range(jobs):
        submit()
    for _ in range(5):
        await asyncio.sleep(0)
    assert b"".join(sink.pieces).count(b"\0REQ") == jobs and len(sink.pieces) == min(jobs, 2)
    for number in range(jobs):
        pump._received(link, encode(Command.JOB_CREATED, b"H:a:%d" % number))
    pump._received(link, encode(Command.WORK_COMPLETE, b"H:a:0", b""))
    sink.pieces.clear()
    submit()
    turns = 0
    while not sink.pieces:
        turns += 1
        await asyncio.sleep(0)
    pump.close()
    return turns


@pytest.mark.parametrize(
    ("jobs", "trickle", "turns"),
    [(1, 60.0, 0), (2, 60.0, 1), (7, 60.0, 1), (16, 60.0, 3), (16, 0.0, 1)],
    ids=["alone", "two", "few", "many that trickle", "many, now and then"],
)
def test_how_long_a_job_is_held_back(monkeypatch: pytest.MonkeyPatch, jobs: int, trickle: float, turns: int) -> None:
    monkeypatch.setattr(stream, "TRICKLE", trickle)
    assert asyncio.run(turns_until_sent(jobs)) == turns

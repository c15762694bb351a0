# SPDX-License-Identifier: BSD-3-Clause
"""When jobs go out: at once, joined in a turn of the loop, or held back where they would trickle."""

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


class Traffic:
    """A pump with one connection, of which nobody but the test is the other end."""

    def __init__(self) -> None:
        self.calls = ClientCalls(
            "a", timeout=None, exceptions=False, id=None, resubmit="unique", prefix=b"p-", max_result=1 << 20
        )
        self.pump = Pump(self.calls.make_hub())
        self.link = self.pump.hub.links[0]
        self.link.io = self.sink = Sink()
        self.pump.hub.connected(self.link, monotonic())
        self.loop = asyncio.get_running_loop()
        self.ended = 0

    def submit(self) -> None:
        """One job more."""
        job = self.calls.job("f", b"", None, Priority.NORMAL, None, monotonic())
        job.waiter = self.loop.create_future()
        self.pump.start(job, monotonic())

    async def under_way(self, jobs: int) -> None:
        """So many jobs have gone out, and have their handles."""
        for _ in range(jobs):
            self.submit()
        for _ in range(5):
            await asyncio.sleep(0)
        assert b"".join(self.sink.pieces).count(b"\0REQ") == jobs and len(self.sink.pieces) == min(jobs, 2)
        for number in range(jobs):
            self.pump._received(self.link, encode(Command.JOB_CREATED, b"H:a:%d" % number))
        self.sink.pieces.clear()

    def end(self) -> None:
        """The next job has its result."""
        self.pump._received(self.link, encode(Command.WORK_COMPLETE, b"H:a:%d" % self.ended, b""))
        self.ended += 1

    async def turns(self, most: int = 100) -> int:
        """Turns of the loop until something goes out."""
        for turn in range(most):
            if self.sink.pieces:
                return turn
            await asyncio.sleep(0)
        return most


async def turns_until_sent(jobs: int) -> int:
    """Turns of the loop that the next job waits for, when `jobs` are under way and one of them has just ended."""
    traffic = Traffic()
    await traffic.under_way(jobs)
    traffic.end()
    traffic.submit()
    turns = await traffic.turns()
    traffic.pump.close()
    return turns


@pytest.mark.parametrize(
    ("jobs", "trickle", "turns"),
    [(1, 60.0, 0), (2, 60.0, 1), (7, 60.0, 1), (16, 60.0, 3), (16, 0.0, 1)],
    ids=["alone", "two", "few", "many that trickle", "many, now and then"],
)
def test_how_long_a_job_is_held_back(monkeypatch: pytest.MonkeyPatch, jobs: int, trickle: float, turns: int) -> None:
    monkeypatch.setattr(stream, "TRICKLE", trickle)
    assert asyncio.run(turns_until_sent(jobs)) == turns


async def gathered() -> int:
    """Jobs that go out in one piece, when 32 are under way whose results come one a turn, a new job for each."""
    traffic = Traffic()
    await traffic.under_way(32)
    while not traffic.sink.pieces:
        traffic.end()
        traffic.submit()
        await asyncio.sleep(0)
    traffic.pump.close()
    return b"".join(traffic.sink.pieces).count(b"\0REQ")


def test_jobs_are_held_back_while_more_join_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "TRICKLE", 60.0)
    assert asyncio.run(gathered()) == 32 // 2
    monkeypatch.setattr(stream, "TRICKLE", 0.0)
    assert asyncio.run(gathered()) == 1


async def pieces_after_a_crowd(jobs: int) -> list[int]:
    """Jobs in each piece, when `jobs` have all ended and as many are submitted in one turn; and of one more, alone."""
    traffic = Traffic()
    await traffic.under_way(jobs)
    for _ in range(jobs):
        traffic.end()
    for _ in range(jobs):
        traffic.submit()
    await traffic.turns()
    found = [piece.count(b"\0REQ") for piece in traffic.sink.pieces]
    traffic.pump.close()
    return found


def test_the_first_job_after_a_crowd_waits_for_the_others() -> None:
    """Else it would be one by itself from then on, and so would its result."""
    assert asyncio.run(pieces_after_a_crowd(16)) == [16]
    assert asyncio.run(pieces_after_a_crowd(4)) == [1]  # the others follow a turn later

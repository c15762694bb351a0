# SPDX-License-Identifier: BSD-3-Clause
"""Uniques are found while their table grows and shrinks, and the requests that wait for a job are counted."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator

import pytest

from gearfast import encode
from gearfast._codec import Decoder, Packet
from gearfast.dispatch import Dispatcher
from gearfast.dispatch._check import check
from gearfast.protocol import Command

JOBS = 1500
LARGE = 32768  # a workload from which on it does not lie in its job's record


def answers(server: Dispatcher, peer: int, *packets: bytes) -> list[Packet]:
    server.receive(peer, b"".join(packets))
    got = Decoder().receive(server.take_output(peer))
    assert all(isinstance(packet, Packet) for packet in got)
    return got  # type: ignore[return-value]


def jobs() -> Iterator[tuple[bytes, bytes]]:
    """Unique and workload of jobs of which no two are the same, of every size of uniques; every third one is `-`."""
    for number in range(JOBS):
        text = b"%d" % number
        if number % 3 == 0:
            yield b"-", text.rjust(LARGE + number % 5, b".") if number % 60 == 0 else text
        else:
            yield text + b"u" * (number % (65 - len(text))), b"always the same"


@pytest.mark.parametrize("order", ["oldest first", "newest first", "shuffled"])
def test_uniques_come_and_go_in_any_order(order: str) -> None:
    server = Dispatcher(handle_prefix=b"H")
    client, worker = server.connect(), server.connect()
    submissions = [encode(Command.SUBMIT_JOB_BG, b"f", unique, data) for unique, data in jobs()]
    handles = []
    for number, submission in enumerate(submissions):
        handles += [packet.args[0] for packet in answers(server, client, submission)]
        assert answers(server, client, submissions[number // 2])[0].args[0] == handles[number // 2]
        if number % 100 == 0:
            check(server)
    assert len(set(handles)) == server.job_count == JOBS
    answers(server, worker, encode(Command.CAN_DO, b"f"), *[encode(Command.GRAB_JOB)] * JOBS)
    left = list(range(JOBS))
    if order == "newest first":
        left.reverse()
    elif order == "shuffled":
        random.Random(3).shuffle(left)
    while left:
        number = left.pop(0)
        answers(server, worker, encode(Command.WORK_COMPLETE, handles[number], b""))
        for other in left[::100]:
            assert answers(server, client, submissions[other])[0].args[0] == handles[other]
        if len(left) % 100 == 0:
            check(server)
    assert server.job_count == 0


def waiting(server: Dispatcher, peer: int, unique: bytes) -> int:
    """How many requests GET_STATUS_UNIQUE says that a job has."""
    (answer,) = answers(server, peer, encode(Command.GET_STATUS_UNIQUE, unique))
    return int(answer.args[5])


@pytest.mark.parametrize("leaving", list(itertools.permutations(range(4))))
def test_the_requests_of_a_job_are_counted_whoever_leaves(leaving: tuple[int, ...]) -> None:
    server = Dispatcher(handle_prefix=b"H")
    clients = [server.connect() for _ in range(4)]
    asks = server.connect()
    answers(server, asks, encode(Command.SUBMIT_JOB_BG, b"f", b"u", b""))
    for number, client in enumerate(clients):
        answers(server, client, *[encode(Command.SUBMIT_JOB, b"f", b"u", b"")] * (1 + number % 2))
    left = 6
    assert waiting(server, asks, b"u") == left
    for number in leaving:
        server.disconnect(clients[number])
        left -= 1 + number % 2
        assert waiting(server, asks, b"u") == left
        check(server)
    answers(server, server.connect(), encode(Command.SUBMIT_JOB, b"f", b"u", b""))
    assert waiting(server, asks, b"u") == 1

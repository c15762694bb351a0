# SPDX-License-Identifier: BSD-3-Clause
"""Uniques over `gearfast server` processes that share a database: one job, wherever it is asked for."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable

import pytest

import gearfast
from gearfast.protocol import Command

from .server_tools import LIMIT, Wire, eventually, take_all
from .test_cluster import KINDS, start
from .test_durable import total

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="starts databases as Linux does it")

LONG = 600.0
"""A lease that nobody waits for."""


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, database_url: Callable[[str], str]) -> str:
    return database_url(request.param)


def send(wire: Wire, uniques: Iterable[int], function: bytes = b"f") -> None:
    for n in uniques:
        wire.send(Command.SUBMIT_JOB_BG, function, b"unique-%d" % n, b"%d" % n)


def handles(wire: Wire, count: int) -> list[bytes]:
    return [wire.packet(Command.JOB_CREATED).args[0] for _ in range(count)]


def submit(wire: Wire, *uniques: int) -> list[bytes]:
    send(wire, uniques)
    return handles(wire, len(uniques))


def status(wire: Wire, n: int) -> tuple[bytes, ...]:
    wire.send(Command.GET_STATUS_UNIQUE, b"unique-%d" % n)
    unique, *answer = wire.packet(Command.STATUS_RES_UNIQUE).args
    assert unique == b"unique-%d" % n
    return tuple(answer)


def test_a_unique_is_one_job_s_on_all_servers(store: str) -> None:
    """One after the other, and at once; each is done once. When it has ended there may be another one."""
    with start(store, LONG) as one, start(store, LONG) as other, one.connect() as a, other.connect() as b:
        first = submit(a, *range(50))
        assert submit(b, *range(50)) == first
        assert (total(a), total(b)) == (50, 0)
        send(a, range(50, 250))
        send(b, range(249, 49, -1))
        theirs, others = handles(a, 200), handles(b, 200)
        assert theirs == others[::-1]
        assert total(a) + total(b) == 250
        done = take_all(a, b"f", finish=True) + take_all(b, b"f", finish=True)
        assert sorted(done, key=int) == [b"%d" % n for n in range(250)]
        a.echo()
        b.echo()
        again = submit(b, *range(50))
        assert not {*again} & {*first}
        assert total(b) == 50
        assert submit(a, *range(50)) == again


def test_the_same_unique_of_another_function(store: str) -> None:
    with start(store, LONG) as one, start(store, LONG) as other, one.connect() as a, other.connect() as b:
        send(a, [1])
        send(b, [1], b"g")
        assert handles(a, 1) != handles(b, 1)
        assert (total(a), total(b, b"g")) == (1, 1)


def test_a_unique_outlives_its_server(store: str) -> None:
    """Before its job is another server's, and then; and a server that has just started knows of it."""
    with start(store, LONG) as one, start(store, LONG) as other, one.connect() as a, other.connect() as b:
        first = submit(a, 1, 2, 3)
        one.signal("SIGKILL")
        assert submit(b, 1, 2, 3) == first
        eventually(lambda: total(b) == 3)
        assert submit(b, 1, 2, 3) == first
        with start(store, LONG) as third, third.connect() as c:
            assert submit(c, 1, 2, 3) == first
            assert take_all(b, b"f", finish=True) == [b"1", b"2", b"3"]
            b.echo()
            assert not {*submit(c, 1, 2, 3)} & {*first}
        one.wait()


def test_a_unique_after_a_restart(store: str) -> None:
    with start(store, LONG) as one, one.connect() as a:
        first = submit(a, 1)
        one.signal("SIGKILL")
        one.wait()
    with start(store, LONG) as again, again.connect() as a:
        assert submit(a, 1) == first
        assert take_all(a, b"f", finish=True) == [b"1"]
        a.echo()
        assert submit(a, 1) != first


def test_the_status_of_a_unique_is_every_server_s(store: str) -> None:
    """Replies keep their order."""
    with start(store, LONG) as one, start(store, LONG) as other, one.connect() as a, other.connect() as b:
        submit(a, 1, 2)
        assert status(b, 1) == (b"1", b"0", b"0", b"0", b"0")
        assert status(b, 3) == (b"0", b"0", b"0", b"0", b"0")
        for n in (3, 2, 4, 1):
            b.send(Command.GET_STATUS_UNIQUE, b"unique-%d" % n)
            b.send(Command.ECHO_REQ, b"%d" % n)
        for n, known in ((3, b"0"), (2, b"1"), (4, b"0"), (1, b"1")):
            assert b.packet(Command.STATUS_RES_UNIQUE).args[:2] == (b"unique-%d" % n, known)
            assert b.packet(Command.ECHO_RES).args == (b"%d" % n,)
        with gearfast.Client(f"127.0.0.1:{other.address[1]}", timeout=LIMIT) as client:
            assert client.status(unique="unique-2").known
            take_all(a, b"f", finish=True)
            a.echo()
            assert not client.status(unique="unique-2").known

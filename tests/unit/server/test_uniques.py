# SPDX-License-Identifier: BSD-3-Clause
"""Uniques that servers claim in a store which fails: an answer that is lost, a batch that is given up, no answer."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import pytest

from gearfast._codec import Decoder, Packet, encode
from gearfast.dispatch._check import check
from gearfast.protocol import Command
from gearfast.store.base import StoreError, Write

from . import test_lease
from .test_lease import REFUSAL, Fleet, Server, Store


class Lossy(Store):
    """`lose` answers of writes are lost: each is done all the same."""

    lose = 0

    def write(self, write: Write) -> None:
        super().write(write)
        if self.lose:
            self.lose -= 1
            self.away = self.lose == 0 and self.goes
            raise StoreError("the answer is lost")

    goes = False

    def claimed(self, uniques: Collection[bytes]) -> set[bytes]:
        self._there()
        return super().claimed(uniques)


@pytest.fixture
def fleet(monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    monkeypatch.setattr(test_lease, "Store", Lossy)
    fleet = Fleet()
    yield fleet
    for server in fleet.servers:
        check(server.dispatcher)
        server.close()


def store(server: Server) -> Lossy:
    assert isinstance(server.store, Lossy)
    return server.store


def submit(server: Server, *uniques: bytes) -> list[bytes]:
    """Handles; REFUSAL where there is none."""
    for unique in uniques:
        server.say(encode(Command.SUBMIT_JOB_BG, b"f", unique, b"work of " + unique))
    return answers(server.commit())


def packets_of(output: bytes) -> list[Packet]:
    return [packet for packet in Decoder().receive(output) if isinstance(packet, Packet)]


def answers(output: bytes) -> list[bytes]:
    packets = packets_of(output)
    return [packet.args[0] if packet.command == Command.JOB_CREATED else REFUSAL for packet in packets]


def known(server: Server, unique: bytes) -> bytes:
    server.say(encode(Command.GET_STATUS_UNIQUE, unique))
    (packet,) = packets_of(server.commit())
    return packet.args[1]


def test_an_answer_that_is_lost(fleet: Fleet) -> None:
    """What the store had said of uniques before holds."""
    one, other = fleet.start(), fleet.start()
    (handle,) = submit(one, b"u")
    store(other).lose = 1
    taken, own = submit(other, b"u", b"v")
    assert taken == handle != own
    assert other.workloads == [b"work of v"]
    assert submit(one, b"v") == [own]
    assert one.workloads == [b"work of u"]


def test_a_batch_whose_jobs_are_all_others(fleet: Fleet) -> None:
    one, other = fleet.start(), fleet.start()
    first = submit(one, b"u", b"v")
    assert submit(other, b"u", b"v") == first
    assert other.workloads == []
    assert other.store.open().sections == []
    assert submit(other, b"w", b"u", b"x", b"v", b"y")[1::2] == first
    (section,) = other.store.open().sections
    assert section.count == 3
    assert other.grab() == b"work of w"


def test_claims_of_a_batch_that_was_given_up_though_it_was_stored(fleet: Fleet) -> None:
    one, other = fleet.start(), fleet.start()
    store(other).goes = True
    store(other).lose = 1
    assert submit(other, b"u") == [REFUSAL]
    assert other.workloads == []
    other.store.away = False
    fleet.run(lambda: not other.dispatcher.refusing)
    (handle,) = submit(one, b"u")
    assert one.workloads == [b"work of u"]
    assert submit(other, b"u") == [handle]


def test_a_store_that_does_not_say(fleet: Fleet) -> None:
    one, other = fleet.start(), fleet.start()
    submit(one, b"u")
    assert known(other, b"u") == b"1"
    other.store.away = True
    assert known(other, b"u") == b"0"
    other.store.away = False
    assert known(other, b"u") == b"1"


def test_a_status_alone_writes_nothing(fleet: Fleet) -> None:
    server = fleet.start()
    submit(server, b"u")
    batch = server.store.open().batch
    assert known(server, b"v") == b"0"
    assert server.store.open().batch == batch
    submit(server, b"w")
    assert server.store.open().batch > batch


def test_claims_go_with_their_jobs_to_who_takes_them_over(fleet: Fleet) -> None:
    one, other = fleet.start(), fleet.start()
    (handle,) = submit(one, b"u")
    one.kill()
    fleet.pass_time(11)
    other.look()
    fleet.run(lambda: other.workloads == [b"work of u"])
    third = fleet.start()
    assert submit(third, b"u") == [handle]
    assert other.grab() == b"work of u"
    other.say(encode(Command.WORK_COMPLETE, handle, b""))
    other.commit()
    assert submit(third, b"u") != [handle]
    assert third.workloads == [b"work of u"]

# SPDX-License-Identifier: BSD-3-Clause
"""2.2: which job a GRAB gets, in the three orders, also against a plain model."""

from __future__ import annotations

import random

import pytest

from .conftest import MakeWire
from .script import Q, Wire

KINDS = ("SUBMIT_JOB_HIGH", "SUBMIT_JOB", "SUBMIT_JOB_LOW")
BACKGROUND = ("SUBMIT_JOB_HIGH_BG", "SUBMIT_JOB_BG", "SUBMIT_JOB_LOW_BG")
ORDERS = ("priority", "function", "function-rotate")


class PlainOrder:
    """The rule in its simplest words: three lists a function, and the functions of one worker in a list."""

    def __init__(self, order: str) -> None:
        self.order = order
        self.functions: list[bytes] = []  # newest CAN_DO first; who gave a job goes to the end if rotating
        self.jobs: dict[bytes, tuple[list[bytes], list[bytes], list[bytes]]] = {}

    def can_do(self, function: bytes) -> None:
        self.functions.insert(0, function)

    def put(self, function: bytes, priority: int, data: bytes) -> None:
        self.jobs.setdefault(function, ([], [], []))[priority].append(data)

    def take(self) -> bytes | None:
        for function, priority in self.places():
            waiting = self.jobs.get(function, ([], [], []))[priority]
            if waiting:
                if self.order != "function":
                    self.functions.remove(function)
                    self.functions.append(function)
                return waiting.pop(0)
        return None

    def places(self) -> list[tuple[bytes, int]]:
        """Where to look for a job: functions and priorities, in their order."""
        if self.order == "priority":
            return [(f, p) for p in range(3) for f in self.functions]
        return [(f, p) for f in self.functions for p in range(3)]


def test_first_in_first_out(wire: Wire) -> None:
    c, w = wire.peer("c"), wire.worker("w", b"f")
    wanted = [b"%d" % n for n in range(20)]
    for data in wanted:
        c.submit(b"f", data)
    assert w.grab_all() == wanted


def test_high_before_normal_before_low(wire: Wire) -> None:
    c, w = wire.peer("c"), wire.worker("w", b"f")
    for n in range(3):
        for kind in ("SUBMIT_JOB_LOW", "SUBMIT_JOB_BG", "SUBMIT_JOB_HIGH", "SUBMIT_JOB", "SUBMIT_JOB_HIGH_BG"):
            c.submit(b"f", b"%s %d" % (kind.encode(), n), kind=kind)
    got = w.grab_all()
    high = [g for g in got if b"HIGH" in g]
    low = [g for g in got if b"LOW" in g]
    assert got[:6] == high
    assert got[-3:] == low
    assert got[6:8] == [b"SUBMIT_JOB_BG 0", b"SUBMIT_JOB 0"]
    assert [g[-1:] for g in high] == [b"0", b"0", b"1", b"1", b"2", b"2"]


@pytest.mark.parametrize(
    ("order", "wanted"),
    [
        ("priority", b"c0 b0 a0 c1 b1 a1"),
        ("function", b"c0 c1 b0 b1 a0 a1"),
        ("function-rotate", b"c0 b0 a0 c1 b1 a1"),
    ],
)
def test_functions_of_one_priority(make_wire: MakeWire, order: str, wanted: bytes) -> None:
    wire = make_wire(order=order)
    c, w = wire.peer("c"), wire.worker("w", b"a", b"b", b"c")
    for data in (b"a0", b"a1", b"b0", b"b1", b"c0", b"c1"):
        c.submit(data[:1], data)
    assert w.grab_all() == wanted.split()


@pytest.mark.parametrize(
    ("order", "wanted"),
    [
        ("priority", b"a-high b-normal b-low"),
        ("function", b"b-normal b-low a-high"),
        ("function-rotate", b"b-normal a-high b-low"),
    ],
)
def test_priority_against_function(make_wire: MakeWire, order: str, wanted: bytes) -> None:
    wire = make_wire(order=order)
    c, w = wire.peer("c"), wire.worker("w", b"a", b"b")
    c.submit(b"b", b"b-low", kind="SUBMIT_JOB_LOW")
    c.submit(b"b", b"b-normal")
    c.submit(b"a", b"a-high", kind="SUBMIT_JOB_HIGH")
    assert w.grab_all() == wanted.split()


def test_order_of_can_do_counts_not_that_of_submission(make_wire: MakeWire) -> None:
    wire = make_wire(order="function")
    c = wire.peer("c")
    for name in (b"a", b"b"):
        c.submit(name, name + b"1")
        c.submit(name, name + b"2")
    assert wire.worker("ba", b"b", b"a").grab() == b"a1"
    assert wire.worker("ab", b"a", b"b").grab() == b"b1"


def test_registering_anew_makes_a_function_the_newest(make_wire: MakeWire) -> None:
    wire = make_wire(order="function")
    c, w = wire.peer("c"), wire.worker("w", b"a", b"b")
    w.send(Q.CANT_DO(b"a"), Q.CAN_DO(b"a"))
    c.submit(b"b", b"b")
    c.submit(b"a", b"a")
    assert w.grab_all() == [b"a", b"b"]


def test_rotation_is_each_workers_own(make_wire: MakeWire) -> None:
    wire = make_wire()
    c, w1, w2 = wire.peer("c"), wire.worker("w1", b"a", b"b"), wire.worker("w2", b"a", b"b")
    for data in (b"a0", b"a1", b"a2", b"b0", b"b1", b"b2"):
        c.submit(data[:1], data)
    assert [w1.grab(), w1.grab(), w2.grab(), w2.grab()] == [b"b0", b"a0", b"b1", b"a1"]


def test_who_asks_first_gets_the_job(wire: Wire) -> None:
    c, w1, w2 = wire.peer("c"), wire.worker("w1", b"f"), wire.worker("w2", b"f")
    c.submit(b"f", b"1")
    c.submit(b"f", b"2")
    assert (w2.grab(), w1.grab(), w2.grab(), w1.grab()) == (b"1", b"2", None, None)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("seed", range(8))
def test_any_mix_against_the_plain_model(make_wire: MakeWire, order: str, seed: int) -> None:
    rng, wire, model = random.Random(seed), make_wire(order=order), PlainOrder(order)
    c, w = wire.peer("c"), wire.peer("w")
    names = [b"f%d" % n for n in range(6)]
    for name in names:
        w.send(Q.CAN_DO(name))
        model.can_do(name)
    for number in range(150):
        if rng.random() < 0.6:
            name, priority, data = rng.choice(names), rng.randrange(3), b"%d" % number
            c.submit(name, data, kind=rng.choice((KINDS, BACKGROUND))[priority])
            model.put(name, priority, data)
        else:
            assert w.grab() == model.take()
    while (wanted := model.take()) is not None:
        assert w.grab() == wanted
    assert w.grab() is None


@pytest.mark.parametrize("order", ORDERS)
def test_many_functions(make_wire: MakeWire, order: str) -> None:
    wire, model = make_wire(order=order), PlainOrder(order)
    names = [b"function-%d" % n for n in range(300)]
    c, w = wire.peer("c"), wire.worker("w", *names)
    for name in names:
        model.can_do(name)
    for n, name in enumerate(names[::7]):
        for priority in (n % 3, 2 - n % 3):
            c.submit(name, b"%d %d" % (n, priority), kind=BACKGROUND[priority])
            model.put(name, priority, b"%d %d" % (n, priority))
    wanted = []
    while (data := model.take()) is not None:
        wanted.append(data)
    assert w.grab_all() == wanted

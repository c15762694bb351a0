# SPDX-License-Identifier: BSD-3-Clause
"""Any bytes of any peers: nothing breaks, the counts stay true, and how a stream is cut never matters."""

from __future__ import annotations

import struct
from collections import Counter
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from gearfast.protocol import COMMANDS, CommandSpec

from .script import START_WALL, Peer, Q, R, Wire, handle

SETTINGS: tuple[dict[str, Any], ...] = (
    {},
    {"order": "function", "wakeup": 1, "job_retries": 1},
    {"order": "function-rotate", "wakeup": 2, "job_retries": 2, "exceptions": True},
)
WORDS = [b"status", b"workers", b"show", b"jobs", b"unique", b"cancel", b"job", b"create", b"drop", b"function"]
WORDS += [b"maxqueue", b"prioritystatus", b"version", b"shutdown", b"f", b"g", b"H:local:1", b"2", b"-1", b"", b"\xff"]

# Arguments that mean something to some command more often than not.
argument = st.one_of(
    st.sampled_from([b"f", b"f", b"g", b"", b"u", b"-", handle(1), handle(2), handle(3), b"1000", b"exceptions"]),
    st.sampled_from([b"all_yours", b"*", b"30", b"%d" % (START_WALL + 2), b"-9", b"9" * 25, b"u" * 64, b"h" * 65]),
    st.binary(max_size=12).map(lambda b: b.replace(b"\0", b"")),
)
line = st.lists(st.sampled_from(WORDS), min_size=1, max_size=6).map(lambda words: b" ".join(words) + b"\n")


@st.composite
def packet(draw: st.DrawFn) -> bytes:
    """A packet that is well formed, nearly always with the right magic."""
    spec: CommandSpec = draw(st.sampled_from(COMMANDS))
    builder = draw(st.sampled_from([Q] * 9 + [R]))
    return builder.raw(spec.command, b"\0".join(draw(argument) for _ in spec.fields))


@st.composite
def broken(draw: st.DrawFn) -> bytes:
    """A packet whose header or body lies, or no packet at all."""
    size = draw(st.integers(0, 40))
    body = draw(st.binary(max_size=20))
    number = draw(st.one_of(st.integers(0, 44), st.integers(0, 2**32 - 1)))
    return draw(st.sampled_from([b"\0REQ", b"\0REQ", b"\0RES", b"\0BAD"])) + struct.pack(">II", number, size) + body


stream = st.lists(st.one_of(packet(), packet(), packet(), line, broken()), max_size=8).map(b"".join)
# Who does what: bytes of one of three peers, or time that passes, or a peer that leaves and another in its place.
step = st.one_of(
    st.tuples(st.integers(0, 2), st.one_of(stream, packet())),
    st.tuples(st.integers(0, 2), st.one_of(stream, packet())),
    st.tuples(st.just(-1), st.sampled_from([0.1, 1.0, 3.0])),
    st.tuples(st.integers(10, 12), st.just(b"")),
)
script = st.lists(step, max_size=25)


def play(steps: list[Any], chosen: int, bytewise: bool) -> list[tuple[str, bytes]]:
    """Runs a script; all that each peer got, in the order in which they came."""
    wire = Wire(**SETTINGS[chosen])
    peers: list[Peer] = []
    got: list[tuple[str, bytes]] = []

    def fresh() -> Peer:
        return wire.peer(f"p{len(wire.everyone)}", "192.0.2.1", fd=9)

    peers = [fresh() for _ in range(3)]
    for who, what in steps:
        if who < 0:
            wire.pass_time(what)
        elif who >= 10 or peers[who].closed:
            peers[who % 10].leave()
            peers[who % 10] = fresh()
        else:
            for piece in [what[at : at + 1] for at in range(len(what))] if bytewise else [what]:
                wire.receive(peers[who], piece)
        got += [(p.name, p.take()) for p in list(peers) if p.unread]
        honest(wire)
    return got


def honest(wire: Wire) -> None:
    """What the dispatcher counts is what it has."""
    wire.sound()
    jobs, server = wire.dispatcher.jobs(), wire.dispatcher
    assert server.job_count == len(jobs)
    assert server.running_count == sum(j["running"] for j in jobs)
    total = Counter(j["function"] for j in jobs)
    running = Counter(j["function"] for j in jobs if j["running"])
    able = Counter(f for p in server.peers() for f in p["functions"])
    for row in server.functions():
        name = row["function"]
        assert (row["total"], row["running"], row["workers"]) == (total[name], running[name], able[name])
        assert sum(row["queued"]) <= row["total"] - row["running"]
    assert {p["peer"] for p in server.peers()} == set(wire.peers)
    at_work = {p["peer"] for p in server.peers()}
    assert all(j["worker"] in at_work for j in jobs if j["running"])


@settings(max_examples=250)
@given(script, st.integers(0, len(SETTINGS) - 1))
def test_cutting_never_matters(steps: list[Any], chosen: int) -> None:
    whole = play(steps, chosen, bytewise=False)
    cut = play(steps, chosen, bytewise=True)
    assert [(name, b"".join(d for n, d in whole if n == name)) for name in sorted({n for n, _ in whole})] == [
        (name, b"".join(d for n, d in cut if n == name)) for name in sorted({n for n, _ in cut})
    ]


@settings(max_examples=200)
@given(st.binary(max_size=200), st.binary(max_size=200))
def test_garbage_disturbs_nobody(first: bytes, second: bytes) -> None:
    wire = Wire()
    c, w, bad = wire.peer("c"), wire.worker("w", b"f"), wire.peer("bad")
    job = c.submit(b"f", b"x")
    assert w.grab() == b"x"
    bad.send_raw(first)
    bad.send_raw(second)
    bad.leave()
    w.send(Q.WORK_COMPLETE(job, b"y")).expect_nothing()
    c.expect(R.WORK_COMPLETE(job, b"y"))

# SPDX-License-Identifier: BSD-3-Clause
"""check() finds nothing wrong, whatever bytes clients and workers send, and in each state that has lists of its own."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gearfast import encode
from gearfast.dispatch import Dispatcher
from gearfast.dispatch._check import check
from gearfast.protocol import Command

HANDLES = [b"H:%d" % number for number in range(1, 12)]
NAMES = [b"f", b"g", b"h"]

names = st.sampled_from(NAMES)
handles = st.sampled_from(HANDLES)
uniques = st.sampled_from([b"", b"-", b"u1", b"u2"])
workloads = st.sampled_from([b"", b"w", b"v"])
POLICIES = st.sampled_from(
    [
        *(b"timeout=0.5", b"tries=2 retry_on_fail=true", b"backoff=1", b"backoff=2 backoff_kind=fixed tries=-1"),
        *(b"concurrency=1", b"concurrency=2 rate=1/s burst=2", b"rate=1/s burst=1", b"rate=0 concurrency=0"),
        *(b"dispatch=round-robin", b"dispatch=least-loaded", b"dispatch=any", b"weights=3:2:1", b"weights=1:1:5"),
        *(b"dispatch=round-robin concurrency=1", b"weights=2:1:1 dispatch=round-robin rate=1/s", b"weights=0"),
        *(b"max_queue=1", b"max_queue=2 full=drop-oldest", b"expire=2", b"expire=4 backoff=1 retry_on_fail=1"),
        *(
            b"keep_failed=2 keep_failed_for=5 tries=2 retry_on_fail=1",
            b"keep_failed=1",
            b"keep_failed=0",
            b"keep_failed=9 tries=1",
        ),
    ]
)
packets = st.one_of(
    st.builds(
        encode,
        st.sampled_from([Command.SUBMIT_JOB, Command.SUBMIT_JOB_HIGH_BG, Command.SUBMIT_JOB_LOW]),
        names,
        uniques,
        workloads,
    ),
    st.builds(
        encode, st.just(Command.SUBMIT_JOB_EPOCH), names, uniques, st.sampled_from([b"0", b"5", b"9"]), workloads
    ),
    st.builds(encode, st.sampled_from([Command.CAN_DO, Command.CANT_DO]), names),
    st.builds(encode, st.just(Command.CAN_DO_TIMEOUT), names, st.sampled_from([b"0", b"2000", b"4000"])),
    st.sampled_from([Command.GRAB_JOB, Command.GRAB_JOB_ALL, Command.PRE_SLEEP, Command.RESET_ABILITIES]).map(encode),
    st.builds(encode, st.sampled_from([Command.WORK_COMPLETE, Command.WORK_EXCEPTION]), handles, workloads),
    st.builds(encode, st.sampled_from([Command.WORK_FAIL, Command.GET_STATUS]), handles),
    st.just(encode(Command.OPTION_REQ, b"all_yours")),
    handles.map(lambda handle: b"cancel job " + handle + b"\n"),
    names.map(lambda name: b"drop function " + name + b"\n"),
    st.builds(
        b"dead %b %b\n".__mod__,
        st.tuples(st.sampled_from([b"requeue", b"drop"]), st.one_of(names, handles, st.just(b"*"))),
    ),
    names.map(lambda name: b"maxqueue " + name + b" 2\n"),
    st.builds(b"policy set %b %b\n".__mod__, st.tuples(st.sampled_from([*NAMES, b"*"]), POLICIES)),
    st.sampled_from([*NAMES, b"*"]).map(lambda pattern: b"policy unset " + pattern + b"\n"),
)
# (who, what): bytes to send, None to leave, a number of seconds to let pass
steps = st.tuples(st.integers(0, 4), st.one_of(packets, packets, packets, st.none(), st.integers(1, 5)))
kinds = st.fixed_dictionaries(
    {
        "order": st.sampled_from(["priority", "function", "function-rotate"]),
        "wakeup": st.integers(0, 2),
        "job_retries": st.integers(-1, 2),
    }
)


@settings(max_examples=150)
@given(kinds, st.lists(steps, min_size=10, max_size=60))
def test_any_traffic_leaves_the_records_right(
    kind: dict[str, Any], script: list[tuple[int, bytes | int | None]]
) -> None:
    dispatcher = Dispatcher(handle_prefix=b"H", **kind)
    peers: dict[int, int] = {}
    seconds = 0
    for who, what in script:
        if isinstance(what, int):
            seconds += what
            dispatcher.tick(seconds * 10**9, seconds * 10**9)
        elif what is None:
            if who in peers:
                dispatcher.disconnect(peers.pop(who))
        else:
            if who not in peers:
                peers[who] = dispatcher.connect()
            dispatcher.receive(peers[who], what)
        check(dispatcher)
    for peer in peers.values():
        dispatcher.disconnect(peer)
    check(dispatcher)
    assert dispatcher.running_count == 0


@settings(max_examples=100)
@given(st.lists(st.binary(max_size=60), max_size=8))
def test_any_bytes_leave_the_records_right(chunks: list[bytes]) -> None:
    dispatcher = Dispatcher()
    peer = dispatcher.connect()
    for chunk in chunks:
        if not dispatcher.receive(peer, chunk):
            assert dispatcher.closing(peer)
        check(dispatcher)


@pytest.mark.parametrize("seed", range(3))
def test_tables_that_grow_and_shrink(seed: int) -> None:
    """Enough of everything that each table moves to a larger one, and back, a few buckets at a time."""
    chance = random.Random(seed)
    dispatcher = Dispatcher(handle_prefix=b"H", seed=seed)
    client = dispatcher.connect()
    worker = dispatcher.connect()
    for number in range(900):
        dispatcher.receive(worker, encode(Command.CAN_DO, b"f%d" % (number % 300)))
        dispatcher.receive(client, encode(Command.SUBMIT_JOB_BG, b"f%d" % (number % 300), b"u%d" % number, b"w"))
        if number % 7 == 0:
            check(dispatcher)
    check(dispatcher)
    order = list(range(1, 901))
    dispatcher.receive(worker, b"".join([encode(Command.GRAB_JOB)] * 900))
    chance.shuffle(order)
    for at, number in enumerate(order):
        dispatcher.receive(worker, encode(Command.WORK_COMPLETE, b"H:%d" % number, b""))
        if at % 7 == 0:
            check(dispatcher)
    check(dispatcher)
    assert dispatcher.job_count == 0
    dispatcher.receive(worker, encode(Command.RESET_ABILITIES))
    check(dispatcher)


def test_many_peers_come_and_go() -> None:
    dispatcher = Dispatcher()
    peers = [dispatcher.connect() for _ in range(300)]
    for peer in peers:
        dispatcher.receive(peer, encode(Command.CAN_DO, b"f") + encode(Command.PRE_SLEEP))
    check(dispatcher)
    for peer in peers[::2]:
        dispatcher.disconnect(peer)
    check(dispatcher)
    peers = peers[1::2] + [dispatcher.connect() for _ in range(40)]
    dispatcher.receive(peers[0], encode(Command.SUBMIT_JOB, b"f", b"", b""))
    check(dispatcher)
    assert len(dispatcher.take_dirty()) == 150
    check(dispatcher)


def test_only_a_dispatcher_can_be_checked() -> None:
    with pytest.raises(TypeError):
        check(None)  # type: ignore[arg-type]

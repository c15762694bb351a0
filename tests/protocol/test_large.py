# SPDX-License-Identifier: BSD-3-Clause
"""Workloads, results and echoes that are held by reference (32 KiB and more): nothing of it may show on the wire.

`check` also counts the references, so each of these fails if a blob leaks or is freed while something points at it.
"""

from __future__ import annotations

import random

import pytest

from gearfast.dispatch import Dispatcher
from gearfast.dispatch._check import check

from .conftest import MakeWire
from .script import NOT_FOUND, PREFIX, Q, R, Wire, handle

LARGE = 32_768
SIZES = [LARGE - 1, LARGE, LARGE + 1, 70_000]


def blob(size: int, seed: int = 1) -> bytes:
    """Bytes that differ at every place."""
    return random.Random(seed).randbytes(size)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("grab", ["GRAB_JOB", "GRAB_JOB_UNIQ", "GRAB_JOB_ALL"])
def test_a_large_job_and_its_result(make_wire: MakeWire, size: int, grab: str) -> None:
    wire = make_wire()
    w, c = wire.worker("w", b"resize"), wire.peer("c")
    c.send(Q.SUBMIT_REDUCE_JOB(b"resize", b"u1", b"sum", b"", blob(size))).expect(R.JOB_CREATED(handle(1)))
    wire.sound()
    w.send(getattr(Q, grab)())
    job = {
        "GRAB_JOB": R.JOB_ASSIGN(handle(1), b"resize", blob(size)),
        "GRAB_JOB_UNIQ": R.JOB_ASSIGN_UNIQ(handle(1), b"resize", b"u1", blob(size)),
        "GRAB_JOB_ALL": R.JOB_ASSIGN_ALL(handle(1), b"resize", b"u1", b"sum", blob(size)),
    }
    w.expect(job[grab])
    w.send(
        Q.WORK_DATA(handle(1), blob(size, 2)), Q.WORK_WARNING(handle(1), b""), Q.WORK_COMPLETE(handle(1), blob(size))
    )
    c.expect(
        R.WORK_DATA(handle(1), blob(size, 2)), R.WORK_WARNING(handle(1), b""), R.WORK_COMPLETE(handle(1), blob(size))
    )


def test_many_wait_for_one_large_result(make_wire: MakeWire) -> None:
    wire = make_wire()
    w = wire.worker("w", b"f")
    clients = [wire.peer(f"c{n}").send(Q.SUBMIT_JOB(b"f", b"u", b"x")) for n in range(20)]
    clients[3].send(Q.OPTION_REQ(b"exceptions")).take()
    for c in clients:
        c.take()
    w.send(Q.GRAB_JOB()).take()
    w.send(Q.WORK_DATA(handle(1), blob(LARGE)))
    clients[7].leave()
    wire.sound()
    w.send(Q.WORK_EXCEPTION(handle(1), blob(LARGE, 2)))
    for n, c in enumerate(clients):
        if n == 3:
            c.expect(R.WORK_DATA(handle(1), blob(LARGE)), R.WORK_EXCEPTION(handle(1), blob(LARGE, 2)))
        elif n != 7:
            c.expect(R.WORK_DATA(handle(1), blob(LARGE)), R.WORK_FAIL(handle(1)))


def test_large_echo_between_small_packets(make_wire: MakeWire) -> None:
    c = make_wire().peer("c")
    c.send(Q.ECHO_REQ(b""), Q.ECHO_REQ(blob(LARGE)), Q.GET_STATUS(b"H:x"), Q.ECHO_REQ(blob(LARGE, 2)), b"version\n")
    c.expect(
        R.ECHO_RES(b""), R.ECHO_RES(blob(LARGE)), R.STATUS_RES(b"H:x", b"0", b"0", b"0", b"0"),
        R.ECHO_RES(blob(LARGE, 2)), b"OK 9.8.7\n",
    )  # fmt: skip


def test_a_large_job_is_queued_again_and_again(make_wire: MakeWire) -> None:
    wire = make_wire()
    c = wire.peer("c")
    c.submit(b"f", blob(LARGE), kind="SUBMIT_JOB_BG")
    for n in range(3):
        w = wire.worker(f"w{n}", b"f")
        assert w.grab() == blob(LARGE)
        wire.sound()
        w.leave()
    w = wire.worker("last", b"f")
    w.send(Q.GRAB_JOB(), Q.CANT_DO(b"f"), Q.CAN_DO(b"f"), Q.GRAB_JOB())
    w.expect(*[R.JOB_ASSIGN(handle(1), b"f", blob(LARGE))] * 2)
    w.send(Q.WORK_COMPLETE(handle(1), blob(LARGE))).expect_nothing()
    assert wire.dispatcher.job_count == 0


def test_coalescing_by_large_workloads(make_wire: MakeWire) -> None:
    wire = make_wire()
    c = wire.peer("c")
    c.send(
        Q.SUBMIT_JOB(b"f", b"-", blob(LARGE)), Q.SUBMIT_JOB(b"f", b"-", blob(LARGE, 2)),
        Q.SUBMIT_JOB(b"f", b"-", blob(LARGE)),
    )  # fmt: skip
    c.expect(R.JOB_CREATED(handle(1)), R.JOB_CREATED(handle(2)), R.JOB_CREATED(handle(1)))
    wire.worker("w", b"f").send(Q.GRAB_JOB(), Q.WORK_COMPLETE(handle(1), b"r")).take()
    c.expect(*[R.WORK_COMPLETE(handle(1), b"r")] * 2)


def test_cancelled_while_running_and_while_queued(make_wire: MakeWire) -> None:
    wire = make_wire()
    c, w, admin = wire.peer("c"), wire.worker("w", b"f"), wire.peer("admin")
    c.submit(b"f", blob(LARGE))
    c.submit(b"f", blob(LARGE, 2))
    assert w.grab() == blob(LARGE)
    admin.send(b"cancel job " + handle(1) + b"\n", b"cancel job " + handle(2) + b"\n").expect(b"OK\r\n", b"OK\r\n")
    c.expect(R.WORK_FAIL(handle(1)), R.WORK_FAIL(handle(2)))
    wire.sound()
    w.send(Q.WORK_COMPLETE(handle(1), blob(LARGE)), Q.GRAB_JOB()).expect(R.NO_JOB())
    assert wire.dispatcher.job_count == 0


def test_refused_and_unknown_large_packets(make_wire: MakeWire) -> None:
    wire = make_wire()
    c, admin = wire.peer("c"), wire.peer("admin")
    c.send(Q.SUBMIT_JOB(b"f", b"", blob(LARGE))).take()
    admin.send(b"maxqueue f 1\n").expect(b"OK\r\n")
    c.send(Q.SUBMIT_JOB(b"f", b"", blob(LARGE))).refused(b"QUEUE_ERROR")
    c.send(Q.SUBMIT_JOB(b"f", b"u" * 65, blob(LARGE))).refused(b"ARGUMENT_TOO_LARGE")
    c.send(Q.WORK_COMPLETE(handle(1), blob(LARGE))).expect(NOT_FOUND)
    c.send(Q.JOB_ASSIGN(handle(1), b"f", blob(LARGE))).refused(b"INVALID_COMMAND")


def test_snapshots() -> None:
    wire = Wire()
    c = wire.peer("c")
    c.submit(b"f", blob(LARGE))
    c.submit(b"f", b"small")
    assert [job["workload"] for job in wire.dispatcher.jobs()] == [blob(LARGE), b"small"]
    c.send_raw(Q.ECHO_REQ(blob(100_000))[:50_000])
    assert wire.dispatcher.peers()[0]["partial"] == 50_000
    wire.sound()


@pytest.mark.parametrize("cut", [1, 11, 12, 40, 4_095, 4_097, 32_768, 65_536, 99_999])
def test_a_peer_leaves_within_a_large_frame(cut: int) -> None:
    wire = Wire()
    c = wire.peer("c")
    c.send(Q.ECHO_REQ(blob(90_000))).expect(R.ECHO_RES(blob(90_000)))
    c.send_raw(Q.SUBMIT_JOB(b"f", b"", blob(100_000))[:cut])
    wire.sound()
    c.leave()
    wire.sound()
    assert wire.dispatcher.job_count == 0


@pytest.mark.parametrize("behind", [b"\0REX", b"\0REQ\0\0\0\x63\0\0\0\0"])
def test_a_fault_behind_a_large_frame(behind: bytes) -> None:
    for cut in (1_000, 40_000, 70_020):
        wire = Wire()
        c = wire.peer("c")
        data = Q.ECHO_REQ(blob(70_000)) + behind
        c.send_raw(data[:cut]).send_raw(data[cut:]).expect_closed(R.ECHO_RES(blob(70_000)))
        wire.sound()


def test_memory_follows_what_has_come() -> None:
    """A frame of 256 MiB that was only announced takes what any unfinished frame takes."""
    server = Dispatcher(handle_prefix=PREFIX)
    c = server.connect()
    server.receive(c, Q.ECHO_REQ(blob(200_000)))
    server.take_output(c)
    announced = Q.raw(16)[:8] + (256 << 20).to_bytes(4, "big")
    server.receive(c, announced)
    for _ in range(40):
        server.receive(c, b"x" * 3_000)
        check(server)  # at most twice what came, or 64 KiB, and some slack
    server.disconnect(c)
    check(server)


@pytest.mark.parametrize("seed", range(8))
def test_any_cuts_of_any_sizes(seed: int) -> None:
    """Echoes of many sizes, cut anywhere: the answers are those of whole packets."""
    dice = random.Random(seed)
    wire = Wire()
    c = wire.peer("c")
    sizes = [dice.choice([0, 5, 3_000, LARGE - 1, LARGE, 40_000, 66_000, 150_000, 400_000]) for _ in range(30)]
    echoes = [blob(size, seed) for size in sizes]
    stream = b"".join(map(Q.ECHO_REQ, echoes))
    at = 0
    while at < len(stream):
        size = dice.choice([1, 12, 500, 4_096, 20_000, 65_536, 131_072, 262_144])
        c.send_raw(stream[at : at + size])
        wire.sound()
        at += size
    c.expect(*map(R.ECHO_RES, echoes))


# Output that is taken in pieces, as sockets take it


def assigned() -> tuple[Dispatcher, int, bytes]:
    """A worker that is to get small and large packets, and all of these."""
    server = Dispatcher(handle_prefix=PREFIX)
    c, w = server.connect(), server.connect()
    sizes = [0, LARGE, LARGE, 10, 20, LARGE + 7, 0]
    server.receive(c, b"".join(Q.SUBMIT_JOB_BG(b"f", b"", blob(size)) for size in sizes))
    server.receive(w, Q.CAN_DO(b"f") + Q.GRAB_JOB() * len(sizes))
    return server, w, b"".join(R.JOB_ASSIGN(handle(n + 1), b"f", blob(size)) for n, size in enumerate(sizes))


def test_taken_in_two_at_every_boundary() -> None:
    _, _, wanted = assigned()
    edges = {0, len(wanted)}
    at = 0
    while at < len(wanted):
        size = 12 + int.from_bytes(wanted[at + 8 : at + 12], "big")
        edges |= {at, at + 12, at + 12 + len(R.JOB_ASSIGN(handle(1), b"f", b"")) - 12}
        at += size
    for cut in sorted({edge + off for edge in edges for off in (-1, 0, 1) if 0 <= edge + off <= len(wanted)}):
        server, w, _ = assigned()
        first = server.take_output(w, cut)
        check(server)
        assert first == wanted[:cut]
        assert {row["peer"]: row["unsent"] for row in server.peers()}[w] == len(wanted) - cut
        assert server.take_output(w) == wanted[cut:]
        check(server)


@pytest.mark.parametrize("step", [1_000, 4_096, 32_799, 32_800, 32_801])
def test_taken_in_many_pieces_while_more_comes(step: int) -> None:
    server, w, wanted = assigned()
    c = server.connect()
    got = b""
    for n in range(40):
        server.receive(c, Q.SUBMIT_JOB_BG(b"f", b"", blob(LARGE + n, n)))
        server.receive(w, Q.GRAB_JOB() + Q.ECHO_REQ(b"%d" % n))
        wanted += R.JOB_ASSIGN(handle(8 + n), b"f", blob(LARGE + n, n)) + R.ECHO_RES(b"%d" % n)
        got += server.take_output(w, step)
        check(server)
    while more := server.take_output(w, step):
        got += more
    assert got == wanted
    check(server)


def test_the_job_is_gone_before_its_bytes() -> None:
    server, w, wanted = assigned()
    got = server.take_output(w, 1_000)
    for n in range(1, 8):
        server.receive(w, Q.WORK_COMPLETE(handle(n), blob(LARGE)))
    assert server.job_count == 0
    check(server)
    assert got + server.take_output(w) == wanted
    check(server)


@pytest.mark.parametrize("taken", [0, 10, 40_000])
def test_a_peer_leaves_within_large_output(taken: int) -> None:
    server, w, wanted = assigned()
    assert server.take_output(w, taken) == wanted[:taken]
    server.disconnect(w)
    check(server)
    w = server.connect()
    server.receive(w, Q.CAN_DO(b"f") + Q.GRAB_JOB_UNIQ() * 8)
    check(server)
    assert len(server.take_output(w)) > 3 * LARGE
    check(server)


def test_the_limit_counts_what_is_referenced() -> None:
    server = Dispatcher(handle_prefix=PREFIX, max_unsent=100_000)
    c = server.connect("192.0.2.7")
    size = len(R.ECHO_RES(blob(LARGE)))
    for n in range(3):
        assert server.receive(c, Q.ECHO_REQ(blob(LARGE)))
        assert server.peers()[0]["unsent"] == (n + 1) * size
    assert not server.receive(c, Q.ECHO_REQ(blob(LARGE)))
    assert server.closing(c)
    assert server.peers()[0]["unsent"] == 0
    assert any("98340 bytes unsent" in text for _, text in server.take_notices())
    check(server)


def test_one_packet_of_any_size_passes() -> None:
    server = Dispatcher(handle_prefix=PREFIX, max_unsent=50_000)
    c = server.connect()
    for _ in range(3):
        assert server.receive(c, Q.ECHO_REQ(blob(100_000)))
        assert server.take_output(c) == R.ECHO_RES(blob(100_000))


@pytest.mark.parametrize("read", [5_000, 70_000, 1_000_000])
@pytest.mark.parametrize("step", [30_000, 150_000])
def test_large_frames_that_wait_for_room(read: int, step: int) -> None:
    """Above the high-water mark whole frames wait, and an unfinished one behind them."""
    server = Dispatcher(handle_prefix=PREFIX, high_water=100_000)
    c = server.connect()
    sizes = [90_000, 40_000, 20, 40_000, LARGE, LARGE - 1, 200_000, 0, 66_000]
    stream = b"".join(Q.ECHO_REQ(blob(size, n)) for n, size in enumerate(sizes))
    got = b""
    for at in range(0, len(stream), read):
        server.receive(c, stream[at : at + read])
        check(server)
        got += server.take_output(c, step)
        check(server)
    for _ in range(100):
        server.tick(1, 1)
        check(server)
        got += server.take_output(c, step)
        check(server)
    assert got == b"".join(R.ECHO_RES(blob(size, n)) for n, size in enumerate(sizes))


def test_no_more_comes_but_large_frames_wait() -> None:
    server = Dispatcher(handle_prefix=PREFIX, high_water=50_000)
    c = server.connect()
    server.receive(c, Q.ECHO_REQ(blob(60_000)) * 3 + Q.ECHO_REQ(blob(60_000))[:-1])
    assert len(server.take_output(c, 60_000)) == 60_000
    server.complete(c)
    check(server)
    assert server.take_output(c) == (R.ECHO_RES(blob(60_000)) * 3)[60_000:]
    server.receive(c, blob(60_000)[-1:])
    assert server.take_output(c) == R.ECHO_RES(blob(60_000))
    check(server)

# SPDX-License-Identifier: BSD-3-Clause
"""The load generator's own pieces: latencies in buckets, and its loops against a scripted server in a thread."""

from __future__ import annotations

import contextlib
import gc
import itertools
import os
import socket
import sys
import threading
from collections.abc import Callable

import pytest

if sys.platform != "linux":
    pytest.skip("gearfast bench runs on Linux only", allow_module_level=True)

from gearfast import Command, Decoder, Packet, encode
from gearfast.bench._clients import Clients, bucket_value, percentile
from gearfast.bench._workers import Workers

Answer = Callable[[Packet], bytes]


def serve(sock: socket.socket, answer: Answer) -> threading.Thread:
    """Answers each packet on `sock` until it is closed."""

    def run() -> None:
        decoder = Decoder()
        # Whoever asked may be gone before the answer: then there is nobody left to tell.
        with sock, contextlib.suppress(BrokenPipeError, ConnectionResetError):
            while data := sock.recv(65536):
                packets = decoder.receive(data)
                sock.sendall(b"".join(answer(packet) for packet in packets if isinstance(packet, Packet)))

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def run_clients(answer: Answer, rate: float = 0.0, **settings: object) -> dict[str, object]:
    """What is counted with 100 jobs, or until the run is called off since it does not end."""
    mine, theirs = socket.socketpair()
    thread = serve(theirs, answer)
    control, call = os.pipe()
    alarm = threading.Timer(30.0, os.write, (call, b"end"))
    alarm.start()
    clients = Clients([mine], control, **settings)  # type: ignore[arg-type]
    try:
        return dict(clients.run(10.0, 100, rate))
    finally:
        alarm.cancel()
        alarm.join()
        clients.close()
        thread.join()
        os.close(control)
        os.close(call)


def finish(packet: Packet) -> bytes:
    handle = b"H:test:1"
    return encode(Command.JOB_CREATED, handle) + encode(Command.WORK_COMPLETE, handle, packet.args[2], magic=b"\0RES")


def test_buckets_are_exact_below_128_ns_and_1_6_per_cent_wide_above() -> None:
    values = [bucket_value(index) for index in range(1000)]
    assert values[:128] == list(range(128))
    assert all(low < high <= low * (1 + 1 / 63) + 1 for low, high in itertools.pairwise(values[64:]))


def test_percentiles() -> None:
    histogram = [0] * 3072
    histogram[10], histogram[100] = 99, 1
    assert percentile(histogram, 0.5) == 10
    assert percentile(histogram, 0.99) == 10
    assert percentile(histogram, 0.999) == 100
    assert percentile([0] * 10, 0.5) == 0


def test_clients_count_each_finished_job_once() -> None:
    counted = run_clients(finish, window=8)
    assert counted["jobs"] == 100
    assert counted["wrong"] == 0
    assert sum(counted["histogram"]) == 100  # type: ignore[call-overload]


def test_jobs_that_are_due_at_once_are_sent_although_the_window_is_full() -> None:
    counted = run_clients(finish, rate=1e9, window=2)
    assert counted["jobs"] == 100


@pytest.mark.parametrize("kind", [1, 2])
def test_background_jobs_and_echoes(kind: int) -> None:
    def answer(packet: Packet) -> bytes:
        if packet.command == Command.ECHO_REQ:
            return encode(Command.ECHO_RES, packet.args[0])
        assert packet.command == Command.SUBMIT_JOB_BG
        return encode(Command.JOB_CREATED, b"H:test:1")

    assert run_clients(answer, kind=kind, window=8)["jobs"] == 100


@pytest.mark.parametrize(
    "spoil",
    [
        lambda workload: b"\xff" + workload[1:],
        lambda workload: workload[:-1],
        lambda workload: workload[:8] + b"\xff\xff\xff\xff" + workload[12:],
    ],
    ids=["another connection's", "short", "never sent"],
)
def test_a_wrong_result_is_not_counted_as_a_job(spoil: Callable[[bytes], bytes]) -> None:
    def answer(packet: Packet) -> bytes:
        bad = encode(Command.WORK_COMPLETE, b"H:test:1", spoil(packet.args[2]), magic=b"\0RES")
        return bad + finish(packet)

    counted = run_clients(answer)
    assert counted["jobs"] == 100
    assert counted["wrong"] == 100


def test_a_result_that_comes_twice_is_noticed() -> None:
    assert run_clients(lambda packet: finish(packet) + finish(packet), window=4)["wrong"] != 0


def test_an_error_ends_the_run_with_its_text() -> None:
    with pytest.raises(RuntimeError, match="QUEUE_ERROR Job queue is full"):
        run_clients(lambda packet: encode(Command.ERROR, b"QUEUE_ERROR", b"Job queue is full"))


def test_a_lost_connection_ends_the_run() -> None:
    mine, theirs = socket.socketpair()
    clients = Clients([mine])
    theirs.close()
    with pytest.raises(RuntimeError, match="closed a connection"):
        clients.run(10.0)
    clients.close()


def closes_standard_input(call: Callable[[], object]) -> bool:
    """Whether descriptor 0, which is what C has where nothing was set, is closed by a call and what it leaves."""
    before = os.dup(0)
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    try:
        call()
        gc.collect()
        os.fstat(0)
    except OSError:
        return True
    finally:
        os.dup2(before, 0)
        os.close(before)
    return False


def test_a_payload_must_hold_its_tag() -> None:
    def make() -> None:
        with pytest.raises(ValueError, match="12 bytes"):
            Clients([], payload=11)

    assert not closes_standard_input(make)


def test_a_load_without_its_sockets_closes_nothing_else() -> None:
    def make() -> None:
        with pytest.raises(AttributeError):
            Clients([None, None])  # type: ignore[list-item]

    assert not closes_standard_input(make)


@pytest.mark.parametrize("grabs", [1, 3])
def test_workers_hold_grabs_complete_jobs_and_sleep(grabs: int) -> None:
    queue = [b"a" * 12, b"b" * 12, b"c" * 12, b"d" * 12]
    results: list[bytes] = []
    flying = most = 0

    def answer(packet: Packet) -> bytes:
        nonlocal flying, most
        if packet.command == Command.PRE_SLEEP:
            assert flying == 0
            return encode(Command.NOOP) if queue else b""
        if packet.command == Command.GRAB_JOB:
            flying += 1
            most = max(most, flying)
            flying -= 1
            if not queue:
                return encode(Command.NO_JOB)
            return encode(Command.JOB_ASSIGN, b"H:test:1", b"bench-0", queue.pop(0))
        if packet.command == Command.WORK_COMPLETE:
            results.append(packet.args[1])
        elif packet.command == Command.ECHO_REQ:
            return encode(Command.ECHO_RES, b"")
        return b""

    mine, theirs = socket.socketpair()
    thread = serve(theirs, answer)
    workers = Workers([mine], grabs=grabs)
    assert workers.settle(4) == 4
    workers.close()
    thread.join()
    assert results == [b"a" * 12, b"b" * 12, b"c" * 12, b"d" * 12]


def test_workers_register_their_functions() -> None:
    mine, theirs = socket.socketpair()
    workers = Workers([mine], functions=3)
    packets = Decoder().receive(theirs.recv(65536))
    workers.close()
    theirs.close()
    assert [packet.args for packet in packets if isinstance(packet, Packet)] == [
        (b"bench-0",),
        (b"bench-1",),
        (b"bench-2",),
        (),
    ]


def test_credits_need_a_server_that_knows_them() -> None:
    def answer(packet: Packet) -> bytes:
        if packet.command == Command.OPTION_REQ:
            return encode(Command.ERROR, b"UNKNOWN_OPTION", b"Server does not recognize given option")
        return b""

    mine, theirs = socket.socketpair()
    thread = serve(theirs, answer)
    workers = Workers([mine], credits=True)
    with pytest.raises(RuntimeError, match="all_yours"):
        workers.fence()
    workers.close()
    thread.join()

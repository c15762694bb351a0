# SPDX-License-Identifier: BSD-3-Clause
"""`Dispatcher.metrics()`: each counter moves when its own thing happens, and by nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gearfast import protocol
from gearfast.dispatch import Dispatcher

from .script import NOT_EXPECTED, NOT_FOUND, PREFIX, QUEUE_FULL, START_WALL, TOO_LARGE, Peer, Q, R, Wire, error, handle

COUNTERS = (
    "submitted",
    "coalesced",
    "refused",
    "completed",
    "failed",
    "exceptions",
    "dropped",
    "requeued",
    "timeouts",
    "running",
    "workers",
)
US = 1000
BUCKETS = 32


@pytest.fixture
def wire() -> Wire:
    return Wire(job_retries=2)


def server(wire: Wire) -> dict[str, Any]:
    found: dict[str, Any] = wire.dispatcher.metrics()["server"]
    return found


def function(wire: Wire, name: str = "f") -> dict[str, Any]:
    found: dict[str, Any] = wire.dispatcher.metrics()["functions"][name]
    return found


def expect(wire: Wire, name: str = "f", **wanted: int) -> None:
    """Exactly these counters of a function are not 0."""
    row = function(wire, name)
    assert {key: row[key] for key in COUNTERS if row[key]} == wanted


def finished(wire: Wire) -> None:
    """Each job that was submitted has ended in one of the ways that are counted, or is still there."""
    for name, row in wire.dispatcher.metrics()["functions"].items():
        ended = row["completed"] + row["failed"] + row["exceptions"] + row["dropped"]
        assert row["submitted"] == ended + sum(row["queued"].values()) + row["running"], name


def taken(w: Peer) -> bytes:
    """Grabs; the handle."""
    return w.send(Q.GRAB_JOB()).one("JOB_ASSIGN")[0]


# Counters of a function


def test_nothing_happened(wire: Wire) -> None:
    assert wire.dispatcher.metrics()["functions"] == {}
    wire.worker("w", b"f")
    expect(wire, workers=1)
    row = function(wire)
    assert row["queued"] == {"high": 0, "normal": 0, "low": 0}
    assert row["oldest_seconds"] == 0
    assert row["waiting"] == row["processing"] == {"counts": [0] * BUCKETS, "seconds": 0}


@pytest.mark.parametrize(
    "packet",
    [
        Q.SUBMIT_JOB(b"f", b"", b"x"),
        Q.SUBMIT_JOB_LOW_BG(b"f", b"u", b"x"),
        Q.SUBMIT_REDUCE_JOB(b"f", b"", b"r", b"", b"x"),
        Q.SUBMIT_JOB_EPOCH(b"f", b"", b"%d" % (START_WALL + 5), b"x"),
        Q.SUBMIT_JOB_SCHED(b"f", b"", b"*", b"*", b"*", b"*", b"*", b"x"),
    ],
)
def test_submitted(wire: Wire, packet: bytes) -> None:
    wire.peer("c").send(packet).one("JOB_CREATED")
    expect(wire, submitted=1)
    finished(wire)


def test_coalesced(wire: Wire) -> None:
    c = wire.peer("c")
    for kind in ("SUBMIT_JOB", "SUBMIT_JOB_BG", "SUBMIT_JOB_HIGH"):
        c.submit(b"f", b"x", b"u", kind)
    c.submit(b"g", b"x", b"u")
    expect(wire, submitted=1, coalesced=2)
    expect(wire, "g", submitted=1)


def test_refused(wire: Wire) -> None:
    c = wire.peer("c").send(b"create function f\nmaxqueue f 1\n").expect(b"OK\r\n" * 2)
    c.submit(b"f")
    c.send(Q.SUBMIT_JOB(b"f", b"", b"")).expect(QUEUE_FULL)
    c.send(Q.SUBMIT_JOB(b"f", b"u" * 65, b"")).expect(TOO_LARGE)  # is no matter of room
    expect(wire, submitted=1, refused=1)


def test_refused_at_the_ceiling() -> None:
    wire = Wire(max_queued=1000)
    c = wire.peer("c")
    c.submit(b"f")
    c.send(Q.SUBMIT_JOB(b"f", b"", b"x" * 1000)).expect(QUEUE_FULL)
    expect(wire, submitted=1, refused=1)


@pytest.mark.parametrize(
    ("counter", "end"),
    [
        ("completed", Q.WORK_COMPLETE(handle(1), b"done")),
        ("failed", Q.WORK_FAIL(handle(1))),
        ("exceptions", Q.WORK_EXCEPTION(handle(1), b"why")),
    ],
)
def test_ended_by_its_worker(wire: Wire, counter: str, end: bytes) -> None:
    c, w = wire.peer("c"), wire.worker("w", b"f")
    c.submit(b"f", b"", b"u")
    taken(w)
    expect(wire, submitted=1, running=1, workers=1)
    w.send(end).expect_nothing()
    c.take()
    expect(wire, submitted=1, workers=1, **{counter: 1})
    w.send(end)  # is nobody's any more
    assert [seen.name for seen in w.seen()] == ["ERROR"]
    expect(wire, submitted=1, workers=1, **{counter: 1})
    finished(wire)


def test_a_job_of_many_clients_ends_once(wire: Wire) -> None:
    w = wire.worker("w", b"f")
    for n in range(5):
        wire.peer(f"c{n}").submit(b"f", b"", b"u")
    w.send(Q.WORK_COMPLETE(taken(w), b"")).expect_nothing()
    expect(wire, submitted=1, coalesced=4, completed=1, workers=1)


def test_requeued_then_dropped(wire: Wire) -> None:
    c = wire.peer("c")
    c.submit(b"f")
    w = wire.worker("w", b"f")
    taken(w)
    w.leave()
    expect(wire, submitted=1, requeued=1)
    w = wire.worker("w2", b"f")
    taken(w)
    w.send(Q.CANT_DO(b"f")).expect_nothing()
    c.expect(R.WORK_FAIL(handle(1)))
    expect(wire, submitted=1, requeued=1, dropped=1)
    finished(wire)


def test_timeouts(wire: Wire) -> None:
    wire.peer("c").submit(b"f")
    w = wire.peer("w").send(Q.CAN_DO_TIMEOUT(b"f", b"1000"))
    taken(w)
    wire.pass_time(0.9)
    expect(wire, submitted=1, running=1, workers=1)
    wire.pass_time(0.2)
    expect(wire, submitted=1, timeouts=1, requeued=1, workers=1)
    finished(wire)


def test_dropped_by_nobodys_wish(wire: Wire) -> None:
    """Jobs that only a client wanted that has left, and cancelled ones: each is dropped, once, when it is met."""
    c, other = wire.peer("c"), wire.peer("other")
    for _ in range(3):
        c.submit(b"f")
    other.submit(b"f")
    other.submit_at(b"f", START_WALL + 60)
    c.leave()
    other.send(b"cancel job %s\ncancel job %s\n" % (handle(4), handle(5)))
    other.expect(R.WORK_FAIL(handle(4)), b"OK\r\nOK\r\n")
    assert function(wire)["dropped"] == 1  # the one of later is not waited for
    finished(wire)
    w = wire.worker("w", b"f")
    assert w.grab() is None
    expect(wire, submitted=5, dropped=5, workers=1)
    finished(wire)


def test_cancelled_while_it_runs(wire: Wire) -> None:
    c, w = wire.peer("c"), wire.worker("w", b"f")
    for _ in range(2):
        c.submit(b"f")
    first, second = taken(w), taken(w)
    c.send(b"cancel job %s\ncancel job %s\n" % (first, second))
    c.take()
    w.send(Q.WORK_COMPLETE(first, b""))
    expect(wire, submitted=2, completed=1, running=1, workers=1)
    w.send(Q.RESET_ABILITIES())
    expect(wire, submitted=2, completed=1, dropped=1)
    finished(wire)


def test_a_dropped_function_takes_its_counters_along(wire: Wire) -> None:
    c = wire.peer("c")
    c.submit(b"f", b"", b"", "SUBMIT_JOB_BG")
    c.submit(b"g")
    c.send(b"drop function f\n").expect(b"OK\r\n")
    assert list(wire.dispatcher.metrics()["functions"]) == ["g"]
    assert wire.dispatcher.stats()["dropped"] == 1
    c.submit(b"f")
    expect(wire, submitted=1)
    expect(wire, "g", submitted=1)


def test_the_servers_counters_are_the_sums(wire: Wire) -> None:
    c = wire.peer("c")
    for name in (b"f", b"g"):
        for unique in (b"", b"", b"", b"u", b"u"):
            c.send(Q.SUBMIT_JOB(name, unique, b""))
        w = wire.worker("w" + name.decode(), name)
        for end in (Q.WORK_COMPLETE(taken(w), b""), Q.WORK_FAIL(taken(w)), Q.WORK_EXCEPTION(taken(w), b"")):
            w.send(end)
        taken(w)
        w.leave()
        w = wire.worker("w", name)
        taken(w)
        w.leave()
    c.take()
    stats, metrics = wire.dispatcher.stats(), wire.dispatcher.metrics()
    for key in ("submitted", "coalesced", "completed", "failed", "exceptions", "requeued", "dropped"):
        assert stats[key] == sum(row[key] for row in metrics["functions"].values()) > 0, key


def test_queued_by_priority_and_running(wire: Wire) -> None:
    c, w = wire.peer("c"), wire.worker("w", b"f")
    for kind, count in (("SUBMIT_JOB_HIGH", 1), ("SUBMIT_JOB_BG", 2), ("SUBMIT_JOB_LOW", 3)):
        for _ in range(count):
            c.submit(b"f", b"", b"", kind)
    c.submit_at(b"f", START_WALL + 60)
    assert function(wire)["queued"] == {"high": 1, "normal": 3, "low": 3}
    taken(w)
    assert function(wire)["queued"] == {"high": 0, "normal": 3, "low": 3}
    assert (function(wire)["running"], server(wire)["running"]) == (1, 1)
    assert (server(wire)["jobs"], server(wire)["delayed"]) == (7, 1)
    w.send(Q.RESET_ABILITIES())
    assert function(wire)["queued"] == {"high": 1, "normal": 3, "low": 3}
    assert function(wire)["running"] == 0


def test_workers(wire: Wire) -> None:
    one, two = wire.worker("one", b"f", b"f", b"g"), wire.worker("two", b"f")
    assert (function(wire)["workers"], function(wire, "g")["workers"]) == (2, 1)
    two.send(Q.CANT_DO(b"f"), Q.CANT_DO(b"f"), Q.CANT_DO(b"g"))
    assert (function(wire)["workers"], function(wire, "g")["workers"]) == (1, 1)
    one.leave()
    assert (function(wire)["workers"], function(wire, "g")["workers"]) == (0, 0)


# Times


def test_oldest(wire: Wire) -> None:
    c, w = wire.peer("c"), wire.worker("w", b"f")
    c.submit(b"f", b"", b"", "SUBMIT_JOB_LOW")
    wire.pass_time(2.5)
    c.submit(b"f", b"", b"", "SUBMIT_JOB_HIGH")
    wire.pass_time(0.5)
    assert function(wire)["oldest_seconds"] == 3.0
    taken(w)
    assert function(wire)["oldest_seconds"] == 3.0
    taken(w)
    assert function(wire)["oldest_seconds"] == 0
    wire.pass_time(10)
    w.leave()  # the time begins anew for those that come back
    wire.pass_time(0.25)
    assert function(wire)["oldest_seconds"] == 0.25


def test_oldest_beside_jobs_whose_time_has_come(wire: Wire) -> None:
    """One that was submitted before stands in front of it, but has not waited for so long."""
    c = wire.peer("c")
    c.submit_at(b"f", START_WALL + 100)
    c.submit(b"f")
    assert function(wire)["oldest_seconds"] == 0
    wire.pass_time(60)
    assert function(wire)["oldest_seconds"] == 60
    wire.pass_time(50)
    assert function(wire)["oldest_seconds"] == 110


def test_who_is_not_wanted_does_not_wait(wire: Wire) -> None:
    c, d = wire.peer("c"), wire.peer("d")
    c.submit(b"f")
    wire.pass_time(5)
    d.submit(b"f")
    wire.pass_time(1)
    c.leave()
    assert function(wire)["oldest_seconds"] == 1
    d.leave()
    assert function(wire)["oldest_seconds"] == 0


def test_bounds() -> None:
    bounds = Dispatcher().metrics()["bounds"]
    assert len(bounds) == BUCKETS
    assert bounds[:3] == [1e-6, 2e-6, 4e-6]
    assert bounds[-2:] == [2**30 / 1e6, float("inf")]
    assert bounds == sorted(set(bounds))


def bucket_of(ns: int) -> int:
    """By the bounds alone, each not included."""
    return next(i for i in range(BUCKETS) if i == BUCKETS - 1 or ns < 2**i * US)


TIMES = sorted({0, 1, 999} | {2**i * US + more for i in range(32) for more in (-1, 0, 1)} | {2**30 * US * 1000, 2**62})


@pytest.mark.parametrize("ns", TIMES)
def test_buckets(ns: int) -> None:
    server = Dispatcher(handle_prefix=PREFIX)
    start = 7 if ns < 2**62 else -(2**60)
    server.tick(start, 0)
    c, w = server.connect(), server.connect()
    server.receive(w, Q.CAN_DO(b"f"))
    server.receive(c, Q.SUBMIT_JOB(b"f", b"", b""))
    server.tick(start + ns, 0)
    server.receive(w, Q.GRAB_JOB())
    waiting = server.metrics()["functions"]["f"]["waiting"]
    assert waiting["counts"] == [int(i == bucket_of(ns)) for i in range(BUCKETS)]
    assert waiting["seconds"] == ns / 1e9
    assert server.metrics()["functions"]["f"]["processing"]["counts"] == [0] * BUCKETS
    server.tick(start, 0)  # a clock that goes back
    server.receive(w, Q.WORK_COMPLETE(handle(1), b""))
    processing = server.metrics()["functions"]["f"]["processing"]
    assert processing["counts"] == [1] + [0] * (BUCKETS - 1)
    assert processing["seconds"] == 0


@pytest.mark.parametrize(
    "end", [Q.WORK_COMPLETE(handle(1), b""), Q.WORK_FAIL(handle(1)), Q.WORK_EXCEPTION(handle(1), b"")]
)
def test_processing(wire: Wire, end: bytes) -> None:
    c, w = wire.peer("c"), wire.worker("w", b"f")
    c.submit(b"f")
    wire.pass_time(0.003)
    taken(w)
    wire.pass_time(0.25)
    w.send(Q.WORK_STATUS(handle(1), b"1", b"2"), Q.WORK_DATA(handle(1), b""))
    wire.pass_time(0.5)
    w.send(end)
    c.take()
    row = function(wire)
    assert row["waiting"]["seconds"] == 0.003
    assert row["processing"]["seconds"] == 0.75
    assert row["processing"]["counts"][bucket_of(750_000_000)] == sum(row["processing"]["counts"]) == 1


def test_lost_tries_are_no_processing(wire: Wire) -> None:
    """A job that comes back has waited twice; only the try that ended it was its processing."""
    wire.peer("c").submit(b"f")
    wire.pass_time(1)
    w = wire.worker("w", b"f")
    taken(w)
    wire.pass_time(10)
    w.leave()
    wire.pass_time(2)
    w = wire.worker("w2", b"f")
    taken(w)
    wire.pass_time(4)
    w.send(Q.WORK_FAIL(handle(1)))
    row = function(wire)
    assert (row["waiting"]["seconds"], sum(row["waiting"]["counts"])) == (3, 2)
    assert (row["processing"]["seconds"], sum(row["processing"]["counts"])) == (4, 1)
    wire.peers[next(iter(wire.peers))].take()


def test_the_time_until_its_time_is_no_waiting(wire: Wire) -> None:
    wire.peer("c").submit_at(b"f", START_WALL + 100)
    wire.pass_time(100)
    wire.pass_time(0.5)
    w = wire.worker("w", b"f")
    taken(w)
    assert function(wire)["waiting"]["seconds"] == 0.5


def test_a_clock_that_stands_still(wire: Wire) -> None:
    c, w = wire.peer("c"), wire.worker("w", b"f")
    for _ in range(10):
        c.submit(b"f")
        w.send(Q.WORK_COMPLETE(taken(w), b""))
        c.take()
    for which in ("waiting", "processing"):
        assert function(wire)[which] == {"counts": [10] + [0] * (BUCKETS - 1), "seconds": 0}


# The server


def test_connections_by_role(wire: Wire) -> None:
    def roles() -> dict[str, int]:
        found: dict[str, int] = server(wire)["connections"]
        assert sum(found.values()) == wire.dispatcher.peer_count
        return found

    silent = wire.peer("silent")
    silent.send(b"status\n", Q.ECHO_REQ(b""), Q.GRAB_JOB(), Q.PRE_SLEEP(), Q.RESET_ABILITIES(), Q.CANT_DO(b"f")).take()
    client, worker, both = wire.peer("client"), wire.worker("worker", b"f"), wire.worker("both", b"f")
    client.submit(b"f", b"", b"", "SUBMIT_JOB_BG")
    both.submit(b"f", b"", b"", "SUBMIT_JOB_BG")
    assert roles() == {"client": 1, "worker": 1, "both": 1, "silent": 1}
    worker.send(Q.RESET_ABILITIES())  # once a worker, always a worker
    assert roles() == {"client": 1, "worker": 1, "both": 1, "silent": 1}
    both.leave()
    silent.leave()
    assert roles() == {"client": 1, "worker": 1, "both": 0, "silent": 0}
    assert server(wire)["connected"] == 4


def test_bytes(wire: Wire) -> None:
    got = sent = 0
    before = server(wire)
    assert (before["received_bytes"], before["answered_bytes"]) == (0, 0)
    c, w = wire.peer("c"), wire.worker("w", b"f")
    got += len(Q.CAN_DO(b"f"))
    for data in (
        Q.SUBMIT_JOB(b"f", b"u", b"x" * 100_000),
        b"status\n",
        b"prioritystatus\r\nworkers\n",
        b"show jobs\nshow unique jobs\nversion\n",
        Q.ECHO_REQ(b"e" * 10_000),
        Q.GET_STATUS(handle(1)),
        Q.GET_STATUS_UNIQUE(b"u"),
        Q.OPTION_REQ(b"nonsense"),
        b"no such command\n",
        Q.CAN_DO(b"half")[:-2],
    ):
        c.send_raw(data)
        got += len(data)
        sent += len(c.take())
    for data in (Q.GRAB_JOB_ALL(), Q.WORK_DATA(handle(1), b"d" * 5000), Q.WORK_COMPLETE(handle(1), b"r" * 70_000)):
        w.send_raw(data)
        got += len(data)
        sent += len(w.take()) + len(c.take())
    assert server(wire)["received_bytes"] == got
    assert server(wire)["answered_bytes"] == sent
    wire.tick()
    assert server(wire)["answered_bytes"] == sent


def test_commands(wire: Wire) -> None:
    assert server(wire)["commands"] == {}
    w = wire.worker("w", b"f", b"g")
    w.send(Q.GRAB_JOB() * 3, Q.GRAB_JOB_UNIQ(), Q.PRE_SLEEP(), R.NOOP(), Q.NOOP(), b"status\n").take()
    assert server(wire)["commands"] == {"CAN_DO": 2, "GRAB_JOB": 3, "GRAB_JOB_UNIQ": 1, "PRE_SLEEP": 1, "NOOP": 2}
    assert set(server(wire)["commands"]) <= {command.name for command in protocol.Command}
    assert wire.dispatcher.stats()["packets"] == 9


def test_every_command_counts_as_itself(wire: Wire) -> None:
    for spec in protocol.COMMANDS:
        wire = Wire()
        packet = Q.raw(spec.command, b"\0".join([b"1"] * len(spec.fields)))
        c = wire.peer("c").send(packet)
        c.take()
        if not c.closed:
            assert server(wire)["commands"] == {spec.command.name: 1}


def test_text_commands(wire: Wire) -> None:
    c = wire.peer("c").send(b"status\n", b"nonsense\r\n", b"\n", Q.ECHO_REQ(b""))
    c.take()
    assert server(wire)["text_commands"] == 3
    c.send(b"hal").expect_nothing()
    assert server(wire)["text_commands"] == 3


def test_errors_by_code(wire: Wire) -> None:
    codes = dict.fromkeys(
        (
            "INVALID_MAGIC",
            "INVALID_COMMAND",
            "INVALID_ARGUMENT",
            "ARGUMENT_TOO_LARGE",
            "QUEUE_ERROR",
            "JOB_NOT_FOUND",
            "UNKNOWN_OPTION",
        ),
        0,
    )
    assert server(wire)["errors"] == codes
    c = wire.peer("c").send(b"create function f\nmaxqueue f 1\n").expect(b"OK\r\n" * 2)
    c.submit(b"f")
    for number, (packet, code, answer) in enumerate(
        [
            (R.ECHO_REQ(b""), "INVALID_MAGIC", None),
            (Q.NOOP(), "INVALID_COMMAND", NOT_EXPECTED),
            (Q.SUBMIT_JOB_EPOCH(b"f", b"", b"9" * 30, b""), "INVALID_ARGUMENT", None),
            (Q.SUBMIT_JOB(b"f", b"u" * 65, b""), "ARGUMENT_TOO_LARGE", TOO_LARGE),
            (Q.SUBMIT_JOB(b"f", b"", b""), "QUEUE_ERROR", QUEUE_FULL),
            (Q.WORK_COMPLETE(handle(9), b""), "JOB_NOT_FOUND", NOT_FOUND),
            (Q.OPTION_REQ(b"x"), "UNKNOWN_OPTION", error(b"UNKNOWN_OPTION", b"Server does not recognize given option")),
        ],
        1,
    ):
        c.send(packet)
        if answer is None:
            c.refused(code.encode())
        else:
            c.expect(answer)
        codes[code] += 1
        assert server(wire)["errors"] == codes
        assert wire.dispatcher.stats()["errors"] == number
    c.send(b"nonsense\n").take()  # text has no codes
    assert server(wire)["errors"] == codes


def test_bad_bytes(wire: Wire) -> None:
    for number, data in enumerate(
        (b"\0BAD" + bytes(8), Q.raw(99), Q.raw(protocol.Command.CAN_DO_TIMEOUT, b"f"), b"x" * 100_000), 1
    ):
        wire.peer("c").send(data).expect_closed()
        assert server(wire)["bad_bytes"] == number
    wire.peer("c").send(Q.NOOP()).expect(NOT_EXPECTED)
    wire.peer("d").send(Q.ECHO_REQ(b"")[:-1] + b"\0").take()
    assert server(wire)["bad_bytes"] == 4


def test_overflows() -> None:
    server = Dispatcher(max_unsent=1000)
    c, d = server.connect(), server.connect()
    assert server.receive(d, Q.ECHO_REQ(b"x" * 900) * 1)
    for number in (1, 1):
        server.receive(c, Q.ECHO_REQ(b"x" * 900) * 3)
        assert server.metrics()["server"]["overflows"] == number
    assert not server.receive(d, Q.ECHO_REQ(b"x" * 900))
    assert server.metrics()["server"]["overflows"] == 2
    assert server.metrics()["server"]["bad_bytes"] == 0


def test_plain_numbers_only(wire: Wire) -> None:
    """It can be written as it is, but for infinity, the last bound."""
    c = wire.peer("c").send(Q.SUBMIT_JOB(b"f\xff\xfe", b"", b""), Q.SUBMIT_JOB("größe".encode(), b"", b""))
    c.take()
    metrics = wire.dispatcher.metrics()
    assert json.loads(json.dumps(metrics)) == metrics
    assert list(metrics["functions"]) == ["f\\xff\\xfe", "größe"]


def test_a_snapshot_is_no_view(wire: Wire) -> None:
    c = wire.peer("c")
    c.submit(b"f")
    before = wire.dispatcher.metrics()
    before["bounds"].clear()
    before["functions"]["f"]["waiting"]["counts"].clear()
    c.submit(b"f")
    assert before["functions"]["f"]["submitted"] == 1
    assert len(wire.dispatcher.metrics()["bounds"]) == BUCKETS
    assert len(function(wire)["waiting"]["counts"]) == BUCKETS


def test_looking_changes_nothing(wire: Wire) -> None:
    c = wire.peer("c")
    c.submit(b"f")
    c.leave()
    first = wire.dispatcher.metrics()
    assert wire.dispatcher.metrics() == first
    wire.sound()

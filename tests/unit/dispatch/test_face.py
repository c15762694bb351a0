# SPDX-License-Identifier: BSD-3-Clause
"""The dispatcher's Python face: its settings, what it shows of itself, and how a driver talks to it."""

from __future__ import annotations

import gc
from typing import Any

import pytest

from gearfast import encode
from gearfast.dispatch import Dispatcher
from gearfast.protocol import Command

NOW = 1_767_225_600 * 10**9


def submit(server: Dispatcher, peer: int, function: bytes = b"f", data: bytes = b"x", unique: bytes = b"") -> None:
    server.receive(peer, encode(Command.SUBMIT_JOB, function, unique, data))


def worker(server: Dispatcher, *functions: bytes) -> int:
    peer = server.connect()
    for function in functions:
        server.receive(peer, encode(Command.CAN_DO, function))
    return peer


@pytest.mark.parametrize(
    "wrong",
    [
        {"order": "random"},
        {"job_retries": -2},
        {"wakeup": -1},
        {"first_handle": 0},
        {"first_handle": -5},
        {"first_handle": 1 << 64},
        {"max_packet": 0},
        {"max_packet": 1 << 33},
        {"handle_prefix": b"p" * 64},
        {"handle_prefix": b"with space"},
        {"handle_prefix": b"with\0nul"},
    ],
)
def test_settings_out_of_range(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Dispatcher(**wrong)


@pytest.mark.parametrize("wrong", [{"handle_prefix": "text"}, {"no_such_setting": 1}, {"order": None}])
def test_settings_of_the_wrong_type(wrong: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ValueError)):
        Dispatcher(**wrong)


class TestPeers:
    def test_numbers_are_not_used_again(self) -> None:
        server, seen = Dispatcher(), set()
        for _ in range(1000):
            peer = server.connect("192.0.2.1")
            assert peer not in seen
            seen.add(peer)
            server.disconnect(peer)

    def test_unknown_peer(self) -> None:
        server = Dispatcher()
        gone = server.connect()
        server.disconnect(gone)
        other = server.connect()
        assert other != gone
        for call in (server.disconnect, server.take_output, server.closing):
            for wrong in (gone, 0, other + 1, 1 << 62):
                with pytest.raises(KeyError):
                    call(wrong)
        with pytest.raises(KeyError):
            server.receive(gone, b"version\n")

    def test_ten_thousand_that_say_nothing(self) -> None:
        server = Dispatcher()
        peers = [server.connect() for _ in range(10_000)]
        assert server.peer_count == 10_000
        assert server.take_dirty() == []
        for peer in peers:
            server.disconnect(peer)
        assert server.peer_count == 0

    def test_what_is_shown_of_them(self) -> None:
        server = Dispatcher()
        peer = server.connect("192.0.2.9", fd=7)
        for packet in (
            encode(Command.CAN_DO, b"a"),
            encode(Command.CAN_DO, b"b"),
            encode(Command.SET_CLIENT_ID, b"me"),
            encode(Command.PRE_SLEEP),
            encode(Command.ECHO_REQ, b"x"),
            b"half",
        ):
            server.receive(peer, packet)
        (row,) = server.peers()
        assert (row["peer"], row["fd"], row["address"], row["id"]) == (peer, 7, "192.0.2.9", "me")
        assert row["functions"] == ["b", "a"]
        assert (row["asleep"], row["closing"], row["unsent"], row["partial"]) == (True, False, 13, 4)


class TestOutput:
    def test_dirty_once(self) -> None:
        server = Dispatcher()
        a, b = server.connect(), server.connect()
        for _ in range(3):
            server.receive(a, b"version\n")
        assert server.take_dirty() == [a]
        assert server.take_dirty() == []
        assert server.take_output(a) == b"OK 0\n" * 3
        assert server.take_output(a) == b""
        assert server.take_output(b) == b""

    def test_dirty_again_though_output_was_not_taken(self) -> None:
        server = Dispatcher()
        a = server.connect()
        server.receive(a, b"version\n")
        assert server.take_dirty() == [a]
        server.receive(a, b"version\n")
        assert server.take_dirty() == [a]
        assert server.take_output(a) == b"OK 0\n" * 2

    def test_a_peer_that_is_gone_is_not_dirty(self) -> None:
        server = Dispatcher()
        a = server.connect()
        server.receive(a, b"version\n")
        server.disconnect(a)
        assert a not in server.take_dirty()

    def test_closing(self) -> None:
        server = Dispatcher()
        a = server.connect()
        assert server.receive(a, b"version\n") is True
        assert server.closing(a) is False
        assert server.receive(a, b"getpid\n\0BAD12345678") is False
        assert server.closing(a) is True
        assert server.receive(a, b"version\n") is False
        assert server.take_dirty() == [a]
        assert server.take_output(a) == b"OK 0\nOK 0\n"
        server.disconnect(a)

    @pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
    def test_receives_any_bytes(self, kind: type) -> None:
        server = Dispatcher()
        a = server.connect()
        server.receive(a, kind(b"version\n"))
        assert server.take_output(a) == b"OK 0\n"

    @pytest.mark.parametrize("wrong", ["version\n", None, 5, [1]])
    def test_refuses_what_is_no_bytes(self, wrong: object) -> None:
        server = Dispatcher()
        a = server.connect()
        with pytest.raises((TypeError, BufferError)):
            server.receive(a, wrong)  # type: ignore[arg-type]

    def test_what_it_was_fed_may_change_afterwards(self) -> None:
        server = Dispatcher()
        a, w = server.connect(), worker(server, b"f")
        buffer = bytearray(encode(Command.SUBMIT_JOB, b"f", b"u", b"data") + b"vers")
        server.receive(a, buffer)
        buffer[:] = b"X" * len(buffer)
        server.receive(a, b"ion\n")
        assert server.take_output(a).endswith(b"OK 0\n")
        server.receive(w, encode(Command.GRAB_JOB_UNIQ))
        assert server.take_output(w).endswith(b"f\0u\0data")


class TestJobs:
    def test_what_is_shown_of_them(self) -> None:
        server = Dispatcher(first_handle=5)
        server.tick(10**9, NOW)
        c, w = server.connect(), worker(server, b"f")
        submit(server, c, b"f", b"\0data", b"u")
        server.receive(c, encode(Command.SUBMIT_JOB_HIGH_BG, b"g", b"", b""))
        server.receive(c, encode(Command.SUBMIT_JOB_EPOCH, b"g", b"v", b"%d" % (NOW // 10**9 + 60), b"later"))
        server.receive(w, encode(Command.GRAB_JOB))
        server.receive(w, encode(Command.WORK_STATUS, b"H:local:5", b"1", b"2"))
        first, second, third = server.jobs()
        assert (first["handle"], first["function"], first["unique"], first["workload"]) == (
            "H:local:5",
            "f",
            b"u",
            b"\0data",
        )
        assert (first["running"], first["worker"], first["clients"], first["background"]) == (True, w, 1, False)
        assert (first["numerator"], first["denominator"], first["retries"], first["ignored"]) == (1, 2, 0, False)
        assert (second["priority"], second["background"], second["running"], second["worker"]) == (
            "high",
            True,
            False,
            None,
        )
        assert (third["due"], third["priority"]) == (NOW / 10**9 + 60, "normal")
        assert (server.job_count, server.running_count) == (3, 1)

    def test_functions(self) -> None:
        server = Dispatcher()
        c = server.connect()
        worker(server, b"f")
        submit(server, c, b"f")
        submit(server, c, b"g")
        server.receive(c, b"maxqueue g 9 8 7\n")
        f, g = server.functions()
        assert (f["function"], f["total"], f["running"], f["workers"], f["queued"]) == ("f", 1, 0, 1, [0, 1, 0])
        assert (g["function"], g["limits"]) == ("g", [9, 8, 7])

    def test_idle(self) -> None:
        server, seen = Dispatcher(), []
        server.tick(10**9, NOW)
        seen.append(server.idle)
        c, w = server.connect(), worker(server, b"f")
        submit(server, c)
        seen.append(server.idle)
        server.receive(w, encode(Command.GRAB_JOB))
        seen.append(server.idle)
        server.receive(w, encode(Command.WORK_COMPLETE, b"H:local:1", b""))
        seen.append(server.idle)
        assert seen == [True, False, False, True]
        server.receive(c, encode(Command.SUBMIT_JOB_EPOCH, b"f", b"", b"%d" % (NOW // 10**9 + 60), b""))
        assert server.idle, "a job for later does not count"
        server.tick(61 * 10**9, NOW + 61 * 10**9)
        assert not server.idle

    def test_idle_though_a_client_left(self) -> None:
        """Nobody waits for the job, and no worker may ever come to sweep it away."""
        server = Dispatcher()
        c = server.connect()
        submit(server, c)
        server.disconnect(c)
        assert server.idle is True

    def test_stats_count_up(self) -> None:
        server = Dispatcher()
        c = server.connect()
        before = server.stats()
        submit(server, c)
        after = server.stats()
        assert after["jobs"] == before["jobs"] + 1
        assert all(isinstance(value, int) for value in after.values())

    def test_names_that_are_no_text(self) -> None:
        server = Dispatcher()
        c = worker(server, b"\xff\xfe")
        submit(server, c, b"\xff\xfe")
        server.receive(c, encode(Command.SET_CLIENT_ID, b"\xff"))
        assert server.functions()[0]["function"] == server.jobs()[0]["function"] == server.peers()[0]["functions"][0]


class TestTime:
    def test_nothing_due(self) -> None:
        server = Dispatcher()
        assert server.tick(0, 0) == -1
        assert server.tick(10**18, 10**18) == -1

    def test_clock_that_stands_or_goes_back(self) -> None:
        server = Dispatcher()
        server.tick(10**12, NOW)
        c, w = server.connect(), server.connect()
        server.receive(w, encode(Command.CAN_DO_TIMEOUT, b"f", b"2000"))
        submit(server, c)
        server.receive(w, encode(Command.GRAB_JOB))
        assert server.tick(10**12, NOW) == 2 * 10**9
        assert server.tick(10**12 - 10**9, NOW - 10**12) == 3 * 10**9
        assert server.tick(10**12 + 2 * 10**9, NOW - 10**15) in (-1, 0)
        assert server.tick(10**12 + 2 * 10**9, NOW) == -1
        assert server.jobs()[0]["retries"] == 1

    def test_packets_act_at_the_last_tick(self) -> None:
        server = Dispatcher()
        server.tick(10**12, NOW)
        c = server.connect()
        server.receive(c, encode(Command.SUBMIT_JOB_EPOCH, b"f", b"", b"%d" % (NOW // 10**9 + 1), b""))
        assert 0 < server.tick(10**12, NOW) <= 10**9


class TestNotices:
    def test_are_bounded(self) -> None:
        server = Dispatcher()
        c = server.connect()
        for _ in range(20_000):
            server.receive(c, encode(Command.WORK_FAIL, b"H:nowhere:1"))
        notices = server.take_notices()
        assert 0 < len(notices) < 20_000
        assert {level for level, _ in notices} <= {"WARNING", "NOTICE", "INFO"}
        assert server.take_notices() == []

    @pytest.mark.parametrize("jobs", [50, 200])
    def test_jobs_that_are_dropped_are_told_among_many_others_or_counted(self, jobs: int) -> None:
        server = Dispatcher(job_retries=1)
        c = server.connect()
        for _ in range(jobs):
            submit(server, c)
        for _ in range(300):
            server.receive(c, encode(Command.WORK_FAIL, b"H:nowhere:1"))
        w = worker(server, b"f")
        server.receive(w, encode(Command.GRAB_JOB) * jobs)
        server.disconnect(w)
        texts = [text for _, text in server.take_notices()]
        told = sum(text.startswith("Dropped job due to max retry count") for text in texts)
        left_out = 300 + jobs - (len(texts) - 1)
        assert told >= 50
        counted = f", {jobs - told} of them of dropped jobs" if told < jobs else ""
        assert texts[-1] == f"{left_out} more messages were left out{counted}"

    def test_broken_peer_is_told(self) -> None:
        server = Dispatcher()
        c = server.connect("192.0.2.77")
        server.receive(c, b"\0BAD12345678")
        ((level, text),) = server.take_notices()
        assert level == "WARNING"
        assert "192.0.2.77" in text


class TestMemory:
    def test_dropped_in_any_state(self) -> None:
        for _ in range(50):
            server = Dispatcher()
            server.tick(1, NOW)
            c, w = server.connect(), worker(server, b"f")
            server.receive(w, encode(Command.CAN_DO_TIMEOUT, b"f", b"1000"))
            for n in range(20):
                submit(server, c, b"f", b"x" * n * 100, b"u%d" % n)
            server.receive(c, encode(Command.SUBMIT_JOB_EPOCH, b"g", b"", b"%d" % (NOW // 10**9 + 60), b""))
            server.receive(w, encode(Command.GRAB_JOB) * 5 + b"half a li")
            server.receive(c, encode(Command.ECHO_REQ, b"y" * 1000)[:-1])
            server.disconnect(c)
            del server
        gc.collect()

    def test_calendar_that_refers_back_is_collected(self) -> None:
        class Owner:
            """Whatever a server's calendar hangs on."""

            alive = 0

            def __init__(self) -> None:
                Owner.alive += 1
                self.server = Dispatcher(next_match=self.next_match)

            def __del__(self) -> None:
                Owner.alive -= 1

            def next_match(self, *args: object) -> int:
                return 0

        for _ in range(5):
            Owner()
        gc.collect()
        assert Owner.alive == 0

    def test_calendar_that_breaks(self) -> None:
        def next_match(*args: object) -> int:
            raise ZeroDivisionError("a fault of the calendar's own")

        server = Dispatcher(next_match=next_match)
        c = server.connect()
        server.receive(c, encode(Command.SUBMIT_JOB_SCHED, b"f", b"", b"1", b"1", b"1", b"1", b"1", b"x"))
        assert server.take_output(c)[4:8] == Command.ERROR.to_bytes(4, "big")
        assert server.job_count == 0

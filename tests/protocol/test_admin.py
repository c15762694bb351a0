# SPDX-License-Identifier: BSD-3-Clause
"""4: the text commands, byte for byte."""

from __future__ import annotations

import pytest

from .conftest import MakeWire
from .script import START_WALL, Q, R, Wire, handle


def unknown(word: bytes) -> bytes:
    return b"ERR UNKNOWN_COMMAND Unknown+server+command" + word + b"\r\n"


def incomplete(word: bytes) -> bytes:
    return b"ERR INVALID_ARGUMENTS An+incomplete+set+of+arguments+was+sent+to+this+command+" + word + b"\r\n"


class TestLines:
    @pytest.mark.parametrize(
        "line",
        [b"version\n", b"version\r\n", b"VERSION\n", b"Version\r\n", b"version  \n", b"version a b c d\n"],
    )
    def test_ways_to_write_a_command(self, wire: Wire, line: bytes) -> None:
        wire.peer("c").send(line).expect(b"OK 9.8.7\n")

    @pytest.mark.parametrize("line", [b" version\n", b" \n", b"  status\r\n"])
    def test_leading_space_is_an_empty_command(self, wire: Wire, line: bytes) -> None:
        wire.peer("c").send(line).expect(unknown(b""))

    @pytest.mark.parametrize("word", [b"foo", b"versions", b"statu", b"\xff\xfe", b"stat\tus", b"v\rn", b"Foo"])
    def test_anything_else(self, wire: Wire, word: bytes) -> None:
        wire.peer("c").send(word + b"\n", word + b" and more\r\n").expect(unknown(word), unknown(word))

    def test_mixed_with_packets(self, wire: Wire) -> None:
        c = wire.peer("c")
        c.send(b"version\n", Q.ECHO_REQ(b"1"), b"getpid\n", b"verbose\r\n", Q.ECHO_REQ(b"2"), b"nonsense\n")
        c.expect(b"OK 9.8.7\n", R.ECHO_RES(b"1"), b"OK 4321\n", b"OK ERROR\n", R.ECHO_RES(b"2"), unknown(b"nonsense"))

    def test_half_a_line_waits(self, wire: Wire) -> None:
        c = wire.peer("c")
        c.send_raw(b"vers").expect_nothing()
        c.send_raw(b"ion\r").expect_nothing()
        c.send_raw(b"\n").expect(b"OK 9.8.7\n")


def test_verbose_tells_the_level(make_wire: MakeWire) -> None:
    make_wire(verbose="DEBUG").peer("c").send(b"verbose\n").expect(b"OK DEBUG\n")


class TestStatus:
    def test_of_nothing(self, wire: Wire) -> None:
        c = wire.peer("c")
        for line in (b"status\n", b"prioritystatus\n", b"show jobs\n", b"show unique jobs\r\n", b"STATUS\r\n"):
            c.send(line).expect(b".\n")

    def test_bytes(self, wire: Wire) -> None:
        c = wire.peer("c")
        c.submit(b"f")
        c.send(b"status\n").expect(b"f\t1\t0\t0\n.\n")
        c.send(b"prioritystatus\n").expect(b"f\t0\t1\t0\t0\n.\n")
        c.send(b"show jobs\n").expect(handle(1) + b"\t0\t0\t0\n.\n")
        c.send(b"show unique jobs\n").expect(b"\n.\n")

    def test_counts(self, wire: Wire) -> None:
        c, w = wire.peer("c"), wire.worker("w", b"f", b"g")
        wire.worker("w2", b"f")
        for _ in range(3):
            c.submit(b"f", b"x")
        c.submit(b"h", b"y")
        c.submit_at(b"h", START_WALL + 100, b"later")
        assert w.grab() == b"x"
        assert c.table(b"status") == [b"f\t3\t1\t2", b"g\t0\t0\t1", b"h\t2\t0\t0"]

    def test_prioritystatus_counts_the_queued(self, wire: Wire) -> None:
        c, w = wire.peer("c"), wire.worker("w", b"f")
        for kind, count in (("SUBMIT_JOB_HIGH", 4), ("SUBMIT_JOB_BG", 2), ("SUBMIT_JOB_LOW", 1)):
            for _ in range(count):
                c.submit(b"f", b"x", kind=kind)
        assert c.table(b"prioritystatus") == [b"f\t4\t2\t1\t1"]
        assert w.grab() == b"x"
        assert c.table(b"prioritystatus") == [b"f\t3\t2\t1\t1"]
        w.leave()
        assert c.table(b"prioritystatus") == [b"f\t4\t2\t1\t0"]

    def test_a_function_stays_known(self, wire: Wire) -> None:
        c, w = wire.peer("c"), wire.worker("w", b"f")
        job = c.submit(b"g", b"x")
        w.leave()
        worker = wire.worker("w2", b"g")
        assert worker.grab() == b"x"
        worker.send(Q.WORK_FAIL(job))
        c.expect(R.WORK_FAIL(job))
        worker.leave()
        assert c.table(b"status") == [b"f\t0\t0\t0", b"g\t0\t0\t0"]

    def test_of_many_functions(self, wire: Wire) -> None:
        names = sorted(b"function-%04d" % n for n in range(1000))
        w = wire.worker("w", *names)
        assert w.table(b"status") == [name + b"\t0\t0\t1" for name in names]


class TestWorkers:
    def test_all_connections(self, wire: Wire) -> None:
        c = wire.peer("c", "192.0.2.7", fd=11)
        w = wire.peer("w", "2001:db8::1", fd=12)
        w.send(Q.CAN_DO(b"a"), Q.CAN_DO(b"b"), Q.CAN_DO(b"c"), Q.SET_CLIENT_ID(b"worker-1"))
        assert c.table(b"workers") == [b"11 192.0.2.7 - :", b"12 2001:db8::1 worker-1 : c b a"]
        w.send(Q.CANT_DO(b"b"))
        assert c.table(b"workers") == [b"11 192.0.2.7 - :", b"12 2001:db8::1 worker-1 : c a"]
        w.leave()
        c.send(b"workers\n").expect(b"11 192.0.2.7 - :\n.\n")

    def test_a_function_twice_is_listed_once(self, wire: Wire) -> None:
        w = wire.peer("w", "127.0.0.1", fd=5).send(Q.CAN_DO(b"f"), Q.CAN_DO(b"f"))
        w.send(b"workers\n").expect(b"5 127.0.0.1 - : f\n.\n")


class TestShow:
    def test_jobs(self, wire: Wire) -> None:
        c, gone, w = wire.peer("c"), wire.peer("gone"), wire.worker("w", b"g")
        front = c.submit(b"f", b"", b"u1")
        back = c.submit(b"f", b"", b"u2", "SUBMIT_JOB_BG")
        dead = gone.submit(b"f", b"", b"u3")
        gone.leave()
        running = c.submit(b"g", b"x", b"")
        assert w.grab() == b"x"
        wanted = [front + b"\t0\t0\t0", back + b"\t0\t0\t1", dead + b"\t0\t1\t0", running + b"\t0\t0\t0"]
        assert c.table(b"show jobs") == sorted(wanted)

    def test_unique_jobs(self, wire: Wire) -> None:
        c, w = wire.peer("c"), wire.worker("w", b"g")
        c.submit(b"f", b"", b"u1")
        c.submit(b"f", b"", b"")
        c.submit(b"f", b"", b"-")
        c.submit(b"f", b"", b"u" * 64)
        c.submit(b"g", b"x", b"u1")
        assert w.grab() == b"x"
        assert c.table(b"SHOW Unique JOBS") == [b"", b"-", b"u1", b"u1", b"u" * 64]

    @pytest.mark.parametrize("line", [b"show x", b"show unique", b"show unique x", b"SHOW job", b"show a b c"])
    def test_something_else(self, wire: Wire, line: bytes) -> None:
        wire.peer("c").send(line + b"\n").expect(b"ERR UNKNOWN_SHOW_ARGUMENTS\r\n")

    def test_bare(self, wire: Wire) -> None:
        wire.peer("c").send(b"show\n").expect(unknown(b"show"))


class TestCreate:
    @pytest.mark.parametrize("end", [b"\n", b"\r\n"])
    def test_keeps_the_last_letter(self, wire: Wire, end: bytes) -> None:
        c = wire.peer("c")
        c.send(b"create function foo" + end).expect(b"OK\r\n")
        assert c.table(b"status") == [b"foo\t0\t0\t0"]

    @pytest.mark.parametrize("word", [b"CREATE", b"Drop", b"maxQUEUE"])
    def test_the_word_is_told_as_written(self, wire: Wire, word: bytes) -> None:
        wire.peer("c").send(word + b"\n").expect(incomplete(word))

    def test_of_a_known_function(self, wire: Wire) -> None:
        c = wire.peer("c")
        c.submit(b"foo")
        c.send(b"CREATE Function foo\r\n").expect(b"OK\r\n")
        assert c.table(b"status") == [b"foo\t1\t0\t0"]

    def test_case_of_the_name_is_kept(self, wire: Wire) -> None:
        c = wire.peer("c")
        c.send(b"create function Foo\r\n", b"create function foo\r\n").expect(b"OK\r\n" * 2)
        assert c.table(b"status") == [b"Foo\t0\t0\t0", b"foo\t0\t0\t0"]

    @pytest.mark.parametrize("line", [b"create", b"create function", b"create x y", b"create function a b"])
    def test_incomplete(self, wire: Wire, line: bytes) -> None:
        c = wire.peer("c")
        c.send(line + b"\r\n").expect(incomplete(b"create"))
        assert c.table(b"status") == []

    def test_created_function_works(self, wire: Wire) -> None:
        c = wire.peer("c")
        c.send(b"create function f\n").expect(b"OK\r\n")
        w = wire.sleeper("w", b"f")
        c.submit(b"f", b"x")
        w.expect(R.NOOP())
        assert w.grab() == b"x"


class TestDrop:
    BUSY = b"ERR there are still connected workers or executing clients\r\n"

    def test_unknown(self, wire: Wire) -> None:
        wire.peer("c").send(b"drop function f\n").expect(b"ERR function not found\r\n")

    @pytest.mark.parametrize("line", [b"drop", b"drop function", b"drop x", b"drop x y", b"drop function a b"])
    def test_incomplete(self, wire: Wire, line: bytes) -> None:
        wire.peer("c").send(line + b"\n").expect(incomplete(b"drop"))

    @pytest.mark.parametrize("end", [b"\n", b"\r\n"])
    def test_idle_function_goes(self, wire: Wire, end: bytes) -> None:
        c = wire.peer("c")
        wire.worker("w", b"foo").leave()
        c.send(b"drop function foo" + end).expect(b"OK\r\n")
        assert c.table(b"status") == []
        c.send(b"drop function foo" + end).expect(b"ERR function not found\r\n")

    def test_with_workers_is_refused(self, wire: Wire) -> None:
        c, w = wire.peer("c"), wire.sleeper("w", b"f")
        c.send(b"drop function f\n").expect(self.BUSY)
        c.submit(b"f", b"x")
        w.expect(R.NOOP())
        assert w.grab() == b"x"

    def test_with_a_running_job_is_refused(self, wire: Wire) -> None:
        c, w = wire.peer("c"), wire.worker("w", b"f")
        job = c.submit(b"f", b"x")
        assert w.grab() == b"x"
        c.send(b"drop function f\n").expect(self.BUSY)
        w.send(Q.WORK_COMPLETE(job, b""))
        c.expect(R.WORK_COMPLETE(job, b""))

    def test_any_case_and_a_line_for_each_match(self, wire: Wire) -> None:
        c = wire.peer("c")
        c.send(b"create function foo\n", b"create function FOO\n", b"create function fo\n").expect(b"OK\r\n" * 3)
        w = wire.worker("w", b"Foo")
        c.send(b"drop function fOO\n")
        assert sorted(c.take().splitlines(True)) == [self.BUSY, b"OK\r\n", b"OK\r\n"]
        assert c.table(b"status") == [b"Foo\t0\t0\t1", b"fo\t0\t0\t0"]
        w.leave()

    @pytest.mark.parametrize("kind", ["SUBMIT_JOB", "SUBMIT_JOB_BG", "EPOCH"])
    def test_queued_jobs_are_not_orphaned(self, wire: Wire, kind: str) -> None:
        c = wire.peer("c")
        if kind == "EPOCH":
            job = c.submit_at(b"f", START_WALL + 60, b"x", b"u")
        else:
            job = c.submit(b"f", b"x", b"u", kind)
        wire.peer("admin").send(b"drop function f\n")
        answer = next(p for p in wire.everyone if p.name == "admin").take()
        if answer == self.BUSY:  # refused: the job goes on
            c.expect_nothing()
            wire.pass_time(61)
            assert wire.worker("w", b"f").grab() == b"x"
            return
        assert answer == b"OK\r\n"  # or dropped, and its clients told
        c.expect(R.WORK_FAIL(job) if kind == "SUBMIT_JOB" else b"")
        assert c.table(b"show jobs") == []
        assert c.known(job)[0] == b"0"
        wire.pass_time(61)
        assert wire.worker("w", b"f").grab() is None
        assert c.submit(b"f", b"y", b"u") != job

    def test_dropped_function_can_come_back(self, wire: Wire) -> None:
        c = wire.peer("c")
        for n in range(5):
            c.send(b"create function f\n", b"maxqueue f 1\n", b"drop function f\n").expect(b"OK\r\n" * 3)
            w = wire.worker("w", b"f")
            c.submit(b"f", b"%d" % n, kind="SUBMIT_JOB_BG")
            job = c.submit(b"f", b"no limit left of the old one")
            assert len(w.grab_all()) == 2
            w.send(Q.WORK_COMPLETE(job, b""), Q.WORK_COMPLETE(handle(2 * n + 1), b"")).expect_nothing()
            c.expect(R.WORK_COMPLETE(job, b""))
            w.leave()
            c.send(b"drop function f\n").expect(b"OK\r\n")

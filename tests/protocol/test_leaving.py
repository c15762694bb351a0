# SPDX-License-Identifier: BSD-3-Clause
"""2.5: clients and workers that go away, and what becomes of their jobs."""

from __future__ import annotations

import pytest

from .script import NOT_FOUND, Peer, Q, R, Wire

LOSSES = ["leave", "CANT_DO", "RESET_ABILITIES", "broken"]


def lose(worker: Peer, how: str, function: bytes = b"f") -> None:
    """The worker loses its jobs in one of the ways."""
    if how == "leave":
        worker.leave()
    elif how == "broken":
        worker.send_raw(b"\0BAD" + bytes(8)).expect_closed()
    elif how == "CANT_DO":
        worker.send(Q.CANT_DO(function)).expect_nothing()
    else:
        worker.send(Q.RESET_ABILITIES()).expect_nothing()


class TestClients:
    def test_abandoned_queued_job_is_dropped_when_met(self, wire: Wire) -> None:
        c, w = wire.peer("c"), wire.worker("w", b"f")
        job = c.submit(b"f", b"x", b"u")
        c.leave()
        assert w.status_of(b"f") == (1, 0, 1)
        assert w.table(b"show jobs") == [job + b"\t0\t1\t0"]
        assert w.grab() is None
        assert w.status_of(b"f") == (0, 0, 1)
        assert w.table(b"show jobs") == []
        assert w.known(job) == (b"0", b"0", b"0", b"0")

    def test_pre_sleep_meets_it_too(self, wire: Wire) -> None:
        c, w = wire.peer("c"), wire.worker("w", b"f")
        c.submit(b"f", b"x", b"u")
        c.leave()
        w.sleep()
        assert w.status_of(b"f") == (0, 0, 1)

    def test_live_jobs_behind_an_abandoned_one_run(self, wire: Wire) -> None:
        gone, c, w = wire.peer("gone"), wire.peer("c"), wire.worker("w", b"f")
        gone.submit(b"f", b"dead1")
        gone.submit(b"f", b"dead2", kind="SUBMIT_JOB_HIGH")
        c.submit(b"f", b"live")
        gone.submit(b"f", b"dead3", kind="SUBMIT_JOB_LOW")
        gone.leave()
        w.send(Q.PRE_SLEEP()).expect(R.NOOP())
        assert w.grab_all() == [b"live"]

    def test_abandoned_running_job_runs_on(self, wire: Wire) -> None:
        c, w = wire.peer("c"), wire.worker("w", b"f")
        job = c.submit(b"f", b"x")
        assert w.grab() == b"x"
        c.leave()
        assert w.known(job)[:2] == (b"1", b"1")
        w.send(Q.WORK_DATA(job, b"d"), Q.WORK_STATUS(job, b"1", b"2"), Q.WORK_COMPLETE(job, b"r")).expect_nothing()
        assert w.status_of(b"f") == (0, 0, 1)

    @pytest.mark.parametrize("how", LOSSES)
    def test_abandoned_running_job_whose_worker_is_lost_is_dropped(self, wire: Wire, how: str) -> None:
        c, w, other = wire.peer("c"), wire.worker("w", b"f"), wire.worker("other", b"f")
        c.submit(b"f", b"x")
        assert w.grab() == b"x"
        c.leave()
        lose(w, how)
        assert other.grab() is None
        total, running, _ = other.status_of(b"f") or (0, 0, 0)
        assert (total, running) == (0, 0)

    def test_one_of_several_leaves(self, wire: Wire) -> None:
        a, b, w = wire.peer("a"), wire.peer("b"), wire.worker("w", b"f")
        job = a.submit(b"f", b"x", b"u")
        b.submit(b"f", b"", b"u")
        a.leave()
        assert b.table(b"show jobs") == [job + b"\t0\t0\t0"]
        assert w.grab() == b"x"
        w.send(Q.WORK_COMPLETE(job, b"r"))
        b.expect(R.WORK_COMPLETE(job, b"r"))

    @pytest.mark.parametrize("leaves", ["queued", "running"])
    def test_background_job_survives_a_foreground_client(self, wire: Wire, leaves: str) -> None:
        back, front, w = wire.peer("back"), wire.peer("front"), wire.worker("w", b"f")
        job = back.submit(b"f", b"x", b"u", "SUBMIT_JOB_BG")
        assert front.submit(b"f", b"", b"u") == job
        if leaves == "running":
            assert w.grab() == b"x"
        front.leave()
        assert back.table(b"show jobs") == [job + b"\t0\t0\t1"]
        if leaves == "running":
            w.leave()
            w = wire.worker("w2", b"f")
        assert w.grab() == b"x"

    @pytest.mark.parametrize("leaves", ["queued", "running"])
    def test_background_request_keeps_a_foreground_job(self, wire: Wire, leaves: str) -> None:
        back, front, w = wire.peer("back"), wire.peer("front"), wire.worker("w", b"f")
        job = front.submit(b"f", b"x", b"u")
        if leaves == "running":
            assert w.grab() == b"x"
        assert back.submit(b"f", b"", b"u", "SUBMIT_JOB_BG") == job
        front.leave()
        assert back.table(b"show jobs") == [job + b"\t0\t0\t1"]
        if leaves == "running":
            w.leave()
            w = wire.worker("w2", b"f")
        assert w.grab() == b"x"
        back.leave()
        w.send(Q.WORK_COMPLETE(job, b"")).expect_nothing()

    @pytest.mark.parametrize("kind", ["SUBMIT_JOB", "SUBMIT_JOB_BG"])
    def test_unique_of_an_abandoned_job_is_free_again(self, wire: Wire, kind: str) -> None:
        gone, c, w = wire.peer("gone"), wire.peer("c"), wire.worker("w", b"f")
        dead = gone.submit(b"f", b"dead", b"u")
        gone.leave()
        c.send(Q.GET_STATUS_UNIQUE(b"u")).expect(R.STATUS_RES_UNIQUE(b"u", b"0", b"0", b"0", b"0", b"0"))
        job = c.submit(b"f", b"live", b"u", kind)
        assert job != dead
        w.send(Q.GRAB_JOB_UNIQ()).expect(R.JOB_ASSIGN_UNIQ(job, b"f", b"u", b"live"))
        w.send(Q.WORK_COMPLETE(job, b"r")).expect_nothing()
        c.expect(R.WORK_COMPLETE(job, b"r") if kind == "SUBMIT_JOB" else b"")

    def test_dash_meets_no_abandoned_job(self, wire: Wire) -> None:
        gone, c, w = wire.peer("gone"), wire.peer("c"), wire.worker("w", b"f")
        dead = gone.submit(b"f", b"same", b"-")
        gone.leave()
        assert c.submit(b"f", b"same", b"-") != dead
        assert w.grab_all() == [b"same"]

    @pytest.mark.parametrize("worker_lost", [False, True])
    def test_unique_of_an_abandoned_running_job_gets_an_answer(self, wire: Wire, worker_lost: bool) -> None:
        gone, c, w = wire.peer("gone"), wire.peer("c"), wire.worker("w", b"f")
        first = gone.submit(b"f", b"first", b"u")
        assert w.grab() == b"first"
        gone.leave()
        job = c.submit(b"f", b"second", b"u")
        if worker_lost:
            w.leave()
            w = wire.worker("w2", b"f")
            assert w.grab() == (b"first" if job == first else b"second")
        elif job != first:  # a job of its own is as right as joining the running one
            w.send(Q.WORK_COMPLETE(first, b"nobody")).expect_nothing()
            assert w.grab() == b"second"
        w.send(Q.WORK_COMPLETE(job, b"r")).expect_nothing()
        c.expect(R.WORK_COMPLETE(job, b"r"))
        assert w.grab() is None


class TestWorkers:
    @pytest.mark.parametrize("how", LOSSES)
    def test_job_is_queued_again_and_clients_see_nothing(self, wire: Wire, how: str) -> None:
        c, w, other = wire.peer("c"), wire.worker("w", b"f"), wire.worker("other", b"f")
        job = c.submit(b"f", b"x", b"u")
        assert w.grab() == b"x"
        w.send(Q.WORK_STATUS(job, b"1", b"2"))
        c.expect(R.WORK_STATUS(job, b"1", b"2"))
        lose(w, how)
        assert c.known(job) == (b"1", b"0", b"0", b"0")
        assert c.table(b"show jobs") == [job + b"\t1\t0\t0"]
        assert other.grab() == b"x"
        if not w.closed:
            w.send(Q.WORK_COMPLETE(job, b"late")).expect(NOT_FOUND)
        other.send(Q.WORK_COMPLETE(job, b"r"))
        c.expect(R.WORK_COMPLETE(job, b"r"))

    @pytest.mark.parametrize("how", LOSSES)
    def test_end_of_the_list_last_grabbed_first(self, wire: Wire, how: str) -> None:
        c, w, other = wire.peer("c"), wire.worker("w", b"f"), wire.worker("other", b"f")
        for n in range(5):
            c.submit(b"f", b"%d" % n)
        assert [w.grab() for _ in range(3)] == [b"0", b"1", b"2"]
        c.submit(b"f", b"low", kind="SUBMIT_JOB_LOW")
        lose(w, how)
        assert other.grab_all() == [b"3", b"4", b"2", b"1", b"0", b"low"]

    def test_each_priority_has_its_list(self, wire: Wire) -> None:
        c, w, other = wire.peer("c"), wire.worker("w", b"f"), wire.worker("other", b"f")
        for n, kind in enumerate(["SUBMIT_JOB_HIGH", "SUBMIT_JOB", "SUBMIT_JOB_LOW_BG"] * 2):
            c.submit(b"f", b"%d" % n, kind=kind)
        assert w.grab_all() == [b"0", b"3", b"1", b"4", b"2", b"5"]
        w.leave()
        assert other.grab_all() == [b"3", b"0", b"4", b"1", b"5", b"2"]

    def test_sleeping_workers_are_woken(self, wire: Wire) -> None:
        c, w, other = wire.peer("c"), wire.worker("w", b"f"), wire.sleeper("other", b"f")
        stranger = wire.sleeper("stranger", b"g")
        c.submit(b"f", b"x")
        other.expect(R.NOOP())
        assert w.grab() == b"x"
        assert other.grab() is None
        other.sleep()
        w.leave()
        other.expect(R.NOOP())
        stranger.expect_nothing()

    def test_cant_do_touches_only_its_function(self, wire: Wire) -> None:
        c, w, other = wire.peer("c"), wire.worker("w", b"f", b"g"), wire.worker("other", b"f", b"g")
        f, g = c.submit(b"f", b"f"), c.submit(b"g", b"g")
        assert len(w.grab_all()) == 2
        w.send(Q.CANT_DO(b"f"))
        assert other.grab_all() == [b"f"]
        w.send(Q.WORK_COMPLETE(g, b"")).expect_nothing()
        other.send(Q.WORK_COMPLETE(f, b""))
        c.expect(R.WORK_COMPLETE(g, b""), R.WORK_COMPLETE(f, b""))

    def test_cant_do_of_what_it_never_could(self, wire: Wire) -> None:
        w = wire.worker("w", b"f")
        w.send(Q.CANT_DO(b"g"), Q.CANT_DO(b"F"), Q.CANT_DO(b"f\0")).expect_nothing()
        assert w.status_of(b"f") == (0, 0, 1)

    def test_registering_twice_counts_once(self, wire: Wire) -> None:
        w = wire.worker("w", b"f", b"f")
        w.send(Q.CAN_DO_TIMEOUT(b"f", b"5000"))
        assert w.status_of(b"f") == (0, 0, 1)
        w.send(Q.CANT_DO(b"f"))
        assert w.status_of(b"f") == (0, 0, 0)
        wire.peer("c").submit(b"f", b"x")
        assert w.grab() is None

    def test_reset_takes_all_back(self, wire: Wire) -> None:
        w = wire.worker("w", b"f", b"g", b"h")
        w.send(Q.RESET_ABILITIES())
        assert w.table(b"status") == [b"f\t0\t0\t0", b"g\t0\t0\t0", b"h\t0\t0\t0"]
        w.send(Q.CAN_DO(b"g"))
        wire.peer("c").submit(b"g", b"x")
        assert w.grab() == b"x"

    def test_worker_leaves_the_count(self, wire: Wire) -> None:
        w, other = wire.worker("w", b"f"), wire.worker("other", b"f")
        assert w.status_of(b"f") == (0, 0, 2)
        other.leave()
        assert w.status_of(b"f") == (0, 0, 1)

    def test_client_and_worker_in_one_leaves(self, wire: Wire) -> None:
        both, other = wire.worker("both", b"f"), wire.worker("other", b"f")
        both.submit(b"f", b"own")
        both.submit(b"f", b"background", kind="SUBMIT_JOB_BG")
        assert both.grab_all() == [b"own", b"background"]
        both.leave()
        assert other.grab_all() == [b"background"]

    @pytest.mark.parametrize("held", [False, True])
    def test_own_job_of_who_leaves_is_nobodys(self, wire: Wire, held: bool) -> None:
        both, other = wire.worker("both", b"f"), wire.worker("other", b"f")
        both.submit(b"f", b"own")
        assert both.grab() == b"own"
        if held:
            other.send(Q.OPTION_REQ(b"all_yours")).expect(R.OPTION_RES(b"all_yours"))
        other.send(Q.GRAB_JOB() if held else Q.PRE_SLEEP()).expect_nothing()
        both.leave()
        other.expect_nothing()

    def test_lost_job_may_go_to_the_same_connection(self, wire: Wire) -> None:
        c, w = wire.peer("c"), wire.worker("w", b"f")
        job = c.submit(b"f", b"x")
        assert w.grab() == b"x"
        w.send(Q.CANT_DO(b"f"), Q.CAN_DO(b"f"))
        assert w.grab() == b"x"
        w.send(Q.WORK_COMPLETE(job, b"r")).expect_nothing()
        c.expect(R.WORK_COMPLETE(job, b"r"))

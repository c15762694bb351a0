# SPDX-License-Identifier: BSD-3-Clause
"""The option `all_yours`: GRABs are credits that the server keeps until it has a job."""

from __future__ import annotations

import pytest

from .script import NOT_EXPECTED, START_WALL, Peer, Q, R, Wire, error, handle


def credited(wire: Wire, name: str = "w", *functions: bytes) -> Peer:
    """A worker that asked for the option."""
    w = wire.worker(name, *(functions or (b"f",)))
    return w.send(Q.OPTION_REQ(b"all_yours")).expect(R.OPTION_RES(b"all_yours"))


@pytest.mark.parametrize(
    ("grab", "assign"),
    [
        ("GRAB_JOB", R.JOB_ASSIGN(handle(1), b"f", b"x")),
        ("GRAB_JOB_UNIQ", R.JOB_ASSIGN_UNIQ(handle(1), b"f", b"u", b"x")),
        ("GRAB_JOB_ALL", R.JOB_ASSIGN_UNIQ(handle(1), b"f", b"u", b"x")),
    ],
)
def test_a_grab_is_held_and_answered_by_the_next_job(wire: Wire, grab: str, assign: bytes) -> None:
    c, w = wire.peer("c"), credited(wire)
    w.send(getattr(Q, grab)()).expect_nothing()
    c.submit(b"f", b"x", b"u")
    w.expect(assign)
    w.send(Q.WORK_COMPLETE(handle(1), b"r"), getattr(Q, grab)()).expect_nothing()
    c.expect(R.WORK_COMPLETE(handle(1), b"r"))


def test_reduce_job_for_a_held_grab_all(wire: Wire) -> None:
    c, w = wire.peer("c"), credited(wire)
    w.send(Q.GRAB_JOB_ALL())
    c.send(Q.SUBMIT_REDUCE_JOB(b"f", b"u", b"sum", b"", b"x")).expect(R.JOB_CREATED(handle(1)))
    w.expect(R.JOB_ASSIGN_ALL(handle(1), b"f", b"u", b"sum", b"x"))


def test_a_waiting_job_is_given_at_once(wire: Wire) -> None:
    c, w = wire.peer("c"), credited(wire)
    c.submit(b"f", b"x")
    w.send(Q.GRAB_JOB()).expect(R.JOB_ASSIGN(handle(1), b"f", b"x"))


def test_without_the_option_nothing_is_held(wire: Wire) -> None:
    c, w = wire.peer("c"), wire.worker("w", b"f")
    credited(wire, "other", b"g").send(Q.GRAB_JOB())
    w.send(Q.GRAB_JOB()).expect(R.NO_JOB())
    c.submit(b"f", b"x")
    w.expect_nothing()


def test_as_many_jobs_as_credits(wire: Wire) -> None:
    c, w = wire.peer("c"), credited(wire)
    w.send(*[Q.GRAB_JOB()] * 3).expect_nothing()
    for n in range(5):
        c.submit(b"f", b"%d" % n)
    w.expect(*[R.JOB_ASSIGN(handle(n + 1), b"f", b"%d" % n) for n in range(3)])
    w.send(Q.WORK_COMPLETE(handle(1), b""), Q.GRAB_JOB()).expect(R.JOB_ASSIGN(handle(4), b"f", b"3"))
    c.expect(R.WORK_COMPLETE(handle(1), b""))
    assert c.status_of(b"f") == (4, 3, 1)


@pytest.mark.parametrize("grab", ["GRAB_JOB", "GRAB_JOB_UNIQ"])
def test_very_many_credits(wire: Wire, grab: str) -> None:
    c, w = wire.peer("c"), credited(wire)
    w.send(*[getattr(Q, grab)()] * 100).expect_nothing()
    for n in range(101):
        c.submit(b"f", b"%d" % n)
    seen = w.seen()
    assert {s.name for s in seen} == {grab.replace("GRAB_JOB", "JOB_ASSIGN")}
    assert [s.args[-1] for s in seen] == [b"%d" % n for n in range(100)]


def test_credits_of_a_worker_with_very_many_functions(wire: Wire) -> None:
    names = [b"f%d" % n for n in range(200)]
    c, w = wire.peer("c"), credited(wire, "w", *names)
    w.send(*[Q.GRAB_JOB()] * 3)
    for n, name in enumerate((b"f7", b"f199", b"f0")):
        c.submit(name, b"x")
        w.expect(R.JOB_ASSIGN(handle(n + 1), name, b"x"))
    w.send(Q.GRAB_JOB(), Q.PRE_SLEEP()).expect(R.NO_JOB())
    c.submit(b"f100", b"y")
    w.expect(R.NOOP())
    assert w.grab_all(1) == [b"y"]


def test_later_requests_are_answered_past_it(wire: Wire) -> None:
    c, w = wire.peer("c"), credited(wire)
    w.send(Q.GRAB_JOB(), Q.ECHO_REQ(b"1"), b"version\n").expect(R.ECHO_RES(b"1"), b"OK 9.8.7\n")
    c.submit(b"f", b"x")
    w.expect(R.JOB_ASSIGN(handle(1), b"f", b"x"))


def test_pre_sleep_gives_every_credit_back(wire: Wire) -> None:
    c, w = wire.peer("c"), credited(wire)
    w.send(Q.GRAB_JOB(), Q.GRAB_JOB_UNIQ(), Q.GRAB_JOB_ALL()).expect_nothing()
    w.send(Q.PRE_SLEEP()).expect(R.NO_JOB(), R.NO_JOB(), R.NO_JOB())
    c.submit(b"f", b"x")
    w.expect(R.NOOP())
    w.send(Q.GRAB_JOB()).expect(R.JOB_ASSIGN(handle(1), b"f", b"x"))


def test_pre_sleep_keeps_running_jobs(wire: Wire) -> None:
    c, w = wire.peer("c"), credited(wire)
    w.send(Q.GRAB_JOB(), Q.GRAB_JOB())
    c.submit(b"f", b"x")
    w.expect(R.JOB_ASSIGN(handle(1), b"f", b"x"))
    w.send(Q.PRE_SLEEP()).expect(R.NO_JOB())
    w.send(Q.WORK_COMPLETE(handle(1), b"r")).expect_nothing()
    c.expect(R.WORK_COMPLETE(handle(1), b"r"))


def test_credits_go_with_the_connection(wire: Wire) -> None:
    c, w, other = wire.peer("c"), credited(wire), wire.worker("other", b"f")
    w.send(*[Q.GRAB_JOB()] * 4)
    w.leave()
    c.submit(b"f", b"x")
    assert other.grab() == b"x"


@pytest.mark.parametrize("take", ["CANT_DO", "RESET_ABILITIES"])
def test_credit_of_one_who_can_no_longer(wire: Wire, take: str) -> None:
    c, w, other = wire.peer("c"), credited(wire), wire.worker("other", b"f")
    w.send(Q.GRAB_JOB(), Q.CANT_DO(b"f") if take == "CANT_DO" else Q.RESET_ABILITIES()).expect_nothing()
    c.submit(b"f", b"x")
    assert other.grab() == b"x"
    c.submit(b"f", b"y")
    w.send(Q.CAN_DO(b"f")).expect(R.JOB_ASSIGN(handle(2), b"f", b"y"))


def test_requeued_job_goes_to_a_credit(wire: Wire) -> None:
    c, w1, w2 = wire.peer("c"), wire.worker("w1", b"f"), credited(wire, "w2")
    c.submit(b"f", b"x")
    assert w1.grab() == b"x"
    w2.send(Q.GRAB_JOB())
    w1.leave()
    w2.expect(R.JOB_ASSIGN(handle(1), b"f", b"x"))


def test_due_job_goes_to_a_credit(wire: Wire) -> None:
    c, w = wire.peer("c"), credited(wire)
    w.send(Q.GRAB_JOB())
    c.submit_at(b"f", START_WALL + 60, b"x")
    w.expect_nothing()
    wire.pass_time(60)
    w.expect(R.JOB_ASSIGN(handle(1), b"f", b"x"))


def test_who_asked_first_gets_the_job(wire: Wire) -> None:
    c, w1, w2 = wire.peer("c"), credited(wire, "w1"), credited(wire, "w2")
    w2.send(Q.GRAB_JOB())
    w1.send(Q.GRAB_JOB())
    c.submit(b"f", b"1")
    w2.expect(R.JOB_ASSIGN(handle(1), b"f", b"1"))
    w1.expect_nothing()
    c.submit(b"f", b"2")
    w1.expect(R.JOB_ASSIGN(handle(2), b"f", b"2"))


def test_no_noop_to_who_holds_a_credit(wire: Wire) -> None:
    c, w = wire.peer("c"), credited(wire)
    w.sleep()
    w.send(Q.GRAB_JOB()).expect_nothing()
    c.submit(b"f", b"x")
    w.expect(R.JOB_ASSIGN(handle(1), b"f", b"x"))


@pytest.mark.parametrize("sleeper_first", [False, True])
def test_a_held_grab_lets_the_others_sleep(wire: Wire, sleeper_first: bool) -> None:
    """A NOOP promises a job, and this one is given already."""
    c = wire.peer("c")
    if sleeper_first:
        sleeper, w = wire.sleeper("sleeper", b"f"), credited(wire)
    else:
        w, sleeper = credited(wire), wire.sleeper("sleeper", b"f")
    w.send(Q.GRAB_JOB())
    c.submit(b"f", b"1")
    w.expect(R.JOB_ASSIGN(handle(1), b"f", b"1"))
    sleeper.expect_nothing()
    c.submit(b"f", b"2")
    sleeper.expect(R.NOOP())
    assert sleeper.grab() == b"2"


def test_a_held_grab_counts_for_functions_registered_later(wire: Wire) -> None:
    c, sleeper = wire.peer("c"), wire.sleeper("sleeper", b"f")
    w = wire.peer("w").send(Q.OPTION_REQ(b"all_yours")).expect(R.OPTION_RES(b"all_yours"))
    w.send(Q.GRAB_JOB(), Q.CAN_DO(b"f")).expect_nothing()
    c.submit(b"f", b"x")
    w.expect(R.JOB_ASSIGN(handle(1), b"f", b"x"))
    sleeper.expect_nothing()


def test_its_own_submission(wire: Wire) -> None:
    w = credited(wire)
    w.send(Q.GRAB_JOB(), Q.SUBMIT_JOB(b"f", b"", b"x"))
    created, assigned = R.JOB_CREATED(handle(1)), R.JOB_ASSIGN(handle(1), b"f", b"x")
    assert w.take() in (created + assigned, assigned + created)


def test_credits_for_several_functions(wire: Wire) -> None:
    c, w = wire.peer("c"), credited(wire, "w", b"f", b"g", b"h")
    w.send(*[Q.GRAB_JOB()] * 2)
    c.submit(b"g", b"1")
    c.submit(b"f", b"2")
    w.expect(R.JOB_ASSIGN(handle(1), b"g", b"1"), R.JOB_ASSIGN(handle(2), b"f", b"2"))
    c.submit(b"h", b"3")
    w.expect_nothing()


def test_time_out_counts_from_the_assignment(wire: Wire) -> None:
    c, w = wire.peer("c"), credited(wire)
    w.send(Q.CAN_DO_TIMEOUT(b"f", b"2000"), Q.GRAB_JOB()).expect_nothing()
    wire.pass_time(100)
    c.submit(b"f", b"x")
    w.expect(R.JOB_ASSIGN(handle(1), b"f", b"x"))
    wire.pass_time(1.9)
    assert c.status_of(b"f") == (1, 1, 1)
    wire.pass_time(0.2)
    assert c.status_of(b"f") == (1, 0, 1)


def test_the_packet_all_yours_stays_an_error(wire: Wire) -> None:
    credited(wire).send(Q.ALL_YOURS()).expect(NOT_EXPECTED)


@pytest.mark.parametrize("option", [b"ALL_YOURS", b"all_yours"])
def test_option_in_any_case(wire: Wire, option: bytes) -> None:
    wire.peer("w").send(Q.OPTION_REQ(option)).expect(R.OPTION_RES(option))


def test_other_options_stay_unknown(wire: Wire) -> None:
    text = b"Server does not recognize given option"
    wire.peer("w").send(Q.OPTION_REQ(b"all_your")).expect(error(b"UNKNOWN_OPTION", text))

# SPDX-License-Identifier: BSD-3-Clause
"""The checker of histories reports each false one, and accepts true ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from gearfast.store.base import RANGE_BITS

from .check import check, figures
from .history import Ack, Begin, End, Give, Has, History, Lease, Notes, load


def handle(server: int, number: int = 1) -> str:
    return f"H:x:{(server << RANGE_BITS) + number}"


def sound() -> History:
    """Server 1 (node 1) gives out a job and stands still; 2 takes it over once the lease is over, and gives it out."""
    return History(
        nodes=2,
        acks=[Ack(15, 1, handle(1)), Ack(16, 1, handle(1, 2)), Ack(30, 2, handle(2))],
        begins=[
            Begin(20, 24, 1, handle(1)),
            Begin(31, 34, 2, handle(2)),
            Begin(121, 125, 2, handle(1)),
            Begin(130, 133, 2, handle(1, 2)),
        ],
        done=[(38, handle(2)), (126, handle(1)), (135, handle(1, 2))],
        stored=[(40, handle(2)), (128, handle(1)), (140, handle(1, 2))],
        gives=[
            Give(21, 22, "s1.0", handle(1)),
            Give(32, 33, "s2.0", handle(2)),
            Give(122, 123, "s2.0", handle(1)),
            Give(131, 132, "s2.0", handle(1, 2)),
        ],
        leases=[
            Lease("s1.0", 1, 10, 100),
            Lease("s2.0", 2, 10, 100),
            Lease("s2.0", 2, 50, 140),
            Lease("s2.0", 2, 110, 200),
        ],
        has=[Has("s1.0", 1, 11, (1,)), Has("s2.0", 2, 12, (2,)), Has("s2.0", 2, 120, (1, 2))],
        served={1, 2},
    )


def test_a_sound_history_has_no_faults() -> None:
    assert check(sound()) == []
    assert figures(sound()) == {
        "acknowledged": 3,
        "ends stored": 3,
        "done again": 0,
        "taken over": 1,
        "leases": 4,
        "joined": 0,
    }


def test_an_empty_history_has_no_faults() -> None:
    assert check(History()) == []


def a_job_is_lost(history: History) -> None:
    history.done.remove((135, handle(1, 2)))


def a_job_is_given_out_after_its_end(history: History) -> None:
    history.gives.append(Give(150, 151, "s2.0", handle(2)))


def a_job_comes_after_its_end(history: History) -> None:
    history.begins.append(Begin(150, 152, 2, handle(2)))
    history.gives.append(Give(20, 21, "s2.0", handle(2)))


def an_owner_wakes_up_and_gives_out(history: History) -> None:
    history.gives.append(Give(121, 122, "s1.0", handle(1, 2)))


def the_next_owner_is_too_early(history: History) -> None:
    history.has.append(Has("s2.0", 2, 99, (1, 2)))


def a_lease_is_too_long(history: History) -> None:
    history.leases.append(Lease("s1.0", 1, 40, 130))


def two_processes_have_one_server(history: History) -> None:
    history.has.append(Has("s3.0", 1, 60, (1,)))
    history.leases.append(Lease("s3.0", 1, 60, 90))


def a_job_is_given_out_by_one_who_never_had_it(history: History) -> None:
    history.gives.append(Give(60, 61, "s1.0", handle(2)))
    history.stored.clear()


def a_job_is_given_out_before_it_was_taken_over(history: History) -> None:
    history.gives.append(Give(115, 118, "s2.0", handle(1)))


def a_job_is_given_out_between_two_leases(history: History) -> None:
    history.leases.append(Lease("s1.0", 3, 200, 290))
    history.leases.append(Lease("s1.0", 3, 310, 390))
    history.has.append(Has("s1.0", 3, 201, (3,)))
    history.acks.append(Ack(220, 1, handle(3)))
    history.done.append((301, handle(3)))
    history.gives.append(Give(295, 300, "s1.0", handle(3)))


def a_job_that_nobody_was_told_of_is_given_out_by_two(history: History) -> None:
    history.gives.append(Give(130, 131, "s1.0", handle(1, 3)))
    history.gives.append(Give(130, 131, "s2.0", handle(1, 3)))


def a_job_that_nobody_was_told_of_is_given_out_by_another(history: History) -> None:
    history.gives.append(Give(110, 111, "s2.0", handle(1, 3)))


def a_killed_process_gives_out(history: History) -> None:
    history.ends.append(End("s1.0", 50, 55))
    history.gives.append(Give(60, 61, "s1.0", handle(1)))


def a_server_has_left_and_gives_out(history: History) -> None:
    history.ends.append(End("s1.0", 50, 50))
    history.gives.append(Give(51, 61, "s1.0", handle(1)))


def nobody_noted_that_it_was_given_out(history: History) -> None:
    history.begins.append(Begin(21, 25, 1, handle(1)))


def a_handle_is_given_twice(history: History) -> None:
    history.acks.append(Ack(31, 2, handle(1)))


def one_handle_is_given_for_two_uniques(history: History) -> None:
    history.acks += [Ack(33, 2, handle(2), 29, "red"), Ack(34, 2, handle(2), 29, "blue")]
    history.acks.remove(Ack(30, 2, handle(2)))


def two_jobs_have_one_unique(history: History) -> None:
    history.acks[0] = Ack(15, 1, handle(1), 12, "red")
    history.acks[2] = Ack(30, 2, handle(2), 28, "red")


def a_job_of_a_unique_runs_before_the_other_is_done(history: History) -> None:
    """And both are acknowledged only when the first one has ended."""
    history.acks[0] = Ack(130, 1, handle(1), 12, "red")
    history.acks[2] = Ack(130, 2, handle(2), 28, "red")


def somebody_is_given_a_job_that_has_ended(history: History) -> None:
    history.acks[2] = Ack(30, 2, handle(2), 28, "red")
    history.acks.append(Ack(45, 1, handle(2), 41, "red"))


def a_server_does_not_serve_again(history: History) -> None:
    history.served.discard(1)


@pytest.mark.parametrize(
    ("spoil", "fault"),
    [
        (a_job_is_lost, "lost"),
        (a_job_is_given_out_after_its_end, "after its end"),
        (a_job_comes_after_its_end, "after its end"),
        (an_owner_wakes_up_and_gives_out, "not its own"),
        (the_next_owner_is_too_early, "two owners"),
        (a_lease_is_too_long, "two owners"),
        (two_processes_have_one_server, "two owners"),
        (a_job_is_given_out_by_one_who_never_had_it, "not its own"),
        (a_job_is_given_out_before_it_was_taken_over, "not its own"),
        (a_job_is_given_out_between_two_leases, "not its own"),
        (a_job_that_nobody_was_told_of_is_given_out_by_two, "not its own"),
        (a_job_that_nobody_was_told_of_is_given_out_by_another, "not its own"),
        (a_killed_process_gives_out, "not its own"),
        (a_server_has_left_and_gives_out, "not its own"),
        (nobody_noted_that_it_was_given_out, "unseen"),
        (a_handle_is_given_twice, "twice"),
        (one_handle_is_given_for_two_uniques, "twice"),
        (two_jobs_have_one_unique, "two of red"),
        (a_job_of_a_unique_runs_before_the_other_is_done, "two of red"),
        (somebody_is_given_a_job_that_has_ended, "joined too late"),
        (a_server_does_not_serve_again, "not serving"),
    ],
)
def test_a_false_history_is_reported(spoil: Callable[[History], None], fault: str) -> None:
    history = sound()
    spoil(history)
    faults = check(history)
    assert faults
    assert {text.partition(":")[0] for text in faults} == {fault}


def decided_before_it_stood_still(history: History) -> None:
    """A server was woken, decided, stood still, and sent when it went on."""
    history.gives.append(Give(95, 180, "s1.0", handle(1, 2)))


def a_killed_process_leaves_its_jobs_before_its_lease_is_over(history: History) -> None:
    history.ends.append(End("s1.0", 60, 66))
    history.has.append(Has("s2.0", 2, 63, (1, 2)))
    history.gives.append(Give(62, 64, "s1.0", handle(1, 2)))


def a_server_hands_its_jobs_over(history: History) -> None:
    history.ends.append(End("s1.0", 60, 60))
    history.has.append(Has("s2.0", 2, 61, (1, 2)))


def a_job_was_refused_and_runs_where_it_was_submitted(history: History) -> None:
    history.gives.append(Give(150, 151, "s1.0", handle(1, 3)))


def given_out_as_its_end_was_on_its_way(history: History) -> None:
    history.gives.append(Give(39, 45, "s2.0", handle(2)))


def the_lease_was_renewed_late_but_in_time(history: History) -> None:
    history.leases.append(Lease("s1.0", 3, 200, 290))
    history.leases.append(Lease("s1.0", 3, 310, 390))
    history.has.append(Has("s1.0", 3, 201, (3,)))
    history.gives.append(Give(311, 312, "s1.0", handle(3)))


def a_job_is_joined_as_its_end_is_on_its_way(history: History) -> None:
    history.acks[2] = Ack(30, 2, handle(2), 28, "red")
    history.acks.append(Ack(43, 1, handle(2), 39, "red"))


def a_unique_goes_from_job_to_job(history: History) -> None:
    history.acks[0] = Ack(41, 1, handle(1), 39, "red")
    history.acks[2] = Ack(30, 2, handle(2), 28, "red")
    history.begins.pop(0)
    history.gives.pop(0)


@pytest.mark.parametrize(
    "change",
    [
        decided_before_it_stood_still,
        a_killed_process_leaves_its_jobs_before_its_lease_is_over,
        a_server_hands_its_jobs_over,
        a_job_was_refused_and_runs_where_it_was_submitted,
        given_out_as_its_end_was_on_its_way,
        the_lease_was_renewed_late_but_in_time,
        a_job_is_joined_as_its_end_is_on_its_way,
        a_unique_goes_from_job_to_job,
    ],
)
def test_a_true_history_is_accepted(change: Callable[[History], None]) -> None:
    history = sound()
    change(history)
    assert check(history) == []


def test_a_history_is_read_as_it_was_written(tmp_path: Path) -> None:
    notes = Notes(tmp_path / "history.jsonl")
    notes.add("nodes", 1)
    notes.add("ack", 15, 1, handle(7), 12, "red")
    notes.add("begin", 20, 24, 1, handle(7))
    notes.add("done", 25, handle(7))
    notes.add("stored", 30, handle(7))
    notes.add("served", 40, 1)
    notes.add("trouble", 41, "something else")
    notes.add("end", "s1.0", 50, 55)
    notes.close()
    (tmp_path / "s1.0.log").write_text(
        "2026 DEBUG Server 7: lease from 10 until 100 ns\n"
        "2026 DEBUG Server 7: has jobs of [5, 7] at 11 ns\n"
        "2026 DEBUG Server 7: leaves at 48 ns\n"
        "2026 INFO something else\n"
    )
    (tmp_path / "s1.0.gives").write_text(f"21 22 {handle(7)} kept\n23 24 {handle(7, 2)} quick\n")
    history = load(tmp_path, frozenset({"kept"}))
    assert history == History(
        1,
        [Ack(15, 1, handle(7), 12, "red")],
        [Begin(20, 24, 1, handle(7))],
        [(25, handle(7))],
        [(30, handle(7))],
        [Give(21, 22, "s1.0", handle(7))],
        [Lease("s1.0", 7, 10, 100)],
        [Has("s1.0", 7, 11, (5, 7))],
        [End("s1.0", 50, 55), End("s1.0", 48, 48)],
        {1},
    )
    assert check(history) == []
    assert json.loads((tmp_path / "history.jsonl").read_text().splitlines()[0]) == ["nodes", 1]

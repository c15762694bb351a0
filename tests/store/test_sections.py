# SPDX-License-Identifier: BSD-3-Clause
"""Which jobs lie where, and which sections may go or had better be one."""

from __future__ import annotations

import random
import struct

import pytest

from gearfast.store._sections import Sections
from gearfast.store.base import RANGE_BITS, SectionDamaged, SectionInfo


def pack(*numbers: int) -> bytes:
    return struct.pack(f"<{len(numbers)}Q", *numbers)


def info(id: int, first: int, last: int, late: tuple[int, ...] = (), ended: bytes = b"", size: int = 0) -> SectionInfo:
    count = last - first + 1 if last else 0
    return SectionInfo(id, first, last, count, size or 100 * (count + len(late)), late, ended)


def test_ends() -> None:
    sections = Sections()
    sections.add(info(1, 10, 19))
    sections.add(info(2, 30, 32))
    assert (len(sections), sections.jobs, sections.live, sections.size) == (2, 13, 13, 1300)
    assert sections.end(pack(12, 31)) == ({1: pack(12), 2: pack(31)}, [])
    assert sections.end(pack(30, 32, 5, 25, 99)) == ({}, [(2, 30, 32)])
    assert (len(sections), sections.jobs, sections.live) == (1, 10, 9)
    assert sections.end(pack(10)) == ({1: pack(12, 10)}, [])
    assert sections.ended_of(1) == pack(10, 12)


def test_late_jobs() -> None:
    sections = Sections()
    sections.add(info(1, 10, 19))
    sections.add(info(2, 0, 0, late=(4, 15)))
    sections.add(info(3, 20, 21, late=(3,)))
    assert sections.end(pack(15)) == ({2: pack(15)}, []), "15 is not the first section's, but late in the second"
    assert sections.late_of(2) == (4, 15)
    ended, gone = sections.end(pack(3, 4, 20))
    assert ended == {3: pack(3, 20)}
    assert [id for id, _, _ in gone] == [2]
    assert sections.ids() == [1, 3]


def test_what_was_there_before() -> None:
    sections = Sections()
    sections.add(info(1, 1, 4, ended=pack(2, 3)))
    assert (sections.live, sections.jobs, sections.live_size, sections.size) == (2, 4, 200, 400)
    assert sections.end(pack(1, 4)) == ({}, [(1, 1, 4)])
    assert (sections.live, sections.jobs, sections.live_size, sections.size) == (0, 0, 0, 0)


@pytest.mark.parametrize(("id", "first"), [(1, 20), (3, 9), (2, 20)])
def test_sections_are_in_the_order_of_their_numbers(id: int, first: int) -> None:
    sections = Sections()
    sections.add(info(2, 1, 10))
    with pytest.raises(ValueError, match=r"is not in the order of its jobs' numbers|is there already"):
        sections.add(info(id, first, 30))
    assert sections.ids() == [2]


@pytest.mark.parametrize(
    "spoilt",
    [
        SectionInfo(2, 20, 29, 0, 1000),
        SectionInfo(2, 20, 29, -1, 1000),
        SectionInfo(2, 20, 29, 1 << 40, 1000),
        SectionInfo(2, 20, 29, 11, 1000),
        SectionInfo(2, 29, 20, 10, 1000),
        SectionInfo(2, -9, 29, 10, 1000),
        SectionInfo(2, 20, 29, 10, 0),
        SectionInfo(2, 20, 29, 1, 1000, ended=pack(20, 21)),
        SectionInfo(2, "20", 29, 10, 1000),  # type: ignore[arg-type]
        SectionInfo(2, 20, 29, 10, None),  # type: ignore[arg-type]
    ],
)
def test_what_cannot_be_said_of_a_section(spoilt: SectionInfo) -> None:
    sections = Sections()
    sections.add(info(1, 10, 19))
    with pytest.raises(SectionDamaged, match="section 2 is damaged"):
        sections.add(spoilt)
    sections.add(info(3, 30, 39))
    assert sections.ids() == [1, 3]
    assert (sections.jobs, sections.live, sections.size) == (20, 20, 2000)


def test_sections_that_come_between_others() -> None:
    """What another server had: before, between and behind those that are here, late jobs of their own among them."""
    sections = Sections()
    sections.add(info(30, 300, 309))
    sections.add(SectionInfo(31, 0, 0, 0, 100, (5,)))
    sections.add(info(50, 500, 509))
    sections.add(info(10, 100, 109))
    sections.add(SectionInfo(11, 0, 0, 0, 100, (6,)))
    sections.add(info(40, 400, 409, late=(7,)))
    assert sections.ids() == [10, 11, 30, 31, 40, 50]
    with pytest.raises(ValueError, match="not in the order"):
        sections.add(info(12, 108, 120))
    with pytest.raises(ValueError, match="not in the order"):
        sections.add(info(12, 290, 300))
    for number, id in ((100, 10), (309, 30), (404, 40), (509, 50), (7, 40)):
        assert list(sections.end(pack(number))[0]) == [id]
    assert sorted(sections.end(pack(5, 6))[1]) == [(11, 110, 109), (31, 310, 309)]


def test_sections_of_two_ranges_are_never_one() -> None:
    sections = Sections()
    base = 1 << RANGE_BITS
    for start in (0, base):
        for n in range(1, 21):
            sections.add(info(start + n, start + n, start + n))
    assert sections.pick(1 << 20) == list(range(1, 21))
    assert sections.pick(1 << 20) == []
    for n in range(21, 31):
        sections.add(info(base + n, base + n, base + n))
    assert sections.pick(1 << 20) == list(range(1, 21))
    assert sections.pick(1 << 20) == [base + n for n in range(1, 23)]


def test_many_small_ones_become_one() -> None:
    sections = Sections()
    for n in range(1, 30):
        sections.add(info(n, n, n))
    picked = sections.pick(1 << 20)
    assert picked == list(range(1, 22)), "all but the newest"
    sections.replace(picked, info(21, 1, 21))
    assert sections.ids() == list(range(21, 30))
    assert (sections.jobs, sections.live, sections.size) == (29, 29, 2900)
    assert sections.end(pack(1, 21, 22)) == ({21: pack(1, 21)}, [(22, 22, 22)])
    assert sections.pick(1 << 20) == []


def test_small_ones_that_come_one_by_one_become_few() -> None:
    sections = Sections()
    for n in range(1, 1000):
        sections.add(info(n, n, n))
        if picked := sections.pick(1 << 20):
            sections.replace(picked, info(picked[-1], 1, picked[-1]))
    assert len(sections) < 100
    assert sections.all_seen


def test_a_look_ends_before_all_are_seen_where_there_are_many() -> None:
    sections = Sections()
    for n in range(1, 5000):
        sections.add(info(n, n * 1000, n * 1000 + 999, size=1 << 20))
    assert sections.pick(1 << 20) == []
    assert not sections.all_seen
    while not sections.all_seen:
        assert sections.pick(1 << 20) == []


def test_few_small_ones_are_let_be() -> None:
    sections = Sections()
    for n in range(1, 23):
        sections.add(info(n, n, n))
    assert sections.pick(1 << 20) == []


def test_sections_that_are_mostly_ended() -> None:
    sections = Sections()
    for n in range(1, 40):
        sections.add(info(n, n * 1000, n * 1000 + 999, size=1 << 20))
    assert sections.pick(1 << 20) == []
    for n in range(1, 31):
        sections.end(pack(*range(n * 1000, n * 1000 + 900)))
    picked = sections.pick(1 << 20)
    assert len(picked) > 3
    sections.replace(picked, info(picked[-1], 1900, picked[-1] * 1000 + 999, size=1 << 20))
    assert sections.ids()[0] == picked[-1]


def test_nothing_left_of_them() -> None:
    sections = Sections()
    for n in range(1, 30):
        sections.add(info(n, n, n))
    sections.replace([1, 2, 3], None)
    assert sections.ids() == list(range(4, 30))
    assert sections.jobs == 26


@pytest.mark.parametrize("seed", range(5))
def test_against_a_plain_table(seed: int) -> None:
    rng = random.Random(seed)
    sections, lies, number, id = Sections(), dict[int, int](), 1, 0
    for _ in range(600):
        act = rng.random()
        if act < 0.4:
            id += 1
            first = number + rng.randrange(3)
            number = first + rng.randrange(1, 5)
            sections.add(info(id, first, number - 1))
            lies.update(dict.fromkeys(range(first, number), id))
        elif act < 0.9 and lies:
            gone = rng.sample(list(lies), min(len(lies), rng.randrange(1, 6)))
            touched = {lies.pop(n) for n in gone}
            ended, dropped = sections.end(pack(*gone, 10**9))
            assert set(ended) | {i for i, _, _ in dropped} == touched
            assert set(ended) == touched & set(lies.values())
        else:
            picked = sections.pick(rng.choice((300, 1000, 1 << 20)))
            if picked:
                kept = sorted(n for n, i in lies.items() if i in picked)
                new = SectionInfo(picked[-1], kept[0], kept[-1], len(kept), 100 * len(kept)) if kept else None
                sections.replace(picked, new)
                lies.update(dict.fromkeys(kept, picked[-1]))
        assert sections.live == len(lies)
        assert set(sections.ids()) == set(lies.values())


def test_a_job_that_is_written_anew() -> None:
    """It ends where it was, and then where it is; the jobs around it stay."""
    sections = Sections()
    sections.add(info(1, 10, 12))
    assert sections.end(pack(11), moved=True) == ({1: pack(11)}, [])
    sections.add(info(2, 0, 0, late=(11, 5)))
    assert sections.end(pack(11), moved=True) == ({2: pack(11 | 1 << 63)}, [])
    sections.add(info(3, 0, 0, late=(11,)))
    assert (sections.late_of(2), sections.late_of(3), sections.live) == ((5,), (11,), 4)
    assert sections.ended_of(2) == pack(11)
    assert sections.end(pack(11)) == ({}, [(3, 13, 12)])
    assert sections.end(pack(10, 12))[1] == [(1, 10, 12)]
    assert (sections.ids(), sections.live) == ([2], 1)


@pytest.mark.parametrize("late", [(5, 11), (5,)])
def test_one_that_was_written_anew_before(late: tuple[int, ...]) -> None:
    """Whether a store still has its number in the older section or not."""
    sections = Sections()
    sections.add(info(2, 0, 0, late=late, ended=pack(11 | 1 << 63), size=200))
    sections.add(info(3, 0, 0, late=(11,)))
    assert (sections.jobs, sections.live) == (3, 2)
    assert sections.end(pack(11))[1] == [(3, 1, 0)]
    assert (sections.ids(), sections.live) == ([2], 1)
    assert [id for id, _, _ in sections.end(pack(5))[1]] == [2]
    assert (sections.jobs, sections.live, sections.size) == (0, 0, 0)


def test_a_section_that_is_left() -> None:
    sections = Sections()
    sections.add(info(1, 10, 12, ended=pack(11)))
    sections.add(info(2, 0, 0, late=(11,)))
    sections.leave(2)
    assert sections.end(pack(11)) == ({}, [])
    assert (sections.ids(), sections.live) == ([1], 2)

# SPDX-License-Identifier: BSD-3-Clause
"""What every store does: the journal relies on nothing else."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace

import pytest

from gearfast.store.base import RANGE_BITS, Contents, Section, SectionInfo, SharedStore, Store, StoreError, Write

MakeStore = Callable[[], Store]


def pack(*numbers: int) -> bytes:
    return struct.pack(f"<{len(numbers)}Q", *numbers)


def section(id: int, first: int, last: int, records: bytes = b"records", late: tuple[int, ...] = ()) -> Section:
    return Section(SectionInfo(id, first, last, last - first + 1, len(records), late), records)


def opened(store: Store, batch: int, next_number: int) -> Contents:
    """What is there. In a store that servers share each of them begins with a batch and a number of its own range."""
    contents = store.open()
    if isinstance(store, SharedStore) and contents.batch == store.seat << RANGE_BITS:
        assert contents.next_number == contents.batch + 1
        contents = replace(contents, batch=batch, next_number=next_number)
    return contents


def test_an_empty_store(make_store: MakeStore) -> None:
    assert opened(make_store(), 0, 1) == Contents(0, 1, [], {})


def test_what_was_written_is_there_again(make_store: MakeStore) -> None:
    store = make_store()
    store.open()
    store.write(Write(1, 6, [section(1, 1, 5, b"one")]))
    assert store.open() == Contents(1, 6, [SectionInfo(1, 1, 5, 5, 3)], {})
    store.write(Write(2, 21, [section(2, 6, 20, bytes(range(256)) * 1000, (3, 4))], {1: pack(2)}, [], {4: 1}))
    store.write(Write(3, 22, ended={1: pack(2, 5), 2: pack(7)}, losses={4: 2, 9: 1}))
    again = make_store()
    assert opened(again, 3, 22) == Contents(
        3,
        22,
        [
            SectionInfo(1, 1, 5, 5, 3, (), pack(2, 5)),
            SectionInfo(2, 6, 20, 15, 256_000, (3, 4), pack(7)),
        ],
        {4: 2, 9: 1},
    )
    assert again.read([2, 1]) == [bytes(range(256)) * 1000, b"one"]


def test_what_was_dropped_is_gone(make_store: MakeStore) -> None:
    store = make_store()
    store.open()
    store.write(
        Write(1, 9, [section(1, 1, 2), section(2, 3, 4, late=(1,))], {1: pack(1), 2: pack(3)}, [], {1: 1, 3: 2})
    )
    store.write(Write(2, 9, drop=[1, 2], forget=[1]))
    assert opened(make_store(), 2, 9) == Contents(2, 9, [], {3: 2})


def test_notes(make_store: MakeStore) -> None:
    """They are written with all else, or not at all."""
    store = make_store()
    store.open()
    store.write(Write(1, 6, [section(1, 1, 5)], notes={"fired/a": bytes(range(256)), "fired/A": b"", "gone/b": b"x"}))
    store.write(Write(1, 6, notes={"fired/a": b"again", "gone/b": None, "gone/c": None}))
    kept = {"fired/a": b"again", "fired/A": b""}
    assert opened(make_store(), 1, 6) == Contents(1, 6, [SectionInfo(1, 1, 5, 5, 7)], {}, kept)
    store = make_store()
    store.open()
    with pytest.raises(StoreError):
        store.write(Write(2, 9, [section(1, 6, 7)], notes={"fired/a": None, "fired/b": b"1"}))
    assert make_store().open().notes == kept


def test_sections_in_place_of_others(make_store: MakeStore) -> None:
    """Dropping comes first, so that a new section may have the id of an old one."""
    store = make_store()
    store.open()
    store.write(Write(2, 9, [section(1, 1, 2), section(2, 3, 4)], {2: pack(3)}))
    store.write(Write(2, 9, [section(2, 1, 4, b"both")], drop=[1, 2]))
    assert make_store().open().sections == [SectionInfo(2, 1, 4, 4, 4)]


def test_a_write_that_fails_does_nothing(make_store: MakeStore) -> None:
    store = make_store()
    store.open()
    store.write(Write(1, 9, [section(1, 1, 2)], losses={1: 1}, forget=[1]))
    with pytest.raises(StoreError):
        store.write(Write(2, 19, [section(2, 3, 4), section(1, 5, 6)], {1: pack(1)}, [], {1: 1}))
    assert store.open() == Contents(1, 9, [SectionInfo(1, 1, 2, 2, 7)], {})
    store.write(Write(2, 19, [section(2, 3, 4)]))
    assert store.open().batch == 2


def test_a_section_that_is_missing(make_store: MakeStore) -> None:
    store = make_store()
    store.open()
    with pytest.raises(StoreError, match="section 7 is missing"):
        store.read([7])


def test_a_store_that_is_not_open(make_store: MakeStore) -> None:
    store = make_store()
    with pytest.raises(StoreError, match="not open"):
        store.write(Write(1, 1))
    store.close()


def test_large_numbers(make_store: MakeStore) -> None:
    store = make_store()
    store.open()
    high = (store.seat + 1 << RANGE_BITS) - 1 if isinstance(store, SharedStore) else (1 << 62) - 1
    store.write(Write(high, high + 1, [section(high, high - 1, high)], {high: pack(high)}, [], {high: 255}))
    assert opened(make_store(), high, high + 1) == Contents(
        high, high + 1, [SectionInfo(high, high - 1, high, 2, 7, (), pack(high))], {high: 255}
    )


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_one_server_at_a_time(make_store: MakeStore, rival: Store) -> None:
    store = make_store()
    store.open()
    with pytest.raises(StoreError, match=r"in use|locked"):
        rival.open()
    store.write(Write(1, 6, [section(1, 1, 5)]))
    with pytest.raises(StoreError, match="not open"):
        rival.write(Write(2, 7))
    store.close()
    assert rival.open().batch == 1


def test_nothing_to_give_back(make_store: MakeStore) -> None:
    store = make_store()
    store.open()
    assert store.shrink() is False


def test_many_of_everything(make_store: MakeStore) -> None:
    """More than fits into one statement, where there is such a limit."""
    store = make_store()
    store.open()
    numbers = range(1, 20_001)
    store.write(Write(1, 20_001, [section(1, 1, 20_000, late=tuple(range(30_000, 32_000)))], {1: pack(*numbers)}))
    store.write(Write(2, 20_001, losses=dict.fromkeys(numbers, 1)))
    contents = make_store().open()
    assert contents.sections[0].ended == pack(*numbers)
    assert len(contents.sections[0].late) == 2000
    assert contents.losses == dict.fromkeys(numbers, 1)
    store = make_store()
    store.open()
    store.write(Write(3, 200_000, [section(n, 100_000 + n, 100_000 + n) for n in range(2, 3000)], forget=list(numbers)))
    store.write(Write(4, 200_000, drop=list(range(1, 3000))))
    assert opened(make_store(), 4, 200_000) == Contents(4, 200_000, [], {})


def test_large_records(make_store: MakeStore) -> None:
    store = make_store()
    store.open()
    records = bytes(range(256)) * (40 << 10)
    store.write(Write(1, 6, [section(1, 1, 5, records)]))
    assert make_store().open().sections[0].size == 10 << 20
    store = make_store()
    store.open()
    assert store.read([1]) == [records]


def test_a_late_number_in_a_newer_section_too(make_store: MakeStore) -> None:
    """The newer one has it; the older one need not have it any more. When the older one goes it stays."""
    store = make_store()
    store.open()
    store.write(Write(2, 30, [section(1, 1, 2), section(2, 10, 11, late=(5, 6))]))
    store.write(Write(3, 30, [section(3, 12, 13, late=(5,))], {2: pack(5 | 1 << 63)}))
    first, second, third = store.open().sections
    assert (first.late, third.late, second.ended) == ((), (5,), pack(5 | 1 << 63))
    assert 6 in second.late
    store.write(Write(4, 30, drop=[2]))
    assert [info.late for info in store.open().sections] == [(), (5,)]

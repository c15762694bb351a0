# SPDX-License-Identifier: BSD-3-Clause
"""When a SUBMIT_JOB_SCHED is due."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearfast.dispatch.schedule import next_match, parse_fields


def seconds(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("after", "fields", "wanted"),
    [
        ("2026-01-01 00:00:00", (0, 0, None, None, None), "2026-01-02 00:00"),  # later, not now
        ("2025-12-31 23:59:59", (0, 0, None, None, None), "2026-01-01 00:00"),
        ("2026-01-01 12:30:15", (30, None, None, None, None), "2026-01-01 13:30"),
        ("2026-01-01 12:30:15", (None, None, None, None, None), "2026-01-01 12:31"),
        ("2026-06-15 10:00:00", (0, 9, None, None, 0), "2026-06-22 09:00"),  # that day is a Monday
        ("2026-01-31 00:00:00", (0, 0, 30, None, None), "2026-03-30 00:00"),
        ("2026-01-01 00:00:00", (0, 0, 13, None, 4), "2026-02-13 00:00"),  # both: a Friday the 13th
        ("2026-12-31 23:59:30", (None, None, None, 1, None), "2027-01-01 00:00"),
        ("2096-03-01 00:00:00", (0, 0, 29, 2, None), "2104-02-29 00:00"),  # 2100 has none
        ("2026-01-01 00:00:00", (0, 0, 29, 2, 6), "2032-02-29 00:00"),
    ],
)
def test_next_match(after: str, fields: tuple[int | None, ...], wanted: str) -> None:
    minute, hour, day, month, weekday = fields
    found = next_match(minute, hour, day, month, weekday, seconds(after))
    assert f"{datetime.fromtimestamp(found, UTC):%Y-%m-%d %H:%M}" == wanted


@pytest.mark.parametrize(("day", "month"), [(30, 2), (31, 2), (31, 4), (31, 11)])
def test_a_date_that_never_comes(day: int, month: int) -> None:
    with pytest.raises(ValueError):
        next_match(0, 0, day, month, None, seconds("2026-01-01"))


@given(
    st.none() | st.integers(0, 59),
    st.none() | st.integers(0, 23),
    st.none() | st.integers(1, 28),
    st.none() | st.integers(1, 12),
    st.none() | st.integers(0, 6),
    st.integers(0, 4_000_000_000),
)
def test_all_given_fields_match(
    minute: int | None, hour: int | None, day: int | None, month: int | None, weekday: int | None, after: int
) -> None:
    found = datetime.fromtimestamp(next_match(minute, hour, day, month, weekday, after), UTC)
    assert found.timestamp() > after
    assert found.second == 0
    assert minute in (None, found.minute)
    assert hour in (None, found.hour)
    assert day in (None, found.day)
    assert month in (None, found.month)
    assert weekday in (None, found.weekday())


@given(st.integers(0, 59), st.integers(0, 23), st.integers(0, 4_000_000_000))
def test_nothing_earlier_matches(minute: int, hour: int, after: int) -> None:
    found = next_match(minute, hour, None, None, None, after)
    assert found - after <= 86_400


def test_local_time_that_is_left_out_does_not_match() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    after = datetime(2026, 3, 28, 12, tzinfo=berlin).timestamp()  # on the 29th 02:30 does not exist
    found = datetime.fromtimestamp(next_match(30, 2, None, None, None, after, berlin), berlin)
    assert (found.date(), found.hour, found.minute) == (datetime(2026, 3, 30).date(), 2, 30)


def test_local_time_is_that_of_the_zone() -> None:
    tokyo = ZoneInfo("Asia/Tokyo")
    found = datetime.fromtimestamp(next_match(0, 9, None, None, None, seconds("2026-01-01 00:00:00"), tokyo), tokyo)
    assert found == datetime(2026, 1, 2, 9, tzinfo=tokyo)
    assert found - datetime(2026, 1, 1, 0, tzinfo=UTC) == timedelta(days=1)


@pytest.mark.parametrize(
    ("texts", "wanted"),
    [
        (("0", "0", "1", "1", "0"), (0, 0, 1, 1, 0)),
        (("59", "23", "31", "12", "6"), (59, 23, 31, 12, 6)),
        (("*", "", "*", "", "*"), (None,) * 5),
        (("05", "*", "*", "*", "*"), (5, None, None, None, None)),
    ],
)
def test_fields(texts: tuple[str, ...], wanted: tuple[int | None, ...]) -> None:
    assert parse_fields(texts) == wanted


@pytest.mark.parametrize("place", range(5))
@pytest.mark.parametrize("text", ["x", "-1", "100", "1-5", "*/5", " 1", "1 ", "**", "1" * 5000])
def test_no_field(place: int, text: str) -> None:
    texts = ["*"] * 5
    texts[place] = text
    with pytest.raises(ValueError):
        parse_fields(texts)

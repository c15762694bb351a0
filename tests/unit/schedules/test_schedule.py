# SPDX-License-Identifier: BSD-3-Clause
"""What a schedule is: its keys, what is refused, and when it is due."""

from __future__ import annotations

import sys
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pytest

from gearfast.schedules import Schedule, cron, parse_all, parse_schedule
from gearfast.schedules.schedule import KEYS

BERLIN = ZoneInfo("Europe/Berlin")


def schedule(**values: Any) -> Schedule:
    return parse_schedule("s", {"function": "f"} | values)


def ms(text: str, zone: ZoneInfo | None = None, fold: int = 0) -> int:
    moment = datetime.fromisoformat(text).replace(tzinfo=zone or ZoneInfo("UTC"), fold=fold)
    return int(moment.timestamp() * 1000)


def times(found: Schedule, after: int, count: int) -> list[int]:
    told = []
    for _ in range(count):
        following = found.next_after(after)
        assert following is not None and following > after
        told.append(after := following)
    return told


def local(moments: list[int]) -> list[str]:
    return [datetime.fromtimestamp(each / 1000, BERLIN).strftime("%d. %H:%M %Z") for each in moments]


class TestKeys:
    def test_defaults(self) -> None:
        found = schedule(every="1m")
        assert found == Schedule(name="s", function="f", every=60_000)
        assert (found.timezone, found.priority, found.catch_up) == ("UTC", "normal", "one")
        assert not found.overlap and not found.paused and found.workload == b""

    def test_all(self) -> None:
        found = schedule(
            cron="  */5  * * * MON-FRI ",
            timezone="Europe/Berlin",
            workload="größer",
            unique="u",
            priority="High",
            overlap="yes",
            **{"catch-up": "none"},
            paused=True,
        )
        assert found.cron == "*/5 * * * MON-FRI" and found.workload == "größer".encode()
        assert (found.priority, found.overlap, found.catch_up, found.paused) == ("high", True, "none", True)
        assert parse_schedule("s", dict(found.items())) == found

    def test_any_bytes_as_a_workload(self) -> None:
        found = schedule(every=60, workload_base64="/wA=")
        assert found.workload == b"\xff\x00"
        assert ("workload_base64", "/wA=") in found.items()
        assert parse_schedule("s", dict(found.items())) == found

    @pytest.mark.parametrize(
        ("text", "milliseconds", "shown"),
        [
            ("30s", 30_000, "30s"),
            ("90s", 90_000, "1m30s"),
            ("1h30m", 5_400_000, "1h30m"),
            ("1d", 86_400_000, "1d"),
            ("0.25s", 250, "0.25s"),
            (300, 300_000, "5m"),
            ("2.5", 2500, "2.5s"),
        ],
    )
    def test_times(self, text: object, milliseconds: int, shown: str) -> None:
        found = schedule(every=text)
        assert found.every == milliseconds and ("every", shown) in found.items()

    @pytest.mark.parametrize(
        ("values", "said"),
        [
            ({}, "one of cron and every has to be given"),
            ({"cron": "* * * * *", "every": "1m"}, "one of cron and every has to be given, not both"),
            ({"function": "", "every": "1m"}, "function: '' must be a text that is not empty"),
            ({"evry": "1m"}, "unknown key evry; did you mean every?"),
            (
                {"every": "1m", "function": "gearfast.result"},
                "function: 'gearfast.result' is answered by the server itself",
            ),
            ({"every": "1m", "function": "gearfast.result.now"}, "is answered by the server itself"),
            ({"every": "soon"}, "every: 'soon' must be a time such as 30s"),
            ({"every": ""}, "every: '' must be a time such as 30s"),
            ({"every": "0.01s"}, "every: '0.01s' must be 0.1s at least"),
            ({"cron": "61 * * * *"}, "cron: '61 * * * *' is no cron expression"),
            ({"cron": "* * *"}, "cron: '* * *' is no cron expression"),
            ({"cron": "0 0 31 2 *"}, "is no cron expression"),
            ({"cron": "* * * * *", "timezone": "Mars/Base"}, "timezone: 'Mars/Base' is no time zone"),
            ({"cron": "* * * * *", "timezone": "../etc/passwd"}, "is no time zone"),
            ({"every": "1m", "timezone": "Europe/Berlin"}, "timezone: goes with cron"),
            ({"every": "1m", "priority": "urgent"}, "priority: 'urgent' must be one of high, normal, low"),
            ({"every": "1m", "catch_up": "two"}, "catch_up: 'two' must be one of one, all, none"),
            ({"every": "1m", "workload": "a", "workload_base64": "YQ=="}, "one of them"),
            ({"every": "1m", "workload_base64": "?"}, "workload_base64: '?' must be base64"),
            ({"every": "1m", "workload": 3}, "workload: 3 must be a text"),
            ({"every": "1m", "unique": "x" * 65}, "at most 64 bytes"),
            ({"every": "1m", "overlap": True, "unique": "x" * 50}, "overlap: needs a unique of at most 49 bytes"),
            ({"every": "1m", "overlap": True, "unique": "-"}, "overlap: needs a unique"),
        ],
    )
    def test_what_is_refused(self, values: dict[str, object], said: str) -> None:
        with pytest.raises(ValueError) as caught:
            parse_schedule("s", {"function": "f"} | values)
        assert said in str(caught.value)

    @pytest.mark.parametrize("name", ["", "x" * 61, "a\nb", "é" * 31])
    def test_names_that_are_refused(self, name: str) -> None:
        with pytest.raises(ValueError, match="the name of a schedule has 1 to 60 bytes"):
            parse_schedule(name, {"function": "f", "every": 60})

    def test_a_table_of_them(self) -> None:
        found = parse_all({"a": {"function": "f", "every": 60}, "b c": {"function": "g", "cron": "@daily"}})
        assert list(found) == ["a", "b c"] and found["b c"].cron == "@daily"
        assert parse_all(found) == found
        for table, said in [
            (3, "must be a table of names"),
            ({"a": 3}, "a: must be a table of keys"),
            ({"a": {"every": 60}}, "a: function: has to be given"),
        ]:
            with pytest.raises(ValueError, match=said):
                parse_all(table)

    def test_other_values_for_some_keys(self) -> None:
        base = schedule(cron="0 3 * * *", timezone="Europe/Berlin", workload="x", priority="low")
        changed = parse_schedule("s", {"cron": "0 4 * * *", "workload": ""}, base)
        assert (changed.cron, changed.timezone, changed.workload) == ("0 4 * * *", "Europe/Berlin", b"")
        assert changed.priority == "low"
        interval = parse_schedule("s", {"every": "5m"}, changed)
        assert (interval.every, interval.cron, interval.timezone) == (300_000, None, "UTC")
        assert parse_schedule("s", {"cron": "@hourly"}, interval).every is None
        with pytest.raises(ValueError, match="one of cron and every"):
            parse_schedule("s", {"every": ""}, interval)
        assert parse_schedule("s", {"workload_base64": ""}, base).workload == b""

    def test_every_key_has_its_help(self) -> None:
        assert all(field.metadata["help"] and field.metadata["shown"] for field in KEYS.values())

    def test_without_the_library(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Intervals need none; a cron expression names what is to be installed."""
        monkeypatch.setitem(sys.modules, "cronsim", None)
        assert schedule(every="1m").next_after(0) == 60_000
        with pytest.raises(ValueError, match=r"cron: .* needs cronsim: pip install 'gearfast\[schedules\]'"):
            schedule(cron="* * * * *")

    def test_without_time_zones(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """As in a small container: that which stands as an example is missing too."""

        def missing(name: str) -> ZoneInfo:
            raise ZoneInfoNotFoundError(name)

        monkeypatch.setattr(cron, "_zone", missing)
        with pytest.raises(ValueError, match=r"timezone: 'Europe/Berlin' is not known, .*: pip install tzdata"):
            schedule(cron="* * * * *", timezone="Europe/Berlin")


class TestTimes:
    def test_intervals_are_counted_from_the_beginning_of_1970(self) -> None:
        """So that every server of a fleet, and one that was started again, has the same times."""
        found = schedule(every="1h")
        assert times(found, ms("2026-01-01T10:20:30"), 2) == [ms("2026-01-01T11:00"), ms("2026-01-01T12:00")]
        assert found.next_after(ms("2026-01-01T11:00")) == ms("2026-01-01T12:00")

    def test_cron(self) -> None:
        found = schedule(cron="30 6 * * MON")
        assert times(found, ms("2026-01-01T00:00"), 2) == [ms("2026-01-05T06:30"), ms("2026-01-12T06:30")]
        assert schedule(cron="@monthly").next_after(ms("2026-01-01T00:00")) == ms("2026-02-01T00:00")
        assert schedule(cron="*/20 * * * * *").next_after(ms("2026-01-01T00:00")) == ms("2026-01-01T00:00:20")
        assert schedule(cron="0 0 L * *").next_after(ms("2026-02-03T00:00")) == ms("2026-02-28T00:00")

    def test_part_of_a_second(self) -> None:
        found = schedule(cron="* * * * *")
        assert found.next_after(ms("2026-01-01T00:00") - 1) == ms("2026-01-01T00:00")
        assert found.next_after(ms("2026-01-01T00:00") + 1) == ms("2026-01-01T00:01")

    def test_in_a_time_zone(self) -> None:
        found = schedule(cron="0 3 * * *", timezone="Europe/Berlin")
        assert found.next_after(ms("2026-01-01T00:00")) == ms("2026-01-01T02:00")
        assert found.next_after(ms("2026-07-01T00:00")) == ms("2026-07-01T01:00")

    def test_a_local_time_that_does_not_exist(self) -> None:
        """In the night of 29 March 2026 02:00 to 03:00 is left out: what is due then is due at 03:00."""
        found = schedule(cron="30 2 * * *", timezone="Europe/Berlin")
        assert local(times(found, ms("2026-03-28T00:00", BERLIN), 3)) == [
            "28. 02:30 CET",
            "29. 03:00 CEST",
            "30. 02:30 CEST",
        ]

    def test_a_local_time_that_comes_twice(self) -> None:
        """In the night of 25 October 2026 02:00 to 03:00 comes twice: what is due at a time of day is due once."""
        found = schedule(cron="30 2 * * *", timezone="Europe/Berlin")
        assert local(times(found, ms("2026-10-24T00:00", BERLIN), 3)) == [
            "24. 02:30 CEST",
            "25. 02:30 CEST",
            "26. 02:30 CET",
        ]
        # … also if the second hour is under way.
        after = ms("2026-10-25T02:10", BERLIN, fold=1)
        assert local(times(found, after, 1)) == ["26. 02:30 CET"]

    def test_what_is_due_all_the_time_is_due_in_both_hours(self) -> None:
        found = schedule(cron="*/30 * * * *", timezone="Europe/Berlin")
        assert local(times(found, ms("2026-10-25T01:45", BERLIN), 5)) == [
            "25. 02:00 CEST",
            "25. 02:30 CEST",
            "25. 02:00 CET",
            "25. 02:30 CET",
            "25. 03:00 CET",
        ]
        assert local(times(found, ms("2026-03-29T01:15", BERLIN), 2)) == ["29. 01:30 CET", "29. 03:00 CEST"]

    @pytest.mark.parametrize("cron", ["*/5 * * * *", "0 3 * * *", "0 0 29 2 *", "* * * * * *"])
    def test_the_last_time_until_now(self, cron: str) -> None:
        found = schedule(cron=cron, timezone="Europe/Berlin")
        first = found.next_after(ms("2020-01-01T00:00"))
        assert first is not None
        now = ms("2026-11-28T03:00:30")
        last = found.last_until(first, now)
        assert last <= now
        following = found.next_after(last)
        assert following is not None and following > now
        assert found.last_until(last, now) == last

    def test_uniques(self) -> None:
        assert schedule(every=60).unique_at(1000) == b"s"
        assert schedule(every=60, unique="u").unique_at(1000) == b"u"
        assert schedule(every=60, overlap=True).unique_at(1000) == b"s@1"
        assert schedule(every=60, overlap=True, unique="u").unique_at(1250) == b"u@1.250"

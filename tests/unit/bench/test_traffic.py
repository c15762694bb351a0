# SPDX-License-Identifier: BSD-3-Clause
"""The rows of the benchmark as data."""

from __future__ import annotations

import json

import pytest

from gearfast.bench.bars import BARS, FIGURES, Bar, with_references
from gearfast.bench.traffic import KINDS, QUICK, ROWS, Row, Traffic


@pytest.mark.parametrize("row", ROWS.values(), ids=lambda row: row.name)
def test_every_row_can_be_run(row: Row) -> None:
    traffic = row.traffic
    assert traffic.kind in KINDS
    assert traffic.phase in ("whole", "submit", "drain")
    assert traffic.phase == "whole" or traffic.kind in ("background", "connect")
    assert traffic.payload >= 12
    assert traffic.workers or traffic.kind == "echo"
    assert 0 <= traffic.target < traffic.functions
    assert traffic.grab in (9, 30, 39)


@pytest.mark.parametrize("row", ROWS.values(), ids=lambda row: row.name)
def test_traffic_survives_json(row: Row) -> None:
    assert Traffic.from_dict(json.loads(json.dumps(row.traffic.as_dict()))) == row.traffic


def test_changes_are_what_differs_from_the_defaults() -> None:
    assert Traffic(clients=4, workers=1).changes() == {"clients": 4}


def test_the_quick_mode_names_rows() -> None:
    assert set(QUICK) <= set(ROWS)


def test_servers_that_cannot_do_a_row_are_none_that_it_is_compared_with() -> None:
    for bar in BARS:
        if bar.against == "floor":
            assert "floor" not in ROWS[bar.row].without
        elif bar.against == "gearmand":
            assert not {"gearmand", "gearmand-t1"} & set(ROWS[bar.row].without)


def test_bars_name_rows() -> None:
    assert {bar.row for bar in BARS} <= set(ROWS)
    assert {bar.against for bar in BARS} <= {"", "floor", "gearmand", *ROWS}


def test_bars_between_rows_stay_within_a_group() -> None:
    for bar in BARS:
        if bar.against in ROWS:
            assert ROWS[bar.row].group == ROWS[bar.against].group != ""


def test_a_row_brings_along_what_it_is_compared_with() -> None:
    assert with_references(["credits-8x8"]) == ["fg-8x8", "credits-8x8"]
    assert with_references(["no such row", "fg-1x1"]) == ["fg-1x1", "no such row"]


def test_a_bar_decides_in_its_direction() -> None:
    most, least, strict = (
        Bar("fg-1x1", at_most=2.0),
        Bar("fg-1x1", at_least=2.0),
        Bar("fg-1x1", at_most=2.0, strict=True),
    )
    assert (most.passed(2.0), most.passed(2.1), most.limit) == (True, False, "<= 2")
    assert (least.passed(2.0), least.passed(1.9), least.limit) == (True, False, ">= 2")
    assert (strict.passed(2.0), strict.passed(1.9), strict.limit) == (False, True, "< 2")


def test_figures_decide_in_their_direction() -> None:
    assert FIGURES["decode-c"].passed(20.0)
    assert not FIGURES["decode-c"].passed(19.9)
    assert FIGURES["embedded-start"].passed(20.0)
    assert not FIGURES["embedded-start"].passed(20.1)
    assert FIGURES["connection-bytes-floor"].passed(1e9)  # for orientation only
    assert FIGURES["connection-bytes-floor"].limit == ""

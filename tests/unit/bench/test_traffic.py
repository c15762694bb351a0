# SPDX-License-Identifier: BSD-3-Clause
"""The rows of the benchmark as data."""

from __future__ import annotations

import json

import pytest

from gearfast.bench.traffic import BARS, FIGURE_BARS, FULL, KINDS, QUICK, ROWS, Row, Traffic


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


def test_quick_and_full_name_rows() -> None:
    assert set(QUICK) <= set(FULL) <= set(ROWS)


def test_bars_name_rows_of_the_full_mode() -> None:
    assert {bar.row for bar in BARS} <= set(FULL)
    assert {bar.against for bar in BARS} <= {"floor", "gearmand", *FULL}


def test_bars_between_rows_stay_within_a_group() -> None:
    for bar in BARS:
        if bar.against in ROWS:
            assert ROWS[bar.row].group == ROWS[bar.against].group != ""


def test_figure_bars_decide_in_their_direction() -> None:
    assert FIGURE_BARS["decode-c"].passed(20.0)
    assert not FIGURE_BARS["decode-c"].passed(19.9)
    assert FIGURE_BARS["embedded-start"].passed(20.0)
    assert not FIGURE_BARS["embedded-start"].passed(20.1)

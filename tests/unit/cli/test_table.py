# SPDX-License-Identifier: BSD-3-Clause
"""Tables for people."""

from __future__ import annotations

from gearfast.cli.table import table

ROWS = [
    {"id": "w1", "functions": ("resize", "mail"), "jobs": 7, "idle": True},
    {"id": "-", "functions": (), "jobs": 1234, "idle": False},
]
COLUMNS = ("id", "functions", "jobs", "idle")


def test_columns_are_aligned_and_numbers_to_the_right() -> None:
    assert table(ROWS, COLUMNS, width=80).splitlines() == [
        "ID  FUNCTIONS    JOBS  IDLE",
        "w1  resize mail     7  yes",
        "-                1234  no",
    ]


def test_the_widest_text_is_cut_to_the_terminal() -> None:
    lines = table(ROWS, COLUMNS, width=26).splitlines()
    assert lines[1] == "w1  resize ma…     7  yes"
    assert max(map(len, lines)) <= 26
    # Never below what its title needs: a terminal of three columns gets what it can get.
    assert table(ROWS, COLUMNS, width=3).splitlines()[0].startswith("ID  FUNCTIONS  JOBS")


def test_no_rows() -> None:
    assert table([], COLUMNS, width=80) == "ID  FUNCTIONS  JOBS  IDLE"


def test_names_cannot_move_the_cursor() -> None:
    assert table([{"id": "a\x1b[2Jb\n"}], ["id"], width=80).splitlines() == ["ID", "a\ufffd[2Jb\ufffd"]

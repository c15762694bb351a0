# SPDX-License-Identifier: BSD-3-Clause
from __future__ import annotations

from io import StringIO

from rich.console import Console

from gearfast.demo.progress import Show


def test_plain_lines_where_there_is_no_terminal() -> None:
    out = StringIO()
    show = Show(Console(file=out, width=100))
    with show.round("2 workers", {"resize": 6, "mail": 2}):
        for done in range(9):
            show.update({"resize": min(done, 6), "mail": max(0, done - 6)})
    lines = [line.split(" s  ", 1)[1] for line in out.getvalue().splitlines()]
    assert lines == [
        "2 workers",
        "  resize 2/6, mail 0/2",
        "  resize 4/6, mail 0/2",
        "  resize 6/6, mail 0/2",
        "  resize 6/6, mail 2/2",
    ]


def test_bars_on_a_terminal() -> None:
    out = StringIO()
    show = Show(Console(file=out, width=100, force_terminal=True, legacy_windows=False))
    with show.round("2 workers", {"resize": 6, "mail": 2}, keep=True):
        show.update({"resize": 6, "mail": 1})
        show.say("[a line] between")
    assert "6/6" in out.getvalue()
    assert "1/2" in out.getvalue()
    assert "[a line] between" in out.getvalue()

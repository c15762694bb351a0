# SPDX-License-Identifier: BSD-3-Clause
"""The progress bar's text, and that it is nowhere but on a terminal."""

from __future__ import annotations

import io

import pytest

from gearfast.cli.bar import Bar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_text() -> None:
    bar = Bar(io.StringIO(), 40)
    for n in range(10):
        bar.add(n != 3)
    assert bar.line(5.0, 100) == "[########----------------------] 10/40 jobs, 1 failed, 2/s, 0:15 left"
    bar.tell("resize 50% (1/2)")
    assert bar.line(5.0, 100).endswith("0:15 left, resize 50% (1/2)")


@pytest.mark.parametrize("width", [5, 20, 40, 60, 200])
def test_it_fits_the_terminal(width: int) -> None:
    bar = Bar(io.StringIO(), 4)
    bar.add(True)
    bar.tell("a function with a long name 12% (123456/1000000)")
    assert len(bar.line(3.0, width)) < width


def test_unknown_total() -> None:
    bar = Bar(io.StringIO(), None)
    assert bar.line(0.0, 80) == "0 jobs, 0/s, 0:00"
    bar.add(True)
    assert bar.line(4000.0, 80) == "1 jobs, 0.00025/s, 1:06:40"


def test_all_done() -> None:
    bar = Bar(io.StringIO(), 1)
    bar.add(True)
    assert bar.line(2.0, 40) == "[###############] 1/1 jobs, 0.5/s, 0:02"
    assert Bar(io.StringIO(), 0).line(1.0, 80) == "0/0 jobs, 0/s, 0:01"


def test_it_makes_room_for_what_goes_to_the_same_terminal() -> None:
    terminal = Terminal()
    bar = Bar(terminal, 2)
    bar.add(True)
    with bar.aside(terminal):
        terminal.write("result\n")
    bar.add(True)
    bar.close()
    pieces = terminal.getvalue().split("\r\x1b[K")
    assert "1/2 jobs" in pieces[1]
    assert pieces[2] == "result\n"
    assert pieces[-1].endswith("\n") and "2/2 jobs" in pieces[-1]


def test_nothing_without_a_terminal() -> None:
    stream = io.StringIO()
    bar = Bar(stream, 1)
    bar.add(True)
    with bar.aside(stream):
        pass
    bar.close()
    assert stream.getvalue() == ""

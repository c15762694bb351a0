# SPDX-License-Identifier: BSD-3-Clause
"""The pure parts of the library's figures: names, bars, ratios, the page and its picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gearfast.bench.bars import FIGURES
from gearfast.bench.library import page, runner
from gearfast.bench.library.runner import LibraryError, figures, group_of, measure, missing
from gearfast.bench.library.table import GROUPS, PROGRAMS
from gearfast.bench.library.wire import PAYLOAD, request, submission
from gearfast.bench.markdown import fill, is_about
from gearfast.protocol import Command

if TYPE_CHECKING:
    from tests.conftest import Require

MACHINE = {"cpu": "a CPU", "cpus": "2", "system": "Linux 6", "python": "3.11"}
SETTINGS = {"pairs": 2, "pin": "one", "versions": {"gear": "0.16"}}
RUN = GROUPS[0]
CPU = {"run": [12.0, 15.0], "run-bare": [10.0, 10.0], "run-pygearman": [60.0, 60.0], "run-gear": [40.0, 50.0]}


def test_each_program_and_each_ratio_is_a_figure_of_one_name() -> None:
    names = [one.figure for group in GROUPS for one in (*group.programs, *group.ratios)]
    assert len(set(names)) == len(names)
    assert set(names) <= set(FIGURES)
    assert len(PROGRAMS) == sum(len(group.programs) for group in GROUPS)
    for group in GROUPS:
        assert all({ratio.program, *ratio.against} <= {one.name for one in group.programs} for ratio in group.ratios)


@pytest.mark.parametrize(
    ("name", "bar"),
    [
        ("library-run", 1.5),
        ("library-run-peer", 0.5),
        ("library-map", 8.3),
        ("library-background", 8.3),
        ("library-map-us", 2.5),
        ("library-background-us", 2.5),
        ("library-async-run", 1.5),
        ("library-async-run-plain", 0.7),
        ("library-async-64", 1.5),
        ("library-async-64-plain", 0.7),
        ("library-worker", 1.5),
        ("library-held-us", 3.0),
        ("library-held-async-us", 10.0),
        ("library-import", 25.0),
        ("library-modules", 0.0),
        ("library-memory", 6.0),
    ],
)
def test_bars(name: str, bar: float) -> None:
    assert FIGURES[name].passed(bar)
    assert not FIGURES[name].passed(bar + 0.01)


def test_ratios_are_pairs_and_against_the_best_of_several() -> None:
    found = figures(RUN, CPU)
    assert found["library-run"] == [1.2, 1.5]
    assert found["library-run-peer"] == [0.3, 0.3]
    assert found["library-run-gear-us"] == [40.0, 50.0]
    without = figures(RUN, {name: values for name, values in CPU.items() if name != "run-gear"})
    assert "library-run" in without
    assert "library-run-peer" not in without  # the best of those that are there may not be the best


def test_a_figure_names_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    assert group_of("library-run-peer") == (RUN, ("run", "run-pygearman", "run-gear"))
    assert group_of("library-run-gear-us") == (RUN, ("run-gear",))
    with pytest.raises(KeyError):
        group_of("library-nothing")
    monkeypatch.setattr(runner, "_installed", lambda program: not program.package)
    assert missing(("run", "run-bare"), RUN) == ""
    with pytest.raises(LibraryError, match=r"pip install pygearman gear$"):
        measure(RUN, 1, names=("run", "run-pygearman", "run-gear"))


def test_the_bytes_of_the_bare_programs() -> None:
    assert request(Command.PRE_SLEEP) == b"\0REQ\0\0\0\4\0\0\0\0"
    assert submission("f") == b"\0REQ\0\0\0\7\0\0\0\x23f\0\0" + PAYLOAD
    assert submission("f", background=True)[4:8] == b"\0\0\0\x12"


def test_the_page_has_bars_and_programs(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text("<!-- bench: library-bars -->\n<!-- end -->\n")
    assert is_about(str(path), "library")
    assert not is_about(str(path), "queues")
    fill(str(path), page.sections({**figures(RUN, CPU), "library-map-us": [3.0]}, MACHINE, SETTINGS))
    text = path.read_text()
    assert "gear 0.16; 2 samples of each, `--pin one`." in text
    assert "| `library-run` | <= 1.5 times | 1.35 [1.2, 1.5] times | pass |" in text
    assert "| `library-map-us` | <= 2.5 µs | 3 µs | **miss** |" in text
    assert "| `library-memory` | <= 6 MB |  MB | not measured |" in text
    assert "| gear | 45 [40, 50] |" in text


def test_the_picture_is_the_same_each_time(tmp_path: Path, require: Require) -> None:
    require.module("matplotlib", '"gearfast[bench]"')
    found = figures(RUN, CPU)
    assert page.is_about(found)
    for name in ("a.svg", "b.svg"):
        page.draw(found, str(tmp_path / name))
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert "pygearman" in (tmp_path / "a.svg").read_text()
    with pytest.raises(ValueError, match="nothing to draw"):
        page.draw({}, str(tmp_path / "c.svg"))

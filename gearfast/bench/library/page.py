# SPDX-License-Identifier: BSD-3-Clause
"""The figures of the library as sections of a page, and as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from gearfast.bench.bars import FIGURES, Figure
from gearfast.bench.library.table import GROUPS, Group
from gearfast.bench.markdown import WORDS, markdown_table
from gearfast.bench.plot import COLOURS, OTHER, pyplot, save
from gearfast.bench.report import interval, number
from gearfast.bench.stats import summarize

__all__ = ["draw", "is_about", "sections"]

_FOOTPRINT: Final = ("library-import", "library-import-names", "library-modules", "library-memory")


def is_about(figures: Mapping[str, object]) -> bool:
    """Whether there are figures of the library among `figures`."""
    return any(name.startswith("library-") for name in figures)


def _cell(name: str, figures: Mapping[str, Sequence[float]]) -> str:
    if not figures.get(name):
        return ""
    summary = summarize(figures[name])
    return interval(summary) if summary.count > 1 else number(summary.median)


def _verdict(figure: Figure, figures: Mapping[str, Sequence[float]]) -> str:
    if not figure.limit:
        return ""
    values = figures.get(figure.name)
    return WORDS[figure.passed(summarize(values).median) if values else None]


def _programs(group: Group, figures: Mapping[str, Sequence[float]]) -> str:
    lines = [["program", "CPU, µs a job"]]
    lines += [[one.title, _cell(one.figure, figures)] for one in group.programs]
    return markdown_table(lines)


def sections(
    figures: Mapping[str, Sequence[float]], machine: Mapping[str, str], settings: Mapping[str, Any]
) -> dict[str, str]:
    """The sections of the page by name: the machine, all bars, and the programs of each group."""
    bars = [["what", "name", "bar", "measured", ""]]
    for figure in FIGURES.values():
        if figure.name.startswith("library-") and (figure.limit or figure.name in _FOOTPRINT):
            unit = "times" if figure.unit == "ratio" else "µs" if figure.unit == "us" else figure.unit
            bars.append(
                [
                    figure.title,
                    f"`{figure.name}`",
                    f"{figure.limit} {unit}" if figure.limit else "",
                    f"{_cell(figure.name, figures)} {unit}",
                    _verdict(figure, figures),
                ]
            )
    versions = "".join(f", {name} {version}" for name, version in settings.get("versions", {}).items())
    return {
        "library-machine": f"{machine['cpu']}, {machine['cpus']} CPUs, {machine['system']}, Python "
        f"{machine['python']}{versions}; {settings['pairs']} samples of each, `--pin {settings['pin']}`.",
        "library-bars": markdown_table(bars),
        **{f"library-{group.name}": _programs(group, figures) for group in GROUPS},
    }


def _colour(name: str) -> str:
    return COLOURS["floor"] if name.endswith(("-bare", "-joined", "-plain", "-sleeping")) else COLOURS["gearfast"]


def draw(figures: Mapping[str, Sequence[float]], path: str) -> None:
    """Draws CPU a job of each program, group by group, to the SVG file `path`. Raises as `gearfast.bench.plot.draw`."""
    shown = [(group, [one for one in group.programs if figures.get(one.figure)]) for group in GROUPS]
    shown = [(group, programs) for group, programs in shown if programs]
    if not shown:
        raise ValueError("there is nothing to draw")
    plots = pyplot()
    heights = [len(programs) + 0.8 for _, programs in shown]
    drawing, all_axes = plots.subplots(
        len(shown),
        1,
        sharex=True,
        squeeze=False,
        figsize=(8, 0.8 + 0.3 * sum(heights)),
        gridspec_kw={"height_ratios": heights, "hspace": 0.35},
    )
    for (group, programs), axes in zip(shown, all_axes[:, 0], strict=True):
        for y, one in enumerate(programs):
            summary = summarize(figures[one.figure])
            whiskers = [[summary.median - summary.low], [summary.high - summary.median]]
            colour = OTHER if one.package else _colour(one.name)
            axes.barh(y, summary.median, 0.7, xerr=whiskers, color=colour, ecolor="#404040")
            axes.text(summary.high * 1.05, y, f"{summary.median:,.3g}", va="center", fontsize=7)
        axes.set_yticks(range(len(programs)), [one.title.replace("`", "") for one in programs])
        axes.invert_yaxis()
        axes.set_title(group.title, loc="left", fontsize=9)
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.spines[["top", "right"]].set_visible(False)
    last = all_axes[-1, 0]
    last.set_xlim(right=2 * last.get_xlim()[1])
    last.set_xlabel("CPU of the process per job in microseconds (logarithmic; less is better)")
    save(drawing, path)
    plots.close(drawing)

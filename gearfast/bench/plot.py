# SPDX-License-Identifier: BSD-3-Clause
"""The comparison as a picture. Needs matplotlib, which nothing else in gearfast does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gearfast.bench.harness import Results
from gearfast.bench.queues.libraries import LIBRARIES
from gearfast.bench.stats import summarize
from gearfast.bench.traffic import ROWS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["PlotUnavailable", "draw", "draw_queues", "pyplot", "save"]

COLOURS: Final = {"floor": "#b0b0b0", "gearfast": "#1f6fb4", "gearmand-t1": "#d98c3f", "gearmand": "#b5522b"}
OTHER: Final = "#6a9a5b"
SHOWN: Final = (
    "fg-1x1", "fg-8x8", "fg-32x32", "fg-500x500", "fg-4x4-64", "bg-8x4-64", "payload64k-4x4-4", "grabs16-4x4-64",
    "grabs64-4x4-64", "submit-only", "functions1-4x4", "functions20000-4x4", "idle10000-8x8", "connect",
)  # fmt: skip
"""Rows of the picture of a full run."""


class PlotUnavailable(RuntimeError):
    """matplotlib is not installed; the text says how to install it."""


def pyplot() -> Any:
    """matplotlib's pyplot, set up to write the same bytes for the same data. Raises PlotUnavailable."""
    try:
        import matplotlib as mpl
    except ImportError:
        raise PlotUnavailable('drawing needs matplotlib: pip install "gearfast[bench]"') from None
    mpl.use("svg")
    # The same data gives the same bytes: fixed ids, no date, text as text.
    mpl.rcParams.update({"svg.hashsalt": "gearfast", "svg.fonttype": "none", "font.size": 9})
    from matplotlib import pyplot as found

    return found


def save(figure: Any, path: str) -> None:
    """Writes a figure to the SVG file `path`, without date and program. Raises OSError."""
    figure.savefig(path, format="svg", bbox_inches="tight", metadata={"Date": None, "Creator": None})


def draw(results: Results, path: str, rows: Sequence[str] | None = None) -> None:
    """Draws server CPU per job of every row and server to the SVG file `path`.

    Bars are logarithmic, since rows differ a hundredfold; whiskers are the 95 % interval of the median. Raises
    PlotUnavailable without matplotlib, ValueError without data, OSError if the file cannot be written.
    """
    names = [row for row in rows or results.samples if row in results.samples]
    servers: list[str] = []
    for row in names:
        servers += [s for s in results.samples[row] if s not in servers]
    order = list(COLOURS)
    servers.sort(key=lambda name: order.index(name) if name in order else len(order))
    if not servers:
        raise ValueError("there is nothing to draw")
    plots = pyplot()
    height = 0.8 / len(servers)
    figure, axes = plots.subplots(figsize=(8, 0.6 + len(names) * (0.25 + 0.17 * len(servers))))
    for i, server in enumerate(servers):
        for y, row in enumerate(names):
            summary = results.summary(row, server)
            if summary is None:
                continue
            at = y + (i - (len(servers) - 1) / 2) * height
            whiskers = [[summary.median - summary.low], [summary.high - summary.median]]
            axes.barh(at, summary.median, height, xerr=whiskers, color=COLOURS.get(server, OTHER), ecolor="#404040",
                      label=server)  # fmt: skip
            axes.text(summary.high * 1.05, at, f"{summary.median:.3g}", va="center", fontsize=7)
    axes.set_yticks(range(len(names)), [ROWS[row].title if row in ROWS else row for row in names])
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_xlabel("server CPU per job in microseconds (logarithmic; less is better)")
    handles, labels = axes.get_legend_handles_labels()
    shown = dict(zip(labels, handles, strict=True))
    axes.legend(shown.values(), shown.keys(), loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4, frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(y=0.01)
    axes.set_xlim(right=2 * axes.get_xlim()[1])  # room for the figures at the longest bars
    save(figure, path)
    plots.close(figure)


def draw_queues(figures: Mapping[str, Sequence[float]], path: str) -> None:
    """Draws CPU a job of gearfast and of other job queues to the SVG file `path`. Raises as `draw` does."""
    names = [name for name in LIBRARIES if figures.get(f"queues-cpu-{name}")]
    if not names:
        raise ValueError("there is nothing to draw")
    plots = pyplot()
    figure, axes = plots.subplots(figsize=(8, 0.8 + 0.35 * len(names)))
    for y, name in enumerate(names):
        summary = summarize(figures[f"queues-cpu-{name}"])
        whiskers = [[summary.median - summary.low], [summary.high - summary.median]]
        colour = OTHER if LIBRARIES[name].peer else COLOURS["gearfast"]
        axes.barh(y, summary.median, 0.7, xerr=whiskers, color=colour, ecolor="#404040")
        axes.text(summary.high * 1.05, y, f"{summary.median:,.3g}", va="center", fontsize=7)
    axes.set_yticks(range(len(names)), [LIBRARIES[name].title for name in names])
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_xlabel("CPU of producer, broker and worker per job in microseconds (logarithmic; less is better)")
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlim(right=2 * axes.get_xlim()[1])
    save(figure, path)
    plots.close(figure)

# SPDX-License-Identifier: BSD-3-Clause
"""The results as Markdown tables, written between marks of a page, so that no figure there is typed by hand.

A section of the page is what stands between `<!-- bench: NAME -->` and `<!-- end -->`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from gearfast.bench.bars import BARS, FIGURES
from gearfast.bench.harness import Results
from gearfast.bench.queues.libraries import LIBRARIES
from gearfast.bench.report import check, interval, number
from gearfast.bench.stats import summarize
from gearfast.bench.traffic import ROWS

__all__ = ["WORDS", "fill", "is_about", "markdown_table", "queue_sections", "sections"]

SERVERS: Final = {"floor": "floor", "gearfast": "gearfast", "gearmand-t1": "gearmand -t 1", "gearmand": "gearmand"}
"""Columns: name of the server and head."""
WORDS: Final = {True: "pass", False: "**miss**", None: "not measured"}


def markdown_table(lines: Sequence[Sequence[str]]) -> str:
    """A table; the first line is its head."""
    return "\n".join(f"| {' | '.join(line)} |" for line in (lines[0], ["---"] * len(lines[0]), *lines[1:]))


def _median(results: Results, row: str, server: str, name: str = "cpu_us") -> str:
    summary = results.summary(row, server, name)
    return "" if summary is None else number(summary.median)


def _rows(results: Results) -> str:
    """CPU a job of every row."""
    lines = [["traffic", "row", *SERVERS.values(), "gearfast / floor", "jobs/s, gearfast"]]
    for name in (name for name in ROWS if name in results.samples):
        ratio = results.ratio(name, "gearfast", "floor")
        lines.append(
            [
                ROWS[name].title,
                f"`{name}`",
                *(_median(results, name, server) for server in SERVERS),
                "" if ratio is None else interval(ratio),
                _median(results, name, "gearfast", "rate"),
            ]
        )
    return markdown_table(lines)


def _latency(results: Results) -> str:
    """The 99th percentile of the rows that send at a given pace."""
    lines = [["traffic", "row", *SERVERS.values()]]
    for name in (name for name in ROWS if name in results.samples and ROWS[name].traffic.rate):
        cells = (_median(results, name, server, "p99_us") for server in SERVERS)
        lines.append([ROWS[name].title, f"`{name}`", *cells])
    return markdown_table(lines)


def _bars(results: Results, figures: Mapping[str, Sequence[float]]) -> str:
    lines = [["what", "bar", "measured", ""]]
    lines += [[v.what, v.bar, v.measured, WORDS[v.passed]] for v in check(results, figures)[: len(BARS)]]
    return markdown_table(lines)


def _figures(figures: Mapping[str, Sequence[float]]) -> str:
    lines = [["figure", "name", "measured", "bar", ""]]
    for name, figure in FIGURES.items():
        if name.startswith(("queues-", "library-")) or not figures.get(name):
            continue
        summary = summarize(figures[name])
        verdict = WORDS[figure.passed(summary.median)] if figure.limit else ""
        measured = interval(summary) if summary.count > 1 else number(summary.median)
        lines.append([figure.title, f"`{name}`", f"{measured} {figure.unit}", figure.limit, verdict])
    return markdown_table(lines)


def _instructions(counts: Mapping[str, Any]) -> str:
    """Instructions and system calls a job, of what `gearfast.bench.instructions` wrote."""
    lines = [["row", "floor", "gearfast", "ratio", "floor's system calls", "gearfast's system calls"]]
    for row, servers in counts["rows"].items():
        floor, gearfast = servers["floor"], servers["gearfast"]
        ratio = gearfast["instructions"] / floor["instructions"]
        kinds = [
            ", ".join(f"{name} {calls:.3g}" for name, calls in server["calls"].items()) for server in (floor, gearfast)
        ]
        lines.append([f"`{row}`", *(f"{s['instructions']:,.0f}" for s in (floor, gearfast)), f"{ratio:.2f}", *kinds])
    return f"{counts['compiler']}, Python {counts['python']}, {counts['valgrind']}.\n\n{markdown_table(lines)}"


def sections(
    results: Results,
    figures: Mapping[str, Sequence[float]],
    machine: Mapping[str, str],
    settings: Mapping[str, Any],
    counts: Mapping[str, Any] | None = None,
) -> dict[str, str]:
    """All sections by name. Of a run with another pin than "one" the rows alone, as `rows-PIN`."""
    pin = settings.get("pin", "one")
    if pin != "one":
        return {f"rows-{pin}": _rows(results)}
    found = {
        "machine": f"{machine['cpu']}, {machine['cpus']} CPUs, {machine['system']}, Python {machine['python']}; "
        f"{settings['pairs']} pairs, {settings['seconds']:g} s a sample.",
        "rows": _rows(results),
        "latency": _latency(results),
        "bars": _bars(results, figures),
        "figures": _figures(figures),
    }
    if counts is not None:
        found["instructions"] = _instructions(counts)
    return found


def is_about(path: str, what: str) -> bool:
    """Whether the page `path` has a section whose name begins with `what`, "queues" or "library": it gets no others."""
    page = Path(path)
    return page.exists() and f"<!-- bench: {what}-" in page.read_text()


def queue_sections(
    figures: Mapping[str, Sequence[float]], machine: Mapping[str, str], settings: Mapping[str, Any]
) -> dict[str, str]:
    """The sections of gearfast beside other job queues, by name."""

    def cell(name: str) -> str:
        values = figures.get(name)
        if not values:
            return ""
        summary = summarize(values)
        return interval(summary) if summary.count > 1 else number(summary.median)

    lines = [["library", "submits by", "jobs a sample", "CPU, µs a job", "latency: median, µs", "99th percentile, µs"]]
    for name, library in LIBRARIES.items():
        cells = (cell(f"queues-{what}-{name}") for what in ("cpu", "p50", "p99"))
        lines.append([library.title, library.producer, f"{library.jobs:,}", *cells])
    bars = [["what", "bar", "measured", ""]]
    for name in ("queues-cpu-ratio", "queues-p50-ratio"):
        figure, values = FIGURES[name], figures.get(name)
        verdict = figure.passed(summarize(values).median) if values else None
        bars.append([figure.title, figure.limit, cell(name), WORDS[verdict]])
    versions = ", ".join(f"{name} {version}" for name, version in settings.get("versions", {}).items())
    return {
        "queues-machine": f"{machine['cpu']}, {machine['cpus']} CPUs, {machine['system']}, Python {machine['python']}; "
        f"{settings['pairs']} samples of each; {versions}.",
        "queues-libraries": markdown_table(lines),
        "queues-bars": markdown_table(bars),
    }


def fill(path: str, found: Mapping[str, str]) -> None:
    """Writes sections between their marks in the page `path`; those that it lacks come at its end. Raises OSError."""
    page = Path(path)
    text = page.read_text() if page.exists() else ""
    for name, body in found.items():
        block = f"<!-- bench: {name} -->\n{body}\n<!-- end -->"
        old = re.compile(rf"<!-- bench: {re.escape(name)} -->.*?<!-- end -->", re.DOTALL)
        text, known = old.subn(block.replace("\\", r"\\"), text)
        if not known:
            text += f"\n{block}\n"
    page.write_text(text)

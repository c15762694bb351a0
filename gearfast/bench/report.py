# SPDX-License-Identifier: BSD-3-Clause
"""The results as tables, as JSON, and against the bars."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from gearfast.bench.bars import BARS, FIGURES, Bar
from gearfast.bench.harness import Results
from gearfast.bench.stats import Summary, summarize
from gearfast.bench.traffic import ROWS

__all__ = [
    "Verdict", "aligned", "check", "interval", "machine", "measured", "number", "read_about", "read_json", "table",
    "verdict_table", "write_json",
]  # fmt: skip

GEARMAND: Final = ("gearmand", "gearmand-t1")
"""The two settings of gearmand, of which the better one counts."""
ENOUGH_PAIRS: Final = 11


def machine() -> dict[str, str]:
    """What the figures were measured on."""
    model = ""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    except OSError:
        pass
    return {
        "cpu": model or platform.machine(),
        "cpus": str(len(os.sched_getaffinity(0))),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def number(value: float) -> str:
    """Three digits, or the whole number."""
    return f"{value:.3g}" if abs(value) < 100 else f"{value:,.0f}"


def interval(summary: Summary | None) -> str:
    """Median and interval; a dash without."""
    if summary is None:
        return "-"
    return f"{number(summary.median)} [{number(summary.low)}, {number(summary.high)}]"


def aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    """The cells in columns: the first to the left, the others to the right."""
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return [
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]


def _reference(results: Results, row: str) -> str | None:
    """What ratios are given to: the floor, else the first server of the row."""
    servers = list(results.samples.get(row, {}))
    return "floor" if "floor" in servers else servers[0] if servers else None


def table(results: Results) -> str:
    """One block a row: CPU per job, paired ratio, speed and latency, medians with 95 % intervals."""
    blocks = []
    for row, servers in results.samples.items():
        reference = _reference(results, row)
        lines = [["", "CPU us/job", f"x {reference}", "jobs/s", "p50 us", "p99 us", "load us/job"]]
        for server in servers:
            medians = [results.summary(row, server, name) for name in ("rate", "p50_us", "p99_us", "load_us")]
            lines.append(
                [
                    f"  {server}",
                    interval(results.summary(row, server)),
                    interval(results.ratio(row, server, reference)) if reference else "-",
                    *("-" if s is None else number(s.median) for s in medians),
                ]
            )
        lines[0][0] = row
        title = ROWS[row].title if row in ROWS else ""
        blocks.append("\n".join([*([f"{title}:"] if title else []), *aligned(lines)]))
    notes = [f"not measured: {problem}" for problem in results.problems]
    return "\n\n".join([*blocks, *notes])


@dataclass(frozen=True, slots=True)
class Verdict:
    """One bar, the figure that was measured for it, and whether it passed; None: not measured."""

    what: str
    bar: str
    measured: str
    passed: bool | None


def measured(results: Results, bar: Bar) -> tuple[str, Summary | None]:
    """What a bar compares, in words, and the figure; None: not measured."""
    figure = "" if bar.figure == "cpu_us" else f" {bar.figure}"
    if bar.store:
        known = (name for name in results.samples.get(bar.row, {}) if name.startswith(f"gearfast={bar.store}:"))
        return f"{bar.row}{figure}, {bar.store}", results.summary(bar.row, next(known, ""), bar.figure)
    if not bar.against:
        return f"{bar.row}{figure}", results.summary(bar.row, "gearfast", bar.figure)
    if bar.against in ROWS:
        against = bar.against if bar.server == "gearfast" else f"{bar.server} {bar.against}"
        if bar.difference:
            summary = results.difference(bar.row, "gearfast", bar.server, bar.against, bar.figure)
            return f"{bar.row}{figure} - {against}", summary
        return f"{bar.row}{figure} / {against}", results.ratio(bar.row, "gearfast", bar.server, bar.against, bar.figure)
    server = results.better(bar.row, GEARMAND) if bar.against == "gearmand" else bar.against
    summary = results.ratio(bar.row, "gearfast", server, name=bar.figure) if server else None
    return f"{bar.row}{figure} / {server or bar.against}", summary


def check(results: Results, figures: Mapping[str, Sequence[float]]) -> list[Verdict]:
    """Every bar against what was measured. `figures` has the samples of `FIGURES` by name."""
    verdicts = []
    for bar in BARS:
        what, summary = measured(results, bar)
        passed = None if summary is None else bar.passed(summary.median)
        verdicts.append(Verdict(what, bar.limit, interval(summary), passed))
    for name, figure in FIGURES.items():
        if not figure.limit:
            continue
        values = figures.get(name)
        summary = summarize(values) if values else None
        passed = None if summary is None else figure.passed(summary.median)
        verdicts.append(Verdict(f"{name} ({figure.unit})", figure.limit, interval(summary), passed))
    return verdicts


def verdict_table(verdicts: Sequence[Verdict]) -> str:
    """The bars as text: pass, MISS or not measured."""
    words = {True: "pass", False: "MISS", None: "not measured"}
    lines = [["what", "bar", "measured", ""], *([v.what, v.bar, v.measured, words[v.passed]] for v in verdicts)]
    return "\n".join(aligned(lines))


def write_json(path: str, results: Results, figures: Mapping[str, Sequence[float]], settings: dict[str, Any]) -> None:
    """Writes all samples, the settings and the machine. Raises OSError."""
    data = {
        "machine": machine(),
        "settings": settings,
        "traffic": {name: ROWS[name].traffic.changes() for name in results.samples if name in ROWS},
        "figures": {name: list(values) for name, values in figures.items()},
        **results.as_dict(),
    }
    Path(path).write_text(json.dumps(data, indent=1) + "\n")


def read_json(path: str) -> tuple[Results, dict[str, list[float]]]:
    """The samples and figures of a file that `write_json` wrote. Raises OSError, ValueError or KeyError."""
    data = json.loads(Path(path).read_text())
    return Results.from_dict(data), data["figures"]


def read_about(path: str) -> tuple[dict[str, str], dict[str, Any]]:
    """Machine and settings of such a file. Raises as `read_json` does."""
    data = json.loads(Path(path).read_text())
    return data["machine"], data["settings"]

# SPDX-License-Identifier: BSD-3-Clause
"""`gearfast bench`: the same traffic on several job servers, side by side."""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gearfast.cli import FAILED, OK, USAGE

if TYPE_CHECKING:
    from gearfast.bench.harness import Results

__all__ = ["add_parser", "run"]

_DESCRIPTION = """\
Runs the same traffic against gearfast, gearmand and any other job server, interleaved (A B B A), and prints the
server's CPU per job, its ratio to the floor (a C program that does nothing but relay) as the median of paired ratios
with a 95 % interval, jobs a second, and latency. Linux only.

Servers: gearfast, floor, gearmand (four threads), gearmand-t1 (one thread), HOST:PORT, HOST:PORT@PID (its CPU too);
gearfast=URL keeps durable jobs in that store, not in SQLite, as gearfast=postgresql:///jobs.

    gearfast bench --full --check --json samples.json           everything, about 15 minutes; --resume goes on with it
    gearfast bench --rows 'unix-*',queue-10m --pairs 11 --check
    gearfast bench --from-json samples.json --markdown docs/performance.md
    gearfast bench --rows 'queues-*' --json queues.json         Celery, RQ and others beside gearfast, some minutes
    gearfast bench --rows 'library-*' --json library.json       client and worker beside bare sockets, two minutes
"""


def _words(text: str) -> list[str]:
    words = [word for word in text.split(",") if word]
    if not words:
        raise argparse.ArgumentTypeError("an empty list")
    return words


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the parser of `gearfast bench`."""
    parser = subparsers.add_parser(
        "bench",
        help="measure job servers",
        description=_DESCRIPTION,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--full", action="store_true", help="all rows and figures, 11 pairs (default: a quick look)")
    parser.add_argument(
        "--rows", type=_words, metavar="A,B", help="rows and figures to measure, or patterns; see --list"
    )
    parser.add_argument(
        "--servers",
        type=_words,
        metavar="A,B",
        default=["gearfast", "floor", "gearmand-t1", "gearmand"],
        help="job servers (default: gearfast,floor,gearmand-t1,gearmand)",
    )
    parser.add_argument("--pairs", type=int, metavar="N", help="samples of each (default: 7, with --full 11)")
    parser.add_argument("--seconds", type=float, metavar="S", help="seconds a sample (default: 0.2, with --full 0.3)")
    parser.add_argument(
        "--pin",
        choices=("one", "split", "none"),
        default="one",
        help="server and load share one CPU, have one each, or run anywhere (default: one, which repeats best, but "
        "split where latency counts)",
    )
    parser.add_argument("--json", metavar="FILE", help="write every sample to FILE")
    parser.add_argument("--resume", action="store_true", help="measure only what the file of --json lacks, add to it")
    parser.add_argument("--markdown", metavar="FILE", help="write the tables between their marks in the page FILE")
    parser.add_argument("--instructions", metavar="FILE", help="counts for --markdown: benchmarks/instructions.json")
    parser.add_argument("--svg", metavar="FILE", help='draw the comparison to FILE (needs "gearfast[bench]")')
    parser.add_argument("--from-json", metavar="FILE", help="measure nothing, show the samples in FILE")
    parser.add_argument("--check", action="store_true", help="compare with the bars; exit status 1 if one is missed")
    parser.add_argument("--list", action="store_true", help="list rows and figures and exit")
    parser.set_defaults(run=run)


def _list() -> int:
    from gearfast.bench.bars import FIGURES
    from gearfast.bench.traffic import QUICK, ROWS

    width = max(len(name) for name in (*ROWS, *FIGURES))
    for name, row in ROWS.items():
        mark = "quick" if name in QUICK else "full"
        print(f"{name:{width}}  {mark:5}  {row.title}")
    for name, figure in FIGURES.items():
        print(f"{name:{width}}  full   {figure.title} ({figure.unit})")
    return OK


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _names(args: argparse.Namespace) -> list[str]:
    """Rows and figures that are asked for. Raises ValueError on an unknown one, or an unknown server."""
    from gearfast.bench.bars import FIGURES, with_references
    from gearfast.bench.servers import check_name
    from gearfast.bench.traffic import QUICK, ROWS

    for server in args.servers:
        check_name(server)
    everything = [*ROWS, *FIGURES]
    if args.rows is None:
        return everything if args.full else list(QUICK)
    found: list[str] = []
    for pattern in args.rows:
        names = fnmatch.filter(everything, pattern)
        if not names:
            raise ValueError(f"unknown row {pattern}; see gearfast bench --list")
        found += names
    return with_references(dict.fromkeys(found))


def _versions(names: list[str]) -> dict[str, str]:
    """Versions of the other libraries that the figures `names` are about."""
    found: dict[str, str] = {}
    if any(name.startswith("queues-") for name in names):
        from gearfast.bench.queues import libraries

        found |= libraries.versions()
    if any(name.startswith("library-") for name in names):
        from gearfast.bench.library import runner

        found |= runner.versions()
    return found


def _measure(args: argparse.Namespace, names: list[str]) -> tuple[Results, dict[str, list[float]]]:
    """Measures; after each group of rows and each figure what is there is in the file of --json."""
    from gearfast.bench import report
    from gearfast.bench.bars import FIGURES
    from gearfast.bench.figures import FigureError, measure_figure
    from gearfast.bench.harness import Results, measure
    from gearfast.bench.traffic import ROWS

    settings = {"pairs": args.pairs, "seconds": args.seconds, "pin": args.pin, "servers": args.servers}
    found = _versions(names)
    if found:
        settings["versions"] = found
    before, figures = Results(), dict[str, list[float]]()
    if args.resume and os.path.exists(args.json):
        before, figures = report.read_json(args.json)
        before.problems = []

    def keep(now: Results) -> Results:
        merged = Results(dict(before.samples))
        merged.take(now)
        if args.json:
            report.write_json(args.json, merged, figures, settings)
        return merged

    groups = {ROWS[name].group or name for name in names if name in ROWS and name not in before.samples}
    rows = [ROWS[name] for name in names if name in ROWS and (ROWS[name].group or name) in groups]
    results = measure(
        rows, args.servers, pairs=args.pairs, seconds=args.seconds, pin=args.pin, progress=_say, keep=keep
    )
    for name in names:
        if name not in FIGURES or name in figures:
            continue
        start = time.monotonic()
        try:
            figures.update(measure_figure(name, args.pairs, args.pin))
        except FigureError as error:
            if not any(problem.endswith(f": {error}") for problem in results.problems):
                results.problems.append(f"{name}: {error}")
        _say(f"{name}: {time.monotonic() - start:.1f} s")
        keep(results)
    return keep(results), figures


def run(args: argparse.Namespace) -> int:
    """Measures and prints; returns the exit status: 0 fine, 1 a bar is missed with --check, 2 usage."""
    if sys.platform != "linux":
        print("gearfast bench runs on Linux only: it needs epoll and the scheduler's CPU times", file=sys.stderr)
        return USAGE
    if args.list:
        return _list()
    from gearfast.bench import report

    if args.resume and not args.json:
        print("gearfast bench: --resume needs --json FILE", file=sys.stderr)
        return USAGE
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the servers are stopped
    args.pairs = args.pairs if args.pairs is not None else 11 if args.full else 7
    args.seconds = args.seconds if args.seconds is not None else 0.3 if args.full else 0.2
    try:
        results, figures = report.read_json(args.from_json) if args.from_json else _measure(args, _names(args))
        return _show(args, results, figures)
    except (OSError, ValueError, KeyError, TypeError) as error:
        print(f"gearfast bench: {error}", file=sys.stderr)
        return USAGE


def _write_markdown(args: argparse.Namespace, results: Results, figures: dict[str, list[float]]) -> None:
    from gearfast.bench import markdown, report

    about: tuple[dict[str, str], dict[str, Any]]
    if args.from_json:
        about = report.read_about(args.from_json)
    else:
        about = report.machine(), {"pairs": args.pairs, "seconds": args.seconds, "pin": args.pin}
    counts = json.loads(Path(args.instructions).read_text()) if args.instructions else None
    if markdown.is_about(args.markdown, "queues"):
        found = markdown.queue_sections(figures, *about)
    elif markdown.is_about(args.markdown, "library"):
        from gearfast.bench.library import page

        found = page.sections(figures, *about)
    else:
        found = markdown.sections(results, figures, *about, counts)
    markdown.fill(args.markdown, found)


def _show(args: argparse.Namespace, results: Results, figures: dict[str, list[float]]) -> int:
    from gearfast.bench import plot, report
    from gearfast.bench.figures import figure_table
    from gearfast.bench.library import page

    if args.from_json is None:
        here = report.machine()
        print(f"{here['cpu']}, {here['cpus']} CPUs, {here['system']}, Python {here['python']}")
        print(f"{args.pairs} pairs of {args.seconds:g} s, pin {args.pin}; medians [95 % interval]\n")
    print("\n\n".join(text for text in (report.table(results), figure_table(figures)) if text))
    if args.markdown:
        _write_markdown(args, results, figures)
    if args.svg:
        try:
            if results.samples:
                plot.draw(results, args.svg, [row for row in plot.SHOWN if row in results.samples] or None)
            elif page.is_about(figures):
                page.draw(figures, args.svg)
            else:
                plot.draw_queues(figures, args.svg)
        except plot.PlotUnavailable as error:
            print(f"gearfast bench: {error}", file=sys.stderr)
            return USAGE
    if not args.check:
        return OK
    verdicts = report.check(results, figures)
    if not args.full and args.from_json is None:
        verdicts = [verdict for verdict in verdicts if verdict.passed is not None]
    print(f"\n{report.verdict_table(verdicts)}")
    if args.from_json is None and args.pairs < report.ENOUGH_PAIRS:
        print(f"fewer than {report.ENOUGH_PAIRS} pairs: for orientation only")
    return FAILED if any(verdict.passed is False for verdict in verdicts) else OK

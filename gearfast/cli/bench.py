# SPDX-License-Identifier: BSD-3-Clause
"""`gearfast bench`: the same traffic on several job servers, side by side."""

from __future__ import annotations

import argparse
import signal
import sys
from typing import TYPE_CHECKING

from gearfast.cli import FAILED, OK, USAGE

if TYPE_CHECKING:
    from gearfast.bench.harness import Results

__all__ = ["add_parser", "run"]

_DESCRIPTION = """\
Runs the same traffic against gearfast, gearmand and any other job server, interleaved (A B B A), and prints the
server's CPU per job, its ratio to the floor (a C program that does nothing but relay) as the median of paired ratios
with a 95 % interval, jobs a second, and latency. Linux only.

Servers: gearfast, floor, gearmand (four threads), gearmand-t1 (one thread), HOST:PORT, HOST:PORT@PID (its CPU too).
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
    parser.add_argument("--rows", type=_words, metavar="A,B", help="rows and figures to measure; see --list")
    parser.add_argument(
        "--servers",
        type=_words,
        metavar="A,B",
        default=["gearfast", "floor", "gearmand-t1", "gearmand"],
        help="job servers (default: gearfast,floor,gearmand-t1,gearmand)",
    )
    parser.add_argument("--pairs", type=int, metavar="N", help="samples of each (default: 7, with --full 11)")
    parser.add_argument("--seconds", type=float, metavar="S", help="seconds a sample (default: 0.2, with --full 0.5)")
    parser.add_argument(
        "--pin",
        choices=("one", "split", "none"),
        default="one",
        help="server and load share one CPU, have one each, or run anywhere (default: one, which repeats best; "
        "split for the highest speed)",
    )
    parser.add_argument("--json", metavar="FILE", help="write every sample to FILE")
    parser.add_argument("--svg", metavar="FILE", help='draw the comparison to FILE (needs "gearfast[bench]")')
    parser.add_argument("--from-json", metavar="FILE", help="measure nothing, show the samples in FILE")
    parser.add_argument("--check", action="store_true", help="compare with the bars; exit status 1 if one is missed")
    parser.add_argument("--list", action="store_true", help="list rows and figures and exit")
    parser.set_defaults(run=run)


def _list() -> int:
    from gearfast.bench.traffic import FIGURE_BARS, FULL, QUICK, ROWS

    width = max(len(name) for name in (*ROWS, *FIGURE_BARS))
    for name, row in ROWS.items():
        mark = "quick" if name in QUICK else "full" if name in FULL else ""
        print(f"{name:{width}}  {mark:5}  {row.title}")
    for name, figure in FIGURE_BARS.items():
        print(f"{name:{width}}  full   {figure.title} ({figure.unit})")
    return OK


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _measure(args: argparse.Namespace, names: list[str]) -> tuple[Results, dict[str, list[float]]]:
    from gearfast.bench.figures import FigureError, measure_figure
    from gearfast.bench.harness import measure
    from gearfast.bench.traffic import FIGURE_BARS, ROWS

    rows = [ROWS[name] for name in names if name in ROWS]
    results = measure(rows, args.servers, pairs=args.pairs, seconds=args.seconds, pin=args.pin, progress=_say)
    figures: dict[str, list[float]] = {}
    for name in names:
        if name in FIGURE_BARS and name not in figures:
            try:
                figures.update(measure_figure(name, args.pairs, args.pin))
            except FigureError as error:
                results.problems.append(f"{name}: {error}")
    return results, figures


def run(args: argparse.Namespace) -> int:
    """Measures and prints; returns the exit status: 0 fine, 1 a bar is missed with --check, 2 usage."""
    if sys.platform != "linux":
        print("gearfast bench runs on Linux only: it needs epoll and the scheduler's CPU times", file=sys.stderr)
        return USAGE
    if args.list:
        return _list()
    from gearfast.bench import report
    from gearfast.bench.traffic import FIGURE_BARS, FULL, QUICK, ROWS

    names = args.rows or ([*FULL, *FIGURE_BARS] if args.full else list(QUICK))
    unknown = [name for name in names if name not in ROWS and name not in FIGURE_BARS]
    if unknown:
        print(f"gearfast bench: unknown row {', '.join(unknown)}; see gearfast bench --list", file=sys.stderr)
        return USAGE
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the servers are stopped
    args.pairs = args.pairs if args.pairs is not None else 11 if args.full else 7
    args.seconds = args.seconds if args.seconds is not None else 0.5 if args.full else 0.2
    try:
        results, figures = report.read_json(args.from_json) if args.from_json else _measure(args, names)
    except (OSError, ValueError, KeyError, TypeError) as error:
        print(f"gearfast bench: {error}", file=sys.stderr)
        return USAGE
    return _show(args, results, figures)


def _show(args: argparse.Namespace, results: Results, figures: dict[str, list[float]]) -> int:
    from gearfast.bench import plot, report
    from gearfast.bench.figures import figure_table

    if args.from_json is None:
        here = report.machine()
        print(f"{here['cpu']}, {here['cpus']} CPUs, {here['system']}, Python {here['python']}")
        print(f"{args.pairs} pairs of {args.seconds:g} s, pin {args.pin}; medians [95 % interval]\n")
    print("\n\n".join(text for text in (report.table(results), figure_table(figures)) if text))
    if args.json:
        settings = {"pairs": args.pairs, "seconds": args.seconds, "pin": args.pin, "servers": args.servers}
        report.write_json(args.json, results, figures, settings)
    if args.svg:
        try:
            plot.draw(results, args.svg)
        except (plot.PlotUnavailable, ValueError) as error:
            print(f"gearfast bench: {error}", file=sys.stderr)
            return USAGE
    if not args.check:
        return OK
    verdicts = report.check(results, figures)
    print(f"\n{report.verdict_table(verdicts)}")
    if args.from_json is None and args.pairs < report.ENOUGH_PAIRS:
        print(f"fewer than {report.ENOUGH_PAIRS} pairs: for orientation only")
    return FAILED if any(verdict.passed is False for verdict in verdicts) else OK

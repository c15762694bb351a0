# SPDX-License-Identifier: BSD-3-Clause
"""The long lane of partitions: rounds until the log has as many seconds as were asked for.

    python -m tests.fleet --seconds 3600 [--log tests/fleet/LOG.md]
    python -m tests.fleet --seed 7

It may be stopped at any time and goes on from there: what counts are the lines of the log, one a round, and the seed of
a round is its number. With --seed it plays that one round, without a log.
"""

from __future__ import annotations

import argparse
import datetime
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from .machines import make_site
from .network import missing
from .run import Outcome, play

LOG = Path(__file__).with_name("LOG.md")
ROUND = 60.0
"""Seconds of trouble in a round."""
DRIVERS = ("reactor", "stream")
COLUMNS = ("acknowledged", "ends stored", "done again", "taken over", "leases", "joined")
TITLE = f"""\
# Several servers on one store

Written by `python -m tests.fleet`, a line a round; what is in the lines is told in `docs/reliability.md`.

| date | round | driver | servers | troubles | {" | ".join(COLUMNS)} | seconds | faults |
| --- | --- | --- | --- | --- | {" | ".join("---" for _ in COLUMNS)} | --- | --- |
"""


def read(log: str) -> tuple[int, int]:
    """How many rounds a log has, and how many seconds."""
    rounds = seconds = 0
    for line in log.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 7 + len(COLUMNS) and cells[1].isdecimal():
            rounds = max(rounds, int(cells[1]))
            seconds += int(cells[-2])
    return rounds, seconds


def row(outcome: Outcome, driver: str, servers: int) -> str:
    """The line of a round."""
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    counts = (outcome.figures[name] for name in COLUMNS)
    cells = (today, outcome.seed, driver, servers, outcome.troubles, *counts, round(outcome.seconds))
    return "| " + " | ".join(map(str, (*cells, len(outcome.faults)))) + " |\n"


def play_round(number: int, seconds: float, keep: Path | None) -> tuple[Outcome, str, int]:
    """One round; which driver it was, and how many servers. Its histories stay if there is a fault in them."""
    driver = DRIVERS[number % len(DRIVERS)]
    servers = 2 if number % 3 == 0 else 3
    folder = Path(tempfile.mkdtemp(prefix=f"fleet-{number}-", dir=keep))
    compiler = shutil.which("gcc") or "cc"
    with make_site(folder, servers, compiler) as site:
        outcome = play(site, folder, number, seconds, ("--driver", driver))
    print(f"{driver}, {servers} servers, {outcome}", flush=True)
    for fault in outcome.faults[:40]:
        print(f"FAULT {fault}")
    if outcome.faults:
        print(f"histories: {folder}", file=sys.stderr)
    else:
        shutil.rmtree(folder)
    return outcome, driver, servers


def main(arguments: list[str] | None = None) -> int:
    """Exit status 1: something was lost, or had two owners; 2: something is missing."""
    parser = argparse.ArgumentParser(prog="python -m tests.fleet", description=__doc__.split("\n\n")[0])
    parser.add_argument("--seconds", type=float, default=ROUND, help="in the log at the end, those of earlier runs too")
    parser.add_argument("--seed", type=int, help="only this round, of so many seconds of trouble")
    parser.add_argument("--first", type=int, default=1, help="the number of the first round of a new log")
    parser.add_argument("--log", type=Path, default=LOG)
    parser.add_argument("--keep", type=Path, help="folder for histories of rounds with faults")
    args = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started is ended
    if lacks := missing():
        print(f"missing: {lacks}", file=sys.stderr)
        return 2
    if args.keep is not None:
        args.keep.mkdir(parents=True, exist_ok=True)
    if args.seed is not None:
        return 1 if play_round(args.seed, args.seconds, args.keep)[0].faults else 0
    faults = 0
    while True:
        rounds, seconds = read(args.log.read_text("utf-8") if args.log.exists() else "")
        if seconds >= args.seconds:
            print(f"{rounds} rounds, {seconds} s", flush=True)
            return 1 if faults else 0
        outcome, driver, servers = play_round(rounds + 1 if rounds else args.first, ROUND, args.keep)
        faults += len(outcome.faults)
        args.log.parent.mkdir(parents=True, exist_ok=True)
        with args.log.open("a", encoding="utf-8") as lines:
            if not lines.tell():
                lines.write(TITLE)
            lines.write(row(outcome, driver, servers))


if __name__ == "__main__":
    sys.exit(main())

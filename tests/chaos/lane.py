# SPDX-License-Identifier: BSD-3-Clause
"""The long lane of kills: every store, a round of kills at a time, until its total in the log is what was asked for.

    python -m tests.chaos.lane --kills 300 [--store postgresql] [--log tests/chaos/KILLS.md]

It may be stopped at any time and goes on from there: what counts are the lines of the log, one a round, and the seed of
a round is its number. In every other round the database is killed as well, with SIGKILL under load, and started again.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.store.databases import KINDS, Database

from .kills import Ledger, run_kills

LOG = Path(__file__).with_name("KILLS.md")
STORES = ("sqlite", *KINDS)
ROUND = 20
"""Kills of the job server in a round."""
DATABASE_KILLS = 0.15
"""How likely the database is killed before one of them, in a round that does so."""
PAUSE = 0.2
"""Seconds for which it is away, at most."""
TITLE = """\
# Kills of job servers with a store

Written by `python -m tests.chaos.lane`, a line a round; what is in the lines is told in `docs/reliability.md`.

| date | store | round | kills | of the database | acknowledged | ends stored | done again | seconds | faults |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
"""


@dataclass
class Totals:
    """Of a store, what the log has: numbers of rounds, kills, and the other columns' sums."""

    rounds: int = 0
    kills: int = 0
    database: int = 0
    acknowledged: int = 0
    stored: int = 0
    again: int = 0
    faults: int = 0


def read(log: str) -> dict[str, Totals]:
    """The totals of every store."""
    found = {store: Totals() for store in STORES}
    for line in log.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) != 10 or cells[1] not in found:
            continue
        total = found[cells[1]]
        total.rounds = max(total.rounds, int(cells[2]))
        total.kills += int(cells[3])
        total.database += int(cells[4])
        total.acknowledged += int(cells[5])
        total.stored += int(cells[6])
        total.again += int(cells[7])
        total.faults += int(cells[9])
    return found


def row(store: str, number: int, kills: int, database: int, ledger: Ledger, seconds: float) -> str:
    """The line of a round."""
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    cells = (today, store, number, kills, database, len(ledger.acknowledged), len(ledger.reported), ledger.again)
    return "| " + " | ".join(map(str, (*cells, round(seconds), len(ledger.faults)))) + " |\n"


@contextlib.contextmanager
def place(store: str, folder: Path, count: list[int]) -> Iterator[tuple[str, Callable[[random.Random], None] | None]]:
    """Where jobs are kept, and what kills the database there now and then, if there is one."""
    if store == "sqlite":
        yield str(folder / "jobs.db"), None
        return
    with KINDS[store]() as database:
        yield database.url("jobs"), lambda rng: _trouble(database, rng, count)


def _trouble(database: Database, rng: random.Random, count: list[int]) -> None:
    if rng.random() < DATABASE_KILLS:
        database.kill()
        time.sleep(rng.uniform(0, PAUSE))
        database.start()
        count[0] += 1
        time.sleep(rng.uniform(0, PAUSE))


def play(store: str, number: int, kills: int, log: Path) -> Ledger:
    """One round, and its line in the log."""
    folder = Path(tempfile.mkdtemp(prefix=f"kills-{store}-"))
    count = [0]
    with place(store, folder, count) as (url, trouble):
        began = time.monotonic()
        ledger, about = run_kills(
            folder, kills, number, url, options=("--store-patience", "60"), trouble=trouble if number % 2 == 0 else None
        )
        seconds = time.monotonic() - began
    print(about, f"; {count[0]} kills of the database" if count[0] else "", sep="", flush=True)
    for fault in ledger.faults[:40]:
        print(f"FAULT {fault}")
    with log.open("a", encoding="utf-8") as lines:
        if not log.stat().st_size:
            lines.write(TITLE)
        lines.write(row(store, number, kills, count[0], ledger, seconds))
    if ledger.faults:
        print(f"histories: {folder}", file=sys.stderr)
    else:
        shutil.rmtree(folder)
    return ledger


def main(arguments: list[str] | None = None) -> int:
    """Exit status 1: something was lost, or came back."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.lane", description=__doc__.split("\n\n")[0])
    parser.add_argument("--kills", type=int, default=300, help="of each store, those of earlier runs included")
    parser.add_argument("--store", action="append", choices=STORES, help="only this one (repeatable)")
    parser.add_argument("--log", type=Path, default=LOG)
    args = parser.parse_args(arguments)
    faults = 0
    for store in args.store or STORES:
        while True:
            total = read(args.log.read_text("utf-8") if args.log.exists() else "")[store]
            left = args.kills - total.kills
            if left <= 0:
                break
            faults += len(play(store, total.rounds + 1, min(left, ROUND), args.log).faults)
        print(f"{store}: {total.kills} kills, {total.database} of the database, {total.faults} faults", flush=True)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())

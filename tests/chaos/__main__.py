# SPDX-License-Identifier: BSD-3-Clause
"""Chaos against a job server, with all choices from a seed; then a checker proves what must hold whatever happens.

    python -m tests.chaos --seconds 300 --seed 1 [--driver stream|hosted] [--keep FOLDER] [--record tests/chaos/LOG.md]
    python -m tests.chaos --kills 100 --seed 1         a server with a store, killed again and again (kills.py)
    python -m tests.chaos --embedded --seconds 10      jobs through an embedded server beside threads that hog the GIL

Clients and workers, some speaking packets and some the package's own, ask for and do jobs of every kind, by TCP, Unix
socket, TLS and proxies that cut, delay, split, stall and duplicate connections; they are killed and stopped at random,
with --restarts the server too. Others storm, say half, never read, send garbage, and administer. Exit status 1:
something does not hold.
"""

from __future__ import annotations

import argparse
import datetime
import shutil
import sys
import tempfile
from pathlib import Path

from .embedded import run_embedded
from .kills import run_kills
from .run import Outcome, Run

SPARE_MEMORY = 24 << 20
"""By so many bytes may a server have grown since the first drain: what its allocator keeps of peaks."""
SPARE_MEMORY_TLS = 96 << 20
"""The same where TLS is asyncio's, which gives each connection a buffer of 256 KiB; a storm brings hundreds at once."""


def row(seed: int, outcome: Outcome) -> str:
    t = outcome.totals
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    findings = f"{len(outcome.faults)}: {outcome.faults[0].splitlines()[0][:120]}" if outcome.faults else "none"
    settings = " ".join(outcome.settings)
    return (
        f"| {today} | {seed} | {settings} | {outcome.seconds:.0f} | {t.requests} | {t.grabs} | {t.answers} "
        f"| {outcome.kills} | {outcome.stops} | {outcome.restarts} | {findings.replace('|', '/')} |\n"
    )


def run_chaos(args: argparse.Namespace, folder: Path) -> int:
    print(f"chaos: seed {args.seed}, {args.seconds:g} s, driver {args.driver}", flush=True)
    run = Run(folder, args.seed, args.driver, args.clients, args.workers, args.python, restarts=args.restarts)
    asyncio_tls = run.program.certificate and args.driver == "stream"
    outcome = run.go(args.seconds, SPARE_MEMORY_TLS if asyncio_tls else SPARE_MEMORY)
    t = outcome.totals
    print(
        f"seed {args.seed} {' '.join(outcome.settings)}: {outcome.seconds:.0f} s, {t.requests} requests, "
        f"{t.grabs} jobs given out, {t.finals} ended, {t.answers} answers, {t.background} acknowledged in the "
        f"background, {outcome.kills} kills, {outcome.stops} stops, {outcome.restarts} restarts, resident memory "
        f"{outcome.memory[0] >> 20} to {outcome.memory[1] >> 20} MiB"
    )
    for fault in outcome.faults[:40]:
        print(f"FAULT {fault}")
    print(f"{len(outcome.faults)} faults")
    if args.record:
        with args.record.open("a", encoding="utf-8") as record:
            record.write(row(args.seed, outcome))
    return 1 if outcome.faults else 0


def run_durable(args: argparse.Namespace, folder: Path) -> int:
    ledger, about = run_kills(folder, args.kills, args.seed, args.store or str(folder / "jobs.db"))
    print(about)
    for fault in ledger.faults[:40]:
        print(f"FAULT {fault}")
    return 1 if ledger.faults else 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__.split("\n\n")[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--driver", choices=("auto", "reactor", "stream", "hosted"), default="auto")
    parser.add_argument("--restarts", action="store_true", help="the server is killed and started again, too")
    parser.add_argument("--clients", type=int, default=5)
    parser.add_argument("--workers", type=int, default=5)
    parser.add_argument("--python", default=sys.executable, help="what runs the server: another build's interpreter")
    parser.add_argument("--keep", type=Path, help="folder for histories and logs, kept; else only if something fails")
    parser.add_argument("--record", type=Path, help="file to which a line of a table is appended")
    parser.add_argument("--kills", type=int, help="kill a server with a store so many times; nothing else")
    parser.add_argument("--store", default="", help="its store (default: a file of SQLite)")
    parser.add_argument("--embedded", action="store_true", help="measure an embedded server beside busy threads")
    args = parser.parse_args()
    if args.embedded:
        return run_embedded(args.seconds)
    folder = args.keep or Path(tempfile.mkdtemp(prefix="chaos"))
    folder.mkdir(parents=True, exist_ok=True)
    status = run_durable(args, folder) if args.kills else run_chaos(args, folder)
    if status:
        print(f"histories: {folder}", file=sys.stderr)
    elif not args.keep:
        shutil.rmtree(folder)
    return status


if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: BSD-3-Clause
"""`gearfast migrate`: submits what is in the queue of a gearmand to a job server."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections import Counter
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from gearfast.cli import FAILED, OK, USAGE
from gearfast.cli.options import add_connection_options, add_help, servers, tls_context
from gearfast.errors import GearfastError, ServerError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gearfast.aio.client import AsyncClient
    from gearfast.gearmand_queue.row import Row, Skipped

__all__ = ["add_parser", "run"]

WINDOW: Final = 256
"""Submissions under way at a time."""
WINDOW_BYTES: Final = 16 << 20
"""What their workloads have together, at most, unless a single one has more."""

_DESCRIPTION = """\
Reads the persistent queue of a gearmand, which is best stopped before, and submits each job in the background:
function, unique, workload, priority and time are kept. The queue is only read. Run twice, it submits jobs without a
unique twice.
"""
_EPILOG = """\
QUEUE is a file or sqlite:///FILE (-q libsqlite3), postgresql://USER:PASSWORD@HOST/DATABASE (-q Postgres),
mysql://USER:PASSWORD@HOST/DATABASE (-q MySQL), or redis://HOST:PORT/0 (-q redis).
Exit status: 0 all jobs were taken, 1 some were not, 2 usage, 3 cannot connect, 4 time-out.
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the parser of `gearfast migrate`."""
    parser = subparsers.add_parser(
        "migrate",
        help="take over the queue of a gearmand",
        usage="gearfast migrate [options] QUEUE",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        add_help=False,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_help(parser)
    parser.add_argument("queue", metavar="QUEUE", help="where gearmand keeps its jobs")
    parser.add_argument("--table", metavar="NAME", help="of SQL (default: gearmand's)")
    parser.add_argument("--prefix", metavar="TEXT", help="of Redis keys (default: gearmand's, _gear_)")
    parser.add_argument(
        "--function",
        action="append",
        default=[],
        metavar="F",
        help="a function with dashes in its name, for keys of Redis that do not tell where it ends; may be repeated",
    )
    parser.add_argument("--dry-run", action="store_true", help="only count what is there")
    parser.add_argument("--json", action="store_true", help="the figures as JSON")
    add_connection_options(parser)
    parser.set_defaults(run=run)


class _Migration:
    """What became of the jobs."""

    def __init__(self, entries: Iterator[Row | Skipped]) -> None:
        self._entries = entries
        self.taken: Counter[str] = Counter()
        self.left: list[dict[str, str]] = []

    def _leave(self, where: str, why: object) -> None:
        self.left.append({"job": where, "reason": str(why)})

    def rows(self) -> Iterator[Row]:
        """The jobs; what is none is noted."""
        from gearfast.gearmand_queue.row import Row

        for entry in self._entries:
            if isinstance(entry, Row):
                yield entry
            else:
                self._leave(entry.where, entry.why)

    def count(self) -> None:
        """Submits nothing."""
        self.taken.update(row.function for row in self.rows())

    async def submit(self, client: AsyncClient) -> None:
        """Submits all, in their order. Raises what means that no more can be."""
        rows = self.rows()
        while lot := _lot(rows):
            results = await asyncio.gather(*(self._submit(client, row) for row in lot), return_exceptions=True)
            for row, result in zip(lot, results, strict=True):
                if isinstance(result, ServerError | UsageError):
                    self._leave(row.where, result)
                elif isinstance(result, BaseException):
                    raise result

    async def _submit(self, client: AsyncClient, row: Row) -> None:
        from gearfast.types import Priority

        later = row.at > time.time()
        await client.submit_background(
            row.function,
            row.workload,
            unique=row.unique or None,
            priority=Priority.NORMAL if later else row.priority,
            at=row.at if later else None,
        )
        self.taken[row.function] += 1


def _lot(rows: Iterator[Row]) -> list[Row]:
    """The next rows that are submitted at a time."""
    lot: list[Row] = []
    size = 0
    for row in islice(rows, WINDOW):
        lot.append(row)
        size += len(row.workload)
        if size >= WINDOW_BYTES:
            break
    return lot


async def _submit_all(args: argparse.Namespace, migration: _Migration) -> None:
    from gearfast.aio.client import AsyncClient

    async with AsyncClient(servers(args), ssl=tls_context(args)) as client:
        await migration.submit(client)


def _show(args: argparse.Namespace, migration: _Migration) -> None:
    if args.json:
        figures: dict[str, Any] = {"functions": dict(sorted(migration.taken.items())), "left": migration.left}
        print(json.dumps(figures))
        return
    from gearfast.cli.table import table

    for one in migration.left:
        print(f"gearfast migrate: left: {one['job']}: {one['reason']}", file=sys.stderr)
    rows = [{"function": function, "jobs": jobs} for function, jobs in sorted(migration.taken.items())]
    if rows:
        print(table(rows, ("function", "jobs")))
    what = "would be taken" if args.dry_run else "taken"
    print(f"{migration.taken.total()} jobs {what}, {len(migration.left)} left where they are")


def run(args: argparse.Namespace) -> int:
    """Runs `gearfast migrate`."""
    from gearfast.gearmand_queue.row import QueueError
    from gearfast.gearmand_queue.urls import read_queue

    try:
        migration = _Migration(read_queue(args.queue, table=args.table, prefix=args.prefix, functions=args.function))
    except QueueError as error:
        return _broken(error)
    try:
        if args.dry_run:
            migration.count()
        else:
            asyncio.run(_submit_all(args, migration))
    except QueueError as error:
        if not (migration.taken or migration.left):
            return _broken(error)
        _show(args, migration)  # what was taken until then
        _broken(error)
        return FAILED
    except (GearfastError, KeyboardInterrupt):
        _show(args, migration)
        raise
    _show(args, migration)
    return FAILED if migration.left else OK


def _broken(error: Exception) -> int:
    print(f"gearfast migrate: {error}", file=sys.stderr)
    return USAGE

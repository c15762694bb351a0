# SPDX-License-Identifier: BSD-3-Clause
"""`gearfast admin`: the commands of `gearadmin`, and more, as sub-commands."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from gearfast.cli import OK
from gearfast.cli.options import add_connection_options, add_help, servers, tls_context
from gearfast.errors import UsageError

if TYPE_CHECKING:
    from gearfast.sync.admin import AdminClient

__all__ = ["add_parser", "run"]

_STATUS = ("function", "total", "running", "workers")
_PRIORITIES = ("function", "high", "normal", "low", "workers")
_WORKERS = ("fd", "address", "id", "functions")
_JOBS = ("handle", "retries", "ignored", "background")


class Verb(NamedTuple):
    """A sub-command. `columns`: of a table; else `act` returns one value, or None for "done"."""

    name: str
    help: str
    act: Callable[[AdminClient, argparse.Namespace], Any]
    columns: Sequence[str] = ()
    arguments: Sequence[tuple[str, dict[str, Any]]] = ()


def _ping(admin: AdminClient, args: argparse.Namespace) -> str:
    began = time.perf_counter()
    admin.version()
    return f"{(time.perf_counter() - began) * 1000:.3f} ms"


_FUNCTION = ("function", {"metavar": "FUNCTION"})
_GRACEFUL: dict[str, Any] = {"action": "store_true", "help": "end when no job is left"}
_LIMITS: dict[str, Any] = {
    "nargs": "*",
    "type": int,
    "metavar": "N",
    "help": "one limit for all priorities, or those of high, normal and low; none: no limit",
}

VERBS = (
    Verb("status", "functions with their jobs and workers", lambda admin, args: admin.status(), _STATUS),
    Verb("priority-status", "queued jobs by priority", lambda admin, args: admin.priority_status(), _PRIORITIES),
    Verb("workers", "connections with their functions", lambda admin, args: admin.workers(), _WORKERS),
    Verb("jobs", "jobs, queued or running", lambda admin, args: admin.jobs(), _JOBS),
    Verb("unique-jobs", "uniques of the jobs", lambda admin, args: admin.unique_jobs(), ("unique",)),
    Verb(
        "cancel",
        "take a job out of the queue",
        lambda admin, args: admin.cancel_job(args.handle),
        arguments=[("handle", {"metavar": "HANDLE"})],
    ),
    Verb("create", "make a function", lambda admin, args: admin.create_function(args.function), arguments=[_FUNCTION]),
    Verb("drop", "forget a function", lambda admin, args: admin.drop_function(args.function), arguments=[_FUNCTION]),
    Verb(
        "maxqueue",
        "limit the queue of a function",
        lambda admin, args: admin.maxqueue(args.function, *args.limits),
        arguments=[_FUNCTION, ("limits", _LIMITS)],
    ),
    Verb("getpid", "the server's process id", lambda admin, args: admin.getpid()),
    Verb("version", "the server's version", lambda admin, args: admin.version()),
    Verb("verbose", "the server's log level", lambda admin, args: admin.verbose()),
    Verb("ping", "whether it answers, and how fast", _ping),
    Verb(
        "shutdown",
        "end the server",
        lambda admin, args: admin.shutdown(graceful=args.graceful),
        arguments=[("--graceful", _GRACEFUL)],
    ),
)


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the parser of `gearfast admin`."""
    parser = subparsers.add_parser(
        "admin",
        help="ask and administer a job server",
        description="Asks and administers a job server.",
        add_help=False,
        allow_abbrev=False,
    )
    add_help(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--timeout", type=float, default=10.0, metavar="SECONDS", help="limit (default: 10)")
    add_connection_options(parser, several=False)
    verbs = parser.add_subparsers(title="commands", metavar="COMMAND", dest="verb")
    for verb in VERBS:
        sub = verbs.add_parser(verb.name, help=verb.help, description=verb.help.capitalize() + ".")
        for name, options in verb.arguments:
            sub.add_argument(name, **options)
        # Also behind the sub-command, where one looks for it; SUPPRESS keeps what was said before it.
        sub.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print JSON")
        sub.set_defaults(chosen=verb)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Asks the server and prints its answer."""
    if args.verb is None:
        raise UsageError(f"what? one of: {', '.join(verb.name for verb in VERBS)}")
    verb: Verb = args.chosen
    from gearfast import AdminClient

    with AdminClient(servers(args), timeout=args.timeout, ssl=tls_context(args)) as admin:
        answer = verb.act(admin, args)
    if verb.columns:
        rows = [_row(entry, verb.columns) for entry in answer]
        print(json.dumps(rows, indent=2) if args.json else _table(rows, verb.columns))
    elif args.json:
        print(json.dumps({verb.name: True if answer is None else answer}))
    else:
        print("OK" if answer is None else answer)
    return OK


def _row(entry: Any, columns: Sequence[str]) -> dict[str, Any]:
    return {name: entry if isinstance(entry, str) else getattr(entry, name) for name in columns}


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _table(rows: list[dict[str, Any]], columns: Sequence[str]) -> str:
    """Aligned columns under a line of titles; numbers to the right."""
    lines = [[name.upper() for name in columns], *([_text(row[name]) for name in columns] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    right = [bool(rows) and type(rows[0][name]) is int for name in columns]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(line, widths, right, strict=True)
        ).rstrip()
        for line in lines
    )

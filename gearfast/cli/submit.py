# SPDX-License-Identifier: BSD-3-Clause
"""`gearfast submit`: submits jobs and prints their results. Its letters are those of the command `gearman`."""

from __future__ import annotations

import argparse
import base64
import json
import sys
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from gearfast.cli import FAILED, OK, status_of
from gearfast.cli.options import add_connection_options, add_help, servers, tls_context
from gearfast.errors import GearfastError, JobException, UsageError

if TYPE_CHECKING:
    from gearfast.sync.client import Client
    from gearfast.sync.future import JobFuture
    from gearfast.types import Priority

__all__ = ["add_parser", "run"]

WINDOW = 64
"""Jobs under way at a time."""

_EPILOG = """\
Each DATA is a job; without any, standard input is, to its end, or line by line with -n. Results go to standard output
in the order of the jobs, warnings and exceptions to standard error.
Exit status: 0 fine, 1 a job failed, 2 usage, 3 cannot connect, 4 time-out.
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the parser of `gearfast submit`."""
    parser = subparsers.add_parser(
        "submit",
        help="submit jobs and print their results",
        usage="gearfast submit [options] FUNCTION [DATA ...]",
        description="Submits jobs and prints their results.",
        epilog=_EPILOG,
        add_help=False,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_help(parser)
    parser.add_argument("words", nargs="*", metavar="FUNCTION DATA", help="the function (unless -f) and its data")
    parser.add_argument("-f", "--function", action="append", metavar="F", help="function; repeated: a job for each")
    parser.add_argument("-b", "--background", action="store_true", help="do not wait; print the handles")
    level = parser.add_mutually_exclusive_group()
    level.add_argument("-I", "-H", "--high", action="store_true", help="high priority")
    level.add_argument("-L", "--low", action="store_true", help="low priority")
    parser.add_argument("-u", "--unique", metavar="U", help="unique: equal ones are one job")
    parser.add_argument("-n", "--lines", action="store_true", help="a job for each line of standard input")
    parser.add_argument("-N", "--bare-lines", action="store_true", help="the same, without the newline")
    parser.add_argument("-s", "--no-data", action="store_true", help="send no data, read none")
    parser.add_argument("-P", "--prefix", action="store_true", help="put `FUNCTION: ` before each piece of output")
    parser.add_argument("--delay", type=float, metavar="SECONDS", help="run it not before (with -b)")
    parser.add_argument("--timeout", type=float, metavar="SECONDS", help="wait so long for each job at the most")
    parser.add_argument("-t", type=int, metavar="MS", dest="timeout_ms", help="the same in milliseconds")
    parser.add_argument("--progress", action="store_true", help="show what workers tell of their progress")
    parser.add_argument("-v", "--verbose", action="store_true", help="show the handles")
    parser.add_argument("--json", action="store_true", help="print a JSON object for each job")
    add_connection_options(parser, several=True)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Submits the jobs."""
    words = list(args.words)
    functions = args.function or ([words.pop(0)] if words else [])
    if not functions:
        raise UsageError("which function? `gearfast submit FUNCTION [DATA ...]`")
    if args.delay is not None and not args.background:
        raise UsageError("--delay is for background jobs: add -b")
    if args.timeout_ms is not None:
        args.timeout = args.timeout_ms / 1000
    from gearfast import Client

    with Client(servers(args), ssl=tls_context(args)) as client:
        if args.background:
            return _background(client, args, functions, words)
        return _foreground(client, args, functions, words)


def _workloads(args: argparse.Namespace, words: list[str]) -> Iterator[bytes]:
    if args.no_data:
        yield b""
    elif words:
        for word in words:
            # As the bytes that the shell gave.
            yield word.encode(sys.getfilesystemencoding(), "surrogateescape")
    elif args.lines or args.bare_lines:
        for line in sys.stdin.buffer:
            yield line.rstrip(b"\r\n") if args.bare_lines else line
    else:
        yield sys.stdin.buffer.read()


def _priority(args: argparse.Namespace) -> Priority:
    from gearfast.types import Priority

    return Priority.HIGH if args.high else Priority.LOW if args.low else Priority.NORMAL


def _background(client: Client, args: argparse.Namespace, functions: list[str], words: list[str]) -> int:
    for workload in _workloads(args, words):
        for function in functions:
            handle = client.submit_background(
                function,
                workload,
                unique=args.unique,
                priority=_priority(args),
                delay=args.delay,
                timeout=args.timeout,
            )
            print(json.dumps({"function": function, "handle": handle}) if args.json else handle, flush=True)
    return OK


def _foreground(client: Client, args: argparse.Namespace, functions: list[str], words: list[str]) -> int:
    waiting: deque[JobFuture] = deque()
    status = OK
    for workload in _workloads(args, words):
        for function in functions:
            if len(waiting) == WINDOW:
                status = _show(waiting.popleft(), args) or status
            waiting.append(
                client.submit(function, workload, unique=args.unique, priority=_priority(args), timeout=args.timeout)
            )
    while waiting:
        status = _show(waiting.popleft(), args) or status
    return status


def _show(future: JobFuture, args: argparse.Namespace) -> int:
    """Prints what comes of a job until it ends; returns the exit status for it."""
    from gearfast.session.events import Data, Warning

    prefix = f"{future.function}: ".encode() if args.prefix else b""
    pieces: list[bytes] = []
    for event in future.events():
        if isinstance(event, Data):
            pieces.append(event.data)
            if not args.json:
                _write(sys.stdout, prefix + event.data)
        elif isinstance(event, Warning):
            _write(sys.stderr, prefix + event.data)
        elif args.progress:
            print(f"{future.function}: {event.fraction:.0%} ({event.numerator}/{event.denominator})", file=sys.stderr)
    error: GearfastError | None = None
    try:
        pieces.append(future.result())
    except GearfastError as failure:
        error = failure
    if args.verbose:
        print(f"{future.function}: {future.handle}", file=sys.stderr)
    if args.json:
        print(json.dumps(_as_json(future, b"".join(pieces), error)), flush=True)
    elif error is None:
        _write(sys.stdout, prefix + pieces[-1] if pieces[-1] else b"")
    if error is None:
        return OK
    if not args.json:
        print(f"gearfast submit: {error}", file=sys.stderr)
        if isinstance(error, JobException) and error.data:
            _write(sys.stderr, error.data + b"\n")
    return status_of(error) or FAILED


def _write(stream: Any, data: bytes) -> None:
    stream.flush()
    stream.buffer.write(data)
    stream.buffer.flush()


def _as_json(future: JobFuture, result: bytes, error: GearfastError | None) -> dict[str, object]:
    """The result as text if it is UTF-8, else in base64 as `result_base64`."""
    found: dict[str, object] = {"function": future.function, "handle": future.handle, "ok": error is None}
    try:
        found["result"] = result.decode()
    except UnicodeDecodeError:
        found["result_base64"] = base64.b64encode(result).decode()
    if error is not None:
        found["error"] = str(error)
    return found

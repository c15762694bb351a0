# SPDX-License-Identifier: BSD-3-Clause
"""`gearfast submit`: submits jobs and prints their results. Its letters are those of the command `gearman`."""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import closing, nullcontext
from typing import TYPE_CHECKING, Any, Final

from gearfast.cli import OK, UNREACHABLE
from gearfast.cli.options import (
    add_connection_options,
    add_help,
    add_process_options,
    background_and_pid_file,
    servers,
    tls_context,
)
from gearfast.errors import ConnectError, UsageError

if TYPE_CHECKING:
    from gearfast.cli.bar import Bar
    from gearfast.cli.outcome import Outcomes
    from gearfast.cli.workloads import Workloads
    from gearfast.sync.client import Client
    from gearfast.sync.future import JobFuture
    from gearfast.types import Priority

__all__ = ["add_parser", "run"]

WINDOW: Final = 64
"""Jobs under way at a time."""

_EPILOG = """\
Each DATA is a job; without any, standard input is, to its end, or line by line with -n or -N. With --files each DATA is
the name of a file (- for standard input), with --directory each file of it is a job. Results go to standard output in
the order of the jobs, or to files with --output; warnings, exceptions and errors go to standard error.
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
    add_help(parser, "-H")
    parser.add_argument("words", nargs="*", metavar="FUNCTION DATA", help="the function (unless -f) and its data")
    parser.add_argument("-f", "--function", action="append", metavar="F", help="function; repeated: a job for each")
    parser.add_argument("-b", "--background", action="store_true", help="do not wait for results")
    level = parser.add_mutually_exclusive_group()
    level.add_argument("-I", "--high", action="store_true", help="high priority")
    level.add_argument("-L", "--low", action="store_true", help="low priority")
    level.add_argument("--priority", choices=("high", "normal", "low"), help="the same by name (default: normal)")
    parser.add_argument("-u", "--unique", metavar="U", help="unique: equal ones are one job; '#': a hash of the data")
    parser.add_argument("-t", type=int, metavar="MS", dest="timeout_ms", help="--timeout in milliseconds")
    parser.add_argument("--timeout", type=float, metavar="SECONDS", help="wait so long for each job at the most")
    parser.add_argument("--delay", type=float, metavar="SECONDS", help="run it not before (with -b)")
    parser.add_argument(
        "--resubmit",
        choices=("unique", "same", "any", "never"),
        default="unique",
        help="what to send again when its server is lost: jobs with a unique to the same server (default), all jobs to "
        "the same server, all jobs to any server, or none",
    )
    parser.add_argument("--window", type=int, default=WINDOW, metavar="N", help=f"jobs under way (default: {WINDOW})")
    parser.add_argument("-w", action="store_true", dest="worker", help="no: `gearfast worker` is the worker")
    add_process_options(parser)
    _add_data_options(parser.add_argument_group("data"))
    _add_output_options(parser.add_argument_group("output"))
    add_connection_options(parser, several="the unique of a job decides which one gets it")
    parser.set_defaults(run=run)


def _add_data_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument("-n", "--lines", action="store_true", help="a job for each line of standard input")
    group.add_argument("-N", "--bare-lines", action="store_true", help="the same, without the newline")
    group.add_argument("-s", "--no-data", action="store_true", help="do not read standard input: one job without data")
    group.add_argument("--files", action="store_true", help="each DATA is a file whose content is the data")
    group.add_argument("--directory", metavar="DIR", help="a job for each file of a directory, hidden ones left out")
    group.add_argument("--glob", metavar="PATTERN", help="only files with such a name, as '*.jpg'")
    group.add_argument("--recursive", action="store_true", help="files of folders in the directory too")


def _add_output_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument("-P", "--prefix", action="store_true", help="put `FUNCTION: ` before each piece of output")
    group.add_argument("-v", "--verbose", action="store_true", help="print the handle of each job")
    group.add_argument("--output", metavar="DIR", help="write results to files of the same names there")
    group.add_argument("--progress", action="store_true", help="a progress bar, if standard error is a terminal")
    group.add_argument("--json", action="store_true", help="print a JSON object for each job, one a line")


def run(args: argparse.Namespace) -> int:
    """Submits the jobs."""
    words = list(args.words)
    _check(args)
    functions = args.function or ([words.pop(0)] if words else [])
    if not all(functions) or not functions:
        raise UsageError("which function? `gearfast submit FUNCTION [DATA ...]`")
    from gearfast.cli.workloads import Workloads

    workloads = Workloads(args, words)
    with background_and_pid_file(args):
        from gearfast import Client
        from gearfast.cli.outcome import Outcomes

        shown = closing(_bar(args, workloads, functions)) if args.progress else nullcontext()
        with Client(servers(args), ssl=tls_context(args), resubmit=args.resubmit) as client, shown as bar:
            outcomes = Outcomes(args, bar, many=len(functions) > 1)
            work = _background if args.background else _foreground
            return work(client, args, functions, workloads, outcomes, bar)


def _check(args: argparse.Namespace) -> None:
    """Raises UsageError for options that do not go together."""
    if args.worker:
        raise UsageError("-w: the worker is a command of its own: `gearfast worker -f FUNCTION -- PROGRAM ARGS`")
    if args.delay is not None and not args.background:
        raise UsageError("--delay is for background jobs: add -b")
    if args.output is not None and args.background:
        raise UsageError("--output: background jobs (-b) have no result")
    if args.timeout_ms is not None:
        args.timeout = args.timeout_ms / 1000 if args.timeout_ms > 0 else None
    if args.window < 1:
        raise UsageError(f"--window is at least 1, not {args.window}")


def _bar(args: argparse.Namespace, workloads: Workloads, functions: list[str]) -> Bar:
    from gearfast.cli.bar import Bar

    return Bar(sys.stderr, None if workloads.total is None else workloads.total * len(functions))


def _priority(args: argparse.Namespace) -> Priority:
    from gearfast.types import Priority

    return Priority(args.priority or ("high" if args.high else "low" if args.low else "normal"))


def _unique(args: argparse.Namespace, data: bytes) -> bytes | None:
    """The unique of a job with `data`: the bytes that the shell gave, or 128 bits of hash for "#"."""
    if args.unique == "#":
        from hashlib import blake2b

        return blake2b(data, digest_size=16).hexdigest().encode()
    return None if args.unique is None else os.fsencode(args.unique)


def _background(
    client: Client,
    args: argparse.Namespace,
    functions: list[str],
    workloads: Workloads,
    outcomes: Outcomes,
    bar: Bar | None,
) -> int:
    priority = _priority(args)
    for data, name in workloads:
        for function in functions:
            handle = client.submit_background(
                function,
                data,
                unique=_unique(args, data),
                priority=priority,
                delay=args.delay,
                timeout=args.timeout,
            )
            outcomes.accepted(function, handle, name)
            if bar is not None:
                bar.add(True)
    return OK


def _foreground(
    client: Client,
    args: argparse.Namespace,
    functions: list[str],
    workloads: Workloads,
    outcomes: Outcomes,
    bar: Bar | None,
) -> int:
    """A thread submits, this one shows: so a result is there at once though the next line of a pipe is not.

    The queue between them is the window: a source of any length is read only as fast as its jobs are done.
    With one unique for all there is one job at a time, as the server would not tell their data apart.
    """
    import queue
    import threading

    priority = _priority(args)
    one_by_one = args.unique not in (None, "", "#")
    waiting: queue.Queue[tuple[str, JobFuture] | BaseException | None] = queue.Queue(max(1, args.window - 1))
    given_up = threading.Event()

    def submit() -> None:
        try:
            for data, name in workloads:
                for function in functions:
                    unique = _unique(args, data)
                    future = client.submit(function, data, unique=unique, priority=priority, timeout=args.timeout)
                    if bar is not None:
                        future.add_done_callback(lambda done: _count(bar, done))
                    waiting.put((name, future))
                    if one_by_one:
                        future.wait()
                    if given_up.is_set():
                        return
        except BaseException as error:  # noqa: BLE001  # it ends the command, in the other thread
            waiting.put(error)
        else:
            waiting.put(None)

    # A daemon, as it may wait for a line that never comes.
    threading.Thread(target=submit, name="gearfast-submit", daemon=True).start()
    status = OK
    try:
        while (one := waiting.get()) is not None:
            if isinstance(one, BaseException):
                raise one
            name, future = one
            status = outcomes.show(future, name) or status
            if isinstance(future.exception(), ConnectError):
                # The client has tried all servers, and would for each job that is left.
                return UNREACHABLE
        return status
    finally:
        given_up.set()
        while not waiting.empty():
            waiting.get_nowait()


def _count(bar: Bar, future: Any) -> None:
    bar.add(not future.cancelled() and future.exception() is None)

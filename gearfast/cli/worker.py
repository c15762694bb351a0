# SPDX-License-Identifier: BSD-3-Clause
"""`gearfast worker`: a Python worker in several processes, or jobs done by running a program."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import traceback
from typing import TYPE_CHECKING, Any, Final

from gearfast.cli import OK, USAGE
from gearfast.cli.options import (
    add_connection_options,
    add_help,
    add_process_options,
    background_and_pid_file,
    chosen_servers,
    servers,
    tls_context,
)
from gearfast.errors import UsageError

if TYPE_CHECKING:
    from gearfast.runner.settings import Settings

__all__ = ["add_parser", "run"]

_USAGE = """gearfast worker MODULE:WORKER [-p PROCESSES] [-t THREADS] [options]
       gearfast worker -f FUNCTION [options] [--command 'PROGRAM ARGS' | -- PROGRAM ARGS]"""

_EPILOG = """\
MODULE:WORKER is a gearfast.Worker, an AsyncWorker, an App, or a function that returns one. What the command line says
of servers and threads goes over what the program says. Its processes are replaced when they crash. SIGTERM and SIGINT
end them after the jobs in hand, a second one at once; SIGHUP replaces one after another.

A program gets the workload on standard input; what it writes to standard output is the result. If its exit status is
not 0, its output is sent as data and the job fails. It finds GEARFAST_FUNCTION, GEARFAST_HANDLE and GEARFAST_UNIQUE in
its environment. Without a program the workload is printed and the result is empty.

Exit status: 0 all left in order, 2 usage, or the module cannot be loaded, 3 no job server (--burst), 4 jobs were cut
off by --stop-timeout, 128 + N ended at once by signal N.
"""

STOP_TIMEOUT: Final = 30.0
"""Seconds for the jobs in hand: what Kubernetes gives a pod."""

MANY: Final = 1024
"""More processes than that are rather a port, which -p is to `gearman -w`."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the parser of `gearfast worker`."""
    parser = subparsers.add_parser(
        "worker",
        help="do jobs",
        usage=_USAGE,
        description="Does jobs: by a Python worker in several processes, or by running a program for each.",
        epilog=_EPILOG,
        add_help=False,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_help(parser, "-H")
    parser.add_argument("words", nargs="*", metavar="MODULE:WORKER", help="a Python worker; or, behind --, a program")
    parser.add_argument("-c", "--max-jobs", type=int, metavar="N", help="end after N jobs; a Python process: restart")
    parser.add_argument("--id", metavar="NAME", help="name in the server's list of workers")
    parser.add_argument("--log-level", default="info", metavar="LEVEL", help="least level logged (default: info)")
    parser.add_argument("--log-format", default="text", choices=("text", "json"), help="form of log lines")
    parser.add_argument("-v", "--verbose", action="store_true", help="the same as --log-level debug")
    parser.add_argument(
        "-p", metavar="N", type=int, dest="p", help="--processes for a Python worker, --port for a program"
    )
    parser.add_argument(
        "-t", metavar="N", type=int, dest="t", help="--threads for a Python worker; no effect for a program"
    )
    add_process_options(parser)
    _add_python_options(parser.add_argument_group("Python worker"))
    _add_program_options(parser.add_argument_group("program"))
    add_connection_options(parser, several="all of them are served", short_port=False)
    parser.set_defaults(run=run)


def _add_python_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--processes", type=int, metavar="N", help="processes (default: 1)")
    group.add_argument(
        "--threads", type=int, metavar="N", help="jobs at a time in each (default: what the worker says)"
    )
    group.add_argument("--functions", metavar="A,B", help="only these of the worker's functions")
    group.add_argument("--max-memory", metavar="SIZE", help="restart a process that holds more, as 300M or 1.5G")
    group.add_argument("--burst", action="store_true", help="end when no job is queued")
    group.add_argument("--reload", action="store_true", help="restart when Python files change (needs watchfiles)")
    group.add_argument("--reload-dir", metavar="DIR", action="append", help="where they are (default: --app-dir)")
    group.add_argument("--app-dir", metavar="DIR", default=".", help="where the module is (default: this directory)")
    group.add_argument(
        "--stop-timeout",
        type=float,
        default=STOP_TIMEOUT,
        metavar="SECONDS",
        help=f"kill what has not finished its jobs by then (default: {STOP_TIMEOUT:g})",
    )


def _add_program_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument("-f", "--function", action="append", metavar="F", help="function to do; repeatable")
    group.add_argument("--command", metavar="TEXT", help="program and arguments, split as by a shell", dest="text")
    group.add_argument("--concurrency", type=int, default=1, metavar="N", help="jobs at a time (default: 1)")
    pieces = group.add_mutually_exclusive_group()
    pieces.add_argument(
        "-n", "--lines", action="store_const", dest="pieces", const="lines", help="send each line at once"
    )
    pieces.add_argument(
        "-N", "--bare-lines", action="store_const", dest="pieces", const="bare", help="without the newline"
    )
    pieces.add_argument("--stream", action="store_const", dest="pieces", const="stream", help="send output as it comes")
    group.add_argument(
        "--stderr",
        choices=("log", "warn", "inherit"),
        default="log",
        help="its standard error: log it (default), send it as warnings, or let it be the worker's",
    )
    group.add_argument("--time-limit", type=float, metavar="SECONDS", help="end the program then; the job fails")
    group.add_argument(
        "--timeout", type=float, metavar="SECONDS", help="the server gives the job to another worker then"
    )
    group.add_argument("--max-result", metavar="SIZE", help="a job with larger output fails (default: 256M, nearly)")
    group.add_argument("-w", action="store_true", help="accepted, as `gearman -w` is this command")


def run(args: argparse.Namespace) -> int:
    """Works until a signal, or until there is enough."""
    if args.max_jobs is not None and args.max_jobs < 1:
        raise UsageError(f"--max-jobs is at least 1, not {args.max_jobs}")
    if args.verbose:
        args.log_level = "debug"
    if args.function:
        return _run_program(args)
    if args.text is not None:
        raise UsageError("--command: for which function? `gearfast worker --function F --command 'PROGRAM ARGS'`")
    if not args.words:
        raise UsageError("what? `gearfast worker MODULE:WORKER` or `gearfast worker -f FUNCTION -- PROGRAM ARGS`")
    if len(args.words) > 1:
        raise UsageError(f"one MODULE:WORKER, not {len(args.words)} words; a program needs its function: -f FUNCTION")
    return _run_python(args, args.words[0])


# A Python worker


def _run_python(args: argparse.Namespace, target: str) -> int:
    from gearfast.runner.settings import VARIABLE

    _refuse_program_options(args)
    processes = args.processes or args.p or 1
    if processes > MANY:
        raise UsageError(f"{processes} processes? The port of the job server is --port {processes}")
    settings = _settings(args, target)
    if VARIABLE in os.environ:  # one of the processes below the supervisor
        return _work(args, settings)
    if os.name != "posix":
        if processes > 1 or args.reload:
            raise UsageError("--processes and --reload need POSIX; here a worker is one process, so start several")
        return _work(args, settings)
    return _supervise(args, processes)


def _refuse_program_options(args: argparse.Namespace) -> None:
    given = ["--concurrency"] if args.concurrency != 1 else []
    given += ["--stderr"] if args.stderr != "log" else []
    given += [{"lines": "-n", "bare": "-N", "stream": "--stream"}[args.pieces]] if args.pieces else []
    given += ["--" + name.replace("_", "-") for name in ("time_limit", "timeout", "max_result") if getattr(args, name)]
    if given:
        raise UsageError(
            f"{given[0]} is for a program, -f FUNCTION -- PROGRAM; a Python worker has it in its own words"
            + (", or takes --threads N" if given[0] == "--concurrency" else "")
        )


def _settings(args: argparse.Namespace, target: str) -> Settings:
    from gearfast.runner.limits import bytes_of
    from gearfast.runner.settings import Settings

    options: dict[str, Any] = {}
    if (chosen := chosen_servers(args)) is not None:
        options["servers"] = chosen
    if (context := tls_context(args)) is not None:
        options["ssl"] = context
    if (threads := args.threads or args.t) is not None:
        options["concurrency"] = threads
    if args.id is not None:
        options["id"] = args.id
    only = frozenset(filter(None, (args.functions or "").split(",")))
    memory = None if args.max_memory is None else bytes_of(args.max_memory)
    return Settings(target, args.app_dir, options, {"servers": servers(args)}, only, args.max_jobs, memory, args.burst)


def _configure_log(args: argparse.Namespace) -> None:
    from gearfast.server.log import configure

    configure(args.log_level, args.log_format)


def _work(args: argparse.Namespace, settings: Settings) -> int:
    from gearfast.runner.child import WorkerProcess

    _configure_log(args)
    process = WorkerProcess(settings)
    try:
        process.load()
    except UsageError:
        raise
    except Exception:  # noqa: BLE001  # the program's own trouble, with its own traceback
        traceback.print_exc()
        print(f"gearfast worker: {settings.target} cannot be loaded, see above", file=sys.stderr)
        return USAGE
    process.run()
    return OK


def _supervise(args: argparse.Namespace, processes: int) -> int:
    from gearfast.runner.supervisor import Supervisor

    changes = None
    if args.reload:
        from gearfast.runner.changes import watching

        changes = watching(args.reload_dir or [args.app_dir])
    command = [sys.executable, *_interpreter_options(), "-m", "gearfast", *args.words_given]
    supervisor = Supervisor(command, processes=processes, stop_timeout=args.stop_timeout, changes=changes)
    with background_and_pid_file(args):
        _configure_log(args)
        return supervisor.run()


def _interpreter_options() -> list[str]:
    """Those of this interpreter that its processes shall have too."""
    flags = ["-I"] if sys.flags.isolated else ["-P"] if sys.flags.safe_path else []
    flags += ["-O"] * sys.flags.optimize
    flags += [f"-W{option}" for option in sys.warnoptions]
    return flags + ["-X" + (name if value is True else f"{name}={value}") for name, value in sys._xoptions.items()]


# A program


def _run_program(args: argparse.Namespace) -> int:
    if args.text is not None and args.words:
        raise UsageError("either --command or words behind --, not both")
    for name in ("processes", "threads", "functions", "max_memory", "burst", "reload"):
        if getattr(args, name):
            option = "--" + name.replace("_", "-")
            raise UsageError(f"{option} is for a Python worker; a program takes --concurrency N, for jobs at a time")
    try:
        words = shlex.split(args.text) if args.text is not None else args.words
    except ValueError as error:
        raise UsageError(f"--command {args.text!r}: {error}") from None
    if args.time_limit is not None and not args.time_limit > 0:
        raise UsageError(f"--time-limit is a number of seconds above 0, not {args.time_limit:g}")
    if args.p is not None and args.port is None:
        args.port = args.p
    from gearfast import Worker
    from gearfast.cli.command import CommandFunction
    from gearfast.protocol import MAX_RESULT
    from gearfast.runner.child import on_stop_signals
    from gearfast.runner.limits import bytes_of

    most = MAX_RESULT if args.max_result is None else bytes_of(args.max_result)
    worker = Worker(servers(args), concurrency=args.concurrency, id=args.id, ssl=tls_context(args), max_result=most)

    def count(done: int) -> None:
        if done == args.max_jobs:
            worker.stop()

    program = CommandFunction(words, pieces=args.pieces or "", stderr=args.stderr, limit=_limit(args), count=count)
    for function in args.function:
        worker.register(function, program, timeout=args.timeout)
    with background_and_pid_file(args):
        _configure_log(args)
        on_stop_signals(lambda number: worker.stop(), program.kill)
        worker.run()
    return OK


def _limit(args: argparse.Namespace) -> float | None:
    """Seconds after which a program is ended: a job that the server has given away is of no use to anybody."""
    limits = [args.time_limit, None if args.timeout is None else args.timeout + 1.0]
    return min((limit for limit in limits if limit is not None), default=None)

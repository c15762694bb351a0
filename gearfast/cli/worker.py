# SPDX-License-Identifier: BSD-3-Clause
"""`gearfast worker`: does jobs by running a command, the workload on its standard input, the result on its output."""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
import signal
import sys
import threading
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING

from gearfast.cli import OK
from gearfast.cli.options import add_connection_options, add_help, servers, tls_context
from gearfast.errors import Fail, UsageError

if TYPE_CHECKING:
    import subprocess

    from gearfast.sync.worker import Job, Worker

__all__ = ["add_parser", "run"]

_EPILOG = """\
The command gets the workload on standard input; what it writes to standard output is the result. If its exit status is
not 0, its output is sent as data and the job fails. It finds GEARFAST_FUNCTION, GEARFAST_HANDLE and GEARFAST_UNIQUE in
its environment. Without a command the workload is printed and the result is empty.
SIGTERM and SIGINT end the worker after the jobs in hand; the second one ends it at once.
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the parser of `gearfast worker`."""
    parser = subparsers.add_parser(
        "worker",
        help="do jobs by running a command",
        usage="gearfast worker --function F [options] [--command 'PROGRAM ARGS' | -- PROGRAM ARGS]",
        description="Does jobs by running a command.",
        epilog=_EPILOG,
        add_help=False,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_help(parser)
    parser.add_argument("-f", "--function", action="append", metavar="F", help="function to do; repeatable")
    parser.add_argument("--command", metavar="TEXT", help="program and arguments, split as by a shell", dest="text")
    parser.add_argument("words", nargs="*", metavar="PROGRAM ARGS", help="the same as words, behind --")
    parser.add_argument("-n", "--lines", action="store_true", help="send each line of output as data at once")
    parser.add_argument("-c", "--max-jobs", type=int, metavar="N", help="end after N jobs")
    parser.add_argument("--concurrency", type=int, default=1, metavar="N", help="jobs at a time (default: 1)")
    parser.add_argument("--timeout", type=float, metavar="SECONDS", help="the server gives a job up after this")
    parser.add_argument("--id", metavar="NAME", help="name in the server's list of workers")
    parser.add_argument("--log-level", default="info", metavar="LEVEL", help="least level logged (default: info)")
    add_connection_options(parser, several=True)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Works until a signal, or until --max-jobs are done."""
    if not args.function:
        raise UsageError("which function? `gearfast worker --function F --command 'PROGRAM ARGS'`")
    if args.text is not None and args.words:
        raise UsageError("either --command or words behind --, not both")
    command = shlex.split(args.text) if args.text is not None else args.words
    from gearfast import Worker
    from gearfast.server.log import configure

    configure(args.log_level, "text")
    worker = Worker(servers(args), concurrency=args.concurrency, id=args.id, ssl=tls_context(args))
    runner = _Runner(worker, command, args.lines, args.max_jobs)
    for function in args.function:
        worker.register(function, runner, timeout=args.timeout)
    with _signals(worker):
        worker.run()
    return OK


class _Runner:
    """What is called for a job."""

    def __init__(self, worker: Worker, command: list[str], lines: bool, limit: int | None) -> None:
        self._worker = worker
        self._command = command
        self._lines = lines
        self._left = limit
        self._lock = threading.Lock()

    def __call__(self, job: Job) -> bytes:
        try:
            if not self._command:
                with self._lock:
                    sys.stdout.buffer.write(job.workload)
                    sys.stdout.buffer.flush()
                return b""
            return self._run(job)
        finally:
            self._count()

    def _count(self) -> None:
        with self._lock:
            if self._left is not None:
                self._left -= 1
                if self._left <= 0:
                    self._worker.stop()

    def _run(self, job: Job) -> bytes:
        import subprocess

        environ = os.environ | {
            "GEARFAST_FUNCTION": job.function,
            "GEARFAST_HANDLE": job.handle,
            "GEARFAST_UNIQUE": job.unique.decode("utf-8", "backslashreplace").replace("\0", ""),
        }
        try:
            # A session of its own: Ctrl-C at the terminal is for the worker, which lets the job finish.
            process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ, start_new_session=True
            )
        except OSError as error:
            raise Fail(f"{self._command[0]}: {error.strerror}") from None
        with process:
            output = self._send_lines(job, process) if self._lines else process.communicate(job.workload)[0]
        if process.returncode != 0:
            if output:
                job.send_data(output)
            raise Fail(f"{self._command[0]}: exit status {process.returncode}")
        return output

    def _send_lines(self, job: Job, process: subprocess.Popen[bytes]) -> bytes:
        assert process.stdin is not None
        assert process.stdout is not None
        feeder = threading.Thread(target=_feed, args=(process.stdin, job.workload))
        feeder.start()
        for line in process.stdout:
            job.send_data(line)
        feeder.join()
        process.wait()
        return b""


def _feed(pipe: IO[bytes], data: bytes) -> None:
    # The command may end without reading all of it.
    with contextlib.suppress(BrokenPipeError), pipe:
        pipe.write(data)


@contextlib.contextmanager
def _signals(worker: Worker) -> Iterator[None]:
    """SIGTERM and SIGINT stop the worker; the second one raises SystemExit in the job."""
    seen: list[int] = []

    def stop(number: int, frame: object) -> None:
        if seen:
            raise SystemExit(128 + number)
        seen.append(number)
        worker.stop()

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

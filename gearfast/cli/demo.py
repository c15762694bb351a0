# SPDX-License-Identifier: BSD-3-Clause
"""`gearfast demo`: photos are resized and mailed while a worker and job servers are killed."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Self

from gearfast.cli import FAILED, OK, USAGE

__all__ = ["add_parser", "run"]

_DESCRIPTION = """\
Photos are uploaded; each is resized to three widths, a thumbnail is made, and a mail with the thumbnail goes to each
follower. Job servers, several workers and an SMTP server run as processes of their own. In one round the jobs are in
the store of a job server, which is killed halfway and started again when its client has long gone; in the last one a
worker is killed in the middle of a job, and one of two job servers with the jobs that it has. At the end every file
and every mail is opened to see that nothing is missing.
"""


def _positive(low: int) -> type[int]:
    class Number(int):
        def __new__(cls, text: str) -> Self:
            number = super().__new__(cls, text)
            if number < low:
                raise ValueError
            return number

    Number.__name__ = f"number from {low}"
    return Number


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the parser of `gearfast demo`."""
    from gearfast.demo.plan import COUNT

    parser = subparsers.add_parser(
        "demo",
        help="show a whole job: photos, thumbnails, mails",
        description=_DESCRIPTION,
        epilog='It needs Pillow, rich and aiosmtpd: pip install "gearfast[demo]"',
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--photos", type=Path, metavar="DIR", help="folder of photos (default: the five that are shipped)"
    )
    parser.add_argument(
        "--count",
        type=_positive(1),
        metavar="N",
        help=f"how many photos are uploaded; variants are made if DIR has fewer (default: {COUNT}, or all of DIR)",
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        default=Path("gearfast-demo"),
        help="folder for the results; that of an earlier demo is replaced (default: %(default)s)",
    )
    parser.add_argument(
        "--workers", type=_positive(2), metavar="N", default=4, help="worker processes in the last round (default: 4)"
    )
    parser.add_argument(
        "--server-command",
        metavar="COMMAND",
        help="start job servers by this command instead; {port} in it becomes the port to listen on, "
        'as in "gearmand --listen 127.0.0.1 -p {port} -l stderr"',
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Runs the demo; returns the exit status: 0 all is there, 1 something is missing, 2 it could not begin."""
    try:
        import aiosmtpd  # noqa: F401
        import PIL  # noqa: F401
        import rich  # noqa: F401
    except ImportError as exc:
        print(f'gearfast demo: {exc.name} is not installed; pip install "gearfast[demo]"', file=sys.stderr)
        return USAGE
    from gearfast.demo.processes import ChildError
    from gearfast.demo.progress import Show
    from gearfast.demo.show import FolderInUse, Options
    from gearfast.demo.show import run as run_demo
    from gearfast.demo.uploads import PhotoError

    show = Show()
    output = args.output.resolve()
    try:
        problems = run_demo(Options(output, args.photos, args.count, args.workers, args.server_command), show)
    except (FolderInUse, PhotoError) as exc:
        print(f"gearfast demo: {exc}", file=sys.stderr)
        return USAGE
    except ChildError as exc:
        print(f"gearfast demo: {exc}\nlogs: {output / 'logs'}", file=sys.stderr)
        return FAILED
    if problems:
        for problem in problems:
            print(f"gearfast demo: {problem}", file=sys.stderr)
        print(f"gearfast demo: failed, {len(problems)} problems; see {output / 'index.html'}", file=sys.stderr)
        return FAILED
    show.say(f"nothing is missing: {output / 'index.html'}", "bold green")
    return OK

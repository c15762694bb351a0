# SPDX-License-Identifier: BSD-3-Clause
"""The command `gearfast`: one module a sub-command, imported only when it is called.

Each module has `add_parser(subparsers)`, which adds its parser and sets the default `run`, and `run(args) -> int`.

Exit status: 0 fine, 1 a job failed, 2 usage, 3 cannot connect (or listen), 4 time-out.
"""

from __future__ import annotations

import argparse
import difflib
import re
import sys
from typing import TYPE_CHECKING, Final, NoReturn

from gearfast.errors import ConnectError, ConnectionLost, DeadlineExceeded, GearfastError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["COMMANDS", "FAILED", "OK", "TIMED_OUT", "UNREACHABLE", "USAGE", "main", "status_of"]

OK: Final = 0
FAILED: Final = 1
USAGE: Final = 2
UNREACHABLE: Final = 3
TIMED_OUT: Final = 4

COMMANDS: Final = {
    "server": "run a job server",
    "submit": "submit jobs and print their results",
    "worker": "do jobs: a Python worker in several processes, or any command",
    "admin": "ask and administer a job server",
    "migrate": "take over the queue of a gearmand",
    "bench": "measure job servers",
    "demo": "show a whole job: photos, thumbnails, mails",
}


def status_of(error: GearfastError) -> int:
    """The exit status that an exception means."""
    if isinstance(error, ConnectError | ConnectionLost):
        return UNREACHABLE
    if isinstance(error, DeadlineExceeded):
        return TIMED_OUT
    return USAGE if isinstance(error, UsageError) else FAILED


class _Version(argparse.Action):
    """Looks the version up only when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *args: object, **kwargs: object) -> None:
        from gearfast._version import __version__

        print(f"gearfast {__version__}")
        parser.exit()


_CHOICE: Final = re.compile(r"invalid choice: '([^']*)'")


class _Parser(argparse.ArgumentParser):
    """Complains in one line, which names the nearest option or command when an unknown one is given."""

    command: str | None = None
    """The sub-command that is called, which an option that nobody knows was meant for."""

    def error(self, message: str) -> NoReturn:
        word = next((word.partition("=")[0] for word in message.split() if word.startswith("-")), "")
        near: list[str] = []
        if message.startswith("unrecognized"):
            near = difflib.get_close_matches(word, self._all_options(), 1, 0.6 if word.startswith("--") else 1.0)
        elif (unknown := _CHOICE.search(message)) is not None:
            near = difflib.get_close_matches(unknown[1], self._all_choices(), 1)
        name = f"{self.prog} {self.command}" if self.command in COMMANDS else self.prog
        hint = f"did you mean {near[0]}?" if near else f"see {name} --help"
        if near == [word]:  # it is known, but not there
            hint = f"its place is in `{self._usage() or f'{name} [options]'}`"
        self.exit(USAGE, f"{name}: {message}; {hint}\n")

    def _usage(self) -> str | None:
        """How the command is called, if it has words for that."""
        return next((each.usage for each in self._commands() if each.prog == f"{self.prog} {self.command}"), None)

    def _commands(self) -> Iterator[argparse.ArgumentParser]:
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                yield from action.choices.values()

    def _all_choices(self) -> list[str]:
        return [str(choice) for action in self._actions for choice in action.choices or ()]

    def _all_options(self) -> list[str]:
        names = list(self._option_string_actions)
        for parser in self._commands():
            names += parser._option_string_actions
        return names


def _parser(command: str | None) -> argparse.ArgumentParser:
    """A parser that knows all sub-commands by name, and the options of `command`."""
    parser = _Parser(prog="gearfast", description="Gearman job server, client and worker.", allow_abbrev=False)
    parser.command = command
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command")
    for name, summary in COMMANDS.items():
        if name == command:
            from importlib import import_module

            import_module(f"gearfast.cli.{name}").add_parser(subparsers)
        else:
            subparsers.add_parser(name, help=summary, add_help=False)
    return parser


def _add_rest(parser: argparse.ArgumentParser, args: argparse.Namespace, words: list[str], rest: list[str]) -> None:
    """argparse takes positional words up to the next option only; those behind it come as the rest."""
    literal = words[words.index("--") + 1 :] if "--" in words else []
    cut = len(rest) - len(literal)
    if not literal or rest[cut:] != literal:
        literal, cut = [], len(rest)
    found = [word for word in rest[:cut] if word != "--"]
    if rest and (not hasattr(args, "words") or any(word.startswith("-") and word != "-" for word in found)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        args.words += found + literal


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line `argv` (without the program's name); returns the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    command = next((word for word in words if not word.startswith("-")), None)
    parser = _parser(command)
    try:
        args, rest = parser.parse_known_args(words)
        _add_rest(parser, args, words, rest)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else USAGE
    if args.command is None:
        parser.print_usage(sys.stderr)
        return USAGE
    args.words_given = words
    try:
        return int(args.run(args))
    except GearfastError as error:
        print(f"gearfast {args.command}: {error}", file=sys.stderr)
        return status_of(error)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read our output has enough; so that Python does not complain at its end, the rest goes nowhere.
        import os

        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except OSError as error:
        import errno
        import os

        if error.errno not in (errno.ENOSPC, errno.EIO, errno.EDQUOT) or error.filename is not None:
            raise
        print(f"gearfast {args.command}: standard output: {error.strerror}", file=sys.stderr)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED

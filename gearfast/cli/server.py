# SPDX-License-Identifier: BSD-3-Clause
"""`gearfast server`: runs a job server. Its flags are the fields of ServerConfig."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING, Any

from gearfast.cli import OK, UNREACHABLE

if TYPE_CHECKING:
    from gearfast.server.config import Loaded, Setting

__all__ = ["add_parser", "run"]

_EPILOG = """\
Each setting is looked for in this order: flag, environment (GEARFAST_PORT for --port), the file of --config, default.
SIGTERM ends after the running jobs, twice at once; SIGUSR1 ends when no job is left; SIGHUP reads log level,
certificates and policies of functions again.
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the parser of `gearfast server`."""
    from gearfast.server.config import settings

    parser = subparsers.add_parser(
        "server",
        help="run a job server",
        description="Runs a job server.",
        epilog=_EPILOG,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", metavar="FILE", help="TOML file with settings")
    parser.add_argument("--check", action="store_true", help="check the settings and their files, then exit")
    parser.add_argument("--print-config", action="store_true", help="print the settings in force as TOML, then exit")
    for setting in settings():
        options: dict[str, Any] = {"dest": setting.name, "default": None}
        if setting.is_switch:
            options["action"] = argparse.BooleanOptionalAction
        elif setting.is_list:
            options.update(action="append", metavar=setting.metavar)
        else:
            # Values are checked where those of the environment and the file are; argparse only names the choices.
            options["metavar"] = "{" + ",".join(setting.choices) + "}" if setting.choices else setting.metavar
        parser.add_argument(setting.flag, help=_help(setting), **options)
    parser.set_defaults(run=run)


def _help(setting: Setting) -> str:
    text = setting.help.replace("%", "%%")
    default = setting.default
    if setting.is_list:
        text += "; repeatable"
    if default is None or default == () or setting.is_switch:
        return text
    return f"{text} (default: {_shown(setting.name, default)})"


def _shown(name: str, value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(value)
    if name == "unix_mode":
        return f"{value:o}"
    if isinstance(value, int) and value >= 1 << 20 and value % (1 << 20) == 0:
        return f"{value >> 20}M"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _load(args: argparse.Namespace) -> Loaded:
    from gearfast.server.config import load, settings

    flags = {setting.name: getattr(args, setting.name) for setting in settings()}
    return load(flags, os.environ, args.config or os.environ.get("GEARFAST_CONFIG"))


def run(args: argparse.Namespace) -> int:
    """Runs the server until it is told to end."""
    from gearfast.server.config import print_config

    try:
        loaded = _load(args)
        if args.print_config:
            sys.stdout.write(print_config(loaded))
            return OK
        if args.check:
            return _check(loaded)
        from gearfast.server.app import ServerApp

        return ServerApp(loaded.config, lambda: _load(args)).run()
    except OSError as error:
        print(f"gearfast server: {error.strerror or error}", file=sys.stderr)
        return UNREACHABLE


def _check(loaded: Loaded) -> int:
    from gearfast.server.listen import endpoints
    from gearfast.server.tls import make_context

    endpoints(loaded.config)
    make_context(loaded.config)
    print("settings are fine")
    return OK

# SPDX-License-Identifier: BSD-3-Clause
"""`python -m gearfast.compat`: runs a program that was written for the old libraries, as it is."""

from __future__ import annotations

import argparse
import os
import runpy
import sys
from pathlib import Path

from gearfast.compat import LIBRARIES, VARIABLE, install
from gearfast.errors import UsageError


def main(arguments: list[str]) -> None:
    """Installs the old names and runs the program with the arguments that are left, as Python itself would."""
    parser = argparse.ArgumentParser(
        prog="python -m gearfast.compat",
        description="Run a program with gearfast in the place of the old Gearman libraries.",
        usage="%(prog)s [--as NAME,...] (SCRIPT | -m MODULE) [ARGUMENT ...]",
    )
    parser.add_argument(
        "--as",
        dest="names",
        metavar="NAME,...",
        default=os.environ.get(VARIABLE) or ",".join(LIBRARIES),
        help=f"import names, separated by commas (default: ${VARIABLE}, else {','.join(LIBRARIES)})",
    )
    parser.add_argument("-m", dest="module", action="store_true", help="SCRIPT is the name of a module")
    parser.add_argument("script", metavar="SCRIPT", help="the program, a file or a folder with __main__.py")
    parser.add_argument("rest", metavar="ARGUMENT", nargs=argparse.REMAINDER, help="the program's own arguments")
    chosen = parser.parse_args(arguments)
    try:
        install(*filter(None, (name.strip() for name in chosen.names.split(","))))
    except UsageError as error:
        parser.error(str(error))
    sys.argv = [chosen.script, *chosen.rest]
    if chosen.module:
        sys.path.insert(0, "")
        runpy.run_module(chosen.script, run_name="__main__", alter_sys=True)
    else:
        sys.path.insert(0, str(Path(chosen.script).resolve().parent))
        runpy.run_path(chosen.script, run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1:])

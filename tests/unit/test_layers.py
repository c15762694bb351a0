# SPDX-License-Identifier: BSD-3-Clause
"""Who may import whom inside gearfast, and what the layers without I/O may not touch at all.

The imports of .py files are read from their syntax tree. In .pyx and .pxd files `import` and `cimport` lines count.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]

# A part of gearfast is its first name below the package. Each may use itself, the ground, and these.
GROUND = {"errors", "protocol", "types", "values", "_version"}
ALLOWED = {
    "errors": {"_codec"},  # in annotations only
    "protocol": set(),
    "types": set(),
    "values": set(),
    "_version": set(),
    "_codec": set(),
    "dispatch": {"_codec"},
    "schedules": set(),
    "store": set(),
    "gearmand_queue": set(),
    "session": {"_codec"},
    "server": {"_codec", "dispatch", "schedules", "store"},
    "web": {"server", "dispatch"},
    "frontend": {"session"},  # what the two front ends share
    "sync": {"session", "_codec", "frontend"},
    "aio": {"session", "_codec", "frontend"},
    "tasks": {"frontend", "aio", "sync", "session"},
    "runner": {"frontend", "tasks", "aio", "sync", "session"},
    "compat": {"_codec", "frontend"},
}
# These use everything public: any part, but no module with a leading underscore inside one.
EVERYTHING_PUBLIC = {"__init__", "__main__", "bench", "cli", "demo", "pytest_plugin", "testing"}

# No descriptor, clock, file, environment, chance or log in the layers that take bytes and time as arguments.
PURE = {"_codec", "dispatch", "schedules", "session"}
IMPURE = {
    "asyncio",
    "concurrent",
    "io",
    "logging",
    "multiprocessing",
    "os",
    "pathlib",
    "queue",
    "random",
    "secrets",
    "select",
    "selectors",
    "signal",
    "socket",
    "ssl",
    "subprocess",
    "sys",
    "tempfile",
    "threading",
    "time",
    "uuid",
    "warnings",
}
# C headers that would bring the same through the back door, and the calls of Python that need no import.
IMPURE_C = re.compile(
    r"libc\.(time|signal)|libc\.stdio cimport (?!snprintf$)|posix\b|cpython\.(pythread|pylifecycle)"
    r"|<(sys/\w+|unistd|time|stdio|fcntl|poll|signal|pthread|netinet/\w+|arpa/inet)\.h>"
)
IMPURE_CALLS = re.compile(r"(?<![\w.])(open|print|input|breakpoint|rand|getenv|__import__)\(")

IMPORT = re.compile(
    r"^[ \t]*(?:from[ \t]+(?P<base>[\w.]+)[ \t]+c?import[ \t]+(?P<names>\([^)]*\)|[^\n#]+)"
    r"|c?import[ \t]+(?P<plain>[\w., \t]+?)[ \t]*(?:#[^\n]*)?$)",
    re.MULTILINE,
)


class Import(NamedTuple):
    """One name that a module imports: the dotted name, and where."""

    name: str
    line: int


def sources() -> list[Path]:
    return sorted(path for path in (ROOT / "gearfast").rglob("*") if path.suffix in (".py", ".pyx", ".pxd", ".pyi"))


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def resolve(path: Path, base: str) -> str:
    """The absolute name of the module that `from BASE import …` in this file names."""
    dots = len(base) - len(base.lstrip("."))
    if not dots:
        return base
    package = path.relative_to(ROOT).parent.parts
    kept = package[: len(package) - (dots - 1)]
    return ".".join([*kept, *filter(None, [base[dots:]])])


def imports_of_python(path: Path, text: str) -> Iterator[Import]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = resolve(path, "." * node.level + (node.module or ""))
            yield from (Import(f"{base}.{alias.name}", node.lineno) for alias in node.names)


def imports_of_cython(path: Path, text: str) -> Iterator[Import]:
    for match in IMPORT.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        names = [name.split(" as ")[0].strip() for name in (match["names"] or match["plain"]).strip("() \t").split(",")]
        base = resolve(path, match["base"]) + "." if match["base"] else ""
        yield from (Import(base + name, line) for name in names if name)


def imports(path: Path) -> list[Import]:
    text = path.read_text(encoding="utf-8")
    reader = imports_of_python if path.suffix in (".py", ".pyi") else imports_of_cython
    return list(reader(path, text))


def part_of(name: str) -> str:
    """The part of gearfast that a dotted name lies in; `__init__` for the package itself and its public names."""
    names = name.split(".")
    if len(names) == 1:
        return "__init__"
    first = names[1]
    known = ALLOWED.keys() | EVERYTHING_PUBLIC
    return first if first in known else "__init__"


def wrong_layer(path: Path, found: Import) -> str | None:
    """What is wrong with an import, or None."""
    if found.name.split(".")[0] != "gearfast":
        return None
    here, there = part_of(module_name(path)), part_of(found.name)
    if here == there or there in GROUND:
        return None
    if here in EVERYTHING_PUBLIC:
        private = [name for name in found.name.split(".")[2:] if name.startswith("_") and not name.startswith("__")]
        return f"the private name {private[0]} of {there}" if private else None
    if there in ALLOWED.get(here, set()):
        return None
    return f"{here} may not know {there}"


def old_library(name: str) -> str:
    """Which old library a dotted name below gearfast.compat belongs to: the first word of its module's name."""
    names = name.split(".")
    return names[2].split("_")[0] if part_of(name) == "compat" and len(names) > 2 and names[2].islower() else ""


def test_each_old_library_stands_alone() -> None:
    table = "gearfast/compat/__init__.py", "gearfast/compat/__main__.py"
    wrong = [
        f"{path.relative_to(ROOT).as_posix()}:{found.line}: {found.name}"
        for path in sources()
        if part_of(here := module_name(path)) == "compat" and path.relative_to(ROOT).as_posix() not in table
        for found in imports(path)
        # python3_gearman and py3gearman are run from the sources of gearman.
        if old_library(found.name) not in ("", "gearman", old_library(here))
        or (old_library(found.name) == "gearman" and old_library(here) not in ("gearman", "python3", "py3gearman"))
    ]
    assert wrong == []


@pytest.mark.parametrize("path", sources(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_each_layer_knows_only_those_below(path: Path) -> None:
    wrong = {f"line {found.line}: {found.name}": why for found in imports(path) if (why := wrong_layer(path, found))}
    assert wrong == {}


def impure_lines(path: Path) -> list[str]:
    """What in a file of the pure layers reaches outside: imports first, then C headers and calls."""
    text = path.read_text(encoding="utf-8")
    wrong = [f"{found.line}: {found.name}" for found in imports(path) if found.name.split(".")[0] in IMPURE]
    for number, line in enumerate(text.splitlines(), 1):
        code = line.split("#")[0]
        if IMPURE_C.search(code) or (path.suffix != ".pyi" and IMPURE_CALLS.search(code)):
            wrong.append(f"{number}: {line.strip()}")
    return wrong


@pytest.mark.parametrize(
    "path",
    [path for path in sources() if part_of(module_name(path)) in PURE],
    ids=lambda path: path.relative_to(ROOT).as_posix(),
)
def test_no_input_or_output_in_the_pure_layers(path: Path) -> None:
    assert impure_lines(path) == []


def test_every_part_has_a_layer() -> None:
    parts = {path.relative_to(ROOT).parts[1].split(".")[0] for path in sources()}
    assert parts - ALLOWED.keys() - EVERYTHING_PUBLIC == set()


def loaded_at_once(text: str) -> Iterator[str]:
    """First names of what a Python module imports when it is imported itself, not later in a function."""
    waiting: list[ast.AST] = [ast.parse(text)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield (node.module or "").split(".")[0]
        waiting.extend(ast.iter_child_nodes(node))


def test_the_core_needs_only_the_standard_library() -> None:
    at_home = {"bench", "demo"}  # where an extra's own modules may import it at once; elsewhere only where it is used
    known = sys.stdlib_module_names | {"gearfast"}
    foreign = {
        f"{path.relative_to(ROOT).as_posix()}: {name}"
        for path in sources()
        if path.suffix == ".py" and part_of(module_name(path)) not in at_home
        for name in loaded_at_once(path.read_text(encoding="utf-8"))
        if name not in known
    }
    assert foreign <= {"gearfast/pytest_plugin.py: pytest"}


# The rules themselves, on sources made up for the purpose.
@pytest.mark.parametrize(
    ("where", "text", "expected"),
    [
        ("gearfast/session/x.py", "from gearfast.aio import client", ["session may not know aio"]),
        ("gearfast/session/x.py", "from ..sync.client import Client", ["session may not know sync"]),
        ("gearfast/session/x.py", "from gearfast import errors, protocol", []),
        ("gearfast/session/x.py", "import gearfast.server.app", ["session may not know server"]),
        ("gearfast/sync/x.py", "def f():\n    from gearfast import Server", ["sync may not know __init__"]),
        ("gearfast/compat/gear/x.py", "from gearfast._codec import encode", []),
        ("gearfast/compat/gear/x.py", "from gearfast.sync.client import Client", ["compat may not know sync"]),
        ("gearfast/compat/gear/x.py", "from gearfast.dispatch import schedule", ["compat may not know dispatch"]),
        ("gearfast/cli/x.py", "from gearfast.server.app import main", []),
        ("gearfast/cli/x.py", "from gearfast.dispatch import _job", ["the private name _job of dispatch"]),
        ("gearfast/dispatch/x.pyx", "from gearfast._codec cimport Frame, decode", []),
        (
            "gearfast/dispatch/x.pyx",
            "cdef int f():\n    cimport gearfast.server._reactor",
            ["dispatch may not know server"],
        ),
        ("gearfast/dispatch/x.pxd", "from gearfast.session.a cimport (\n    one,\n    two,\n)", ["session"] * 2),
    ],
)
def test_rule_of_layers(where: str, text: str, expected: list[str]) -> None:
    path = ROOT / where
    reader = imports_of_python if path.suffix == ".py" else imports_of_cython
    wrong = [why for found in reader(path, text) if (why := wrong_layer(path, found))]
    assert len(wrong) == len(expected)
    assert all(part in why for part, why in zip(expected, wrong, strict=True))

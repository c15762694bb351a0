# SPDX-License-Identifier: BSD-3-Clause
"""The rules of the house that no linter knows: sizes, names, first lines, and what a test must and must not do."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MAX_FILE = 700
MAX_FUNCTION = 60
SPDX = "# SPDX-License-Identifier: BSD-3-Clause"
FOLDERS = ("gearfast", "tests", "benchmarks", "examples", "docs")
DEF = re.compile(
    r"^(?P<indent>[ \t]*)(?:async[ \t]+def|def|cp?def)\b"
    r"(?![ \t]+(?:public[ \t]+)?(?:class|struct|enum|union|extern|cppclass)\b)(?P<rest>[^\n]*)"
)
UNFINISHED = re.compile(r"\b(?:TODO|FIXME|XXX)\b")


def sources(*folders: str, suffixes: tuple[str, ...] = (".py", ".pyx", ".pxd", ".pyi")) -> list[Path]:
    found = (path for folder in folders for path in (ROOT / folder).rglob("*") if path.suffix in suffixes)
    return sorted(path for path in found if path.is_file())


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def python_functions(text: str) -> Iterator[tuple[str, int]]:
    """Name and number of lines of each function, decorators not counted."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            yield node.name, node.end_lineno - node.lineno + 1


def cython_functions(text: str) -> Iterator[tuple[str, int]]:
    """The same for .pyx and .pxd: a function ends before the next code that is indented no deeper than its head."""
    lines = text.splitlines()
    for number, line in enumerate(lines):
        head = DEF.match(line)
        if head is None or "(" not in head["rest"]:
            continue
        depth = len(head["indent"])
        last = number
        nested = 0
        for offset, below in enumerate(lines[number:], number):
            code = below.split("#")[0]
            if offset > number and nested <= 0 and code.strip() and len(code) - len(code.lstrip()) <= depth:
                break
            nested += sum(map(code.count, "([{")) - sum(map(code.count, ")]}"))
            if below.strip():
                last = offset
        yield head["rest"].split("(")[0].split()[-1], last - number + 1


def test_no_file_is_too_long() -> None:
    lengths = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in sources(*FOLDERS)}
    assert {name: length for name, length in lengths.items() if length > MAX_FILE} == {}


def test_no_function_is_too_long() -> None:
    long = {
        f"{name_of(path)}: {function}": length
        for path in sources(*FOLDERS)
        for function, length in (python_functions if path.suffix in (".py", ".pyi") else cython_functions)(
            path.read_text(encoding="utf-8")
        )
        if length > MAX_FUNCTION
    }
    assert long == {}


def test_every_source_names_its_licence_first() -> None:
    suffixes = (".py", ".pyx", ".pxd", ".pyi", ".h", ".c", ".sh", ".pl", ".php", ".toml", ".yml", ".yaml")
    files = [*sources(*FOLDERS, ".ci", ".github", suffixes=suffixes), ROOT / "setup.py", ROOT / "pyproject.toml"]
    licensed = (SPDX, SPDX.replace("#", "//"), f"/* {SPDX[2:]} */")
    missing = []
    for path in files:
        head = path.read_text(encoding="utf-8").splitlines()[:2]
        if not any(line.strip() in licensed for line in head) and "build" not in path.parts and not generated(path):
            missing.append(name_of(path))
    assert missing == []


def generated(path: Path) -> bool:
    """C that an old build left beside its .pyx; it is in no commit and no sdist."""
    return path.suffix == ".c" and path.with_suffix(".pyx").exists()


def test_no_module_is_called_utils() -> None:
    vague = {"util", "utils", "helpers", "misc", "common"}
    assert [
        name_of(path) for path in sources(*FOLDERS) if path.stem.strip("_") in vague and "compat" not in path.parts
    ] == []


def test_nothing_is_marked_unfinished() -> None:
    marked = [
        f"{name_of(path)}:{number}"
        for path in sources(*FOLDERS)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if UNFINISHED.search(line) and path != Path(__file__).resolve()
    ]
    assert marked == []


def test_directives_that_change_meaning_stand_in_the_file() -> None:
    bare = []
    for path in sources("gearfast", suffixes=(".pyx",)):
        head = path.read_text(encoding="utf-8").splitlines()[:3]
        if not any(re.match(r"# cython: .*language_level ?= ?3", line) for line in head):
            bare.append(name_of(path))
    assert bare == []


def test_no_extension_claims_to_be_free_threaded() -> None:
    claims = [
        name_of(path)
        for path in sources("gearfast", suffixes=(".pyx", ".pxd"))
        if re.search(r"freethreading_compatible\s*=\s*True", path.read_text(encoding="utf-8"))
    ]
    assert claims == []


# --- tests ------------------------------------------------------------------------------------------------------------


class Function:
    """A function of the tests: where it is, whether it asserts by itself, and whom it calls or uses as a fixture."""

    def __init__(self, path: Path, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self.where = f"{name_of(path)}::{node.name}"
        self.name = node.name
        self.is_test = path.name.startswith("test_") and node.name.startswith("test")
        inner = list(ast.walk(node))
        fixtures = {argument.arg for argument in node.args.args}
        self.calls = {called(part.func) for part in inner if isinstance(part, ast.Call)} | fixtures
        self.asserts = any(isinstance(part, ast.Assert) for part in inner) or bool(
            self.calls & {"raises", "warns", "fail", "require"}
        )
        polls = {part for loop in inner if isinstance(loop, ast.While) for part in ast.walk(loop)}
        self.sleeps = [
            part.lineno
            for part in inner
            if isinstance(part, ast.Call)
            and is_sleep(part.func)
            and not is_short(part.args, 0.05 if part in polls else 0)
        ]


def called(target: ast.expr) -> str:
    """The last name of what is called: `sleep` for `time.sleep(1)`; `require` for all its methods."""
    name = ast.unparse(target)
    return "require" if name.startswith("require.") else name.rpartition(".")[2]


def is_sleep(target: ast.expr) -> bool:
    """Whether this is `time.sleep`, `asyncio.sleep` or a `sleep` imported from there."""
    return ast.unparse(target) in ("time.sleep", "asyncio.sleep", "sleep")


def is_short(arguments: list[ast.expr], limit: float) -> bool:
    """Whether a sleep is only a turn of the loop (0) or one step of polling."""
    (seconds, *_) = arguments
    return isinstance(seconds, ast.Constant) and isinstance(seconds.value, int | float) and seconds.value <= limit


def functions_of_tests() -> list[Function]:
    return [
        Function(path, node)
        for path in sources("tests", suffixes=(".py",))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def asserting_names(functions: list[Function]) -> set[str]:
    """Names of functions and fixtures that assert, or use one that does."""
    names: set[str] = set()
    while True:
        more = {function.name for function in functions if function.asserts or function.calls & names}
        if more == names:
            return names
        names = more


def test_every_test_asserts_something() -> None:
    functions = functions_of_tests()
    helpers = asserting_names([function for function in functions if not function.is_test])
    silent = [f.where for f in functions if f.is_test and not f.asserts and not f.calls & helpers]
    assert silent == []


def test_no_test_sleeps() -> None:
    sleeping = [f"{f.where}:{line}" for f in functions_of_tests() if f.is_test for line in f.sleeps]
    assert sleeping == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cdef int one(int a,\n             int b):\n    return a\n\n\ncdef int two() except -1:\n    pass\n", [3, 2]),
        ("cdef inline void put(\n    int a,\n) noexcept nogil:\n    a = 1\n    # end\n\nX = 1\n", [5]),
        (
            "cdef class A:\n    cdef int x\n\n    def f(self):\n        pass\n\n    async def g(self):\n        pass\n",
            [2, 2],
        ),
    ],
)
def test_rule_of_function_length(text: str, expected: list[int]) -> None:
    assert [length for _, length in cython_functions(text)] == expected

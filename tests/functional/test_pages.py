# SPDX-License-Identifier: BSD-3-Clause
"""The documentation's code runs as it stands; `page` tells how a page says what is to be done with a block."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from gearfast import Server
from gearfast.server.config import ServerConfig, load_file

from .page import DATABASE, ROOT, Block, blocks, name_of, outputs, pages, pattern, programs, source
from .servers import clean_environment
from .terminal import run_page

Patience = Callable[[float], float]
RUN = ("python", "console", "toml")
MODULES = {"PIL": "pillow"}
"""What some blocks import besides the standard library, and its name for pip."""


def everywhere(what: Callable[[Path], Any]) -> list[Any]:
    """A parameter for each page in which there is something of that kind."""
    return [pytest.param(path, id=name_of(path)) for path in pages() if what(path)]


def all_blocks(*languages: str) -> list[Block]:
    return [block for path in pages() for block in blocks(path) if block.language in languages]


def run(command: list[str], folder: Path, patience: Patience) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, capture_output=True, text=True, timeout=patience(100), cwd=folder, env=clean_environment()
    )


def check_modules(require: Any, text: str) -> None:
    for module, package in MODULES.items():
        if re.search(rf"^\s*(from|import) {module}\b", text, re.MULTILINE):
            require.module(module, package)


@pytest.mark.parametrize("path", everywhere(lambda path: list(programs(path))))
def test_the_programs_of_a_page(path: Path, tmp_path: Path, patience: Patience, require: Any) -> None:
    for number, program in enumerate(programs(path)):
        text = source(program)
        check_modules(require, text)
        with ExitStack() as stack:
            # A page's job server, each time that it names one.
            for port in sorted(set(re.findall(r"127\.0\.0\.1:(473\d)", text))):
                server = stack.enter_context(Server())
                text = text.replace(f"127.0.0.1:{port}", server.address)
            folder = tmp_path / str(number)
            folder.mkdir()
            file = folder / f"{path.stem}.py"
            file.write_text(text, encoding="utf-8")
            done = run([sys.executable, "-W", "error", str(file)], folder, patience)
        assert done.returncode == 0 and not done.stderr, f"{program[0].where}\n{done.stdout}{done.stderr}"
        lines = iter(done.stdout.splitlines())
        for expected in outputs(program):
            found = any(pattern([expected]).fullmatch(f"{line}\n") for line in lines)
            assert found, f"{program[0].where}: {expected!r} was not printed, but:\n{done.stdout}"


@pytest.mark.parametrize("block", [pytest.param(b, id=b.where) for b in all_blocks("python") if b.mark == "pytest"])
def test_the_tests_of_a_page(block: Block, tmp_path: Path, patience: Patience) -> None:
    path = tmp_path / "test_page.py"
    path.write_text(block.text, encoding="utf-8")
    plugin = [] if installed() else ["-p", "gearfast.pytest_plugin"]
    done = run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *plugin, str(path)], tmp_path, patience)
    assert re.search(r"\d passed", done.stdout) and done.returncode == 0, done.stdout + done.stderr


def installed() -> bool:
    """Whether pip knows the package, so that pytest finds the plugin by itself."""
    from importlib.metadata import entry_points

    return any(entry.name == "gearfast" for entry in entry_points(group="pytest11"))


def is_typed_in(block: Block) -> bool:
    # What the page on the command line shows needs one shell, with a server in it: test_command_line_page.py.
    return block.language == "console" and not block.reason and block.page != "docs/command-line.md"


@pytest.mark.skipif(os.name == "nt", reason="pages show what is typed into bash")
@pytest.mark.parametrize("path", everywhere(lambda path: any(map(is_typed_in, blocks(path)))))
def test_the_commands_of_a_page(path: Path, tmp_path: Path, require: Any, database_url: Callable[[str], str]) -> None:
    text = path.read_text(encoding="utf-8")
    check_modules(require, text)
    run_page(path, tmp_path, database_url("postgresql") if DATABASE in text else "")


@pytest.mark.parametrize("block", [pytest.param(b, id=b.where) for b in all_blocks("toml") if not b.reason])
def test_a_configuration(block: Block, tmp_path: Path) -> None:
    path = tmp_path / "page.toml"
    path.write_text(block.text, encoding="utf-8")
    found = load_file(path)
    assert found
    if not any(name.startswith("tls") for name in found):  # whose files are the reader's
        ServerConfig.from_values(found)
    assert tomllib.loads(block.text)


def test_each_block_says_what_it_is() -> None:
    """No block is left out without a reason; `{…}` is a directive of the site, which `make docs` follows."""
    unknown = [
        block.where
        for path in pages()
        for block in blocks(path)
        if block.language not in (*RUN, "text") and not block.language.startswith("{") and not block.reason
    ]
    assert unknown == []


def test_most_blocks_run() -> None:
    """What cannot be run in a test is counted, so that it does not become a habit."""
    left_out = [f"{block.where}: {block.reason}" for path in pages() for block in blocks(path) if block.reason]
    ran = [block for block in all_blocks(*RUN) if not block.reason]
    assert len(left_out) <= MOST_LEFT_OUT, left_out
    assert not (ROOT / "docs").exists() or len(ran) > 2 * len(left_out)


MOST_LEFT_OUT = 12


def test_marks_are_understood() -> None:
    known = re.compile(r"|program|pytest|hidden|file \S+|not run: .+")
    wrong = [block.where for path in pages() for block in blocks(path) if not known.fullmatch(block.mark)]
    assert wrong == []

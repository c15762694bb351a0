# SPDX-License-Identifier: BSD-3-Clause
"""A page of the documentation: its code blocks, what is to be done with each, and how.

Blocks of ```` ```python ```` are one program from top to bottom. Blocks of ```` ```console ```` are commands (`$ ` in
front) and their output; `…` in it stands for any text, alone in a line for any lines. ```` ```toml ```` is a
configuration of the server. ```` ```text ```` is nothing to run. Comments in front of a block, which no reader sees,
say more:

    <!-- page: program -->            a new program begins here
    <!-- page: pytest -->             the block is a file of tests
    <!-- page: file NAME -->          the block is a file that the commands below use
    <!-- page: not run: REASON -->    the block cannot be run in a test
    <!-- page: python … -->           code in the comment itself that belongs to the program

What a program prints is told behind the `print`, as `# …`; all of those have to come, in this order. Pages say
127.0.0.1:4730, 4731, … and postgresql://gearfast@db/gearfast; a test has ports and a database of its own instead.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"(?P<fence>`{3,})(?P<language>[^`]*)")
MARK = re.compile(r"<!-- page: (?P<text>.*?) ?-->", re.DOTALL)
TOLD = re.compile(r"^\s*print\(.*\)  # (?P<output>.+)$")
PROMPT = "$ "
DATABASE = "postgresql://gearfast@db/gearfast"


@dataclass
class Block:
    """A fenced block, or hidden code: what the fence says, the text, the line where the text begins, and its mark."""

    page: str
    language: str
    text: str
    line: int
    mark: str = ""

    @property
    def where(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def reason(self) -> str:
        """Why it is not run, or nothing."""
        return self.mark.removeprefix("not run:").strip() if self.mark.startswith("not run:") else ""


@dataclass
class Command:
    """A command of a console block and the lines that the page shows below it."""

    line: int
    text: str
    output: list[str] = field(default_factory=list)

    @property
    def is_background(self) -> bool:
        return self.text.endswith(" &")


def pages() -> list[Path]:
    """Every page, as far as this checkout has them."""
    found = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "examples" / "README.md"]
    return [path for path in (*found, *sorted((ROOT / "docs").rglob("*.md"))) if path.exists()]


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def blocks(path: Path) -> list[Block]:
    """The page's blocks in their order. Raises AssertionError for a fence without an end."""
    page, found, mark = name_of(path), [], ""
    lines = path.read_text(encoding="utf-8").splitlines()
    number = 0
    while number < len(lines):
        fence = FENCE.fullmatch(lines[number].strip())
        if lines[number].startswith("<!-- page: "):
            first = number
            while "-->" not in lines[number]:
                number += 1
            told = MARK.match("\n".join(lines[first : number + 1]))
            assert told, f"{page}:{first + 1}: a comment that cannot be understood"
            if told["text"].startswith("python\n"):
                found.append(Block(page, "python", told["text"].removeprefix("python\n"), first + 2, "hidden"))
            else:
                mark = told["text"]
        elif fence:
            first = number = number + 1
            while lines[number].strip() != fence["fence"]:
                number += 1
                assert number < len(lines), f"{page}:{first}: a fence without an end"
            found.append(Block(page, fence["language"], "\n".join(lines[first:number]) + "\n", first + 1, mark))
            mark = ""
        elif lines[number].strip():
            assert not mark, f"{page}:{number + 1}: the comment above belongs to a block, which has to follow it"
        number += 1
    assert not mark, f"{page}: {mark!r} belongs to no block"
    return found


def programs(path: Path) -> Iterator[list[Block]]:
    """The page's programs, each as its blocks."""
    program: list[Block] = []
    for block in blocks(path):
        if block.language != "python" or block.mark not in ("", "hidden", "program"):
            continue
        if block.mark == "program" and program:
            yield program
            program = []
        program.append(block)
    if program:
        yield program


def source(program: list[Block]) -> str:
    """One program of all blocks, each line at the number that it has in the page."""
    text = ""
    for block in program:
        text += "\n" * (block.line - 1 - text.count("\n")) + block.text.rstrip("\n") + "\n"
    return text


def outputs(program: list[Block]) -> list[str]:
    """What the page says that the program prints."""
    told = (TOLD.match(line) for block in program for line in block.text.splitlines())
    return [match["output"] for match in told if match]


def commands(block: Block) -> list[Command]:
    """The commands of a console block."""
    found: list[Command] = []
    for offset, line in enumerate(block.text.splitlines()):
        if line.startswith(PROMPT):
            found.append(Command(block.line + offset, line.removeprefix(PROMPT)))
        elif found and found[-1].text.endswith("\\"):
            found[-1].text = found[-1].text[:-1] + line.strip()
        else:
            assert found, f"{block.where}: output without a command"
            found[-1].output.append(line)
    return found


def pattern(shown: list[str]) -> re.Pattern[str]:
    """What matches the output that is shown. The width of columns does not count."""
    text = ""
    for line in shown:
        if line == "…":
            text += "(?:.*\n)*"
        else:
            text += re.sub(r"(\\ )+", " +", re.escape(line)).replace("…", ".*") + " *\n"
    return re.compile(text)

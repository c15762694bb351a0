# SPDX-License-Identifier: BSD-3-Clause
"""The site's reference has every public name, the errors' tree is the tree, and every example is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import gearfast
from gearfast import errors, testing

ROOT = Path(__file__).resolve().parents[3]
DOCS = ROOT / "docs"

pytestmark = pytest.mark.skipif(not DOCS.exists(), reason="needs docs/ of a checkout")


def test_each_public_name_has_a_place() -> None:
    text = "\n".join(path.read_text(encoding="utf-8") for path in (DOCS / "reference").glob("*.md"))
    shown = {name.rpartition(".")[2] for name in re.findall(r"^\.\. auto\w+:: ([\w.]+)", text, re.MULTILINE)}
    assert {*dir(gearfast), *testing.__all__} - shown - {"__version__"} == set()


def test_the_tree_of_errors_is_the_tree() -> None:
    """Lines of the tree in the docstring, which the site shows: each class below its base."""
    assert errors.__doc__ is not None
    found: dict[str, str] = {}
    above: dict[int, str] = {}
    for match in re.finditer(r"^([│ ]*)[├└]── (\w+)", errors.__doc__, re.MULTILINE):
        depth = len(match[1]) // 4
        above[depth] = match[2]
        found[match[2]] = above.get(depth - 1, "GearfastError") if depth else "GearfastError"
    classes = {name: getattr(errors, name) for name in errors.__all__ if isinstance(getattr(errors, name), type)}
    wanted = {
        name: next(base.__name__ for base in kind.__mro__[1:] if base.__name__ in classes)
        for name, kind in classes.items()
        if kind is not errors.GearfastError
    }
    assert found == wanted


def test_each_example_is_on_the_page_and_in_the_list() -> None:
    page = (DOCS / "examples.md").read_text(encoding="utf-8")
    listed = (ROOT / "examples" / "README.md").read_text(encoding="utf-8")
    names = sorted(path.name for path in (ROOT / "examples").glob("*.py"))
    assert [name for name in names if f"../examples/{name}" not in page] == []
    assert [name for name in names if f"`{name}`" not in listed] == []

# SPDX-License-Identifier: BSD-3-Clause
"""The stubs of the extensions name nothing that is not there, and their classes have every public attribute."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
STUBS = sorted((ROOT / "gearfast").rglob("*.pyi"))
Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def names_in(body: list[ast.stmt]) -> set[str]:
    """Names that a stub's module or class defines: functions, classes, annotated names."""
    names = {node.name for node in body if isinstance(node, Definition)}
    return names | {n.target.id for n in body if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)}


def public(names: set[str]) -> set[str]:
    return {name for name in names if not name.startswith("_")}


def classes_in(body: list[ast.stmt]) -> list[ast.ClassDef]:
    return [node for node in body if isinstance(node, ast.ClassDef) and not is_for_types_only(node)]


def is_for_types_only(node: ast.stmt) -> bool:
    """Whether a name of a stub need not exist at run time: an alias, or the shape of a dict."""
    if isinstance(node, ast.AnnAssign):
        return "TypeAlias" in ast.unparse(node.annotation)
    return isinstance(node, ast.ClassDef) and any(ast.unparse(base) == "TypedDict" for base in node.bases)


def load(stub: Path, require: object) -> ModuleType:
    name = ".".join(stub.relative_to(ROOT).with_suffix("").parts)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        assert callable(require)
        require(False, f"{name}, which is built on Linux only")
        raise


@pytest.mark.parametrize("stub", STUBS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_stub_and_extension_agree(stub: Path, require: object) -> None:
    module = load(stub, require)
    body = ast.parse(stub.read_text(encoding="utf-8")).body
    declared = public(names_in([node for node in body if not is_for_types_only(node)]))
    assert {name for name in declared if not hasattr(module, name)} == set()
    for node in classes_in(body):
        kind = getattr(module, node.name)
        attributes = names_in(node.body)
        assert {name for name in attributes if not hasattr(kind, name)} == set(), node.name
        if kind.__module__ == module.__name__:
            assert public(set(vars(kind))) - attributes == set(), node.name


def test_every_extension_that_python_imports_has_a_stub() -> None:
    extensions = {path.with_suffix("") for path in (ROOT / "gearfast").rglob("*.pyx")}
    stubbed = {path.with_suffix("") for path in STUBS}
    names = {".".join(path.relative_to(ROOT).parts) for path in extensions - stubbed}
    imported = {
        found
        for path in (ROOT / "gearfast").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module
        for found in [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    }
    assert names & imported == set()

# SPDX-License-Identifier: BSD-3-Clause
"""Compares a module with a list of an old library's public names, signatures and values.

A list holds facts that were read off the library itself, one a line:

    gear.Client class BaseClient,BaseClientServer     its ancestors
    gear.Client call (client_id='unknown')            a signature, without annotations
    gear.Job.data property rw
    gear.PRECEDENCE_LOW = 1
    aiogear.Client is aiogear.client.Client           the same object under two names
"""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from typing import Any


def differences(name: str) -> list[str]:
    """Lines of names/NAME.txt that do not hold for gearfast.compat.NAME, each with what is there instead."""
    lines = (Path(__file__).parent / "names" / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    return [f"{line}: {found}" for line in lines if line and (found := _compare(line)) is not None]


def _compare(line: str) -> str | None:
    """What is there instead, or None if the line holds."""
    path, kind, *rest = line.split(" ", 2)
    expected = rest[0] if rest else ""
    try:
        owner, thing = _find(path)
        if kind == "is":
            return None if thing is _find(expected)[1] else repr(thing)
    except (AttributeError, ImportError) as error:
        return f"missing: {error}"
    found = _describe(owner, thing, kind, path.rpartition(".")[2])
    if kind == "class":
        return None if set(expected.split(",")) - {"-"} <= set(found.split(",")) else found
    return None if found == expected else found


def _find(path: str) -> tuple[Any, Any]:
    """(what holds a name, what it stands for)."""
    parts = path.split(".")
    for length in range(len(parts), 0, -1):
        try:
            thing: Any = importlib.import_module(".".join(["gearfast.compat", *parts[:length]]))
        except ModuleNotFoundError:
            continue
        owner = thing
        for part in parts[length:]:
            owner, thing = thing, inspect.getattr_static(thing, part)
        return owner, thing
    raise ImportError(path)


def _describe(owner: Any, thing: Any, kind: str, name: str) -> str:
    if kind == "class":
        return ",".join(base.__name__ for base in thing.__mro__)
    if kind == "fields":
        return ",".join(thing._fields)
    if kind == "property":
        return ("rw" if thing.fset else "r") if isinstance(thing, property) else repr(thing)
    if kind == "type":
        return str(thing.__name__)
    if kind == "=":
        return repr(thing.value if hasattr(thing, "value") and hasattr(thing, "name") else thing)
    signature = inspect.signature(getattr(owner, name))
    bare = [part.replace(annotation=inspect.Parameter.empty) for part in signature.parameters.values()]
    return str(signature.replace(parameters=bare, return_annotation=inspect.Signature.empty))

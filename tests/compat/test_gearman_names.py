# SPDX-License-Identifier: BSD-3-Clause
"""Every name, signature and constant of the original packages, as introspection of them gave it (`names/*.txt`).

A line is a dotted name below the package, then a signature, a constant's value or the type of anything else.
"""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from typing import Any

import pytest

NAMES = Path(__file__).with_name("names")
FLAVOURS = {
    "gearman-2.0.2": "gearman",
    "pygearman-0.2.6": "gearman",
    "python3-gearman-0.1.0": "python3_gearman",
    "py3gearman-0.2.0": "py3gearman",
}
# What modules of the originals only import, or keep for themselves; what 2.0.2 did in Python 2's own way.
LEFT_OUT = {
    "connection.GearmanConnection._unpack_command",
    "connection.NULL_CHAR",
    "connection._DEBUG_MODE_",
    "connection.parse_binary_command",
    "connection.parse_text_command",
    "connection_manager._DEBUG_MODE_",
    "admin_client.GEARMAN_COMMAND_ECHO_RES",
    "client_handler.GearmanClientCommandHandler._unregister_request",
    "io._EPOLLERR",
    "io._EPOLLHUP",
    "io._EPOLLIN",
    "io._EPOLLOUT",
}
# The order of 2.0.2 is kept where pygearman has another; the two forms of this method are told apart when it is called.
OTHERWISE = {
    ("pygearman-0.2.6", "client.GearmanClient.submit_multiple_jobs"),
    ("gearman-2.0.2", "connection_manager.GearmanConnectionManager.poll_connections_once"),
    ("python3-gearman-0.1.0", "connection_manager.GearmanConnectionManager.poll_connections_once"),
    ("py3gearman-0.2.0", "connection_manager.GearmanConnectionManager.poll_connections_once"),
    ("pygearman-0.2.6", "__version__"),
    ("pygearman-0.2.6", "version.__version__"),
}


def facts(package: str) -> dict[str, str]:
    """Names and what is known of them."""
    found = {}
    for line in (NAMES / f"{package}.txt").read_text(encoding="utf-8").splitlines():
        name, bracket, rest = line.partition("(") if "(" in line.split(" ")[0] else line.partition(" ")
        found[name] = f"({rest}" if bracket == "(" else rest
    return found


def parameters(signature: str) -> list[str]:
    inside = signature.removeprefix("(").removesuffix(")")
    return [part for part in inside.split(", ") if part and not part.startswith("**")]


def signature_of(function: Any) -> list[str]:
    def one(parameter: inspect.Parameter) -> str:
        stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
        default = "" if parameter.default is parameter.empty else f"={parameter.default!r}"
        return f"{stars}{parameter.name}{default}"

    return [one(parameter) for parameter in inspect.signature(function).parameters.values()]


def find(package: str, name: str) -> Any:
    """The object, a class method as its function."""
    module = importlib.import_module(f"gearfast.compat.{FLAVOURS[package]}")
    words = name.split(".")
    if len(words) > 1:
        module = importlib.import_module(f"{module.__name__}.{words.pop(0)}")
    found: Any = module
    for word in words:
        found = inspect.getattr_static(found, word)
        found = found.__func__ if isinstance(found, classmethod | staticmethod) else found
    return found


def accepts(have: list[str], want: list[str]) -> bool:
    """Whether calls that the old signature allows mean the same: more may follow, and more may have a default."""
    same = all(new == old or new.partition("=")[0] == old for new, old in zip(have, want, strict=False))
    return len(have) >= len(want) and same and all("=" in new or new.startswith("*") for new in have[len(want) :])


def wrong(found: Any, fact: str) -> str | None:
    if fact.startswith("("):
        have = signature_of(found)
        return None if accepts(have, parameters(fact)) else f"{have} for {fact}"
    if fact == "class":
        return None if inspect.isclass(found) else "no class"
    is_value = fact[0] in "'\"-0123456789" or fact.startswith("b'") or fact in ("None", "True", "False")
    return f"{found!r} for {fact}" if is_value and repr(found) != fact else None


@pytest.mark.parametrize("package", FLAVOURS)
def test_names_are_there_and_mean_the_same(package: str) -> None:
    differences = {}
    for name, fact in facts(package).items():
        try:
            found = find(package, name)
        except AttributeError:
            differences[name] = "missing"
            continue
        if (package, name) not in OTHERWISE and (text := wrong(found, fact)):
            differences[name] = text
    assert differences == {name: "missing" for name in LEFT_OUT if name in facts(package)}


def test_errors_have_one_root_and_are_no_builtins(any_gearman: Any) -> None:
    errors = any_gearman.errors
    kinds = [kind for kind in vars(errors).values() if inspect.isclass(kind)]
    assert len(kinds) == 9
    assert all(issubclass(kind, errors.GearmanError) for kind in kinds)
    assert not any(issubclass(kind, OSError | ValueError) for kind in kinds)


def test_loggers_have_the_names_of_the_old_modules(any_gearman: Any) -> None:
    package = any_gearman.__name__.rpartition(".")[2]
    assert any_gearman.gearman_root_logger.name == package
    assert any_gearman.connection_manager.gearman_logger.name == f"{package}.connection_manager"
    assert any_gearman.gearman_root_logger.handlers


def test_parameters_of_commands(any_gearman: Any) -> None:
    protocol = any_gearman.protocol
    assert sorted(protocol.GEARMAN_PARAMS_FOR_COMMAND) == [1, 2, 3, 4, *range(6, 35), 9999]
    assert protocol.GEARMAN_PARAMS_FOR_COMMAND[protocol.GEARMAN_COMMAND_JOB_ASSIGN_UNIQ] == [
        "job_handle",
        "task",
        "unique",
        "data",
    ]
    assert protocol.GEARMAN_PARAMS_FOR_COMMAND[protocol.GEARMAN_COMMAND_ERROR] == ["error_code", "error_text"]
    assert protocol.get_command_name(9) == "GEARMAN_COMMAND_GRAB_JOB"
    assert protocol.get_command_name(5) == 5

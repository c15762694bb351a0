# SPDX-License-Identifier: BSD-3-Clause
"""Finds the worker that `module:attribute` names."""

from __future__ import annotations

import difflib
import importlib
import inspect
import os
import pkgutil
import sys
from typing import TYPE_CHECKING, Any

from gearfast.aio.worker import AsyncWorker
from gearfast.errors import UsageError
from gearfast.sync.worker import Worker
from gearfast.tasks.app import App
from gearfast.tasks.task import Task

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["ATTRIBUTE", "load"]

ATTRIBUTE = "worker"
"""What is looked for in a module if nothing is named."""


def load(target: str, folder: str = ".") -> Worker | AsyncWorker:
    """The worker of `module:attribute`; modules are looked for in `folder` first.

    The attribute is a Worker, an AsyncWorker, an App, of whose tasks a worker is made, or a function that returns one
    of them. Raises UsageError, with near names, if there is nothing of that name or it is something else; what the
    module itself raises goes through.
    """
    name, colon, attribute = target.partition(":")
    if not name or (colon and not attribute):
        raise UsageError(f"{target!r}: a worker is named module:attribute, as in shop.jobs:worker")
    attribute = attribute or ATTRIBUTE
    path = os.path.abspath(folder)
    if name.startswith(".") or os.sep in name or (name.endswith(".py") and os.path.isfile(os.path.join(path, name))):
        right = os.path.normpath(name).lstrip(f".{os.sep}").removesuffix(".py").replace(os.sep, ".")
        raise UsageError(f"{target!r}: a worker is named module:attribute, not by a file, as in {right}:{attribute}")
    if path not in sys.path:
        sys.path.insert(0, path)
    module = _import(name, path, target.removeprefix(name))
    found: Any = module
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise UsageError(f"module {name} has no {attribute!r}; {_instead(module, attribute)}")
        found = getattr(found, part)
    return _made(found, f"{name}:{attribute}")


def _made(found: Any, what: str) -> Worker | AsyncWorker:
    if isinstance(found, Worker | AsyncWorker):
        return found
    if isinstance(found, App):
        return _worker_of(found)
    if isinstance(found, Task):
        raise UsageError(f"{what} is a task; its app is what a worker is made of")
    if callable(found):
        if inspect.iscoroutinefunction(found):
            raise UsageError(
                f"{what} is a coroutine function; a plain one that returns a Worker or AsyncWorker is called"
            )
        try:
            inspect.signature(found).bind()
        except TypeError as error:
            raise UsageError(f"{what} is called without arguments, but: {error}") from None
        except ValueError:  # a builtin that does not tell
            pass
        made = found()
        if isinstance(made, Worker | AsyncWorker | App):
            return _made(made, what)
        raise UsageError(f"{what} returned {_kind(made)}, not a Worker, an AsyncWorker or an App")
    raise UsageError(
        f"{what} is {_kind(found)}, not a Worker, an AsyncWorker or a function that returns one, nor an App"
    )


def _worker_of(app: App) -> Worker | AsyncWorker:
    worker = AsyncWorker() if app.needs_loop else Worker()
    worker.add(app)
    return worker


def _import(name: str, folder: str, tail: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if name != missing and not name.startswith(f"{missing}."):
            raise  # something that the module itself imports
        near = [module + tail for module in _near_modules(name, missing, folder)]
        hint = f"did you mean {' or '.join(near)}?" if near else f"modules are looked for in {folder} first"
        raise UsageError(f"there is no module {missing}; {hint}") from None


def _near_modules(name: str, missing: str, folder: str) -> list[str]:
    """Modules beside the one that is missing, with similar names."""
    above, _, last = missing.rpartition(".")
    paths = list(getattr(sys.modules[above], "__path__", ())) if above in sys.modules else [folder]
    names = [module.name for module in pkgutil.iter_modules(paths)]
    rest = name.removeprefix(missing)
    return [f"{above}.{near}{rest}".lstrip(".") for near in difflib.get_close_matches(last, names, 3, 0.5)]


def _instead(module: ModuleType, attribute: str) -> str:
    """What there is: the module's workers and apps, else names that look alike."""
    names = [name for name in vars(module) if not name.startswith("_")]
    workers = [name for name in names if isinstance(vars(module)[name], Worker | AsyncWorker | App)]
    makers = [name for name in names if inspect.isfunction(vars(module)[name])]
    first = difflib.get_close_matches(attribute, workers + makers, 3, 0.6) or workers
    if first:
        return f"did you mean {' or '.join(f'{module.__name__}:{name}' for name in first)}?"
    return "it has no Worker and no AsyncWorker of any name, nor an App"


def _kind(value: object) -> str:
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"

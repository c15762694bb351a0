# SPDX-License-Identifier: BSD-3-Clause
"""What a task may be called with: the signature of its callable, without the job that a worker puts in front."""

from __future__ import annotations

import inspect
import sys
import types
from collections.abc import Callable
from typing import Any, Union, get_args, get_origin

from gearfast.errors import UsageError
from gearfast.session.job import BaseJob

__all__ = ["Parameters"]

JOBS = {"Job", "AsyncJob", "BaseJob"}
POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class Parameters:
    """A callable's parameters. `takes_job`: the first one is the job, by its annotation, and is not counted.

    Raises UsageError for a callable that does not tell its parameters.
    """

    __slots__ = ("_name", "_signature", "takes_job")

    def __init__(self, callable_: Callable[..., Any], name: str) -> None:
        try:
            signature = _signature(callable_)
        except (TypeError, ValueError) as error:
            raise UsageError(f"task {name!r}: {error}") from None
        parameters = list(signature.parameters.values())
        self.takes_job = bool(parameters) and _is_job(parameters[0], callable_)
        self._name = name
        self._signature = signature.replace(parameters=parameters[self.takes_job :])

    def bind(self, args: tuple[Any, ...] | list[Any], kwargs: dict[str, Any]) -> dict[str, Any]:
        """The arguments by the parameters' names; `*args` is one of them, and so is `**kwargs`.

        Raises TypeError for what the callable cannot be called with.
        """
        try:
            return self._signature.bind(*args, **kwargs).arguments
        except TypeError as error:
            raise TypeError(f"{self._name}(): {error}") from None

    @property
    def sole(self) -> str | None:
        """The first parameter's name, if the callable can be called with one positional argument."""
        first = next(iter(self._signature.parameters.values()), None)
        if first is None or first.kind not in POSITIONAL:
            return None
        try:
            self._signature.bind(None)
        except TypeError:
            return None
        return first.name


def _signature(callable_: Callable[..., Any]) -> inspect.Signature:
    if sys.version_info >= (3, 14):  # where annotations are looked up late, and those for type checkers alone fail
        import annotationlib

        return inspect.signature(callable_, annotation_format=annotationlib.Format.FORWARDREF)
    return inspect.signature(callable_)


def _is_job(parameter: inspect.Parameter, callable_: Callable[..., Any]) -> bool:
    return parameter.kind in POSITIONAL and _names_a_job(parameter.annotation, callable_)


def _names_a_job(annotation: Any, callable_: Callable[..., Any]) -> bool:
    if isinstance(annotation, str):
        try:
            annotation = eval(annotation, getattr(inspect.unwrap(callable_), "__globals__", {}))
        except Exception:  # noqa: BLE001  # imported for type checkers alone, so its text has to do
            return _reads_as_job(annotation)
    if get_origin(annotation) in (Union, types.UnionType):
        kinds = [kind for kind in get_args(annotation) if kind is not types.NoneType]
        return all(_names_a_job(kind, callable_) for kind in kinds)
    if isinstance(annotation, type):
        return issubclass(annotation, BaseJob)
    forward = getattr(annotation, "__forward_arg__", None)  # Python 3.14's, of a name that is not there
    return isinstance(forward, str) and _reads_as_job(forward)


def _reads_as_job(annotation: str) -> bool:
    kinds = [kind.strip().rpartition(".")[2] for kind in annotation.split("|")]
    return kinds[0] in JOBS and all(kind in JOBS or kind == "None" for kind in kinds)

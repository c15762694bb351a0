# SPDX-License-Identifier: BSD-3-Clause
"""Where a program declares its tasks."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, TypeVar, overload

from gearfast.errors import ConnectError, JobFailed, UsageError
from gearfast.frontend.hooks import Hooks
from gearfast.session.functions import Function, check_function_name, make_function
from gearfast.session.job import BaseJob
from gearfast.session.retry import Backoff, Retry
from gearfast.tasks.serializers import Serializer, is_unsafe, make_serializer, name_of
from gearfast.tasks.signature import Parameters
from gearfast.tasks.task import Task
from gearfast.tasks.wire import Wire
from gearfast.tasks.work import Work, make_async_work
from gearfast.types import Priority

if TYPE_CHECKING:
    from gearfast.tasks.task import CoroutineTask, JobCoroutineTask, JobTask, PlainTask, Unique

__all__ = ["App"]

P = ParamSpec("P")
R = TypeVar("R")
J = TypeVar("J", bound=BaseJob)
H = TypeVar("H", bound="Callable[..., object]")


class Whatever:
    """No argument has this type. What takes it takes anything, so that its first parameter is none for the job."""


class Decorator(Protocol):
    """Makes a callable a task. A first parameter annotated as a job is the worker's to fill."""

    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, callable: Callable[Concatenate[Whatever, ...], Coroutine[Any, Any, R]], /
    ) -> CoroutineTask[..., R]: ...
    @overload
    def __call__(self, callable: Callable[Concatenate[Whatever, ...], R], /) -> PlainTask[..., R]: ...
    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, callable: Callable[Concatenate[J, P], Coroutine[Any, Any, R]], /
    ) -> JobCoroutineTask[J, P, R]: ...
    @overload
    def __call__(self, callable: Callable[Concatenate[J, P], R], /) -> JobTask[J, P, R]: ...
    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, callable: Callable[P, Coroutine[Any, Any, R]], /
    ) -> CoroutineTask[P, R]: ...
    @overload
    def __call__(self, callable: Callable[P, R], /) -> PlainTask[P, R]: ...


class App:
    """Declares tasks: Python callables whose calls a client submits with arguments, and a worker does.

    `serializer`: how arguments and results travel: `"json"`, `"raw"` (one argument of bytes, and bytes as the result),
    `"msgpack"` (needs the extra `msgpack`), `"pickle"`, or an object with `dumps` and `loads`. `prefix`: what the names
    of the app's functions begin with. `allow_pickle`: a worker may do tasks whose serializer is pickle, which lets
    whoever can submit jobs run any code in it. Raises UsageError.

    `Worker.add(app)` registers its tasks, `gearfast worker module:app` runs a worker of it.
    """

    def __init__(self, *, serializer: str | Serializer = "json", prefix: str = "", allow_pickle: bool = False) -> None:
        self._serializer = make_serializer(serializer)
        self._prefix = prefix
        self._allow_pickle = allow_pickle
        self._tasks: dict[str, Task[..., Any]] = {}
        self._unsafe: dict[str, str] = {}  # functions by the serializers that a worker may refuse
        self._has_async_hooks = False
        self._in_use = False
        self.hooks = Hooks()

    @property
    def tasks(self) -> Mapping[str, Task[..., Any]]:
        """The tasks by the names of their functions."""
        return MappingProxyType(self._tasks)

    @property
    def needs_loop(self) -> bool:
        """A coroutine function is among its tasks or hooks, so that an AsyncWorker has to do them."""
        return self._has_async_hooks or any(task.is_coroutine for task in self._tasks.values())

    @overload
    def task(  # type: ignore[overload-overlap]
        self, callable: Callable[Concatenate[Whatever, ...], Coroutine[Any, Any, R]], /
    ) -> CoroutineTask[..., R]: ...
    @overload
    def task(self, callable: Callable[Concatenate[Whatever, ...], R], /) -> PlainTask[..., R]: ...
    @overload
    def task(  # type: ignore[overload-overlap]
        self, callable: Callable[Concatenate[J, P], Coroutine[Any, Any, R]], /
    ) -> JobCoroutineTask[J, P, R]: ...
    @overload
    def task(self, callable: Callable[Concatenate[J, P], R], /) -> JobTask[J, P, R]: ...
    @overload
    def task(  # type: ignore[overload-overlap]
        self, callable: Callable[P, Coroutine[Any, Any, R]], /
    ) -> CoroutineTask[P, R]: ...
    @overload
    def task(self, callable: Callable[P, R], /) -> PlainTask[P, R]: ...
    @overload
    def task(
        self,
        name: str | None = None,
        /,
        *,
        timeout: float | None = None,
        concurrency: int | None = None,
        process: bool = False,
        retries: int | None = None,
        backoff: Backoff | None = None,
        priority: Priority | None = None,
        unique: Unique | None = None,
        serializer: str | Serializer | None = None,
    ) -> Decorator: ...

    def task(self, what: Any = None, /, **settings: Any) -> Any:
        """Decorator: the callable becomes a Task; it can still be called as before.

        A coroutine function needs an AsyncWorker. A first parameter annotated `Job` (or `AsyncJob`) gets the job, and
        is not part of the arguments. `name`: the function's, behind the app's prefix; by default the callable's.
        `timeout` (seconds), `concurrency`, `process`: the worker's, as for `Worker.register`.
        `retries`: how often a *client* submits the job again if it failed or no server could be reached, with `backoff`
        between; retries that do not need a waiting client are the server's business.
        `priority`, `unique`: of its jobs, where a call's options say nothing else; a callable makes the unique of the
        task's arguments. `serializer`: another one than the app's. Raises UsageError.
        """
        if what is None or isinstance(what, str):
            return lambda callable: self._declare(what, callable, **settings)
        if settings:
            raise UsageError("a task's name and settings go into the decorator: @app.task('name', timeout=…)")
        return self._declare(None, what)

    def before(self, hook: H) -> H:
        """Call `hook` with each job before its task; also a decorator.

        One that is a coroutine function needs an AsyncWorker. What it raises ends the job as if the task had raised it,
        and the task is not called.
        """
        return self._hooked(self.hooks.before, hook)

    def after(self, hook: H) -> H:
        """Call `hook` with each job once its task is over, however it ended; also a decorator. As `before`.

        What it raises is logged.
        """
        return self._hooked(self.hooks.after, hook)

    def on_failure(self, hook: H) -> H:
        """Call `hook` with each job that ends badly and its exception; also a decorator. As `before`.

        That is what the task or a hook before it raised, or what is wrong with its arguments or its result. What it
        raises is logged.
        """
        return self._hooked(self.hooks.failure, hook)

    def __gearfast_functions__(self) -> dict[str, Function]:
        """The functions that a worker is to do. Raises UsageError."""
        if not self._tasks:
            raise UsageError("the app has no task; import the modules that declare them first")
        self._in_use = True
        return {name: self._function(task) for name, task in self._tasks.items()}

    # Inside

    def _declare(
        self,
        name: str | None,
        callable_: Callable[..., Any],
        *,
        timeout: float | None = None,
        concurrency: int | None = None,
        process: bool = False,
        retries: int | None = None,
        backoff: Backoff | None = None,
        priority: Priority | None = None,
        unique: Unique | None = None,
        serializer: str | Serializer | None = None,
    ) -> Task[..., Any]:
        if isinstance(callable_, Task):
            raise UsageError(f"{callable_!r} is a task already")
        if name is None:
            name = getattr(callable_, "__name__", None)
            if name is None:
                raise UsageError(f"{callable_!r} has no name, so its task needs one")
        name = self._prefix + name
        check_function_name(name)
        make_function(callable_, timeout, concurrency, process)
        if name in self._tasks:
            raise UsageError(f"the app has a task {name!r} already")
        chosen = self._serializer if serializer is None else make_serializer(serializer)
        wire = Wire(name, chosen, Parameters(callable_, name))
        if is_unsafe(chosen):
            self._unsafe[name] = name_of(chosen)
        defaults = {"priority": priority, "unique": unique, "retry": _make_retry(retries, backoff)}
        given = {option: value for option, value in defaults.items() if value is not None}
        task = self._tasks[name] = Task(self, name, callable_, wire, given, (timeout, concurrency, process))
        return task

    def _function(self, task: Task[..., Any]) -> Function:
        if task.name in self._unsafe and not self._allow_pickle:
            raise UsageError(
                f"task {task.name!r}: serializer {self._unsafe[task.name]!r} lets whoever submits jobs run any code in "
                "the worker; if all of them may, say App(allow_pickle=True)"
            )
        if task.is_coroutine or self._has_async_hooks:
            return Function(make_async_work(task, self.hooks), *task.settings)
        return Function(Work(task, self.hooks), *task.settings)

    def _hooked(self, hooks: list[Callable[..., Any]], hook: H) -> H:
        if inspect.iscoroutinefunction(hook) and not self._has_async_hooks:
            if self._in_use:
                raise UsageError("an app's first hook that is a coroutine function comes before a worker gets the app")
            self._has_async_hooks = True
        hooks.append(hook)
        return hook


def _make_retry(retries: int | None, backoff: Backoff | None) -> Retry | None:
    if retries is None:
        if backoff is not None:
            raise UsageError("backoff is what lies between retries: say how many, retries=…")
        return None
    if retries < 0:
        raise UsageError(f"retries is 0 or more, not {retries!r}")
    return Retry(retries + 1, backoff=backoff or Backoff(), on=(ConnectError, JobFailed))

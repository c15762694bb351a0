# SPDX-License-Identifier: BSD-3-Clause
"""What a client does with a task: run it, submit it, map it over many values."""

from __future__ import annotations

import functools
import inspect
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, ParamSpec, Protocol, TypeVar, cast, overload

from gearfast.errors import GearfastError, SerializeError, UsageError
from gearfast.types import Handle, Priority

P = ParamSpec("P")
Q = ParamSpec("Q")
T = TypeVar("T")
R_co = TypeVar("R_co", covariant=True)
M_co = TypeVar("M_co", covariant=True)
"""What `map` yields: results, or exceptions too."""

if TYPE_CHECKING:
    from datetime import datetime

    from gearfast.aio.client import AsyncClient
    from gearfast.aio.future import AsyncJobFuture
    from gearfast.session.job import BaseJob
    from gearfast.session.retry import Retry
    from gearfast.sync.client import Client
    from gearfast.sync.future import JobFuture
    from gearfast.tasks.app import App
    from gearfast.tasks.wire import Bytes, Wire

    J = TypeVar("J", bound=BaseJob)
    T_contra = TypeVar("T_contra", contravariant=True)
    O_co = TypeVar("O_co", covariant=True)

    class Mappable(Protocol[T_contra, Q, O_co]):
        """A task with a first argument, as a checker finds its type: the rest are `Q`, and `map` yields `O_co`."""

        def workload(self, first: T_contra, /, *args: Q.args, **kwargs: Q.kwargs) -> bytes: ...

        def _yields(self) -> O_co: ...


__all__ = ["Call", "Task"]

Unique = str | bytes | Callable[..., str | bytes]

ALWAYS: Final = {"unique", "priority", "timeout", "retry"}
LATER: Final = ALWAYS | {"at", "delay"}
STREAM: Final = ALWAYS | {"window", "ordered", "return_exceptions"}


class Call(Generic[P, R_co, M_co]):
    """A task with options for its next calls; `Task.options` makes it.

    `client` is a Client, or an AsyncClient, whose results are awaited. Each method takes the task's own arguments
    behind it and raises TypeError, as the task itself would, if they do not fit, and SerializeError for one that
    cannot be sent; nothing was sent then.
    """

    def __init__(self, task: Task[P, R_co], options: dict[str, Any]) -> None:
        self._task = task
        self._options = options

    @overload
    def run(self, client: Client, /, *args: P.args, **kwargs: P.kwargs) -> R_co: ...

    @overload
    def run(self, client: AsyncClient, /, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R_co]: ...

    def run(self, client: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Submit a job and return its result. Raises as `Client.run`, and SerializeError for what is no result."""
        workload, options = self._job(client, "run", ALWAYS, args, kwargs)
        return _then(client.run(self._task.name, workload, **options), self._task.wire.result)

    @overload
    def submit(self, client: Client, /, *args: P.args, **kwargs: P.kwargs) -> JobFuture[R_co]: ...

    @overload
    def submit(self, client: AsyncClient, /, *args: P.args, **kwargs: P.kwargs) -> AsyncJobFuture[R_co]: ...

    def submit(self, client: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Submit a job and return its future at once; that of an AsyncClient is awaited.

        It is a future as of `Client.submit`, with `events`, `data`, `progress` and `cancel`; its result is the task's.
        """
        workload, options = self._job(client, "submit", ALWAYS, args, kwargs)
        return client._submit(self._task.wire.result, self._task.name, workload, **options)

    @overload
    def submit_background(self, client: Client, /, *args: P.args, **kwargs: P.kwargs) -> Handle: ...

    @overload
    def submit_background(
        self, client: AsyncClient, /, *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[Any, Any, Handle]: ...

    def submit_background(self, client: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Hand a job to the server and return its handle, for `Task.result`. Raises as `Client.submit_background`.

        The options `at` and `delay` are for this method alone.
        """
        workload, options = self._job(client, "submit_background", LATER, args, kwargs)
        return client.submit_background(self._task.name, workload, **options)

    @overload
    def map(
        self: Mappable[T, Q, M_co],
        client: Client,
        items: Iterable[T],
        /,
        *args: Q.args,
        **kwargs: Q.kwargs,
    ) -> Iterator[M_co]: ...

    @overload
    def map(
        self: Mappable[T, Q, M_co],
        client: AsyncClient,
        items: Iterable[T] | AsyncIterable[T],
        /,
        *args: Q.args,
        **kwargs: Q.kwargs,
    ) -> AsyncIterator[M_co]: ...

    def map(self, client: Any, items: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Run one job for each item and yield the results in order; the item is the task's first argument.

        `args` and `kwargs`: the other arguments, the same for all. The options `window`, `ordered` and
        `return_exceptions` are for this method alone; `unique` is a callable here. Else as `Client.map`. Of a list or a
        tuple all items are turned into workloads by the call itself; others are as they are taken.
        """
        options = self._given("map", STREAM)
        _check_client(client)
        make_unique = options.pop("unique", None)
        if make_unique is not None and not callable(make_unique):
            raise UsageError(f"task {self._task.name!r}: with one unique for all, map has one job; give a callable")
        keys: deque[str | bytes] = deque()
        wire = self._task.wire

        def encode(item: Any) -> Bytes:
            workload = wire.workload((item, *args), kwargs)
            if make_unique is not None:
                keys.append(make_unique(item, *args, **kwargs))
            return workload

        if make_unique is not None:
            options["unique"] = lambda workload: keys.popleft()  # it is asked once for each workload, in their order
        workloads = _encoded(items, encode)
        results = client.map(self._task.name, workloads, **options)
        decode = _decoded_async if isinstance(results, AsyncIterator) else _decoded
        return decode(results, wire, options.get("return_exceptions", False))

    def workload(self, /, *args: P.args, **kwargs: P.kwargs) -> bytes:
        """The workload of such a call, as it travels. Raises TypeError and SerializeError."""
        return bytes(self._task.wire.workload(args, kwargs))

    if TYPE_CHECKING:

        def _yields(self) -> M_co: ...

    def _job(
        self, client: Any, verb: str, known: set[str], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Bytes, dict[str, Any]]:
        """The workload of a call, and the options for the client's method."""
        _check_client(client)
        options = self._given(verb, known)
        workload = self._task.wire.workload(args, kwargs)
        unique = options.get("unique")
        if callable(unique):
            options["unique"] = unique(*args, **kwargs)
        return workload, options

    def _given(self, verb: str, known: set[str]) -> dict[str, Any]:
        """What goes to the client: the options of the call over those of the task. Raises UsageError."""
        if not self._options.keys() <= known:
            extra = ", ".join(sorted(self._options.keys() - known))
            raise UsageError(f"task {self._task.name!r}: {verb} has no option {extra}")
        return self._task.defaults | self._options


class Task(Call[P, R_co, R_co]):
    """A callable that `App.task` made a task. Called, it is the callable itself; its methods are done by a worker.

    `name`: the function's name at the job server, with the app's prefix. `app`: where it was declared.
    """

    def __init__(
        self, app: App, name: str, callable: Callable[..., Any], wire: Wire, defaults: dict[str, Any], settings: Any
    ) -> None:
        super().__init__(self, {})
        functools.update_wrapper(cast("Any", self), callable)
        self.app = app
        self.name = name
        self.callable = callable
        self.is_coroutine = inspect.iscoroutinefunction(callable)
        self.wire = wire
        self.defaults = defaults
        self.settings: tuple[float | None, int | None, bool] = settings

    if not TYPE_CHECKING:  # checkers know it by the classes below

        def __call__(self, /, *args, **kwargs):
            return self.callable(*args, **kwargs)

    @overload
    def options(
        self,
        *,
        unique: Unique | None = ...,
        priority: Priority = ...,
        timeout: float | None = ...,
        retry: Retry | None = ...,
        at: float | datetime | None = ...,
        delay: float | None = ...,
        window: int = ...,
        ordered: bool = ...,
        return_exceptions: Literal[False] = ...,
    ) -> Call[P, R_co, R_co]: ...

    @overload
    def options(
        self,
        *,
        unique: Unique | None = ...,
        priority: Priority = ...,
        timeout: float | None = ...,
        retry: Retry | None = ...,
        window: int = ...,
        ordered: bool = ...,
        return_exceptions: bool,
    ) -> Call[P, R_co, R_co | GearfastError]: ...

    def options(self, **options: Any) -> Any:
        """The task with options for its next calls: `task.options(unique="p/17").run(client, …)`.

        `unique`: as for `Client.run`, or a callable that makes it of the task's arguments. `priority`, `timeout`,
        `retry`: as for `Client.run`; `at`, `delay`: as for `Client.submit_background`; `window`, `ordered`,
        `return_exceptions`: as for `Client.map`. What is left out is as the task was declared. Raises UsageError.
        """
        if not options.keys() <= LATER | STREAM:
            extra = ", ".join(sorted(options.keys() - (LATER | STREAM)))
            raise UsageError(f"a task has no option {extra}; there are {', '.join(sorted(LATER | STREAM))}")
        return Call(self, options)

    @overload
    def result(
        self,
        client: Client,
        handle: str | None = ...,
        /,
        *,
        unique: str | bytes | None = ...,
        timeout: float | None = ...,
    ) -> R_co: ...

    @overload
    def result(
        self,
        client: AsyncClient,
        handle: str | None = ...,
        /,
        *,
        unique: str | bytes | None = ...,
        timeout: float | None = ...,
    ) -> Coroutine[Any, Any, R_co]: ...

    def result(
        self,
        client: Any,
        handle: str | None = None,
        /,
        *,
        unique: str | bytes | None = None,
        timeout: float | None = None,
    ) -> Any:
        """The value of a job of this task that was handed to a server before, by its handle or its unique.

        Waits for its end. `timeout` and errors as for `Client.result`; SerializeError for what is no result.
        """
        _check_client(client)
        if (handle is None) == (unique is None):
            raise UsageError(f"task {self.name!r}: result takes a handle or unique=, one of them")
        if unique is None:
            return _then(client.result(handle, timeout=timeout), self.wire.result)
        return _then(client.result(unique, function=self.name, timeout=timeout), self.wire.result)

    def decode(self, result: bytes) -> R_co:
        """The value that a job's result carries. Raises SerializeError."""
        value: R_co = self.wire.result(result)
        return value

    def __repr__(self) -> str:
        return f"<Task {self.name!r}>"

    def __reduce__(self) -> str:
        return self.callable.__qualname__  # pickled by its name, as a function is


if TYPE_CHECKING:  # what calling a task itself takes and gives

    class PlainTask(Task[P, R_co]):
        def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co: ...

    class CoroutineTask(Task[P, R_co]):
        def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R_co]: ...

    class JobTask(Task[P, R_co], Generic[J, P, R_co]):
        def __call__(self, job: J, /, *args: P.args, **kwargs: P.kwargs) -> R_co: ...

    class JobCoroutineTask(Task[P, R_co], Generic[J, P, R_co]):
        def __call__(self, job: J, /, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R_co]: ...


def _check_client(client: Any) -> None:
    if not hasattr(client, "submit_background"):
        raise TypeError(f"a task's first argument is a Client or an AsyncClient, not {type(client).__name__}")


def _then(result: Any, decode: Callable[[bytes], Any]) -> Any:
    """The value of what a client's `run` gave: a result, or one to be awaited."""
    if not isinstance(result, Awaitable):
        return decode(result)

    async def wait() -> Any:
        return decode(await result)

    return wait()


def _encoded(items: Any, encode: Callable[[Any], Bytes]) -> Any:
    """Workloads of items. A list stays one: a client sends it faster, as nothing is waited for in between."""
    if isinstance(items, (list, tuple)):
        return list(map(encode, items))
    if isinstance(items, AsyncIterable):
        return (encode(item) async for item in items)
    return map(encode, items)


def _decoded(results: Iterator[bytes | GearfastError], wire: Wire, return_exceptions: bool) -> Iterator[Any]:
    with closing(results):  # type: ignore[type-var]
        for result in results:
            yield _value(result, wire, return_exceptions)


async def _decoded_async(
    results: AsyncIterator[bytes | GearfastError], wire: Wire, return_exceptions: bool
) -> AsyncIterator[Any]:
    from contextlib import aclosing

    async with aclosing(results):  # type: ignore[type-var]
        async for result in results:
            yield _value(result, wire, return_exceptions)


def _value(result: bytes | GearfastError, wire: Wire, return_exceptions: bool) -> Any:
    if isinstance(result, GearfastError):
        return result
    try:
        return wire.result(result)
    except SerializeError as error:
        if return_exceptions:
            return error
        raise

# SPDX-License-Identifier: BSD-3-Clause
"""Which parameters a task has, and which first one is the job."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Optional

import pytest

import gearfast
from gearfast import AsyncJob, Job, UsageError
from gearfast.tasks.signature import Parameters

if TYPE_CHECKING:
    import gearfast as there
    from gearfast import Job as Unknown


def plain(path: str, width: int = 320, *more: int, mode: str = "", **rest: int) -> None: ...
def with_job(job: Job, path: str) -> None: ...
async def with_async_job(job: AsyncJob, path: str) -> None: ...
def either(job: Job | AsyncJob | None, path: str) -> None: ...
def optional(job: Optional[gearfast.Job], path: str) -> None: ...  # noqa: UP045
def for_checkers(job: there.Job, path: str) -> None: ...
def either_for_checkers(job: there.Job | there.AsyncJob, path: str) -> None: ...
def other_name(job: Unknown, path: str) -> None: ...
def no_job(job, path: str) -> None: ...  # type: ignore[no-untyped-def]
def second(path: str, job: Job) -> None: ...
def text_or_job(job: Job | str, path: str) -> None: ...
def keyword(*, job: Job) -> None: ...


@functools.wraps(with_job)
def wrapped(*args: Any, **kwargs: Any) -> None: ...


class Callable:
    def __call__(self, job: Job, path: str) -> None: ...


@pytest.mark.parametrize(
    "callable",
    [with_job, with_async_job, either, optional, for_checkers, either_for_checkers, wrapped, Callable()],
)
def test_a_job_is_no_argument(callable: Any) -> None:
    parameters = Parameters(callable, "f")
    assert parameters.takes_job
    assert parameters.bind(("a",), {}) == {"path": "a"}


@pytest.mark.parametrize("callable", [no_job, other_name, text_or_job])
def test_what_is_no_job(callable: Any) -> None:
    """No annotation, a name that cannot be looked up and does not say so, or a choice of others."""
    parameters = Parameters(callable, "f")
    assert not parameters.takes_job
    assert parameters.bind((1, "a"), {}) == {"job": 1, "path": "a"}


@pytest.mark.parametrize("callable", [second, keyword])
def test_only_the_first_one_is_the_job(callable: Any) -> None:
    assert not Parameters(callable, "f").takes_job


@pytest.mark.parametrize(
    ("args", "kwargs", "bound"),
    [
        (("a",), {}, {"path": "a"}),
        ((), {"path": "a", "width": 3}, {"path": "a", "width": 3}),
        (("a", 1, 2, 3), {}, {"path": "a", "width": 1, "more": (2, 3)}),
        (("a",), {"mode": "x", "other": 5}, {"path": "a", "mode": "x", "rest": {"other": 5}}),
    ],
)
def test_arguments_by_name(args: Any, kwargs: Any, bound: Any) -> None:
    assert Parameters(plain, "f").bind(args, kwargs) == bound


@pytest.mark.parametrize(
    ("args", "kwargs", "said"),
    [
        ((), {}, "f(): missing a required argument: 'path'"),
        (("a", "b"), {}, "f(): too many positional arguments"),
        (("a",), {"width": 3}, "f(): got an unexpected keyword argument 'width'"),
        (("a",), {"path": "b"}, "f(): multiple values for argument 'path'"),
    ],
)
def test_what_does_not_fit(args: Any, kwargs: Any, said: str) -> None:
    with pytest.raises(TypeError) as caught:
        Parameters(with_job, "f").bind(args, kwargs)
    assert str(caught.value) == said
    with pytest.raises(TypeError):  # as the plain call does
        with_job(None, *args, **kwargs)  # type: ignore[arg-type]


def test_the_sole_parameter() -> None:
    def none() -> None: ...
    def two(one: bytes, two: bytes) -> None: ...
    def enough(one: bytes, two: bytes = b"") -> None: ...
    def keyword(*, one: bytes) -> None: ...
    def any(*args: bytes) -> None: ...

    found = [Parameters(each, "f").sole for each in (none, two, enough, with_job, keyword, any)]
    assert found == [None, None, "one", "path", None, None]


def test_what_does_not_tell_its_parameters() -> None:
    def secretive() -> None: ...

    secretive.__signature__ = "none"  # type: ignore[attr-defined]
    # In the words of inspect, which differ from one Python to the next.
    with pytest.raises(UsageError, match=r"task 'f': .*(unexpected object 'none' in __signature__|invalid signature)"):
        Parameters(secretive, "f")

# SPDX-License-Identifier: BSD-3-Clause
"""`aiogear.exception`: the library's exceptions, which carry a handle."""

from __future__ import annotations

from typing import Any


class _BaseException(Exception):
    """`handle`: of the job that this is about, or None."""

    def __init__(self, *a: Any, **kw: Any) -> None:
        self.handle = kw.pop("handle", None)
        super().__init__(*a, **kw)


class WorkFailed(_BaseException):
    """The job server refused a request; the arguments are the error's code and text."""


class WorkException(_BaseException):
    """A job ended with an exception; for programs to raise, the library returns `response.WorkException`."""

# SPDX-License-Identifier: BSD-3-Clause
"""What a worker process does, and how it finds its supervisor. No import of it costs a supervisor any memory."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

__all__ = ["VARIABLE", "Settings"]

VARIABLE: Final = "GEARFAST_RUNNER_FD"
"""The environment variable whose number is the socket to the supervisor."""


class Settings(NamedTuple):
    """What a process does.

    `options`: arguments of the constructor that go over what the program says; `defaults`: those for a program that
    does not say them.
    """

    target: str
    folder: str = "."
    options: dict[str, Any] = {}  # noqa: RUF012  # never changed
    defaults: dict[str, Any] = {}  # noqa: RUF012  # never changed
    only: frozenset[str] = frozenset()
    max_jobs: int | None = None
    max_memory: int | None = None
    burst: bool = False

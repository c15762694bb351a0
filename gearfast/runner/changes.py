# SPDX-License-Identifier: BSD-3-Clause
"""Tells when files of a program change, by watchfiles."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from gearfast.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["watching"]


def watching(folders: Sequence[str]) -> Callable[[Callable[[], None]], None]:
    """What watches Python files in these folders from a thread and calls a function when they change.

    Raises UsageError if watchfiles is not installed.
    """
    try:
        from watchfiles import PythonFilter, watch
    except ImportError:
        raise UsageError("--reload needs watchfiles: pip install 'gearfast[worker]'") from None

    def start(changed: Callable[[], None]) -> None:
        def look() -> None:
            for _ in watch(*folders, watch_filter=PythonFilter(), raise_interrupt=False):
                changed()

        threading.Thread(target=look, name="gearfast-reload", daemon=True).start()

    return start

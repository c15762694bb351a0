# SPDX-License-Identifier: BSD-3-Clause
"""What stands behind `memory://NAME`: job servers of this process that are reached without a socket.

`gearfast.testing` puts its servers here; both front ends look them up when they connect.
"""

from __future__ import annotations

import os
from typing import Any, Protocol

__all__ = ["Place", "find", "put", "remove"]


class Place(Protocol):
    """A server of this process."""

    def open_stream(self) -> Any:
        """A connection as `gearfast.sync.stream` has them."""

    def open_async_stream(self, on_data: Any, on_lost: Any) -> Any:
        """A connection as `gearfast.aio.stream` has them, started, in the running loop."""


_places: dict[str, Place] = {}


def put(name: str, place: Place) -> None:
    """Let `place` answer at `memory://NAME`. Raises OSError if there is one of that name."""
    if _places.setdefault(name, place) is not place:
        raise OSError(f"a server at memory://{name} runs already")


def remove(name: str, place: Place) -> None:
    """Undo `put`. Nothing happens if the name belongs to somebody else."""
    if _places.get(name) is place:
        del _places[name]


def find(name: str) -> Place:
    """Who answers at `memory://NAME`. Raises OSError if nobody does."""
    place = _places.get(name)
    if place is None:
        raise OSError("no server in memory has this name")
    return place


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_places.clear)  # they, and their threads, are the parent's

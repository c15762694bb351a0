# SPDX-License-Identifier: BSD-3-Clause
"""What a hub tells of jobs that go out more than once, or to another server than their own; front ends log it."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Moved", "Past"]


class Past(NamedTuple):
    """Where a job was before: its server, the handle that it had there (empty if none is known), and what happened."""

    server: str
    handle: str
    reason: str


class Moved(NamedTuple):
    """A job of `function` goes to the server `new`.

    `past`: where it was, or was to be, before. `submissions`: how often it went out already; 0: it never did.
    """

    function: str
    past: Past
    new: str
    submissions: int

# SPDX-License-Identifier: BSD-3-Clause
"""Rows for people: aligned columns that fit the terminal."""

from __future__ import annotations

import os
import shutil
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["table"]


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], width: int | None = None) -> str:
    """Aligned columns under a line of titles; numbers to the right.

    A line that would be wider than `width` (the terminal) is cut in its widest column of text, which then ends in `…`.
    """
    titles = [name.upper() for name in columns]
    lines = [[_text(row[name]) for name in columns] for row in rows]
    widths = [max(map(len, column)) for column in zip(titles, *lines, strict=True)]
    right = [bool(rows) and type(rows[0][name]) is int for name in columns]
    room = shutil.get_terminal_size().columns if width is None else width
    excess = sum(widths) + 2 * (len(widths) - 1) - room
    if excess > 0:
        widest = max((index for index in range(len(widths)) if not right[index]), key=widths.__getitem__, default=0)
        widths[widest] = max(len(titles[widest]), 8, widths[widest] - excess)
    head, *body = (
        "  ".join(
            _cut(cell, wide).rjust(wide) if to_right else _cut(cell, wide).ljust(wide)
            for cell, wide, to_right in zip(line, widths, right, strict=True)
        ).rstrip()
        for line in [titles, *lines]
    )
    return "\n".join([f"\x1b[1m{head}\x1b[0m" if _has_colour() else head, *body])


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
    # A name may hold what would move the cursor.
    return text if text.isprintable() else "".join(c if c.isprintable() else "\ufffd" for c in text)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def _has_colour() -> bool:
    """https://no-color.org: any text in NO_COLOR forbids it."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"

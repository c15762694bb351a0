# SPDX-License-Identifier: BSD-3-Clause
"""How a value of a setting is read, from TOML, the environment or a command: what policies and settings share.

Each raises ValueError with words that go behind the setting's name and its value.
"""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["choice", "seconds", "switch"]


def seconds(value: object) -> float:
    """A number of seconds, with or without a fraction."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("must be a number of seconds")
    try:
        number = float(value)
    except ValueError:
        raise ValueError("must be a number of seconds") from None
    if not 0 <= number <= 1e9:
        raise ValueError("must be from 0 to 1000000000 seconds")
    return number


def switch(value: object) -> bool:
    """True or false, in any of the usual words."""
    word = str(value).lower()
    if word in ("1", "true", "yes", "on"):
        return True
    if word in ("0", "false", "no", "off"):
        return False
    raise ValueError("must be true or false")


def choice(*words: str) -> Callable[[object], str]:
    """One of these words."""

    def parse(value: object) -> str:
        word = str(value).lower()
        if word not in words:
            raise ValueError(f"must be one of {', '.join(words)}")
        return word

    return parse

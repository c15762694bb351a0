# SPDX-License-Identifier: BSD-3-Clause
"""How a value of a setting is read, from TOML, the environment or a command: what policies and settings share.

Each raises ValueError with words that go behind the setting's name and its value. And how any text becomes a word of a
text command.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final
from urllib.parse import quote_from_bytes, unquote_to_bytes

__all__ = ["choice", "escape", "read_words", "seconds", "switch", "unescape"]

_SAFE: Final = "".join(map(chr, range(0x21, 0x7F))).replace("%", "")


def escape(text: str | bytes) -> str:
    """As one word: space, `%`, controls and all that is not ASCII become %XX."""
    return quote_from_bytes(text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text, _SAFE)


def unescape(word: str) -> str:
    """What `escape` made a word of; bytes that are no UTF-8 survive as surrogates."""
    return unquote_to_bytes(word.encode("utf-8", "surrogateescape")).decode("utf-8", "surrogateescape")


def read_words(words: Iterable[str]) -> dict[str, str]:
    """`key=value` words as a table. Raises ValueError for a word that is none."""
    found: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not key or not equals:
            raise ValueError(f"{word!r} is not KEY=VALUE")
        found[key] = value
    return found


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

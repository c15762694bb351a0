# SPDX-License-Identifier: BSD-3-Clause
"""What once bridged Python 2 and 3."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, ValuesView
from typing import Any, Final, TypeVar

T = TypeVar("T")

PY2: Final = False
PY3: Final = True

binary_type = bytes
unicode_type = str


def array_to_bytes(arr: array[Any]) -> bytes:
    """The bytes of an array."""
    return arr.tobytes()


def itervalues(d: Mapping[Any, T]) -> ValuesView[T]:
    """The values of a mapping."""
    return d.values()


def to_hex(binary_str: bytes) -> str:
    """Bytes as hexadecimal digits."""
    return binary_str.hex()

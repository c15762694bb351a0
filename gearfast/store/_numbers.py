# SPDX-License-Identifier: BSD-3-Clause
"""Numbers of jobs as stores keep many of them: 8 bytes each, little-endian."""

from __future__ import annotations

import struct
from collections.abc import Sequence

__all__ = ["pack_numbers", "unpack_numbers"]


def pack_numbers(numbers: Sequence[int]) -> bytes:
    """8 bytes each."""
    return struct.pack(f"<{len(numbers)}Q", *numbers)


def unpack_numbers(packed: bytes) -> tuple[int, ...]:
    """What `pack_numbers` packed."""
    return struct.unpack(f"<{len(packed) // 8}Q", packed)

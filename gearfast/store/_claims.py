# SPDX-License-Identifier: BSD-3-Clause
"""By which key a unique is claimed in a store that servers share.

A store has hashes of one length instead of functions and uniques of any: first of the unique, by which a status is
asked for without knowing the function, then of both.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

__all__ = ["FIRST", "REST", "claim_key", "unique_key"]

FIRST: Final = 8
"""Bytes of `unique_key`, with which each key begins."""
REST: Final = 12
"""Bytes behind them."""


def unique_key(unique: bytes) -> bytes:
    """The beginning of the keys of all claims with this unique."""
    return blake2b(unique, digest_size=FIRST).digest()


def claim_key(function: bytes, unique: bytes) -> bytes:
    """Of 20 bytes. Neither a function nor a unique has a NUL."""
    return unique_key(unique) + blake2b(function + b"\0" + unique, digest_size=REST).digest()

# SPDX-License-Identifier: BSD-3-Clause
"""Bytes that are no Gearman, or only just: most of them end their connection."""

from __future__ import annotations

import struct
from random import Random
from typing import Final

from gearfast.protocol import MAGIC_REQUEST, MAGIC_RESPONSE, MAX_ARGUMENT, MAX_LAST_ARGUMENT, MAX_LINE, Command

from .frames import packet, request

# Bytes that would end lines or lists in the midst of names.
KEPT: Final = b"\n."


def malformed(rng: Random, max_packet: int) -> bytes:
    """One piece of it."""
    kind = rng.randrange(10)
    if kind == 0:
        return rng.choice((b"\0REP", b"\0\0", b"\0RE\0", b"\0R", b"\0", b"\0RESS", b"\0REQ\0\0\0"))
    if kind == 1:
        magic = rng.choice((MAGIC_REQUEST, MAGIC_RESPONSE))
        return packet(magic, rng.choice((0, 43, 44, 255, 1 << 31, (1 << 32) - 1)), b"")
    if kind == 2:
        size = rng.choice((max_packet - 12, max_packet - 11, max_packet, 1 << 31, (1 << 32) - 1, 5))
        return struct.pack(">4sII", MAGIC_REQUEST, rng.choice((7, 13, 16, 1)), size) + b"f\0"
    if kind == 3:
        return packet(MAGIC_REQUEST, rng.choice((7, 18, 12, 13, 25, 35, 36, 37)), b"f" + b"\0" * rng.randrange(2))
    if kind == 4:
        size = rng.choice((MAX_ARGUMENT - 1, MAX_ARGUMENT, MAX_ARGUMENT + 1, MAX_LAST_ARGUMENT, MAX_LAST_ARGUMENT + 1))
        return long_argument(rng.choice((Command.SUBMIT_JOB, Command.CAN_DO, Command.GET_STATUS, 14, 15, 3, 9)), size)
    if kind == 5:
        return b"w" * rng.choice((MAX_LINE - 1, MAX_LINE, MAX_LINE + 1)) + b"\n" * rng.randrange(2)
    if kind == 6:
        return b"a b c d e f\n" if rng.random() < 0.5 else b"status " + b"x " * rng.randrange(6) + b"\n"
    if kind == 7:
        return bytes(byte for byte in rng.randbytes(rng.randrange(1, 20)) if byte not in KEPT)
    return changed(rng, request(rng.choice((7, 18, 1, 23, 13, 15, 26, 36)), b"f0", b"u1", b"12", b"x"))


def long_argument(command: int, size: int) -> bytes:
    if command == Command.SUBMIT_JOB:
        return request(command, b"n" * size, b"u1", b"")
    return request(command, b"n" * size)


def changed(rng: Random, data: bytes) -> bytes:
    """With another byte somewhere, or without some at its end."""
    at = rng.randrange(len(data))
    if rng.random() < 0.3:
        return data[:at]
    byte = rng.randrange(256)
    return data[:at] + bytes([byte if byte not in KEPT else 0]) + data[at + 1 :]

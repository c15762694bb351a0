# SPDX-License-Identifier: BSD-3-Clause
"""What a stream of bytes asks for, by the letter of the protocol; knows nothing of gearfast's codec but its table.

Also what builds packets: `request(Command.SUBMIT_JOB, b"f", b"", b"data")`.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from gearfast.protocol import (
    COMMANDS,
    HEADER_SIZE,
    MAGIC_REQUEST,
    MAGIC_RESPONSE,
    MAX_ARGUMENT,
    MAX_LAST_ARGUMENT,
    MAX_LINE,
)

COUNT: Final = (0, *(len(spec.fields) for spec in COMMANDS))
HAS_DATA: Final = (False, *(spec.data is not None for spec in COMMANDS))
HIGHEST: Final = len(COMMANDS)
HEAD: Final = struct.Struct(">4sII")
MAGICS: Final = (MAGIC_REQUEST, MAGIC_RESPONSE)


class Fault(Exception):
    """These bytes can become no frame any more; its text says why."""


class Frame(NamedTuple):
    """One whole packet."""

    magic: bytes
    command: int
    args: tuple[bytes, ...]


def packet(magic: bytes, command: int, body: bytes) -> bytes:
    return HEAD.pack(magic, command, len(body)) + body


def request(command: int, *args: bytes) -> bytes:
    """A packet to the server. Its arguments are taken as they come, so that they may be wrong."""
    body = b"\0".join(args)
    return HEAD.pack(MAGIC_REQUEST, command, len(body)) + body


def response(command: int, *args: bytes) -> bytes:
    """A packet from the server."""
    body = b"\0".join(args)
    return HEAD.pack(MAGIC_RESPONSE, command, len(body)) + body


def read(data: bytes, at: int, max_packet: int) -> tuple[Frame | bytes, int] | None:
    """The frame or line (bytes, without its end) at `at`, and where the next one begins; None if more must come.

    Raises Fault as soon as nothing that could come would make a frame of it.
    """
    if at == len(data):
        return None
    if data[at]:
        return read_line(data, at)
    head = data[at : at + HEADER_SIZE]
    if not any(magic.startswith(head[:4]) for magic in MAGICS):
        raise Fault("magic")
    if len(head) >= 8 and not 1 <= int.from_bytes(head[4:8]) <= HIGHEST:
        raise Fault("command")
    if len(head) < HEADER_SIZE:
        return None
    magic, command, size = HEAD.unpack(head)
    if size > max_packet - HEADER_SIZE:
        raise Fault("packet size")
    return read_body(data, at + HEADER_SIZE, size, magic, command)


def read_line(data: bytes, at: int) -> tuple[bytes, int] | None:
    end = data.find(b"\n", at, at + MAX_LINE + 1)
    if end < 0:
        if len(data) - at > MAX_LINE:
            raise Fault("line size")
        return None
    return data[at:end].removesuffix(b"\r"), end + 1


def read_body(data: bytes, at: int, size: int, magic: bytes, command: int) -> tuple[Frame, int] | None:
    count, end = COUNT[command], at + size
    if not HAS_DATA[command] and size > max(count, 1) * (MAX_LAST_ARGUMENT + 1):
        raise Fault("argument size")
    args = []
    there = min(end, len(data))
    for _ in range(count - 1):
        nul = data.find(b"\0", at, min(there, at + MAX_ARGUMENT + 1))
        if nul < 0:
            if there - at > MAX_ARGUMENT:
                raise Fault("argument size")
            if there == end:
                raise Fault("too few arguments")
            return None
        args.append(data[at:nul])
        at = nul + 1
    if count and not HAS_DATA[command] and end - at > MAX_LAST_ARGUMENT:
        raise Fault("argument size")
    if there < end:
        return None
    if count:
        args.append(data[at:end])
    return Frame(magic, command, tuple(args)), end

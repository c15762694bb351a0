# SPDX-License-Identifier: BSD-3-Clause
"""The bytes of the bare programs. They are made here once, so that a loop has nothing to do but send and receive."""

from __future__ import annotations

import struct
from typing import Final

from gearfast.protocol import Command

__all__ = ["HEAD", "MARK", "PAYLOAD", "RESULT", "request", "submission"]

PAYLOAD: Final = b"x" * 32
"""The workload of each job, which is its result, too. No handle looks like it."""
HEAD: Final = struct.Struct(">4sII")
"""Magic, command and size of a packet."""
MARK: Final = b"\0RES"
"""What an answer begins with."""
RESULT: Final = MARK + Command.WORK_COMPLETE.to_bytes(4, "big")
"""What a result begins with."""


def request(command: Command, *parts: bytes) -> bytes:
    """A request with its arguments, NUL between them."""
    body = b"\0".join(parts)
    return HEAD.pack(b"\0REQ", command, len(body)) + body


def submission(function: str, *, background: bool = False) -> bytes:
    """A job for `function` with `PAYLOAD`, without a unique."""
    command = Command.SUBMIT_JOB_BG if background else Command.SUBMIT_JOB
    return request(command, function.encode(), b"", PAYLOAD)

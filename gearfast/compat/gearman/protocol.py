# SPDX-License-Identifier: BSD-3-Clause
"""Packets and text lines as the old library names them; the facts are those of `gearfast.protocol`."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Mapping
from typing import Any, Final

from gearfast._codec import encode
from gearfast.protocol import COMMANDS, HEADER_SIZE, MAGIC_REQUEST, MAGIC_RESPONSE

from ._flavour import FLAVOUR
from .constants import PRIORITY_HIGH, PRIORITY_LOW, PRIORITY_NONE
from .errors import ProtocolError

NULL_CHAR: Final[Any] = "\0" if FLAVOUR.text else b"\0"
MAGIC_REQ_STRING: Final[Any] = MAGIC_REQUEST.decode() if FLAVOUR.text else MAGIC_REQUEST
MAGIC_RES_STRING: Final[Any] = MAGIC_RESPONSE.decode() if FLAVOUR.text else MAGIC_RESPONSE
COMMAND_HEADER_SIZE: Final = HEADER_SIZE

GEARMAN_COMMAND_CAN_DO: Final = 1
GEARMAN_COMMAND_CANT_DO: Final = 2
GEARMAN_COMMAND_RESET_ABILITIES: Final = 3
GEARMAN_COMMAND_PRE_SLEEP: Final = 4
GEARMAN_COMMAND_NOOP: Final = 6
GEARMAN_COMMAND_SUBMIT_JOB: Final = 7
GEARMAN_COMMAND_JOB_CREATED: Final = 8
GEARMAN_COMMAND_GRAB_JOB: Final = 9
GEARMAN_COMMAND_NO_JOB: Final = 10
GEARMAN_COMMAND_JOB_ASSIGN: Final = 11
GEARMAN_COMMAND_WORK_STATUS: Final = 12
GEARMAN_COMMAND_WORK_COMPLETE: Final = 13
GEARMAN_COMMAND_WORK_FAIL: Final = 14
GEARMAN_COMMAND_GET_STATUS: Final = 15
GEARMAN_COMMAND_ECHO_REQ: Final = 16
GEARMAN_COMMAND_ECHO_RES: Final = 17
GEARMAN_COMMAND_SUBMIT_JOB_BG: Final = 18
GEARMAN_COMMAND_ERROR: Final = 19
GEARMAN_COMMAND_STATUS_RES: Final = 20
GEARMAN_COMMAND_SUBMIT_JOB_HIGH: Final = 21
GEARMAN_COMMAND_SET_CLIENT_ID: Final = 22
GEARMAN_COMMAND_CAN_DO_TIMEOUT: Final = 23
GEARMAN_COMMAND_ALL_YOURS: Final = 24
GEARMAN_COMMAND_WORK_EXCEPTION: Final = 25
GEARMAN_COMMAND_OPTION_REQ: Final = 26
GEARMAN_COMMAND_OPTION_RES: Final = 27
GEARMAN_COMMAND_WORK_DATA: Final = 28
GEARMAN_COMMAND_WORK_WARNING: Final = 29
GEARMAN_COMMAND_GRAB_JOB_UNIQ: Final = 30
GEARMAN_COMMAND_JOB_ASSIGN_UNIQ: Final = 31
GEARMAN_COMMAND_SUBMIT_JOB_HIGH_BG: Final = 32
GEARMAN_COMMAND_SUBMIT_JOB_LOW: Final = 33
GEARMAN_COMMAND_SUBMIT_JOB_LOW_BG: Final = 34
GEARMAN_COMMAND_TEXT_COMMAND: Final = 9999
"""Stands for a text line; no packet has this number."""

GEARMAN_SERVER_COMMAND_STATUS: Final = "status"
GEARMAN_SERVER_COMMAND_VERSION: Final = "version"
GEARMAN_SERVER_COMMAND_WORKERS: Final = "workers"
GEARMAN_SERVER_COMMAND_MAXQUEUE: Final = "maxqueue"
GEARMAN_SERVER_COMMAND_SHUTDOWN: Final = "shutdown"
GEARMAN_SERVER_COMMAND_GETPID: Final = "getpid"
GEARMAN_SERVER_COMMAND_SHOW_JOBS: Final = "show jobs"
GEARMAN_SERVER_COMMAND_SHOW_UNIQUE_JOBS: Final = "show unique jobs"
GEARMAN_SERVER_COMMAND_CANCEL_JOB: Final = "cancel job"

# The old library's names for arguments, where they are not those of gearfast.protocol.
_RENAMED: Final = {
    "function": "task",
    "handle": "job_handle",
    "workload": "data",
    "result": "data",
    "exception": "data",
    "warning": "data",
    "code": "error_code",
    "text": "error_text",
    "id": "client_id",
    "option": "option_name",
}
_LAST: Final = GEARMAN_COMMAND_SUBMIT_JOB_LOW_BG
_UNUSED: Final = 5

GEARMAN_PARAMS_FOR_COMMAND: Final[dict[int, list[str]]] = {
    **{
        int(spec.command): [_RENAMED.get(name, name) for name in spec.fields]
        for spec in COMMANDS
        if spec.command <= _LAST and spec.command != _UNUSED
    },
    GEARMAN_COMMAND_TEXT_COMMAND: ["raw_text"],
}
GEARMAN_COMMAND_TO_NAME: Final[dict[int, str]] = {
    **{int(spec.command): f"GEARMAN_COMMAND_{spec.command.name}" for spec in COMMANDS if spec.command <= _LAST},
    GEARMAN_COMMAND_TEXT_COMMAND: "GEARMAN_COMMAND_TEXT_COMMAND",
}
del GEARMAN_COMMAND_TO_NAME[_UNUSED]

_SUBMIT: Final[dict[tuple[bool, str | None], int]] = {
    (False, PRIORITY_NONE): GEARMAN_COMMAND_SUBMIT_JOB,
    (False, PRIORITY_LOW): GEARMAN_COMMAND_SUBMIT_JOB_LOW,
    (False, PRIORITY_HIGH): GEARMAN_COMMAND_SUBMIT_JOB_HIGH,
    (True, PRIORITY_NONE): GEARMAN_COMMAND_SUBMIT_JOB_BG,
    (True, PRIORITY_LOW): GEARMAN_COMMAND_SUBMIT_JOB_LOW_BG,
    (True, PRIORITY_HIGH): GEARMAN_COMMAND_SUBMIT_JOB_HIGH_BG,
}


def get_command_name(cmd_type: Any) -> Any:
    """The name of a command, GEARMAN_COMMAND_…; what is unknown comes back as it is."""
    return GEARMAN_COMMAND_TO_NAME.get(cmd_type, cmd_type)


def submit_cmd_for_background_priority(background: bool, priority: str | None) -> int:
    """The command that submits such a job. Raises KeyError((background, priority)) if there is none."""
    return _SUBMIT[background, priority]


def received(value: bytes) -> Any:
    """Bytes from the wire as programs get them. What is no UTF-8 survives a round trip in the str flavour too."""
    return value.decode("utf-8", "surrogateescape") if FLAVOUR.text else value


def to_wire(value: Any) -> bytes:
    """An argument as bytes; str is sent as UTF-8. Raises ProtocolError for anything else."""
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape")
    if isinstance(value, bytes):
        return bytes(value)
    if isinstance(value, bytearray | memoryview):
        return bytes(value)
    raise ProtocolError(f"Received non-binary arguments: {value!r}")


def as_bytes(buffer: Any) -> bytes:
    """Received bytes in whatever they were kept: bytes, bytearray, array('b') or str."""
    if isinstance(buffer, str):
        return buffer.encode("utf-8", "surrogateescape")
    return buffer.tobytes() if isinstance(buffer, array) else bytes(buffer)


def parse_binary_command(in_buffer: Any, is_response: bool = True) -> tuple[int | None, dict[str, Any] | None, int]:
    """The packet at the start of `in_buffer`: its number, its arguments by name, its bytes with the header.

    (None, None, 0) if it is not all there. Raises ProtocolError for what is no packet, or none of this direction.
    """
    if len(in_buffer) < COMMAND_HEADER_SIZE:
        return None, None, 0
    data = as_bytes(in_buffer)
    magic, cmd_type, size = struct.unpack_from("!4sII", data)
    if magic != (MAGIC_RESPONSE if is_response else MAGIC_REQUEST):
        raise ProtocolError("Malformed Magic")
    names = names_of(cmd_type)
    total = COMMAND_HEADER_SIZE + size
    if len(data) < total:
        return None, None, 0
    body = data[COMMAND_HEADER_SIZE:total]
    if body and not names:
        raise ProtocolError(f"Expected no binary payload: {get_command_name(cmd_type)}")
    values = body.split(b"\0", len(names) - 1) if names else []
    if len(values) != len(names):
        raise ProtocolError(
            f"Received {len(values)} argument(s), expecting {len(names)} argument(s): {get_command_name(cmd_type)}"
        )
    return cmd_type, dict(zip(names, map(received, values), strict=True)), total


def names_of(cmd_type: Any) -> list[str]:
    """Names of a packet's arguments. Raises ProtocolError if there is no such packet."""
    names = GEARMAN_PARAMS_FOR_COMMAND.get(cmd_type)
    if names is None or cmd_type == GEARMAN_COMMAND_TEXT_COMMAND:
        raise ProtocolError(f"Received unknown binary command: {get_command_name(cmd_type)}")
    return names


def pack_binary_command(cmd_type: int, cmd_args: Mapping[str, Any], is_response: bool = False) -> bytes:
    """A packet of these arguments, bytes or str. Raises ProtocolError if they do not fit the command."""
    names = GEARMAN_PARAMS_FOR_COMMAND.get(cmd_type)
    if names is None or cmd_type == GEARMAN_COMMAND_TEXT_COMMAND:
        names = names_of(cmd_type)  # says what is wrong
    try:
        values = [cmd_args[name] for name in names]
    except KeyError:
        values = []
    if len(cmd_args) != len(names) or len(values) != len(names):
        raise ProtocolError(f"Received arguments did not match expected arguments: {set(names)!r} != {set(cmd_args)!r}")
    for index, value in enumerate(values):
        if type(value) is not bytes:
            values[index] = to_wire(value)
    try:
        return encode(cmd_type, *values, magic=MAGIC_RESPONSE if is_response else MAGIC_REQUEST)
    except ValueError as error:
        if any(b"\0" in value for value in values[:-1]):
            raise ProtocolError("Received arguments with NULL byte in non-final argument") from error
        raise ProtocolError(str(error)) from error


def parse_text_command(in_buffer: Any) -> tuple[int | None, dict[str, Any] | None, int]:
    """The line at the start of `in_buffer`, without its newline; as `parse_binary_command`."""
    line, newline, _ = as_bytes(in_buffer).partition(b"\n")
    if not newline:
        return None, None, 0
    if b"\0" in line:
        raise ProtocolError(f"Received unexpected character: {line!r}")
    return GEARMAN_COMMAND_TEXT_COMMAND, {"raw_text": received(line)}, len(line) + 1


def pack_text_command(cmd_type: int, cmd_args: Mapping[str, Any]) -> str:
    """The line of a text command. Raises ProtocolError for another command, or without `raw_text`."""
    if cmd_type != GEARMAN_COMMAND_TEXT_COMMAND:
        expected = get_command_name(GEARMAN_COMMAND_TEXT_COMMAND)
        raise ProtocolError(f"Unknown cmd_type: Received {get_command_name(cmd_type)}, expecting {expected}")
    line = cmd_args.get("raw_text")
    if line is None:
        raise ProtocolError(f"Did not receive arguments any valid arguments: {cmd_args}")
    return str(line)

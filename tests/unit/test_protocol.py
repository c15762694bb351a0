# SPDX-License-Identifier: BSD-3-Clause
"""The table of commands agrees with itself and with the protocol's published numbers."""

from __future__ import annotations

import pytest

from gearfast import protocol
from gearfast.protocol import COMMANDS, Command, CommandSpec, Sender

# number: arguments, data included, and who may send it, as people know them from the protocol's own page.
PUBLISHED = {
    1: ("CAN_DO", 1), 2: ("CANT_DO", 1), 3: ("RESET_ABILITIES", 0), 4: ("PRE_SLEEP", 0), 6: ("NOOP", 0),
    7: ("SUBMIT_JOB", 3), 8: ("JOB_CREATED", 1), 9: ("GRAB_JOB", 0), 10: ("NO_JOB", 0), 11: ("JOB_ASSIGN", 3),
    12: ("WORK_STATUS", 3), 13: ("WORK_COMPLETE", 2), 14: ("WORK_FAIL", 1), 15: ("GET_STATUS", 1),
    16: ("ECHO_REQ", 1), 17: ("ECHO_RES", 1), 18: ("SUBMIT_JOB_BG", 3), 19: ("ERROR", 2), 20: ("STATUS_RES", 5),
    21: ("SUBMIT_JOB_HIGH", 3), 22: ("SET_CLIENT_ID", 1), 23: ("CAN_DO_TIMEOUT", 2), 24: ("ALL_YOURS", 0),
    25: ("WORK_EXCEPTION", 2), 26: ("OPTION_REQ", 1), 27: ("OPTION_RES", 1), 28: ("WORK_DATA", 2),
    29: ("WORK_WARNING", 2), 30: ("GRAB_JOB_UNIQ", 0), 31: ("JOB_ASSIGN_UNIQ", 4), 32: ("SUBMIT_JOB_HIGH_BG", 3),
    33: ("SUBMIT_JOB_LOW", 3), 34: ("SUBMIT_JOB_LOW_BG", 3), 35: ("SUBMIT_JOB_SCHED", 8),
    36: ("SUBMIT_JOB_EPOCH", 4), 37: ("SUBMIT_REDUCE_JOB", 5), 38: ("SUBMIT_REDUCE_JOB_BACKGROUND", 5),
    39: ("GRAB_JOB_ALL", 0), 40: ("JOB_ASSIGN_ALL", 5), 41: ("GET_STATUS_UNIQUE", 1), 42: ("STATUS_RES_UNIQUE", 6),
}  # fmt: skip


def test_every_number_has_its_row() -> None:
    assert [spec.command for spec in COMMANDS] == list(range(1, 43))
    assert {c.value for c in Command} == set(range(1, 43))


@pytest.mark.parametrize(("number", "name", "count"), [(n, *row) for n, row in PUBLISHED.items()])
def test_published_numbers(number: int, name: str, count: int) -> None:
    spec = COMMANDS[number - 1]
    assert spec.command.name == name
    assert len(spec.fields) == count


@pytest.mark.parametrize("spec", COMMANDS, ids=lambda s: s.command.name)
def test_rows(spec: CommandSpec) -> None:
    assert spec.fields == (*spec.arguments, *([spec.data] if spec.data else []))
    assert len(set(spec.fields)) == len(spec.fields) <= protocol.MAX_ARGUMENTS
    assert spec.summary
    assert spec.sender
    answers = spec.sender is Sender.SERVER
    assert spec.magic == (protocol.MAGIC_RESPONSE if answers else protocol.MAGIC_REQUEST)


def test_which_commands_carry_data() -> None:
    opaque = {7, 11, 13, 16, 17, 18, 21, 25, 28, 29, 31, 32, 33, 34, 35, 36, 37, 38, 40}
    assert {spec.command.value for spec in COMMANDS if spec.data} == opaque


def test_limits() -> None:
    assert (protocol.HEADER_SIZE, protocol.DEFAULT_PORT) == (12, 4730)
    assert (protocol.MAX_ARGUMENT, protocol.MAX_LAST_ARGUMENT, protocol.MAX_LINE) == (8191, 8192, 8191)
    assert (protocol.MAX_UNIQUE, protocol.MAX_HANDLE, protocol.MAX_OPTION) == (64, 63, 63)
    assert max(len(spec.fields) for spec in COMMANDS) == protocol.MAX_ARGUMENTS


def test_names_are_exported() -> None:
    assert len(set(protocol.__all__)) == len(protocol.__all__)
    assert all(hasattr(protocol, name) for name in protocol.__all__)


def test_error_codes_are_their_names() -> None:
    codes = {k: v for k, v in vars(protocol.ErrorCode).items() if k.isupper()}
    assert codes
    assert all(value == name.encode() for name, value in codes.items())

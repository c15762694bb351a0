# SPDX-License-Identifier: BSD-3-Clause
"""Priorities and states of a job."""

from __future__ import annotations

from typing import Final

from gearfast.protocol import DEFAULT_PORT

DEFAULT_GEARMAN_PORT: Final = DEFAULT_PORT
_DEBUG_MODE_: Final = False

PRIORITY_NONE: Final = None
PRIORITY_LOW: Final = "LOW"
PRIORITY_HIGH: Final = "HIGH"

JOB_UNKNOWN: Final = "UNKNOWN"
"""Not sent, or lost with its connection."""
JOB_PENDING: Final = "PENDING"
"""Sent, or about to be; there is no handle yet."""
JOB_CREATED: Final = "CREATED"
"""The server has it, under its handle."""
JOB_FAILED: Final = "FAILED"
JOB_COMPLETE: Final = "COMPLETE"

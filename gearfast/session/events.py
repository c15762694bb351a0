# SPDX-License-Identifier: BSD-3-Clause
"""What happens to a job before it ends, as its client sees it."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

__all__ = ["Data", "Event", "Status", "Warning"]


class Data(NamedTuple):
    """WORK_DATA: a part of the result."""

    data: bytes


class Warning(NamedTuple):
    """WORK_WARNING: the worker complains but goes on."""

    data: bytes


class Status(NamedTuple):
    """WORK_STATUS: progress. Text that is no number counts as 0, as it does in a job server."""

    numerator: int
    denominator: int

    @property
    def fraction(self) -> float:
        """`numerator / denominator`, or 0.0 if there is no denominator."""
        return self.numerator / self.denominator if self.denominator else 0.0


Event: TypeAlias = Data | Warning | Status

# SPDX-License-Identifier: BSD-3-Clause
"""The exceptions; none of them is a builtin one, whatever it is called."""

from __future__ import annotations


class GearmanError(Exception):
    """Root of them all."""


class ConnectionError(GearmanError):  # noqa: A001, RUF100  (the old library's name)
    """A connection could not be made, or is lost."""


class ServerUnavailable(GearmanError):
    """None of the servers can be reached, or the last one is lost."""


class ProtocolError(GearmanError):
    """Bytes or arguments that are no Gearman."""


class UnknownCommandError(GearmanError):
    """A packet that this side has no use for."""


class ExceededConnectionAttempts(GearmanError):
    """A job was lost before it got its handle, as often as it may be sent."""


class InvalidClientState(GearmanError):
    """A packet that does not fit the state of its request."""


class InvalidWorkerState(GearmanError):
    """A packet that does not fit what the worker is doing."""


class InvalidAdminClientState(GearmanError):
    """A reply that was not asked for, or none in time."""

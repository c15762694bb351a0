# SPDX-License-Identifier: BSD-3-Clause
"""gear's exceptions. Each is directly an Exception; none is the builtin of the same name."""

from __future__ import annotations


class ConnectionError(Exception):
    """A connection could not be opened, or is not open."""


class InvalidDataError(Exception):
    """Bytes or arguments that are no Gearman, or not what the call takes."""


class ConfigurationError(Exception):
    """The caller asked for something that makes no sense, as an unknown precedence."""


class NoConnectedServersError(Exception):
    """No server is connected at this moment."""


class UnknownJobError(Exception):
    """A packet names a job that its connection does not know."""


class InterruptedError(Exception):
    """`Worker.getJob` was told to stop waiting."""


class TimeoutError(Exception):
    """The time that the caller gave is over."""


class GearmanError(Exception):
    """A request failed at every server, or an answer belongs to no request."""


class DisconnectError(Exception):
    """The peer has closed the connection."""


class RetryIOError(Exception):
    """A non-blocking connection has nothing to read now."""


class NoServerTookJobError(GearmanError, NoConnectedServersError):
    """`Client.submitJob` had no connected server to try.

    gear's manual promises NoConnectedServersError here, gear raises GearmanError: code for either works.
    """

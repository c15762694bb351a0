# SPDX-License-Identifier: BSD-3-Clause
"""The names of the package itself."""

from __future__ import annotations

import logging

from . import command_handler, compat, io, protocol, util  # noqa: F401  (as attributes of the package)
from ._flavour import FLAVOUR
from .admin_client import GearmanAdminClient
from .client import GearmanClient
from .connection_manager import DataEncoder
from .constants import (
    JOB_COMPLETE,
    JOB_CREATED,
    JOB_FAILED,
    JOB_PENDING,
    JOB_UNKNOWN,
    PRIORITY_HIGH,
    PRIORITY_LOW,
    PRIORITY_NONE,
)
from .version import __version__
from .worker import GearmanWorker

__all__ = [
    "JOB_COMPLETE",
    "JOB_CREATED",
    "JOB_FAILED",
    "JOB_PENDING",
    "JOB_UNKNOWN",
    "PRIORITY_HIGH",
    "PRIORITY_LOW",
    "PRIORITY_NONE",
    "DataEncoder",
    "GearmanAdminClient",
    "GearmanClient",
    "GearmanWorker",
    "NullHandler",
    "__version__",
    "gearman_root_logger",
    "name",
]

name = FLAVOUR.package

NullHandler = logging.NullHandler

gearman_root_logger = logging.getLogger(FLAVOUR.package)
gearman_root_logger.addHandler(NullHandler())

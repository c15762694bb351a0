# SPDX-License-Identifier: BSD-3-Clause
"""`gear`, OpenStack's Gearman library, on gearfast: the same names, threads and hooks.

    from gearfast.compat import gear

docs/coming-from-gear.md says what is better than there and what differs.
"""

from gearfast.compat.gear import acl, constants
from gearfast.compat.gear._base import BaseClient, BaseClientServer
from gearfast.compat.gear._client import PRECEDENCE_HIGH, PRECEDENCE_LOW, PRECEDENCE_NORMAL, Client
from gearfast.compat.gear._connection import (
    Connection,
    NonBlockingConnection,
    ServerConnection,
    best_tls_version,
    create_ssl_context,
)
from gearfast.compat.gear._errors import (
    ConfigurationError,
    ConnectionError,
    DisconnectError,
    GearmanError,
    InterruptedError,
    InvalidDataError,
    NoConnectedServersError,
    RetryIOError,
    TimeoutError,
    UnknownJobError,
)
from gearfast.compat.gear._jobs import (
    BaseBinaryJob,
    BaseJob,
    BinaryJob,
    BinaryWorkerJob,
    FunctionRecord,
    Job,
    ServerJob,
    TextJob,
    TextJobArguments,
    TextJobUnique,
    TextList,
    TextWorkerJob,
    WorkerJob,
)
from gearfast.compat.gear._packet import (
    AdminRequest,
    CancelJobAdminRequest,
    OptionReqTask,
    Packet,
    ServerAdminRequest,
    ShowJobsAdminRequest,
    ShowUniqueJobsAdminRequest,
    StatusAdminRequest,
    SubmitJobTask,
    Task,
    VersionAdminRequest,
    WorkersAdminRequest,
    convert_to_bytes,
)
from gearfast.compat.gear._server import Server
from gearfast.compat.gear._worker import TextWorker, Worker
from gearfast.compat.gear.acl import ACL, ACLEntry, ACLError

__all__ = [
    "ACL",
    "PRECEDENCE_HIGH",
    "PRECEDENCE_LOW",
    "PRECEDENCE_NORMAL",
    "ACLEntry",
    "ACLError",
    "AdminRequest",
    "BaseBinaryJob",
    "BaseClient",
    "BaseClientServer",
    "BaseJob",
    "BinaryJob",
    "BinaryWorkerJob",
    "CancelJobAdminRequest",
    "Client",
    "ConfigurationError",
    "Connection",
    "ConnectionError",
    "DisconnectError",
    "FunctionRecord",
    "GearmanError",
    "InterruptedError",
    "InvalidDataError",
    "Job",
    "NoConnectedServersError",
    "NonBlockingConnection",
    "OptionReqTask",
    "Packet",
    "RetryIOError",
    "Server",
    "ServerAdminRequest",
    "ServerConnection",
    "ServerJob",
    "ShowJobsAdminRequest",
    "ShowUniqueJobsAdminRequest",
    "StatusAdminRequest",
    "SubmitJobTask",
    "Task",
    "TextJob",
    "TextJobArguments",
    "TextJobUnique",
    "TextList",
    "TextWorker",
    "TextWorkerJob",
    "TimeoutError",
    "UnknownJobError",
    "VersionAdminRequest",
    "Worker",
    "WorkerJob",
    "WorkersAdminRequest",
    "acl",
    "best_tls_version",
    "constants",
    "convert_to_bytes",
    "create_ssl_context",
]

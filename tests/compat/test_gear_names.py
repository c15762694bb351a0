# SPDX-License-Identifier: BSD-3-Clause
"""Every public name of gear 0.16.0 is there, with its signature, ancestors and attributes."""

from __future__ import annotations

import inspect
import socket
from typing import Any

import pytest

from gearfast.compat import gear

from ..functional.servers import wait_until
from . import gear_servers
from .gear_servers import serving
from .old_names import differences

nothing_left = gear_servers.nothing_left

CONNECTION = (
    "admin_requests conn connect_time connected echo_lock host input_buffer keepalive log options pending_tasks port "
    "related_jobs send_lock ssl_ca ssl_cert ssl_key state state_time tcp_keepcnt tcp_keepidle tcp_keepintvl use_ssl"
)
BASE = (
    "active_connections client_id connect_thread connection_index connections_condition inactive_connections log "
    "poll_thread running"
)
JOB = "complete connection denominator failure fraction_complete handle known numerator running warning"
# Attributes that instances of gear 0.16.0 have, those for its own plumbing (pipes, epoll) left out.
ATTRIBUTES = {
    "Client": f"{BASE} broadcast_lock options",
    "Worker": f"{BASE} broadcast_lock functions job_lock job_queue waiting_for_jobs worker_id",
    "Server": f"{BASE} acl connection_map functions high_queue jobs low_queue max_handle normal_queue port "
    "running_jobs socket ssl_ca ssl_cert ssl_key statsd total_jobs use_ssl waiting_jobs",
    "Connection": CONNECTION,
    "NonBlockingConnection": f"{CONNECTION} send_queue",
    "Job": f"{JOB} arguments binary_arguments binary_data binary_name binary_unique data exception name unique",
    "WorkerJob": "connection handle arguments name unique",
    "ServerJob": f"{JOB} client_connection worker_connection".replace(" connection ", " "),
    "Packet": "code connection data ptype",
    "StatusAdminRequest": "arguments command response wait_event",
    "FunctionRecord": "name timeout",
    "ACLEntry": "grant invoke register subject",
    "ACL": "subjects",
    "SubmitJobTask": "job",
}
ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "Client": ("c",),
    "Worker": ("w",),
    "Server": (0,),
    "Connection": ("localhost", 1),
    "NonBlockingConnection": ("localhost", 1),
    "Job": ("f", b""),
    "WorkerJob": (b"h", "f", b""),
    "ServerJob": (b"h", b"f", b"", None),
    "Packet": (gear.constants.REQ, 1, b""),
    "FunctionRecord": ("f",),
    "ACLEntry": ("s",),
    "SubmitJobTask": (None,),
}


def test_every_name_signature_and_value() -> None:
    assert differences("gear") == []


@pytest.mark.parametrize("kind", ATTRIBUTES)
def test_attributes_of_instances(kind: str) -> None:
    thing = getattr(gear, kind)(*ARGUMENTS.get(kind, ()))
    try:
        assert {name for name in ATTRIBUTES[kind].split() if not hasattr(thing, name)} == set()
        assert isinstance(thing.__dict__, dict)
    finally:
        getattr(thing, "shutdown", lambda: None)()


def test_attributes_of_a_connection_to_a_server() -> None:
    with serving() as server, socket.create_connection(("127.0.0.1", server.port)):
        (connection,) = wait_until(lambda: server.active_connections[:], "the connection is accepted")
        names = "admin_requests client_id conn functions host log port related_jobs send_queue ssl_subject state"
        assert {name for name in names.split() if not hasattr(connection, name)} == set()
        assert connection.functions == set()
        assert connection.client_id is None
        assert connection.state == "INIT"


def test_no_exception_is_another_or_a_builtin() -> None:
    names = (
        "ConnectionError InvalidDataError ConfigurationError NoConnectedServersError UnknownJobError InterruptedError "
        "TimeoutError GearmanError DisconnectError RetryIOError ACLError"
    )
    for name in names.split():
        assert getattr(gear, name).__bases__ == (Exception,)


def test_all_classes_are_plain_and_tell_what_they_are_for() -> None:
    classes = [thing for thing in vars(gear).values() if inspect.isclass(thing)]
    assert [kind for kind in classes if "__slots__" in vars(kind)] == []
    assert [kind for kind in classes if not kind.__doc__] == []

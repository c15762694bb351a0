# SPDX-License-Identifier: BSD-3-Clause
from __future__ import annotations

from typing import Any

import pytest

from gearfast.errors import JobNotFound, ProtocolError, ServerError, UsageError
from gearfast.session import admin
from gearfast.session.admin import AdminRequest, AdminSession
from gearfast.types import FunctionStatus, JobInfo, PriorityStatus, WorkerInfo

CASES: list[tuple[AdminRequest[Any], bytes, list[bytes], Any]] = [
    (admin.status(), b"status", [b"a b\t3\t2\t1", b"f\t0\t0\t0"], [
        FunctionStatus("a b", 3, 2, 1),
        FunctionStatus("f", 0, 0, 0),
    ]),
    (admin.priority_status(), b"prioritystatus", [b"f\t1\t2\t3\t4"], [PriorityStatus("f", 1, 2, 3, 4)]),
    (admin.workers(), b"workers", [b"30 127.0.0.1 - :", b"-1 127.0.0.1 - :", b"31 ::1 w-1 : g f"], [
        WorkerInfo(30, "127.0.0.1", "-", ()),
        WorkerInfo(-1, "127.0.0.1", "-", ()),
        WorkerInfo(31, "::1", "w-1", ("g", "f")),
    ]),
    (admin.jobs(), b"show jobs", [b"H:x:1\t2\t1\t0"], [JobInfo("H:x:1", 2, True, False)]),
    (admin.unique_jobs(), b"show unique jobs", [b"", b"u \xff"], ["", "u \udcff"]),
    (admin.getpid(), b"getpid", [b"OK 17"], 17),
    (admin.version(), b"version", [b"OK 1.1.20"], "1.1.20"),
    (admin.verbose(), b"verbose", [b"OK ERROR"], "ERROR"),
    (admin.cancel_job("H:1"), b"cancel job H:1", [b"OK"], None),
    (admin.create_function("f"), b"create function f", [b"OK"], None),
    (admin.drop_function("f"), b"drop function f", [b"OK"], None),
    (admin.maxqueue("f"), b"maxqueue f", [b"OK"], None),
    (admin.maxqueue("f", 5), b"maxqueue f 5", [b"OK"], None),
    (admin.maxqueue("f", 1, None, 3), b"maxqueue f 1 0 3", [b"OK"], None),
    (admin.shutdown(False), b"shutdown", [b"OK"], None),
    (admin.shutdown(True), b"shutdown graceful", [b"OK"], None),
]  # fmt: skip


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("cut", [1, 4, 1000])
def test_commands_and_their_replies(end: bytes, cut: int) -> None:
    session = AdminSession()
    requests = [AdminRequest(case[0].line.decode(), case[0].parse, case[0].is_list) for case in CASES]
    for request in requests:
        session.send(request)
    assert session.take_output().split(b"\r\n") == [*(case[1] for case in CASES), b""]
    reply = b"".join(
        b"".join(line + end for line in lines) + (b"." + end if case.is_list else b"") for case, _, lines, _ in CASES
    )
    finished = [done for at in range(0, len(reply), cut) for done in session.receive(reply[at : at + cut])]
    assert finished == requests
    assert [request.result for request in finished] == [case[3] for case in CASES]
    assert session.pending() == []


def test_a_line_may_be_long() -> None:
    session = AdminSession()
    request = admin.workers()
    session.send(request)
    names = [f"function-{n}" for n in range(5000)]
    session.receive(f"30 1.2.3.4 - : {' '.join(names)}\n.\n".encode())
    assert request.result[0].functions == tuple(names)


@pytest.mark.parametrize(
    ("line", "kind", "code", "text"),
    [
        (b"ERR UNKNOWN_JOB", JobNotFound, "UNKNOWN_JOB", "the server does not know the job"),
        (b"ERR function not found", ServerError, "ERR", "function not found"),
        (
            b"ERR INVALID_ARGUMENTS An+incomplete+set+of+arguments",
            ServerError,
            "INVALID_ARGUMENTS",
            "An incomplete set of arguments",
        ),
    ],
)
@pytest.mark.parametrize("request_of", [lambda: admin.cancel_job("H:1"), admin.status])
def test_refusals(line: bytes, kind: type[ServerError], code: str, text: str, request_of: Any) -> None:
    session = AdminSession()
    request, after = request_of(), admin.version()
    session.send(request)
    session.send(after)
    session.receive(line + b"\r\nOK 2\n")
    with pytest.raises(kind) as caught:
        _ = request.result
    assert (caught.value.code, caught.value.text) == (code, text)
    assert after.result == "2"


@pytest.mark.parametrize(
    ("request_of", "reply"),
    [
        (admin.status, b"f\t1\t2\n.\n"),
        (admin.status, b"f\tx\ty\tz\n.\n"),
        (admin.getpid, b"OK many\n"),
        (admin.workers, b"garbage\n.\n"),
        (lambda: admin.create_function("f"), b"what?\n"),
    ],
)
def test_odd_replies(request_of: Any, reply: bytes) -> None:
    session = AdminSession()
    request = request_of()
    session.send(request)
    with pytest.raises(ProtocolError, match="odd"):
        session.receive(reply)
    assert request.done


def test_text_that_nothing_asked_for() -> None:
    with pytest.raises(ProtocolError, match="nothing was asked"):
        AdminSession().receive(b"OK\n")


@pytest.mark.parametrize("name", ["", "a b", "a\nstatus", "a\0", "x" * 9000])
def test_names_that_the_text_protocol_cannot_say(name: str) -> None:
    for build in (admin.cancel_job, admin.create_function, admin.drop_function, admin.maxqueue):
        with pytest.raises(UsageError):
            build(name)


def test_limits_that_make_no_sense() -> None:
    with pytest.raises(UsageError):
        admin.maxqueue("f", -1)
    with pytest.raises(UsageError):
        admin.maxqueue("f", 1, 2)

# SPDX-License-Identifier: BSD-3-Clause
"""A connection between its last good packet and its end: its driver has yet to send what it is owed and to close it."""

from __future__ import annotations

import pytest

from gearfast.dispatch import Dispatcher
from gearfast.dispatch._check import check

from .script import PREFIX, Q, R, handle

BAD = b"\0BAD12345678"


@pytest.mark.parametrize("order", ["priority", "function"])
def test_who_is_to_be_closed_gets_no_job(order: str) -> None:
    """Between its bad bytes and its end other connections go on: their jobs must not be lost on it."""
    server = Dispatcher(handle_prefix=PREFIX, job_retries=1, order=order)
    w, c, other = server.connect(), server.connect(), server.connect()
    server.receive(w, Q.OPTION_REQ(b"all_yours") + Q.CAN_DO(b"f") + Q.GRAB_JOB())
    assert server.receive(w, BAD) is False
    server.receive(c, Q.SUBMIT_JOB(b"f", b"", b"x"))
    server.disconnect(w)
    assert server.take_output(c) == R.JOB_CREATED(handle(1))
    server.receive(other, Q.CAN_DO(b"f") + Q.GRAB_JOB())
    assert server.take_output(other) == R.JOB_ASSIGN(handle(1), b"f", b"x")
    check(server)


def test_its_running_jobs_go_on_when_it_is_gone() -> None:
    server = Dispatcher(handle_prefix=PREFIX)
    w, c, other = server.connect(), server.connect(), server.connect()
    server.receive(c, Q.SUBMIT_JOB(b"f", b"", b"x"))
    server.receive(w, Q.CAN_DO(b"f") + Q.GRAB_JOB())
    server.receive(other, Q.CAN_DO(b"f") + Q.PRE_SLEEP())
    assert server.receive(w, BAD) is False
    server.disconnect(w)
    assert server.take_output(other) == R.NOOP()
    assert server.jobs()[0]["retries"] == 1
    check(server)


def test_what_it_is_owed_is_kept() -> None:
    server = Dispatcher(handle_prefix=PREFIX)
    c, w = server.connect(), server.connect()
    server.receive(c, Q.SUBMIT_JOB(b"f", b"", b"x"))
    server.receive(w, Q.CAN_DO(b"f") + Q.GRAB_JOB())
    assert server.receive(c, Q.ECHO_REQ(b"1") + BAD) is False
    assert server.receive(c, Q.ECHO_REQ(b"2")) is False
    assert server.take_output(c) == R.JOB_CREATED(handle(1)) + R.ECHO_RES(b"1")
    server.receive(w, Q.WORK_COMPLETE(handle(1), b""))
    server.disconnect(c)
    check(server)

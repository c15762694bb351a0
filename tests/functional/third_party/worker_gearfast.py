# SPDX-License-Identifier: BSD-3-Clause
"""Usage: worker_gearfast.py sync|aio HOST PORT PREFIX [TIMEOUT]. Functions, events and orders: see peers.py."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sys
from typing import Any

from gearfast import AsyncWorker, Fail, Worker


def tell(**event: object) -> None:
    print(json.dumps({**event, "pid": os.getpid()}), flush=True)


class Finished(Exception):
    """The job has its result."""

    def __init__(self, result: bytes) -> None:
        self.result = result


def act(job: Any, verb: str, *rest: Any) -> None:
    """Does one action of a list; raises what ends the job."""
    match verb:
        case "status":
            job.send_status(*rest)
        case "data":
            job.send_data(base64.b64decode(rest[0]))
        case "warning":
            job.send_warning(base64.b64decode(rest[0]))
        case "note":
            tell(event="note", text=rest[0], handle=job.handle)
        case "complete":
            raise Finished(base64.b64decode(rest[0]))
        case "repeat":
            raise Finished(base64.b64decode(rest[0]) * rest[1])
        case "fail":
            raise Fail
        case "exception":
            raise RuntimeError(base64.b64decode(rest[0]).decode())
        case _:
            raise AssertionError(f"unknown action {verb}")


def echo(job: Any) -> bytes:
    return bytes(job.workload)


def reverse(job: Any) -> bytes:
    return bytes(job.workload[::-1])


def listed(job: Any) -> bytes:
    try:
        for action in json.loads(job.workload):
            act(job, *action)
    except Finished as done:
        return done.result
    return b""


def hold(job: Any) -> bytes:
    workload = base64.b64encode(job.workload).decode()
    tell(event="start", handle=job.handle, unique=job.unique.decode(), workload=workload)
    try:
        while order := sys.stdin.readline():
            act(job, *json.loads(order))
    except Finished as done:
        return done.result
    raise SystemExit(1)


FUNCTIONS = {"echo": echo, "reverse": reverse, "act": listed, "hold": hold}


def main(style: str, host: str, port: str, prefix: str, timeout: str = "0") -> None:
    seconds = int(timeout) / 1000 or None
    if style == "sync":
        worker = Worker(f"{host}:{port}", id="gearfast-worker")
        for name, function in FUNCTIONS.items():
            worker.register(prefix + name, function, timeout=seconds if name == "hold" else None)
        worker.run()
    else:
        asyncio.run(run(f"{host}:{port}", prefix, seconds))


async def run(server: str, prefix: str, seconds: float | None) -> None:
    worker = AsyncWorker(server, id="gearfast-worker")

    async def holding(job: Any) -> bytes:
        # Orders are waited for in a thread, so that the loop goes on.
        workload = base64.b64encode(job.workload).decode()
        tell(event="start", handle=job.handle, unique=job.unique.decode(), workload=workload)
        try:
            while order := await asyncio.to_thread(sys.stdin.readline):
                act(job, *json.loads(order))
        except Finished as done:
            return done.result
        raise SystemExit(1)

    def asynchronous(function: Any) -> Any:
        async def call(job: Any) -> bytes:
            return bytes(function(job))

        return call

    for name, function in FUNCTIONS.items():
        if name != "hold":
            worker.register(prefix + name, asynchronous(function))
    worker.register(prefix + "hold", holding, timeout=seconds)
    await worker.run()


if __name__ == "__main__":
    main(*sys.argv[1:])

# SPDX-License-Identifier: BSD-3-Clause
"""Usage: client_gearfast.py sync|aio HOST PORT. One JSON request a line on stdin, one JSON reply a line on stdout."""

from __future__ import annotations

import asyncio
import base64
import functools
import hashlib
import json
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from gearfast import AsyncClient, Client, Handle, JobException, JobFailed, Priority
from gearfast.session.events import Data, Event, Status, Warning
from gearfast.sync.future import JobFuture

SHOWN = 65536


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def arguments(request: dict[str, Any]) -> dict[str, Any]:
    """A request's job as arguments of run, submit and submit_background."""
    return {
        "function": request["function"],
        "workload": base64.b64decode(request.get("workload", "")) * request.get("times", 1),
        "unique": request.get("unique"),
        "priority": Priority[request.get("priority", "normal").upper()],
    }


def blank() -> dict[str, Any]:
    return {"data": [], "warnings": [], "statuses": [], "exception": "", "handle": "", "result": "", "length": 0,
            "md5": "", "state": "none"}  # fmt: skip


def note(outcome: dict[str, Any], event: Event) -> None:
    match event:
        case Data(data):
            outcome["data"].append(b64(data))
        case Warning(data):
            outcome["warnings"].append(b64(data))
        case Status(numerator, denominator):
            outcome["statuses"].append([numerator, denominator])


def end(outcome: dict[str, Any], result: Callable[[], bytes]) -> None:
    try:
        data = result()
    except JobException as error:
        outcome.update(state="exception", exception=b64(error.data))
    except JobFailed:
        outcome["state"] = "fail"
    else:
        outcome.update(state="complete", length=len(data), md5=hashlib.md5(data).hexdigest())
        outcome["result"] = b64(data) if len(data) <= SHOWN else ""


def submit(client: Client, requests: list[dict[str, Any]]) -> dict[str, Any]:
    jobs: list[JobFuture | Handle] = []
    for request in requests:
        if request["background"]:
            jobs.append(client.submit_background(**arguments(request)))
        else:
            jobs.append(client.submit(**arguments(request)))
    outcomes = []
    for job in jobs:
        outcomes.append(outcome := blank())
        if isinstance(job, Handle):
            outcome.update(state="created", handle=job)
            continue
        for event in job.events(30):
            note(outcome, event)
        end(outcome, functools.partial(job.result, 30))
        outcome["handle"] = job.handle
    return {"outcomes": outcomes}


def answer(client: Client, request: dict[str, Any]) -> dict[str, Any]:
    match request["op"]:
        case "submit":
            return submit(client, request["requests"])
        case "run":
            return {"result": b64(client.run(**arguments(request)))}
        case "background":
            return {"handle": client.submit_background(**arguments(request))}
        case "status":
            return {"status": [int(n) for n in client.status(request["handle"])[:4]]}
        case "status_unique":
            return {"status": [int(n) for n in client.status(unique=request["unique"])[:4]]}
        case "ping":
            data = arguments(request)["workload"]
            return {"ping": client.echo(data) == data}
    return {"error": "unknown request"}


async def submit_async(client: AsyncClient, requests: list[dict[str, Any]]) -> dict[str, Any]:
    async def follow(request: dict[str, Any]) -> dict[str, Any]:
        outcome = blank()
        if request["background"]:
            outcome.update(state="created", handle=await client.submit_background(**arguments(request)))
            return outcome
        job = client.submit(**arguments(request))
        async for event in job.events(30):
            note(outcome, event)
        await asyncio.wait([job])
        end(outcome, job.result)
        outcome["handle"] = job.handle
        return outcome

    return {"outcomes": await asyncio.gather(*map(follow, requests))}


async def answer_async(client: AsyncClient, request: dict[str, Any]) -> dict[str, Any]:
    match request["op"]:
        case "submit":
            return await submit_async(client, request["requests"])
        case "run":
            return {"result": b64(await client.run(**arguments(request)))}
        case "background":
            return {"handle": await client.submit_background(**arguments(request))}
        case "status":
            return {"status": [int(n) for n in (await client.status(request["handle"]))[:4]]}
        case "status_unique":
            return {"status": [int(n) for n in (await client.status(unique=request["unique"]))[:4]]}
        case "ping":
            data = arguments(request)["workload"]
            return {"ping": await client.echo(data) == data}
    return {"error": "unknown request"}


def main(style: str, host: str, port: str) -> None:
    server = f"gearman://{host}:{port}"
    if style == "aio":
        asyncio.run(serve_async(server))
        return
    clients: dict[bool, Client] = {}
    for line in sys.stdin:
        request = json.loads(line)
        wanted = request.get("exceptions", True)
        if wanted not in clients:
            clients[wanted] = Client(server, exceptions=wanted, timeout=30)
        print(json.dumps(answer(clients[wanted], request)), flush=True)


async def serve_async(server: str) -> None:
    clients: dict[bool, AsyncClient] = {}
    while line := await asyncio.to_thread(sys.stdin.readline):
        request = json.loads(line)
        wanted = request.get("exceptions", True)
        if wanted not in clients:
            clients[wanted] = AsyncClient(server, exceptions=wanted, timeout=30)
        work: Coroutine[Any, Any, dict[str, Any]] = answer_async(clients[wanted], request)
        print(json.dumps(await work), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])

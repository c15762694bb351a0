# SPDX-License-Identifier: BSD-3-Clause
"""A client and a worker of a chaos run that use the package's own Client and Worker, in one process each.

The second argument is `client` or `worker`. Histories as those of `client.py` and `worker.py`, but with `result REQUEST
WHAT DATA` for each future, since the client repeats and renews connections by itself.
"""

from __future__ import annotations

import ssl
import sys
import threading
import time

from gearfast import Client, Job, JobException, JobFailed, Worker
from gearfast.errors import GearfastError

from .link import PLAIN, TIMED, Orders, Route, make_workload, read_setup, read_workload


def url(route: Route) -> str:
    if route.kind == "unix":
        return f"unix://{route.host}"
    return f"{'gearmans' if route.tls else 'gearman'}://{route.host}:{route.port}"


def context(route: Route) -> ssl.SSLContext | None:
    if not route.tls:
        return None
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
    return made


def run_client() -> None:
    setup, choices, history = read_setup()
    route = choices.choice(setup.routes)
    orders = Orders()
    number = 0
    with Client(url(route), timeout=40, ssl=context(route), resubmit="same") as client:
        while (order := orders.look()) != "q":
            if order != "g":
                orders.tell_idle()
                time.sleep(0.05)
                continue
            futures = []
            for _ in range(choices.choice((1, 4, 16))):
                number += 1
                request = f"{setup.name}-{number}"
                function = choices.choice(PLAIN + TIMED)
                unique = choices.choice((None, None, f"u{choices.randrange(40)}"))
                behaviour = choices.choice(("ok", "ok", "parts", "fail", "exception", "slow"))
                workload = make_workload(request, behaviour, choices.choice((0, 0, 0, 0, 500, 100_000)))
                history.write("ask", request, 0, True, function, unique or "")
                futures.append((request, client.submit(function, workload, unique=unique)))
            for request, future in futures:
                try:
                    what, data = "complete", future.result(60).decode("latin-1")
                except JobException as error:
                    what, data = "exception", error.data.decode("latin-1")
                except JobFailed:
                    what, data = "fail", ""
                except (GearfastError, TimeoutError) as error:
                    what, data = "error", f"{type(error).__name__}: {error}"
                history.write("result", request, what, data[:200])
    history.write("end", 0)


def run_worker() -> None:
    setup, choices, history = read_setup()
    route = choices.choice(setup.routes)
    worker = Worker(url(route), concurrency=choices.choice((1, 4)), id=setup.name, ssl=context(route))
    orders = Orders()
    count = 0
    lock = threading.Lock()

    def work(job: Job) -> bytes:
        nonlocal count
        with lock:
            count += 1
            number = count
        request, behaviour, sound = read_workload(job.workload)
        answer = f"{request}|{setup.name}.{number}"
        handle = str(job.handle)
        history.write("grab", 0, handle, job.function, request)
        if not sound:
            history.write("bad", f"{handle}: the workload of {request} is not whole")
        if behaviour == "parts":
            job.send_status(1, 2)
            job.send_data(f"part of {answer}")
            job.send_warning("careful")
        elif behaviour in ("slow", "stall"):
            time.sleep(0.2 if behaviour == "slow" or orders.current == "d" else 1.5)
        if behaviour in ("fail", "exception"):
            history.write("final", 0, handle, "exception", f"RuntimeError: {answer}")
            raise RuntimeError(answer)
        history.write("final", 0, handle, "complete", answer)
        return answer.encode()

    for function in PLAIN + TIMED:
        worker.register(function, work, timeout=1.0 if function in TIMED else None)

    def obey() -> None:
        while orders.look() != "q":
            time.sleep(0.05)
        worker.stop()

    threading.Thread(target=obey, daemon=True).start()
    worker.run()
    history.write("end", 0)


if __name__ == "__main__":
    {"client": run_client, "worker": run_worker}[sys.argv[2]]()

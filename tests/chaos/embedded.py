# SPDX-License-Identifier: BSD-3-Clause
"""An embedded server beside threads that hog the GIL: do jobs still flow, and how late are they?

The server and the hogs share this process; client and worker are others, so that what is late is the server's doing.
"""

from __future__ import annotations

import multiprocessing
import threading
import time
from multiprocessing.connection import Connection

from gearfast import Client, Server, Worker


def work(url: str) -> None:
    worker = Worker(url)
    worker.register("echo", lambda job: job.workload)
    worker.run()


def ask(url: str, seconds: float, answers: Connection) -> None:
    taken: list[float] = []
    end = time.monotonic() + seconds
    with Client(url, timeout=30) as client:
        while (begun := time.perf_counter()) and time.monotonic() < end:
            data = b"%d" % len(taken)
            if client.run("echo", data) != data:
                raise AssertionError("another answer than was asked for")
            taken.append(time.perf_counter() - begun)
    answers.send(taken)


def measure(hogs: int, seconds: float) -> tuple[int, float, float]:
    """Jobs done, and median and 99th percentile of their time in seconds, beside so many busy threads."""
    stop = threading.Event()

    def hog() -> None:
        number = 0
        while not stop.is_set():
            for _ in range(1000):
                number = (number * 1103515245 + 12345) & 0xFFFFFFFF

    context = multiprocessing.get_context("spawn")
    threads = [threading.Thread(target=hog) for _ in range(hogs)]
    with Server() as server:
        receive, send = context.Pipe(duplex=False)
        worker = context.Process(target=work, args=(server.url,), daemon=True)
        client = context.Process(target=ask, args=(server.url, seconds, send), daemon=True)
        worker.start()
        for thread in threads:
            thread.start()
        client.start()
        try:
            if not receive.poll(seconds + 60):
                raise AssertionError(f"no jobs flow beside {hogs} busy threads")
            taken = sorted(receive.recv())
        finally:
            stop.set()
            for process in (client, worker):
                process.kill()
                process.join()
            for thread in threads:
                thread.join()
    return len(taken), taken[len(taken) // 2], taken[len(taken) * 99 // 100]


def run_embedded(seconds: float) -> int:
    """Prints a line for each number of busy threads; 1 if the server seems to have waited for the GIL."""
    status = 0
    for hogs in (0, 1, 4):
        count, median, late = measure(hogs, seconds)
        print(
            f"{hogs} busy threads: {count} jobs in {seconds:g} s, median {median * 1e3:.2f} ms, p99 {late * 1e3:.2f} ms"
        )
        # Who wants the GIL from a busy thread waits for 5 ms; each job takes four turns of the server.
        status |= median > 2.5e-3
    return status

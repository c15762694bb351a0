# SPDX-License-Identifier: BSD-3-Clause
"""A job that fails now and then is tried again, with growing delays, as long as the call's time-out allows.

    python retries.py

Only the caller knows whether a job may run twice, so nothing but connecting is tried again unless it is said so.
"""

import threading

from gearfast import Backoff, Client, Fail, Job, JobFailed, Retry, Server, Worker

tries: list[str] = []


def fetch(job: Job) -> bytes:
    tries.append(job.handle)
    if len(tries) < 3:
        raise Fail("the site is busy")
    return b"fetched at the third attempt"


with Server() as server:
    worker = Worker(server.url)
    worker.register("fetch", fetch)
    thread = threading.Thread(target=worker.run)
    thread.start()
    with Client(server.url) as client:
        retry = Retry(5, backoff=Backoff(0.05, factor=2, max=1), on=JobFailed)
        print(client.run("fetch", b"https://example.org/", retry=retry, timeout=30).decode())
    worker.stop()
    thread.join()

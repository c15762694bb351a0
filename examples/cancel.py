# SPDX-License-Identifier: BSD-3-Clause
"""Jobs are taken back from the server, one that is queued and one that runs. Needs nothing else.

    python cancel.py

A worker is not interrupted: it has to look whether its job is still wanted.
"""

import threading

from gearfast import Client, Job, JobCancelled, Server, Worker

begun, pause = threading.Event(), threading.Event()


def render(job: Job) -> None:
    begun.set()
    while not job.cancelled:
        pause.wait(0.01)  # a part of the film
    print("the worker stops")


with Server() as server:
    worker = Worker(server.url)
    worker.register("render", render)
    thread = threading.Thread(target=worker.run)
    thread.start()
    with Client(server.url) as client:
        running, queued = client.submit("render", b"film"), client.submit("mail", b"")
        begun.wait(30)
        for future in (queued, running):
            print(future.function, "was there:", client.cancel(future))
            try:
                future.result(30)
            except JobCancelled:
                print(future.function, "is cancelled")
    worker.stop()
    thread.join()

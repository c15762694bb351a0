# SPDX-License-Identifier: BSD-3-Clause
"""Jobs are taken back from the server, one that is queued and one that runs.

    python cancel.py

The worker of the running one asks the server for its status, as any client may, and finds that it is not known any more.
"""

import threading

from gearfast import Client, Job, JobCancelled, Server, Worker

begun, told = threading.Event(), threading.Event()


def render(job: Job) -> None:
    begun.set()
    with Client(server.url) as asking:
        while asking.status(job.handle).known:
            told.wait(0.01)
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

# SPDX-License-Identifier: BSD-3-Clause
"""A job server inside a program, on a free port, with a worker in a thread. Needs nothing else.

python embedded.py
"""

import threading

from gearfast import Client, Job, Server, Worker


def shout(job: Job) -> bytes:
    return job.workload.upper() + b"!"


with Server() as server:
    worker = Worker(server.url)
    worker.register("shout", shout)
    thread = threading.Thread(target=worker.run)
    thread.start()
    with Client(server.url) as client:
        print(client.run("shout", b"it works", timeout=30).decode())
    worker.stop()
    thread.join()

# SPDX-License-Identifier: BSD-3-Clause
"""Two job servers, one of which goes away with jobs on it: the client sends those to the other one.

    python failover.py

Only the caller knows whether a job may run twice, so `resubmit="any"` is not the default.
"""

import threading
import time

from gearfast import Client, Job, Server, Worker


def square(job: Job) -> bytes:
    return b"%d" % int(job.workload) ** 2


with Server() as first, Server() as second:
    servers = [first.url, second.url]
    with Client(servers, resubmit="any") as client:
        futures = [client.submit("square", b"%d" % number) for number in range(20)]
        while not all(future.handle for future in futures):
            time.sleep(0.01)  # until some server has taken each
        print("jobs on each server:", len(first.jobs()) > 0, len(second.jobs()) > 0)
        first.stop()
        worker = Worker(servers)
        worker.register("square", square)
        thread = threading.Thread(target=worker.run)
        thread.start()
        print(sum(int(future.result(timeout=30)) for future in futures))
        worker.stop()
        thread.join()

# SPDX-License-Identifier: BSD-3-Clause
"""What can go wrong with a job, and whose fault it is. Needs a job server and worker.py.

python errors.py [SERVER]
"""

import sys

from gearfast import Client, JobException, JobFailed, JobTimeout

with Client(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:4730") as client:
    for workload in (b"1 4", b"1 0", b"one two"):
        try:
            print("result:", client.run("divide", workload, timeout=30).decode())
        except JobException as exc:
            print("the worker raised:", exc.data.decode())
        except JobFailed as exc:
            print("the worker gave up on", exc.function)
    try:
        client.run("nobody-does-this", timeout=0.2)
    except JobTimeout:
        print("no result in time; the job is given up")

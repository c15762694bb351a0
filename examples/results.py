# SPDX-License-Identifier: BSD-3-Clause
"""Submit now, fetch the result later, from another process: the job server keeps it.

    python results.py

Its policy says so, here `keep_results`; in the server's file that is `[functions.resize]` with `keep_results = 1000`.
"""

import subprocess
import sys

from gearfast import Client, Job, JobFailed, JobNotFound, Server
from gearfast.testing import WorkerThread


def fetch(server: str, unique: str) -> None:
    """What another program does, on another day."""
    with Client(server) as client:
        try:
            print(unique, "is", client.result(unique, function="resize").decode())
        except JobNotFound:
            print(unique, "is not known (any more)")
        except JobFailed as error:
            print(unique, "failed:", type(error).__name__)


def resize(job: Job) -> bytes:
    if not job.workload.endswith(b".png"):
        raise ValueError("no picture")
    return b"a thumbnail of " + job.workload


def main() -> None:
    with Server(functions={"resize": {"keep_results": 1000}}) as server:
        with Client(server.url) as client:
            client.submit_background("resize", b"a.png", unique="photo/17")
            client.submit_background("resize", b"notes.txt", unique="photo/18")
        with WorkerThread({"resize": resize}, server):
            for unique in ("photo/17", "photo/18", "photo/19"):
                subprocess.run([sys.executable, __file__, server.url, unique], check=True)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        fetch(sys.argv[1], sys.argv[2])
    else:
        main()

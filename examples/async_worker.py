# SPDX-License-Identifier: BSD-3-Clause
"""The asyncio worker: one process does many jobs that wait for something. SIGTERM stops it.

python async_worker.py [SERVER]
"""

import asyncio
import signal
import sys

from gearfast import AsyncJob, AsyncWorker


async def nap(job: AsyncJob) -> bytes:
    await asyncio.sleep(float(job.workload))
    return b"slept for " + job.workload


async def main(server: str) -> None:
    worker = AsyncWorker(server, concurrency=100)
    worker.register("nap", nap)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.stop)
    await worker.run()


asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:4730"))

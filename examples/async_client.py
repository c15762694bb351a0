# SPDX-License-Identifier: BSD-3-Clause
"""The asyncio client: many tasks share one connection. Needs a job server and worker.py.

python async_client.py [SERVER]
"""

import asyncio
import sys

from gearfast import AsyncClient


async def main(server: str) -> None:
    async with AsyncClient(server) as client:
        words = (b"one", b"two", b"three")
        print(await asyncio.gather(*(client.run("reverse", word, timeout=30) for word in words)))


asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:4730"))

# SPDX-License-Identifier: BSD-3-Clause
"""One function over many workloads, results in order, never more than a window of them under way.

    python map.py [SERVER]

Needs a job server and worker.py. The workloads may come from a generator: they are taken as there is room.
"""

import sys

from gearfast import Client

with Client(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:4730") as client:
    words = (b"%d" % number for number in range(1000, 2000))
    total = sum(int(result) for result in client.map("reverse", words, window=32, timeout=30))
    print(total)

# SPDX-License-Identifier: BSD-3-Clause
"""Many jobs at once on one connection, taken as they end. Needs a job server and worker.py.

python futures.py [SERVER]
"""

import sys

from gearfast import Client, as_completed

with Client(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:4730") as client:
    futures = {client.submit("reverse", word.encode()): word for word in ("photos", "thumbnails", "mails")}
    for future in as_completed(futures, timeout=30):
        print(futures[future], "->", future.result().decode())

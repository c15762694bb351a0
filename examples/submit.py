# SPDX-License-Identifier: BSD-3-Clause
"""Submit a job and wait for its result. Needs a job server and worker.py.

python submit.py [SERVER]
"""

import sys

from gearfast import Client

with Client(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:4730") as client:
    print(client.run("reverse", b"Hello Gearman", timeout=30))

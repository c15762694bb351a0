# SPDX-License-Identifier: BSD-3-Clause
"""Hand a job to the server and do not wait for it; look later what became of it. Needs a job server, no worker.

python background.py [SERVER]
"""

import sys

from gearfast import Client, Priority

with Client(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:4730") as client:
    handle = client.submit_background("mail", b"to the night shift", priority=Priority.LOW)
    print("the server has it as", handle)
    status = client.status(handle)
    print("known:", status.known, "running:", status.running)

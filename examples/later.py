# SPDX-License-Identifier: BSD-3-Clause
"""A job that is not to run before a certain time. Needs a job server, and worker.py in an hour.

python later.py [SERVER]
"""

import sys
from datetime import UTC, datetime, timedelta

from gearfast import Client

with Client(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:4730") as client:
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    handles = [
        client.submit_background("reverse", b"tomorrow", at=tomorrow),
        client.submit_background("reverse", b"in an hour", delay=3600),
    ]
    for handle in handles:
        status = client.status(handle)
        print("known:", status.known, "running:", status.running)

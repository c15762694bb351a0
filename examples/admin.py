# SPDX-License-Identifier: BSD-3-Clause
"""Ask a job server how it is. Needs a job server and worker.py.

python admin.py [SERVER]
"""

import sys

from gearfast import AdminClient

with AdminClient(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:4730") as admin:
    print("version", admin.version())
    for line in admin.status():
        print(f"{line.function}: {line.total} jobs, {line.running} of them running, {line.workers} workers")
    for worker in admin.workers():
        if worker.functions:
            print(f"a worker at {worker.address} does {', '.join(worker.functions)}")

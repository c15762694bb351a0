# SPDX-License-Identifier: BSD-3-Clause
"""Equal uniques are one job: two clients ask for the same thing, one job is made. Needs a job server, no worker.

python unique.py [SERVER]
"""

import sys

from gearfast import Client

server = sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:4730"

with Client(server) as one, Client(server) as other:
    first = one.submit_background("mail", b"to the night shift", unique="mail/17")
    second = other.submit_background("mail", b"this text goes nowhere", unique="mail/17")
    print("one job:", first == second)
    status = one.status(unique="mail/17")
    print("known by its unique:", status.known)

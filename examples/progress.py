# SPDX-License-Identifier: BSD-3-Clause
"""Watch a job: data, warnings and status as the worker sends them. Needs a job server and worker.py.

python progress.py [SERVER]
"""

import sys

from gearfast import Client, Data, Status, Warning

TEXT = b"one two three\n\nfour five"

with Client(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:4730") as client:
    future = client.submit("wc", TEXT)
    for event in future.events(timeout=30):
        match event:
            case Status(numerator, denominator):
                print(f"{numerator}/{denominator}")
            case Data(data):
                print("words in this line:", data.decode())
            case Warning(text):
                print("warning:", text.decode())
    print("words:", future.result().decode())

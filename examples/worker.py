# SPDX-License-Identifier: BSD-3-Clause
"""A worker with three functions, one of which tells how far it is. Ctrl-C or SIGTERM stops it.

python worker.py [SERVER]
"""

import signal
import sys

from gearfast import Fail, Job, Worker

worker = Worker(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:4730")


@worker.function("reverse")
def reverse(job: Job) -> bytes:
    return job.workload[::-1]


@worker.function("wc")
def count_words(job: Job) -> bytes:
    """Counts the words of a text, line by line; sends each line's count as data."""
    lines = job.workload.splitlines()
    total = 0
    for number, line in enumerate(lines, 1):
        words = len(line.split())
        if not words:
            job.send_warning(b"line %d is empty" % number)
        total += words
        job.send_data(b"%d" % words)
        job.send_status(number, len(lines))
    return b"%d" % total


@worker.function("divide")
def divide(job: Job) -> bytes:
    """Two numbers; says itself when a job cannot be done. Anything else that it raises becomes an exception."""
    one, two = map(float, job.workload.split())
    if two == 0:
        raise Fail("nothing can be divided by zero")
    return b"%g" % (one / two)


signal.signal(signal.SIGTERM, lambda *_: worker.stop())
signal.signal(signal.SIGINT, lambda *_: worker.stop())
worker.run()

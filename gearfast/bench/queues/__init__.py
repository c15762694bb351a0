# SPDX-License-Identifier: BSD-3-Clause
"""gearfast beside other job queues of Python, end to end: no-op jobs with a small JSON payload.

    libraries        which there are, how their workers are started, how many jobs a sample has
    job              the job and its payload, the same for all
    with_LIBRARY     one module a library, also what its worker imports: `enqueue(payloads)` and `run(payload)`
    producer         the process that submits
    trees            CPU of processes with all their children
    runner           brokers, workers and producers as processes; samples A B B A

A module `with_LIBRARY` is imported in processes whose environment names the broker (see `job`), nowhere else.
"""

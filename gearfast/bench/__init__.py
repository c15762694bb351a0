# SPDX-License-Identifier: BSD-3-Clause
"""Side-by-side measurements of job servers: the same traffic, interleaved, in server CPU per job.

`gearfast bench` and `make bench` are the same code. The modules, from the bottom up:

    _load, _clients, _workers    connections at the speed of C (Cython, Linux)
    _inmemory                    decoding without sockets
    traffic                      the rows of the table as data, and the bars
    stats                        medians of paired ratios with their intervals
    load                         the two processes that make the traffic
    servers                      job servers as processes, and their CPU time
    harness                      measures rows on servers, A B B A
    peers                        client and worker against pygearman, the embedded server's start
    durable                      a store's latency, and the return of its jobs
    queues                       gearfast beside other job queues of Python, end to end
    figures                      what is no row of traffic, by name
    report                       tables, JSON, pass or miss
    plot                         the comparison as SVG (needs matplotlib: `pip install "gearfast[bench]"`)
"""

# SPDX-License-Identifier: BSD-3-Clause
"""What the client and worker library costs its own process: CPU for a job, time to import, memory at rest.

    table            what is measured, as data: programs, what they are compared with, bars
    wire             the bytes that the bare programs send and look for
    blocking         gearfast's blocking client and worker, and the peers that block
    bare             the same work with a socket and nothing else
    streams          gearfast's asyncio client and worker, and aiogear
    bare_streams     the same work with an asyncio protocol and nothing else
    process          the process that is measured: one program of the table
    runner           server, load and programs as processes; samples A B B A
    footprint        import time, modules, memory

The other end is always the load generator in C (`gearfast.bench.load`), so that one Python process is measured.
"""

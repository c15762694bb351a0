# SPDX-License-Identifier: BSD-3-Clause
"""A client's and a worker's half of the protocol, without I/O.

Nothing in this package opens a socket, reads a clock, a file or the environment, draws a random number or logs: bytes
and times come in as arguments; bytes, finished requests and the next deadline go out as results. `gearfast.sync` and
`gearfast.aio` put sockets and clocks around it.
"""

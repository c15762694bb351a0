# SPDX-License-Identifier: BSD-3-Clause
"""What the blocking and the asyncio front end share: sockets, threads and processes for jobs, stop signals, the log.

Nothing here is public. Importing the package loads none of its modules.
"""

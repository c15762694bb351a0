# SPDX-License-Identifier: BSD-3-Clause
"""Where durable jobs are kept. A store knows batches and numbers, not jobs: records are bytes to it.

base         the interface, and what is written at once
sections     which jobs lie where, and what may go: the same for every store
sqlite       one file, the standard library's sqlite3
urls         from the URL of a store to the store
"""

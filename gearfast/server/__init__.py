# SPDX-License-Identifier: BSD-3-Clause
"""The job server: everything of it that has a descriptor or a clock, round the dispatcher that has neither.

`config` holds the settings, `listen` and `tls` open the sockets, `_reactor` and `stream` (with `accept`) move bytes
between sockets and the dispatcher, `service` joins them in an event loop, `app` is the process (signals, log, limits)
and `embedded` the same server inside another program, `fork` being what that takes.
"""

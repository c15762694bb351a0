# SPDX-License-Identifier: BSD-3-Clause
"""Chaos against a job server: see `__main__.py`."""

# SPDX-License-Identifier: BSD-3-Clause
"""The dispatcher against a model of it: random steps from a seed, each byte foretold; see `__main__.py`."""

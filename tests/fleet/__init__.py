# SPDX-License-Identifier: BSD-3-Clause
"""Several job servers on one database, with partitions, slow links, wrong clocks and processes that stand still."""

# SPDX-License-Identifier: BSD-3-Clause
"""Power loss: what a server does to its disk is recorded (`recorder.c`), and the disk is cut at any moment (`disk`)."""

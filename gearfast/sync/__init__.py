# SPDX-License-Identifier: BSD-3-Clause
"""Blocking front ends over `gearfast.session`; `gearfast.aio` is their twin, file by file."""

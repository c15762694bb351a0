# SPDX-License-Identifier: BSD-3-Clause
"""asyncio front ends over `gearfast.session`; the twin of `gearfast.sync`, file by file."""

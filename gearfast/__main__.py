# SPDX-License-Identifier: BSD-3-Clause
"""`python -m gearfast` is the command `gearfast`."""

from __future__ import annotations

import sys

from gearfast.cli import main

if __name__ == "__main__":
    sys.exit(main())

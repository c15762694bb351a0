# SPDX-License-Identifier: BSD-3-Clause
"""The dispatcher against a model of it that is plain enough to be believed: `rules.py`, `packets.py`, `lines.py`.

    python -m tests.model --steps 1000000 --seed 1 [--minutes 10]
    python -m tests.model --log tests/model/LOG.md --minutes 60      goes on where the log ends, and adds a line

Each run is drawn from its seed (`draw.py`): many clients and workers, any packets in any order and cut anywhere,
connections that end at any moment, and time. Both do each step. Every byte that a peer gets has to be the one that the
model says, and the dispatcher's records have to agree with each other (after each call in a debug build: `make debug`).

A run that fails is played again with steps left out until none can be, and printed as a test. Exit status 1.
"""

from __future__ import annotations

import sys

from .explore import main

if __name__ == "__main__":
    sys.exit(main())

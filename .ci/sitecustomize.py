# SPDX-License-Identifier: BSD-3-Clause
"""Where a copy of this file lies in PYTHONPATH, every Python runs under the sanitizers of $SANITIZER_PRELOAD.

They have to be there before Python is, so it starts itself anew with them. What it starts in turn gets them only if it
is such a Python: other programs are not to be looked at, and PHP refuses to run with them.
"""

import os
import sys
from pathlib import Path

if "libasan" in Path("/proc/self/maps").read_text("ascii", "replace"):
    os.environ.pop("LD_PRELOAD", None)
elif preload := os.environ.get("SANITIZER_PRELOAD"):
    wanted = os.environ.get("LD_PRELOAD", "")  # a test's own
    os.execve(sys.executable, sys.orig_argv, os.environ | {"LD_PRELOAD": f"{preload} {wanted}".strip()})

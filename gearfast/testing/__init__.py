# SPDX-License-Identifier: BSD-3-Clause
"""What tests of programs with Gearman need: a job server in memory, a clock, a recorder, a proxy that fails on purpose.

The pytest fixtures in `gearfast.pytest_plugin` are made of these.
"""

from __future__ import annotations

from gearfast.testing.clock import FakeClock
from gearfast.testing.faults import FaultProxy
from gearfast.testing.leaks import Leaks
from gearfast.testing.memory import MemoryServer
from gearfast.testing.recorder import Recorder, Submission
from gearfast.testing.threads import WorkerThread

__all__ = ["FakeClock", "FaultProxy", "Leaks", "MemoryServer", "Recorder", "Submission", "WorkerThread"]

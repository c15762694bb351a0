# SPDX-License-Identifier: BSD-3-Clause
"""The job server as a state machine, without I/O: bytes of peers and the time in, bytes and the next deadline out."""

from gearfast.dispatch._batch import Batch, chosen, survivors
from gearfast.dispatch._dispatcher import Dispatcher

__all__ = ["Batch", "Dispatcher", "chosen", "survivors"]

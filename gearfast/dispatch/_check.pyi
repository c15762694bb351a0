# SPDX-License-Identifier: BSD-3-Clause
from gearfast.dispatch._dispatcher import Dispatcher

def check(dispatcher: Dispatcher) -> None: ...

# SPDX-License-Identifier: BSD-3-Clause
"""What the tests of the old libraries' names share: old names put in place and taken away, and workers in threads."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

from gearfast import compat

from ..functional.servers import PATIENCE

TURN = 0.02
"""Seconds between two looks of a worker at whether it should leave."""


@contextlib.contextmanager
def installed(*names: str) -> Iterator[None]:
    """Old names in place, whatever this process imported under them before; all as it was at the end."""

    def ours(module: str) -> bool:
        return module.split(".")[0] in names

    kept = {name: sys.modules.pop(name) for name in list(sys.modules) if ours(name)}
    before = dict(compat._FINDER.modules)
    compat.install(*names)
    try:
        yield
    finally:
        compat._FINDER.modules.clear()
        compat._FINDER.modules.update(before)
        for name in [name for name in sys.modules if ours(name)]:
            del sys.modules[name]
        sys.modules.update(kept)


class Running:
    """A worker's `work` in a thread. `error`: what left it."""

    def __init__(self, work: Callable[[], object]) -> None:
        self.error: BaseException | None = None
        self._work = work
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._work()
        except BaseException as error:  # noqa: BLE001  (the test looks at it)
            self.error = error

    def join(self) -> BaseException | None:
        """Waits for its end; returns what left it."""
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), "the worker did not leave"
        return self.error


@contextlib.contextmanager
def working(worker: Any) -> Iterator[Running]:
    """A worker at work, looked after by its own `after_poll`; at the end it has to leave, without an exception."""
    leave = threading.Event()
    own = worker.after_poll
    worker.after_poll = lambda any_activity: bool(own(any_activity) and not leave.is_set())
    running = Running(lambda: worker.work(poll_timeout=TURN))
    try:
        yield running
    finally:
        leave.set()
        error = running.join()
        worker.shutdown()
    if error is not None:
        raise error


def worker_for(gearman: Any, server: Any, **functions: Callable[[Any, Any], Any]) -> Any:
    """A worker with these functions, named in str as most programs do."""
    worker = gearman.GearmanWorker([server.address])
    for name, function in functions.items():
        worker.register_task(name, function)
    return worker


@contextlib.contextmanager
def client_of(gearman: Any, *servers: Any) -> Iterator[Any]:
    """A client, closed at the end."""
    client = gearman.GearmanClient([server.address for server in servers])
    try:
        yield client
    finally:
        client.shutdown()

# SPDX-License-Identifier: BSD-3-Clause
"""A database and job servers, each in a namespace of its own, and what may happen to them."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.functional.preloaded import CLOCK, Clock, build, preload
from tests.functional.server_tools import LIMIT, ServerProcess, Wire, eventually
from tests.store.databases import Postgres, fresh_name, stands

from .check import check
from .history import Notes, load
from .network import Network

__all__ = ["KEPT", "LEASE", "Fleet", "Node", "Site", "make_site"]

KEPT = frozenset({"kept", "probe"})
"""Functions of which all jobs are durable."""
PORT = 4730
LEASE = 1.5
TIMEOUT = 1.0
"""Seconds until a server takes the database for unreachable."""
GIVING = Path(__file__).with_name("giving.c")


class FarPostgres(Postgres):
    """A PostgreSQL that is reached by TCP, in a namespace."""

    def __init__(self, network: Network) -> None:
        self.network = network
        super().__init__(f"listen_addresses={network.address(0)}", "port=5432")

    def make(self) -> None:
        super().make()
        with (self.folder / "data" / "pg_hba.conf").open("a") as rules:
            rules.write("host all all 10.78.0.0/24 trust\n")

    def close(self) -> None:
        self.stop()

    def command(self) -> list[str]:
        return [*self.network.wrap(0), *super().command()]

    def far_url(self, name: str) -> str:
        """Of a store of that name, from other namespaces."""
        address = f"{self.network.address(0)}:5432"
        return f"postgresql://gearfast@{address}/postgres?schema={name}&timeout={TIMEOUT:g}"


class Node:
    """A job server, which may end and be started again. What it says and gives out is in files of the run's folder."""

    def __init__(self, fleet: Fleet, number: int) -> None:
        self.fleet = fleet
        self.number = number
        self.address = (fleet.network.address(number), PORT)
        self.starts = 0
        self.server: ServerProcess | None = None

    @property
    def name(self) -> str:
        """Of its process in histories."""
        return f"s{self.number}.{self.starts}"

    @property
    def running(self) -> ServerProcess:
        assert self.server is not None, f"node {self.number} does not run"
        return self.server

    def start(self) -> None:
        """Returns once it serves; while the database is out of reach it tries again."""
        end = time.monotonic() + LIMIT
        while True:
            self.starts += 1
            folder = self.fleet.folder
            self.clock = Clock(self.fleet.libraries[0], folder / f"{self.name}.clock")
            environ = {
                **self.clock.environ,
                **preload(*self.fleet.libraries),
                "GIVING_FILE": str(folder / f"{self.name}.gives"),
            }
            flags = [
                "--listen",
                f"{self.address[0]}:{PORT}",
                "--store",
                self.fleet.url,
                "--lease",
                f"{self.fleet.lease}",
            ]
            try:
                self.server = ServerProcess(
                    *flags,
                    "--store-patience=2",
                    "--log-level=debug",
                    *self.fleet.flags,
                    environ=environ,
                    wrap=self.fleet.network.wrap(self.number),
                )
            except AssertionError:
                if time.monotonic() > end:
                    raise
            else:
                return

    def pause(self) -> None:
        """It stands when this returns."""
        pid = self.running.process.pid
        self.running.signal("SIGSTOP")
        eventually(lambda: stands(pid), f"node {self.number} stands")

    def go_on(self) -> None:
        self.running.signal("SIGCONT")

    def kill(self) -> None:
        """With SIGKILL."""
        before = time.monotonic_ns()
        self.running.signal("SIGKILL")
        self.running.wait()
        self.fleet.notes.add("end", self.name, before, time.monotonic_ns())
        self._ended()

    def leave(self) -> None:
        """With SIGTERM: it hands its jobs over, if it can."""
        self.running.signal("SIGTERM")
        status = self.running.wait()
        if status:
            self.fleet.faults.append(f"{self.name} ended with {status}: {self.running.lines[-3:]}")
        self._ended()

    def _ended(self) -> None:
        server = self.running
        self.server = None
        server.__exit__()
        (self.fleet.folder / f"{self.name}.log").write_text(server.log + "\n")
        self.fleet.faults += [
            f"{self.name}: {line}" for line in server.lines if "Traceback" in line or "assert" in line
        ]

    def connect(self) -> Wire:
        """From its own namespace, so that no trouble with the network is in the way."""
        return self.fleet.network.inside(self.number, lambda: Wire(self.address))

    def log(self, pattern: str, nth: int = 0) -> int:
        """Waits until its log has the nth line with a match of this; the number that is the first group, or 0."""
        match = self.running.wait_line(pattern, nth)
        return int(match[1]) if match.groups() else 0


@dataclass(frozen=True)
class Site:
    """Where fleets run, one after the other: namespaces, the database in one of them, what servers have preloaded."""

    network: Network
    database: FarPostgres
    libraries: tuple[Path, ...]


@contextlib.contextmanager
def make_site(folder: Path, count: int, compiler: str) -> Iterator[Site]:
    """For so many job servers."""
    libraries = (build(compiler, CLOCK, folder), build(compiler, GIVING, folder))
    with Network(count + 1) as network, contextlib.closing(FarPostgres(network)) as database:
        yield Site(network, database, libraries)


class Fleet:
    """Job servers that share a store of their own, with `flags`. As a context manager it starts and ends them.

    `folder`: for their histories. `lease`: seconds.
    """

    def __init__(self, site: Site, folder: Path, *flags: str, lease: float = LEASE) -> None:
        self.folder = folder
        self.network = site.network
        self.database = site.database
        self.libraries = site.libraries
        self.lease = lease
        self.flags = flags
        self.url = self.database.far_url(fresh_name())
        self.faults: list[str] = []
        self.notes = Notes(folder / "history.jsonl")
        self.nodes = [Node(self, number) for number in range(1, len(self.network.names))]
        self.notes.add("nodes", len(self.nodes))

    def __enter__(self) -> Fleet:
        try:
            for node in self.nodes:
                node.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self.heal()
        for node in self.nodes:
            if node.server is not None:
                node.kill()
        self.notes.close()

    def node(self, number: int) -> Node:
        """From 1 on."""
        return self.nodes[number - 1]

    def heal(self) -> None:
        """Nothing stands in the way of anybody any more, but for processes that do not run."""
        self.network.heal()
        with contextlib.suppress(ProcessLookupError):
            self.database.signal(signal.SIGCONT)
        for node in self.nodes:
            if node.server is not None:
                node.go_on()

    def close(self) -> None:
        """Ends all servers, so that all histories are in the folder."""
        self.heal()
        for node in self.nodes:
            if node.server is not None:
                node.leave()

    def check(self) -> list[str]:
        """Ends all servers; what is wrong."""
        self.close()
        return self.faults + check(load(self.folder, KEPT))

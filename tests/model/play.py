# SPDX-License-Identifier: BSD-3-Clause
"""Plays steps on a dispatcher and on the model, and compares all that can be compared.

Steps are plain data, so that a run can be kept, cut down and pasted into a test:

    ("connect", PEER, ADMIN)              PEER is a number that is not used twice
    ("leave", PEER)
    ("send", PEER, BYTES, PEER, BYTES …)  reads of connections before any output is taken
    ("go_on", NS, NS)                     by how much the monotonic clock goes on, and the wall clock
    ("complete", PEER)                    it sends no more
    ("drain",)
"""

from __future__ import annotations

from typing import Any, Final

from gearfast.dispatch import Dispatcher
from gearfast.dispatch._check import check
from gearfast.dispatch.policy import Policies

from .model import Model
from .packets import calendar
from .records import Function, Wrong

Step = tuple[Any, ...]
SETTINGS: Final[dict[str, Any]] = {
    "handle_prefix": b"H:m",
    "first_handle": 1,
    "seed": 0,
    "max_packet": 1 << 20,
    "max_unsent": 0,
    "max_queued": 0,
    "high_water": 0,
    "job_retries": -1,
    "wakeup": 0,
    "order": "priority",
    "exceptions": False,
    "version": "9.8.7",
    "pid": 4321,
    "admin_writes": True,
    "policies": {},
}
START: Final = (5_000 * 10**9, 1_767_225_600 * 10**9)
PRIORITIES: Final = ("high", "normal", "low")


class Play:
    """One dispatcher beside one model. `settings`: what differs from SETTINGS."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.settings = {**SETTINGS, **settings}
        policies = Policies.parse(self.settings["policies"])
        self.dispatcher = Dispatcher(**{**self.settings, "policies": policies}, next_match=calendar)
        self.model = Model(self.settings)
        self.ids: dict[int, int] = {}
        self.names: dict[int, int] = {}
        self.pieces = 5_000  # so many bytes are taken at once
        self.closing: list[int] = []  # to be ended as soon as the model is as far
        self.shutdown = ""
        self.now, self.wall = START
        self.model.tick(*START, self.dispatcher.tick(*START))

    def do(self, step: Step) -> None:
        """A step that makes no sense (any more) does nothing: so any of them can be left out."""
        getattr(self, step[0])(*step[1:])

    def connect(self, name: int, admin: bool | None) -> None:
        if name in self.ids:
            return
        self.ids[name] = peer = self.dispatcher.connect("127.0.0.1", admin=admin)
        if peer in self.names:
            raise Wrong(f"two connections with the number {peer}")
        self.names[peer] = name
        self.model.connect(name, admin)
        self.phase([])

    def leave(self, name: int) -> None:
        if name in self.ids:
            self.names.pop(self.ids[name])
            self.dispatcher.disconnect(self.ids.pop(name))
            self.phase([("leave", name)])

    def complete(self, name: int) -> None:
        if name in self.ids:
            self.dispatcher.complete(self.ids[name])
            self.phase([("complete", name)])

    def send(self, *reads: Any) -> None:
        events = []
        for name, data in zip(reads[::2], reads[1::2], strict=True):
            if name in self.ids:
                self.dispatcher.receive(self.ids[name], data)
                events.append(("receive", name, data, 0))
        left = self.left_to_the_next_tick()
        for number in range(len(events) if left else 0)[::-1]:  # what came later was left altogether
            _, name, data, _ = events[number]
            events[number] = ("receive", name, data, max(left.get(name, 0), 0))
            left[name] = left.get(name, 0) - len(data)
        self.phase(events)

    def left_to_the_next_tick(self) -> dict[int, int]:
        """Where the dispatcher stopped in what it was sent is its own business; bytes by peer."""
        if not self.dispatcher.pending:
            return {}
        return {self.names[peer["peer"]]: peer["partial"] for peer in self.dispatcher.peers()}

    def drain(self) -> None:
        self.dispatcher.drain()
        self.model.draining = True

    def go_on(self, monotonic: int, wall: int) -> None:
        self.now += monotonic
        self.wall = max(self.wall + wall, 0)
        wait = self.dispatcher.tick(self.now, self.wall)
        pending = self.dispatcher.pending
        self.phase([("tick", self.now, self.wall, wait, pending, self.left_to_the_next_tick())])

    def phase(self, events: list[Step]) -> None:
        """Takes all output, has the model do the same, then ends whom the dispatcher wants to be closed."""
        seen = self.collect()
        self.model.phase(events, seen, self.closing, self.audit_peers)
        self.model.taken(list(seen))
        waiting = [name for name in self.model.paused if self.model.peers[name].paused]
        if waiting and not self.dispatcher.pending:
            raise Wrong(f"frames of peers {waiting} wait, but not for the next tick")
        while self.closing:
            self.leave(self.closing.pop(0))

    def collect(self) -> dict[int, bytes]:
        seen: dict[int, bytes] = {}
        for peer in self.dispatcher.take_dirty():
            name = self.names.get(peer)
            if name is None or name in seen:
                raise Wrong(f"take_dirty() names peer {name}, which has left or was named before")
            seen[name] = self.dispatcher.take_output(peer, self.pieces)
            while len(seen[name]) % self.pieces == 0 and (more := self.dispatcher.take_output(peer, self.pieces)):
                seen[name] += more
            if self.dispatcher.closing(peer) and name not in self.closing:
                self.closing.append(name)
        return seen

    # ---- what can be compared at any moment -----------------------------------------------------------------------

    def check(self) -> None:
        """The dispatcher's records agree with each other."""
        try:
            check(self.dispatcher)
        except AssertionError as wrong:
            raise Wrong(f"records: {wrong}") from None

    def audit(self) -> None:
        """The dispatcher's Python face tells what the model knows."""
        self.audit_jobs()
        self.audit_functions()
        self.audit_peers()
        self.audit_counts()
        self.audit_metrics()

    def audit_jobs(self) -> None:
        jobs = {job["number"]: job for job in self.dispatcher.jobs()}
        numbers = {peer: name for name, peer in self.ids.items()}
        for job in self.model.jobs.values():
            found = jobs.pop(job.number, None)
            if found is None:
                raise Wrong(f"jobs() without {job.handle!r}")
            expected = {
                "number": job.number,
                "handle": job.handle.decode(),
                "unique": job.unique,
                "workload": job.data,
                "priority": PRIORITIES[job.priority],
                "background": job.background,
                "ignored": not job.wanted,
                "running": job.worker is not None,
                "retries": job.retries,
                "clients": len(job.waiting),
                "numerator": job.numerator,
                "denominator": job.denominator,
                "due": job.due / 1e9 if job in self.model.delayed else 0.0,
                "worker": self.ids[job.worker.name] if job.worker is not None else None,
            }
            wrong = {key: (found[key], value) for key, value in expected.items() if found[key] != value}
            if wrong:
                raise Wrong(f"jobs() says of {job.handle!r} {wrong} (found, expected); peers {numbers}")
        ghosts = {job.number for job in self.model.gone.values()}
        if not jobs.keys() <= ghosts or not all(job["ignored"] and not job["running"] for job in jobs.values()):
            raise Wrong(f"jobs() has {sorted(jobs)}, of which only {sorted(ghosts)} may still be there")

    def audit_functions(self) -> None:
        functions = self.dispatcher.functions()
        if len(functions) != len(self.model.functions):
            raise Wrong(f"{len(functions)} functions instead of {len(self.model.functions)}")
        for found, function in zip(functions, self.model.functions.values(), strict=True):
            queued = self.model.counts_of(function, b"prioritystatus")[:3]
            most = [
                a + b for a, b in zip(queued, self.model.counts_of(function, b"prioritystatus", True), strict=False)
            ]
            if not all(a <= b <= c for a, b, c in zip(queued, found["queued"], most, strict=True)):
                raise Wrong(f"functions() says {found['queued']} of {function.name!r}, not {queued} to {most}")
            row = (found["total"] - sum(found["queued"]), found["running"], found["workers"], found["limits"])
            if row != (function.running, function.running, len(function.able), function.limits):
                raise Wrong(f"functions() says {found} of {function.name!r}")

    def audit_peers(self) -> None:
        peers = {self.names[peer["peer"]]: peer for peer in self.dispatcher.peers()}
        if peers.keys() != self.model.peers.keys():
            raise Wrong(f"peers() has {sorted(peers)} instead of {sorted(self.model.peers)}")
        for name, peer in self.model.peers.items():
            found = peers[name]
            row = (len(found["functions"]), found["asleep"], found["held"], found["closing"], found["partial"])
            if row != (len(peer.able), peer.asleep, len(peer.held), peer.closing, len(peer.partial)):
                raise Wrong(f"peers() says {found} of peer {name}: {peer}")
            if found["unsent"]:
                raise Wrong(f"peer {name} has output that take_dirty() did not tell of")

    def audit_counts(self) -> None:
        model, dispatcher = self.model, self.dispatcher
        stats = dispatcher.stats()
        if (stats["packets"], stats["errors"]) != (model.packets.total(), model.errors.total()):
            raise Wrong(f"stats() says {stats}, not {model.packets.total()} packets and {model.errors.total()} errors")
        for name in ("submitted", "coalesced", "completed", "failed", "exceptions", "dropped", "requeued", "connected"):
            expected = model.counts[name]
            if name == "dropped":  # ghosts count when they are met: all but those that are still there
                expected += model.counts["unwanted"] - (dispatcher.job_count - len(model.jobs))
            if stats[name] != expected:
                raise Wrong(f"stats() says {stats[name]} {name} instead of {expected}")
        queued = sum(function.filled for function in model.functions.values()) + any(
            job.retries for job in model.delayed
        )
        running = sum(function.running for function in model.functions.values())
        counts = (dispatcher.idle, dispatcher.running_count, dispatcher.peer_count, len(dispatcher.functions()))
        if counts != (not queued and not running, running, len(model.peers), len(model.functions)):
            raise Wrong(f"idle, running, peers and functions are {counts}")
        if not len(model.jobs) <= dispatcher.job_count <= len(model.jobs) + len(model.gone):
            raise Wrong(f"{dispatcher.job_count} jobs instead of {len(model.jobs)} and at most {len(model.gone)} more")
        for level, text in dispatcher.take_notices():
            if level == "SHUTDOWN":
                self.shutdown = text
        if self.shutdown != model.shutdown:
            raise Wrong(f"a shutdown was asked for: {model.shutdown!r}, and told: {self.shutdown!r}")
        for function in model.functions.values():
            if function.ready and function.able and not model.draining:
                workers = [peer for peer in function.able if peer.woken or not peer.asleep]
                if not workers:
                    raise Wrong(f"all workers of {function.name!r} sleep beside a job")

    def audit_metrics(self) -> None:
        model, metrics = self.model, self.dispatcher.metrics()
        server = metrics["server"]
        roles = {"client": 0, "worker": 0, "both": 0, "silent": 0}
        for peer in model.peers.values():
            worker, client = peer.is_worker, peer.is_client
            roles["both" if worker and client else "worker" if worker else "client" if client else "silent"] += 1
        expected = {
            "connections": roles,
            "received_bytes": model.counts["received"],
            "commands": dict(model.packets),
            "text_commands": model.counts["lines"],
            "errors": {name: model.errors[name] for name in server["errors"]},
            "bad_bytes": model.counts["faults"],
            "overflows": model.counts["overflows"],
        }
        if not model.counts["overflows"]:  # of what was cut off it is not known how much it was
            expected["answered_bytes"] = model.counts["answered"]
        wrong = {name: (server[name], value) for name, value in expected.items() if server[name] != value}
        if wrong:
            raise Wrong(f"metrics() of the server: {wrong} (found, expected)")
        if len(metrics["functions"]) < len(model.functions):
            return  # names that are no UTF-8 may look the same
        for function, found in zip(model.functions.values(), metrics["functions"].values(), strict=True):
            self.audit_function_metrics(function, found)

    @staticmethod
    def audit_function_metrics(function: Function, found: dict[str, Any]) -> None:
        counts = function.counts
        names = ("submitted", "coalesced", "refused", "completed", "failed", "exceptions", "dropped", "requeued")
        expected = {name: counts[name] for name in (*names, "timeouts")}
        unwanted = found["dropped"] - expected["dropped"]
        if counts["unwanted"] - len(function.ghosts) <= unwanted <= counts["unwanted"]:
            expected["dropped"] = found["dropped"]
        wrong: dict[str, Any] = {name: (found[name], n) for name, n in expected.items() if found[name] != n}
        for name, number, time in (("waiting", "given out", "waiting ns"), ("processing", "finished", "processing ns")):
            of = (sum(found[name]["counts"]), found[name]["seconds"])
            if of != (counts[number], counts[time] / 1e9):
                wrong[name] = (of, (counts[number], counts[time] / 1e9))
        if wrong:
            raise Wrong(f"metrics() of {function.name!r}: {wrong} (found, expected)")


def replay(settings: dict[str, Any], steps: list[Step], every: int = 1) -> None:
    """Plays a run again, its records checked after each step; raises Wrong if it fails."""
    play = Play(settings)
    for number, step in enumerate(steps):
        play.do(step)
        if number % every == 0:
            play.check()
    play.check()
    play.audit()

# SPDX-License-Identifier: BSD-3-Clause
"""Reads the histories of a chaos run and proves what they must show; see `check`."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any, NamedTuple

_RETRIED = re.compile(r"Dropped job due to max retry count: (\S+)")
_UNSAID = re.compile(r"messages were left out, (\d+) of them of dropped jobs")


class Final(NamedTuple):
    """What a worker sent at a job's end; `accepted` is None where no echo told of it."""

    what: str
    data: str
    kind: str
    accepted: bool | None

    @property
    def doubled(self) -> bool:
        """What is sent through a proxy may reach the server twice."""
        return self.kind.startswith("proxy")


class Totals(NamedTuple):
    """What a run consisted of."""

    requests: int
    answers: int
    background: int
    grabs: int
    finals: int


class Histories:
    """All histories of a run, joined."""

    def __init__(self, folder: Path) -> None:
        # By request: process, connection, foreground, function, unique.
        self.asks: dict[str, tuple[str, int, bool, str, str]] = {}
        self.created: dict[str, str] = {}
        self.refused: set[str] = set()
        self.answers: dict[tuple[str, int, str], list[tuple[str, str]]] = defaultdict(list)
        self.results: dict[str, list[tuple[str, str]]] = defaultdict(list)
        self.closed: set[tuple[str, int]] = set()
        self.ended: dict[str, int] = {}
        self.exceptions: dict[tuple[str, int], bool] = {}
        self.grabs: dict[str, list[tuple[str, str]]] = defaultdict(list)  # handle: function, request
        self.finals: dict[str, list[Final]] = defaultdict(list)
        self.asked_at: dict[str, float] = {}
        self.restarts: list[list[float]] = []  # of the server: begin and end of each time without it
        self.drained: list[float] = []  # when everything that had been asked for was done
        self.cancelled: set[str] = set()
        self.dropped: set[str] = set()
        self.faults: list[str] = []
        for path in sorted(folder.glob("*.jsonl")):
            self._read(path)

    def _read(self, path: Path) -> None:
        kinds: dict[int, str] = {}
        open_finals: dict[tuple[int, str], int] = {}
        for line in path.read_bytes().split(b"\n"):
            if not line.endswith(b"]"):
                continue  # its process was killed in the middle, or the end
            kind, when, *values = json.loads(line)
            if kind == "conn":
                kinds[values[0]] = values[1]
            if kind == "final":
                conn, handle, what, data = values
                open_finals[conn, handle] = len(self.finals[handle])
                self.finals[handle].append(Final(what, data, kinds.get(conn, "library"), None))
            elif kind == "fence":
                conn, handle, accepted = values
                at = open_finals[conn, handle]
                self.finals[handle][at] = self.finals[handle][at]._replace(accepted=accepted)
            elif kind == "down":
                self.restarts.append([when, float("inf")])
            elif kind == "up":
                self.restarts[-1][1] = when
            elif kind == "drained":
                self.drained.append(when)
            else:
                if kind == "ask":
                    self.asked_at[values[0]] = when
                self._take(path.stem, kind, values)

    def _take(self, name: str, kind: str, values: list[Any]) -> None:
        if kind == "ask":
            if values[0] in self.asks:
                self.faults.append(f"{name}: asked twice for {values[0]}")
            self.asks[values[0]] = (name, *values[1:])
        elif kind == "created":
            self.created[values[0]] = values[1]
        elif kind == "refused":
            self.refused.add(values[0])
            if values[1] != "QUEUE_ERROR":
                self.faults.append(f"{name}: {values[0]!r} was refused with {values[1]}")
        elif kind == "got":
            self.answers[name, values[0], values[1]].append((values[2], values[3]))
        elif kind == "result":
            self.results[values[0]].append((values[1], values[2]))
        elif kind == "conn" and len(values) == 3:
            self.exceptions[name, values[0]] = values[2]
        elif kind == "closed":
            self.closed.add((name, values[0]))
        elif kind == "end":
            self.ended[name] = values[0]
        elif kind == "grab":
            self.grabs[values[1]].append((values[2], values[3]))
        elif kind == "cancel":
            self.cancelled.add(values[0])
        elif kind == "drop":
            self.dropped.add(values[0])
        elif kind in ("stray", "bad"):
            self.faults.append(f"{name}: {kind} {values}")

    def lived(self, name: str, conn: int) -> bool:
        """The connection was there at the end."""
        return self.ended.get(name) == conn

    def forgotten(self, request: str) -> bool:
        """The server may have been killed with this request in its memory."""
        asked = self.asked_at[request]
        return any(asked <= up and not any(asked < rest < down for rest in self.drained) for down, up in self.restarts)

    def totals(self) -> Totals:
        background = sum(not self.asks[request][2] for request in self.created if request in self.asks)
        answers = sum(map(len, self.answers.values())) + sum(map(len, self.results.values()))
        finals = sum(map(len, self.finals.values()))
        return Totals(len(self.asks), answers, background, sum(map(len, self.grabs.values())), finals)


class Checker:
    """The proofs. `retried`: handles that the server's log says it gave up; `unsaid`: how many more it left out."""

    def __init__(self, histories: Histories, retried: set[str], unsaid: int = 0) -> None:
        self.h = histories
        self.retried = retried
        self.unsaid = unsaid
        self.taken_for_dropped: set[str] = set()
        self.faults = list(histories.faults)
        self.by_place: dict[tuple[str, int, str], list[str]] = defaultdict(list)
        self.functions: dict[str, set[str]] = defaultdict(set)
        for request, handle in histories.created.items():
            if request not in histories.asks:
                self.faults.append(f"{handle}: {request} was acknowledged and never asked for")
                continue
            name, conn, foreground, function, _ = histories.asks[request]
            self.functions[handle].add(function)
            if foreground:
                self.by_place[name, conn, handle].append(request)

    def given_up(self, handle: str, function: str) -> bool:
        """Whether the server gave the job up; to be asked only if nothing else explains what became of it."""
        if handle in self.h.cancelled or handle in self.retried or function in self.h.dropped:
            return True
        if len(self.taken_for_dropped) < self.unsaid:
            self.taken_for_dropped.add(handle)
        return handle in self.taken_for_dropped

    def foreground(self) -> None:
        """Each acknowledged request whose connection lived was answered, and none more than once."""
        for place, requests in self.by_place.items():
            name, conn, _ = place
            got = len(self.h.answers.get(place, ()))
            if got > len(requests) or (got < len(requests) and self.h.lived(name, conn)):
                self.faults.append(f"{place}: {got} answers to {requests}")
        for request, results in self.h.results.items():
            if len(results) > 1 or request not in self.h.asks:
                self.faults.append(f"{request}: {len(results)} results {results}")
        for request, (name, conn, _, _, _) in self.h.asks.items():
            known = request in self.h.created or request in self.h.refused or request in self.h.results
            if not known and self.h.lived(name, conn):
                self.faults.append(f"{name} {conn}: {request} was neither acknowledged nor refused")

    def answers(self) -> None:
        """Each answer was sent by a worker for that very job, or is a failure with a reason."""
        for (name, conn, handle), answers in self.h.answers.items():
            if (name, conn, handle) not in self.by_place:
                self.faults.append(f"{name} {conn}: an answer for {handle}, which it did not ask for")
            function = next(iter(self.functions[handle]), "")
            finals = self.h.finals.get(handle, [])
            for what, data in answers:
                if what == "fail":
                    fine = any(f.what in ("fail", "exception") for f in finals) or self.given_up(handle, function)
                else:
                    fine = any((f.what, f.data) == (what, data) for f in finals)
                if not fine:
                    self.faults.append(f"{name} {conn} {handle}: {what} {data!r} was not sent by a worker: {finals}")
            if len(set(answers)) > 1:
                self.faults.append(f"{name} {conn} {handle}: different answers {set(answers)}")
        for request, results in self.h.results.items():
            for what, data in results:
                if what == "complete" and not self.sent(data):
                    self.faults.append(f"{request}: result {data!r} was not sent by a worker")

    def sent(self, data: str) -> bool:
        if not hasattr(self, "_sent"):
            self._sent = {final.data for finals in self.h.finals.values() for final in finals}
        return data in self._sent

    def jobs(self) -> None:
        """Workers got what was asked for, and no job was accepted as done twice, or with two results."""
        for handle, grabs in self.h.grabs.items():
            if len(set(grabs)) > 1:
                self.faults.append(f"{handle}: given out as {set(grabs)}")
            function, request = grabs[0]
            asked = self.h.asks.get(request)
            if asked is None or asked[3] != function:
                self.faults.append(f"{handle}: {request} of {function} was never asked for")
            if not self.functions[handle] <= {function}:
                self.faults.append(f"{handle} of {function} was acknowledged for {self.functions[handle]}")
        delivered: dict[str, set[tuple[str, str]]] = defaultdict(set)
        for (_, _, handle), answers in self.h.answers.items():
            delivered[handle].update(answer for answer in answers if answer[0] != "fail")
        for handle, finals in self.h.finals.items():
            # A duplicated connection may be refused for what its double was accepted for.
            accepted = [final for final in finals if final.accepted]
            if len(accepted) > 1:
                self.faults.append(f"{handle}: done {len(accepted)} times: {accepted}")
            if accepted and delivered[handle] and accepted[0].what != "fail":
                wanted = {(accepted[0].what, accepted[0].data)}
                if not delivered[handle] <= wanted:
                    self.faults.append(f"{handle}: {delivered[handle]} was delivered, {wanted} accepted")
            for final in finals:
                if final.accepted is False and not final.doubled and (final.what, final.data) in delivered[handle]:
                    self.faults.append(f"{handle}: {final} was refused and delivered")

    def background(self) -> None:
        """Each acknowledged background job was done: by a worker whose last packet was not refused."""
        for request, handle in self.h.created.items():
            _, _, foreground, function, _ = self.h.asks.get(request, ("", 0, True, "", ""))
            if foreground or self.h.forgotten(request):
                continue
            finals = self.h.finals.get(handle, [])
            done = any(final.accepted is not False or final.doubled for final in finals)
            if not done and not self.given_up(handle, function):
                self.faults.append(f"{request}: background job {handle} of {function} was never done: {finals}")

    def handles(self) -> None:
        """No two jobs had the same handle: a handle's requests have one unique, or one request."""
        uniques: dict[str, set[str]] = defaultdict(set)
        counts: Counter[str] = Counter()
        for request, handle in self.h.created.items():
            if request not in self.h.asks:
                continue
            uniques[handle].add(self.h.asks[request][4])
            counts[handle] += 1
        for handle, found in uniques.items():
            if len(found) > 1 or (counts[handle] > 1 and found == {""}):
                self.faults.append(f"{handle}: {counts[handle]} requests with uniques {found}")


def check(folder: Path, log: str) -> tuple[list[str], Totals]:
    """Faults that the histories in `folder` and the server's log show, and what there was of everything."""
    histories = Histories(folder)
    checker = Checker(histories, set(_RETRIED.findall(log)), sum(map(int, _UNSAID.findall(log))))
    for proof in (checker.foreground, checker.answers, checker.jobs, checker.background, checker.handles):
        proof()
    return checker.faults, histories.totals()

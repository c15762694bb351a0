# SPDX-License-Identifier: BSD-3-Clause
"""What must hold of several servers on one store, whatever happened, proved from their histories alone.

1. Each acknowledged job was done.
2. No job is given out by anybody once a worker knows that its end is stored.
3. Who owns a job is linearizable: the times in which two servers hold it with valid leases have no moment in common,
   and a server gives a job out in such a time of its own only; but for one that was refused, which is in no store.
4. No handle is given twice, but to those who give the same unique.
5. Of the jobs with one unique no two are there at one moment, and nobody is given one that had ended before it asked.
6. In the end each server keeps and gives out jobs again.
"""

from __future__ import annotations

import bisect
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator

from gearfast.store.base import RANGE_BITS

from .history import End, History

__all__ = ["check", "figures"]

Span = tuple[int, int]


def _range(handle: str) -> int:
    return int(handle.rpartition(":")[2]) >> RANGE_BITS


def _node(process: str) -> int:
    return int(process.split(".")[0].removeprefix("s"))


def _union(spans: Iterable[Span]) -> list[Span]:
    """As few as there can be, rising."""
    found: list[Span] = []
    for begin, end in sorted(spans):
        if found and begin <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        elif begin < end:
            found.append((begin, end))
    return found


def _meets(spans: list[Span], begin: int, end: int) -> bool:
    """Whether one of them has a moment in common with this one; their own ends are not in them."""
    at = bisect.bisect_right(spans, (end, end))
    return at > 0 and spans[at - 1][1] > begin


class Owners:
    """The times in which processes own ranges with valid leases."""

    def __init__(self, history: History) -> None:
        leases: dict[tuple[str, int], list[Span]] = defaultdict(list)
        for lease in history.leases:
            leases[lease.process, lease.server].append((lease.began, lease.until))
        self._ends: dict[str, End] = {}
        for end in history.ends:
            known = self._ends.get(end.process, end)
            self._ends[end.process] = End(end.process, min(end.first, known.first), min(end.last, known.last))
        since: dict[tuple[str, int, int], int] = {}
        for has in history.has:
            for number in has.ranges:
                key = (has.process, has.server, number)
                since[key] = min(has.time, since.get(key, has.time))
        unions = {key: _union(spans) for key, spans in leases.items()}
        self._spans: dict[int, dict[tuple[str, int], list[Span]]] = defaultdict(dict)
        for (process, server, number), time in since.items():
            spans = unions.get((process, server), [])
            self._spans[number][process, server] = [(max(begin, time), end) for begin, end in spans if end > time]

    def may_give(self, process: str, number: int, begin: int, end: int) -> bool:
        """Whether a process owned the range at some moment between these two."""
        if process in self._ends and begin > self._ends[process].last:
            return False
        owners = self._spans.get(number, {})
        return any(_meets(spans, begin, end) for (who, _), spans in owners.items() if who == process)

    def doubles(self) -> Iterator[str]:
        """Ranges that two owned at one moment."""
        for number, owners in sorted(self._spans.items()):
            all_spans = sorted(
                (begin, min(end, self._ends[who[0]].first) if who[0] in self._ends else end, who)
                for who, spans in owners.items()
                for begin, end in spans
            )
            latest: dict[tuple[str, int], int] = {}
            for begin, end, who in all_spans:
                for other, until in latest.items():
                    if other != who and begin < min(until, end):
                        yield (
                            f"two owners: jobs of {number} are those of {other} until {until} and of {who} from {begin}"
                            f" on ({(until - begin) / 1e6:.3f} ms)"
                        )
                latest[who] = max(end, latest.get(who, 0))


def _lost(history: History) -> Iterator[str]:
    done = {handle for _, handle in history.done}
    for ack in history.acks:
        if ack.handle not in done:
            yield f"lost: {ack.handle} was acknowledged by node {ack.node} at {ack.time} and never done"


def _earliest(times: Iterable[tuple[int, str]]) -> dict[str, int]:
    """By handle."""
    found: dict[str, int] = {}
    for time, handle in times:
        found[handle] = min(time, found.get(handle, time))
    return found


def _after_end(history: History) -> Iterator[str]:
    ends = _earliest(history.stored)
    for give in history.gives:
        end = ends.get(give.handle)
        if end is not None and give.woken > end:
            yield f"after its end: {give.handle} was given out by {give.process} at {give.woken}, stored at {end}"
    for begin in history.begins:
        end = ends.get(begin.handle)
        if end is not None and begin.asked > end:
            yield f"after its end: {begin.handle} came at node {begin.node}, asked at {begin.asked}, stored at {end}"


def _refused(history: History) -> set[str]:
    """Jobs that may have been refused, as the store never had them, and run out where they were submitted.

    Nobody was told that they are kept, and nobody but the server whose number they have gave them out.
    """
    made = {(has.process, has.server) for has in history.has}
    givers: dict[str, set[str]] = defaultdict(set)
    for give in history.gives:
        givers[give.handle].add(give.process)
    for ack in history.acks:
        givers.pop(ack.handle, None)
    return {handle for handle, (who, *more) in givers.items() if not more and (who, _range(handle)) in made}


def _owned(history: History) -> Iterator[str]:
    owners = Owners(history)
    refused = _refused(history)
    yield from owners.doubles()
    for give in history.gives:
        if give.handle not in refused and not owners.may_give(give.process, _range(give.handle), give.woken, give.sent):
            yield (
                f"not its own: {give.process} gave out {give.handle} of {_range(give.handle)}, woken at {give.woken},"
                f" sent at {give.sent}"
            )
    # What workers have got was noted where it was given out, else nothing of the above says anything.
    given = Counter((_node(give.process), give.handle) for give in history.gives)
    got = Counter((begin.node, begin.handle) for begin in history.begins)
    for (node, handle), times in got.items():
        if times > given[node, handle]:
            yield f"unseen: {handle} came {times} times at node {node}, and was given out {given[node, handle]} times"


def _handles(history: History) -> Iterator[str]:
    uniques = {(ack.handle, ack.unique) for ack in history.acks if ack.unique}
    jobs = Counter(handle for handle, _ in uniques) + Counter(ack.handle for ack in history.acks if not ack.unique)
    for handle, times in jobs.items():
        if times > 1:
            yield f"twice: {handle} is the handle of {times} jobs"


def _uniques(history: History) -> Iterator[str]:
    """A job is surely there from when somebody has first heard of it until a worker first says that it is done."""
    heard = _earliest(
        [(ack.time, ack.handle) for ack in history.acks] + [(begin.time, begin.handle) for begin in history.begins]
    )
    done = _earliest(history.done)
    ends = _earliest(history.stored)
    jobs: dict[str, set[str]] = defaultdict(set)
    for ack in history.acks:
        if not ack.unique:
            continue
        jobs[ack.unique].add(ack.handle)
        if ends.get(ack.handle, ack.asked) < ack.asked:
            yield f"joined too late: {ack.handle} ended at {ends[ack.handle]}, {ack.unique} was asked at {ack.asked}"
    for unique, handles in sorted(jobs.items()):
        spans = [(heard[handle], done.get(handle, math.inf), handle) for handle in handles]
        until, last = -math.inf, ""
        for begin, end, handle in sorted(span for span in spans if span[0] < span[1]):
            if begin < until:
                yield f"two of {unique}: {handle} is there at {begin}, and {last} until {until}"
            if end > until:
                until, last = end, handle


def _served(history: History) -> Iterator[str]:
    for node in range(1, history.nodes + 1):
        if node not in history.served:
            yield f"not serving: node {node}"


def check(history: History) -> list[str]:
    """All that is wrong, a line each; empty if nothing is."""
    parts = (_lost, _after_end, _owned, _handles, _uniques, _served)
    return [fault for part in parts for fault in part(history)]


def figures(history: History) -> dict[str, int]:
    """How much there was to prove it from."""
    times = Counter(handle for _, handle in history.done)
    first: dict[tuple[str, int], set[int]] = {}
    taken = 0
    for has in history.has:
        known = first.setdefault((has.process, has.server), {has.server})
        taken += bool(set(has.ranges) - known)
        known.update(has.ranges)
    return {
        "acknowledged": len(history.acks),
        "ends stored": len({handle for _, handle in history.stored}),
        "done again": sum(count - 1 for count in times.values()),
        "taken over": taken,
        "leases": len(history.leases),
        "joined": sum(count - 1 for count in Counter(ack.handle for ack in history.acks if ack.unique).values()),
    }

# SPDX-License-Identifier: BSD-3-Clause
"""What each text command asks for, and its exact answers; lists in any order."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from .packets import UINT32
from .records import Function, Open, Peer, Wrong
from .results import RESERVED, Results

MOST_WORDS: Final = 5
NO_VERB: Final = b"ERR UNKNOWN_COMMAND Unknown+server+command%b\r\n"
TOO_FEW: Final = b"ERR INVALID_ARGUMENTS An+incomplete+set+of+arguments+was+sent+to+this+command+%b\r\n"
NO_RIGHT: Final = b"ERR PERMISSION_DENIED This+connection+may+not+change+anything\r\n"
IN_USE: Final = b"ERR there are still connected workers or executing clients\r\n"
OK: Final = b"OK\r\n"


def limit(text: bytes) -> int:
    """What is negative or no number is none."""
    found = re.match(rb"[0-9]{0,100}", text)
    return min(int(found[0] or b"0"), UINT32) if found else 0


class Lines(Results):
    """The model as far as text commands reach."""

    def __init__(self, settings: dict[str, Any]) -> None:
        super().__init__(settings)
        self.read_only: bool = not settings["admin_writes"]
        self.fixed = {
            b"version": b"OK %b\n" % settings["version"].encode(),
            b"getpid": b"OK %d\n" % settings["pid"],
            b"verbose": b"OK ERROR\n",
        }
        self.shutdown = ""
        self.verbs: dict[bytes, Callable[[Peer, list[bytes]], None]] = {
            b"status": self.do_lists,
            b"prioritystatus": self.do_lists,
            b"workers": self.do_lists,
            b"show": self.do_show,
            b"cancel": self.do_cancel,
            b"create": self.do_create,
            b"drop": self.do_drop,
            b"maxqueue": self.do_maxqueue,
            b"shutdown": self.do_shutdown,
        }

    def do_line(self, peer: Peer, line: bytes) -> None:
        """Words are split at runs of spaces; the first one is empty behind a leading space."""
        first, *others = line.split(b" ")
        words = [first, *filter(None, others)]
        if len(words) > MOST_WORDS:
            self.meet("a line of too many words")
            self.close(peer)
            return
        verb = first.lower()
        changes = verb in (b"cancel", b"create", b"drop", b"maxqueue")
        least = {b"show": 2, b"cancel": 3, b"create": 3, b"drop": 3, b"maxqueue": 2}.get(verb, 1)
        if verb in self.fixed:
            self.met[verb.decode()] += 1
            self.say(peer, self.fixed[verb], whole=False)
        elif verb not in self.verbs or (verb in (b"show", b"cancel") and len(words) < least):
            self.meet("unknown text command")
            self.say(peer, NO_VERB % first, whole=False)
        elif len(words) < least:
            self.meet("incomplete text command")
            self.say(peer, TOO_FEW % first, whole=False)
        elif changes and self.may_only_look(peer):
            self.meet("a text command without the right to it")
            self.say(peer, NO_RIGHT)
        else:
            self.met[verb.decode()] += 1
            self.verbs[verb](peer, words)

    def may_only_look(self, peer: Peer) -> bool:
        return not peer.admin and (peer.admin is False or self.read_only)

    def close(self, peer: Peer) -> None:
        """No more input of this peer; it gets no job any more."""
        peer.closing = True
        peer.held.clear()
        peer.partial = b""

    # ---- lists ----------------------------------------------------------------------------------------------------

    def do_lists(self, peer: Peer, words: list[bytes]) -> None:
        verb = words[0].lower()
        if verb == b"workers":
            self.say_list(peer, [self.worker_row(each) for each in self.peers.values()])
            return
        if self.gone and not peer.cut_off:
            self.meet("counts with ghosts")
            self.say_counts(peer, verb)
            return
        self.say_list(
            peer,
            [
                b"\t".join([function.name, *(b"%d" % count for count in self.counts_of(function, verb))])
                for function in self.functions.values()
            ],
        )

    @staticmethod
    def counts_of(function: Function, verb: bytes, ghosts: bool = False) -> list[int]:
        """A row of `status` or `prioritystatus`, without ghosts or of ghosts alone."""
        if verb == b"status":
            return [len(function.ghosts), 0, 0] if ghosts else [function.live, function.running, len(function.able)]
        if ghosts:
            return [sum(job.priority == p for job in function.ghosts) for p in range(3)] + [0]
        delayed = [sum(job.priority == p for job in function.delayed) for p in range(3)]
        queued = [len(queue) + later for queue, later in zip(function.queues, delayed, strict=True)]
        return [*queued, len(function.able)]

    @staticmethod
    def worker_row(peer: Peer) -> bytes:
        names = [function.name for function in reversed(peer.able)]
        return b" ".join([b"-1", b"127.0.0.1", peer.client_id, b":", *names])

    def say_list(self, peer: Peer, rows: list[bytes]) -> None:
        """The rows in any order, and a dot."""
        text = b"\n".join([*sorted(rows), b".\n"]) if rows else b".\n"
        got = peer.seen[peer.at : peer.at + len(text)]
        if sorted(got.split(b"\n")) == sorted(text.split(b"\n")) and got.endswith(b".\n"):
            text = got
        self.say(peer, text, whole=not rows)

    def take_list(self, peer: Peer) -> list[bytes]:
        """The list that comes next, without its dot, where its length is not known."""
        self.look(peer)
        if peer.gets(b".\n"):
            rows: list[bytes] = []
            text = b".\n"
        else:
            end = peer.seen.find(b"\n.\n", peer.at)
            text = peer.seen[peer.at : end + 3]
            rows = text[:-3].split(b"\n")
        self.say(peer, text, whole=not rows)
        return rows

    def say_counts(self, peer: Peer, verb: bytes) -> None:
        """`status` or `prioritystatus` where ghosts may still count."""
        if any(b"\n" in name for name in self.functions):
            raise Open("a list whose rows cannot be told apart")
        found = {}
        for row in self.take_list(peer):
            name, *numbers = row.rsplit(b"\t", 3 if verb == b"status" else 4)
            found[name] = [int(text) for text in numbers]
        if found.keys() != self.functions.keys():
            raise Wrong(f"{verb!r} lists {sorted(found)} instead of {sorted(self.functions)}")
        for name, function in self.functions.items():
            least = self.counts_of(function, verb)
            more = self.counts_of(function, verb, ghosts=True)
            if not all(a <= b <= a + c for a, b, c in zip(least, found[name], more, strict=True)):
                raise Wrong(f"{verb!r} says {found[name]} of {name!r} instead of {least} and at most {more} more")

    def do_show(self, peer: Peer, words: list[bytes]) -> None:
        subject = [word.lower() for word in words[1:]]
        if subject not in ([b"jobs"], [b"unique", b"jobs"]):
            self.say(peer, b"ERR UNKNOWN_SHOW_ARGUMENTS\r\n")
            return
        jobs = [*self.jobs.values(), *self.gone.values()]
        if subject == [b"unique", b"jobs"]:
            rows = [job.unique for job in jobs]
            self.meet("show unique jobs")
        else:
            rows = [b"%b\t%d\t%d\t%d" % (j.handle, j.retries, not j.wanted, j.background and j.wanted) for j in jobs]
            self.meet("show jobs")
        if not self.gone:
            self.say_list(peer, rows)
        elif not peer.cut_off:
            self.meet("jobs shown with ghosts")
            self.show_some(peer, rows[: len(self.jobs)], rows[len(self.jobs) :], known=len(subject) == 1)

    def show_some(self, peer: Peer, live: list[bytes], ghosts: list[bytes], known: bool) -> None:
        """All that live and maybe the others; `known`: the rows tell which."""
        found = self.take_list(peer)
        rest = sorted(found)
        for row in live:
            if row not in rest:
                raise Wrong(f"a list of jobs without {row!r}: {found}")
            rest.remove(row)
        if known:
            for job in [job for job, row in zip(self.gone.values(), ghosts, strict=True) if row not in rest]:
                self.forget_ghost(job)
        for row in rest:
            if row not in ghosts:
                raise Wrong(f"a list of jobs with {row!r}: {found}")
            ghosts.remove(row)

    # ---- changes --------------------------------------------------------------------------------------------------

    def do_cancel(self, peer: Peer, words: list[bytes]) -> None:
        if len(words) != 3 or words[1].lower() != b"job":
            self.say(peer, b"ERR UNKNOWN_ERROR\r\n")
            return
        handle = words[2]
        job = self.jobs.get(handle)
        ghost = self.gone.get(handle)
        if job is not None and not job.cancelled:
            self.cancel(job)
            self.say(peer, OK)
        elif ghost is not None and not ghost.cancelled and self.look(peer).gets(OK):
            self.meet("a ghost cancelled")
            ghost.cancelled = True
            self.say(peer, OK)
        else:
            self.meet("no job to cancel")
            self.say(peer, b"ERR UNKNOWN_JOB\r\n")

    def do_create(self, peer: Peer, words: list[bytes]) -> None:
        if len(words) != 3 or words[1].lower() != b"function":
            self.say(peer, TOO_FEW % words[0], whole=False)
        elif words[2] in RESERVED:
            self.say(peer, b"ERR UNKNOWN_ERROR\r\n")
        else:
            self.function(words[2])
            self.say(peer, OK)

    def do_drop(self, peer: Peer, words: list[bytes]) -> None:
        if len(words) != 3 or words[1].lower() != b"function":
            self.say(peer, TOO_FEW % words[0], whole=False)
            return
        found = [function for function in self.functions.values() if function.name.lower() == words[2].lower()]
        for function in found:
            if function.able or function.running:
                self.meet("a function in use is not dropped")
                self.say(peer, IN_USE)
            else:
                self.drop_function(function)
                self.say(peer, OK)
        if not found:
            self.meet("no function to drop")
            self.say(peer, b"ERR function not found\r\n")

    def do_maxqueue(self, peer: Peer, words: list[bytes]) -> None:
        function = self.functions.get(words[1])
        if function is not None:
            texts = words[2:] * 3 if len(words) == 3 else [*words[2:], b"", b"", b""]
            function.limits = [limit(text) for text in texts[:3]]
            self.meet("a limit set" if any(function.limits) else "a limit taken away")
        self.say(peer, OK)

    def do_shutdown(self, peer: Peer, words: list[bytes]) -> None:
        if not peer.admin:
            self.say(peer, NO_VERB % words[0], whole=False)
        elif len(words) == 1:
            self.shutdown = "now"
            self.say(peer, OK)
        elif len(words) == 2 and words[1].lower() == b"graceful":
            self.shutdown = "graceful"
            self.say(peer, OK)
        else:
            self.meet("a shutdown that is not known")
            self.say(peer, TOO_FEW % words[0], whole=False)

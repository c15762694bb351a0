# SPDX-License-Identifier: BSD-3-Clause
"""The text protocol of a `Server`: lists of functions, workers and jobs, cancelling, and the ACL."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

from gearfast._version import __version__
from gearfast.compat.gear._queue import JobQueue
from gearfast.compat.gear.acl import ACLError

_COMMANDS = {
    b"cancel job": "handleCancelJob",
    b"status": "handleStatus",
    b"workers": "handleWorkers",
    b"acl list": "handleACLList",
    b"acl grant": "handleACLGrant",
    b"acl revoke": "handleACLRevoke",
    b"acl self-revoke": "handleACLSelfRevoke",
    b"version": "_version",
    b"getpid": "_getpid",
    b"verbose": "_verbose",
    b"show jobs": "_show_jobs",
    b"show unique jobs": "_show_unique_jobs",
    b"prioritystatus": "_priority_status",
}


class TextCommands(JobQueue):
    """One method for each text command; each answers by `request.connection.sendRaw`."""

    def handleAdminRequest(self, request: Any) -> None:
        """Every text command comes through here. `request.command`: the line in bytes."""
        self.log.info("Received admin request %s", request)
        for start, name in _COMMANDS.items():
            if request.command.startswith(start):
                getattr(self, name)(request)
                return
        request.connection.sendRaw(b"ERR UNKNOWN_COMMAND Unknown+server+command\r\n")

    def handleStatus(self, request: Any) -> None:
        """A line for each function: name, all its jobs, running ones, workers."""
        stats = self._getFunctionStats()
        _send_list(
            request,
            (b"%b\t%d\t%d\t%d\n" % (name, all_, busy, workers) for name, (all_, busy, workers) in stats.items()),
        )

    def _getFunctionStats(self) -> dict[bytes, list[int]]:
        """[jobs, running jobs, workers] by function."""
        stats = {name: [0, 0, 0] for name in list(self.functions)}
        for job in list(self.jobs.values()):
            counts = stats.setdefault(job.name, [0, 0, 0])
            counts[0] += 1
            counts[1] += bool(job.running)
        for connection in self.active_connections[:]:
            for name in list(connection.functions):
                stats.setdefault(name, [0, 0, 0])[2] += 1
        return stats

    def _priority_status(self, request: Any) -> None:
        counts = {name: [0, 0, 0, workers] for name, (_, _, workers) in self._getFunctionStats().items()}
        for index, queue in enumerate((self.high_queue, self.normal_queue, self.low_queue)):
            for job in queue[:]:
                counts.setdefault(job.name, [0, 0, 0, 0])[index] += 1
        _send_list(request, (b"%b\t%d\t%d\t%d\t%d\n" % (name, h, n, low, w) for name, (h, n, low, w) in counts.items()))

    def handleWorkers(self, request: Any) -> None:
        """A line for each connection: descriptor, address, id, functions."""
        lines = []
        for connection in self.active_connections[:]:
            names = b" ".join(connection.functions)
            client_id = connection.client_id or b"-"
            lines.append(
                b"%d %b %b : %b\n" % (connection.conn.fileno(), str(connection.host).encode(), client_id, names)
            )
        _send_list(request, lines)

    def _show_jobs(self, request: Any) -> None:
        jobs = list(self.jobs.values())
        _send_list(request, (b"%b\t0\t0\t%d\n" % (job.handle, job.client_connection is None) for job in jobs))

    def _show_unique_jobs(self, request: Any) -> None:
        _send_list(request, (b"%b\n" % (job.binary_unique or b"") for job in list(self.jobs.values())))

    def _version(self, request: Any) -> None:
        request.connection.sendRaw(b"OK %b\n" % __version__.encode())

    def _getpid(self, request: Any) -> None:
        request.connection.sendRaw(b"OK %d\n" % os.getpid())

    def _verbose(self, request: Any) -> None:
        request.connection.sendRaw(b"OK INFO\n")

    # Cancelling.

    def handleCancelJob(self, request: Any) -> None:
        """Forgets a job that is queued; its client is not told."""
        words = request.command.split()
        job = self.jobs.get(words[2]) if len(words) > 2 else None
        if job is not None:
            for queue in (self.high_queue, self.normal_queue, self.low_queue):
                if job in queue:
                    return self._cancelJob(request, job, queue)
            if job.handle in self._delayed:
                return self._cancelJob(request, job, False)
        request.connection.sendRaw(b"ERR UNKNOWN_JOB\n")
        return None

    def _cancelJob(self, request: Any, job: Any, queue: Any) -> None:
        subject = request.connection.ssl_subject
        if self.acl and not self.acl.canInvoke(subject, job.name):
            self.log.info("Rejecting cancel job of %r from %s due to ACL", job.name, subject)
            request.connection.sendRaw(b"ERR PERMISSION_DENIED\n")
            return
        self._removeJob(job, dequeue=queue)
        self._updateStats()
        request.connection.sendRaw(b"OK\n")

    # The ACL.

    def handleACLList(self, request: Any) -> None:
        """A line for each entry."""
        if self.acl is None:
            request.connection.sendRaw(b"ERR ACL_DISABLED\n")
            return
        _send_list(
            request,
            (
                f"{entry.subject}\tregister={entry.register}\tinvoke={entry.invoke}\tgrant={entry.grant}\n".encode()
                for entry in self.acl.getEntries()
            ),
        )

    def handleACLGrant(self, request: Any) -> None:
        """`acl grant register|invoke SUBJECT PATTERN`, `acl grant grant SUBJECT`."""
        verb, subject, pattern = _words(request, 2, 3)
        acl = self.acl
        if not self._may_change(request, acl is not None and acl.canGrant(request.connection.ssl_subject)):
            return
        grants: dict[Any, Callable[[], None]] = {
            "invoke": lambda: acl.grantInvoke(subject, pattern),
            "register": lambda: acl.grantRegister(subject, pattern),
            "grant": lambda: acl.grantGrant(subject),
        }
        complete = subject is not None and (verb == "grant" or pattern is not None)
        self._change(request, grants.get(verb) if complete else None)

    def handleACLRevoke(self, request: Any) -> None:
        """`acl revoke register|invoke|grant|all SUBJECT`; one's own rights may always be given up."""
        verb, subject, _ = _words(request, 2, 3)
        acl, own = self.acl, request.connection.ssl_subject
        if self._may_change(request, acl is not None and (subject == own or acl.canGrant(own))):
            self._revoke(request, verb, subject)

    def handleACLSelfRevoke(self, request: Any) -> None:
        """`acl self-revoke register|invoke|grant|all`."""
        verb, _, _ = _words(request, 2, 3)
        if self._may_change(request, True):
            self._revoke(request, verb, request.connection.ssl_subject)

    def _may_change(self, request: Any, allowed: bool) -> bool:
        if self.acl is None:
            request.connection.sendRaw(b"ERR ACL_DISABLED\n")
            return False
        if not allowed:
            request.connection.sendRaw(b"ERR PERMISSION_DENIED\n")
        return allowed

    def _revoke(self, request: Any, verb: Any, subject: Any) -> None:
        acl = self.acl
        revokes: dict[Any, Callable[[], None]] = {
            "invoke": lambda: acl.revokeInvoke(subject),
            "register": lambda: acl.revokeRegister(subject),
            "grant": lambda: acl.revokeGrant(subject),
            "all": lambda: acl.remove(subject) if subject in acl.subjects else None,
        }
        self._change(request, revokes.get(verb))

    def _change(self, request: Any, change: Callable[[], None] | None) -> None:
        answer = b"OK\n"
        if change is None:
            answer = b"ERR UNKNOWN_ACL_VERB\n"
        else:
            try:
                change()
            except ACLError as error:
                self.log.info("ACL not changed: %s", error)
                answer = f"ERR UNABLE {error}\n".encode()
        request.connection.sendRaw(answer)


def _words(request: Any, first: int, number: int) -> list[Any]:
    """Words of a command as str from the one with number `first` on, None for those that are missing."""
    words = request.command.decode("utf-8", "surrogateescape").split(None, first + number - 1)
    return [*words[first:], *[None] * number][:number]


def _send_list(request: Any, lines: Iterable[bytes]) -> None:
    request.connection.sendRaw(b"".join(lines) + b".\n")

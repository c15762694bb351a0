# SPDX-License-Identifier: BSD-3-Clause
"""`gear.acl`: who may register and invoke which functions at a `Server`, by the name in the peer's certificate.

Without an entry everything is denied. A pattern is a regular expression that has to match at the start of the
function's name; patterns and names may be str or bytes in any combination.
"""

from __future__ import annotations

import re
from typing import Any

__all__ = ["ACL", "ACLEntry", "ACLError"]


class ACLError(Exception):
    """An entry exists already, does not exist, or has a pattern that is no regular expression."""


def _text(name: Any) -> Any:
    return name.decode("utf-8", "surrogateescape") if isinstance(name, bytes | bytearray) else name


def _compile(pattern: Any) -> re.Pattern[str] | None:
    if not pattern:
        return None
    try:
        return re.compile(_text(pattern))
    except re.error as error:
        raise ACLError(f"Regular expression error: {error}") from error


class ACLEntry:
    """What one subject (common name of a certificate) may do.

    `register`, `invoke`: patterns of function names, None for nothing. `invoke` is also the right to cancel these jobs.
    `grant`: may change the entries of others.
    """

    def __init__(self, subject: Any, register: Any = None, invoke: Any = None, grant: bool = False) -> None:
        self.subject = subject
        self.setRegister(register)
        self.setInvoke(invoke)
        self.setGrant(grant)

    def __repr__(self) -> str:
        return f"<ACLEntry for {self.subject} register={self.register} invoke={self.invoke} grant={self.grant}>"

    def isEmpty(self) -> bool:
        """Whether this entry allows nothing at all."""
        return self.register is None and self.invoke is None and self.grant is False

    def canRegister(self, name: Any) -> bool:
        """Whether a worker of this subject may register the function."""
        return self._register is not None and self._register.match(_text(name)) is not None

    def canInvoke(self, name: Any) -> bool:
        """Whether a client of this subject may submit and cancel jobs of the function."""
        return self._invoke is not None and self._invoke.match(_text(name)) is not None

    def setRegister(self, register: Any) -> None:
        """Sets the pattern of functions to register; raises ACLError, and changes nothing, if it is none."""
        self._register = _compile(register)
        self.register = register

    def setInvoke(self, invoke: Any) -> None:
        """Sets the pattern of functions to invoke; raises ACLError, and changes nothing, if it is none."""
        self._invoke = _compile(invoke)
        self.invoke = invoke

    def setGrant(self, grant: bool) -> None:
        """Sets whether this subject may change the entries of others."""
        self.grant = grant


class ACL:
    """The entries of all subjects."""

    def __init__(self) -> None:
        self.subjects: dict[Any, ACLEntry] = {}

    def add(self, entry: ACLEntry) -> None:
        """Adds an entry; raises ACLError if its subject has one."""
        if entry.subject in self.subjects:
            raise ACLError(f"An ACL entry for {entry.subject} already exists")
        self.subjects[entry.subject] = entry

    def remove(self, subject: Any) -> None:
        """Removes a subject's entry; raises ACLError if it has none."""
        if self.subjects.pop(subject, None) is None:
            raise ACLError(f"There is no ACL entry for {subject}")

    def getEntries(self) -> list[ACLEntry]:
        """All entries in the order of their subjects."""
        return [self.subjects[subject] for subject in sorted(self.subjects)]

    def canRegister(self, subject: Any, name: Any) -> bool:
        """Whether the subject may register the function."""
        entry = self.subjects.get(subject)
        return entry is not None and entry.canRegister(name)

    def canInvoke(self, subject: Any, name: Any) -> bool:
        """Whether the subject may submit and cancel jobs of the function."""
        entry = self.subjects.get(subject)
        return entry is not None and entry.canInvoke(name)

    def canGrant(self, subject: Any) -> bool:
        """Whether the subject may change the entries of others."""
        entry = self.subjects.get(subject)
        return entry is not None and bool(entry.grant)

    def grantInvoke(self, subject: Any, invoke: Any) -> None:
        """Lets the subject invoke what the pattern matches, instead of what it might before."""
        _compile(invoke)  # before an entry is made for nothing
        self._entry(subject).setInvoke(invoke)

    def grantRegister(self, subject: Any, register: Any) -> None:
        """Lets the subject register what the pattern matches, instead of what it might before."""
        _compile(register)
        self._entry(subject).setRegister(register)

    def grantGrant(self, subject: Any) -> None:
        """Lets the subject change the entries of others."""
        self._entry(subject).setGrant(True)

    def revokeInvoke(self, subject: Any) -> None:
        """Takes the right to invoke back, and the entry if nothing is left in it."""
        if entry := self.subjects.get(subject):
            entry.setInvoke(None)
            self._tidy(entry)

    def revokeRegister(self, subject: Any) -> None:
        """Takes the right to register back, and the entry if nothing is left in it."""
        if entry := self.subjects.get(subject):
            entry.setRegister(None)
            self._tidy(entry)

    def revokeGrant(self, subject: Any) -> None:
        """Takes the right to grant back, and the entry if nothing is left in it."""
        if entry := self.subjects.get(subject):
            entry.setGrant(False)
            self._tidy(entry)

    def _entry(self, subject: Any) -> ACLEntry:
        if subject not in self.subjects:
            self.add(ACLEntry(subject))
        return self.subjects[subject]

    def _tidy(self, entry: ACLEntry) -> None:
        if entry.isEmpty():
            self.remove(entry.subject)

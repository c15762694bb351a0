# SPDX-License-Identifier: BSD-3-Clause
"""A stand-in for the mail server."""

from __future__ import annotations


class Outbox:
    """Keeps mails instead of sending them."""

    def __init__(self) -> None:
        self.mails: list[tuple[str, str]] = []

    def send(self, address: str, text: str) -> None:
        """Keep one."""
        self.mails.append((address, text))

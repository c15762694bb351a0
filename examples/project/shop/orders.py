# SPDX-License-Identifier: BSD-3-Clause
"""Orders, as the web application takes them."""

from __future__ import annotations

import json

from gearfast import Client, Priority

THREE_DAYS = 3 * 24 * 3600.0


class Orders:
    """Takes orders and leaves the slow part to workers."""

    def __init__(self, gearman: Client) -> None:
        self.gearman = gearman

    def place(self, number: int, address: str) -> None:
        """The customer gets a confirmation now and a question in three days, each of them once."""
        order = json.dumps({"number": number, "address": address}).encode()
        self.gearman.submit_background("confirm", order, unique=f"confirm/{number}", priority=Priority.HIGH)
        self.gearman.submit_background("ask", order, unique=f"ask/{number}", delay=THREE_DAYS)

    def invoice(self, number: int) -> bytes:
        """The invoice, made by a worker while the customer waits."""
        return self.gearman.run("invoice", str(number).encode(), unique=f"invoice/{number}", timeout=10)

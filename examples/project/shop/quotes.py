# SPDX-License-Identifier: BSD-3-Clause
"""Prices from several suppliers at once, for the asyncio part of the application."""

from __future__ import annotations

import asyncio

from gearfast import AsyncClient, JobFailed, JobTimeout


async def best_price(gearman: AsyncClient, article: str, suppliers: list[str]) -> int | None:
    """The lowest price in cents; suppliers that fail or take more than five seconds do not count."""

    async def ask(supplier: str) -> int | None:
        try:
            return int(await gearman.run(f"price/{supplier}", article.encode(), timeout=5))
        except (JobFailed, JobTimeout):
            return None

    prices = await asyncio.gather(*map(ask, suppliers))
    return min((price for price in prices if price is not None), default=None)

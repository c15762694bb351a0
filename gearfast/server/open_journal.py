# SPDX-License-Identifier: BSD-3-Clause
"""The journal that a configuration asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gearfast.server.config import ConfigError
from gearfast.server.journal import Journal
from gearfast.server.lease import this_member
from gearfast.store.base import SharedStore, StoreError
from gearfast.store.urls import make_store

if TYPE_CHECKING:
    from gearfast.server.config import ServerConfig

__all__ = ["open_journal"]


def open_journal(config: ServerConfig, prefix: str = "") -> Journal | None:
    """What keeps a server's background jobs; None without a store. Raises ConfigError if it cannot be opened.

    `prefix`: of this server's handles, unless it shares its store with others, which have one for all.
    """
    if config.store is None:
        return None
    try:
        store = make_store(config.store)
        if isinstance(store, SharedStore):
            store.lease = config.lease
            store.about = this_member(prefix)
        return Journal(
            store,
            relaxed=config.durability == "relaxed",
            patience=config.store_patience,
            memory=config.store_memory,
        )
    except (ValueError, StoreError) as error:
        raise ConfigError(f"store: {error}") from None

# SPDX-License-Identifier: BSD-3-Clause
"""Where a database is, from the URL of a store."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode

__all__ = ["Place"]

TIMEOUT: Final = 10.0
DURABILITIES: Final = ("full", "relaxed")
WORD: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,47}")


@dataclass(frozen=True)
class Place:
    """What a URL says: `rest` are the options that are the driver's. No option is a secret but `password`."""

    parts: SplitResult
    options: dict[str, str]
    rest: dict[str, str]

    @classmethod
    def of(cls, parts: SplitResult, words: dict[str, str], *, drivers: Collection[str] | None = ()) -> Place:
        """`words`: options of this kind of store, which are identifiers, and their defaults.

        `drivers`: further ones, which are for the driver; None: all others are. Raises ValueError.
        """
        known = {**words, "durability": "full", "timeout": f"{TIMEOUT:g}"}
        given = dict(parse_qsl(parts.query, keep_blank_values=True))
        options = {name: given.pop(name, default) for name, default in known.items()}
        kind = parts.scheme
        if drivers is not None and (unknown := given.keys() - set(drivers)):
            there_are = ", ".join((*known, *drivers))
            raise ValueError(f"{kind}: no option {min(unknown)} of a store; there are {there_are}")
        if parts.fragment:
            raise ValueError(f"{kind}: a '#' in the URL of a store has to be written %23")
        if drivers is not None:
            try:
                parts.port  # noqa: B018  it raises
            except ValueError:
                # What it could not read may be half of a password.
                raise ValueError(f"{kind}: the port in the URL of the store is no number") from None
        for name in words:
            if not WORD.fullmatch(options[name]):
                raise ValueError(f"{kind}: {name}: 1 to 48 letters, digits and underscores, no digit in front")
        if options["durability"] not in DURABILITIES:
            raise ValueError(f"{kind}: durability: {' or '.join(DURABILITIES)}")
        try:
            seconds = float(options["timeout"])
        except ValueError:
            seconds = 0.0
        if not 0.1 <= seconds <= 3600:
            raise ValueError(f"{kind}: timeout: seconds, 0.1 to 3600")
        return cls(parts, options, given)

    def option(self, name: str) -> str:
        """One of the store's own options."""
        return self.options[name]

    @property
    def durability(self) -> str:
        """`full`: a database that may lose what it has acknowledged is refused; `relaxed`: it is not."""
        return self.options["durability"]

    @property
    def timeout(self) -> float:
        """Seconds that it may take to answer."""
        return float(self.options["timeout"])

    @property
    def port(self) -> int | None:
        """None: the URL names none."""
        return self.parts.port

    @property
    def password(self) -> str:
        """As it is, not quoted."""
        return unquote(self.parts.password or self.rest.get("password", ""))

    @property
    def user(self) -> str:
        """As it is, not quoted."""
        return unquote(self.parts.username or "")

    @property
    def host(self) -> str:
        """Empty: the URL names none."""
        return unquote(self.parts.hostname or "")

    @property
    def database(self) -> str:
        """The path without its slash."""
        return unquote(self.parts.path.removeprefix("/"))

    @property
    def url(self) -> str:
        """Without the store's own options."""
        query = urlencode(self.rest, quote_via=quote)
        return f"{self.parts.scheme}://{self.parts.netloc}{self.parts.path}" + (query and f"?{query}")

    @property
    def name(self) -> str:
        """For logs: no password."""
        user, at, where = self.parts.netloc.rpartition("@")
        options = {name: value for name, value in {**self.rest, **self.options}.items() if "pass" not in name.lower()}
        usual = {"durability": "full", "timeout": f"{TIMEOUT:g}"}
        shown = {name: value for name, value in options.items() if value != usual.get(name)}
        query = urlencode(shown, quote_via=quote, safe="/")
        return f"{self.parts.scheme}://{user.partition(':')[0]}{at}{where}{self.parts.path}" + (query and f"?{query}")

    def missing(self, settings: dict[str, str]) -> dict[str, str]:
        """Those of the settings that the URL does not make itself."""
        return {name: value for name, value in settings.items() if name not in self.rest}

    def clean(self, text: str) -> str:
        """Without the password, should a driver have told it."""
        for secret in {self.password, quote(self.password, safe=""), self.parts.password or ""} - {""}:
            text = text.replace(secret, "***")
        return text

# SPDX-License-Identifier: BSD-3-Clause
"""Jobs that have ended and were kept, dead letters and results, as `gearfast admin` shows them."""

from __future__ import annotations

import base64
from typing import Any

from gearfast.types import DeadLetter, KeptResult

__all__ = ["as_json", "as_text", "words"]


def escaped(data: bytes) -> str:
    """As the text protocol has it, and what cannot be printed as `%XX` too."""

    def shown(letter: str) -> str:
        if letter not in "% " and letter.isprintable():
            return letter
        return "".join(f"%{byte:02X}" for byte in letter.encode("utf-8", "surrogateescape"))

    return "".join(map(shown, data.decode("utf-8", "surrogateescape")))


def words(kept: DeadLetter | KeptResult) -> dict[str, str]:
    """The columns of its line in a list."""
    if isinstance(kept, DeadLetter):
        middle = {"tries": str(kept.tries), "reason": kept.reason}
    else:
        middle = {"outcome": kept.outcome, "size": str(kept.size)}
    return {
        "handle": kept.handle,
        "function": escaped(kept.function.encode("utf-8", "surrogateescape")),
        "unique": escaped(kept.unique),
        **middle,
        "time": f"{kept.time:.3f}",
    }


def as_text(value: object) -> str:
    """A number, or all of one: a line for each thing, as the text protocol has them."""
    if isinstance(value, DeadLetter):
        lines = words(value) | {"priority": value.priority.value, "workload": escaped(value.workload)}
        if value.exception is not None:
            lines["exception"] = escaped(value.exception)
    elif isinstance(value, KeptResult):
        lines = words(value) | {"numerator": str(value.numerator), "denominator": str(value.denominator)}
        if value.data is not None:
            lines["result" if value.outcome == "done" else "exception"] = escaped(value.data)
    else:
        return str(value)
    return "\n".join(f"{key}\t{word}" for key, word in lines.items())


def as_json(kept: DeadLetter | KeptResult) -> dict[str, Any]:
    """As JSON has it: what is UTF-8 as text, other bytes in base64 under a name that says so."""
    plain: dict[str, Any] = kept._asdict()
    if isinstance(kept, DeadLetter):
        plain["priority"] = kept.priority.value
    for key, data in list(plain.items()):
        if not isinstance(data, bytes):
            continue
        try:
            plain[key] = data.decode("utf-8")
        except UnicodeDecodeError:
            del plain[key]
            plain[f"{key}_base64"] = base64.b64encode(data).decode("ascii")
    return plain

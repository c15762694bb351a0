# SPDX-License-Identifier: BSD-3-Clause
"""Figures that are no row of traffic: decoding in memory, the embedded server's start, client and worker CPU."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from gearfast.bench.stats import summarize
from gearfast.bench.traffic import FIGURE_BARS

__all__ = ["FigureError", "figure_table", "measure_figure"]


class FigureError(RuntimeError):
    """A figure cannot be measured here; the text says what is missing."""


def _decode(face: str, samples: int, pin: str) -> dict[str, list[float]]:
    from gearfast.bench._inmemory import decode_c, decode_python

    decode = decode_c if face == "decode-c" else decode_python
    buffers = 2_000 if face == "decode-c" else 200
    decode(buffers // 10)
    return {face: [decode(buffers) / 1e6 for _ in range(samples)]}


def _peers(name: str, samples: int, pin: str) -> dict[str, list[float]]:
    from gearfast.bench.peers import PeerError, compare

    try:
        compared = compare(samples, pin=pin)
    except PeerError as error:
        raise FigureError(str(error)) from None
    return {"client-cpu": compared.client_ratios, "worker-cpu": compared.worker_ratios}


def _embedded(name: str, samples: int, pin: str) -> dict[str, list[float]]:
    from gearfast.bench.peers import PeerError, embedded_start

    try:
        return {name: [seconds * 1e3 for seconds in embedded_start(samples)]}
    except PeerError as error:
        raise FigureError(str(error)) from None


_MEASUREMENTS: Final[dict[str, Callable[[str, int, str], dict[str, list[float]]]]] = {
    "decode-c": _decode,
    "decode-python": _decode,
    "embedded-start": _embedded,
    "client-cpu": _peers,
    "worker-cpu": _peers,
}


def measure_figure(name: str, samples: int = 11, pin: str = "one") -> dict[str, list[float]]:
    """Samples of the figure `name` (one of `FIGURE_BARS`), and of those that come with it, in their units.

    pin: where processes run, one of `gearfast.bench.harness.PINS`.
    Raises FigureError if it cannot be measured here, KeyError on an unknown name.
    """
    return _MEASUREMENTS[name](name, samples, pin)


def figure_table(figures: Mapping[str, Sequence[float]]) -> str:
    """One line a figure: median, interval, unit. Empty without figures."""
    lines = []
    for name, values in figures.items():
        summary = summarize(values)
        figure = FIGURE_BARS[name]
        interval = f"{summary.median:.3g} [{summary.low:.3g}, {summary.high:.3g}]"
        lines.append(f"{figure.title}: {interval} {figure.unit}")
    return "\n".join(lines)

# SPDX-License-Identifier: BSD-3-Clause
"""Figures that are no row of traffic: decoding in memory, client and worker CPU, memory, long queues and so on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from gearfast.bench.bars import FIGURES
from gearfast.bench.load import LoadError
from gearfast.bench.servers import ServerError
from gearfast.bench.stats import paired_ratios, summarize

__all__ = ["FigureError", "figure_table", "measure_figure"]


MEMORY_SAMPLES: Final = 3
"""Memory repeats: more samples say no more."""


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
    return {
        "client-cpu": compared.client_ratios(),
        "worker-cpu": compared.worker_ratios(),
        "compat-client-cpu": compared.client_ratios("compat"),
        "compat-worker-cpu": compared.worker_ratios("compat"),
    }


def _embedded(name: str, samples: int, pin: str) -> dict[str, list[float]]:
    from gearfast.bench.peers import PeerError, embedded_start

    try:
        return {name: [seconds * 1e3 for seconds in embedded_start(samples)]}
    except PeerError as error:
        raise FigureError(str(error)) from None


def _functions(name: str, samples: int, pin: str) -> dict[str, list[float]]:
    from gearfast.bench.memory import function_memory

    pairs = [function_memory() for _ in range(min(samples, MEMORY_SAMPLES))]
    return {"function-bytes": [pair[0] for pair in pairs], "registration-bytes": [pair[1] for pair in pairs]}


def _connections(name: str, samples: int, pin: str) -> dict[str, list[float]]:
    from gearfast.bench.memory import connection_memory

    servers = {"": "gearfast", "-floor": "floor", "-gearmand": "gearmand"}
    return {
        f"connection-bytes{suffix}": [connection_memory(server) for _ in range(min(samples, MEMORY_SAMPLES))]
        for suffix, server in servers.items()
    }


def _queue(name: str, samples: int, pin: str) -> dict[str, list[float]]:
    from gearfast.bench.memory import queue_grabs, queue_memory

    which = "-".join(name.split("-")[:2])
    jobs = {"queue-1m": 1_000_000, "queue-10m": 10_000_000}[which]
    found: dict[str, list[float]] = {}

    def gather(server: str, prefix: str, samples: int, **settings: Any) -> None:
        for what, value in queue_grabs(server, jobs, samples=samples, pin=pin, **settings):
            key = f"{prefix}-{what}" if what else prefix
            if key in FIGURES:
                found.setdefault(key, []).append(value)

    gather("gearfast", which, samples)
    found[f"{which}-unique"] = [queue_memory("gearfast", jobs, uniques=True, pin=pin)]
    gather("floor", f"{which}-floor", min(samples, MEMORY_SAMPLES), drain=False)
    if jobs <= 1_000_000:  # of ten million gearmand makes 8 GB
        gather("gearmand", f"{which}-gearmand", 1, taken=200, drain=False)
        gather("gearmand-h", f"{which}-gearmand-h", MEMORY_SAMPLES, drain=False)
    return found


def _latency(name: str, samples: int, pin: str) -> dict[str, list[float]]:
    from gearfast.bench.durable import commit_latency

    ours, bare, rested = commit_latency(samples, pin)
    return {
        "durable-latency": paired_ratios(ours, bare),
        "durable-latency-rested": paired_ratios(ours, rested),
        "durable-latency-us": ours,
        "durable-bare-us": bare,
        "durable-rested-us": rested,
    }


def _return(name: str, samples: int, pin: str) -> dict[str, list[float]]:
    from gearfast.bench.durable import comes_back

    pairs = [comes_back() for _ in range(min(samples, MEMORY_SAMPLES))]
    return {"durable-first": [pair[0] for pair in pairs], "durable-all": [pair[1] for pair in pairs]}


def _queues(name: str, samples: int, pin: str) -> dict[str, list[float]]:
    from gearfast.bench.queues.runner import QueueError, figures, measure

    try:
        return figures(measure(samples, pin=pin))
    except QueueError as error:
        raise FigureError(str(error)) from None


def _library(name: str, samples: int, pin: str) -> dict[str, list[float]]:
    from gearfast.bench.library.runner import LibraryError, figures, group_of, measure

    try:
        group, needed = group_of(name)
        return figures(group, measure(group, samples, pin=pin, names=needed))
    except LibraryError as error:
        raise FigureError(str(error)) from None


def _footprint(name: str, samples: int, pin: str) -> dict[str, list[float]]:
    from gearfast.bench.library import footprint
    from gearfast.bench.library.runner import LibraryError

    try:
        if name == "library-memory":
            return {name: [footprint.worker_memory() for _ in range(min(samples, MEMORY_SAMPLES))]}
        if name == "library-modules":
            return {name: [float(len(footprint.unwanted_modules()))]}
        statement = footprint.PACKAGE if name == "library-import" else footprint.NAMES
        return {name: footprint.import_ms(samples, statement)}
    except LibraryError as error:
        raise FigureError(str(error)) from None


_FOOTPRINT: Final = ("library-import", "library-import-names", "library-modules", "library-memory")

_MEASUREMENTS: Final[dict[str, Callable[[str, int, str], dict[str, list[float]]]]] = {
    "decode-c": _decode,
    "decode-python": _decode,
    "embedded-start": _embedded,
    "client-cpu": _peers,
    "worker-cpu": _peers,
    "compat-client-cpu": _peers,
    "compat-worker-cpu": _peers,
    **{name: _functions for name in FIGURES if name.startswith(("function-", "registration-"))},
    **{name: _connections for name in FIGURES if name.startswith("connection-")},
    **{name: _queue for name in FIGURES if name.startswith("queue-")},
    **dict.fromkeys(
        (
            "durable-latency",
            "durable-latency-rested",
            "durable-latency-us",
            "durable-bare-us",
            "durable-rested-us",
        ),
        _latency,
    ),
    "durable-first": _return,
    "durable-all": _return,
    **{name: _library for name in FIGURES if name.startswith("library-") and name not in _FOOTPRINT},
    **dict.fromkeys(_FOOTPRINT, _footprint),
    **{name: _queues for name in FIGURES if name.startswith("queues-")},
}


def measure_figure(name: str, samples: int = 11, pin: str = "one") -> dict[str, list[float]]:
    """Samples of the figure `name` (one of `FIGURES`), and of those that come with it, in their units.

    pin: where processes run, one of `gearfast.bench.harness.PINS`.
    Raises FigureError if it cannot be measured here, KeyError on an unknown name.
    """
    try:
        return _MEASUREMENTS[name](name, samples, pin)
    except (ServerError, LoadError, OSError) as error:
        raise FigureError(str(error)) from None


def figure_table(figures: Mapping[str, Sequence[float]]) -> str:
    """One line a figure: median, interval, unit. Empty without figures."""
    lines = []
    for name, values in figures.items():
        summary = summarize(values)
        figure = FIGURES[name]
        interval = f"{summary.median:.3g} [{summary.low:.3g}, {summary.high:.3g}]"
        lines.append(f"{figure.title}: {interval} {figure.unit}")
    return "\n".join(lines)

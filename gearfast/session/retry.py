# SPDX-License-Identifier: BSD-3-Clause
"""When something that failed is tried again: arithmetic only, no clock and no chance."""

from __future__ import annotations

from gearfast.errors import ConnectError, UsageError

__all__ = ["Backoff", "Retry"]


class Backoff:
    """How long to wait before something is tried again: `first` seconds, `factor` times as long each time, up to `max`.

    Each delay is spread over its upper half by chance, so that many clients do not come back in step.
    Raises UsageError for delays below 0 and factors below 1.
    """

    __slots__ = ("factor", "first", "max")

    def __init__(self, first: float = 0.1, *, factor: float = 2.0, max: float = 30.0) -> None:
        if not (first >= 0 and max >= 0 and factor >= 1):
            raise UsageError(f"a backoff has delays of 0 or more and a factor of 1 or more: {first}, {factor}, {max}")
        self.first = first
        self.factor = factor
        self.max = max

    def delay(self, failures: int, jitter: float) -> float:
        """Seconds to wait after the n-th failure in a row (n from 1). `jitter`: any number from [0, 1)."""
        delay = self.first
        for _ in range(failures - 1):
            delay *= self.factor
            if delay >= self.max or self.factor == 1.0:
                break
        return min(delay, self.max) * (0.5 + 0.5 * jitter)

    def __repr__(self) -> str:
        return f"Backoff({self.first:g}, factor={self.factor:g}, max={self.max:g})"


class Retry:
    """Which failures of a job make the client submit it again, how often, and after what delay.

    `attempts`: submissions in all, 1 or more. `on`: classes of exceptions, ConnectError alone if none are given; with
    JobFailed (JobException is one of its kind) a job that failed is run again, so it must bear that. The deadline of
    the call holds over all attempts: what would be tried again after it is not. Raises UsageError.
    """

    __slots__ = ("attempts", "backoff", "on")

    def __init__(
        self,
        attempts: int = 3,
        *,
        backoff: Backoff = Backoff(),  # noqa: B008
        on: type[Exception] | tuple[type[Exception], ...] = ConnectError,
    ) -> None:
        if attempts < 1:
            raise UsageError(f"attempts is 1 or more, not {attempts!r}")
        classes: tuple[object, ...] = on if isinstance(on, tuple) else (on,)
        if not all(isinstance(kind, type) and issubclass(kind, Exception) for kind in classes):
            raise UsageError(f"on is a class of exceptions, or several in a tuple, not {on!r}")
        self.attempts = attempts
        self.backoff = backoff
        self.on = on if isinstance(on, tuple) else (on,)

    def delay(self, error: Exception, failures: int, jitter: float) -> float | None:
        """Seconds to wait after the n-th failure, `error`; None: it is the last one."""
        if failures >= self.attempts or not isinstance(error, self.on):
            return None
        return self.backoff.delay(failures, jitter)

    def __repr__(self) -> str:
        names = ", ".join(kind.__name__ for kind in self.on)
        return f"Retry({self.attempts}, backoff={self.backoff!r}, on=({names}))"

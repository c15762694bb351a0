# SPDX-License-Identifier: BSD-3-Clause
"""Runs from seeds, each in a process of its own where there are such, so that a crash is a finding and not the end."""

from __future__ import annotations

import argparse
import os
import pickle
import re
import signal
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from .coverage import MET
from .draw import Draw, draw_settings
from .play import SETTINGS, Step, replay
from .records import Open, Wrong
from .shrink import as_test, shrink

STEPS_A_RUN: Final = 600
AUDIT_EVERY: Final = 200
MOST_SECONDS: Final = 60  # of the processor, for one run
FIRST_SEED: Final = 1000  # of the long runs; those below are the tests'


@dataclass
class Outcome:
    """One run. `wrong`: what was wrong, if anything was."""

    steps: int = 0
    met: dict[str, int] = field(default_factory=dict)
    wrong: str = ""
    open: bool = False


def run(seed: int, length: int = STEPS_A_RUN, every: int = 0, keep: Callable[[Step], object] | None = None) -> Outcome:
    """One run. `every`: steps between two checks of all records; 0: so that they cost a small part of the time.

    `keep` is called with each step before it is done.
    """
    outcome = Outcome()
    draw = Draw(seed, length)
    play = draw.play
    outcome.met = draw.model.met
    next_check = 0
    try:
        for step in draw.steps():
            if keep is not None:
                keep(step)
            outcome.steps += 1
            play.do(step)
            if outcome.steps >= next_check:
                play.check()
                next_check = outcome.steps + (every or 20 + len(draw.model.jobs) // 4 + len(draw.model.peers))
            if outcome.steps % AUDIT_EVERY == 0:
                play.audit()
        play.check()
        play.audit()
    except Open:
        outcome.open = True
    except Wrong as wrong:
        outcome.wrong = str(wrong)
    except Exception:  # noqa: BLE001  of the model or of the dispatcher's Python face: a finding like any other
        outcome.wrong = traceback.format_exc()
    return outcome


def apart(work: Callable[[], Any], quiet: bool = False) -> Any:
    """What `work` returns, done in a process of its own; the number of the signal (int below 0) that ended it."""
    if not hasattr(os, "fork"):
        return work()
    out, into = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(out)
            signal.setitimer(signal.ITIMER_PROF, MOST_SECONDS)  # what hangs ends with SIGPROF
            if quiet:
                os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            with os.fdopen(into, "wb") as pipe:
                pickle.dump(work(), pipe)
            status = 0
        finally:
            os._exit(status)
    os.close(into)
    with os.fdopen(out, "rb") as pipe:
        data = pipe.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return pickle.loads(data) if status == 0 else -abs(status)


def steps_of(seed: int, length: int, every: int) -> list[Step]:
    """The steps of a run up to where it ends or crashes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "steps")

        def record() -> None:
            with path.open("wb", buffering=0) as file:
                run(seed, length, every, lambda step: file.write(pickle.dumps(step)))

        apart(record, quiet=True)
        steps = []
        with path.open("rb") as file:
            try:
                while True:
                    steps.append(pickle.load(file))
            except EOFError:
                return steps


def why(settings: dict[str, Any], steps: list[Step]) -> str:
    """What is wrong when these steps are played; nothing if all is well."""

    def play() -> str:
        try:
            replay(settings, steps)
        except Open:
            return ""
        except Wrong as wrong:
            return str(wrong)
        except Exception:  # noqa: BLE001
            return traceback.format_exc()
        return ""

    found = apart(play, quiet=True)
    return found if isinstance(found, str) else f"ended by signal {-found}"


def tell_failure(seed: int, length: int, every: int, outcome: Outcome) -> None:
    """Seed and step, then the run cut down to a test."""
    settings = {**SETTINGS, **draw_settings(seed)}
    steps = steps_of(seed, length, every)
    print(f"seed {seed}, step {outcome.steps or len(steps)}: {outcome.wrong[:2000]}", flush=True)
    if not why(settings, steps):
        print(f"the {len(steps)} steps do not fail when they are played alone: repeat the run by its seed")
        return
    fewer = shrink(steps, lambda tried: bool(why(settings, tried)))
    print(f"{len(steps)} steps, cut down to {len(fewer)}:\n")
    print(as_test(f"seed_{seed}", settings, fewer, why(settings, fewer)), flush=True)


def explore(seed: int, steps: int, minutes: float, every: int) -> tuple[int, int, Counter[str], list[str]]:
    """Runs from `seed` on until there were so many steps, or minutes (0: no limit).

    Returns the next seed, the steps done, what was met how often, and what was wrong.
    """
    done = 0
    met: Counter[str] = Counter()
    findings: list[str] = []
    until = time.monotonic() + 60 * minutes if minutes else float("inf")
    while done < steps and time.monotonic() < until and len(findings) < 10:
        outcome = apart(lambda: run(seed, STEPS_A_RUN, every))  # noqa: B023
        if not isinstance(outcome, Outcome):
            outcome = Outcome(wrong=f"ended by signal {-outcome}")
        done += outcome.steps
        met.update(outcome.met)
        met["left open"] += outcome.open
        if outcome.wrong:
            findings.append(f"{seed}: {outcome.wrong.strip().splitlines()[-1][:100]}")
            tell_failure(seed, STEPS_A_RUN, every, outcome)
        seed += 1
    return seed, done, met, findings


def next_seed(log: Path) -> int:
    """Where the last line of a log ends."""
    ends = re.findall(r"^\| \S+ \| \S+ \| \d+ to (\d+) \|", log.read_text("utf-8"), re.MULTILINE)
    return max(map(int, ends), default=FIRST_SEED - 1) + 1


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.model", description="The dispatcher against a model of it.")
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, help="of the first run; default: where the log ends")
    parser.add_argument("--minutes", type=float, default=0, help="end after so long; 0: only after --steps")
    parser.add_argument("--log", type=Path, help="file to which a line of a table is appended")
    parser.add_argument("--every", type=int, default=0, help="steps between two checks of all records; 0: chosen")
    parser.add_argument("--build", default="release", help="what the log is to call the build")
    args = parser.parse_args()
    first = (
        args.seed if args.seed is not None else next_seed(args.log) if args.log and args.log.exists() else FIRST_SEED
    )
    start = time.monotonic()
    seed, done, met, findings = explore(first, args.steps, args.minutes, args.every)
    seconds = time.monotonic() - start
    rare = sorted((met[name], name) for name in MET)
    print("met least: " + ", ".join(f"{name} {count}" for count, name in rare[:12]))
    print(f"seeds {first} to {seed - 1}: {done} steps in {seconds:.0f} s, {done / seconds:.0f} a second; ", end="")
    print(f"{met['left open']} runs ended where nothing could be seen; {len(findings)} findings")
    if args.log:
        today = datetime.now(UTC).date().isoformat()
        found = "; ".join(findings).replace("|", "/") or "none"
        with args.log.open("a", encoding="utf-8") as log:
            log.write(f"| {today} | {args.build} | {first} to {seed - 1} | {done:,} | {seconds:.0f} | {found} |\n")
    return 1 if findings else 0

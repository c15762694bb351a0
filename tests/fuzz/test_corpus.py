# SPDX-License-Identifier: BSD-3-Clause
"""What the fuzzers have found worth keeping, replayed over the Python faces.

`run.sh` makes and grows the corpus; `found/` holds the inputs of failures that were mended, named for what was wrong.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from .replay import OPERATIONS, TARGETS

HERE = Path(__file__).parent
MOST_BYTES = 200_000


def inputs(target: str) -> list[Path]:
    return sorted(path for folder in ("corpus", "found") for path in (HERE / folder / target).glob("*"))


@pytest.mark.parametrize("target", TARGETS)
def test_every_kept_input_still_passes(target: str) -> None:
    run = TARGETS[target]
    found = inputs(target)
    assert found
    for path in found:
        try:
            run(path.read_bytes())
        except BaseException as error:
            error.add_note(f"input: {path}")
            raise


def test_programs_use_every_operation() -> None:
    used = {byte & 31 for path in inputs("dispatcher") for byte in path.read_bytes()[2:]}
    assert used >= set(range(len(OPERATIONS)))


def test_corpus_stays_small() -> None:
    assert sum(path.stat().st_size for target in TARGETS for path in inputs(target)) < MOST_BYTES

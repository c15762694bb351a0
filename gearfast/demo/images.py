# SPDX-License-Identifier: BSD-3-Clause
"""What a worker does with a photo. A file appears under its name only when it is complete."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from PIL import Image, ImageOps

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["load", "make_thumbnail", "remove_parts", "resize", "save", "square", "target_size"]

_PART = ".part"
"""End of the name of an unfinished file."""


def load(path: Path, *, about: int | None = None) -> Image.Image:
    """The photo in RGB, upright. Raises OSError if the file is no image that can be decoded.

    `about`: a size in pixels that is enough; decoding a JPEG to a smaller one is much faster.
    """
    with Image.open(path) as image:
        if about is not None:
            image.draft("RGB", (about, about))
        image.load()
        return ImageOps.exif_transpose(image).convert("RGB")


def target_size(size: tuple[int, int], width: int) -> tuple[int, int]:
    """Width and height of a photo of `size` brought to `width` pixels; never larger than it was."""
    if size[0] <= width:
        return size
    return width, max(1, round(size[1] * width / size[0]))


def save(image: Image.Image, path: Path, quality: int = 88) -> None:
    """Writes a JPEG so that no other process, and no one after a crash, ever sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}{_PART}")
    try:
        image.save(part, "JPEG", quality=quality, optimize=True)
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def resize(source: Path, target: Path, width: int, step: Callable[[int, int], None]) -> tuple[int, int]:
    """Makes `target` of `width` pixels; returns its size. `step(done, of)` is told how far it is."""
    image = load(source)
    step(1, 3)
    size = target_size(image.size, width)
    smaller = image.resize(size, Image.Resampling.LANCZOS)
    step(2, 3)
    save(smaller, target)
    return size


def make_thumbnail(source: Path, target: Path, side: int) -> tuple[int, int]:
    """Makes a square of `side` pixels from the middle of the photo; returns its size."""
    save(square(load(source), side), target)
    return side, side


def square(image: Image.Image, side: int) -> Image.Image:
    """The largest square in the middle of the image, `side` pixels wide."""
    return ImageOps.fit(image, (side, side), Image.Resampling.LANCZOS)


def remove_parts(folder: Path) -> int:
    """Removes what a killed worker left unfinished below `folder`; returns how many files that were."""
    parts = list(folder.rglob(f".*{_PART}"))
    for part in parts:
        part.unlink(missing_ok=True)
    return len(parts)

# SPDX-License-Identifier: BSD-3-Clause
"""The photos that are uploaded: those of a folder, and variants of them until there are enough."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Final

from PIL import Image, ImageEnhance, ImageOps

from gearfast.demo import images
from gearfast.demo.plan import Photo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["PhotoError", "find", "shipped", "upload"]

CAMERA_WIDTH: Final = 2400
"""The shipped photos are small; they are enlarged to this width, so that resizing them is work."""
_ENDINGS: Final = frozenset((".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif"))


class PhotoError(Exception):
    """A folder without photos, or a photo that cannot be read. The text says which."""


def _cut(image: Image.Image, left: float, top: float, part: float) -> Image.Image:
    width, height = image.size
    x, y = int(width * left), int(height * top)
    return image.crop((x, y, x + max(1, int(width * part)), y + max(1, int(height * part))))


def _tint(image: Image.Image, black: str, white: str) -> Image.Image:
    return ImageOps.colorize(ImageOps.grayscale(image), black, white)


_VARIANTS: Final[tuple[tuple[str, Callable[[Image.Image], Image.Image]], ...]] = (
    ("", lambda image: image),
    ("in grey", lambda image: ImageOps.grayscale(image).convert("RGB")),
    ("mirrored", ImageOps.mirror),
    ("close-up", lambda image: _cut(image, 0.2, 0.15, 0.6)),
    ("sepia", lambda image: _tint(image, "#1d1008", "#fff1d6")),
    ("vivid", lambda image: ImageEnhance.Color(image).enhance(1.8)),
    ("cyanotype", lambda image: _tint(image, "#04204a", "#f2f7ff")),
    ("detail", lambda image: _cut(image, 0.35, 0.3, 0.4)),
)


def shipped() -> Path:
    """The folder of the five photos that come with gearfast."""
    return Path(__file__).parent / "photos"


def find(folder: Path) -> list[Path]:
    """The photos in a folder, by name. Raises PhotoError if there is none."""
    if not folder.is_dir():
        raise PhotoError(f"{folder} is no folder")
    photos = sorted(path for path in folder.iterdir() if path.suffix.lower() in _ENDINGS)
    if not photos:
        raise PhotoError(f"{folder} has no photos ({', '.join(sorted(_ENDINGS))})")
    return photos


def _one(source: Path, root: Path, number: int, variant: int, width: int | None) -> Photo:
    name = f"photo-{number:02d}"
    words, change = _VARIANTS[variant % len(_VARIANTS)]
    title = source.stem.replace("_", " ").replace("-", " ")
    title = f"{title}, {words}" if words else title
    try:
        image = images.load(source)
    except (OSError, ValueError, Image.DecompressionBombError) as exc:
        raise PhotoError(f"{source} cannot be read as a photo: {exc}") from exc
    if variant == 0 and width is None:
        path = f"uploads/{name}{source.suffix.lower()}"
        shutil.copyfile(source, root / path)
        return Photo(name, path, title, image.size)
    image = change(image)
    if width is not None:
        size = (width, max(1, round(image.size[1] * width / image.size[0])))
        image = image.resize(size, Image.Resampling.BICUBIC)
    path = f"uploads/{name}.jpg"
    images.save(image, root / path)
    return Photo(name, path, title, image.size)


def upload(sources: list[Path], count: int, root: Path, *, width: int | None = None) -> Iterator[Photo]:
    """Puts `count` photos into `root/uploads` and yields each, in order, when it is there.

    `width`: enlarge or reduce each to this width in pixels. Raises PhotoError for one that cannot be read.
    """
    (root / "uploads").mkdir(parents=True, exist_ok=True)
    pool = ThreadPoolExecutor()
    try:
        tasks = [
            pool.submit(_one, sources[n % len(sources)], root, n + 1, n // len(sources), width) for n in range(count)
        ]
        for task in tasks:
            yield task.result()
    finally:
        pool.shutdown(cancel_futures=True)
